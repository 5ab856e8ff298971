local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local process, run = orrery.process, helper.run

describe("process", function()
  it("L126: says who and where we are", function()
    assert.equal(uv.os_getpid(), process.pid)
    assert.equal(uv.os_getppid(), process.ppid)
    assert.equal("linux", process.platform)
    assert.is_string(process.arch)
    assert.matches("^v%d", process.version)
    assert.equal(_VERSION, "Lua " .. process.versions.lua)
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

  it("fault A12: keeps its script and folder after a chdir", function()
    run(function()
      local dir = orrery.sh("mktemp -d", { trim = true }).stdout
      assert(orrery.sh(("mkdir '%s/jobs'"):format(dir)).ok)
      local file <close> = io.open(dir .. "/jobs/x.lua", "w")
      file:write([[require "luv".chdir "/"
        local p = require "orrery".process
        print(p.script, p.script_dir)]])
      file:close()
      local script = helper.cli({ "jobs/x.lua" }, { cwd = dir })
      local code = helper.cli({ "-e", [[require "luv".chdir "/"
        print(require "orrery".process.script_dir)]] }, { cwd = dir })
      orrery.sh(("rm -r '%s'"):format(dir))

      assert.equal(("%s/jobs/x.lua\t%s/jobs\n"):format(dir, dir),
        script.stdout)
      assert.equal(dir .. "\n", code.stdout)
    end)
  end)

  it("fault A12: keeps its interpreter after that is replaced", function()
    run(function()
      local lua = helper.tmpname()
      local copy = ([[cp "$(command -v %s)" '%s' && chmod u+x '%s']]):format(
        helper.interpreter, lua, lua)
      assert(orrery.sh(copy).ok)
      local result = assert(orrery.run(lua, { helper.orrery, "-e",
        [[os.remove(arg[-1]) print(require "orrery".process.exec_path)]] },
        { env_extend = helper.env() }))

      assert.equal(lua .. "\n", result.stdout, result.stderr)
    end)
  end)

  it("says no folder if it was started in one that is gone", function()
    run(function()
      local result = orrery.sh("cd $(mktemp -d) && rmdir $PWD && exec "
        .. helper.orrery
        .. [[ -e 'print(require "orrery".process.script_dir)']],
        { env_extend = helper.env() })

      assert.equal("nil\n", result.stdout, result.stderr)
    end)
  end)
end)
