local helper = require "spec.helper"
local core = require "orrery.core"
local orrery = require "orrery"
local stream = require "orrery.stream"
local task = require "orrery.task"

local run = helper.run

--- Texts, and their lines by each way to end them.
local texts = {
  { "10%\r20%\r\ndone\n", { "10%", "20%", "done" }, { "10%\r20%\r", "done" } },
  { "a\r\nb\rc\nd", { "a", "b", "c", "d" }, { "a\r", "b\rc", "d" } },
  { "\r\r\n\n\r", { "", "", "", "" }, { "\r\r", "", "\r" } },
  { "\n\r\n", { "", "" }, { "", "\r" } },
  { "x\r", { "x" }, { "x\r" } },
  { "", {}, {} },
}

--- Returns a stream that gives each of `chunks` by itself, and what closes it.
local function source_of(chunks)
  local reading, writing = core.pipe()
  local source = stream.new(reading, "pipe", "r")
  local writer = task.go(function()
    for _, chunk in ipairs(chunks) do
      writing:write(chunk)
      local sent = source.bytes_read + #chunk
      helper.eventually(function() return source.bytes_read >= sent end)
    end
    writing:close()
  end)
  return source, setmetatable({}, { __close = function()
    source:destroy()
    writer:cancel()
    writing:close()
  end })
end

--- All ways to cut a text in at most two, and into bytes.
local function cuts(text)
  local list = { {} }
  for i = 1, #text do list[1][i] = text:sub(i, i) end
  for i = 1, #text do list[#list + 1] = { text:sub(1, i), text:sub(i + 1) } end
  return list
end

local function without_empty(chunks)
  local list = {}
  for _, chunk in ipairs(chunks) do
    if chunk ~= "" then list[#list + 1] = chunk end
  end
  return list
end

describe("stream:lines", function()
  for _, ends in ipairs { "any", "\n" } do
    it(("fault B12: ends lines by %q, however they are cut"):format(ends),
      function()
        run(function()
          for _, case in ipairs(texts) do
            for _, chunks in ipairs(cuts(case[1])) do
              local source, close = source_of(without_empty(chunks))
              local _ <close> = close
              local lines = {}
              for line in source:lines { ends = ends } do
                lines[#lines + 1] = line
              end
              assert.same(ends == "any" and case[2] or case[3], lines)
            end
          end
        end)
      end)
  end

  it("fault B12: gives a line at its CR, and no other reader its LF", function()
    run(function()
      local reading, writing = core.pipe()
      local source <close> = stream.new(reading, "pipe", "r")
      writing:write("half\r")
      assert.equal("half", source:lines { ends = "any" }())
      writing:write("\nbody")
      assert.equal("body", source:read_exactly(4))
      writing:write("whole\r\nbody\r")
      assert.equal("whole", source:lines { ends = "any" }())
      assert.equal("body\r", source:read())
      writing:write("\n")
      writing:close()

      assert.equal("\n", source:read())
    end)
  end)

  it("fault B12: refuses other ends", function()
    run(function()
      local source <close> = stream.new(core.pipe(), "pipe", "r")
      for _, opts in ipairs { { ends = "\r" }, { ends = 1 }, { end_ = "any" } }
      do
        local ok, err = pcall(source.lines, source, opts)
        assert.is_false(ok)
        assert.matches("lines_spec.lua:%d+: lines: .*ends?", err)
      end
    end)
  end)
end)

describe("option lines_end", function()
  it("fault B12: ends the lines of run and sh, however they are cut", function()
    run(function()
      for _, case in ipairs(texts) do
        local file = helper.tmpname()
        local out = assert(io.open(file, "w"))
        out:write(case[1])
        out:close()
        local lines = {}
        local opts = { lines_end = "any", on_stdout = function(line)
          lines[#lines + 1] = line
        end }
        local result = orrery.run("dd", { "bs=1", "if=" .. file }, opts)

        assert.equal(case[1], result.stdout)
        assert.same(case[2], lines)
        lines = {}
        opts.lines_end = nil
        orrery.sh("cat " .. file, opts)
        assert.same(case[3], lines)
        os.remove(file)
      end
    end)
  end)

  it("fault B12: is checked", function()
    run(function()
      local ok, err = pcall(orrery.run, "true", {}, { lines_end = "all" })

      assert.is_false(ok)
      assert.matches([[option 'lines_end' must be "\n" or "any", got string ]],
        err, 1, true)
    end)
  end)
end)
