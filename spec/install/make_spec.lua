local helper = require "spec.helper"
local orrery = require "orrery"
local workshop = require "spec.fixture.workshop"

local run, there = helper.run, workshop.run_in

--- Prints a message of JSON, of the library that only JSON needs.
local JSON = [[print(require "orrery.json".encode({ 1, "é" }))]]

--- Prints what `run` was loaded from: its chunk's name.
local WHERE = [[print(debug.getinfo(require "orrery".run).short_src)]]

describe("make install #long", function()
  it("installs what runs from any folder", function()
    run(function()
      local shop <close> = workshop.new()
      there(shop.path .. "/src",
        "make install PREFIX=" .. shop.path .. "/prefix")
      local prefix = shop.path .. "/prefix/"
      local paths = {
        LUA_PATH = prefix .. "share/lua/5.4/?.lua;" .. prefix
          .. "share/lua/5.4/?/init.lua;;",
        LUA_CPATH = prefix .. "lib/lua/5.4/?.so;;",
      }

      assert.equal("orrery " .. orrery.version .. "\n",
        there("/", prefix .. "bin/orrery --version", paths))
      assert.equal("0\n", there("/", prefix
        .. [[bin/orrery -e 'print(require "orrery".run("true").code)']], paths))
      assert.equal("[orrery.child_process.run]\n", there("/", prefix
        .. "bin/orrery -e '" .. WHERE .. "'", paths))
      assert.equal('[1,"é"]\n', there("/", prefix
        .. "bin/orrery -e '" .. JSON .. "'", paths))
    end, 180000)
  end)
end)
