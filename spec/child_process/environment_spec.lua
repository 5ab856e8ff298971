local environment = require "orrery.child_process.environment"
local uv = require "luv"

--- The environment as a set of NAME=value.
local function set_of(opts, extra)
  local set = {}
  for _, entry in ipairs(environment.list("spawn", opts, extra)) do
    set[entry] = true
  end
  return set
end

describe("the environment of a child", function()
  it("is ours as it is without options", function()
    assert.is_nil(environment.list("spawn", {}))
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
