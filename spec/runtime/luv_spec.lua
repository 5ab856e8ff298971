local helper = require "spec.helper"
local sh = require "orrery".sh

local run = helper.run

--- Runs each program by plain lua5.4, behind others, with Orrery as `orrery`
--- and luv as `uv`; expects this exit code. [w]
local function expect(code, programs, behind)
  for _, program in ipairs(programs) do
    local result = helper.lua((behind or "")
      .. " local orrery, uv = require 'orrery', require 'luv' " .. program,
      { env_extend = helper.without_leak_check })
    assert.same({ code }, { result.code, result.signal },
      program .. "\n" .. result.stderr)
  end
end

describe("luv in plain lua5.4", function()
  it("fault D1: gets none of fds 0 to 2 that are closed", function()
    run(function()
      for _, closed in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
        for _, code in ipairs { "sleep(1)", "run 'true'", "process.cwd()",
          "inspect(1) orrery.spawn_sync 'cat'" } do
          local line = ('exec %s -e "orrery = require \'orrery\' '
            .. 'orrery.%s" %s'):format(helper.interpreter, code, closed)
          local result = sh(line, { env_extend = helper.env() })
          assert.same({ 0 }, { result.code, result.signal }, line)
        end
      end
    end)
  end)

  it("fault D1: children have /dev/null in place of them", function()
    run(function()
      local result = sh(helper.interpreter
        .. [[ -e 'require "orrery".spawn("readlink", {"/proc/self/fd/0"},
          {stdio = "inherit"}):wait()' <&-]], { env_extend = helper.env() })

      assert.equal("/dev/null\n", result.stdout)
    end)
  end)

  it("fault D2: may be loaded in a coroutine that is collected", function()
    run(function()
      for _, loads in ipairs { "require 'luv'", "require 'orrery.task'",
        "require 'luv' error()" } do
        local behind = ("coroutine.resume(coroutine.create(function() %s end)) "
          .. "collectgarbage() collectgarbage() "
          .. "for _ = 1, 1000 do coroutine.create(print) end"):format(loads)
        expect(0, { "assert(orrery.run('true').ok)",
          "orrery.main(orrery.sleep, 1)",
          "orrery.sleep(1) uv.new_timer():start(1, 0, function() "
            .. "orrery.go(print) end) uv.run()" }, behind)
      end
    end)
  end)

  it("fault D2: goes on when its loop runs as Orrery is loaded", function()
    run(function()
      expect(5, { "uv.run() os.exit(orrery.sleep(1) and 5)" }, [[
        coroutine.wrap(function()
          local uv = require "luv"
          uv.new_timer():start(0, 0, function()
            require "orrery.runtime.loop"
            assert(uv.loop_mode() == "default")
          end)
        end)()]])
    end)
  end)

  it("fault D3: ends well with a handle of anybody's half closed", function()
    run(function()
      for _, how in ipairs { "", "os.exit(0, true)",
        "orrery.run('true') os.exit(true, true)" } do
        for _, half in ipairs {
          "orrery.sleep(1) uv.new_timer():close()",
          "orrery.sleep(1) uv.new_pipe(false):close(function() end)",
          "orrery.sleep(1) uv.close(uv.new_idle())",
          "orrery.sleep(1) uv.spawn('/no/such', {}, print)",
          "orrery.sleep(1) local socket = uv.new_tcp() "
            .. "socket:connect('127.0.0.1', 9, function() end) socket:close()",
          "local timer = uv.new_timer() orrery.sleep(1) timer:close()",
        } do
          expect(0, { half .. " " .. how })
        end
      end
    end)
  end)

  it("fault D3: ends well by an error, a callback and a task", function()
    run(function()
      local close = "orrery.sleep(1) uv.new_timer():close() "
      expect(1, { close .. "error('x')" })
      expect(3, { close .. "uv.new_timer():start(1, 0, function() "
        .. "uv.new_timer():close() os.exit(3, true) end) uv.run()",
        close .. "orrery.main(function() orrery.sleep(1) "
        .. "uv.new_timer():close() os.exit(3, true) end)" })
    end)
  end)

  it("fault D3: frees handles that are closed while the state lives", function()
    run(function()
      local result = helper.lua([[
        local orrery, uv = require "orrery", require "luv"
        orrery.sleep(1)
        for _ = 1, 100 do uv.new_timer():close() end
        uv.run()
        collectgarbage() collectgarbage()
        print(#(debug.getregistry()["orrery.luv_handles"] or {}))]])

      assert.equal("0\n", result.stdout)
    end)
  end)

  it("fault D3: keeps its word when it has been opened again", function()
    run(function()
      expect(0, { "orrery.sleep(1) package.loaded.luv = nil "
        .. "local again = require 'luv' "
        .. "package.loaded['orrery.runtime.luv'] = nil "
        .. "require 'orrery.runtime.luv' again.new_timer():close()" })
    end)
  end)
end)
