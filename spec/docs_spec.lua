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

for _, path in ipairs { "docs/child_process.md", "docs/channel.md" } do
  describe(path, function()
    for i, block in ipairs(blocks(path)) do
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
end
