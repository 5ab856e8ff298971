--- Node's own tests of a cluster's workers, group I: their events, messages,
--- settings, fields and deaths. Servers are in cluster_servers_spec.lua, and
--- how workers leave in cluster_leaving_spec.lua.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"

local run, lines, says = helper.run, fixture.lines, fixture.says

-- Events ----------------------------------------------------------------------

describe("a cluster", function()
  it("I103: emits fork, online, listening, disconnect and exit", function()
    run(function()
      local said = lines([[
        report("fork", "online", "disconnect", "exit")
        cluster.on("listening", function(worker, address)
          say("listening", worker.id, address.address, address.port > 0,
            address.address_type)
          worker:disconnect()
        end)
        local worker = fork()
        say("forked", worker.id, cluster.workers[1] == worker)
        await_none()]], "serve()")

      if said[5] == "exit 1 0 nil" then -- these two may come in either order
        said[5], said[6] = said[6], said[5]
      end
      assert.same({ "forked 1 true", "fork 1", "online 1",
        "listening 1 127.0.0.1 true 4", "disconnect 1", "exit 1 0 nil" }, said)
    end)
  end)

  it("I103: has workers that are none, online, listening, disconnected, dead",
    says({ "none", "fork none", "online online", "listening listening",
      "disconnecting", "gone", "dead" }, [[
      for _, event in ipairs { "fork", "online", "listening" } do
        cluster.on(event, function(worker) say(event, worker.state) end)
      end
      local worker = fork()
      say(worker.state)
      worker:on("disconnect", function()
        local state = worker.state -- it may have been reaped first
        say(state == "dead" and "gone" or state == "disconnected" and "gone"
          or state)
      end)
      worker:wait_for("listening", 10000)
      say "disconnecting"
      worker:disconnect()
      await_exit(worker)
      await_none()
      say(worker.state)]], "serve()"))

  it("I103: tells a worker before it tells all", says({
    "worker online", "cluster online", "worker listening true",
    "cluster listening true", "worker exit 0 nil", "cluster exit 0 nil" }, [[
      local worker = fork()
      local ends = {}
      for _, event in ipairs { "online", "listening", "exit" } do
        local function show(who, a, ...)
          if event == "listening" then a = a.port > 0 end
          if event == "online" then return say(who, event) end
          say(who, event, a, ...)
        end
        worker:on(event, function(...) show("worker", ...) end)
        cluster.on(event, function(w, ...)
          assert(w == worker)
          show("cluster", ...)
        end)
      end
      worker:wait_for("listening", 10000)
      worker:disconnect()
      await_none()]], "serve()"))

  it("I103: numbers its workers, and never again by a number that was", says({
    "1 2 3", "4 nil" }, [[
      say(fork().id, fork().id, fork().id)
      down()
      say(fork().id, cluster.workers[1])
      down()]], "serve()"))

  it("I103: leaves nothing in a worker's environment by which its own children "
    .. "would be workers", says({ "worker true", "child true" }, [[
      local path = os.tmpname()
      local file = io.open(path, "w")
      file:write("local c = require 'orrery'.cluster ",
        "print('child ' .. tostring(c.is_primary)) ",
        "io.stdout:flush()")
      file:close()
      local worker = fork({ SCRIPT = path })
      worker:wait_for("message", 10000)
      worker:disconnect()
      await_none()
      os.remove(path)]], [[
      local left = true
      for name in pairs(process.env) do
        local words = name:match "^ORRERY_(.*)" or name:match "^NODE_(.*)"
        if words and (words:find "WORKER" or words:find "HAND_OFF"
          or words:find "UNIQUE" or words:find "CHANNEL") then left = name end
      end
      say("worker", left)
      orrery.fork(process.env.SCRIPT):wait()
      process.send "done"]]))

  it("I103: says which side one is on, by Node's old names, too", says({
    "true false true nil", "false true false 1" }, [[
      say(cluster.is_primary, cluster.is_worker, cluster.is_master,
        cluster.worker)
      local worker = fork()
      worker:wait_for("message", 10000)
      worker:disconnect()
      await_none()]], [[
      say(cluster.is_primary, cluster.is_worker, cluster.is_master,
        cluster.worker.id)
      process.send "done"]]))
end)

