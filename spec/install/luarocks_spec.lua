local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"
local workshop = require "spec.fixture.workshop"

local run, there = helper.run, workshop.run_in

--- The environment of a luarocks that has a clean home and asks no server.
local function offline(shop)
  local path = shop.path .. "/config.lua"
  local config <close> = assert(io.open(path, "w"))
  config:write('rocks_servers = {} lua_version = "5.4" '
    .. 'rocks_provided = { lua = "5.4-1", luv = "1.44.2-1" }')
  return { HOME = shop.path .. "/home", LUAROCKS_CONFIG = path }
end

--- Prints a message of JSON, of the library that only JSON needs.
local JSON = [[print(require "orrery.json".encode({ 1, "é" }))]]

--- Prints the name of init, a program beside the core.
local INIT = [[local orrery = require "orrery"
  io.write(orrery.sh("ps -o comm= -p " .. orrery.process.ppid).stdout)]]

--- Prints what `run` was loaded from: its chunk's name.
local WHERE = [[print(debug.getinfo(require "orrery".run).short_src)]]

describe("luarocks make #long", function()
  it("fault E10: installs, offline, into a tree of its own, "
    .. "with bytecode", function()
    run(function()
      local shop <close> = workshop.new()
      local tree = shop.path .. "/tree/"
      local luv = package.searchpath("luv", package.cpath)
      there(shop.path, ("mkdir -p tree/lib/lua/5.4 && "
        .. "cp '%s' tree/lib/lua/5.4 && ln -s tree/bin/orrery ."):format(luv))
      there(shop.path .. "/src",
        "luarocks --lua-version 5.4 --tree ../tree make", offline(shop))

      assert.equal("orrery " .. orrery.version .. "\n",
        there("/", tree .. "bin/orrery --version"))
      assert.equal("[orrery.child_process.run]\n",
        there("/", tree .. "bin/orrery -e '" .. WHERE .. "'"))
      assert.equal("orrery-keeper\n",
        there("/", tree .. "bin/orrery --init -e '" .. INIT .. "'"))
      assert.equal("orrery " .. orrery.version .. "\n", there("/",
        shop.path .. "/orrery --version", -- luv is in the tree only
        { LUA_CPATH = "/no/?.so" }))
      local paths = {
        LUA_PATH = tree .. "share/lua/5.4/?.lua;" .. tree
          .. "share/lua/5.4/?/init.lua;;",
        LUA_CPATH = tree .. "lib/lua/5.4/?.so;;",
      }
      assert.equal(orrery.version .. "\t0\n", there("/",
        [[lua5.4 -e 'local orrery = require "orrery"
          print(orrery.version, orrery.run("true").code)']],
        paths))
      assert.equal('[1,"é"]\n', there("/", "lua5.4 -e '" .. JSON .. "'", paths))
    end, 180000)
  end)
end)

describe("luarocks test #long", function()
  it("fault E10: runs the suite, in a clean home, and installs no "
    .. "packages", function()
    run(function()
      local shop <close> = workshop.new()
      -- A suite of one file: the whole of it would come by here again. Without
      -- .ci there is nothing that could install packages.
      there(uv.cwd(), "cp -r .busted " .. shop.path .. "/src && mkdir "
        .. shop.path .. "/src/spec && cp spec/helper.lua spec/events_spec.lua "
        .. shop.path .. "/src/spec")

      assert.matches("%d+ successes / 0 failures / 0 errors",
        there(shop.path .. "/src", "luarocks --lua-version 5.4 test",
          offline(shop)))
    end, 180000)
  end)
end)
