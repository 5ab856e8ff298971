--- Node's own tests of how workers leave a cluster, group K. See
--- cluster_spec.lua.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"

local run, says = helper.run, fixture.says

-- Of all workers --------------------------------------------------------------

describe("cluster.disconnect", function()
  it("K121: calls back later where there are no workers, and waits in a task",
    says({ "before", "called nil", "waited" }, [[
      local called
      cluster.disconnect(function(err)
        say("called", err)
        called = true
      end)
      say "before"
      await(function() return called end)
      cluster.disconnect()
      say "waited"]]))

  it("K121: calls back once all have gone, those that idle, too", says({
    "1 0 nil true", "2 0 nil true", "3 0 nil true", "nil ECONNREFUSED" }, [[
      local port = up(2)
      fork():wait_for("online", 10000)
      local exits, count = {}, 0
      cluster.on("exit", function(worker, code, signal)
        count = count + 1
        exits[worker.id] = ("%d %s %s %s"):format(worker.id, code, signal,
          worker.exited_after_disconnect)
      end)
      local called
      cluster.disconnect(function() called = true end)
      await(function() return called end)
      await(function() return count == 3 end)
      for _, line in ipairs(exits) do say(line) end
      say(next(cluster.workers), ask(port))]], [[
      if cluster.worker.id < 3 then serve() end]]))

  it("K121: may come again and again, and leaves no fd open", says({
    "1 3 5 7 9 11", "0" }, [[
      local function fds()
        local count = 0
        local scan = require "luv".fs_scandir "/proc/self/fd"
        while require "luv".fs_scandir_next(scan) do count = count + 1 end
        return count
      end
      local ids, before = {}, nil
      for round = 1, 6 do
        local port, workers = up(2)
        ids[round] = workers[1].id
        local answer = tonumber(ask(port))
        assert(answer == workers[1].id or answer == workers[2].id, answer)
        cluster.disconnect()
        collectgarbage()
        before = before or fds()
      end
      say(table.concat(ids, " "))
      await(function() return fds() <= before end)
      say(0)]], "serve()"))

  it("K121: is safe where it comes with ends of all other kinds", says({
    "none" }, [[
      for _ = 1, 3 do
        local _, workers = up(5)
        local done
        workers[1]:disconnect()
        workers[2]:kill "SIGKILL"
        workers[3]:send "exit"
        workers[4]:disconnect()
        cluster.disconnect(function() done = true end)
        cluster.disconnect()
        await(function() return done end)
      end
      say(next(cluster.workers) or "none")]], [[
      process.on("message", function() process.exit(0) end)
      serve()]]))

  it("K121: is safe as soon as workers start, and listen", says({ "8 0" }, [[
      local exits, bad = 0, 0
      cluster.on("exit", function(_, code)
        exits = exits + 1
        if code ~= 0 then bad = bad + 1 end
      end)
      for _, event in ipairs { "online", "listening" } do
        cluster.once(event, function() cluster.disconnect(function() end) end)
        for _ = 1, 4 do fork() end
        await_none()
      end
      await(function() return exits == 8 end)
      say(exits, bad)]], 'net.create_server():listen(0, "127.0.0.1")'))

  it("K121: ends those that share nothing with another, too", says({ "1 0",
    "2 0", "3 0", "4 0" }, [[
      local exits, count = {}, 0
      cluster.on("exit", function(worker, code)
        exits[worker.id], count = worker.id .. " " .. code, count + 1
      end)
      for _, kind in ipairs { "tcp", "udp" } do
        local unbound = fork()
        unbound:wait_for("online", 10000)
        fork({ KIND = kind }):wait_for("listening", 10000)
        unbound:disconnect()
        unbound:wait_for("disconnect", 10000)
        cluster.disconnect()
      end
      await(function() return count == 4 end)
      for _, line in ipairs(exits) do say(line) end]], [[
      if process.env.KIND == "tcp" then
        serve()
      elseif process.env.KIND == "udp" then
        orrery.dgram.create_socket("udp4"):bind(0, "127.0.0.1")
      end]]))

  it("K121: lets a worker leave by itself, at the end of its work, too", says({
    "exit 1 0 nil", "true" }, [[
      report "exit"
      local worker = fork()
      await_exit(worker)
      await_none()
      say(worker.exited_after_disconnect)]], [[
      orrery.after(1, function() cluster.worker:disconnect() end)]]))

  it("K121: has a worker's own leave be acknowledged before it ends", says({
    "10 true" }, [[
      local count, all = 0, true
      cluster.on("exit", function(worker)
        count = count + 1
        all = all and worker.exited_after_disconnect == true
      end)
      for _ = 1, 10 do fork() end
      await(function() return count == 10 end)
      say(count, all)]], "cluster.worker:disconnect()"))

  it("K121: goes through though clients are still connected", says({
    "closed", "none" }, [[
      local port, workers = up(2)
      local _, sockets = hold(port, 4)
      workers[1]:kill "SIGKILL"
      local leaving = orrery.go(function()
        workers[2]:disconnect(50)
        await_none()
      end)
      for i = 1, 4 do
        local text, err = sockets[i]:read_all(10000)
        assert(text or err.code ~= "ETIMEDOUT", err)
      end
      say "closed"
      leaving:join()
      say(next(cluster.workers) or "none")]], "serve_open()"))
end)

