local helper = require "spec.helper"
local clock = require "orrery.runtime.clock"
local loop = require "orrery.runtime.loop"
local orrery = require "orrery"
local uv = require "luv"

describe("the clock", function()
  it("fires many deadlines in order, and forgets what is stopped", function()
    helper.run(function()
      local fired, entries = {}, {}
      for i = 1, 200 do
        local ms = (i * 37) % 23
        entries[i] = clock.after(ms,
          function() fired[#fired + 1] = entries[i].due end)
      end
      for i = 1, 200, 2 do entries[i]:stop() end
      helper.eventually(function() return #fired == 100 end)

      for i = 2, 100 do assert.is_true(fired[i - 1] <= fired[i]) end
    end)
  end)

  it("is never due early, and never beyond the end of all times", function()
    local before = clock.now()

    assert.is_true(clock.due_in(5) >= before + 5)
    assert.equal(math.maxinteger, clock.due_in(math.maxinteger))
  end)

  it("does not fire what is stopped in the tick of another one", function()
    helper.run(function()
      local fired = 0
      local one, two
      one = clock.after(1, function() fired = fired + 1 two:stop() end)
      two = clock.after(1, function() fired = fired + 1 one:stop() end)
      local after = false
      clock.after(2, function() after = true end)
      helper.eventually(function() return after end)

      assert.equal(1, fired)
    end)
  end)

  it("keeps the loop alive only for deadlines that are referenced", function()
    helper.run(function()
      local result = helper.lua([[
        local clock = require "orrery.runtime.clock"
        clock.after(1000000, print):set_ref(false)
        local stopped = clock.after(1000000, print)
        stopped:stop()
        stopped:stop()
        clock.after(1, function() print "fired" end)
        require "luv".run()]])

      assert.equal("fired\n", result.stdout)
    end)
  end)
end)

--- Tells whether a child is a keeper, which goes when the loop does.
local function is_keeper(pid)
  local file <close> = io.open(("/proc/%d/comm"):format(pid))
  return file and file:read() == "orrery-keeper"
end

--- Spins until `ms` have passed and all children have ended.
local function spin(ms)
  local from = clock.now()
  repeat
    local running = false
    for pid, state in pairs(helper.children()) do
      running = running or state ~= "Z" and not is_keeper(pid)
    end
  until not running and clock.now() > from + ms
end

--- Holds the loop up by `spin`, after the next poll: then its timers are first.
local function hold_up(ms)
  local check = uv.new_check()
  check:start(loop.guard(function()
    loop.close(check)
    spin(ms)
  end))
  loop.later(function() end) -- so that the poll does not block
end

describe("a deadline that passes while the loop is held up", function()
  local TIME = 300 -- ms; nothing here takes so long by itself
  local quiet = { stdio = "ignore" }

  --- What ends in time while the loop is held up, with what it gives.
  local cases = {
    { "run's timeout", function()
      local result = orrery.run("true", { timeout = TIME })
      return result.timed_out or result.killed or result.code
    end, 0 },
    { "exec's timeout", function()
      local failed, called
      orrery.exec("echo yes", { timeout = TIME }, function(err)
        failed, called = err, true
      end)
      helper.eventually(function() return called end)
      return failed
    end, nil },
    { "child:wait", function()
      return orrery.spawn("sh", { "-c", "exit 7" }, quiet):wait(TIME)
    end, 7 },
    { "stop's grace", function()
      local child = orrery.spawn("sleep", { "1000" }, quiet)
      return child:stop({ grace = TIME }).forced
    end, false },
    { "wait_for", function()
      return orrery.spawn("sh", { "-c", "exit 7" }, quiet)
        :wait_for("exit", TIME)
    end, 7 },
    { "deadline", function()
      return orrery.deadline(TIME, function()
        return orrery.spawn("sh", { "-c", "exit 7" }, quiet):wait()
      end)
    end, 7 },
    { "join", function()
      return orrery.go(function()
        return orrery.spawn("sh", { "-c", "exit 7" }, quiet):wait()
      end):join(TIME)
    end, 7 },
    { "read", function()
      return orrery.spawn("echo", { "yes" }).stdout:read(nil, TIME)
    end, "yes\n" },
    { "read_exactly", function()
      return #orrery.spawn("head", { "-c", "60000", "/dev/zero" }).stdout
        :read_exactly(60000, TIME)
    end, 60000 },
    { "read_all", function()
      return orrery.spawn("echo", { "yes" }).stdout:read_all(TIME)
    end, "yes\n" },
    { "receive", function()
      local child = helper.fork "process.send 'yes' process.disconnect()"
      local message = child:receive(TIME)
      helper.await_close(child)
      return message
    end, "yes" },
    { "accepting", function()
      local server <close> = orrery.net.create_server():listen(0)
      local child = helper.fork(("orrery.net.connect(%d) process.exit()")
        :format(server:address().port))
      local socket = server:wait_for("connection", TIME)
      if socket then socket:destroy() end
      helper.await_close(child)
      return socket ~= nil
    end, true },
  }
  for _, case in ipairs(cases) do
    it(("fault A11: counts what has come: %s"):format(case[1]), function()
      helper.run(function()
        local t = orrery.go(case[2])
        hold_up(TIME)

        assert.equal(case[3], (t:join()))
      end)
    end)
  end

  it("fault A11: counts what has come: request", function()
    helper.run(function()
      local child = helper.fork [[
        process.handle(function(m)
          orrery.after(1, process.exit)
          return m + 1
        end)
        process.send "ready"]]
      assert.equal("ready", child:receive())
      local t = orrery.go(child.request, child, 1, TIME)
      hold_up(TIME)

      assert.equal(2, (t:join()))
      helper.await_close(child)
    end)
  end)

  it("passes all the same where nothing has come, in order", function()
    helper.run(function()
      local log = {}
      for i = 3, 1, -1 do
        clock.after(i, function() log[#log + 1] = i end)
      end
      spin(10)
      helper.eventually(function() return #log == 3 end)

      assert.same({ 1, 2, 3 }, log)
    end)
  end)

  it("costs no turn when nothing is due", function()
    helper.run(function()
      local turns, fired = 0, false
      local prepare = uv.new_prepare()
      prepare:start(function() turns = turns + 1 end)
      local far = clock.after(1000000, print)
      clock.after(50, function() fired = true end)
      orrery.events.new():wait_for("never", 60)
      far:stop()
      loop.close(prepare)

      assert.is_true(fired)
      assert.is_true(turns < 12, turns)
    end)
  end)
end)
