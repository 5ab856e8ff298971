--- What becomes of a server when one of its connections fails.

local helper = require "spec.helper"
local fixture = require "spec.fixture.net"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local process = require "orrery.process"
local task = require "orrery.task"
local uv = require "luv"

local run = helper.run
local serve = fixture.serve

--- Connects a bare handle of luv's, and calls fn(handle) then. Returns what
--- closes it.
local function meet(port, fn)
  local raw = uv.new_tcp()
  raw:connect("127.0.0.1", port, loop.guard(function() fn(raw) end))
  return setmetatable({}, { __close = function() loop.close(raw) end })
end

local function reset(raw) raw:close_reset(loop.guard(function() end)) end
local function close(raw) loop.close(raw) end
local function shut_down(raw) raw:shutdown(loop.guard(function() end)) end
local function do_nothing() end

--- Writes `n` bytes without a newline, in pieces, and closes.
local function write_line(raw, n)
  local piece = ("x"):rep(1024 * 1024)
  for _ = 1, n // #piece do raw:write(piece) end
  raw:write(("x"):rep(n % #piece), loop.guard(function() loop.close(raw) end))
end

--- Lua's own assert, whose place luassert has taken.
local function must(value, err)
  if not value then error(err, 0) end
  return value
end

--- What peers do and handlers of connections raise by it.
local failures = {
  { "lines, and a reset", "ECONNRESET", reset, function(socket)
    for _ in socket:lines() do error("no line") end
  end },
  { "lines, and a line of 64 MiB and a byte", "EMSGSIZE", function(raw)
    write_line(raw, 64 * 1024 * 1024 + 1)
  end, function(socket)
    for _ in socket:lines() do error("no line") end
  end },
  { "read, and a reset", "ECONNRESET", reset, function(socket)
    must(socket:read())
  end },
  { "read, and nothing for its time", "ETIMEDOUT", do_nothing, function(socket)
    must(socket:read(nil, 20))
  end },
  { "read_exactly, and an end", "ERR_STREAM_PREMATURE_CLOSE", close,
    function(socket) must(socket:read_exactly(10)) end },
  { "read_all in another task, and a reset", "ECONNRESET", reset,
    function(socket)
      task.all { function() must(socket:read_all()) end }
    end },
  { "write_wait, and an end before", "ERR_STREAM_WRITE_AFTER_END", shut_down,
    function(socket)
      socket:wait_for "finish"
      must(socket:write_wait("too late"))
    end },
  { "write_wait, and a reset amid it", "ECANCELED", function(raw)
    raw:read_start(loop.guard(function()
      if not raw:is_closing() then reset(raw) end
    end))
  end, function(socket)
    must(socket:write_wait(("x"):rep(10000000)))
  end },
}

describe("a handler of connections", function()
  for _, case in ipairs(failures) do
    local name, code, attack, handler = table.unpack(case)
    it("fault B7: does not end the server: " .. name, function()
      run(function()
        local accepted
        local server <close>, port = serve(function(socket)
          if accepted then return socket:finish("here still") end
          accepted = socket
          handler(socket)
        end)
        local raw <close> = meet(port, attack) -- luacheck: ignore
        local err, socket = server:wait_for("client_error")

        assert.equal(code, err.code)
        assert.equal(accepted, socket)
        assert.is_true(socket.closed)
        local client <close> = assert(net.connect(port, "127.0.0.1"))
        assert.equal("here still", client:read_all())
      end)
    end)
  end

  it("fault B7: goes on without a listener, in a script", function()
    run(function()
      local result = helper.script [[
        local first = true
        local server = orrery.net.create_server(function(socket)
          for line in socket:lines() do
            socket:write(line .. " was read\n")
          end
        end):listen(0)
        local port = server:address().port
        local raw = require "luv".new_tcp()
        raw:connect("127.0.0.1", port, function()
          raw:write("half", function() raw:close_reset() end)
        end)
        local socket = server:wait_for("connection")
        if not socket.closed then socket:wait_for("close") end
        local client = orrery.net.connect(port)
        client:finish("it\n")
        print(client:read_all())
        server:close()]]

      assert.same({ "it was read\n\n", "", 0 },
        { result.stdout, result.stderr, result.code })
    end)
  end)

  it("fault B7: is uncaught as before with any other error", function()
    run(function()
      local other <close>, other_client, ends = fixture.pair()
      local _ <close> = ends
      other_client:destroy()
      local raised = { "a bug", setmetatable({}, { __index = error }) }
      for i = 1, 3 do
        local server <close>, port = serve(function()
          if raised[i] then error(raised[i], 0) end
          must(other:read_exactly(1))
        end)
        local log = helper.record(server, { "client_error" })
        local uncaught
        process.once("uncaught_exception", function(err) uncaught = err end)
        local client <close> = assert(net.connect(port, "127.0.0.1"))
        helper.eventually(function() return uncaught end)

        assert.is_true(rawequal(raised[i] or uncaught, uncaught))
        assert.same({}, log)
        assert.is_false(client.closed or false)
      end
    end)
  end)
end)

describe("stream:lines", function()
  it("fault B7: raises the error of its stream at the user's line", function()
    run(function()
      local accepted, client, ends = fixture.pair()
      local _ <close> = ends
      client.handle_:close_reset(loop.guard(function() end))
      client.handle_ = nil
      local line = debug.getinfo(1, "l").currentline + 2
      local ok, err = pcall(function()
        for _ in accepted:lines() do error("no line") end
      end)

      assert.is_false(ok)
      assert.equal("ECONNRESET", err.code)
      assert.matches("^[^:]*client_error_spec.lua:" .. line .. ": read: ",
        tostring(err))
      assert.matches("^read: ", tostring(select(2, accepted:read())))
    end)
  end)

  it("fault B7: raises what the stream was destroyed with", function()
    run(function()
      local accepted, _, ends = fixture.pair()
      local _ <close> = ends
      accepted:on("error", function() end)
      task.go(function()
        accepted:destroy(require "orrery.runtime.errors".new("EIO", "gone"))
      end)
      local ok, err = pcall(function()
        for _ in accepted:lines() do error("no line") end
      end)

      assert.same({ false, "EIO" }, { ok, err.code })
      assert.equal("EIO", select(2, accepted:read()).code)
    end)
  end)
end)
