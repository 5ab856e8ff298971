--- Who gets a connection: the policies of a cluster.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"

local run, lines, says = helper.run, fixture.lines, fixture.says

describe("cluster.scheduling_policy", function()
  it("is least, or what the environment says, and may be set", function()
    run(function()
      local code = [[
        say(cluster.scheduling_policy)
        for _, policy in ipairs { "least", "rr", "shared", "reuseport" } do
          cluster.scheduling_policy = policy
          assert(cluster.scheduling_policy == policy)
        end]]

      assert.same({ "least" }, lines(code))
      assert.same({ "shared" }, lines(code, nil,
        { env_extend = { ORRERY_CLUSTER_POLICY = "shared" } }))
    end)
  end)

  it("raises for what is no policy", says({ "true true", "true true" }, [[
    for _, bad in ipairs { "round", 5 } do
      local text = raised(function() cluster.scheduling_policy = bad end)
      say(text:find "scheduling_policy" ~= nil, text:find "least" ~= nil)
    end]]))

  it("raises once a worker was forked", says({ "true", "least" }, [[
    fork()
    local text = raised(function() cluster.scheduling_policy = "rr" end)
    say(text:find "scheduling_policy" ~= nil)
    say(cluster.scheduling_policy)
    down()]]))
end)

-- least -----------------------------------------------------------------------

--- For a primary: waits until all workers have so many connections in all.
local AWAIT = [[
  local function await_connections(count)
    await(function()
      local all = 0
      for _, worker in pairs(cluster.workers) do
        all = all + worker.connections
      end
      return all == count
    end)
  end ]]

