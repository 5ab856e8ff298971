local helper = require "spec.helper"
local uv = require "luv"
local core = require "orrery.core"

--- Runs a test's body as busted would, and returns why it failed.
local function failure_of(body)
  local ok, err = pcall(helper.watched(body))
  return not ok and tostring(err) or nil
end

describe("spec.helper", function()
  it("passes a test that leaves nothing", function()
    assert.is_nil(failure_of(function() end))
  end)

  it("fails a test that leaves an fd", function()
    local fd
    local why = failure_of(function() fd = core.open("/dev/null", "r") end)
    fd:close()

    assert.matches("fd: %d+ %(/dev/null%)", why)
  end)

  it("fails a test that leaves a running child", function()
    local why = failure_of(function()
      core.spawn("sleep", { "sleep", "100" }, { 0, 1, 2 })
    end)
    helper.run(function()
      helper.eventually(function()
        core.reap()
        return next(helper.children()) == nil
      end)
    end)

    assert.matches("child: %d+", why)
  end)

  it("fails a test that leaves a zombie", function()
    local pipe
    local why = failure_of(function()
      pipe = io.popen("true")
      pipe:read("a")
      helper.run(function()
        helper.eventually(function()
          local _, state = next(helper.children())
          return state == "Z"
        end)
      end)
    end)
    pipe:close()

    assert.matches("zombie: %d+", why)
  end)

  it("fails a test that leaves a handle", function()
    local timer
    local why = failure_of(function() timer = uv.new_timer() end)
    timer:close()

    assert.matches("handle: uv_timer", why)
  end)

  it("fails a test that leaves the loop alive", function()
    local timer
    local why = failure_of(function()
      timer = uv.new_timer()
      timer:start(100000, 0, function() end)
    end)
    timer:close()

    assert.matches("loop: something keeps it alive", why)
  end)
end)
