local process = require "orrery".process

describe("process.env", function()
  it("L126: is live, lists all, and refuses bad names", function()
    process.env.ORRERY_A = "1"
    assert.equal("1", os.getenv("ORRERY_A"))
    assert.equal("1", process.env.ORRERY_A)
    process.env.ORRERY_A = 2
    local seen = {}
    for name, value in pairs(process.env) do seen[name] = value end
    assert.equal("2", seen.ORRERY_A)
    process.env.ORRERY_A = 2 ^ 10 -- fault A13
    assert.equal("1024", process.env.ORRERY_A)
    process.env.ORRERY_A = nil
    assert.is_nil(process.env.ORRERY_A)
    for _, bad in ipairs { "a=b", "", "a\0" } do
      assert.is_false((pcall(function() process.env[bad] = "x" end)))
    end
    assert.is_false((pcall(function() process.env.A = "x\0" end)))
  end)
end)
