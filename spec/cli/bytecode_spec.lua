local helper = require "spec.helper"
local uv = require "luv"
local bytecode = require "orrery.cli.bytecode"
local sh = require "orrery".sh

local run = helper.run

local MODULES = "/build/orrery/modules.luac"

--- A tree of our own, whose modules are compiled; removed at the end.
local function tree()
  local dir = sh("mktemp -d", { trim = true }).stdout
  local build = os.getenv("ORRERY_BUILD") or "build"
  assert(sh(("cp -r bin lua '%s' && mkdir -p '%s/build/orrery' && "
    .. "cp %s/orrery/core.so '%s/build/orrery'"):format(dir, dir, build,
    dir)).ok)
  bytecode.build(dir .. "/lua/orrery", dir .. "/build/orrery")
  return setmetatable({ path = dir }, {
    __close = function() sh(("rm -rf '%s'"):format(dir)) end,
  })
end

--- Runs code by the tree's CLI. [w]
local function cli(dir, code, opts)
  local env = helper.env()
  env.LUA_PATH, env.LUA_CPATH = false, false
  opts = opts or {}
  opts.env_extend, opts.trim = env, true
  return assert(require "orrery".run(dir .. "/bin/orrery", { "-e", code },
    opts))
end

--- The name of the chunk that a function of `orrery` comes from, in the tree's
--- CLI, or what went wrong. [w]
local function origin(dir, name)
  local result = cli(dir,
    ([[print(debug.getinfo(require "orrery".%s, "S").short_src)]]):format(name
      or "run"))
  return result.ok and result.stdout or result.stderr
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

local function rewrite(path, change)
  local file <close> = assert(io.open(path, "rb"))
  write(path, change(file:read("a")))
end

--- Changes one byte of a text, the one at `at`.
local function flip(text, at)
  return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1)
    .. text:sub(at + 1)
end

