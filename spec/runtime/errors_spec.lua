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

  it("name an errno that has no name here by its number", function()
    assert.equal("errno 4000", errors.code_of(4000))
    assert.equal("errno 4000", errors.system(4000, "read").code)
  end)

  it("are made of luv's names, known or not", function()
    assert.equal("listen: Address already in use (EADDRINUSE)",
      tostring(errors.luv("EADDRINUSE", "listen")))
    local err = errors.luv("EAI_NONAME", "getaddrinfo")
    assert.same({ "EAI_NONAME", nil, "getaddrinfo" },
      { err.code, err.errno, err.syscall })
  end)

  it("keep the fields that they are given, and name path and stage", function()
    local err = errors.system(2, "spawn", { path = "/x", stage = "exec" })

    assert.equal("spawn '/x': No such file or directory "
      .. "(ENOENT at stage 'exec')", tostring(err))
    assert.equal("exec", err.stage)
  end)
end)
