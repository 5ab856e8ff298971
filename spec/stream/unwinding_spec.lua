--- What a wait leaves behind that ends otherwise than by what it waits for.

local helper = require "spec.helper"
local core = require "orrery.core"
local orrery = require "orrery"
local stream = require "orrery.stream"
local task = require "orrery.task"

local run = helper.run

--- Ways to read, each of which waits for ever if nothing comes.
local readers = {
  read = function(source) return source:read() end,
  ["read, with a time"] = function(source) return source:read(nil, 1) end,
  read_exactly = function(source) return source:read_exactly(10) end,
  read_all = function(source) return source:read_all() end,
  lines = function(source) return source:lines()() end,
  ["wait_for data"] = function(source) return source:wait_for("data") end,
  ["each data"] = function(source)
    for _ in source:each("data") do error("nothing was to come") end
  end,
}

--- Ways in which a wait is unwound.
local unwinders = {
  deadline = function(fn) task.deadline(1, fn) end,
  cancel = function(fn)
    local reading = task.go(fn)
    task.sleep(1)
    reading:cancel()
    reading:join()
  end,
  ["an error in another task"] = function(fn)
    pcall(task.all, { fn, function()
      task.sleep(1)
      error("another's")
    end })
  end,
  race = function(fn)
    task.race { fn, function() task.sleep(1) end }
  end,
}

describe("a wait for bytes that is unwound", function()
  for how, unwind in pairs(unwinders) do
    for name, read in pairs(readers) do
      it(("fault B4: reads no further: %s, by %s"):format(name, how),
        function()
          run(function()
            local reading, writing = core.pipe()
            local source <close> = stream.new(reading, "pipe", "r")
            local sink <close> = stream.new(writing, "pipe", "w")
            unwind(function() return read(source) end)
            sink:write("for the next one")
            task.sleep(2)

            assert.equal(0, source.bytes_read)
            assert.equal("for the next one", source:read())
          end)
        end)
    end
  end

  it("fault B4: loses nothing of what has come", function()
    run(function()
      local reading, writing = core.pipe()
      local source <close> = stream.new(reading, "pipe", "r")
      local sink <close> = stream.new(writing, "pipe", "w")
      sink:write("a part")
      for _ = 1, 3 do
        task.deadline(2, source.read_exactly, source, 100)
        task.deadline(2, function() return source:lines()() end)
      end

      assert.equal("a part", source:read())
    end)
  end)

  it("fault B4: takes nothing of a later child's input", function()
    run(function()
      local child <close> = orrery.spawn(helper.orrery, { "-e", [[
        local orrery = require "orrery"
        orrery.deadline(20, function() orrery.process.stdin:read() end)
        print "over"
        print(orrery.run("cat", {}, {stdio = {"inherit", "pipe"}}).stdout)]] },
        { env_extend = helper.env() })
      assert.equal("over\n", child.stdout:read())
      child.stdin:finish("all of it")

      assert.equal("all of it\n", child.stdout:read_all())
    end)
  end)
end)

describe("a wait that is refused", function()
  it("fault B4: reads nothing", function()
    run(function()
      local reading, writing = core.pipe()
      local source <close> = stream.new(reading, "pipe", "r")
      local sink <close> = stream.new(writing, "pipe", "w")
      sink:write("x")
      local ok, err = pcall(coroutine.wrap(function() return source:read() end))
      task.sleep(2)

      assert.is_false(ok)
      assert.matches("no task", err)
      assert.equal(0, source.bytes_read)
    end)
  end)
end)

describe("a wait of the main chunk", function()
  local endings = {
    ["an uncaught error"] = [[
      orrery.after(1, function() error("over", 0) end)]],
    ["an error of a hook"] = [[
      local main = coroutine.running()
      orrery.after(1, function()
        debug.sethook(main, function()
          local info = debug.getinfo(2, "S")
          if not info.source:find("main_chunk", 1, true) then return end
          debug.sethook(main)
          error("over", 0)
        end, "", 1)
      end)]],
  }

  for name, code in pairs(endings) do
    it("fault B4: reads no further after " .. name, function()
      run(function()
        local child <close> = orrery.spawn(helper.interpreter, { "-e", [[
          local orrery = require "orrery"
          local stdin = orrery.process.stdin
          ]] .. code .. [[
          print(pcall(stdin.read, stdin))
          orrery.run("sleep", {"0.1"})
          print(stdin.bytes_read, io.read("a"))]] },
          { env_extend = helper.env() })
        assert.equal("false\tover\n", child.stdout:read())
        child.stdin:finish("for another")

        assert.equal("0\tfor another\n", child.stdout:read_all())
      end)
    end)
  end
end)

describe("a cancelled task", function()
  for name, start in pairs {
    run = function() return orrery.run("sleep", { "60" }) end,
    sh = function() return orrery.sh("sleep 60") end,
    pipeline = function() return orrery.pipeline { { "sleep", "60" } } end,
  } do
    it("fault B4: starts nothing: " .. name, function()
      run(function()
        local begun = false
        local own
        own = task.go(function()
          own:cancel()
          begun = true
          return start()
        end)

        assert.is_nil((own:join()))
        assert.is_true(begun)
        assert.equal("cancelled", own.status)
        assert.same({}, helper.children())
      end)
    end)
  end
end)
