local helper = require "spec.helper"
local orrery = require "orrery"

local process, run, script = orrery.process, helper.run, helper.script

describe("process.emit_warning", function()
  it("L125: emits warning in the next tick, and prints it in a script",
    function()
      run(function()
        local result = script [[
          process.on("warning", function(w)
            print(w.name, w.message, w.code, w.detail, w)
          end)
          process.emit_warning("old", "DeprecationWarning", "DEP1")
          process.emit_warning("new", {detail = "more", type = "Note"})
          process.emit_warning("plain")
          print "first"]]

        assert.equal("first\n"
          .. "DeprecationWarning\told\tDEP1\tnil\t"
          .. "[DEP1] DeprecationWarning: old\n"
          .. "Note\tnew\tnil\tmore\tNote: new\nmore\n"
          .. "Warning\tplain\tnil\tnil\tWarning: plain\n", result.stdout)
        assert.equal("(orrery:PID) [DEP1] DeprecationWarning: old\n"
          .. "(orrery:PID) Note: new\nmore\n(orrery:PID) Warning: plain\n",
          (result.stderr:gsub("orrery:%d+", "orrery:PID")))
      end)
    end)

  it("prints nothing in a host", function()
    run(function()
      local result = helper.lua [[
        local orrery = require "orrery"
        orrery.process.on("warning", function(w) print(w) end)
        orrery.process.emit_warning("quiet")
        orrery.sleep(1)]]

      assert.equal("Warning: quiet\n", result.stdout)
      assert.equal("", result.stderr)
    end)
  end)

  it("L125: raises for what is no warning", function()
    for _, bad in ipairs { { 5 }, { "x", 5 }, { "x", "y", 5 },
      { "x", { cod = "y" } } } do
      assert.is_false((pcall(process.emit_warning, table.unpack(bad, 1, 3))))
    end
  end)
end)
