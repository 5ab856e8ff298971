local core = require "orrery.core"

describe("orrery.fd", function()
  it("borrows a number, gives it away, and closes once", function()
    local reading = core.pipe() -- the other end closes when it is collected
    local borrowed = core.fd(reading:fileno())
    assert.equal(reading:fileno(), borrowed:take())
    assert.is_nil(borrowed:take())
    borrowed:close()
    assert.matches("^fd %d+$", tostring(reading))
    reading:close()
    reading:close()
    assert.equal("fd (closed)", tostring(reading))
    for _, bad in ipairs { -1, "x", 2 ^ 40, 1.5 } do
      assert.is_false((pcall(core.fd, bad)))
    end
  end)

  it("opens files, and says why not", function()
    local fd, errno = core.open("/no/such/file", "r")
    assert.is_nil(fd)
    assert.equal(2, errno)
    assert.is_false((pcall(core.open, "/dev/null", "x")))
    assert.is_false((pcall(core.open, "/dev\0null", "r")))
  end)
end)
