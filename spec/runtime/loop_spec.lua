local core = require "orrery.core"
local helper = require "spec.helper"
local loop = require "orrery.runtime.loop"
local uv = require "luv"

describe("the loop", function()
  it("runs ticks in order before events, and later ones a "
    .. "turn later", function()
    local log = {}
    loop.soon(function()
      loop.later(function() log[#log + 1] = "later" end)
      loop.soon(function()
        log[#log + 1] = "soon"
        loop.soon(function() log[#log + 1] = "nested" end)
      end)
    end)
    uv.run()

    assert.same({ "soon", "nested", "later" }, log)
  end)

  it("lets uv.run end when nothing is left", function()
    loop.soon(function() end)
    uv.run()

    assert.is_false(uv.loop_alive())
  end)

  it("calls at the turn's end when the queue has run dry", function()
    local log = {}
    local function note(what) log[#log + 1] = what end
    loop.soon(function()
      loop.at_turn_end(function(owner)
        note(owner)
        loop.soon(note, "tick of the end")
        loop.at_turn_end(note, "second end")
      end, "end")
      loop.soon(note, "tick")
    end)
    uv.run()

    assert.same({ "tick", "end", "tick of the end", "second end" }, log)
  end)

  it("loses no tick and no end of a turn to an error", function()
    local log, on_uncaught = {}, loop.on_uncaught
    loop.on_uncaught = function(err) log[#log + 1] = err end
    loop.soon(error, "tick", 0)
    loop.at_turn_end(function() error("end", 0) end)
    loop.at_turn_end(function() log[#log + 1] = "other end" end)
    loop.soon(function() log[#log + 1] = "other tick" end)
    uv.run()
    loop.on_uncaught = on_uncaught

    assert.same({ "tick", "other tick", "end", "other end" }, log)
  end)

  it("closes a handle once, and calls back", function()
    local handle, calls = uv.new_timer(), 0
    loop.close(handle, function() calls = calls + 1 end)
    loop.close(handle, function() calls = calls + 1 end)
    uv.run()

    assert.equal(1, calls)
  end)

  it("closes a handle that cannot take an fd, which stays open", function()
    local fd <close> = core.open("README.md", "r")
    local handle = uv.new_udp()
    assert(handle:bind("127.0.0.1", 0)) -- it has an fd now
    local taken, code = loop.open(handle, fd)

    assert.is_nil(taken)
    assert.equal("EBUSY", code)
    assert.is_true(handle:is_closing())
    assert.is_truthy(fd:fileno())
    uv.run()
  end)
end)

-- Ways to end, by name: a program, how it is run, and its exit code. The luv is
-- the one that LUA_CPATH names, or the system's (docs/platforms.md).
local child = "local child = orrery.spawn('cat') "
local connecting = "SOCKET = orrery.net.connect { host = '127.0.0.1', "
  .. "port = 9 } "
local listening = "local server = orrery.net.create_server(function(s) "
  .. "OURS = s s:write(('x'):rep(1e6)) end) "
  .. "server:listen { host = '127.0.0.1', port = 0 } orrery.sleep(1) "
local connected = listening .. "SOCKET = orrery.net.connect { "
  .. "host = '127.0.0.1', port = server:address().port } orrery.sleep(20) "
local ENDS = {
  ["plain, with a child that lives"] = { child },
  ["plain, with a child, after a turn"] = { child .. "orrery.sleep(1)" },
  ["with a start that failed"] = { "orrery.spawn('/nosuch')" },
  ["with a connect under way"] = { connecting },
  ["with a server"] = { listening },
  ["with a server that was just closed"] = { listening .. "server:close()" },
  ["with unread sockets"] = { connected },
  ["with sockets just destroyed"] = { connected
    .. "SOCKET:destroy() OURS:destroy() server:close()" },
  ["with timers"] = { "orrery.every(9000, print) orrery.after(9000, print) "
    .. child },
  ["with unread output"] = {
    "orrery.spawn('seq', { '1e6' }) orrery.sleep(10)" },
  ["with a lookup of a name under way"] = {
    "require 'luv'.getaddrinfo('localhost', nil, nil, print) " .. child },
  ["with a datagram socket just closed"] = {
    "local one = orrery.dgram.create_socket('udp4') one:bind(0) "
      .. "orrery.sleep(1) one:close()" },
  ["with a stream younger than its handle"] = {
    "local loop, uv = require 'orrery.runtime.loop', require 'luv' "
      .. "local pipe = uv.new_pipe(false) " .. child .. "orrery.sleep(1) "
      .. "loop.close(uv.new_timer()) STREAM = setmetatable("
      .. "{ handle_ = pipe }, getmetatable(child.stdout))" },
  ["with ticks queued by a finalizer"] = { child .. "setmetatable({}, {"
    .. "__gc = function() orrery.process.next_tick(error) end })" },
  ["inside a coroutine"] = { "coroutine.wrap(function() " .. child
    .. connecting .. "end)()" },
  ["by an error of the main chunk"] = { child .. connecting
    .. "error 'boom'", code = 1 },
  ["by an error in a coroutine"] = { "coroutine.wrap(function() " .. child
    .. "error 'boom' end)()", code = 1 },
  ["by an error in a task"] = { child .. "orrery.go(function() "
    .. "error 'boom' end) orrery.sleep(50)", code = 1 },
  ["by os.exit that closes the state"] = { child .. connecting
    .. "os.exit(7, true)", code = 7 },
  ["by os.exit in a task"] = { child .. "orrery.go(function() "
    .. "os.exit(7, true) end) orrery.sleep(50)", code = 7 },
  ["of the CLI, by an error"] = { child .. connecting .. "error 'boom'",
    code = 1, by = helper.script },
  ["of the CLI, by os.exit"] = { child .. connecting .. "os.exit(7, true)",
    code = 7, by = helper.script },
}

describe("the end of a Lua state", function()
  for name, way in pairs(ENDS) do
    it("fault E4: is clean " .. name, function()
      local result = (way.by or helper.lua)("local orrery = require 'orrery' "
        .. way[1], { timeout = 20000,
          env_extend = helper.without_leak_check })

      assert.is_nil(result.signal)
      assert.equal(way.code or 0, result.code)
      assert.is_nil(result.stderr:find("ECANCELED", 1, true))
    end)
  end
end)
