local helper = require "spec.helper"
local orrery = require "orrery"

local process, run, script = orrery.process, helper.run, helper.script

describe("process.execve", function()
  it("L126: becomes another program, with arguments and environment",
    function()
      run(function()
        local result = script [[
          io.write("before ")
          process.on("exit", function() io.write("never") end)
          process.execve("/bin/sh", {"-c",
            "echo $0 $1 $X ${HOME:-none}; exit 3", "name", 2^10}, {X = 5})]]

        assert.equal("before name 1024 5 none\n", result.stdout)
        assert.equal(3, result.code)
      end)
    end)

  it("L126: keeps the pid and the environment, and gives no fd away",
    function()
      run(function()
        local result = script([[
          local server = orrery.net.create_server()
          server:listen(0)
          print(process.pid)
          process.execve("/bin/sh", {"-c", "echo $$ $X; ls /proc/self/fd"})]],
          { env_extend = { X = "kept" } })

        local pid, same, word, fds = result.stdout:match(
          "^(%d+)\n(%d+) (%w+)\n(.*)$")
        assert.equal(pid, same)
        assert.equal("kept", word)
        for fd in fds:gmatch("%d+") do
          -- ls has one of its own; others are this test's caller's.
          assert.is_true(tonumber(fd) <= 3 or helper.fds()[tonumber(fd)] ~= nil)
        end
      end)
    end)

  it("gives the program SIGPIPE's default, and its limit of fds", function()
    run(function()
      local result = orrery.sh(("ulimit -Sn 99; exec '%s' -e '%s'"):format(
        helper.orrery, [[require "orrery".process.execve("/bin/sh", {"-c",
          "ulimit -n; grep SigIgn /proc/self/status"})]]),
        { env_extend = helper.env() })

      assert.equal("99\nSigIgn:\t0000000000000000\n", result.stdout,
        result.stderr)
    end)
  end)

  it("L126: tells what failed, and goes on as it was", function()
    run(function()
      local result = script [[
        print(process.execve("/no/such/program"))
        print(process.execve("/etc/passwd", {}))
        print(pcall(process.execve, 5))
        print(pcall(process.execve, "/bin/true", "x"))
        print(pcall(process.execve, "/bin/true", {"a\0b"}))
        print(pcall(process.execve, "/bin/true", {}, {["a=b"] = 1}))
        print(pcall(process.execve, "/bin/true", {}, "x"))
        print(orrery.run("true").code)]]

      assert.matches("^nil\texecve '/no/such/program': No such file or "
        .. "directory %(ENOENT%)\n"
        .. "nil\texecve '/etc/passwd': Permission denied %(EACCES%)\n",
        result.stdout)
      for _, text in ipairs { "execve: the file must be a string, got number 5",
        "execve: the arguments must be a list of strings, got string \"x\"",
        "execve: argument 1 must be a string without NUL bytes",
        "execve: option 'env': \"a=b\" is no name of a variable",
        "execve: the environment must be a table, got string \"x\"" } do
        assert.is_truthy(result.stdout:find("false\t" .. text, 1, true)
          or result.stdout:find(": " .. text, 1, true), text)
      end
      assert.equal("0\n", result.stdout:sub(-2))
      assert.is_nil(process.exit_code)
    end)
  end)
end)
