local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local spawn, run = orrery.spawn, helper.run

--- Closes what a test opened of a child and waits for it.
local function finish(child)
  for _, stream in pairs(child.stdio) do stream:destroy() end
  child:wait()
end

local function raised(stdio)
  local ok, err = pcall(function()
    local child = spawn("true", {}, { stdio = stdio })
    return child
  end)
  assert.is_false(ok)
  return err
end

describe("stdio #spawn", function()
  it("B18: pads a short list with pipes, gives nil for ignore, "
    .. "changes nothing", function()
    run(function()
      local stdio = { "pipe" }
      local piped = spawn("true", {}, { stdio = stdio })
      local ignored = spawn("true", {}, { stdio = "ignore" })

      assert.is_table(piped.stdin)
      assert.is_table(piped.stdout)
      assert.is_table(piped.stderr)
      assert.same({ "pipe" }, stdio)
      assert.is_nil(ignored.stdin)
      assert.is_nil(ignored.stdout)
      assert.is_nil(ignored.stderr)
      finish(piped)
      finish(ignored)
    end)
  end)

  it("B19: raises for no fd, stream or word, and inherit above 2 "
    .. "(quirk 6)", function()
    local before = helper.fds()
    for _, bad in ipairs {
      "foo", 5.5, true, { "foo" }, { -1 }, { 5.5 }, { {} }, { print },
      { true }, { "pipe", "stdout" }, { [0] = "pipe" }, { x = "pipe" },
      { nil, nil, nil, "inherit" }, { { file = 5 } },
      { { file = "/dev/null", mode = "x" } }, { "ipc", "ipc" },
    } do
      assert.matches(
        "^spec/child_process/stdio_spec.lua:%d+: spawn: option 'stdio'",
        raised(bad))
    end
    assert.same(before, helper.fds())
  end)

  it("B19: takes process.stdin, stdout and stderr for fds 0 to 2", function()
    run(function()
      local process = orrery.process
      local child = spawn("true", {},
        { stdio = { "ignore", process.stdout, process.stderr } })

      assert.equal(0, child:wait())
      assert.is_nil(child.stdout)
    end)
  end)

  it("B20: writes to stdin, which is not readable, and reads it "
    .. "all back", function()
    run(function()
      local child = spawn("cat")
      local log = helper.record(child, { "exit", "close" })
      local text = ""
      child.stdout:on("data", function(chunk) text = text .. chunk end)
      child.stdin:write("hello")
      child.stdin:write(" ")
      child.stdin:write("world")
      child.stdin:finish()
      child:wait_for("close")

      assert.equal("hello world", text)
      assert.is_true(child.stdin.writable == false)
      assert.is_false(child.stdin.readable)
      assert.equal("exit close", helper.names(log))
      finish(child)
    end)
  end)

  it("B21: gets every byte to the child, also beyond backpressure", function()
    run(function()
      local child = spawn("wc", { "-c" })
      local chunk, count = ("x"):rep(65536), 0
      repeat count = count + 1 until not child.stdin:write(chunk)
      for _ = 1, 100 do child.stdin:write(chunk) end
      child.stdin:finish()
      local text = child.stdout:read_all()

      assert.equal((count + 100) * 65536, tonumber(text))
      finish(child)
    end)
  end)

  it("B22: closes after the whole output of a child that "
    .. "exits at once", function()
    run(function()
      local child = spawn("head", { "-c", "500000", "/dev/zero" })
      local size = 0
      child.stdout:on("data", function(chunk) size = size + #chunk end)
      child:wait_for("close")

      assert.equal(500000, size)
      finish(child)
    end)
  end)

  it("B23: ends a stream that was read a little, and steals no data", function()
    run(function()
      local child = spawn("echo", { "123" })
      assert.equal("1", child.stdout:read(1))
      child:wait()

      assert.equal("23\n", child.stdout:read_all())
      finish(child)
    end)
  end)

  it("B23: closes without the streams that nobody asked for, which stay "
    .. "readable",
    function()
      run(function()
        local child = spawn("echo", { "later" })
        child:wait_for("close")

        assert.equal("later\n", child.stdout:read_all())
        finish(child)
      end)
    end)

  it("B24: joins children by their pipes without reading them here", function()
    run(function()
      local cat = spawn("cat", {}, { stdio = { "pipe", "pipe", "inherit" } })
      local grep = spawn("grep", { "x" }, { stdio = { cat.stdout, "pipe" } })
      local wc = spawn("wc", { "-c" }, { stdio = { grep.stdout, "pipe" } })
      cat.stdin:finish((("x"):rep(1023) .. "\n"):rep(1024))
      local text = wc.stdout:read_all()

      assert.equal(1048576, tonumber(text))
      assert.equal(0, cat.stdout.bytes_read + grep.stdout.bytes_read)
      finish(cat)
      finish(grep)
      finish(wc)
    end)
  end)

  it("B25: reads a stream on, after the child that shared it "
    .. "has ended", function()
    run(function()
      local cat = spawn("cat", {}, { stdio = { "pipe", "pipe", "inherit" } })
      local head = spawn("dd", { "bs=1", "count=5", "status=none" },
        { stdio = { cat.stdout, "pipe", "inherit" } })
      cat.stdin:write("12345")
      assert.equal("12345", head.stdout:read_all())
      head:wait()
      cat.stdin:finish("6789")

      assert.equal("6789", cat.stdout:read_all())
      finish(cat)
      finish(head)
    end)
  end)

  it("B26: lets two children share one stdin, and writes to "
    .. "it as well", function()
    run(function()
      local cat = spawn("cat", {}, { stdio = { "pipe", "pipe", "inherit" } })
      local one = spawn("echo", { "one" }, { stdio = { "ignore", cat.stdin } })
      one:wait()
      local two = spawn("echo", { "two" }, { stdio = { "ignore", cat.stdin } })
      two:wait()
      cat.stdin:finish("three\n")

      assert.equal("one\ntwo\nthree\n", cat.stdout:read_all())
      finish(cat)
      finish(one)
      finish(two)
    end)
  end)

  it("B27: pipes through here with backpressure", function()
    run(function()
      local echo = spawn("head", { "-c", "3000000", "/dev/zero" })
      local tr = spawn("tr", { "\\0", "o" })
      local wc = spawn("wc", { "-c" })
      echo.stdout:pipe(tr.stdin)
      tr.stdout:pipe(wc.stdin)

      assert.equal(3000000, tonumber(wc.stdout:read_all()))
      finish(echo)
      finish(tr)
      finish(wc)
    end)
  end)

  it("B28: hands our stdio to a grandchild, and lives until the child has "
    .. "ended", function()
    run(function()
      local result = helper.lua([[
        local spawn = require "orrery".spawn
        io.write("parent ")
        local child = spawn("sh", {"-c", "read line; echo child $line; exit 3"},
          {stdio = "inherit"})
        child:on("exit", function(code) print("exit", code) end)
        require "luv".run()]],
          { stdio = { { file = "README.md" }, "pipe", "pipe" } })

      assert.matches("^parent child .*\nexit\t3\n$", result.stdout)
    end)
  end)

  it("B29: gives an extra fd that works both ways", function()
    run(function()
      local child = spawn("sh", { "-c", "read line <&4; echo got $line >&4" },
        { stdio = { "ignore", "ignore", "inherit", nil, "pipe" } })
      child.stdio[4]:write("something\n")

      assert.equal("got something\n", child.stdio[4]:read_all())
      assert.is_nil(child.stdio[3])
      finish(child)
    end)
  end)

  it("B31: takes a live connection as a child's stdout", function()
    run(function()
      local server, client = uv.new_tcp(), uv.new_tcp()
      local text, child = "", nil
      server:bind("127.0.0.1", 0)
      server:listen(8, function()
        local socket = uv.new_tcp()
        server:accept(socket)
        child = spawn("echo", { "to the socket" },
          { stdio = { "ignore", socket, "inherit" } })
        socket:close()
        server:close()
      end)
      client:connect("127.0.0.1", server:getsockname().port, function()
        client:read_start(function(_, data)
          text = text .. (data or "")
          if not data then client:close() end
        end)
      end)
      helper.eventually(function() return client:is_closing() end)

      assert.equal("to the socket\n", text)
      finish(child)
    end)
  end)

  it("B32: survives writing to a stdout whose reader has gone", function()
    run(function()
      local child = spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        process.stdin:read()
        process.stdout:on("error", function() process.exit(42) end)
        process.stdout:write("lost")]] }, { env_extend = helper.env() })
      child.stdout:destroy()
      child.stdin:finish("go")

      assert.equal(42, child:wait())
      finish(child)
    end)
  end)

  it("B34: truncates nothing of 100 kB or of 40 x 1 MB", function()
    run(function()
      for _, size in ipairs { 100000, 40 * 1000000 } do
        local child = spawn("head", { "-c", tostring(size), "/dev/zero" })
        assert.equal(size, #child.stdout:read_all())
        finish(child)
      end
    end)
  end)

  it("B35: gives pipes, files and our stderr to other children", function()
    run(function()
      local path = helper.tmpname()
      local out = io.open(path, "w")
      out:close()
      local child = spawn("sh", { "-c", "echo file; echo merged >&2" },
        { stdio = { { file = "/dev/null" }, { file = path, mode = "w" },
          "stdout" } })
      child:wait()
      local appended = spawn("echo", { "more" },
        { stdio = { "ignore", { file = path, mode = "a" } } })
      appended:wait()
      local reader = spawn("cat", {}, { stdio = { { file = path }, "pipe" } })
      local text = reader.stdout:read_all()
      os.remove(path)

      assert.equal("file\nmerged\nmore\n", text)
      finish(child)
      finish(appended)
      finish(reader)
    end)
  end)

  it("B35: gives a real pipe, which can be opened again as "
    .. "/dev/stdin", function()
    run(function()
      local child = spawn("cat", { "/dev/stdin" })
      child.stdin:finish("reopened")

      assert.equal("reopened", child.stdout:read_all())
      finish(child)
    end)
  end)

  it("B36: starts with fds 1 and 2 closed and does not take them "
    .. "for others", function()
    run(function()
      local result = orrery.sh(
        helper.orrery .. [[ -e 'local o = require "orrery"
          local r = o.run("echo", {"inner"})
          o.process.exit(r.stdout == "inner\n" and 5 or 6)' >&- 2>&-]],
        { env_extend = helper.env() })

      assert.equal(5, result.code)
    end)
  end)

  local function stdin_of(code, stdio, input)
    local child = spawn(helper.orrery, { "-e", code },
      { env_extend = helper.env(), stdio = { stdio, "pipe", "inherit" } })
    if input then child.stdin:finish(input) end
    local text = child.stdout:read_all()
    child:wait()
    finish(child)
    return text
  end

  local ALL = 'io.write(#require "orrery".process.stdin:read_all())'

  it("B37: reads stdin from a file, a pipe and a socket", function()
    run(function()
      local file = io.open("LICENSE")
      local size = file:seek("end")
      file:close()
      assert.equal(tostring(size), stdin_of(ALL, { file = "LICENSE" }))
      assert.equal("3000000", stdin_of(ALL, "pipe", ("x"):rep(3000000)))
      assert.equal("3000000", stdin_of(ALL, "socket", ("x"):rep(3000000)))
      assert.equal("0", stdin_of(ALL, "ignore"))
    end)
  end)

  it("B37: does not hold the loop for a stdin that is untouched "
    .. "or paused", function()
    run(function()
      for _, code in ipairs {
        "", 'local x = require "orrery".process.stdin',
        'require "orrery".process.stdin:read()',
        'local s = require "orrery".process.stdin '
          .. 's:on("data", function() s:pause() end)',
      } do
        local child = spawn(helper.orrery, { "-e", code },
          { env_extend = helper.env(),
            stdio = { "pipe", "inherit", "inherit" } })
        child.stdin:write("something\n")
        assert.equal(0, child:wait(10000), code)
        finish(child)
      end
    end)
  end)

  it("B38: keeps stdout usable after destroy and finish", function()
    run(function()
      local result = helper.cli { "-e", [[
        local out = require "orrery".process.stdout
        out:write("one ") out:destroy() out:write("two ") out:finish("three ")
        out:write("four")]] }

      assert.equal("one two three four", result.stdout)
    end)
  end)

  it("B39: reports EPIPE of stdout to those who listen", function()
    run(function()
      local child = spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        process.stdout:on("error", function(err)
          process.exit(err.code == "EPIPE" and err.syscall == "write" and 9
            or 1)
        end)
        process.stdin:read()
        process.stdout:write("x")]] }, { env_extend = helper.env() })
      child.stdout:destroy()
      child.stdin:finish("go")

      assert.equal(9, child:wait())
      finish(child)
    end)
  end)

  it("opens nothing where a file cannot be opened", function()
    run(function()
      local child = spawn("true", {},
        { stdio = { "pipe", { file = "/no/file" } } })
      local _, err = child:wait()

      assert.same({ "ENOENT", "open", "/no/file" },
        { err.code, err.stage, err.path })
    end)
  end)

  it("fails to start with an fd that is not open", function()
    run(function()
      local _, err = spawn("true", {}, { stdio = { 999 } }):wait()

      assert.same({ "EBADF", "dup", "fd 999" },
        { err.code, err.stage, err.path })
    end)
  end)

  it("swaps fds as it is told", function()
    run(function()
      local child = spawn("sh", { "-c", "echo out; echo err >&2" },
        { stdio = { "ignore", "pipe", "stdout" } })

      assert.equal("out\nerr\n", child.stdout:read_all())
      finish(child)
    end)
  end)

  it("does not make a child's stdio non-blocking", function()
    run(function()
      local child = spawn("sh", { "-c",
        "for n in 0 1 2; do grep flags /proc/self/fdinfo/$n; done" })
      local text = child.stdout:read_all()
      for flags in text:gmatch("flags:%s+(%d+)") do
        assert.equal(0, tonumber(flags, 8) & tonumber("4000", 8))
      end
      finish(child)
    end)
  end)

  it("does not fail where the child never reads, or has gone", function()
    run(function()
      local child = spawn("true")
      child:wait()
      local called
      assert.is_false(child.stdin:write("x",
        function(err) called = err.code end))
      helper.eventually(function() return called end)

      local slow = spawn("sleep", { "100" },
        { stdio = { "pipe", "ignore", "ignore" } })
      slow.stdin:write(("x"):rep(1000000), function(err) called = err end)
      slow:kill("SIGKILL")
      slow:wait()
      helper.eventually(function() return type(called) == "table" end)
      finish(child)
      finish(slow)
    end)
  end)

  it("gives a connection to a child as it comes, who reads it as "
    .. "any stdin", function()
    run(function()
      local child, unread
      local server = orrery.net.create_server()
      server:on("connection", function(socket)
        child = spawn("cat", {}, { stdio = { socket, socket, "inherit" } })
        child:on("exit", function()
          unread = socket.bytes_read
          socket:destroy()
        end)
      end)
      assert(server:listen(0, "127.0.0.1"))
      local client <close> =
        assert(orrery.net.connect(server:address().port, "127.0.0.1"))
      helper.eventually(function() return child end)
      client:write_wait("one\n")
      assert.equal("one\n", client:read())
      client:write_wait("two\n")
      assert.equal("two\n", client:read())
      client:finish()

      assert.equal(0, child:wait())
      helper.eventually(function() return unread end)
      assert.equal(0, unread)
      server:close()
    end)
  end)
end)
