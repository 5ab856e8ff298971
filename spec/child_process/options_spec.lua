local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"
local spawn_options = require "orrery.child_process.options"

local run = helper.run

describe("an option of spawn", function()
  it("is told to the core under its name there", function()
    assert.same({ setsid = true, umask = 18, pgroup = 0 },
      spawn_options.attributes {
        detached = true, umask = 18, pgroup = true, cwd = "", stdio = "pipe",
      })
  end)

  it("costs nothing if it is not for the core", function()
    assert.is_nil(spawn_options.attributes {})
    assert.is_nil(spawn_options.attributes {
      stdio = "ignore", timeout = 5, env = {}, shell = true, encoding = "utf8",
    })
  end)

  it("is a limit by number, and named when it fails", function()
    local attributes = spawn_options.attributes {
      rlimits = { nofile = { soft = 8, hard = 9 } },
    }

    assert.same({ core.rlimits.nofile, 8, 9 }, attributes.rlimits)
    assert.equal("nofile", spawn_options.failed_on("rlimit", 0, attributes))
  end)

  it("lets a scope's child die with us, unless it says otherwise", function()
    run(function()
      orrery.scope(function(s)
        local tell = spawn_options.attributes

        assert.same({ die_with_parent = true }, tell { scope = s })
        assert.same({ die_with_parent = false },
          tell { scope = s, die_with_parent = false })
      end)
    end)
  end)

  it("names in err.path what its stage failed on", function()
    local function path(stage, opts)
      return spawn_options.failed_on(stage, 0, spawn_options.attributes(opts))
    end

    assert.equal("/x", path("chdir", { cwd = "/x" }))
    assert.equal("7", path("gid", { gid = 7 }))
    assert.equal("0", path("pgroup", { pgroup = true }))
    assert.equal("-5", path("nice", { nice = -5 }))
    assert.is_nil(path("setsid", { detached = true }))
    assert.is_nil(path("fork", {}))
  end)

  it("replaces the name of a user by what the core takes", function()
    local attributes = spawn_options.attributes { user = "root", uid = 5 }

    assert.is_true(spawn_options.look_up_user(attributes))
    assert.same({ 0, 0 }, { attributes.uid, attributes.gid })
    attributes.user = "no such user"
    local ok, err = spawn_options.look_up_user(attributes)
    assert.is_nil(ok)
    assert.same({ "uid", "no such user" }, { err.stage, err.path })
  end)
end)
