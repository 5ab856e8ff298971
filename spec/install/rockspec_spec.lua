local helper = require "spec.helper"
local orrery = require "orrery"

describe("the rockspec", function()
  it("names every module and source file that there is", function()
    local env = {}
    assert(loadfile("orrery-scm-1.rockspec", "t", env))()
    local named = {}
    for name, what in pairs(env.build.modules) do
      if type(what) == "string" then
        named[what] = true
        local from_path = what:match("^lua/(.*)%.lua$"):gsub("/",
          "."):gsub("%.init$", "")
        assert.equal(from_path, name)
      else
        for _, source in ipairs(what.sources) do named[source] = true end
      end
    end

    helper.run(function()
      local files =
        orrery.sh("find lua core -name '*.lua' -o -name '*.c'").stdout
      for path in files:gmatch("[^\n]+") do
        assert.is_true(named[path], path)
        named[path] = nil
      end
      assert.same({}, named)
    end)
  end)
end)
