local helper = require "spec.helper"
local events = require "orrery.events"
local listeners = require "orrery.events.listeners"
local steps = require "spec.fixture.steps"
local task = require "orrery.task"

--- Returns an emitter with `n` listeners, which call note(i), and the disposer
--- of each.
local function crowd_of(n, note, method)
  local e, disposers = events.new(), {}
  for i = 1, n do
    disposers[i] = e[method or "on"](e, "x", function() note(i) end)
  end
  return e, disposers
end

describe("many listeners of an event", function()
  it("are called in order, each as often as it should be", function()
    local seen = {}
    local e = crowd_of(20, function(i) seen[#seen + 1] = i end)
    e:prepend("x", function() seen[#seen + 1] = 0 end)
    e:once("x", function() seen[#seen + 1] = 21 end)
    e:emit "x"
    e:emit "x"

    local expected = {}
    for i = 0, 21 do expected[i + 1] = i end
    for i = 0, 20 do expected[23 + i] = i end
    assert.same(expected, seen)
    assert.equal(21, e:listener_count "x")
    assert.equal(21, #e:listeners "x")
  end)

  it("can be removed in any order, and added again", function()
    local seen = 0
    local e, disposers = crowd_of(100, function(i) seen = seen + i end)
    for i = 1, 100 do
      if i % 10 ~= 0 then
        disposers[i]()
        disposers[i]()
      end
    end
    assert.equal(10, e:listener_count "x")
    for _ = 1, 100 do
      local dispose = e:on("x", print)
      e:off("x", print)
      dispose()
    end
    e:emit "x"

    assert.equal(550, seen)
    for i = 10, 100, 10 do disposers[i]() end
    assert.equal(0, e:listener_count "x")
    assert.is_false(e:emit "x")
  end)

  it("are a snapshot: what one changes counts from the next emit", function()
    local seen, disposers, e = {}, nil, nil
    e, disposers = crowd_of(20, function(i)
      seen[#seen + 1] = i
      if i ~= 1 then return end
      for j = 10, 20 do disposers[j]() end
      e:on("x", function() seen[#seen + 1] = "new" end)
      e:prepend("x", function() seen[#seen + 1] = "first" end)
    end)
    e:emit "x"
    assert.equal(20, #seen)
    assert.equal(11, e:listener_count "x")
    seen = {}
    disposers[1]()
    e:emit "x"

    assert.same({ "first", 2, 3, 4, 5, 6, 7, 8, 9, "new" }, seen)
  end)

  it("are called once though one emits again, or raises", function()
    local count, e = 0, nil
    e = crowd_of(20, function(i)
      count = count + 1
      if i == 5 then e:emit "x" end
      if i == 10 then error("ten", 0) end
    end, "once")
    assert.same({ false, "ten" }, { pcall(e.emit, e, "x") })
    assert.equal(10, count)
    assert.equal(10, e:listener_count "x")
    e:emit "x"

    assert.equal(20, count)
    assert.equal(0, e:listener_count "x")
  end)

  it("tell whether a task waits among them", function()
    local list
    local entries = {}
    for i = 1, 20 do
      entries[i] = { waiting = i == 15 }
      list = list and listeners.add(list, entries[i]) or { entries[i] }
    end
    assert.is_true(list[1].waiting)
    list = listeners.remove(list, entries[15])

    assert.is_false(list[1].waiting)
    assert.same({ 19, 19 },
      { listeners.count(list), #listeners.entries(list) })
  end)
end)

describe("fault C8: linear", function()
  --- Asserts that four times as much takes about four times the steps.
  local function assert_linear(fn)
    local growth = steps.growth(fn)
    assert.is_true(growth < 6, "grows by " .. growth)
  end

  it("are once, and an emit for all of them", function()
    assert_linear(function(n)
      local count = 0
      local e = crowd_of(n, function() count = count + 1 end, "once")
      e:emit "x"
      assert.equal(n, count)
      assert.equal(0, e:listener_count "x")
    end)
  end)

  it("are on and its disposer, in either order", function()
    assert_linear(function(n)
      local e, disposers = crowd_of(n, print)
      for i = 1, n // 2 do disposers[i]() end
      for i = n, n // 2 + 1, -1 do disposers[i]() end
      assert.equal(0, e:listener_count "x")
    end)
  end)

  it("are tasks in wait_for, and those that are cancelled there", function()
    assert_linear(function(n)
      helper.run(function()
        local e, tasks = events.new(), {}
        for i = 1, n do tasks[i] = task.go(e.wait_for, e, "x") end
        task.go(type, nil):join() -- begins behind them
        assert.equal(n, e:listener_count "x")
        for i = 2, n, 2 do tasks[i]:cancel() end
        e:emit("x", "it")
        for i = 1, n, 2 do assert.equal("it", (tasks[i]:join())) end
      end)
    end)
  end)
end)
