local helper = require "spec.helper"
local compiled = require "orrery.compiled"
local sh = require "orrery".sh

local run = helper.run

--- A tree of our own, whose modules are compiled; removed at the end.
local function tree()
  local dir = sh("mktemp -d", { trim = true }).stdout
  local build = os.getenv("ORRERY_BUILD") or "build"
  assert(sh(("cp -r bin lua '%s' && mkdir -p '%s/build/orrery' && "
    .. "cp %s/orrery/core.so '%s/build/orrery'"):format(dir, dir, build, dir)).ok)
  compiled.build(dir .. "/lua/orrery", dir .. "/build/orrery")
  return setmetatable({ path = dir }, {
    __close = function() sh(("rm -rf '%s'"):format(dir)) end,
  })
end

--- Runs code by the tree's CLI. [w]
local function cli(dir, code)
  local env = helper.env()
  env.LUA_PATH, env.LUA_CPATH = false, false
  return assert(require "orrery".run(dir .. "/bin/orrery", { "-e", code },
    { env_extend = env, trim = true }))
end

--- The name of the chunk that `run` comes from, in the tree's CLI. [w]
local function origin(dir)
  local result = cli(dir,
    [[print(debug.getinfo(require "orrery".run, "S").short_src)]])
  return result.ok and result.stdout or result.stderr
end

local function rewrite(path, change)
  local file = assert(io.open(path, "r+b"))
  local text = change(file:read("a"))
  file:close()
  file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

describe("compiled modules", function()
  it("are loaded by the CLI, and keep their lines", function()
    run(function()
      local dir <close> = tree()

      assert.equal("[orrery.run]", origin(dir.path))
      local result = cli(dir.path, "require('orrery.inspect').x.y = 1")
      assert.matches("%(command line%):1:", result.stderr)
      assert.matches("%[orrery%.%w+%]:%d+: in", result.stderr)
    end)
  end)

  it("give way to a source that has changed since", function()
    run(function()
      local dir <close> = tree()
      local source = dir.path .. "/lua/orrery/run.lua"
      rewrite(source, function(text) return text .. "\n" end)

      assert.matches("lua/orrery/run%.lua$", origin(dir.path))
    end)
  end)

  it("give way where they are of another Lua, cut off or gone", function()
    run(function()
      local dir <close> = tree()
      local path = dir.path .. "/build/orrery/run.luac"
      for _, change in ipairs {
        function(text) return (text:gsub("^#Lua 5%.4", "#Lua 5.5")) end,
        function(text) return (text:gsub("\27Lua\x54", "\27Lua\x55")) end,
        function(text) return text:sub(1, #text // 2) end,
        function() return "" end,
      } do
        rewrite(path, change)
        assert.matches("lua/orrery/run%.lua$", origin(dir.path))
        compiled.build(dir.path .. "/lua/orrery", dir.path .. "/build/orrery")
      end

      os.remove(path)
      assert.matches("lua/orrery/run%.lua$", origin(dir.path))
    end)
  end)
end)
