local helper = require "spec.helper"

--- The scripts of a guide, each with the text that it should print.
local function blocks(path)
  local file <close> = assert(io.open(path))
  local list = {}
  local text = file:read("a")
  for code, expected in text:gmatch("```lua\n(.-)```\n+```text\n(.-)```") do
    list[#list + 1] = { code = code, expected = expected }
  end
  local _, scripts = text:gsub("```lua\n", "")
  assert(scripts == #list, "a block without the text that it prints")
  return list
end

describe("docs/child_process.md", function()
  for i, block in ipairs(blocks("docs/child_process.md")) do
    it(("block %d prints what it says"):format(i), function()
      helper.run(function()
        local result = helper.cli({ "-e", block.code },
          { env_extend = { LD_PRELOAD = false } })

        assert.equal("", result.stderr)
        assert.equal(block.expected, result.stdout)
      end)
    end)
  end
end)
