local helper = require "spec.helper"
local core = require "orrery.core"
local fixture = require "spec.fixture.net"
local loop = require "orrery.runtime.loop"
local orrery = require "orrery"
local process = require "orrery.process"
local stream = require "orrery.stream"
local task = require "orrery.task"

local pipes = {}

--- The two ends of a pipe as streams: what is written to the second comes out
--- of the first.
local function pipe()
  local reading, writing = core.pipe()
  local out, into = stream.new(reading, "pipe", "r"),
    stream.new(writing, "pipe", "w")
  pipes[#pipes + 1], pipes[#pipes + 2] = out, into
  return out, into
end

--- Runs fn as a test, and closes its pipes.
local function run(fn)
  helper.run(function()
    local _ <close> = setmetatable({}, { __close = function()
      for _, one in ipairs(pipes) do one:destroy() end
      pipes = {}
    end })
    fn()
  end)
end

--- How many listeners an emitter has that `pipe` may have added.
local function listeners(emitter)
  local count = 0
  for _, event in ipairs { "data", "end", "drain", "finish", "close", "error" }
  do
    count = count + emitter:listener_count(event)
  end
  return count
end

--- Ways in which the destination of a pipe ends.
local endings = {
  destroy = function(dest) dest:destroy() end,
  finish = function(dest) dest:finish() end,
  ["destroy with an error"] = function(dest)
    dest:on("error", function() end)
    dest:destroy(require "orrery.runtime.errors".new("EIO", "gone"))
  end,
}

describe("stream:pipe", function()
  it("fault B3: stops when the child that it feeds ends", function()
    run(function()
      local source, feed = pipe()
      local first <close> = orrery.spawn("true")
      source:pipe(first.stdin)
      first:wait_for("close")
      feed:finish("for the second")
      task.sleep(5)
      assert.equal(0, source.bytes_read)
      local second <close> = orrery.spawn("cat")
      source:pipe(second.stdin)

      assert.equal("for the second", second.stdout:read_all())
    end)
  end)

  for _, kind in ipairs { "pipe", "socket" } do
    it("fault B3: keeps no process alive then: " .. kind, function()
      run(function()
        local child <close> = orrery.spawn(helper.orrery, { "-e", ([[
          local orrery = require "orrery"
          local child = orrery.spawn("true", {}, { stdio = "%s" })
          orrery.process.stdin:pipe(child.stdin)]]):format(kind) },
          { env_extend = helper.env() })

        assert.equal(0, (child:wait(10000)))
      end)
    end)
  end

  for name, finish in pairs(endings) do
    it("fault B3: leaves the rest, the next chunk too, after " .. name,
      function()
        run(function()
          local source, feed = pipe()
          local out, dest = pipe()
          source:pipe(dest)
          feed:write("one")
          assert.equal("one", out:read())
          feed:write("two")
          finish(dest)
          helper.eventually(function() return listeners(source) == 0 end)

          assert.equal("two", source:read())
          assert.equal(0, dest:listener_count("drain"))
        end)
      end)
  end

  it("fault B3: gives a chunk back that came too late", function()
    run(function()
      local source, feed = pipe()
      local _, dest = pipe()
      dest:write(("x"):rep(1000000))
      source:pipe(dest)
      dest:finish() -- takes its time, as nobody reads
      feed:finish("not lost")
      helper.eventually(function() return source.bytes_read > 0 end)

      assert.equal("not lost", source:read_all())
      assert.equal(0, listeners(source))
    end)
  end)

  it("fault B3: gives a chunk back that finds no reader", function()
    run(function()
      local source, feed = pipe()
      local gone, dest = pipe()
      gone:destroy()
      source:pipe(dest)
      feed:finish("not lost")
      helper.eventually(function() return listeners(source) == 0 end)

      assert.equal("not lost", source:read_all())
    end)
  end)

  it("fault B3: stops when what is queued cannot be written", function()
    run(function()
      local source, feed = pipe()
      local accepted, dest, ends = fixture.pair()
      local _ <close> = ends
      accepted:pause()
      source:pipe(dest)
      feed:write(("x"):rep(20000000))
      helper.eventually(function() return source.paused_ end)
      accepted.handle_:close_reset(loop.guard(function() end))
      accepted.handle_ = nil
      helper.eventually(function() return listeners(source) == 0 end)

      assert.equal("x", source:read(1))
    end)
  end)

  it("fault B3: stops when an output that is no stream fails", function()
    run(function()
      local source, feed = pipe()
      local full = setmetatable({ fd_ = 9999 }, getmetatable(process.stdout))
      local failure
      full:on("error", function(err) failure = err end)
      source:pipe(full)
      feed:write("lost")
      helper.eventually(function() return failure end)
      feed:finish("not lost")

      assert.equal("not lost", source:read_all())
      assert.equal(1, listeners(full))
    end)
  end)

  it("fault B3: does not hold up the others when one ends", function()
    run(function()
      local source, feed = pipe()
      local slow, to_slow = pipe()
      local fast, to_fast = pipe()
      slow:pause()
      source:pipe(to_slow)
      source:pipe(to_fast)
      local all = ("y"):rep(1000000)
      local reading = task.go(function() return fast:read_all() end)
      feed:finish(all)
      helper.eventually(function() return source.paused_ end)
      to_slow:destroy()

      assert.equal(#all, #reading:join())
    end)
  end)

  it("leaves no listeners behind on what many pipe into", function()
    run(function()
      local before = listeners(process.stdout)
      for _ = 1, 5 do
        local child <close> = orrery.spawn("true")
        child.stdout:pipe(process.stdout)
        child:wait_for("close")
      end

      assert.equal(before, listeners(process.stdout))
    end)
  end)

  it("does nothing with a destination that is over already", function()
    run(function()
      local source, feed = pipe()
      local child = orrery.spawn("/nonexistent")
      assert.is_nil((child:wait()))
      assert.equal(child.stdin, source:pipe(child.stdin))
      feed:finish("all of it")

      assert.equal("all of it", source:read_all())
    end)
  end)
end)
