local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

local RELATIVE = {
  LUA_PATH = "./lua/?.lua;./lua/?/init.lua;;",
  LUA_CPATH = "./" .. (os.getenv("ORRERY_BUILD") or "build") .. "/?.so;;",
}

--- Loads parts of all kinds from another folder.
local PARTS = [[
  require "luv".chdir "/"
  assert(orrery.net and orrery.dgram and orrery.process.stdout)
  require "orrery.json"
  print(orrery.run("true").code)]]

describe("relative search paths", function()
  it("fault A12: find modules after a chdir, with lua5.4", function()
    run(function()
      local result = helper.lua("local orrery = require 'orrery'" .. PARTS,
        { env_extend = RELATIVE })

      assert.equal("0\n", result.stdout, result.stderr)
    end)
  end)

  it("fault A12: find modules after a chdir, with a launcher that "
    .. "lies elsewhere", function()
    run(function()
      local launcher = helper.tmpname()
      assert(orrery.sh(("cp bin/orrery '%s'"):format(launcher)).ok)
      local env = helper.env(RELATIVE)
      local result = assert(orrery.run(helper.interpreter, { launcher, "-e",
        "local orrery = require 'orrery'" .. PARTS }, { env_extend = env }))
      local empty = assert(orrery.run(helper.interpreter, { launcher, "-e",
        [[require "luv".chdir "/" print(require "orrery".run("true").code)]] },
        { env_extend = env }))
      os.remove(launcher)

      assert.equal("0\n", result.stdout, result.stderr)
      assert.equal("0\n", empty.stdout, empty.stderr)
    end)
  end)

  it("stay as they are if they find other modules", function()
    run(function()
      local result = helper.lua([[
        package.path = package.path .. ";./other/?.lua;;"
        require "orrery"
        print(package.path:match("(%./other.*)"), package.path:sub(1, 1))]],
        { env_extend = RELATIVE })

      assert.equal("./other/?.lua;;\t/\n", result.stdout, result.stderr)
    end)
  end)
end)
