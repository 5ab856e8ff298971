local helper = require "spec.helper"
local orrery = require "orrery"

local process, run, script = orrery.process, helper.run, helper.script

describe("process", function()
  it("raises at the caller's line, by dot and by colon", function()
    for _, call in ipairs {
      function() process.kill("x") end, function() process:kill("x") end,
      function() process.chdir(5) end, function() process.next_tick(5) end,
      function() process.hrtime(5) end, function() process.exit("x") end,
      function() process.stdout:write(5) end,
      function() process.stdout:finish(5) end,
      function() process.stdout:write_wait(5) end,
      function() process.on("SIGKILL", print) end,
    } do
      local ok, err = pcall(function()
        call()
        return 1
      end)
      assert.is_false(ok)
      assert.matches("^spec/process_spec.lua:%d+: ", err)
    end
  end)

  it("L126: changes directory, or says why not", function()
    local here = process.cwd()
    assert.is_true(process.chdir("/"))
    assert.equal("/", process.cwd())
    process.chdir(here)
    local ok, err = process.chdir("/does/not/exist")

    assert.is_nil(ok)
    assert.equal("ENOENT", err.code)
    assert.equal("chdir", err.syscall)
    assert.is_false((pcall(process.chdir, 5)))
  end)

  it("L125: next_tick runs in order, before events, and loses none after "
    .. "an error", function()
    run(function()
      local result = script [[
        process.on("uncaught_exception", function(e) print("caught", e) end)
        local uv = require "luv"
        local t = uv.new_timer()
        t:start(0, 0, function() print "timer" t:close() end)
        process.next_tick(function(...) print("first", ...) end, 1, nil, 3)
        process.next_tick(function()
          process.next_tick(print, "nested")
          error("tick", 0)
        end)
        process.next_tick(print, "last")]]

      assert.equal("first\t1\tnil\t3\ncaught\ttick\nlast\nnested\ntimer\n",
        result.stdout)
    end)
  end)
end)
