local core = require "orrery.core"
local helper = require "spec.helper"
local stream = require "orrery.stream"
local task = require "orrery.task"

local run = helper.run

--- Tells whether a file is non-blocking.
local function is_nonblocking(fd)
  local info <close> = io.open("/proc/self/fdinfo/" .. fd)
  local flags = tonumber(info:read("a"):match("flags:%s+(%d+)"), 8)
  return flags & tonumber("4000", 8) ~= 0
end

--- Returns the ends of a pipe, or a pair of sockets, as streams, and what
--- closes both at a block's end.
local function pair(make, mode)
  local a, b = make()
  local one, other = stream.new(a, "shared", mode and "r" or "rw"),
    stream.new(b, "shared", mode and "w" or "rw")
  return one, other, setmetatable({}, { __close = function()
    one:destroy()
    other:destroy()
  end })
end

describe("a stream over a file that others share", function()
  it("passes on all, in order, and changes no flag", function()
    run(function()
      for _, mode in ipairs { "pipe", false } do
        local reader, writer, ends =
          pair(mode and core.pipe or core.socketpair, mode)
        local _ <close> = ends
        local sent = {}
        for i = 1, 40 do
          sent[i] = ("%05d"):format(i):rep(5000)
          writer:write(sent[i])
        end
        writer:finish()

        assert.is_false(is_nonblocking(writer:fileno()))
        assert.equal(table.concat(sent), reader:read_all())
        assert.is_false(is_nonblocking(reader:fileno() or 0))
      end
    end)
  end)

  it("waits at rest for a slow reader that has ended its own side", function()
    run(function()
      local one, other, ends = pair(core.socketpair)
      local _ <close> = ends
      one:write(("x"):rep(1 << 22))
      local watched, calls = one.handle_.watched_, 0
      local fn = watched.fn
      watched.fn = function(...)
        calls = calls + 1
        fn(...)
      end
      other:finish()
      task.sleep(50)

      assert.is_true(calls < 10)
      one:finish()
      assert.equal(1 << 22, #other:read_all())
    end)
  end)

  it("goes on after a pause, and ends one direction of a socket", function()
    run(function()
      local one, other, ends = pair(core.socketpair)
      local _ <close> = ends
      one:write "question"
      assert.equal("quest", other:read(5))
      assert.equal("ion", other:read(9))
      one:finish()
      assert.is_nil(other:read())
      other:finish "answer"

      assert.equal("answer", one:read_all())
    end)
  end)

  it("tells a writer that its reader has gone, or that it is closed", function()
    run(function()
      local reader, writer, ends = pair(core.pipe, "pipe")
      local _ <close> = ends
      local codes = {}
      local function note(err) codes[#codes + 1] = err and err.code or "ok" end
      writer:write(("x"):rep(200000), note)
      reader:destroy()
      helper.eventually(function() return #codes == 1 end)
      local _, second, more = pair(core.pipe, "pipe")
      local _ <close> = more
      second:write(("x"):rep(200000), note)
      second:write("x", note)
      second:destroy()
      task.sleep(1)

      assert.same({ "EPIPE", "ECANCELED", "ECANCELED" }, codes)
    end)
  end)

  it("fault B1: waits although another process takes the bytes", function()
    run(function()
      local reader, writer, ends = pair(core.pipe, "pipe")
      local _ <close> = ends
      local t = task.go(function() return reader:read() end)
      task.sleep(1)
      writer:write "taken"
      assert.equal("taken", (core.fd(reader:fileno()):read()))
      task.sleep(1)
      assert.equal("running", t.status)
      writer:write "left"

      assert.equal("left", t:join())
    end)
  end)
end)
