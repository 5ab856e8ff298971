--- What a hostile child may try over its channel. Each `it` once brought the
--- parent down, filled its memory, or took what was not its own.

local helper = require "spec.helper"
local orrery = require "orrery"

local run, fork, raw_peer = helper.run, helper.fork, helper.raw_peer
local await_close = helper.await_close

local FRAMES = 'local ch = core.fork(peer, "frames", 1 << 28) '
local NULL = 'local null = core.open("/dev/null", "r") '

--- A peer that writes lines of JSON.
local function lines(text, opts)
  opts = opts or {}
  opts.serialization = "json"
  return raw_peer(text, opts)
end

describe("a hostile child", function()
  it("gets no fd by acknowledging a handle before it has left", function()
    run(function()
      local child = lines [[
        peer:write('{"cmd":"NODE_HANDLE_ACK"}\n')
        core.poll({}, {}, 20000)]]
      local server = assert(orrery.net.create_server():listen(0, "127.0.0.1"))
      child:send(("x"):rep(1000000)) -- fills the socket
      local err
      child:send("server", server, nil, function(e) err = e end)

      assert.equal("EPROTO", child:wait_for("disconnect", 5000).code)
      helper.eventually(function() return err end)
      child:kill()
      await_close(child)
      server:close()
    end)
  end)

  it("that sends flags which mean nothing sends a plain message", function()
    run(function()
      local child = raw_peer(FRAMES .. "ch:post(0, 2, 'odd') ch:flush()")
      assert.equal("odd", child:receive(5000))
      await_close(child)
    end)
  end)

  it("that describes a handle by nonsense ends nothing but its "
    .. "own channel", function()
    run(function()
      for _, description in ipairs {
        "{ type = {} }", "{ type = 'fd', server = { 1 } }",
        "{ type = 'net.Socket', server = {}, unread = {} }",
        "{ type = 'dgram.Socket', udp = {} }", "{}",
        "{ type = 'stream', kind = {} }",
      } do
        local child = raw_peer(FRAMES .. NULL
          .. ("ch:post(0, 0, 1, nil, %s, null:fileno()) ch:flush()"):format(
            description))
        local handle
        child:on("message", function(_, h) handle = h end)
        await_close(child)
        if handle then handle:close() end
      end
      for _, text in ipairs { '{"cmd":"NODE_HANDLE","type":{},"msg":1}',
        '{"cmd":"NODE_HANDLE"}', '{"cmd":"NODE_SOCKET_GET_COUNT","key":{}}',
        '{"cmd":"NODE_ORRERY_REPLY"}',
        '{"cmd":"NODE_ORRERY_REQUEST","id":{}}' } do
        await_close(lines(("peer:write(%q .. '\\n')"):format(text)))
      end
    end)
  end)

  it("may answer a request by any number of results", function()
    run(function()
      for _, n in ipairs { 251, 300000 } do
        local child = raw_peer(FRAMES .. ([[
          core.poll({ch:fileno()}, {}, -1)
          ch:receive()
          local _, _, id = ch:next()
          local list = {}
          for i = 1, %d do list[i] = i end
          ch:post(2, 0, list, id)
          while ch:flush() == false do core.poll({}, {ch:fileno()}, -1) end
          core.poll({ch:fileno()}, {}, -1)]]):format(n))
        local result, err = child:request("how many", 5000)

        assert.is_nil(result)
        assert.equal("EPROTO", err.code)
        child:kill()
        await_close(child)
      end
    end)
  end)

  it("that reads nothing and asks for ever is not answered for ever", function()
    run(function()
      local child = lines [[
        local text = ('{"cmd":"NODE_SOCKET_GET_COUNT","key":"k"}\n'):rep(1000)
        for i = 1, 300 do peer:write(text) end]]
      local server = assert(orrery.net.create_server():listen(0, "127.0.0.1"))
      child:send("server", server, nil, function() end)
      await_close(child)
      server:close()
    end)
  end)

  it("that has closed its ears fills no inbox without bounds", function()
    run(function()
      local child = raw_peer(FRAMES .. [[
        for i = 1, 5000 do ch:send(("x"):rep(1000)) end
        ch:post(1, 0, "a request, whose answer fails", 7)
        for i = 1, 5000 do ch:send(("x"):rep(1000)) end
        os.execute("true")
        while ch:flush() == false do core.poll({}, {ch:fileno()}, 100) end]])
      helper.eventually(function()
        return child.channel_.receiving_ == "paused"
      end)

      assert.is_true(child.channel_.waiting_ <= 1200)
      child:kill()
      await_close(child)
    end)
  end)

  it("cannot pass a file off as a pipe or a socket, which libuv "
    .. "aborts over", function()
    run(function()
      for _, description in ipairs {
        "{ type = 'stream', kind = 'pipe' }", "{ type = 'luv', kind = 'pipe' }",
        "{ type = 'luv', kind = 'tcp' }", "{ type = 'luv', kind = 'tty' }",
        "{ type = 'net.Socket' }", "{ type = 'dgram.Socket' }",
      } do
        local child =
          raw_peer(FRAMES .. [[local file = core.open("/etc/passwd", "r") ]]
          .. ("ch:post(0, 0, 1, nil, %s, file:fileno()) ch:flush()"):format(
            description))
        local _, handle = child:receive(5000)
        if handle and handle.read then
          assert.is_string(handle:read(nil, 5000))
          handle:destroy()
        end
        await_close(child)
      end
    end)
  end)

  it("keeps nobody alive by a server that was never taken", function()
    run(function()
      local child = fork [[
        orrery.go(function()
          local server = orrery.net.create_server():listen(0, "127.0.0.1")
          process.send("take it", server, nil, function() server:close() end)
        end)]]
      await_close(child) -- and the helper finds nothing that is left
      child = nil -- luacheck: ignore
      collectgarbage()
    end)
  end)

  describe("fills no table of fds:", function()
    local SEND = FRAMES .. NULL .. [[
      for i = 1, 1000 do
        ch:post(0, 0, i, nil, { type = "fd" }, null:fileno())
      end
      while ch:flush() == false do core.poll({}, {ch:fileno()}, 100) end]]

    local function open_fds()
      local count = 0
      for _ in pairs(helper.fds()) do count = count + 1 end
      return count
    end

    it("few wait for a listener while it lives", function()
      run(function()
        local child = raw_peer(SEND .. " core.poll({ch:fileno()}, {}, 20000)")
        helper.eventually(function()
          return child.channel_.receiving_ == "paused"
        end)
        orrery.sleep(1) -- and nothing more is read in another turn

        -- 64, and the set of 253 that they are of
        assert.is_true(open_fds() < 400)
        child:kill()
        await_close(child)
      end)
    end)

    it("fault C1: none come amid a frame that never ends", function()
      run(function()
        local child = raw_peer([[
          peer:write(string.pack("<I4BBI2", 1 << 20, 0, 0, 0))]]
          .. " " .. FRAMES .. NULL .. [[
          for set = 1, 16 do
            for i = 1, 253 do ch:post(0, 0, i, nil, {}, null:fileno()) end
            if ch:flush() == nil then break end
          end
          core.poll({ch:fileno()}, {}, 20000)]])

        assert.equal("EPROTO", child:wait_for("disconnect", 10000).code)
        assert.is_true(open_fds() < 400)
        child:kill()
        await_close(child)
      end)
    end)

    it("fault C1: few come amid a line that never ends", function()
      run(function()
        local child = lines(NULL .. [[
          peer:write('"')
          local ch = core.fork(peer, "lines", 1 << 28)
          for i = 1, 17 do
            ch:line("", null:fileno())
            ch:flush()
          end
          core.poll({ch:fileno()}, {}, 20000)]])

        assert.equal("EPROTO", child:wait_for("disconnect", 10000).code)
        child:kill()
        await_close(child)
      end)
    end)

    it("half of them are lost once it has gone", function()
      run(function()
        local child = raw_peer(SEND)
        child:wait_for("exit", 10000)
        helper.eventually(function()
          local receiving = child.channel_.receiving_
          return receiving == "gone" or receiving == "ended"
        end)

        -- 512, and a set of 253 that is being read
        assert.is_true(open_fds() < 850)
        await_close(child)
        local got = 0
        for i = 1, 1000 do
          local n, fd, err = child:receive()
          assert.equal(i, n)
          if fd then fd:close() else assert.equal("EMFILE", err.code) end
          got = got + (fd and 1 or 0)
        end
        assert.equal(512, got)
      end)
    end)
  end)

  it("cannot make the keys of a message collide", function()
    run(function()
      local child = raw_peer([[
        local parts = { string.pack("<I4BBI2", 5 + 10 * 65536, 0, 0, 0)
          .. "\xdf\0\1\0\0" }
        for i = 1, 65536 do
          parts[#parts + 1] = string.pack(">Bi8", 0xd3, i * 65535) .. "\xc0"
        end
        local text, at = table.concat(parts), 1
        while at <= #text do
          local n = peer:write(text, at)
          at = at + (n or 0)
        end]])
      local err = child:wait_for("disconnect", 10000)
      assert.is_string(err.code)
      await_close(child)
    end)
  end)
end)

describe("a listener that throws", function()
  it("keeps no disconnect from coming, nor the end of the child", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        orrery.process.on("uncaught_exception", function() end)
        local path = os.tmpname()
        local file = io.open(path, "w")
        file:write [=[
          local p = require 'orrery'.process
          for i = 1, 50 do p.send(i) end]=]
        file:close()
        local child = orrery.fork(path)
        local n = 0
        child:on("message", function() n = n + 1 error("thrown") end)
        child:on("disconnect", function() print("disconnect", n) end)
        child:on("close", function() print "close" os.remove(path) end)
        orrery.core.poll({}, {}, 100)
        child:disconnect()
        require "luv".run()]])

      assert.matches("^disconnect\t%d+\nclose\n$", result.stdout)
    end)
  end)
