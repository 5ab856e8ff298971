local rockspec = {}
assert(loadfile("orrery-scm-1.rockspec", "t", rockspec))()

describe("the rockspec", function()
  it("fault E10: has make build, and tests without installing "
    .. "packages", function()
    assert.equal("make", rockspec.build.type)
    assert.equal("command", rockspec.test.type)
    local words = rockspec.test.command
    assert.is_nil(words:find("make test", 1, true), words)
  end)
end)
