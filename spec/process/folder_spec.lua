local helper = require "spec.helper"
local orrery = require "orrery"

local process = orrery.process

describe("process.umask", function()
  it("L126: tells the mask, and sets it", function()
    local before = process.umask()

    assert.equal(before, process.umask("027"))
    assert.equal(tonumber("27", 8), process.umask(18))
    assert.equal(18, process.umask())
    assert.equal(18, process:umask(before))
    assert.equal(before, process.umask())
  end)

  it("L126: refuses what is no mask", function()
    local before = process.umask()
    for _, bad in ipairs { "999", "abc", "", -1, 512, 1.5, {}, true } do
      local ok, err = pcall(process.umask, bad)
      assert.is_false(ok)
      assert.matches("umask: the mask must be", err)
    end
    assert.equal(before, process.umask())
  end)

  it("counts for the files of this process", function()
    helper.run(function()
      local result = helper.script [[
        process.umask("077")
        local path = os.tmpname() os.remove(path)
        io.open(path, "w"):close()
        os.execute("stat -c %a " .. path) os.remove(path)]]

      assert.equal("600\n", result.stdout)
    end)
  end)
end)
