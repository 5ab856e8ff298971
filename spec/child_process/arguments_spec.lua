local arguments = require "orrery.child_process.arguments"
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

--- Returns a word of characters that shells know.
local function odd_word()
  local known = [[\'"`$!%=~#*?[](){}<>|&;^,-+@: ab]] .. "\n\t\r"
  local word = {}
  for i = 1, math.random(6) do
    local at = math.random(#known)
    word[i] = known:sub(at, at)
  end
  return table.concat(word)
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

  it("fault A13: passes floats with an integral value as integers", function()
    run(function()
      assert.equal("1024 2.5 0.30000000000000004\n",
        (output_of("echo", { 2 ^ 10, 2.5, 0.1 + 0.2 })))
      assert.equal("7 8\n", (output_of("echo $1", { 7.0, 2 ^ 3 },
        { shell = true })))
    end)
  end)

  it("fault A13: raises for a list with a hole, and names it", function()
    local one = { "a", "b", "c" }
    one[2] = nil
    for _, case in ipairs {
      { 2, "echo", one }, { 1, "echo", { nil, "b" } },
      { 1, "echo", { [2] = "b" } }, { 1, "echo", { [1000000000] = "b" } },
      { 1, { "echo", nil, "b" } }, { 2, { "echo", "a", nil, "c" } },
    } do
      assert.matches("^spec/child_process/arguments_spec.lua:%d+: spawn: the "
        .. "list of arguments has a hole: argument " .. case[1] .. " is nil$",
        raised(table.unpack(case, 2)))
    end
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

  it("fault D5: quotes them for each shell that it can", function()
    run(function()
      local words = { "", "x\\", "=ls", "a=b", "%self", "!!", "\\'\\\\'\\n",
        "''", "-n", "\n\\\n", "{a,b}", "^", "@(a)", "<(ls)", "%1", "+x" }
      for byte = 1, 255 do words[#words + 1] = string.char(byte) end
      for _ = 1, 200 do words[#words + 1] = odd_word() end
      for _, shell in ipairs { "sh", "bash", "dash", "ksh", "zsh", "fish" } do
        local text = output_of("env printf '%s\\0'", words,
          { shell = "/bin/" .. shell, env_extend = { LC_ALL = "C" } })
        assert.equal(table.concat(words, "\0") .. "\0", text, shell)
      end
    end)
  end)

  it("fault D5: raises for csh, which has no quotes for all", function()
    run(function()
      for _, shell in ipairs { "/bin/csh", "/bin/tcsh", "tcsh" } do
        local opts = { shell = shell }
        assert.matches("^spec/child_process/arguments_spec.lua:%d+: spawn: "
          .. "option 'shell': arguments cannot be quoted for " .. shell,
          raised("echo", { "x" }, opts))
        assert.equal("x\n", (output_of("echo x", nil, opts)))
      end
    end)
  end)
end)

describe("arguments.split", function()
  local split = arguments.split

  it("takes a command, arguments and options, or a list", function()
    local opts = { cwd = "/" }
    for _, case in ipairs {
      { { "ls", { "-l", 5 }, opts }, { "ls", "-l", "5" }, opts },
      { { "ls", opts }, { "ls" }, opts },
      { { { "ls", "-l" }, opts }, { "ls", "-l" }, opts },
      { { "ls", nil, opts }, { "ls" }, opts },
      { { "ls", {} }, { "ls" }, nil },
    } do
      local argv, given = split("spawn", table.unpack(case[1], 1, 3))

      assert.same(case[2], argv)
      assert.equal(case[3], given)
    end
  end)

  it("copies the arguments", function()
    local args = { "-l" }
    split("spawn", "ls", args)[2] = "-a"

    assert.same({ "-l" }, args)
  end)
end)

describe("arguments.command_line", function()
  it("is the command, with another name if there is one", function()
    local file, argv = arguments.command_line("spawn", { "ls", "a b" },
      { argv0 = "l" })

    assert.equal("ls", file)
    assert.same({ "l", "a b" }, argv)
  end)

  it("quotes what a shell would take apart", function()
    local file, argv = arguments.command_line("spawn",
      { "echo $HOME", "a b", "it's" }, { shell = true })

    assert.equal("/bin/sh", file)
    assert.same({ "/bin/sh", "-c", [[echo $HOME 'a b' 'it'\''s']] }, argv)
  end)
end)

describe("arguments.with", function()
  local with = arguments.with

  local function split(...)
    return arguments.split("spawn", with("scope", "s", ...))
  end

  it("adds an option wherever options stand", function()
    for _, case in ipairs {
      { { "ls" }, { "ls" }, { scope = "s" } },
      { { "ls", { "-l" } }, { "ls", "-l" }, { scope = "s" } },
      { { "ls", { cwd = "/" } }, { "ls" }, { scope = "s", cwd = "/" } },
      { { "ls", nil, { scope = "t" } }, { "ls" }, { scope = "s" } },
      { { { "ls", "-l" } }, { "ls", "-l" }, { scope = "s" } },
      { { { "ls" }, { cwd = "/" } }, { "ls" }, { scope = "s", cwd = "/" } },
    } do
      local argv, opts = split(table.unpack(case[1], 1, 3))

      assert.same(case[2], argv)
      assert.same(case[3], opts)
    end
  end)

  it("changes no table of the caller's", function()
    local opts = { cwd = "/" }
    with("scope", "s", "ls", nil, opts)

    assert.same({ cwd = "/" }, opts)
  end)

  it("leaves what is bad to be found", function()
    assert.equal(5, select(3, with("scope", "s", "ls", {}, 5)))
    assert.has_error(function() split({ "ls" }, {}, {}) end)
    assert.has_error(function() split("ls", { "-l", x = 1 }) end)
  end)
end)