-- Of one worker ---------------------------------------------------------------

describe("worker:disconnect", function()
  it("K122: returns the worker, which ends with 0 and is known until then",
    says({ "true true", "exit 1 0 nil", "true disconnect" }, [[
      report "exit"
      local _, workers = up(1)
      local worker = workers[1]
      local disconnected
      worker:on("disconnect", function() disconnected = "disconnect" end)
      local same = worker:disconnect() == worker
      say(same, cluster.workers[1] == worker)
      await_none()
      await(function() return worker:is_dead() and disconnected end)
      say(worker.exited_after_disconnect, disconnected)]], "serve()"))

  it("K122: returns the worker in itself, however often it is called", says({
    "true true", "exit 1 0 nil", "true" }, [[
      report "exit"
      local _, workers = up(1)
      workers[1]:send "leave"
      await_none()
      await_exit(workers[1])
      say(workers[1].exited_after_disconnect)]], [[
      process.on("message", function()
        local worker = cluster.worker
        local first = worker:disconnect() == worker
        say(first, worker:disconnect() == worker)
      end)
      serve()]]))

  it("K122: waits for the connections of the worker", says({
    "1", "ECONNREFUSED", "still here", "exit 1 0 nil" }, [[
      report "exit"
      local port, workers = up(1)
      local socket = net.connect(port, "127.0.0.1")
      say(socket:read())
      workers[1]:disconnect()
      await(function() return ask(port) == "ECONNREFUSED" end)
      say(ask(port))
      socket:write "are you there?"
      say(socket:read(nil, 10000))
      socket:finish()
      await_none()
      await_exit(workers[1])]], [[
      net.create_server(function(socket)
        socket:write(tostring(cluster.worker.id))
        socket:read()
        socket:write "still here"
        socket:read()
        socket:finish()
      end):listen(0, "127.0.0.1")]]))

  it("K122: waits for what else holds the worker, and has its exit code", says({
    "exit 1 9 nil", "true" }, [[
      report "exit"
      local own = net.create_server(function(socket)
        cluster.workers[1]:disconnect()
        cluster.workers[1]:wait_for("disconnect", 10000)
        socket:finish "go"
      end)
      own:listen(0, "127.0.0.1")
      local worker = fork { PORT = tostring(own:address().port) }
      await_exit(worker)
      await_none()
      say(worker.exited_after_disconnect)
      own:close()]], [[
      local socket = net.connect(tonumber(process.env.PORT), "127.0.0.1")
      assert(socket:read_all() == "go")
      process.exit(9)]]))

  it("K122: may be the answer to a failed listen", says({ "EADDRINUSE",
    "exit 1 0 nil", "true" }, [[
      report "exit"
      local own = net.create_server()
      own:listen(0, "127.0.0.1")
      local worker = fork { PORT = tostring(own:address().port) }
      await_exit(worker)
      await_none()
      say(worker.exited_after_disconnect)
      own:close()]], [[
      local server = net.create_server()
      server:on("error", function(err)
        say(err.code)
        cluster.worker:disconnect()
      end)
      server:listen(tonumber(process.env.PORT), "127.0.0.1", function() end)]]))

  it("K122: is safe where worker and primary say it at once", says({
    "exit 1 0 nil", "true" }, [[
      report "exit"
      local _, workers = up(1)
      workers[1]:send "leave"
      workers[1]:disconnect()
      await_none()
      await_exit(workers[1])
      say(workers[1].exited_after_disconnect)]], [[
      process.on("message", function() cluster.worker:disconnect() end)
      serve()]]))
end)

