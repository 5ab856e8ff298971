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
