local helper = require "spec.helper"
local orrery = require "orrery"
local workshop = require "spec.fixture.workshop"

local run, there = helper.run, workshop.run_in

--- Prints a message of JSON, of the library that only JSON needs.
local JSON = [[print(require "orrery.json".encode({ 1, "é" }))]]

--- Prints what `run` was loaded from: its chunk's name.
local WHERE = [[print(debug.getinfo(require "orrery".run).short_src)]]

describe("make install #long", function()
  it("fault A4: installs what finds its own modules, under "
    .. "any prefix", function()
    run(function()
      local shop <close> = workshop.new()
      local bin = shop.path .. "/a prefix/bin/orrery"
      there(shop.path .. "/src", "make install PREFIX='../a prefix'")
      local function orrery_prints(code)
        return there("/", ("'%s' -e '%s'"):format(bin, code))
      end

      assert.equal("orrery " .. orrery.version .. "\n",
        there("/", ("'%s' --version"):format(bin)))
      assert.equal("0\n",
        orrery_prints [[print(require "orrery".run("true").code)]])
      assert.equal("[orrery.child_process.run]\n", orrery_prints(WHERE))
      assert.equal('[1,"é"]\n', orrery_prints(JSON))
    end, 180000)
  end)

  it("fault A4: and through a link from another tree's bin", function()
    run(function()
      local shop <close> = workshop.new()
      local link = shop.path .. "/other/bin/orrery"
      there(shop.path .. "/src", "make install PREFIX=../prefix")
      there(shop.path, "make -s -C src install PREFIX=../other && "
        .. "ln -sf ../../prefix/bin/orrery other/bin/orrery && "
        .. "echo error >other/share/lua/5.4/orrery/cli/main.lua")

      assert.equal("[orrery.child_process.run]\n",
        there("/", link .. " -e '" .. WHERE .. "'"))
      assert.equal(shop.path .. "/prefix/lib/lua/5.4/orrery/core.so\n",
        there("/", link .. [[ -e 'print(package.searchpath("orrery.core",
          package.cpath))']]))
    end, 180000)
  end)
end)
