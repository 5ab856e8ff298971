local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local sh, run = orrery.sh, helper.run

--- A folder of our own with a copy of the sources in src; removed at the end.
local function workshop()
  local dir = sh("mktemp -d", { trim = true }).stdout
  assert(sh(("mkdir '%s/src' '%s/home' && cp -r Makefile core lua bin scripts docs "
    .. "*.rockspec '%s/src'"):format(dir, dir, dir)).ok)
  return setmetatable({ path = dir }, {
    __close = function() sh(("rm -rf '%s'"):format(dir)) end,
  })
end

--- Runs a command line in a folder, without our own module paths.
local function there(dir, command, env)
  env = env or {}
  env.MAKEFLAGS, env.ORRERY_BUILD = false, false -- those of a make that runs us
  env.LUA_PATH, env.LUA_CPATH = env.LUA_PATH or false, env.LUA_CPATH or false
  local result = sh(command, { cwd = dir, env_extend = env, timeout = 120000 })
  assert.is_true(result.ok, command .. "\n" .. result.stdout .. result.stderr)
  return result.stdout
end

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

--- Prints what `run` was loaded from: its chunk's name.
local WHERE = [[print(debug.getinfo(require "orrery".run).short_src)]]

describe("the rockspec", function()
  it("names every module and source file that there is", function()
    local env = {}
    assert(loadfile("orrery-scm-1.rockspec", "t", env))()
    local named = {}
    for name, what in pairs(env.build.modules) do
      if type(what) == "string" then
        named[what] = true
        local from_path = what:match("^lua/(.*)%.lua$"):gsub("/", "."):gsub("%.init$", "")
        assert.equal(from_path, name)
      else
        for _, source in ipairs(what.sources) do named[source] = true end
      end
    end

    run(function()
      for path in sh("find lua core -name '*.lua' -o -name '*.c'").stdout:gmatch("[^\n]+") do
        assert.is_true(named[path], path)
        named[path] = nil
      end
      assert.same({}, named)
    end)
  end)

  it("installs by luarocks make, offline, into a tree of its own", function()
    run(function()
      local shop <close> = workshop()
      there(shop.path .. "/src", "luarocks --lua-version 5.4 --tree ../tree make",
        offline(shop))

      assert.equal("orrery " .. orrery.version .. "\n",
        there("/", shop.path .. "/tree/bin/orrery --version"))
      local tree = shop.path .. "/tree/"
      local paths = {
        LUA_PATH = tree .. "share/lua/5.4/?.lua;" .. tree .. "share/lua/5.4/?/init.lua;;",
        LUA_CPATH = tree .. "lib/lua/5.4/?.so;;",
      }
      assert.equal(orrery.version .. "\t0\n", there("/",
        [[lua5.4 -e 'local o = require "orrery" print(o.version, o.run("true").code)']],
        paths))
      assert.equal('[1,"é"]\n', there("/", "lua5.4 -e '" .. JSON .. "'", paths))
    end, 180000)
  end)
end)

describe("luarocks test", function()
  it("runs the suite, in a clean home", function()
    run(function()
      local shop <close> = workshop()
      -- A suite of one file: the whole of it would come by here again.
      there(uv.cwd(), "cp -r .busted .ci " .. shop.path .. "/src && mkdir "
        .. shop.path .. "/src/spec && cp spec/helper.lua spec/events_spec.lua "
        .. shop.path .. "/src/spec")

      assert.matches("%d+ successes / 0 failures / 0 errors",
        there(shop.path .. "/src", "luarocks --lua-version 5.4 test", offline(shop)))
    end, 180000)
  end)
end)

describe("make install", function()
  it("installs what runs from any folder", function()
    run(function()
      local shop <close> = workshop()
      there(shop.path .. "/src", "make install PREFIX=" .. shop.path .. "/prefix")
      local prefix = shop.path .. "/prefix/"
      local paths = {
        LUA_PATH = prefix .. "share/lua/5.4/?.lua;" .. prefix .. "share/lua/5.4/?/init.lua;;",
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
