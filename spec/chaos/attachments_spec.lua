local helper = require "spec.helper"

local run = helper.run

describe("80 children and 200 handles each #chaos", function()
  it("lose none, as another user with few fds", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local result = helper.lua_as([[
        local orrery = require "orrery"
        local path = os.tmpname()
        local file = io.open(path, "w")
        file:write [=[
          local orrery = require "orrery"
          local process = orrery.process
          local kept, sum = {}, 0
          process.on("message", function(m, h, err)
            if not h then
              return process.send { m, err and err.code or "no handle" }
            end
            kept[#kept + 1] = h
            sum = sum + m
            if #kept == 200 then process.send(sum) process.disconnect() end
          end)]=]
        file:close()
        local null = orrery.stream.open("/dev/null")
        local ended, good, callbacks = 0, 0, 0
        for i = 1, 80 do
          local child = orrery.fork(path)
          child:on("message", function(m)
            if m == 20100 then good = good + 1 return end
            print("bad", orrery.inspect(m))
          end)
          child:on("close", function()
            ended = ended + 1
            if ended == 80 then print(good, callbacks) os.remove(path) end
          end)
          for n = 1, 200 do
            child:send(n, null, nil, function(err)
              callbacks = callbacks + 1
              if err then print("failed", err) end
            end)
          end
        end
        require "luv".run()]], { uid = 65534, gid = 65534, groups = {},
          rlimits = { nofile = 256 } })

      assert.equal("80\t16000\n", result.stdout .. result.stderr)
    end, 60000)
  end)
end)
