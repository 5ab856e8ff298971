local helper = require "spec.helper"
local core = require "orrery.core"
local orrery = require "orrery"
local stream = require "orrery.stream"
local task = require "orrery.task"

local run = helper.run

--- The two ends of a pipe as streams, and what closes both at a block's end.
local function pipe()
  local reading, writing = core.pipe()
  local reader = stream.new(reading, "pipe", "r")
  local writer = stream.new(writing, "pipe", "w")
  local function close()
    reader:destroy()
    writer:destroy()
  end
  return reader, writer, setmetatable({}, { __close = close })
end

describe("stream reading", function()
  it("reads nothing until it is asked", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      writer:write("x")
      task.sleep(1)

      assert.equal(0, reader.bytes_read)
      assert.equal("x", reader:read())
    end)
  end)

  it("read gives what there is, read_exactly waits for all", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      writer:write("abcdef")
      assert.equal("ab", reader:read(2))
      assert.equal("cdef", reader:read(100))
      task.go(function()
        writer:write("12")
        task.sleep(1)
        writer:finish("345")
      end)
      assert.equal("1234", reader:read_exactly(4))
      local data, err = reader:read_exactly(2)
      assert.is_nil(data)
      assert.equal("ERR_STREAM_PREMATURE_CLOSE", err.code)
      assert.equal("5", reader:read())
      assert.is_nil(reader:read())
    end)
  end)

  it("gives nil and ETIMEDOUT, and loses nothing by that", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      for _, method in ipairs { "read", "read_exactly", "read_all" } do
        local args = method == "read_all" and { 1 } or { 4, 1 }
        local data, err = reader[method](reader, table.unpack(args))
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", err.code)
      end
      writer:write("late")
      assert.equal("late", reader:read())
    end)
  end)

  it("splits lines across chunks, and gives a last one without end", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      task.go(function()
        for _, chunk in ipairs { "a\nb", "b\n", "\n", "c" } do
          writer:write(chunk)
          task.sleep(1)
        end
        writer:finish()
      end)
      local lines = {}
      for line in reader:lines() do lines[#lines + 1] = line end

      assert.same({ "a", "bb", "", "c" }, lines)
    end)
  end)

  it("gives back in pieces just what was written", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      local text = {}
      for i = 1, 20000 do text[i] = ("line %d"):format(i) end
      text = table.concat(text, "\n") .. "\n"
      writer:finish(text)
      local seen = { reader:read_exactly(70000), reader:read(3) }
      for line in reader:lines() do
        seen[#seen + 1] = line .. "\n"
        if #seen == 5000 then break end
      end
      seen[#seen + 1] = reader:read_all()

      assert.equal(text, table.concat(seen))
    end)
  end)

  it("refuses a second reader at the same time", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      local first = task.go(function() return reader:read() end)
      task.sleep(0)
      local ok, err = pcall(reader.read, reader)
      writer:write("x")

      assert.is_false(ok)
      assert.matches("another task is reading", err)
      assert.equal("x", first:join())
    end)
  end)

  it("pauses and resumes data", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      local seen = {}
      reader:on("data", function(chunk)
        seen[#seen + 1] = chunk
        reader:pause()
      end)
      writer:write("one")
      helper.eventually(function() return #seen == 1 end)
      writer:write("two")
      task.sleep(2)
      assert.same({ "one" }, seen)
      reader:resume()
      helper.eventually(function() return #seen == 2 end)
    end)
  end)

  it("lets go of an fd that was read in part and dropped", function()
    run(function()
      local before = helper.fds()
      local function read_a_little()
        local child = orrery.spawn("echo", { "abc" })
        assert.equal("a", child.stdout:read(1))
        child:wait()
      end
      for _ = 1, 3 do read_a_little() end
      helper.eventually(function()
        collectgarbage()
        for fd in pairs(helper.fds()) do
          if not before[fd] then return false end
        end
        return true
      end)
    end)
  end)

  it("stops reading ahead: a writer that nobody reads is held up", function()
    run(function()
      local child = orrery.spawn("sh", { "-c", "yes" },
        { stdio = { "ignore", "pipe", "inherit" } })
      child.stdout:read(1)
      task.sleep(20)
      assert.is_true(child.stdout.bytes_read <= 2 * 65536)
      child:kill("SIGKILL")
      child:wait()
      child.stdout:destroy()
    end)
  end)

  it("needs no fd: what a child writes is read where none is left", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local child = orrery.spawn("echo", {"here"},
          {stdio = {"ignore", "pipe", "ignore"}})
        local held = {}
        repeat
          held[#held + 1] = io.open("/dev/null")
        until not io.open("/dev/null")
        print(child.stdout:read_all(), child:wait())]],
        { rlimits = { nofile = 48 } })

      assert.equal("here\n\t0\n", result.stdout)
    end)
  end)

  it("wakes a reader when it is destroyed", function()
    run(function()
      local reader, _, ends = pipe()
      local _ <close> = ends
      local waiting = task.go(function() return reader:read() end)
      task.sleep(0)
      reader:destroy()

      assert.is_nil(waiting:join())
      assert.is_nil(reader:read())
    end)
  end)
