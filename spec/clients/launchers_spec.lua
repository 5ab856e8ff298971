--- supervisord, s6 and tini run an Orrery script as their service: they see it
--- start, what it prints, end when it is asked to, and how it ended.

local clients = require "spec.fixture.clients"
local helper = require "spec.helper"
local orrery = require "orrery"

local run, output, await_text = helper.run, clients.output, clients.await_text
local SERVICE = clients.program("service.lua")

describe("supervisord #clients", function()
  local CONFIG = [[
[supervisord]
nodaemon = true
logfile = %(here)s/supervisord.log
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s
[unix_http_server]
file = %(here)s/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory =
  supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://%(here)s/socket
[program:service]
command = ]] .. ("%s %s 5"):format(helper.orrery, SERVICE) .. [[

stdout_logfile = %(here)s/service.log
startsecs = 0
autorestart = false
]]

  --- Starts it with the service, and returns what calls supervisorctl, what
  --- ends the daemon, and the daemon. [w]
  local function start(folder)
    local config = folder:write("supervisord.conf", CONFIG)
    local daemon = orrery.spawn("supervisord", { "-c", config },
      { stdio = "ignore" })
    await_text(folder, "service.log", "service %d+\n")
    return function(...)
      return orrery.run("supervisorctl", { "-c", config, ... }).stdout
    end, clients.ending(daemon), daemon
  end

  it("stops a service by SIGTERM, which leaves cleanly", function()
    clients.need("supervisord", "supervisorctl")
    run(function()
      local folder <close> = clients.folder()
      local control, _ <close> = start(folder)
      assert.matches("service +RUNNING", control("status"))

      assert.matches("service: stopped", control("stop", "service"))
      assert.matches("leaving by SIGTERM\n$", folder:read("service.log"))
      assert.matches("stopped: service %(exit status 5%)",
        folder:read("supervisord.log"))
    end, clients.TIME)
  end)

  it("sees a service end by a signal, and starts it again", function()
    clients.need("supervisord", "supervisorctl")
    run(function()
      local folder <close> = clients.folder()
      local control, _ <close> = start(folder)
      control("signal", "KILL", "service")
      await_text(folder, "supervisord.log", "terminated by SIGKILL")

      assert.matches("service: started", control("start", "service"))
      await_text(folder, "service.log", "service %d+\nservice %d+\n")
    end, clients.TIME)
  end)

  it("ends its service when it is ended itself", function()
    clients.need("supervisord", "supervisorctl")
    run(function()
      local folder <close> = clients.folder()
      local _, _ <close>, daemon = start(folder)
      local pid = tonumber(folder:read("service.log"):match("%d+"))
      daemon:kill("SIGTERM")

      assert.equal(0, daemon:wait(clients.TIME))
      assert.matches("leaving by SIGTERM\n$", folder:read("service.log"))
      helper.await_end(pid)
    end, clients.TIME)
  end)
end)

describe("s6 #clients", function()
  local RUN = [[#!/bin/sh
READY_FD=3 exec %s %s 5 >>../service.log
]]

  --- Makes a folder with one service, whose end is written to `ended`.
  local function scanned()
    local folder = clients.folder()
    assert(orrery.run("mkdir", { folder.path .. "/service" }).ok)
    folder:write("service/run", RUN:format(helper.orrery, SERVICE))
    folder:write("service/finish",
      "#!/bin/sh\necho \"$1 $2\" >>../ended\n")
    folder:write("service/notification-fd", "3\n")
    output { "chmod", "+x", folder.path .. "/service/run",
      folder.path .. "/service/finish" }
    return folder, folder.path .. "/service"
  end

  --- Starts s6-svscan, and waits until the service has said that it is ready.
  --- SIGTERM ends all. Returns what does that, and the daemon. [w]
  local function scan(folder, service)
    local daemon = orrery.spawn("s6-svscan", { folder.path },
      { stdio = { "ignore", "inherit", "ignore" } })
    helper.eventually(function()
      return orrery.run("s6-svok", { service }).ok
    end, clients.TIME)
    output { "s6-svwait", "-U", "-t", "60000", service }
    return clients.ending(daemon), daemon
  end

  it("waits until a service says that it is ready, and stops it", function()
    clients.need("s6-svscan")
    run(function()
      local folder <close>, service = scanned()
      local _ <close> = scan(folder, service)
      assert.matches("^service %d+\n$", folder:read("service.log"))

      output { "s6-svc", "-wD", "-T", "60000", "-d", service }
      assert.matches("leaving by SIGTERM\n$", folder:read("service.log"))
      assert.equal("5 0\n", folder:read("ended"))
    end, clients.TIME)
  end)

  it("restarts a service that was killed, and ends it with itself", function()
    clients.need("s6-svscan")
    run(function()
      local folder <close>, service = scanned()
      local _ <close>, daemon = scan(folder, service)
      output { "s6-svc", "-k", service }
      local pid = await_text(folder, "service.log",
        "^service %d+\nservice (%d+)\n$")
      assert.equal("256 9\n", folder:read("ended"))

      daemon:kill("SIGTERM")
      assert.equal(0, daemon:wait(clients.TIME))
      assert.matches("leaving by SIGTERM\n$", folder:read("service.log"))
      helper.await_end(tonumber(pid))
    end, clients.TIME)
  end)
end)

describe("tini #clients", function()
  --- Starts tini with a command; its output is `child.stdout`.
  local function start(...)
    return orrery.spawn("tini", { "-s", "--", ... },
      { stdio = { "ignore", "pipe", "inherit" } })
  end

  it("hands SIGTERM to a script, and its exit code on", function()
    clients.need("tini")
    run(function()
      local child <close> = start(helper.orrery, SERVICE, "5")
      local lines = child.stdout:lines()
      assert.matches("^service %d+$", lines())
      child:kill("SIGTERM")

      assert.equal("leaving by SIGTERM", lines())
      assert.equal(5, child:wait(clients.TIME))
      assert.is_nil(lines())
    end, clients.TIME)
  end)

  it("tells by its exit code which signal has ended a script", function()
    clients.need("tini")
    run(function()
      local child <close> = start(helper.orrery, "-e",
        [[print "ready" require "orrery".sleep(60000)]])
      assert.equal("ready\n", child.stdout:read_exactly(6))
      child:kill("SIGTERM")

      assert.equal(143, child:wait(clients.TIME))
      assert.equal("", child.stdout:read_all())
    end, clients.TIME)
  end)

  it("reaps what a script leaves behind, and no child of the "
    .. "script's", function()
    clients.need("tini")
    run(function()
      local child <close> = start(helper.orrery, "-e", [[
        local orrery = require "orrery"
        print(orrery.sh("(exec sleep 60) >/dev/null 2>&1 & echo $!",
          {trim = true}).stdout)
        io.stdout:flush()
        print(orrery.run("sh", {"-c", "exit 7"}).code)
        orrery.sleep(60000)]])
      local lines = child.stdout:lines()
      local left = tonumber(lines())
      assert.equal("7", lines())
      orrery.process.kill(left, "SIGKILL")

      helper.eventually(function()
        return not orrery.process.kill(left, 0)
      end)
      child:kill("SIGTERM")
      assert.equal(143, child:wait(clients.TIME))
      assert.is_nil(lines())
    end, clients.TIME)
  end)
end)