end)

describe("a socket with bytes to write", function()
  it("is not cut off by being sent: it is refused, and stays here", function()
    run(function()
      local child = fork [[
        process.on("message",
          function(m, s) if s then s:finish("END") end end)]]
      local size, err = 5000000, nil
      local server = assert(orrery.net.create_server(function(socket)
        socket:write(("x"):rep(size))
        child:send("too early", socket, nil, function(e) err = e end)
        helper.eventually(function() return err end)
        while socket.queued_ > 0 do orrery.sleep(1) end
        child:send("now", socket)
      end):listen(0, "127.0.0.1"))
      local client <close> =
        assert(orrery.net.connect(server:address().port, "127.0.0.1"))
      local text = client:read_all(10000)

      assert.equal("EBUSY", err.code)
      assert.equal(size + 3, #text)
      server:close()
      child:disconnect()
      await_close(child)
    end)
  end)
end)

describe("a fork that failed to start", function()
  it("takes messages and requests as one whose channel is closed", function()
    run(function()
      local child = orrery.fork("x.lua", {}, { exec_path = "/no/such/program" })
      child:on("error", function() end)

      assert.is_false(child:send(1))
      local _, err = child:request(1)
      assert.equal("ERR_IPC_CHANNEL_CLOSED", err.code)
      _, err = child:receive()
      assert.equal("ERR_IPC_CHANNEL_CLOSED", err.code)
      child:disconnect()
      await_close(child)
    end)
  end)
end)