end)

describe("stream writing", function()
  it("calls each callback once, also of writes that never went out", function()
    run(function()
      local _, writer, ends = pipe()
      local _ <close> = ends
      local results = {}
      for i = 1, 20 do
        writer:write(("x"):rep(100000), function(err)
          results[i] = err and err.code or "ok"
        end)
      end
      writer:destroy()
      helper.eventually(function() return #results == 20 end)

      assert.equal("ECANCELED", results[20])
    end)
  end)

  it("says false above the high-water mark, and drain below it", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      local drained
      writer:on("drain", function() drained = true end)
      repeat until not writer:write(("x"):rep(65536))
      reader:resume()
      helper.eventually(function() return drained end)

      assert.is_true(writer:write("x"))
    end)
  end)

  it("write_wait waits for the kernel, or for the time given", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      assert.is_true(writer:write_wait("small"))
      local ok, err = writer:write_wait(("x"):rep(1000000), 1)
      assert.is_nil(ok)
      assert.equal("ETIMEDOUT", err.code)
      reader:resume()
      assert.is_true(writer:write_wait("more"))
    end)
  end)

  it("finish flushes, calls back and emits finish, then close", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      local log = helper.record(writer, { "finish", "close" })
      local called
      writer:finish(("x"):rep(300000), function(err) called = err or "ok" end)
      assert.equal(300000, #reader:read_all())
      helper.eventually(function() return #log == 2 end)

      assert.equal("finish close", helper.names(log))
      assert.equal("ok", called)
      local refused
      assert.is_false(writer:write("x", function(err) refused = err.code end))
      helper.eventually(function() return refused end)
    end)
  end)

  it("reports EPIPE to callback and listener", function()
    run(function()
      local reader, writer, ends = pipe()
      local _ <close> = ends
      reader:destroy()
      task.sleep(1)
      local log = helper.record(writer, { "error", "close" })
      local ok, err = writer:write_wait("x")
      helper.eventually(function() return #log == 2 end)

      assert.is_nil(ok)
      assert.equal("EPIPE", err.code)
      assert.equal("error close", helper.names(log))
    end)
  end)

  it("closes at the end of a block, also when an error unwinds", function()
    run(function()
      local reading, writing = core.pipe()
      local reader = stream.new(reading, "pipe", "r")
      local ok, err = pcall(function()
        local writer <close> = stream.new(writing, "pipe", "w")
        writer:write("x")
        error("on the way", 0)
      end)

      assert.same({ false, "on the way" }, { ok, err })
      assert.equal("x", reader:read_all())
    end)
  end)

  it("raises for data that is no string", function()
    run(function()
      local _, writer, ends = pipe()
      local _ <close> = ends
      for _, method in ipairs { "write", "write_wait", "finish" } do
        local ok, err = pcall(function()
          local result = writer[method](writer, 5)
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/stream_spec.lua", err)
      end
    end)
  end)
end)

describe("stream.open", function()
  it("reads, writes and appends to files", function()
    run(function()
      local path = helper.tmpname()
      local out = stream.open(path, "w")
      assert.is_true(out:write_wait("one\n"))
      out:finish("two\n")
      out:wait_for("close")
      local more = stream.open(path, "a")
      more:finish("three")
      more:wait_for("close")
      local reader = stream.open(path)
      local lines = {}
      for line in reader:lines() do lines[#lines + 1] = line end
      reader:destroy()
      os.remove(path)

      assert.same({ "one", "two", "three" }, lines)
    end)
  end)

  it("pipes a large file, and a child's output into one", function()
    run(function()
      local from, to = helper.tmpname(), helper.tmpname()
      local file = io.open(from, "w")
      file:write(("x"):rep(3000000))
      file:close()
      local dest = stream.open(to, "w")
      stream.open(from):pipe(dest)
      dest:wait_for("close")
      local child = orrery.spawn("cat", { to },
        { stdio = { "ignore", "pipe", "inherit" } })
      local size = #child.stdout:read_all()
      child:wait()
      child.stdout:destroy()
      os.remove(from)
      os.remove(to)

      assert.equal(3000000, size)
    end)
  end)

  it("says EISDIR for a folder, once it is read", function()
    run(function()
      local folder <close> = assert(stream.open("/tmp"))
      local data, err = folder:read()

      assert.is_nil(data)
      assert.equal("EISDIR", err.code)
    end)
  end)

  it("gives nil, err for what cannot be opened, and raises for what is no path",
    function()
      run(function()
        local none, err = stream.open("/no/such/file")
        assert.is_nil(none)
        assert.same({ "ENOENT", "/no/such/file" }, { err.code, err.path })
        for _, args in ipairs { { 5 }, { "a\0" }, { "x", "rw" }, {} } do
          local ok, why = pcall(function()
            local opened = stream.open(args[1], args[2])
            return opened
          end)
          assert.is_false(ok)
          assert.matches("^spec/stream_spec.lua:%d+: stream.open: ", why)
        end
      end)
    end)
end)

describe("stream.from_fd", function()
  it("fault B12: reads and writes what is open already", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local stream = orrery.stream
        local input, output = stream.from_fd(3), stream.from_fd(4)
        print(input.readable, input.writable, output.readable, output.writable)
        output:finish(input:read_all():upper())
        output:wait_for "close"
        print((io.open "/proc/self/fd/3"), (io.open "/proc/self/fd/4"))]],
        { stdio = { "ignore", "pipe", "inherit", { file = "README.md" },
          { file = "/dev/null", mode = "w" } } })

      assert.equal("true\tfalse\tfalse\ttrue\nnil\tnil\n", result.stdout)
    end)
  end)

  it("takes an orrery.fd over, of a socket in both directions", function()
    run(function()
      local a, b = core.socketpair()
      local one, other <close> = stream.from_fd(a), stream.from_fd(b)
      one:finish "question"
      assert.equal("question", other:read_all())
      other:finish "answer"

      assert.equal("answer", one:read_all())
      assert.is_nil(a:fileno())
    end)
  end)

  it("gives EBADF for what is not open, and raises for what is no fd",
    function()
      local fd = core.pipe()
      fd:close()
      for _, closed in ipairs { fd, 99999 } do
        local none, err = stream.from_fd(closed)
        assert.is_nil(none)
        assert.equal("EBADF", err.code)
      end
      for _, bad in ipairs { -1, 1.5, "3", 1 << 31, {} } do
        local ok, why = pcall(stream.from_fd, bad)
        assert.is_false(ok)
        assert.matches("^stream.from_fd: the fd must be an integer, ",
          why:match("stream.from_fd.*"))
      end
    end)
end)
