local helper = require "spec.helper"
local output_of = require "spec.fixture.children".output_of
local uv = require "luv"
local variables = require "orrery.runtime.variables"

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

  it("fault A13: passes floats with an integral value as integers", function()
    run(function()
      local text = output_of("/usr/bin/env", {}, { env = { N = 2 ^ 10 } })
      assert.equal("N=1024\n", text)
      text = output_of("sh", { "-c", "echo $N" },
        { env_extend = { N = 0.1 + 0.2 } })
      assert.equal("0.30000000000000004\n", text)
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


--- The environment as a set of NAME=value.
local function set_of(opts, extra)
  local set = {}
  for _, entry in ipairs(variables.list("spawn", opts, extra)) do
    set[entry] = true
  end
  return set
end

describe("the environment of a child", function()
  it("is ours as it is without options", function()
    assert.is_nil(variables.list("spawn", {}))
  end)

  it("is what env says, and nothing else", function()
    assert.same({ ["A=1"] = true, ["B=false"] = true },
      set_of { env = { A = 1, B = false } })
  end)

  it("is ours with more, and without what is false", function()
    local set = set_of { env_extend = { HOME = false, ORRERY_X = "y" } }

    assert.is_true(set["ORRERY_X=y"])
    assert.is_true(set["PATH=" .. os.getenv("PATH")])
    for entry in pairs(set) do assert.not_matches("^HOME=", entry) end
  end)

  it("copies an environment that answers pairs, as process.env does", function()
    local set = set_of { env = require "orrery".process.env }

    for name, value in pairs(uv.os_environ()) do
      assert.is_true(set[name .. "=" .. value], name)
    end
  end)

  it("has what this library adds in any case", function()
    assert.same({ ["A=1"] = true, ["B=2"] = true },
      set_of({ env = { A = 1, B = 1 } }, { B = 2 }))
  end)
end)
