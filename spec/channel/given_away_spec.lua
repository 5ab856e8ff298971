local helper = require "spec.helper"
local orrery = require "orrery"

local run, fork, await_close = helper.run, helper.fork, helper.await_close

--- A child that answers each connection it gets, and closes it.
local ANSWER = [[process.on("message", function(_, socket)
  if socket then socket:finish("answered") end
end)]]

--- A server whose connections go to take(socket).
local function listen(take)
  return assert(orrery.net.create_server(take):listen(0, "127.0.0.1"))
end

local function connect(server)
  return assert(orrery.net.connect(server:address().port, "127.0.0.1"))
end

describe("a connection that was given away", function()
  for _, serialization in ipairs { "msgpack", "json" } do
    it("is counted until the other process closes it, over " .. serialization,
      function()
        run(function()
          local child = fork([[
            process.on("message", function(message, socket)
              if socket then kept = socket else kept:finish("answered") end
            end)]], { serialization = serialization })
          local sent = false
          local server = listen(function(socket)
            child:send("keep", socket, nil, function() sent = true end)
          end)
          local client <close> = connect(server)
          helper.eventually(function() return sent end)
          assert.equal(1, server:get_connections())

          local closed = orrery.go(function() return server:close() end)
          orrery.sleep(1)
          assert.equal("running", closed.status)
          child:send("close it")

          assert.equal("answered", client:read_all(5000))
          assert.is_truthy(closed:join(5000))
          child:disconnect()
          await_close(child)
        end)
      end)

    it("counts no more once its channel has ended, however soon, over "
      .. serialization, function()
      run(function()
        local child = fork(ANSWER, { serialization = serialization })
        local server = listen(function(socket)
          child:send("take it", socket)
          child:disconnect()
        end)
        local client <close> = connect(server)
        assert.equal("answered", client:read_all(5000))
        await_close(child)

        assert.equal(0, server:get_connections())
        assert.is_truthy(server:close())
      end)
    end)
  end
end)
