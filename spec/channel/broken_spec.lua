--- What becomes of what was sent to a peer that reads no more, but lives on and
--- may still write: nothing that waits for a send waits for the peer's end.

local helper = require "spec.helper"
local orrery = require "orrery"

local await_close = helper.await_close

local LONG = 60000 -- ms: Python takes its time to start on a busy machine

local function run(fn) helper.run(fn, LONG) end

--- Starts a peer in Python, with its end of the channel as `s`.
local function peer(serialization, code)
  return orrery.spawn("python3", { "-c", "import socket, sys, time\n"
    .. "s = socket.socket(fileno=3)\n" .. code },
    { stdio = { "pipe", "inherit", "inherit", "ipc" },
      serialization = serialization })
end

local READS_NO_MORE = [[
s.shutdown(socket.SHUT_RD)
s.sendall(%s)
sys.stdin.read()]]

local HELLO = {
  msgpack = [[b"\x03\0\0\0\0\0\0\0\xa2hi"]],
  json = [[b'"hi"\n']],
}

--- Starts a peer that reads no more, and waits until it is so.
local function deaf(serialization)
  local child = peer(serialization,
    READS_NO_MORE:format(HELLO[serialization]))
  assert.equal("hi", (child:receive(LONG)))
  return child
end

local function finish(child)
  assert.is_nil(child.exit_code)
  child.stdin:finish()
  await_close(child)
end

for _, serialization in ipairs { "msgpack", "json" } do
  describe("to a peer that reads no more, over " .. serialization, function()
    it("fault C6: a request fails at once, with EPIPE", function()
      run(function()
        local child <close> = deaf(serialization)
        local result, err = child:request("anybody?", LONG)

        assert.is_nil(result)
        assert.equal("EPIPE", err.code)
        finish(child)
      end)
    end)

    it("fault C6: what waits behind a handle fails at once", function()
      run(function()
        local child <close> = deaf(serialization)
        local server = assert(orrery.net.create_server():listen(0, "127.0.0.1"))
        local codes = {}
        local function note(err) codes[#codes + 1] = err.code end
        child:send("server", server, nil, note)
        child:send("behind it", nil, nil, note)
        local _, err = child:request("behind it", LONG)

        assert.equal("EPIPE", err.code)
        assert.same({ "EPIPE", "EPIPE" }, codes)
        server:close()
        finish(child)
      end)
    end)

    it("owes no `drain`", function()
      run(function()
        local child <close> = deaf(serialization)
        assert.is_false(child:send(("x"):rep(300000)))
        assert.is_false(child.connected)
        assert.is_false(child:send(("x"):rep(300000)))
        finish(child)
      end)
    end)

    it("fault C6: who waits for `drain` goes on at the end", function()
      run(function()
        local child <close> = peer(serialization, "sys.stdin.read(1)")
        assert.is_false(child:send(("x"):rep(1000000)))
        child.stdin:write("1")
        local _, err = child:wait_for("drain", LONG)

        assert.is_nil(err)
        await_close(child)
      end)
    end)
  end)
end

describe("a request that has left", function()
  it("is answered though what was sent after it is refused", function()
    run(function()
      local child <close> = peer("json", [[
line = b""
while not line.endswith(b"\n"): line += s.recv(1)
s.shutdown(socket.SHUT_RD)
s.sendall(b'"heard"\n')
sys.stdin.read(1)
s.sendall(b'{"cmd":"NODE_ORRERY_REPLY","id":1,"message":["yes"]}\n')
sys.stdin.read()]])
      local asked = orrery.go(child.request, child, "early", LONG)
      assert.equal("heard", child:receive(LONG))
      assert.equal("EPIPE", select(2, child:request("late", LONG)).code)
      child.stdin:write("1")

      assert.equal("yes", asked:join(LONG))
      finish(child)
    end)
  end)

  it("goes with a handle that is acknowledged all the same", function()
    run(function()
      local child <close> = peer("json", [[
while b"\n" not in s.recv(65536): pass
s.shutdown(socket.SHUT_RD)
s.sendall(b'"heard"\n')
sys.stdin.read(1)
s.sendall(b'{"cmd":"NODE_HANDLE_ACK"}\n')
sys.stdin.read()]])
      local server = assert(orrery.net.create_server():listen(0, "127.0.0.1"))
      local outcome
      child:send("server", server, nil,
        function(err) outcome = err and err.code or "taken" end)
      assert.equal("heard", child:receive(LONG))
      local _, err = child:request("behind it", 1)
      assert.equal("ETIMEDOUT", err.code)
      child.stdin:write("1")
      helper.eventually(function() return outcome end)

      assert.equal("taken", outcome)
      server:close()
      finish(child)
    end)
  end)
end)
