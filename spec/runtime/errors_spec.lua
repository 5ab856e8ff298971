local errors = require "orrery.runtime.errors"

describe("errors", function()
  it("carry code, errno, syscall and a message", function()
    local err = errors.system(2, "open", { path = "/x" })

    assert.same({ "ENOENT", 2, "open", "/x" },
      { err.code, err.errno, err.syscall, err.path })
    assert.equal("open '/x': No such file or directory (ENOENT)", tostring(err))
    assert.is_true(errors.is(err))
    assert.is_false(errors.is {})
  end)
end)
