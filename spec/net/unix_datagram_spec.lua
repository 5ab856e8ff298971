local helper = require "spec.helper"
local core = require "orrery.core"
local dgram = require "orrery.net.datagram"
local fixture = require "spec.fixture.net"
local task = require "orrery.task"
local uv = require "luv"

local run, socket_path = helper.run, fixture.socket_path

--- A socket that is bound to a path.
local function bound(path, on_message)
  return assert(dgram.create_socket("unix", on_message):bind(path))
end

--- Sends, and returns what the callback is called with. [w]
local function send(socket, data, path)
  return task.wait(function(wake)
    socket:send(data, path, function(err, size)
      wake(err and err.code or "ok", size)
    end)
  end, nil, "send")
end

describe("a Unix datagram socket", function()
  it("fault B12: binds to a path, which its close removes", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      for _, place in ipairs { path, { path = path, exclusive = true } } do
        local socket = dgram.create_socket("unix")
        assert.is_nil(socket:address())
        assert.equal(socket, socket:bind(place))
        assert.same({ path = path }, socket:address())
        assert.equal("socket", uv.fs_stat(path).type)
        assert.equal(("unix socket %s: bound"):format(path), tostring(socket))
        assert.is_true(socket:close())
        assert.is_nil((uv.fs_stat(path)))
      end
    end)
  end)

  it("fault B12: removes a relative path also after a chdir", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local back <close> = setmetatable({ uv.cwd() }, { -- luacheck: ignore
        __close = function(self) uv.chdir(self[1]) end })
      uv.chdir(path:match("^(.*)/"))
      local socket = bound("s")
      uv.chdir("/")
      assert.is_true(socket:close())

      assert.is_nil((uv.fs_stat(path)))
    end)
  end)

  it("fault B12: carries datagrams of all sizes, with their sender", function()
    run(function()
      local to, dir = socket_path()
      local _ <close> = dir
      local from, dir2 = socket_path()
      local _ <close> = dir2
      local receiver <close> = bound(to)
      local sender <close> = bound(from)
      for _, data in ipairs { "hello", "", "a\0b", ("x"):rep(100000) } do
        sender:send(data, to)
        local got, rinfo = receiver:wait_for("message", 5000)
        assert.equal(data, got)
        assert.same({ path = from, family = "unix", size = #data }, rinfo)
      end
    end)
  end)

  it("fault B12: runs messages as tasks, and answers", function()
    run(function()
      local to, dir = socket_path()
      local _ <close> = dir
      local from, dir2 = socket_path()
      local _ <close> = dir2
      local server
      server = bound(to, function(data, rinfo)
        task.sleep(1)
        server:send(data:upper(), rinfo.path)
      end)
      local client <close> = bound(from)
      client:send("ping", to)

      assert.equal("PING", (client:wait_for("message", 5000)))
      server:close()
    end)
  end)

  it("fault B12: tells senders without a path, and abstract ones", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local receiver <close> = bound(path)
      local unnamed <close> = dgram.create_socket("unix")
      unnamed:send("x", path)
      local _, rinfo = receiver:wait_for("message", 5000)
      assert.equal("", rinfo.path)
      assert.is_string((send(receiver, "answer", rinfo.path)))
      local raw <close> = core.unix_datagram()
      local name = "\0orrery-spec-" .. path
      assert(core.bind_path(raw:fileno(), name))
      assert.equal(1, core.send_to(raw:fileno(), "y", path))
      _, rinfo = receiver:wait_for("message", 5000)
      assert.equal(name, rinfo.path)

      assert.equal("ok", (send(receiver, "answer", rinfo.path)))
      assert.equal("answer", (core.receive_from(raw:fileno())))
    end)
  end)

  it("sends an answer for nobody to nobody", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local sender <close> = bound(path)
      local thief <close> = core.unix_datagram()
      if not core.bind_path(thief:fileno(), "\0") then return end -- taken

      assert.equal("ECONNREFUSED", (send(sender, "answer", "")))
      assert.is_nil((core.receive_from(thief:fileno())))
    end)
  end)

  it("fault B12: says what is wrong with a path to bind", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local first <close> = bound(path) -- luacheck: ignore
      local long = "/tmp/" .. ("x"):rep(103)
      local cases = {
        { path, "EADDRINUSE" }, { path .. "/x", "ENOTDIR" },
        { "/nonexistent/s", "ENOENT" }, { long, "ENAMETOOLONG" },
      }
      for _, case in ipairs(cases) do
        local socket = dgram.create_socket("unix")
        local none, err = socket:bind(case[1])
        assert.is_nil(none)
        assert.same({ case[2], "bind", case[1] },
          { err.code, err.syscall, err.path })
        socket:bind(case[1], error)
        assert.equal(case[2], socket:wait_for("error").code)
        assert.is_nil(socket:address())
        socket:close()
      end
      assert.truthy(uv.fs_stat(path))
      local longest <close> = bound(long:sub(1, 107)) -- luacheck: ignore
    end)
  end)

  it("fault B12: raises for bad arguments", function()
    run(function()
      local unix <close> = dgram.create_socket("unix")
      local udp <close> = dgram.create_socket("udp4")
      local function nothing() end
      local cases = {
        { unix.bind, unix }, { unix.bind, unix, 80 }, { unix.bind, unix, "" },
        { unix.bind, unix, "a\0b" }, { unix.bind, unix, { port = 1 } },
        { udp.bind, udp, { path = "/tmp/s" } }, { unix.send, unix, "x" },
        { unix.send, unix, "x", 80 }, { unix.send, unix, "x", "a\0b" },
        { unix.send, unix, "x", "/tmp/s", "host" },
        { unix.send, unix, 1, "/tmp/s" }, { udp.send, udp, "x", "/tmp/s" },
        { dgram.create_socket, "unix_dgram", nothing },
      }
      for i, case in ipairs(cases) do
        local ok, err = pcall(table.unpack(case))
        assert.is_false(ok, "case " .. i)
        assert.matches("^spec/net/unix_datagram_spec.lua:%d+: ", err)
      end
    end)
  end)

  it("fault B12: says what is wrong with a path to send to", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local socket <close> = dgram.create_socket("unix")
      local stale <close> = core.unix_datagram()
      core.bind_path(stale:fileno(), path)
      stale:close()
      local long = ("x"):rep(108)
      assert.equal("ENOENT", (send(socket, "x", "/nonexistent/s")))
      assert.equal("ECONNREFUSED", (send(socket, "x", path)))
      assert.equal("ENAMETOOLONG", (send(socket, "x", long)))
      socket:send("x", path)
      local err = socket:wait_for("error")

      assert.same({ "ECONNREFUSED", path }, { err.code, err.path })
      assert.equal("EMSGSIZE", (send(socket, ("x"):rep(10000000), path)))
    end)
  end)

  it("fault B12: waits for a receiver that is full, and keeps the order",
    function()
      run(function()
        local path, dir = socket_path()
        local _ <close> = dir
        local slow <close> = core.unix_datagram()
        core.bind_path(slow:fileno(), path)
        local socket <close> = dgram.create_socket("unix")
        local sent, count = {}, 2000
        for i = 1, count do
          socket:send(tostring(i), path, function(err)
            sent[#sent + 1] = err and err.code or i
          end)
        end
        task.sleep(5)
        assert.is_true(#sent < count)
        for i = 1, count do
          local data
          helper.eventually(function()
            data = core.receive_from(slow:fileno())
            return data
          end)
          assert.equal(tostring(i), data)
        end
        helper.eventually(function() return #sent == count end)
        for i = 1, count do assert.equal(i, sent[i]) end
      end)
    end)

  it("fault B12: fails what waits when it is closed, each once", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local slow <close> = core.unix_datagram()
      core.bind_path(slow:fileno(), path)
      local socket = dgram.create_socket("unix")
      local results = { ok = 0 }
      for _ = 1, 1000 do
        socket:send("x", path, function(err)
          local code = err and err.code or "ok"
          results[code] = (results[code] or 0) + 1
        end)
      end
      task.sleep(1)
      assert.is_true(socket:close())
      task.sleep(30)

      assert.equal(1000, results.ok + results.ECANCELED)
      assert.is_true(results.ok > 0 and results.ECANCELED > 0)
    end)
  end)

  it("fault B12: receives no more once it is closed by a listener", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local socket, count = bound(path), 0
      local sender <close> = dgram.create_socket("unix")
      socket:on("message", function()
        count = count + 1
        socket:close()
      end)
      for _ = 1, 5 do sender:send("x", path, function() end) end
      socket:wait_for("close")

      assert.equal(1, count)
    end)
  end)

  it("fault B12: goes to another process, and the file stays ours", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local socket <close> = bound(path)
      socket.handle_:recv_stop() -- or it would take what the child is to get
      local child <close> = helper.fork [[
        local _, socket = process.receive()
        local data, from = socket:wait_for("message")
        socket:close()
        process.send(tostring(socket) .. " " .. data .. " " .. from.family)
        process.disconnect()]]
      child:send("here", socket)
      local sender <close> = dgram.create_socket("unix")
      sender:send("data", path)

      assert.equal("unix socket -: closed data unix", (child:receive()))
      helper.await_close(child)
      assert.equal("socket", uv.fs_stat(path).type)
    end)
  end)

  it("fault B12: is nothing that Node takes", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local socket <close> = bound(path)
      local child <close> = helper.fork("process.receive()",
        { serialization = "json" })
      local ok, err = pcall(child.send, child, "x", socket)

      assert.is_false(ok)
      assert.matches("ERR_INVALID_HANDLE_TYPE", err)
    end)
  end)

  it("fault B12: is not made of what is none", function()
    run(function()
      local a, b = core.pipe()
      local stream_socket <close> = core.socketpair()
      for _, fd in ipairs { a, b, stream_socket } do
        local socket, err = dgram.adopt(fd, "unix")
        assert.is_nil(socket)
        assert.equal("ENOTSOCK", err.code)
        assert.is_nil((core.receive_from(fd:fileno())))
        fd:close()
      end
      assert.is_false(pcall(core.bind_path, 0, ("x"):rep(108)))
    end)
  end)

  it("has no settings of UDP", function()
    run(function()
      local socket <close> = dgram.create_socket("unix")
      assert.equal("EBADF", select(2, socket:set_ttl(1)).code)
      local path, dir = socket_path()
      local _ <close> = dir
      socket:bind(path)

      assert.equal("ENOTSUP", select(2, socket:set_ttl(1)).code)
      assert.equal("ENOTSUP", select(2, socket:add_membership("::1")).code)
      socket:close()
    end)
  end)

  it("lets the loop end once it is unreferenced", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local result = helper.script(([[
        local socket = orrery.dgram.create_socket("unix"):bind("%s"):unref()
        print(socket)]]):format(path), { timeout = 10000 })

      assert.same({ ("unix socket %s: bound\n"):format(path), 0 },
        { result.stdout, result.code })
    end)
  end)
end)