-- Messages --------------------------------------------------------------------

describe("a worker's messages", function()
  it("I104: come to the worker, then to the cluster, and to the process", says({
    "process hello 5", "worker hello 5", "cluster 1 hello 5" }, [[
      local worker = fork()
      local seen = {}
      worker.process:on("message", function(m)
        table.insert(seen, 1, "process " .. m[1] .. " " .. m[2])
      end)
      worker:on("message", function(m)
        seen[#seen + 1] = "worker " .. m[1] .. " " .. m[2]
      end)
      cluster.on("message", function(w, m)
        seen[#seen + 1] = ("cluster %d %s %d"):format(w.id, m[1], m[2])
      end)
      await(function() return #seen == 3 end)
      for _, line in ipairs(seen) do say(line) end
      worker:disconnect()
      await_none()]], "process.send { 'hello', 5 }"))

  it("I104: go to the process and to cluster.worker there, also early ones",
    says({ "process early", "process late", "worker early", "worker late" }, [[
      local worker = fork()
      worker:send "early"
      worker:wait_for("online", 10000)
      worker:send "late"
      worker:wait_for("message", 10000)
      worker:disconnect()
      await_none()]], [[
      local seen = {}
      local function see(who)
        return function(m)
          seen[#seen + 1] = who .. " " .. m
          if #seen < 4 then return end
          table.sort(seen)
          for _, line in ipairs(seen) do say(line) end
          process.send "done"
        end
      end
      process.on("message", see "process")
      cluster.worker:on("message", see "worker")]]))

  it("I104: travel by worker:send on both sides, with a handle", says({
    "ping socket", "true hello" }, [[
      local sent
      local server = net.create_server(function(socket)
        sent = cluster.workers[1]:send("ping", socket)
      end)
      server:listen(0, "127.0.0.1")
      local worker = fork()
      worker:wait_for("online", 10000)
      local port = server:address().port
      local answer = ask(port)
      say(sent, answer)
      server:close()
      worker:disconnect()
      await_none()]], [[
      cluster.worker:on("message", function(m, socket)
        say(m, socket and "socket")
        socket:finish "hello"
      end)]]))

  it("I104: end by disconnect, at cluster.worker there, too", says({
    "process disconnect false", "worker disconnect false" }, [[
      local worker = fork()
      worker:wait_for("message", 10000)
      worker:disconnect()
      await_none()]], [[
      cluster.worker:on("disconnect", function()
        orrery.process.next_tick(function()
          say("worker disconnect", process.connected)
        end)
      end)
      process.on("disconnect", function()
        say("process disconnect", process.connected)
      end)
      process.send "listens"]]))

  it("I104: do not include errors, which a worker has from its process", says({
    "error boom" }, [[
      local worker = fork()
      worker:on("error", function(err) say("error", err) end)
      worker.process:emit("error", "boom")
      worker:disconnect()
      await_none()]]))
end)

-- Settings --------------------------------------------------------------------

describe("a cluster's settings", function()
  it("I105: are joined by fork's environment, which goes first", says({
    "mine /bin inherited" }, [[
      process.env.OURS = "inherited"
      local worker = fork { MINE = "mine", PATH = "/bin" }
      worker:wait_for("message", 10000)
      worker:disconnect()
      await_none()]], [[
      say(process.env.MINE, process.env.PATH, process.env.OURS)
      process.send "done"]]))

  it("I105: have the folder of the workers", says({ "/" }, [[
      cluster.setup_primary { cwd = "/" }
      say((fork():wait_for("message", 10000)))
      down()]], "process.send(process.cwd())"))

  it("I105: have more fds of the workers", says({ "through fd 4" }, [[
      cluster.setup_primary {
        stdio = { "inherit", "inherit", "inherit", "ipc", "pipe" },
      }
      local pipe = fork().process.stdio[4]
      say(pipe:read_all())
      pipe:destroy()
      await_none()]], [[
      require "luv".fs_write(4, "through fd 4", -1)
      process.exit(0)]]))

  it("I105: are empty before, and cumulative, with a setup event each", says({
    "nil", "true 0 false", "exec.lua 0 false", "exec.lua 2 false",
    "exec.lua 2 true", "4 true" }, [[
      local function show()
        local s = cluster.settings
        say(s.exec == process.script or s.exec, #s.args, s.silent)
      end
      local count, last = 0, nil
      cluster.on("setup", function(settings)
        count, last = count + 1, settings
      end)
      say(next(cluster.settings))
      cluster.setup_primary()
      show()
      cluster.setup_primary { exec = "exec.lua" }
      show()
      cluster.setup_primary { args = { "a", "b" } }
      show()
      cluster.setup_primary { silent = true }
      show()
      await(function() return count == 4 end)
      say(count, last.silent)]]))

  it("I105: emit setup later, also for the first fork", says({
    "forked", "setup true", "fork 1" }, [[
      cluster.on("setup", function(settings)
        say("setup", settings.exec == process.script)
      end)
      report "fork"
      local worker = fork()
      say "forked"
      worker:wait_for("online", 10000)
      worker:disconnect()
      await_none()]]))

  it("I105: hold for forks from then on, arguments, too", says({
    "x y", "a nil", "b nil" }, [[
      local function show(worker)
        local m = worker:wait_for("message", 10000)
        say(m[1], m[2])
      end
      show(fork())
      cluster.setup_primary { args = { "a" } }
      local second = fork()
      cluster.setup_master { args = { "b" } }
      show(second)
      show(fork())
      down()]], "process.send { (...), (select(2, ...)) or 'nil' }",
      { args = { "x", "y" } }))

  it("I105: have another script, and what its output goes to", says({
    "another" }, [[
      local path = os.tmpname()
      local file = io.open(path, "w")
      file:write "print 'another'"
      file:close()
      cluster.setup_primary { exec = path, silent = true }
      local worker = fork()
      worker:wait_for("online", 10000)
      worker:disconnect()
      local text = worker.process.stdout:read_all()
      worker.process.stderr:destroy()
      say((text:gsub("\n", "")))
      await_none()
      os.remove(path)]]))
end)

-- Fields ----------------------------------------------------------------------

describe("a worker", function()
  it("I106: is a worker, with a process, that says what it is", says({
    "true 1 nil", "worker 1: none", "worker 1: online", "function" }, [[
      local worker = fork()
      say(math.type(worker.process.pid) == "integer", worker.id,
        worker.exited_after_disconnect)
      say(worker)
      worker:wait_for("online", 10000)
      say(worker)
      say(type(worker.wait_for))
      down()]]))

  it("I106: is connected until it is not", says({
    "true", "there true true", "leaving false", "left false" }, [[
      local worker = fork()
      say(worker:is_connected())
      worker:wait_for("message", 10000)
      worker:disconnect()
      worker:wait_for("disconnect", 10000)
      say("leaving", worker:is_connected())
      await_none()
      say("left", worker:is_connected())]], [[
      say("there", cluster.worker:is_connected(),
        cluster.worker.process == process)
      process.send "done"]]))

  it("I106: is dead once it has ended, and not before", says({
    "false", "there false", "true dead" }, [[
      local worker = fork()
      say(worker:is_dead())
      worker:wait_for("message", 10000)
      worker:kill()
      worker:wait_for("exit", 10000)
      say(worker:is_dead(), worker.state)]], [[
      say("there", cluster.worker:is_dead())
      process.send "done"]]))
end)

-- Deaths ----------------------------------------------------------------------

describe("a worker's death", function()
  it("I107: is told to worker and cluster, with disconnect and exit", says({
    "cluster disconnect", "cluster exit 42 nil", "worker disconnect",
    "worker exit 42 nil", "false dead nil true" }, [[
      local seen, worker = {}, fork()
      for _, event in ipairs { "disconnect", "exit" } do
        worker:on(event, function(...)
          seen[#seen + 1] = table.concat({ "worker", event,
            event == "exit" and "42 nil" or nil }, " ")
          assert(event ~= "exit" or (...) == 42 and select(2, ...) == nil)
        end)
        cluster.on(event, function(w, ...)
          seen[#seen + 1] = table.concat({ "cluster", event,
            event == "exit" and "42 nil" or nil }, " ")
          assert(w == worker)
        end)
      end
      await(function() return #seen == 4 end)
      table.sort(seen)
      for _, line in ipairs(seen) do say(line) end
      say(worker.exited_after_disconnect, worker.state, cluster.workers[1],
        worker.process.exit_code == 42)]], "serve() process.exit(42)"))

  it("I107: by a signal has that", says({ "exit 1 nil SIGKILL", "false" }, [[
      report "exit"
      local worker = fork()
      worker:wait_for("online", 10000)
      process.kill(worker.process.pid, "SIGKILL")
      await_none()
      say(worker.exited_after_disconnect)]]))

  it("I107: by an error of its own is exit 1, and of it alone", function()
    run(function()
      local result = fixture.run([[
        report "exit"
        local port, workers = up(2)
        workers[1]:send "raise"
        await_exit(workers[1])
        say(ask(port), workers[2].state)
        down()]], [[
        process.on("message", function() error "raised on demand" end)
        serve()]])

      assert.equal("exit 1 1 nil\n2 listening\nexit 2 nil SIGKILL\n",
        result.stdout)
      assert.matches("raised on demand", result.stderr)
    end)
  end)
end)

describe("a primary", function()
  it("I108: ignores answers that it never asked for, and unknown words", says({
    "still there" }, [[
      local worker = fork()
      say((worker:wait_for("message", 10000)))
      worker:disconnect()
      await_none()]], [[
      local uv = require "luv"
      local function frame(kind, payload)
        uv.fs_write(3, string.pack("<I4BBI2", #payload, kind, 0, 0) .. payload,
          -1)
      end
      frame(2, "\x4d\0\0\0\x91\x01") -- a reply to a request 77
      frame(4, "\x81\xa3ack\x4d") -- an internal map {ack = 77}
      frame(9, "what") -- a type that there is not
      process.send "still there"]]))

  it("I108: ignores Node's own words over json", says({ "still there" }, [[
      cluster.setup_primary { serialization = "json" }
      local worker = fork()
      say((worker:wait_for("message", 10000)))
      worker:disconnect()
      await_none()]], [[
      require "luv".fs_write(3,
        '{"cmd":"NODE_CLUSTER","ack":99}\n{"cmd":"NODE_CLUSTER"}\n', -1)
      process.send "still there"]]))

  it("I109: talks to its workers in the serialization that is set", says({
    "7", "5 true" }, [[
      cluster.setup_primary { serialization = "json" }
      local worker = fork()
      say(worker:wait_for("message", 10000).raw)
      worker:send { 5 }
      local answer = worker:wait_for("message", 10000)
      say(answer[1], answer[2] > 0)
      worker:disconnect()
      await_none()]], [[
      require "luv".fs_write(3, '{"raw":7}\n', -1)
      process.on("message", function(m)
        orrery.go(function()
          process.send { m[1], serve():address().port }
        end)
      end)]]))
end)

--- Runs a primary that says the pids of its workers and ends somehow; waits
--- until they have ended, too. Returns its result. [w]
local function ended(how)
  local result = fixture.run([[
    local _, workers = up(2)
    for _, worker in ipairs(workers) do say("pid", worker.process.pid) end
    ]] .. how, "serve()")
  local count = 0
  for pid in result.stdout:gmatch("pid (%d+)") do
    count = count + 1
    helper.await_end(tonumber(pid))
  end
  assert.equal(2, count)
  return result
end

describe("the end of a primary", function()
  it("I110: is its own affair with a listener of uncaught_exception", function()
    run(function()
      local result = ended [[
        process.on("uncaught_exception", function() process.exit(42) end)
        error "uncaught"]]

      assert.equal(42, result.code)
    end)
  end)

  it("I110: by an error ends its workers", function()
    run(function()
      local result = ended [[error "a fault of the primary"]]

      assert.equal(1, result.code)
      assert.matches("a fault of the primary", result.stderr)
    end)
  end)

  it("I110: by exit or by a signal ends its workers", function()
    run(function()
      assert.equal(5, ended("process.exit(5)").code)
      for _, signal in ipairs { "SIGTERM", "SIGKILL" } do
        local how = ('process.kill(process.pid, "%s") orrery.sleep(9999)')
        assert.equal(signal, ended(how:format(signal)).signal)
      end
    end)
  end)
end)
