local helper = require "spec.helper"
local orrery = require "orrery"

local EXPECTED = [[
exit 7: code 7 signal 0 pidfd -1
signal after the end: -3
kill -9 $$: code 0 signal 9 pidfd -1
signal after the end: -3
no-such-program: -2 exec
/etc/passwd: -13 exec
stolen: unknown 1
many: 0 wrong, none left
]]

describe("the engine #spawn", function()
  it("starts and reaps without Lua, under the sanitizers", function()
    helper.run(function()
      local program = helper.tmpname()
      local built = assert(orrery.sh("cc -std=c11 -D_GNU_SOURCE -g -Icore "
        .. "-fsanitize=address,undefined -fno-sanitize-recover=all -o " .. program
        .. " spec/fixture/engine.c core/launch.c core/launch_child.c core/reaper.c"))
      assert.equal("", built.stderr)
      local result = assert(orrery.run(program))
      os.remove(program)

      assert.equal("", result.stderr)
      assert.equal(EXPECTED, result.stdout)
    end, 60000)
  end)
end)
