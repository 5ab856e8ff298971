local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local process, run = orrery.process, helper.run

describe("process", function()
  it("says who and where we are", function()
    assert.equal(uv.os_getpid(), process.pid)
    assert.equal(uv.os_getppid(), process.ppid)
    assert.equal("linux", process.platform)
    assert.is_string(process.arch)
    assert.matches("^v%d", process.version)
    assert.equal("5.4", process.versions.lua)
    assert.matches("lua", process.exec_path)
    assert.is_true(process.uptime() >= 0)
    assert.equal(uv.cwd(), process.cwd())
    assert.equal(uv.cwd(), process:cwd())
  end)

  it("gives a script its arguments and its folder", function()
    run(function()
      local path = helper.tmpname()
      local file = io.open(path, "w")
      file:write([[local p = require "orrery".process
        print(#p.argv, p.argv[0], p.argv[1], p.argv[2], p.script_dir, ...)]])
      file:close()
      local result = helper.cli { path, "a", "b c" }
      os.remove(path)

      local dir = path:match("^(.*)/")
      assert.equal(("2\t%s\ta\tb c\t%s\ta\tb c\n"):format(path, dir),
        result.stdout)
    end)
  end)
end)
