--- Node's own tests of a cluster's servers, group J: those of net. See
--- cluster_spec.lua; datagrams and Unix paths are in cluster_places_spec.lua.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"

local run, says = helper.run, fixture.says

-- Ports -----------------------------------------------------------------------

describe("a port of a cluster", function()
  it("J111: is a real one, and the same in all workers, for the n-th of each",
    says({ "127.0.0.1 4", "true true true", "true" }, [[
      local ports, address = { {}, {} }, nil
      cluster.on("listening", function(worker, at)
        address = at
        table.insert(ports[worker.id], at.port)
      end)
      local said = {}
      cluster.on("message", function(_, ports) said[#said + 1] = ports end)
      fork()
      fork()
      await(function() return #said == 2 and #ports[2] == 2 and #ports[1] == 2
      end)
      say(address.address, address.address_type)
      say(ports[1][1] == ports[2][1], ports[1][2] == ports[2][2],
        ports[1][1] ~= ports[1][2])
      say(said[1][1] == ports[1][1] and said[2][2] == ports[1][2])
      down()]], [[
      local first, second = serve(), serve()
      process.send { first:address().port, second:address().port }]]))

  it("J111: need not be given, and all addresses have theirs", says({
    "true true true", "1" }, [[
      local worker = fork()
      local address = worker:wait_for("listening", 10000)
      say(address.port > 0, address.address == "::" or address.address ==
        "0.0.0.0", address.address_type == 6 or address.address_type == 4)
      say(ask(address.port))
      down()]], "serve {}"))

  it("J112: is free again once the only worker has closed its server", says({
    "1", "closed ECONNREFUSED", "again 1" }, [[
      local port, workers = up(1)
      say(ask(port))
      local worker = workers[1]
      worker:send "close"
      say(worker:wait_for("message", 10000), ask(port))
      worker:send { listen = port }
      assert(worker:wait_for("listening", 10000).port == port)
      say("again", ask(port))
      down()]], [[
      local server = serve()
      process.on("message", function(m)
        orrery.go(function()
          if m == "close" then
            server:close()
            process.send "closed"
          else
            server:listen(m.listen, "127.0.0.1")
          end
        end)
      end)]]))

  it("J112: goes from one worker to the next", says({ "1", "2", "3" }, [[
      local env = {}
      for _ = 1, 3 do
        local port, workers = up(1, env)
        env.PORT = tostring(port)
        say(ask(port))
        workers[1]:disconnect()
        await_none()
      end]], [[
      serve { port = tonumber(process.env.PORT) or 0, host = "127.0.0.1" }]]))

  it("J112: is one listen in each worker, and a second EADDRINUSE", says({
    "EADDRINUSE listen" }, [[
      local worker = fork()
      worker:wait_for("message", 10000)
      down()]], [[
      local port = serve():address().port
      local _, err = net.create_server():listen(port, "127.0.0.1")
      say(err.code, err.syscall)
      process.send "done"]]))

  it("J112: is closed by one worker, and opened again, while another serves",
    says({ "closed 2 2", "again 1:2 2:2" }, [[
      cluster.scheduling_policy = "rr"
      local port, workers = up(2, { PORT = tostring(free_port()) })
      local worker = workers[1]
      worker:send "close"
      say(worker:wait_for("message", 10000), ask(port), ask(port))
      worker:send "listen"
      worker:wait_for("listening", 10000)
      say("again", select(2, tally(times(4, ask, port))))
      down()]], [[
      local place = { port = tonumber(process.env.PORT), host = "127.0.0.1" }
      local server = serve(place)
      process.on("message", function(m)
        orrery.go(function()
          if m == "listen" then return server:listen(place) end
          server:close()
          process.send "closed"
        end)
      end)]]))
end)

-- Errors ----------------------------------------------------------------------

describe("an error of bind", function()
  it("J113: comes in the worker, and the port may be had later", says({
    "EADDRINUSE listen 127.0.0.1 true", "1" }, [[
      local other = net.create_server()
      other:listen(0, "127.0.0.1")
      local port = other:address().port
      local worker = fork { PORT = tostring(port) }
      worker:wait_for("message", 10000)
      other:close()
      worker:send "again"
      worker:wait_for("listening", 10000)
      say(ask(port))
      down()]], [[
      local port = tonumber(process.env.PORT)
      local server = net.create_server(function(socket)
        socket:finish(tostring(cluster.worker.id))
      end)
      local _, err = server:listen(port, "127.0.0.1")
      say(err.code, err.syscall, err.address, err.port == port)
      process.on("message", function()
        server:listen(port, "127.0.0.1", function() end)
      end)
      process.send "failed"]]))

  it("J113: comes in each worker, and is an event where nobody waits", says({
    "error EADDRINUSE", "error EADDRINUSE" }, [[
      local other = net.create_server()
      other:listen(0, "127.0.0.1")
      local port = other:address().port
      for _ = 1, 2 do
        fork({ PORT = tostring(port) }):wait_for("message", 10000)
      end
      other:close()
      down()]], [[
      local server = net.create_server()
      server:on("error", function(err)
        say("error", err.code)
        process.send "failed"
      end)
      server:listen(tonumber(process.env.PORT), "127.0.0.1", function()
        say "listens"
      end)]]))

  it("J113: has the code that the primary got", says({
    "EADDRNOTAVAIL", "ENOENT", "ENAMETOOLONG", "ENOTFOUND" }, [[
      fork():wait_for("message", 10000)
      down()]], [[
      for _, place in ipairs {
        { host = "192.0.2.77" }, { path = "/no/such/folder/s" },
        { path = "/tmp/" .. ("x"):rep(200) }, { host = "no.such.host.invalid" },
      } do
        local _, err = net.create_server():listen(place)
        say(err.code)
      end
      process.send "done"]]))

  it("J113: of one cluster is none of another's", function()
    run(function()
      local first <close> = fixture.start([[
        local port = up(1)
        say(port)
        process.stdin:read()
        say(ask(port))
        down()]], "serve()")
      local port = first.line()
      local lines = fixture.lines([[
        say((fork():wait_for("message", 10000)))
        down()]], [[
        local _, err = net.create_server():listen(]] .. port .. [[, "127.0.0.1")
        process.send(err.code)]])
      first.stdin:write "go on\n"

      assert.same({ "EADDRINUSE" }, lines)
      assert.equal("1", first.line())
      assert.equal(0, first:wait())
    end)
  end)
end)

-- What listen takes -----------------------------------------------------------

describe("listen in a worker", function()
  it("J116: has the primary listen with its backlog", function()
    run(function()
      local lines = fixture.lines([[
        local port = up(1)
        local text = listeners(port)
        say(text)
        down()]], 'serve { host = "127.0.0.1", port = 0, backlog = 37 }')

      assert.matches("^LISTEN%s+0%s+37%s", lines[1])
    end)
  end)

  it("J116: has the primary leave IPv4 alone where it says ipv6_only", says({
    "free", "EADDRINUSE" }, [[
      for _, only in ipairs { "yes", "no" } do
        local port = up(1, { ONLY = only })
        local own = net.create_server()
        local ok, err = own:listen { port = port, host = "0.0.0.0" }
        say(ok and "free" or err.code)
        if ok then own:close() end
        down()
      end]], [[
      serve { host = "::", ipv6_only = process.env.ONLY == "yes" }]]))

  it("J120: on an fd means the primary's", says({ "1:2 2:2", "true" }, [[
      cluster.scheduling_policy = "rr"
      local own = net.create_server()
      own:listen(0, "127.0.0.1")
      local port = own:address().port
      local at, workers = up(2, { FD = tostring(own:fileno()) })
      say(select(2, tally(times(4, ask, port))))
      say(at == port)
      down()
      own:close()]], "serve { fd = tonumber(process.env.FD) }"))

  it("J120: on an fd that the primary has not is an error in the worker", says({
    "EBADF" }, [[
      fork():wait_for("message", 10000)
      down()]], [[
      local _, err = net.create_server():listen { fd = 987 }
      say(err.code)
      process.send "done"]]))

  it("J120: on a handle is the worker's own", says({ "1 1", "nil" }, [[
      local told
      cluster.on("listening", function() told = true end)
      local worker = fork()
      local port = worker:wait_for("message", 10000)
      say(ask(port), ask(port))
      say(told)
      down()]], [[
      local own = net.create_server()
      own:listen { port = 0, host = "127.0.0.1", exclusive = true }
      local server = serve(own)
      process.send(server:address().port)]]))
end)

--- For a primary: each worker listens for itself on one port; says how many
--- answered, and whether the primary was told.
local EACH = [[
  local told
  cluster.on("listening", function() told = true end)
  local port = fork():wait_for("message", 10000)
  assert(fork({ PORT = tostring(port) }):wait_for("message", 10000) == port)
  local counts = tally(at_once(40, function() return ask(port) end))
  say((counts["1"] or 0) + (counts["2"] or 0), told)
  down()]]

describe("listen in a worker", function()
  it("J120: with reuse_port is the worker's own", says({ "40 nil" }, EACH, [[
    local server = serve { port = tonumber(process.env.PORT) or 0,
      host = "127.0.0.1", reuse_port = true }
    process.send(server:address().port)]]))
end)

-- Limits ----------------------------------------------------------------------

--- A worker's server whose max_connections, and whether it drops, its
--- environment says.
local LIMITED = [[
  serve_open(nil, function(server)
    server.max_connections = tonumber(process.env.MOST)
    server.drop_max_connection = process.env.DROP ~= nil
    server:on("drop", function(data)
      process.send { data.remote_port, data.local_port }
    end)
  end)]]

describe("max_connections in workers", function()
  it("J117: has connections go to those that have room", says({
    "2:1 3:9" }, [[
      local ports = {}
      for id, most in ipairs { 0, 1, 9 } do
        ports[id] = up(1, { MOST = tostring(most) })
      end
      assert(ports[1] == ports[2] and ports[2] == ports[3])
      local answers, sockets = hold(ports[1], 10)
      say(select(2, tally(answers)))
      for _, socket in ipairs(sockets) do socket:destroy() end
      down()]], LIMITED))

  it("J117: has who is one too many wait until there is room", says({
    "1 1", "waits", "1" }, [[
      local port = up(1, { MOST = "2" })
      local answers, sockets = hold(port, 2)
      say(answers[1], answers[2])
      local third = net.connect(port, "127.0.0.1")
      local _, err = third:read(nil, 100)
      say(err.code == "ETIMEDOUT" and "waits" or err.code)
      sockets[1]:destroy()
      say(third:read(nil, 10000))
      down()]], LIMITED))

  it("J117: with drop_max_connection has it dropped, and told", says({
    "1", "closed", "true true" }, [[
      local port, workers = up(1, { MOST = "1", DROP = "1" })
      local told
      workers[1]:on("message", function(m) told = m end)
      local answers, sockets = hold(port, 1)
      say(answers[1])
      local second = net.connect(port, "127.0.0.1")
      local own_port, text = second.local_port, second:read_all(10000)
      say((text or "") == "" and "closed" or text)
      await(function() return told end)
      say(told[1] == own_port, told[2] == port)
      down()]], LIMITED))

  it("http server-drop-connections-in-cluster: is for HTTP, too", says({
    "1", "closed", "1" }, [[
      local port = up(1)
      local first = client(port)
      say((first:get()))
      local second = client(port)
      local _, why = second:get()
      say((why == "end" or why == "ECONNRESET" or why == "EPIPE") and "closed"
        or why)
      first:close()
      await(function() return cluster.workers[1].connections == 0 end)
      say((client(port):get()))
      down()]], [[
      local server = orrery.http.create_server(function(_, res)
        res:finish(tostring(cluster.worker.id))
      end)
      server.max_connections, server.drop_max_connection = 1, true
      server:listen(0, "127.0.0.1")]]))
end)

-- Closing ---------------------------------------------------------------------

describe("a worker that closes its server", function()
  it("J118: has who comes meanwhile be served by others", says({
    "1:10 2:10", "40", "2:5" }, [[
      cluster.scheduling_policy = "rr"
      local port, workers = up(2)
      say(select(2, tally(times(20, ask, port))))
      local closed
      workers[1]:once("message", function() closed = true end)
      workers[1]:send "close"
      local counts = tally(at_once(40, function() return ask(port) end))
      say((counts["1"] or 0) + (counts["2"] or 0))
      await(function() return closed end)
      say(select(2, tally(times(5, ask, port))))
      down()]], [[
      local server = serve()
      process.on("message", function()
        server:close(function() process.send "closed" end)
      end)]]))

  it("J118: at once after listen leaves the port free", says({
    "ECANCELED or none", "free" }, [[
      local port, other = free_port(), net.create_server()
      cluster.on("listening", function(_, address) say(address.port) end)
      local worker = fork { PORT = tostring(port) }
      worker:wait_for("message", 10000)
      await(function() return other:listen(port, "127.0.0.1") end)
      say "free"
      other:close()
      down()]], [[
      local server = net.create_server()
      server:on("error", function(err) assert(err.code == "ECANCELED", err) end)
      server:listen(tonumber(process.env.PORT), "127.0.0.1", function() end)
      server:close(function()
        say "ECANCELED or none"
        process.send "closed"
      end)]]))
end)

describe("a server in a worker", function()
  it("J119: holds it, while it is referenced, also without a channel", says({
    "held", "exit 1 0 nil" }, [[
      report "exit"
      local worker = fork()
      worker:wait_for("disconnect", 10000)
      process.kill(worker.process.pid, "SIGTERM")
      await_none()]], [[
      local server = net.create_server()
      server:listen(0, "127.0.0.1")
      server:unref()
      server:ref()
      process.on("SIGTERM", function()
        say "held"
        server:unref()
      end)
      process.disconnect()]]))

  it("J119: does not hold it where it is not", says({ "exit 1 0 nil" }, [[
      report "exit"
      fork():wait_for("listening", 10000)
      await_none()]], [[
      local server = net.create_server()
      server:listen(0, "127.0.0.1")
      server:unref()
      process.disconnect()]]))
end)
