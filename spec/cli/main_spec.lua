local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local run, cli = helper.run, helper.cli

--- Runs another Lua to its end, with our modules in its paths. [w]
--- @param lua string[] the interpreter and its options
local function other_lua(lua, ...)
  local words = table.move({ ... }, 1, select("#", ...), #lua + 1,
    { table.unpack(lua) })
  local env = helper.env { LD_PRELOAD = false }
  return assert(orrery.run(words, { env_extend = env }))
end

--- Other Luas: their interpreters, if they are installed, and what they call
--- themselves. The last two are only named so.
local OTHERS = {
  { { "lua5.1" }, "Lua 5.1" }, { { "lua5.3" }, "Lua 5.3" },
  { { "luajit" }, "LuaJIT 2" },
  { { "lua5.4", "-e", "_VERSION = 'Lua 5.3'" }, "Lua 5.3" },
  { { "lua5.4", "-e", "_VERSION = 'Lua 5.1' jit = {version = 'LuaJIT 2'}" },
    "LuaJIT 2" },
}

describe("orrery", function()
  it("runs a script, code and stdin", function()
    run(function()
      local path = helper.tmpname()
      local file = io.open(path, "w")
      file:write("#!/usr/bin/env orrery\nprint('script', arg[0], ...)")
      file:close()
      local script = cli { path, "x" }
      local code = cli { "-e", "print('code', arg[0], ...)", "x" }
      local stdin = cli({ "-", "x" },
        { stdio = { { file = path }, "pipe", "pipe" } })
      os.remove(path)

      assert.equal("script\t" .. path .. "\tx\n", script.stdout)
      assert.equal("code\tnil\tx\n", code.stdout)
      assert.equal("script\tnil\tx\n", stdin.stdout)
    end)
  end)

  it("prints version and help", function()
    run(function()
      assert.matches("^orrery %d+%.%d+%.%d+\n$", cli({ "--version" }).stdout)
      local help = cli { "--help" }
      assert.equal(0, help.code)
      assert.matches("usage: orrery", help.stdout)
    end)
  end)

  local statuses = {
    [0] = { "-e", "" },
    [1] = { "-e", "error 'x'" },
    [7] = { "-e", [[require "orrery".process.on("uncaught_exception",
      function() error "again" end) error "x"]] },
    [9] = { "--no-such-option" },
    [13] = { "-e", 'require "orrery".events.new():wait_for "never"' },
  }
  for status, args in pairs(statuses) do
    it("ends with status " .. status, function()
      run(function() assert.equal(status, cli(args).code) end)
    end)
  end

  it("ends with 1 for a script that is missing or no Lua", function()
    run(function()
      local missing, wrong = cli { "/no/such/script.lua" }, cli { "-e", "x =" }
      assert.equal(1, missing.code)
      assert.matches("/no/such/script.lua", missing.stderr)
      assert.equal(1, wrong.code)
      assert.matches("command line", wrong.stderr)
      assert.equal(9, cli({}).code)
      assert.equal(9, cli({ "-e" }).code)
    end)
  end)

  it("names the line where the main task waits for what cannot come", function()
    run(function()
      local result = cli { "-e",
        'local e = require "orrery".events.new()\n\ne:wait_for "never"' }

      assert.matches("%(command line%):3", result.stderr)
    end)
  end)

  it("treats an error in a script's raw luv callback as ours", function()
    run(function()
      local code = [[
        local uv, orrery = require "luv", require "orrery"
        %s
        local timer = uv.new_timer()
        timer:start(1, 0, function()
          timer:close()
          orrery.process.next_tick(print, "tick after the callback")
          error({code = 1})
        end)]]
      local plain = cli { "-e", code:format("") }
      local caught = cli { "-e", code:format(
        [[orrery.process.on("uncaught_exception",
          function(e, o) print(e.code, o) end)]]) }

      assert.equal(1, plain.code)
      assert.matches("code = 1", plain.stderr)
      assert.equal("1\tcallback\ntick after the callback\n", caught.stdout)
    end)
  end)

  it("raises the soft limit of fds, and gives children the old one", function()
    run(function()
      local result = cli({ "-e", [[
        local r = require "orrery".sh("ulimit -n")
        local limits = io.open("/proc/self/limits"):read("a")
        local own = limits:match("open files%s+(%d+)%s+(%d+)")
        print(r.stdout:match("%d+"), own)]] },
        { rlimits = { nofile = { soft = 100, hard = 300 } } })

      assert.equal("100\t300\n", result.stdout)
    end)
  end)

  it("works after chdir, and through a symbolic link", function()
    run(function()
      local link = helper.tmpname()
      os.remove(link)
      uv.fs_symlink(uv.cwd() .. "/bin/orrery", link)
      local result = assert(orrery.run(link, { "-e",
        'local o = require "orrery" o.process.chdir("/") '
          .. 'print(o.sh("pwd").stdout)' },
        { env_extend = { LD_PRELOAD = helper.env().LD_PRELOAD } }))
      os.remove(link)

      assert.equal("/\n\n", result.stdout)
    end)
  end)

  it("fault A5: says in a line which Lua this is, if it is older "
    .. "than 5.4", function()
    run(function()
      local said = "needs Lua 5%.4 or later, this is "
      for _, other in ipairs(OTHERS) do
        local lua, name = table.unpack(other)
        if orrery.sh("command -v " .. lua[1]).ok then
          local by_cli = other_lua(lua, helper.orrery, "x.lua")
          local by_require =
            other_lua(lua, "-e", "print(pcall(require, 'orrery'))")
          local forked = other_lua(lua, "lua/orrery/cli/forked.lua")

          assert.equal(1, by_cli.code)
          assert.matches("^orrery: " .. said .. name .. "[^\n]*\n$",
            by_cli.stderr)
          assert.matches("^false\torrery " .. said .. name .. "[^\n]*\n$",
            by_require.stdout)
          assert.matches("^orrery: fork " .. said .. name .. "[^\n]*\n$",
            forked.stderr)
        end
      end
    end)
  end)

  it("loads less than 32 KiB of bytecode for an empty script", function()
    run(function()
      local result = cli { "-e", [[
        local size = 0
        for name, _ in pairs(package.loaded) do
          local path = name:match("^orrery")
            and package.searchpath(name, package.path)
          local chunk = path and loadfile(path)
          if chunk then size = size + #string.dump(chunk) end
        end
        print(size)]] }

      assert.is_true(tonumber(result.stdout) < 32 * 1024, result.stdout)
    end)
  end)
end)

