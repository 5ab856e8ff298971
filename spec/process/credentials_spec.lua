local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local process, run, script = orrery.process, helper.run, helper.script

describe("process", function()
  it("L126: tells its users and groups", function()
    run(function()
      local function id(option)
        return orrery.run("id", { option }, { trim = true }).stdout
      end

      assert.equal(uv.getuid(), process.getuid())
      assert.equal(tostring(process.geteuid()), id("-u"))
      assert.equal(uv.getgid(), process.getgid())
      assert.equal(tostring(process.getegid()), id("-g"))
      local groups = process.getgroups()
      local told = {}
      for word in id("-G"):gmatch("%d+") do told[#told + 1] = tonumber(word) end
      table.sort(groups)
      table.sort(told)
      assert.same(told, groups)
    end)
  end)

  it("L126: raises for ids that are none, and knows no unknown names",
    function()
      for _, name in ipairs { "setuid", "seteuid", "setgid", "setegid" } do
        for _, bad in ipairs { -1, 1 << 32, 1.5, {}, true, "a\0b" } do
          local ok, err = pcall(process[name], bad)
          assert.is_false(ok)
          assert.matches(name .. ": the id must be a name, or an integer", err)
        end
        local ok, err = process[name]("no such name")
        assert.is_nil(ok)
        assert.equal("ERR_UNKNOWN_CREDENTIAL", err.code)
        assert.matches('is called "no such name"', tostring(err))
      end
      for _, bad in ipairs { 5, { -1 }, { {} } } do
        assert.is_false((pcall(process.setgroups, bad)))
      end
      assert.equal("ERR_UNKNOWN_CREDENTIAL",
        select(2, process.setgroups { "no such name" }).code)
      assert.equal("ERR_UNKNOWN_CREDENTIAL",
        select(2, process.initgroups("no such name", 0)).code)
      assert.is_false((pcall(process.initgroups, nil, 0)))
    end)

  if helper.is_root then
    it("L126: becomes another user by name, with all its threads", function()
      run(function()
        local result = script [[
          process.setgroups {"daemon", 5}
          print(table.concat(process.getgroups(), " "))
          print(process.initgroups("nobody", "daemon"),
            table.concat(process.getgroups(), " "))
          print(process.setegid("nogroup"), process.getegid(), process.getgid())
          print(process.seteuid("nobody"), process.geteuid(), process.getuid())
          print(process.seteuid(0), process.setegid(0))
          print(process.setgroups {}, process.setgid("nogroup"),
            process.setuid("nobody"))
          local uv = require "luv"
          uv.fs_stat("/", function() end) -- a thread of luv's pool
          uv.run()
          for line in io.popen("cat /proc/" .. process.pid
            .. "/task/*/status"):lines() do
            if line:find("^Uid") then assert(line:find("65534\t65534")) end
          end
          print(process.setuid(0))]]

        assert.equal("1 5 0\ntrue\t1 0\ntrue\t65534\t0\ntrue\t65534\t0\n"
          .. "true\ttrue\ntrue\ttrue\ttrue\n"
          .. "nil\tsetuid '0': Operation not permitted (EPERM)\n",
          result.stdout, result.stderr)
      end)
    end)
  else
    it("is refused another user without the right to it", function()
      local ok, err = process.setuid(0)

      assert.is_nil(ok)
      assert.equal("EPERM", err.code)
      assert.equal("EPERM", select(2, process.setgroups { 0 }).code)
    end)
  end
end)
