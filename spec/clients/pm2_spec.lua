--- PM2 runs an Orrery script as it runs Node's: over a channel of Node's JSON,
--- ready when it says so, asked to leave by a message.

local clients = require "spec.fixture.clients"
local helper = require "spec.helper"
local json = require "orrery.json"
local orrery = require "orrery"

local run, await_text = helper.run, clients.await_text

local PM2 = clients.module("pm2", "bin/pm2")

--- Starts a PM2 of the test's own, whose one app is the service. What is
--- returned calls it (`pm2("stop", "service")`, which returns the child), and
--- ends it with the variable. [w]
local function new_pm2(folder)
  local env = { HOME = folder.path, PM2_HOME = folder.path .. "/pm2",
    PM2_DISCRETE_MODE = "true" }
  local pm2 = {}
  function pm2.call(_, ...)
    return orrery.spawn("node", { PM2, ... },
      { env_extend = env, stdio = { "ignore", "pipe", "inherit" } })
  end
  --- What PM2 tells of the service: its status, and its pid.
  function pm2:told()
    local text = self("jlist").stdout:read_all()
    local app = json.decode(text:match("%[.*%]"))[1]
    return app.pm2_env.status, app.pid
  end
  return setmetatable(pm2, { __call = pm2.call, __close = function()
    local pid = tonumber(folder:read("pm2/pm2.pid"))
    if not pid then return end
    orrery.process.kill(pid, "SIGTERM") -- it ends its apps first
    helper.await_end(pid)
  end })
end

--- Describes the service for PM2.
local function describe_service(folder)
  return folder:write("service.json", json.encode { apps = { {
    name = "service", script = clients.program("service.lua"),
    interpreter = helper.orrery, out_file = folder.path .. "/service.log",
    wait_ready = true, listen_timeout = clients.TIME,
    shutdown_with_message = true, kill_timeout = clients.TIME,
  } } })
end

--- Runs a command of PM2 that starts the service and waits until it is ready,
--- which it is told to be once it prints its pid: the one that the log's end
--- has after `before`. Returns the pid. [w]
local function until_ready(folder, pm2, before, ...)
  local command <close> = pm2(...)
  command.stdout:resume()
  local pid = await_text(folder, "service.log",
    before .. "service (%d+)\n$")
  assert.equal("launching", (pm2:told()))
  assert.is_nil(command.exit_code)
  orrery.process.kill(tonumber(pid), "SIGUSR2")
  assert.equal(0, command:wait(clients.TIME))
  return tonumber(pid)
end

describe("PM2 #clients", function()
  it("waits until a script is ready, and stops it by a message", function()
    clients.need_module("pm2")
    run(function()
      local folder <close> = clients.folder()
      local pm2 <close> = new_pm2(folder)
      local pid = until_ready(folder, pm2, "^", "start",
        describe_service(folder))
      assert.same({ "online", pid }, { pm2:told() })

      assert.equal(0, pm2("stop", "service"):wait())
      assert.matches("leaving by shutdown\n$", folder:read("service.log"))
      assert.same({ "stopped", 0 }, { pm2:told() })
      helper.await_end(pid)
    end, clients.TIME)
  end)

  it("reloads a script, whose old process leaves cleanly", function()
    clients.need_module("pm2")
    run(function()
      local folder <close> = clients.folder()
      local pm2 <close> = new_pm2(folder)
      local old = until_ready(folder, pm2, "^", "start",
        describe_service(folder))
      local new = until_ready(folder, pm2, "leaving by shutdown\n",
        "reload", "service")

      assert.are_not.equal(old, new)
      assert.same({ "online", new }, { pm2:told() })
      helper.await_end(old)
    end, clients.TIME)
  end)

  it("starts a script again that was killed", function()
    clients.need_module("pm2")
    run(function()
      local folder <close> = clients.folder()
      local pm2 <close> = new_pm2(folder)
      local old = until_ready(folder, pm2, "^", "start",
        describe_service(folder))
      orrery.process.kill(old, "SIGKILL")

      local new = await_text(folder, "service.log",
        "^service %d+\nservice (%d+)\n$")
      assert.are_not.equal(old, tonumber(new))
    end, clients.TIME)
  end)
end)
