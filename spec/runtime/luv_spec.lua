local helper = require "spec.helper"
local sh = require "orrery".sh

local run = helper.run

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
end)