--- A worker of HTTP that answers "/" with its id, and "/wait" once the primary
--- has sent a message, which it tells that it waits.
local WAITER = [[
  local waiting = {}
  process.on("message", function()
    for _, res in ipairs(waiting) do
      res:finish(tostring(cluster.worker.id))
    end
    waiting = {}
  end)
  serve_http(function(req, res)
    if req.url ~= "/wait" then
      return res:finish(tostring(cluster.worker.id))
    end
    waiting[#waiting + 1] = res
    process.send "waiting"
  end)]]

describe("the policy least", function()
  it("ours does better 11: gives a busy worker nothing while others are free",
    says({ "true", "true" }, [[
      local port = up(3)
      local busy
      cluster.on("message", function(worker) busy = worker end)
      local first = client(port)
      first:request "/wait"
      await(function() return busy end)
      local answers = times(12, get, port)
      local counts = tally(answers)
      say(counts[tostring(busy.id)] == nil)
      busy:send "go"
      say(first:answer() == tostring(busy.id))
      first:close()
      down()]], WAITER))

  it("ours does better 11: evens out connections that are kept", says({
    "1:4 2:4 3:4", "1:2" }, AWAIT .. [[
      local port, workers = up(3)
      local answers, sockets = hold(port, 12)
      say(select(2, tally(answers)))
      local closed = 0
      for i, id in ipairs(answers) do
        if id == "1" and closed < 2 then
          sockets[i]:destroy()
          closed = closed + 1
        end
      end
      await(function() return workers[1].connections == 2 end)
      say(select(2, tally(hold(port, 2))))
      down()]], "serve_open()"))

  it("takes turns between workers that are alike", says({
    "1:3 2:3 3:3" }, AWAIT .. [[
      local port = up(3)
      local answers = times(9, function()
        local answer = ask(port)
        await_connections(0)
        return answer
      end)
      say(select(2, tally(answers)))
      down()]], "serve()"))

  it("passes over a worker that does not turn", says({ "10 true", "true" }, [[
    local port = up(2)
    local spinner
    cluster.on("message", function(worker) spinner = worker end)
    local first = client(port)
    first:request "/spin"
    await(function() return spinner end)
    local spun = orrery.go(first.answer, first)
    local other = tostring(3 - spinner.id)
    local counts = tally(at_once(10, function() return get(port) end))
    say(counts[other], spun.status == "running")
    say(spun:join() == tostring(spinner.id))
    first:close()
    down()]], [[
    serve_http(function(req, res)
      if req.url == "/spin" then
        process.send "spinning"
        process.channel:flush()
        local last = process.uptime() + 1
        while process.uptime() < last do end
      end
      res:finish(tostring(cluster.worker.id))
    end)]]))

  it("ours does better 12: lets few wait in a worker, the rest unaccepted",
    says({ "true", "40" }, [[
      cluster.setup_primary { credit = 2, stall = 60000 }
      local port, workers = up(1)
      pause(workers[1])
      local asking = orrery.go(at_once, 40, function() return ask(port) end)
      local function waiting()
        local queue = listeners(port)
        return tonumber(queue:match "^LISTEN%s+(%d+)")
      end
      await(function() return waiting() >= 37 end)
      say(waiting() <= 38)
      resume(workers[1])
      say(tally(asking:join())["1"])
      down()]], "serve()"))
end)

-- rr, shared, reuseport -------------------------------------------------------

describe("the policy rr", function()
  it("goes from one worker to the next", says({ "1:3 2:3 3:3", "true" }, [[
    cluster.scheduling_policy = "rr"
    local port = up(3)
    local answers = times(9, ask, port)
    say(select(2, tally(answers)))
    local in_turn = true
    for i = 1, 6 do in_turn = in_turn and answers[i] == answers[i + 3] end
    say(in_turn)
    down()]], "serve()"))

  it("goes on with those that are left", says({ "2:2 3:2", "2:2 3:2 4:2" }, [[
    cluster.scheduling_policy = "rr"
    local port, workers = up(3)
    workers[1]:kill()
    await_exit(workers[1])
    say(select(2, tally(times(4, ask, port))))
    up(1)
    say(select(2, tally(times(6, ask, port))))
    down()]], "serve()"))
end)

describe("the policy shared", function()
  it("has workers accept, and loses none", says({ "60", "2:20" }, [[
    cluster.scheduling_policy = "shared"
    local port, workers = up(2)
    local counts = tally(at_once(60, function() return ask(port) end))
    say((counts["1"] or 0) + (counts["2"] or 0))
    workers[1]:kill "SIGKILL"
    await_exit(workers[1])
    say(select(2, tally(times(20, ask, port))))
    down()]], "serve()"))

  it("is the same port in all workers, HTTP and Unix paths, too", function()
    run(function()
      local path = helper.tmpname()
      os.remove(path)
      assert.same({ "40", "40" }, lines([[
        cluster.scheduling_policy = "shared"
        local count, port = 0, nil
        cluster.on("listening", function(_, address)
          count, port = count + 1, address.port or port
        end)
        fork()
        fork()
        await(function() return count == 4 end)
        local counts = tally(at_once(40, function() return get(port) end))
        say((counts["1"] or 0) + (counts["2"] or 0))
        counts = tally(at_once(40, function() return ask(process.argv[1]) end))
        say((counts["1"] or 0) + (counts["2"] or 0))
        cluster.disconnect()]], [[
        serve { path = process.argv[1] }
        serve_http()]], { args = { path } }))
    end)
  end)
end)

describe("the policy reuseport", function()
  it("ours does better 13: gives each worker a listening socket", says({
    "2", "true", "true true" }, [[
      cluster.scheduling_policy = "reuseport"
      local port = up(2)
      local text = listeners(port)
      say(select(2, text:gsub("\n", "")))
      local counts = tally(at_once(60, function() return ask(port) end))
      say((counts["1"] or 0) + (counts["2"] or 0) == 60)
      say(counts["1"] ~= nil, counts["2"] ~= nil)
      down()]], "serve()"))

  it("ours does better 13: has a worker's queue be its successor's", says({
    "60", "true" }, [[
      cluster.scheduling_policy = "reuseport"
      local port, workers = up(2)
      workers[1]:kill "SIGKILL"
      await_exit(workers[1])
      local asking = orrery.go(at_once, 60, function() return ask(port) end)
      up(1)
      local counts = tally(asking:join())
      say((counts["2"] or 0) + (counts["3"] or 0))
      say((counts["3"] or 0) > 0)
      down()]], "serve()"))
end)

for _, policy in ipairs { "least", "rr", "shared", "reuseport" } do
  describe("the policy " .. policy, function()
    it("serves all that a worker can listen on", function()
      run(function()
        local path = helper.tmpname()
        os.remove(path)
        assert.same({ "true true true true", "none" }, lines([[
          cluster.scheduling_policy = process.argv[2]
          local ports, count = {}, 0
          cluster.on("listening", function(_, address)
            count = count + 1
            ports[address.address_type] = address.port
          end)
          for _ = 1, 2 do fork() end
          await(function() return count == 8 end)
          local own = orrery.dgram.create_socket("udp4")
          own:bind(0, "127.0.0.1")
          own:send("x", ports.udp4, "127.0.0.1")
          local datagram = own:wait_for("message", 10000)
          own:close()
          local function good(ask, place)
            local counts = tally(at_once(20, function() return ask(place) end))
            return (counts["1"] or 0) + (counts["2"] or 0) == 20
          end
          say(good(ask, process.argv[1]), good(get, ports[4]),
            good(ask, ports[6] or ports[4]), datagram == "x")
          cluster.disconnect()
          say(next(cluster.workers) or "none")]], [[
          local udp
          udp = orrery.dgram.create_socket("udp4", function(data, from)
            udp:send(data, from.port, from.address)
          end)
          udp:bind(0, "127.0.0.1")
          serve { path = process.argv[1] }
          serve { host = "::", ipv6_only = false }
          serve_http()]], { args = { path, policy } }))
      end)
    end)
  end)
end

-- A function ------------------------------------------------------------------

describe("a function as policy", function()
  it("ours does better 14: chooses by what it is told", says({
    "2:6", "true", "127.0.0.1 true 1 2 3" }, [[
      local told, ids, ports
      cluster.scheduling_policy = function(connection, workers)
        told, ids = connection, {}
        ports[connection.remote_port] = true
        local chosen
        for _, worker in pairs(workers) do
          ids[#ids + 1] = worker.id
          if worker.id == 2 then chosen = worker end
        end
        return chosen
      end
      local port = up(3)
      ports = {}
      local answers, sockets = hold(port, 6)
      say(select(2, tally(answers)))
      local all = true
      for _, socket in ipairs(sockets) do
        all = all and ports[socket.local_port]
      end
      say(all)
      table.sort(ids)
      say(told.remote_address, told.local_port == port,
        table.concat(ids, " "))
      down()]], "serve_open()"))

  it("is not told of workers that do not listen, or leave", says({
    "2 3", "2" }, [[
      local ids
      cluster.scheduling_policy = function(_, workers)
        ids = {}
        local chosen
        for _, worker in pairs(workers) do
          ids[#ids + 1] = worker.id
          chosen = worker
        end
        return chosen
      end
      fork({ IDLE = "1" }):wait_for("online", 10000)
      local port, workers = up(2)
      local _, sockets = hold(port, 1)
      table.sort(ids)
      say(table.concat(ids, " "))
      hold(port, 4)
      workers[2]:disconnect()
      local _, second = hold(port, 1)
      say(table.concat(ids, " "))
      for _, list in ipairs { sockets, second } do list[1]:destroy() end
      down()]], "if not process.env.IDLE then serve_open() end"))

  it("is asked again about a worker that does not take", says({ "2", "true" },
    [[
      local stalled
      cluster.scheduling_policy = function(_, workers)
        local first, second
        for _, worker in pairs(workers) do
          if worker.id == 1 then first = worker else second = worker end
        end
        if not first.stalled then return first end
        stalled = true
        return second
      end
      local port, workers = up(2)
      pause(workers[1])
      say(ask(port))
      say(stalled)
      down()]], "serve()"))

  it("may insist, and then the connection waits", says({ "asked again", "1" },
    [[
      local asked = 0
      cluster.scheduling_policy = function(_, workers)
        asked = asked + 1
        for _, worker in pairs(workers) do
          if worker.id == 1 then return worker end
        end
      end
      local port, workers = up(2)
      pause(workers[1])
      local asking = orrery.go(ask, port)
      await(function() return asked > 1 end)
      say "asked again"
      resume(workers[1])
      say((asking:join()))
      down()]], "serve()"))
end)
