local capture = require "orrery.child_process.capture"
local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

local piped = { stdio = { "ignore", "pipe", "pipe" } }

--- Waits until a child is over; returns what when_over_ tells.
local function await_over(child, grace)
  local told
  child:when_over_(grace or 250, function(...) told = table.pack(...) end)
  helper.eventually(function() return told end)
  return table.unpack(told, 1, told.n)
end

describe("child:output_", function()
  it("hands out what one fd brings, and `close` waits for its end", function()
    run(function()
      local chunks = {}
      local child = orrery.spawn("sh", { "-c", "echo out; echo err >&2" },
        piped)
      child:output_(1, function(chunk) chunks[#chunks + 1] = chunk end)
      child:wait_for("close")

      assert.equal("out\n", table.concat(chunks))
    end)
  end)

  it("does nothing for an fd that is no pipe", function()
    run(function()
      local child = orrery.spawn("true", {}, { stdio = "ignore" })
      child:output_(1, error)

      assert.same({ false, false }, { await_over(child) })
    end)
  end)
end)

describe("child:when_over_", function()
  it("tells when exit and output are there, and closes the streams", function()
    run(function()
      local child = orrery.spawn("echo", { "x" }, piped)
      child:output_(1, function() end)

      assert.same({ false, false }, { await_over(child) })
      assert.equal(0, child.exit_code)
      assert.is_true(child.stderr.closed)
    end)
  end)

  it("gives output up that something else holds open", function()
    run(function()
      local child = orrery.spawn("sh", { "-c", "sleep 100 & echo $!" }, piped)
      local pid = ""
      child:output_(1, function(chunk) pid = pid .. chunk end)

      assert.same({ true, false }, { await_over(child, 8) })
      orrery.process.kill(tonumber(pid), "SIGKILL")
    end)
  end)
end)

describe("child:end_by_", function()
  local STUBBORN = "trap '' TERM; echo; while :; do sleep 0.01; done"

  it("sends SIGKILL after the grace, and when_over_ says so", function()
    run(function()
      local child = orrery.spawn("sh", { "-c", STUBBORN }, piped)
      local ready, told
      child:output_(1, function() ready = true end)
      child:when_over_(250, function(...) told = { ... } end)
      helper.eventually(function() return ready end)

      assert.is_true(child:end_by_("SIGTERM", 20))
      assert.is_true(child:end_by_("SIGTERM", 100000))
      helper.eventually(function() return told end)
      assert.same({ false, true }, told)
      assert.equal("SIGKILL", child.signal_code)
      assert.is_false(child:end_by_("SIGTERM", 20))
    end)
  end)
end)

describe("a capture", function()
  it("has the output, and what it came to", function()
    run(function()
      local child = orrery.spawn("sh", { "-c", "echo a; echo b >&2; exit 3" },
        piped)
      local captured = capture.start(child, {}, 100)
      local result = captured:result("it", captured:await())

      assert.same({ 3, false, "a\n", "b\n", "it" }, { result.code, result.ok,
        result.stdout, result.stderr, result.command })
    end)
  end)

  it("keeps no more than max_buffer, and ends the child", function()
    run(function()
      local child = orrery.spawn("yes", {}, piped)
      local captured = capture.start(child, { max_buffer = 10 }, 100)

      assert.same({ 143, "SIGTERM" }, { captured:await() })
      assert.equal(10, #captured:output())
      assert.equal("stdout", captured.full)
    end)
  end)
end)
