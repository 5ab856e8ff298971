local arguments = require "orrery.child_process.arguments"

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
    local file, argv = arguments.command_line({ "ls", "a b" }, { argv0 = "l" })

    assert.equal("ls", file)
    assert.same({ "l", "a b" }, argv)
  end)

  it("quotes what a shell would take apart", function()
    local file, argv = arguments.command_line({ "echo $HOME", "a b", "it's" },
      { shell = true })

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
