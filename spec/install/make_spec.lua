local helper = require "spec.helper"
local orrery = require "orrery"
local workshop = require "spec.fixture.workshop"

local run, there = helper.run, workshop.run_in

--- Prints a message of JSON, of the library that only JSON needs.
local JSON = [[print(require "orrery.json".encode({ 1, "é" }))]]

--- Prints the name of init, a program beside the core.
local INIT = [[local orrery = require "orrery"
  io.write(orrery.sh("ps -o comm= -p " .. orrery.process.ppid).stdout)]]

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
      assert.equal("orrery-keeper\n",
        there("/", ("'%s' --init -e '%s'"):format(bin, INIT)))
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

--- A Lua that finds no module in C but those in LUA_CPATH, and writes the
--- arguments that it is called with to a file.
local OTHER_LUA = [[#!/bin/sh
echo "$@" >>%s/calls
LUA_CPATH="${LUA_CPATH:-/none}" exec lua5.4 "$@"
]]

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

describe("make build #long", function()
  it("fault E7: goes on without jansson.h, llhttp and luv, which it "
    .. "names", function()
    run(function()
      local shop <close> = workshop.new()
      local bad = shop.path .. "/bad"
      assert(orrery.sh("mkdir " .. bad).ok)
      write(bad .. "/jansson.h", "#error none")
      write(bad .. "/lua", OTHER_LUA:format(bad))
      local text = there(shop.path .. "/src", ("chmod +x %s/lua && "
        .. "make install PREFIX=%s LUA=%s/lua LLHTTP_SRC=%s "
        .. "CFLAGS='-O0 -I%s'"):format(bad, shop.path, bad, bad, bad))

      assert.matches("without build/orrery/json%.so: no jansson%.h", text)
      assert.matches("without build/orrery/http%.so: no llhttp", text)
      assert.matches("without bytecode: [^\n]* has no luv", text)
      assert.matches("orrery%.json was not built, .*libjansson%-dev",
        there("/", shop.path .. "/bin/orrery -e 'print(pcall(function() "
          .. [[return require "orrery".json end))']],
          { LUA_CPATH = package.searchpath("luv", package.cpath)
            :gsub("luv%.so$", "?.so") }))
    end, 180000)
  end)

  it("fault E7: names lua.h and LUA where they are not", function()
    run(function()
      local no_header = orrery.sh("make build LUA_INC=/no/include "
        .. "BUILD=build/none", { env_extend = { MAKEFLAGS = false } })
      local no_lua = orrery.sh("make build LUA=/no/lua BUILD=build/none",
        { env_extend = { MAKEFLAGS = false } })

      assert.is_false(no_header.ok or no_lua.ok)
      assert.matches("no lua%.h in LUA_INC=/no/include", no_header.stderr)
      assert.matches("no LUA=/no/lua", no_lua.stderr)
    end, 60000)
  end)

  it("fault E7: make run runs the Lua that LUA names", function()
    run(function()
      local text = orrery.sh("make -n run LUA=/opt/lua",
        { env_extend = { MAKEFLAGS = false } }).stdout

      assert.matches("\n/opt/lua bin/orrery scripts/cluster/http_cluster%.lua",
        text)
      assert.is_nil(text:find("packages[^\n]*liblua5"))
    end)
  end)
end)
