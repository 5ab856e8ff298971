local helper = require "spec.helper"
local core = require "orrery.core"
local steps = require "spec.fixture.steps"
local stream = require "orrery.stream"
local task = require "orrery.task"

local run = helper.run

--- A stream that reads what give(chunk) is called with, nil for the end.
local function fed()
  local handle = {}
  for _, name in ipairs { "read_start", "read_stop", "is_closing" } do
    handle[name] = function() end
  end
  function handle:close(fn) fn(self) end
  local fed_stream = stream.of_reader(handle)
  return fed_stream, function(chunk) handle.on_read_(nil, chunk) end
end

--- The two ends of a pipe as streams, and what closes both at a block's end.
local function pipe()
  local reading, writing = core.pipe()
  local reader = stream.new(reading, "pipe", "r")
  local writer = stream.new(writing, "pipe", "w")
  return reader, writer, setmetatable({}, { __close = function()
    reader:destroy()
    writer:destroy()
  end })
end

describe("what comes byte by byte", function()
  --- Gives n bytes one by one to a reader; returns what it came to.
  local function drip(n, last, reader_of)
    local source, give = fed()
    local reading = task.go(reader_of(source, n))
    task.sleep(0)
    for _ = 1, n - 1 do give "x" end
    give(last)
    return (reading:join()), source:destroy()
  end

  local readers = {
    lines = function(source) return source:lines() end,
    read_exactly = function(source, n)
      return function() return source:read_exactly(n) end
    end,
    read_all = function(source)
      return function() return source:read_all() end
    end,
  }

  for name, reader_of in pairs(readers) do
    it("fault B8: takes as many steps a byte, of however many: " .. name,
      function()
        run(function()
          local last = name == "lines" and "\n" or name ~= "read_all" and "x"
          local growth = steps.growth(function(n)
            local data = drip(n, last or nil, reader_of)
            assert.equal(("x"):rep(last == "x" and n or n - 1), data)
          end)
          assert.is_true(growth < 6, "grows by " .. growth)
        end)
      end)
  end

  it("fault B8: takes as many steps for each of many short lines", function()
    run(function()
      local growth = steps.growth(function(n)
        local source, give = fed()
        for _ = 1, n do
          give "x"
          give "\n"
        end
        give(nil)
        local count = 0
        for line in source:lines() do
          count = count + #line
        end
        assert.equal(n, count)
        source:destroy()
      end)
      assert.is_true(growth < 6, "grows by " .. growth)
    end)
  end)
end)

describe("a time for reading", function()
  for _, method in ipairs { "read", "read_exactly", "read_all" } do
    it("fault B11: is in the message as it was given: " .. method, function()
      run(function()
        local reader, writer, ends = pipe()
        local _ <close> = ends
        if method ~= "read" then
          task.go(function()
            task.sleep(10)
            writer:write("abc")
          end)
        end
        local args = method == "read_exactly" and { 5, 50 }
          or method == "read" and { nil, 50 } or { 50 }
        local data, err = reader[method](reader, table.unpack(args, 1, 2))

        assert.is_nil(data)
        assert.equal("timed out after 50 ms", err.message)
        assert.equal(method ~= "read" and "abc" or nil,
          method ~= "read" and reader:read() or nil)
      end)
    end)
  end
end)
