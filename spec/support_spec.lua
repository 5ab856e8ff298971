local helper = require "spec.helper"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local inspect = require "orrery.inspect"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local orrery = require "orrery"
local uv = require "luv"

describe("inspect", function()
  it("writes Lua that a person can read, with sorted keys", function()
    assert.equal('{1, "two", a = true, ["b c"] = {}, [-1] = 0.5}',
      (inspect({ 1, "two", a = true, ["b c"] = {}, [-1] = 0.5 })
        :gsub("%[%-1%] = 0%.5, a = true, %[\"b c\"%] = {}",
          'a = true, ["b c"] = {}, [-1] = 0.5')))
    assert.equal('"a\\nb"', inspect("a\nb"))
    assert.equal("nil", inspect(nil))
  end)

  it("marks cycles, but not what merely appears twice", function()
    local t, shared = {}, {}
    t.self, t.a, t.b = t, shared, shared

    assert.equal("{a = {}, b = {}, self = <cycle>}", inspect(t))
  end)

  it("breaks long tables over lines", function()
    local text = inspect { aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = ("x"):rep(30), b = ("y"):rep(30) }

    assert.matches("^{\n  a+ = ", text)
  end)
end)

describe("errors", function()
  it("carry code, errno, syscall and a message", function()
    local err = errors.system(2, "open", { path = "/x" })

    assert.same({ "ENOENT", 2, "open", "/x" },
      { err.code, err.errno, err.syscall, err.path })
    assert.equal("open '/x': No such file or directory (ENOENT)", tostring(err))
    assert.is_true(errors.is(err))
    assert.is_false(errors.is {})
  end)
end)

describe("options", function()
  it("name the nearest word", function()
    assert.equal("timeout", options.nearest("tiemout", { timeout = 1, uid = 1, cwd = 1 }))
  end)

  it("raise at the user's line, however deep, through pcall and tail calls", function()
    local function line() return debug.getinfo(2, "l").currentline end
    local function tail() return orrery.spawn("ls", {}, 5) end

    local here = line()
    for i, misuse in ipairs {
      function() pcall(error) orrery.spawn("ls", {}, 5) end,
      function() assert(orrery.run("true", nil, { tiemout = 1 })) end,
      function() orrery.all(5) end,
    } do
      local _, err = pcall(misuse)
      assert.matches("support_spec%.lua:" .. here + 1 + i .. ":", err)
    end
    for _, call in ipairs { function() return pcall(orrery.spawn, "ls", {}, 5) end,
      function() return pcall(tail) end } do
      local _, err = call()
      assert.matches("^spec/support_spec.lua:%d+: spawn: options must be", err)
    end
  end)
end)

describe("the loop", function()
  it("runs ticks in order before events, and later ones a turn later", function()
    local log = {}
    loop.soon(function()
      loop.later(function() log[#log + 1] = "later" end)
      loop.soon(function()
        log[#log + 1] = "soon"
        loop.soon(function() log[#log + 1] = "nested" end)
      end)
    end)
    uv.run()

    assert.same({ "soon", "nested", "later" }, log)
  end)

  it("lets uv.run end when nothing is left", function()
    loop.soon(function() end)
    uv.run()

    assert.is_false(uv.loop_alive())
  end)

  it("calls a watcher, and closes it before the fd", function()
    helper.run(function()
      local reading, writing = core.pipe()
      local seen
      local watcher
      watcher = loop.watch(reading:fileno(), "r", function()
        seen = true
        watcher:close()
      end)
      writing:close()
      helper.eventually(function() return seen end)
      watcher:close()
      reading:close()
    end)
  end)
end)

describe("orrery.fd", function()
  it("borrows a number, gives it away, and closes once", function()
    local reading = core.pipe() -- the other end closes when it is collected
    local borrowed = core.fd(reading:fileno())
    assert.equal(reading:fileno(), borrowed:take())
    assert.is_nil(borrowed:take())
    borrowed:close()
    assert.matches("^fd %d+$", tostring(reading))
    reading:close()
    reading:close()
    assert.equal("fd (closed)", tostring(reading))
    for _, bad in ipairs { -1, "x", 2 ^ 40, 1.5 } do
      assert.is_false((pcall(core.fd, bad)))
    end
  end)

  it("opens files, and says why not", function()
    local fd, errno = core.open("/no/such/file", "r")
    assert.is_nil(fd)
    assert.equal(2, errno)
    assert.is_false((pcall(core.open, "/dev/null", "x")))
    assert.is_false((pcall(core.open, "/dev\0null", "r")))
  end)
end)
