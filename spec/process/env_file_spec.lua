local helper = require "spec.helper"
local orrery = require "orrery"

local process = orrery.process

--- Loads a file with that text, and returns what the function returns.
local function load_text(text)
  local path = helper.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local ok, err = process.load_env_file(path)
  os.remove(path)
  return ok, err
end

local NAMES = { "ORR_A", "ORR_B", "ORR_C", "ORR_D", "ORR_E", "ORR_F", "ORR_G",
  "ORR_H", "ORR_I" }

describe("process.load_env_file", function()
  after_each(function()
    for _, name in ipairs(NAMES) do process.env[name] = nil end
  end)

  it("L126: reads names, quotes, comments and lines", function()
    assert.is_true(load_text(table.concat({
      "# a comment", "", "ORR_A=plain # and a comment",
      "export ORR_B = 'x # y'",
      [[ORR_C="two\nlines" # "]], "ORR_D='one", "two'", "ORR_E=`a\"b'c`",
      "no name here", "ORR_F=", 'ORR_G="open', "ORR_H=a=b", "=nothing",
      "ORR_I=last",
    }, "\r\n")))

    assert.equal("plain", process.env.ORR_A)
    assert.equal("x # y", process.env.ORR_B)
    assert.equal("two\nlines", process.env.ORR_C)
    assert.equal("one\ntwo", process.env.ORR_D)
    assert.equal("a\"b'c", process.env.ORR_E)
    assert.equal("", process.env.ORR_F)
    assert.equal('"open', process.env.ORR_G)
    assert.equal("a=b", process.env.ORR_H)
    assert.equal("last", process.env.ORR_I)
  end)

  it("takes no longer for long lines of blanks", function()
    local blanks = (" "):rep(1 << 17)
    local started = os.clock()

    local line = ("ORR_A%s=%sx%sy%s\n"):format(blanks, blanks, blanks, blanks)
    assert.is_true(load_text(blanks .. "\n" .. line .. blanks))

    assert.is_true(os.clock() - started < 10) -- it took hours
    assert.equal("x" .. blanks .. "y", process.env.ORR_A)
  end)

  it("sets nothing if a variable has a NUL byte", function()
    assert.equal("EINVAL", select(2, load_text(
      "ORR_A=1\nORR_B=2\nORR_C=3\nORR_D=4\nORR_E=a\0b")).code)

    for _, name in ipairs(NAMES) do assert.is_nil(process.env[name]) end
  end)

  it("L126: leaves what is set as it is", function()
    process.env.ORR_A = "ours"
    assert.is_true(load_text("ORR_A=theirs\nORR_B=new\nORR_B=newer"))

    assert.equal("ours", process.env.ORR_A)
    assert.equal("newer", process.env.ORR_B)
  end)

  it("L126: tells which file could not be read", function()
    local ok, err = process.load_env_file("/no/such/.env")
    assert.is_nil(ok)
    assert.equal("ENOENT", err.code)
    assert.equal("open", err.syscall)
    assert.equal("EISDIR", select(2, process.load_env_file("/")).code)
    assert.equal("EINVAL", select(2, load_text("ORR_A=a\0b")).code)
    assert.is_false((pcall(process.load_env_file, 5)))
  end)
end)