describe("a worker that loses its channel", function()
  it("K122: ends with 1 if nobody has asked for it", says({ "exit 1 1 nil",
    "false" }, [[
      report "exit"
      local _, workers = up(1)
      workers[1].process:disconnect()
      await_exit(workers[1])
      await_none()
      say(workers[1].exited_after_disconnect)]], "serve()"))

  it("K122: goes on, and ends by itself, if it has given it up", says({
    "exit 1 7 nil", "false" }, [[
      report "exit"
      local worker = fork()
      await_exit(worker)
      await_none()
      say(worker.exited_after_disconnect)]], [[
      process.exit_code = 7
      process.disconnect()
      orrery.sleep(1)]]))
end)

-- By force --------------------------------------------------------------------

describe("worker:kill", function()
  it("K123: ends it by SIGTERM, or another signal", says({
    "true", "exit 1 nil SIGTERM", "false", "true", "exit 2 nil SIGKILL",
    "false", "true", "exit 3 nil SIGHUP", "false" }, [[
      report "exit"
      local function try(method, signal)
        local worker = fork()
        worker:wait_for("listening", 10000)
        say(worker[method](worker, signal) ~= false)
        await_exit(worker)
        await_none()
        say(worker.exited_after_disconnect)
      end
      try "kill"
      try("kill", "SIGKILL")
      try("destroy", "SIGHUP")]], "serve()"))

  it("K123: does so in the worker itself", says({ "exit 1 nil SIGTERM",
    "false" }, [[
      report "exit"
      local worker = fork()
      await_exit(worker)
      await_none()
      say(worker.exited_after_disconnect)]], [[
      cluster.worker:kill()
      orrery.sleep(9999)]]))

  it("K123: is nothing for a worker that has ended", says({ "false false" }, [[
      local worker = fork()
      worker:wait_for("online", 10000)
      worker:kill "SIGKILL"
      await_exit(worker)
      await_none()
      say(worker:kill() or false, worker:destroy() or false)
      worker:disconnect()]]))

  it("K123: may follow disconnect, and come before it", says({
    "exit 1 nil SIGKILL", "exit 2 nil SIGKILL" }, [[
      report "exit"
      local port, workers = up(2)
      local _, sockets = hold(port, 4)
      workers[1]:disconnect()
      workers[1]:kill "SIGKILL"
      await_exit(workers[1])
      workers[2]:destroy "SIGKILL"
      workers[2]:disconnect()
      await_none()
      await_exit(workers[2])
      for _, socket in ipairs(sockets) do socket:destroy() end]],
      "serve_open()"))

  it("K123: raises for a signal that there is not", says({ "true" }, [[
      local worker = fork()
      worker:wait_for("online", 10000)
      say(raised(worker.kill, worker, "SIGNOT"):find "SIGNOT" ~= nil)
      down()]]))
end)

describe("an error that a worker's listener throws", function()
  it("K123: is its own, also where its server could not listen", function()
    run(function()
      local result = fixture.run([[
        report "exit"
        local own = net.create_server()
        own:listen(0, "127.0.0.1")
        local worker = fork { PORT = tostring(own:address().port) }
        await_exit(worker)
        await_none()
        own:close()]], [[
        process.on("uncaught_exception", function(err)
          say("caught", err.code)
        end)
        local server = net.create_server()
        server:on("error", function(err)
          cluster.worker:disconnect()
          error(err)
        end)
        server:listen(tonumber(process.env.PORT), "127.0.0.1",
          function() end)]])

      assert.equal("caught EADDRINUSE\nexit 1 0 nil\n", result.stdout)
    end)
  end)
end)