describe('require "orrery" in plain lua5.4', function()
  it("changes nothing in its host", function()
    run(function()
      local result = helper.lua([[
        local function signals()
          return io.open("/proc/self/status"):read("a"):match("SigIgn:%s+(%x+)")
        end
        local before, exit = signals(), os.exit
        local globals = {}
        for name in pairs(_G) do globals[name] = true end
        local orrery = require "orrery"
        local _ = orrery.core, orrery.events, orrery.task, orrery.process
        for name in pairs(_G) do assert(globals[name], name) end
        assert(os.exit == exit and signals() == before)
        print "same"]])

      assert.equal("same\n", result.stdout)
    end)
  end)

  it("ends cleanly, whatever is still open or closing", function()
    run(function()
      for _, code in ipairs {
        "", "orrery.run('true')", "orrery.spawn('cat')",
        "local c = orrery.spawn('cat') c.stdin:write('x') c.stdout:read() "
          .. "c.stdout:destroy()",
        "local c = orrery.spawn('echo', {'x'}) c.stdout:on('data', print)",
        "orrery.spawn('/no/such'):wait()",
        "local c = orrery.spawn('cat') c.stdin:write('x') c.stdin:destroy() "
          .. "os.exit(0, true)",
        "orrery.after(100000, print)", "orrery.go(orrery.sleep, 100000)",
      } do
        local result = helper.lua("local orrery = require 'orrery' " .. code)
        assert.equal(0, result.code, code .. "\n" .. result.stderr)
      end
    end)
  end)

  it("main runs a task until nothing is left and gives its results", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        print(orrery.main(function(a)
          orrery.after(2, function() print "later" end)
          orrery.sleep(1)
          return a, "b"
        end, "a"))
        print(pcall(orrery.main,
          function() orrery.events.new():wait_for "x" end))]])

      assert.matches("^later\na\tb\nfalse\tmain: the main task waits",
        result.stdout)
    end)
  end)

  it("may be opened in two Lua states of one process", function()
    run(function()
      local result = helper.lua([[
        local uv, orrery = require "luv", require "orrery"
        local thread = uv.new_thread(function()
          local core = require "orrery.core"
          local child = core.spawn("true", {"true"}, {0, 1, 2})
          while not core.reap() do end
        end)
        thread:join()
        print(orrery.spawn("true", {}, {stdio="ignore"}):wait())]])

      assert.equal("0\n", result.stdout)
    end)
  end)
end)
