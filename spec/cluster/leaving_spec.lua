--- How workers leave: by a deadline, with what they still do, and with their
--- primary. What Node does, too, is in spec/node/cluster_leaving_spec.lua.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"

local run, says = helper.run, fixture.says

--- A worker of HTTP whose answers wait for a message from the primary, which it
--- tells that one waits.
local WAITER = [[
  local waiting = {}
  process.on("message", function(m)
    if m ~= "answer" then return process.send("heard " .. m) end
    for _, res in ipairs(waiting) do res:finish "answered" end
  end)
  serve_http(function(_, res)
    waiting[#waiting + 1] = res
    process.send "waiting"
  end)]]

describe("worker:disconnect", function()
  it("ours does better 16: closes connections at the deadline", says({
    "true", "exit 1 0 nil", "true" }, [[
      report "exit"
      local port, workers = up(1)
      local _, sockets = hold(port, 2)
      workers[1]:disconnect(100)
      local ends = 0
      for _, socket in ipairs(sockets) do
        local text, err = socket:read_all(10000)
        if text or err.code == "ECONNRESET" then ends = ends + 1 end
      end
      say(ends == 2)
      await_exit(workers[1])
      await_none()
      say(workers[1].exited_after_disconnect)]], "serve_open()"))

  it("ours does better 16: ends idle HTTP connections, where there is no other "
    .. "worker", says({ "1", "end", "exit 1 0 nil" }, [[
      report "exit"
      local port, workers = up(1)
      local one = client(port)
      say((one:get()))
      workers[1]:disconnect()
      local text, err = one.socket:read_all(10000)
      say(text == "" and "end" or err)
      await_exit(workers[1])
      await_none()]], "serve_http()"))

  it("ours does better 16: has requests that are under way be answered", says({
    "answered true", "end", "exit 1 0 nil" }, [[
      report "exit"
      local port, workers = up(1)
      local told
      workers[1]:on("message", function() told = true end)
      local one = client(port):request()
      await(function() return told end)
      workers[1]:disconnect()
      workers[1]:send "answer"
      local body, head = one:answer()
      say(body, head:lower():find("connection: close", 1, true) ~= nil)
      say(one.socket:read_all(10000) == "" and "end")
      await_exit(workers[1])
      await_none()]], WAITER))

  it("ends a worker whose servers are its own, by the deadline", says({
    "exit 1 0 nil", "exit 2 0 nil", "exit 3 0 nil" }, [[
      report "exit"
      for _, kind in ipairs { "exclusive", "reuse_port", "udp" } do
        local worker = fork { KIND = kind }
        worker:wait_for("message", 10000)
        worker:disconnect(500)
        await_exit(worker)
        await_none()
      end]], [[
      local place, kind = { port = 0, host = "127.0.0.1" }, process.env.KIND
      if kind == "udp" then
        place.exclusive = true
        orrery.dgram.create_socket("udp4"):bind(place)
      else
        place[kind] = true
        serve(place)
      end
      process.send "listens"]]))

  it("has a worker do what its deadline is for, in the worker, too", says({
    "true", "exit 1 0 nil", "true" }, [[
      report "exit"
      local port, workers = up(1)
      local _, sockets = hold(port, 1)
      workers[1]:send "leave"
      local text, err = sockets[1]:read_all(10000)
      say(text ~= nil or err.code == "ECONNRESET")
      await_exit(workers[1])
      await_none()
      say(workers[1].exited_after_disconnect)]], [[
      process.on("message", function() cluster.worker:disconnect(50) end)
      serve_open()]]))

  it("leaves messages be, both ways, until the worker is gone", says({
    "heard hello", "exit 1 0 nil" }, [[
      report "exit"
      local port, workers = up(1)
      local heard
      workers[1]:on("message", function(m) heard = m end)
      local one = client(port):request()
      await(function() return heard == "waiting" end)
      workers[1]:disconnect()
      assert(workers[1]:send "hello")
      await(function() return heard == "heard hello" end)
      say(heard)
      workers[1]:send "answer"
      one:answer()
      await_exit(workers[1])
      await_none()]], WAITER))

  it("has new connections be those of others", says({ "2:5" }, [[
    local port, workers = up(2)
    local answers, sockets = hold(port, 2)
    assert(answers[1] ~= answers[2])
    workers[1]:disconnect()
    say(select(2, tally((hold(port, 5)))))
    for _, socket in ipairs(sockets) do socket:destroy() end
    await_exit(workers[1])
    down()]], "serve_open()"))
end)

describe("a primary", function()
  it("ours does better 15: is told by false that a worker is leaving or gone",
    says({ "false ERR_IPC_CHANNEL_CLOSED", "false ERR_IPC_CHANNEL_CLOSED" }, [[
      local function try(worker)
        local err
        local sent = worker:send("hello", nil, nil, function(e) err = e end)
        await(function() return err end)
        say(sent, err.code)
      end
      cluster.on("error", function(err) say("error event", err) end)
      local _, workers = up(2)
      for _, worker in ipairs(workers) do
        worker:on("error", function(err) say("error event", err) end)
      end
      workers[1]:disconnect()
      await_exit(workers[1])
      await(function() return not workers[1]:is_connected() end)
      try(workers[1])
      workers[2]:kill "SIGKILL"
      await_exit(workers[2])
      await(function() return not workers[2]:is_connected() end)
      try(workers[2])
      await_none()]], "serve()"))

  it("ours does better 17: is not harmed by workers that die as they talk",
    says({ "10", "none" }, [[
      local died = 0
      cluster.on("exit", function() died = died + 1 end)
      cluster.on("message", function(worker)
        for _ = 1, 50 do worker:send(("x"):rep(1000)) end
        worker:kill "SIGKILL"
      end)
      for _ = 1, 10 do fork() end
      await(function() return died == 10 end)
      await_none()
      say(died)
      say(next(cluster.workers) or "none")]], [[
      serve()
      serve()
      for _ = 1, 50 do process.send(("y"):rep(1000)) end
      process.on("message", function(m) process.send(m) end)]]))
end)

-- With the primary ------------------------------------------------------------

--- Starts a primary with two workers of this code, which get a message each and
--- say that they have it. Returns it and the workers' pids. [w]
local function started(worker)
  local primary = fixture.start([[
    local count = 0
    cluster.on("message", function() count = count + 1 end)
    for _ = 1, 2 do fork() end
    await(function() return count == 2 end)
    for _, worker in pairs(cluster.workers) do say(worker.process.pid) end
    orrery.sleep(100000)]], worker, { rlimits = { core = 0 } })
  return primary, { tonumber(primary.line()), tonumber(primary.line()) }
end

local SPIN = [[
  process.send "spins"
  process.channel:flush()
  while true do end]]

describe("workers whose primary is killed", function()
  for _, signal in ipairs { "SIGKILL", "SIGTERM", "SIGABRT" } do
    it("by " .. signal .. " end, also those in a busy loop", function()
      run(function()
        local primary <close>, pids = started(SPIN)
        primary:kill(signal)
        for _, pid in ipairs(pids) do helper.await_end(pid) end
        primary:wait()

        assert.equal(signal, primary.signal_code)
      end)
    end)
  end

  it("end also if they catch all that they can", function()
    run(function()
      local primary <close>, pids = started [[
        for _, name in ipairs { "SIGTERM", "SIGINT", "SIGHUP" } do
          process.on(name, function() end)
        end
        process.on("disconnect", function() end)
        orrery.every(1000, function() end)
        serve()
        process.send "serves"]]
      primary:kill "SIGKILL"

      for _, pid in ipairs(pids) do helper.await_end(pid) end
    end)
  end)

  it("end also in the middle of leaving, which is for no client to end",
    function()
      run(function()
        local primary <close> = fixture.start([[
          local port, workers = up(2)
          local _, sockets = hold(port, 4)
          for _, worker in ipairs(workers) do worker:disconnect(60000) end
          await(function() return ask(port) == "ECONNREFUSED" end)
          for _, worker in ipairs(workers) do say(worker.process.pid) end
          orrery.sleep(100000)
          sockets[1]:destroy()]], "serve_open()")
        local pids = { tonumber(primary.line()), tonumber(primary.line()) }
        primary:kill "SIGKILL"

        for _, pid in ipairs(pids) do helper.await_end(pid) end
      end)
    end)
end)

describe("a worker that loses its primary unexpectedly", function()
  it("exits with 1, and runs its exit listeners", says({
    "bye 1", "exit 1 1 nil" }, [[
      report "exit"
      local _, workers = up(1)
      workers[1].process:disconnect()
      await_exit(workers[1])
      await_none()]], [[
      process.on("exit", function(code) say("bye", code) end)
      serve()]]))
end)
