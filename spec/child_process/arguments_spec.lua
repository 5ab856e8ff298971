local helper = require "spec.helper"
local orrery = require "orrery"
local output_of = require "spec.fixture.children".output_of

local spawn, run = orrery.spawn, helper.run

--- Returns the message of what `spawn` raises.
local function raised(...)
  local ok, err = pcall(function(...)
    local child = spawn(...)
    return child
  end, ...)
  assert.is_false(ok)
  return err
end

describe("spawn's arguments #spawn", function()
  it("A5: takes command, arguments and options in all their forms", function()
    run(function()
      local opts = { stdio = "ignore" }
      for _, args in ipairs {
        { "true" }, { "true", {} }, { "true", nil, opts }, { "true", opts },
        { "true", {}, opts }, { { "true" } }, { { "true", "x" }, opts },
        { "true", {}, nil }, { "true", { 1, 2.5 } },
      } do
        assert.equal(0, spawn(table.unpack(args, 1, 3)):wait())
      end
    end)
  end)

  it("A5: raises at the caller's line where an argument is wrong", function()
    for _, case in ipairs {
      { nil }, { 5 }, { true }, { "" }, { {} }, { { 1 } },
      { "x", "y" }, { "x", 5 }, { "x", { true } }, { "x", { {} } },
      { "x", {}, 5 }, { "x", {}, "y" }, { "x", {}, print },
      { "x", {}, { uid = 2 ^ 63 } }, { "x", {}, { gid = -1 } },
      { { "x" }, {}, {} },
    } do
      local err = raised(table.unpack(case, 1, 3))
      assert.matches("^spec/child_process/arguments_spec.lua:%d+: spawn: ", err)
    end
  end)

  it("A5: raises for options among the arguments, which "
    .. "would be lost", function()
    assert.matches('has the key "cwd"', raised("ls", { "-l", cwd = "/" }))
    assert.matches('has the key "cwd"', raised { "ls", cwd = "/" })
  end)

  it("A7: raises for NUL bytes anywhere", function()
    for _, case in ipairs {
      { "tr\0ue" }, { "true", { "a\0b" } }, { "true", {}, { cwd = "/\0" } },
      { "true", {}, { argv0 = "a\0" } },
      { "true", {}, { shell = "/bin/sh\0" } },
      { "true", {}, { env = { ["a\0"] = "b" } } },
      { "true", {}, { env = { a = "b\0" } } },
      { "true", {}, { env_extend = { a = "b\0" } } },
      { "true", {}, { stdio = { { file = "/dev\0null" } } } },
      { "true", {}, { user = "roo\0t" } }, { { "true", "\0" } },
    } do
      assert.matches("^spec/child_process/arguments_spec.lua",
        raised(table.unpack(case, 1, 3)))
    end
  end)

  it("A9: takes nil and {} as no arguments, with options still "
    .. "honoured", function()
    run(function()
      assert.equal("/\n", (output_of("pwd", nil, { cwd = "/" })))
      assert.equal("/\n", (output_of("pwd", {}, { cwd = "/" })))
      assert.equal("/\n", (output_of("pwd", { cwd = "/" })))
    end)
  end)

  it("A12: sets argv0, which is the command by default", function()
    run(function()
      local script = { "-c", "tr '\\0' ' ' < /proc/$$/cmdline" }
      assert.matches("^/bin/sh %-c", (output_of("/bin/sh", script)))
      assert.matches("^moon %-c",
        (output_of("/bin/sh", script, { argv0 = "moon" })))
    end)
  end)

  it("A15: runs a command line by a shell", function()
    run(function()
      local text, child = output_of("echo", { "foo" }, { shell = true })
      assert.equal("foo\n", text)
      assert.equal("/bin/sh", child.spawn_file)
      assert.equal("echo foo", child.spawn_args[#child.spawn_args])
      assert.equal("bar\n",
        (output_of("echo bar | cat", nil, { shell = true })))
      assert.equal("buzz\n", (output_of("echo $BAZ", nil,
        { shell = true, env_extend = { BAZ = "buzz" } })))

      local lost = spawn("does-not-exist", nil,
        { shell = true, stdio = "ignore" })
      local log = helper.record(lost, { "spawn", "error", "exit" })
      assert.equal(127, lost:wait())
      lost:wait_for("close")
      assert.equal("spawn exit", helper.names(log))
    end)
  end)

  it("A15: keeps shell metacharacters in arguments as data", function()
    run(function()
      local odd = { "a;b", "$(id)", "it's", "*", "", " x " }
      local text = output_of("printf '<%s>'", odd, { shell = true })

      assert.equal("<a;b><$(id)><it's><*><>< x >", text)
    end)
  end)
end)
