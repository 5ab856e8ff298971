local rockspec = {}
assert(loadfile("orrery-scm-1.rockspec", "t", rockspec))()

describe("the rockspec", function()
  it("fault E6: takes Lua 5.4 and any later one", function()
    assert.equal("lua >= 5.4", rockspec.dependencies[1])
  end)

  it("fault E10: has make build, and tests without installing "
    .. "packages", function()
    assert.equal("make", rockspec.build.type)
    assert.equal("command", rockspec.test.type)
    local words = rockspec.test.command
    assert.is_nil(words:find("make test", 1, true), words)
  end)
end)
