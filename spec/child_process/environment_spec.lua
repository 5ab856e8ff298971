local helper = require "spec.helper"
local output_of = require "spec.fixture.children".output_of
local uv = require "luv"

local run = helper.run

describe("a child's environment #spawn", function()
  it("A10: passes env as it is: numbers as text, empty values kept, case told "
    .. "apart",
    function()
      run(function()
        local base =
          setmetatable({ HELLO = "WORLD", EMPTY = "", N = 5, n = "x" },
          { __index = { INHERITED = "no" } })
        local text = output_of("/usr/bin/env", {}, { env = base })
        local lines = {}
        for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
        table.sort(lines)

        assert.same({ "EMPTY=", "HELLO=WORLD", "N=5", "n=x" }, lines)
      end)
    end)

  it("A11: gives children the environment as it is now", function()
    run(function()
      uv.os_setenv("ORRERY_SPEC", "1")
      local default = output_of("sh", { "-c", "echo $ORRERY_SPEC" })
      local extended = output_of("sh", { "-c", "echo $ORRERY_SPEC$MORE" },
        { env_extend = { MORE = "2" } })
      local without = output_of("sh", { "-c", "echo ${ORRERY_SPEC-unset}" },
        { env_extend = { ORRERY_SPEC = false } })
      uv.os_unsetenv("ORRERY_SPEC")

      assert.equal("1\n", default)
      assert.equal("12\n", extended)
      assert.equal("unset\n", without)
    end)
  end)
end)