describe("compiled modules", function()
  it("are loaded by the CLI, and keep their lines", function()
    run(function()
      local dir <close> = tree()

      assert.equal("[orrery.child_process.run]", origin(dir.path))
      local result = cli(dir.path, "require('orrery.inspect').x.y = 1")
      assert.matches("%(command line%):1:", result.stderr)
      assert.matches("%[orrery%.[%w_.]+%]:%d+: in", result.stderr)
    end)
  end)

  it("are loaded by forked children", function()
    run(function()
      local dir <close> = tree()
      local path = dir.path .. "/worker.lua"
      write(path, [[
        local process = require "orrery".process
        process:send(debug.getinfo(process.send, "S").short_src)
        process:disconnect()]])

      local result = cli(dir.path, ([[
        local child = require "orrery".fork(%q)
        print(child:receive())]]):format(path))
      assert.equal("[orrery.process]", result.stdout, result.stderr)
    end)
  end)

  it("give way to a source that has changed since, one by one", function()
    run(function()
      local dir <close> = tree()
      local source = dir.path .. "/lua/orrery/child_process/run.lua"
      rewrite(source, function(text) return text .. "\n" end)

      assert.matches("lua/orrery/child_process/run%.lua$", origin(dir.path))
      assert.equal("[orrery.child_process.spawn]", origin(dir.path, "spawn"))
    end)
  end)

  it("fit a copied source, if they are to, but none that is newer", function()
    run(function()
      local dir <close> = tree()
      local source = dir.path .. "/lua/orrery/child_process/run.lua"
      bytecode.build(dir.path .. "/lua/orrery", dir.path .. "/build/orrery",
        true)
      assert(uv.fs_utime(source, 1, 1))

      assert.equal("[orrery.child_process.run]", origin(dir.path))
      assert(uv.fs_utime(source, os.time() + 1000, os.time() + 1000))
      assert.matches("lua/orrery/child_process/run%.lua$", origin(dir.path))
    end)
  end)

  it("give way where they are of another Lua, cut off, "
    .. "damaged or gone", function()
    run(function()
      local dir <close> = tree()
      local path = dir.path .. MODULES
      for i, change in ipairs {
        function(text) return (text:gsub("^orrery", "foreign")) end,
        function(text) return (text:gsub("\27Lua\x54", "\27Lua\x55")) end,
        function(text) return text:sub(1, #text // 2) end,
        function(text) return text:sub(1, -2) end,
        function(text) return text:sub(1, 63) end, -- the header is of 64 bytes
        function(text) -- the number of entries
          return text:sub(1, 44) .. "\xff\xff\xff\xff" .. text:sub(49)
        end,
        function(text) -- where the chunk is
          return flip(text, text:find("child_process.run\0", 1, true) + 56)
        end,
        function(text) -- the chunk
          return flip(text, text:find("[orrery.child_process.run]", 1, true))
        end,
        function() return "" end,
      } do
        rewrite(path, change)
        assert.matches("lua/orrery/child_process/run%.lua$", origin(dir.path),
          i)
        bytecode.build(dir.path .. "/lua/orrery", dir.path .. "/build/orrery")
      end

      os.remove(path)
      assert.matches("lua/orrery/child_process/run%.lua$", origin(dir.path))
      assert(sh(("mkfifo '%s'"):format(path)).ok)
      assert.matches("lua/orrery/child_process/run%.lua$", origin(dir.path))
    end)
  end)

  it("are written into a new file, for processes have the old "
    .. "one mapped", function()
    run(function()
      local dir <close> = tree()
      local path = dir.path .. MODULES
      local before <close> = assert(io.open(path, "rb"))
      local inode, text = uv.fs_stat(path).ino, before:read("a")
      bytecode.build(dir.path .. "/lua/orrery", dir.path .. "/build/orrery")

      assert.is_true(uv.fs_stat(path).ino ~= inode)
      before:seek("set")
      assert.is_true(before:read("a") == text)
    end)
  end)

  it("fault D8: give way where the file is cut or changed in place "
    .. "meanwhile", function()
    run(function()
      local dir <close> = tree()
      local path = dir.path .. MODULES
      for _, change in ipairs { "io.open(path, 'wb'):close()",
        "uv.fs_ftruncate(uv.fs_open(path, 'r+', 0), 5000)",
        "local file = io.open(path, 'r+b') file:write(('x'):rep(200000)) "
          .. "file:close()" } do
        local result = cli(dir.path, ([[
          local uv, path = require "luv", %q
          %s
          print(debug.getinfo(require "orrery".run, "S").short_src)]])
          :format(path, change))
        assert.matches("lua/orrery/child_process/run%.lua$", result.stdout,
          result.stderr)
        bytecode.build(dir.path .. "/lua/orrery", dir.path .. "/build/orrery")
      end
    end)
  end)

  it("are loaded also where no fd is left", function()
    run(function()
      local dir <close> = tree()
      local result = cli(dir.path, [[
        local files = {}
        repeat
          local file = io.open("/dev/null")
          files[#files + 1] = file
        until not file
        print(debug.getinfo(require "orrery.stream.file_handle".open,
          "S").short_src)]],
        { rlimits = { nofile = { soft = 64, hard = 64 } } })

      assert.equal("[orrery.stream.file_handle]", result.stdout, result.stderr)
    end)
  end)

  -- The clock of files has steps of up to 10 ms, and the upgrade must not fall
  -- into that of the start.
  local UPGRADES = {
    ["put into the place of others"] = [[sleep 0.05
      find lua -name '*.lua' | while read f; do echo 'error "new"' >"$f"; done
      find lua -name '*.lua' -exec touch -d @1 {} +
      for f in core.so modules.luac; do
        echo new >new; mv new "build/orrery/$f"; done]],
    ["removed"] = "rm -r lua build bin",
  }
  for what, line in pairs(UPGRADES) do
    it("fault A12: load after all files were " .. what, function()
      run(function()
        local dir <close> = tree()
        local result = cli(dir.path, ([[
          local orrery = require "orrery"
          os.execute(%q)
          print(debug.getinfo(orrery.net.connect, "S").short_src)]]):format(
          "cd " .. dir.path .. " && " .. line))

        assert.equal("[orrery.net]", result.stdout, result.stderr)
      end)
    end)
  end
end)
