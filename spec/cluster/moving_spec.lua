--- Idle HTTP connections that go from one worker to another, of which the
--- client sees nothing.

local fixture = require "spec.fixture.cluster"

local says = fixture.says

--- For a worker: answers the primary's messages, by which that knows that it
--- has heard what was said before.
local PONG = "process.on('message', function() process.send 'pong' end) "

--- For a primary: has worker 1 leave, and waits until it knows.
local LEAVE = [[
  workers[1]:disconnect()
  workers[1]:send "ping"
  workers[1]:wait_for("message", 10000) ]]

--- For a primary: a kept connection to worker 1, of two.
local TWO = [[
  local port, workers = up(2)
  local one, others = nil, {}
  repeat
    local c = client(port)
    if c:get() == "1" then one = c else others[#others + 1] = c end
  until one ]]

describe("an idle HTTP connection", function()
  it("goes to another worker when its own leaves", says({
    "exit 1 0 nil", "2 false", "2" }, "report 'exit' " .. TWO .. [[
      workers[1]:disconnect()
      await_exit(workers[1])
      local body, head = one:get()
      say(body, head:lower():find("connection: close", 1, true) ~= nil)
      cluster.remove_all "exit"
      say((one:get()))
      down()]], "serve_http()"))

  it("is not closed, however many there are", says({
    "50", "2:50" }, [[
      local port, workers = up(2)
      local clients = {}
      for i = 1, 50 do
        clients[i] = client(port)
        clients[i]:get()
      end
      workers[1]:disconnect()
      await_exit(workers[1])
      local answers = {}
      for i, one in ipairs(clients) do answers[i] = one:get() or "closed" end
      say(#answers)
      say(select(2, tally(answers)))
      down()]], "serve_http()"))

  it("goes with the bytes that have come of the next request", says({
    "true 200", "1 or 2" }, TWO .. [[
      one:send "GET / HTTP/1.1\r\nHos"
      ]] .. LEAVE .. [[
      one:send "t: a\r\n\r\n"
      local body, head = one:answer()
      say(body ~= nil, head:match "^HTTP/1.1 (%d+)")
      say((body == "1" or body == "2") and "1 or 2" or body)
      down()]], PONG .. "serve_http()"))

  it("follows after its answer, where it was busy", says({
    "1 false", "exit 1 0 nil", "2" }, [[
      report "exit"
      local port, workers = up(2)
      local told, one
      cluster.on("message", function(worker) told = worker end)
      repeat
        one = client(port):request "/wait"
        await(function() return told end)
        if told.id ~= 1 then
          told:send "answer"
          one:answer()
          told = nil
        end
      until told
      workers[1]:disconnect()
      workers[1]:send "answer"
      local body, head = one:answer()
      say(body, head:lower():find("connection: close", 1, true) ~= nil)
      await_exit(workers[1])
      cluster.remove_all "exit"
      say((one:get()))
      down()]], [[
      local waiting
      process.on("message", function()
        waiting:finish(tostring(cluster.worker.id))
      end)
      serve_http(function(req, res)
        if req.url == "/wait" then
          waiting = res
          process.send "waiting"
        else
          res:finish(tostring(cluster.worker.id))
        end
      end)]]))

  it("stays where somebody has its socket, until the deadline", says({
    "1", "true", "exit 1 0 nil" }, "report 'exit' " .. TWO .. [[
      say((one:get "/socket"))
      workers[1]:disconnect(200)
      local text, err = one.socket:read_all(10000)
      say(text == "" or err.code == "ECONNRESET")
      await_exit(workers[1])
      cluster.remove_all "exit"
      down()]], [[
      local kept = {}
      serve_http(function(req, res)
        if req.url == "/socket" then kept[#kept + 1] = req.socket end
        res:finish(tostring(cluster.worker.id))
      end)]]))

  it("is told to close, where somebody has its socket and it asks", says({
    "1 true", "end" }, TWO .. [[
      one:get "/socket"
      ]] .. LEAVE .. [[
      local body, head = one:get()
      say(body, head and head:lower():find("connection: close", 1, true) ~= nil)
      say(one.socket:read_all(10000) == "" and "end")
      await_exit(workers[1])
      down()]], PONG .. [[
      local kept = {}
      serve_http(function(req, res)
        if req.url == "/socket" then kept[#kept + 1] = req.socket end
        res:finish(tostring(cluster.worker.id))
      end)]]))

  it("is closed where nothing is to move", says({ "end" },
    "cluster.setup_primary { move = false } " .. TWO .. [[
      workers[1]:disconnect()
      say(one.socket:read_all(10000) == "" and "end")
      await_exit(workers[1])
      down()]], "serve_http()"))

  it("is no connection of net, which stays with its worker", says({
    "1 closed" }, [[
      local port, workers = up(2)
      local answers, sockets = hold(port, 2)
      local i = answers[1] == "1" and 1 or 2
      workers[1]:disconnect(50)
      local text, err = sockets[i]:read_all(10000)
      say(answers[i], (text or err.code == "ECONNRESET") and "closed")
      await_exit(workers[1])
      down()]], "serve_open()"))
end)

describe("a worker that joins", function()
  it("gets its share of the connections that are there, to one apart", says({
    "16 16 16 16", "12 13 13 13 13", "64" }, [[
      local function counts()
        local list = {}
        for _, worker in pairs(cluster.workers) do
          list[#list + 1] = worker.connections
        end
        table.sort(list)
        return table.concat(list, " ")
      end
      local port = up(4)
      local clients = {}
      for i = 1, 64 do
        clients[i] = client(port)
        clients[i]:get()
      end
      say(counts())
      up(1)
      await(function() return counts() == "12 13 13 13 13" end)
      say(counts())
      local good = 0
      for _, one in ipairs(clients) do
        if tonumber((one:get())) then good = good + 1 end
      end
      say(good)
      down()]], "serve_http()"))
end)

describe("moves by a function as policy", function()
  it("are asked for, with the fields that the connection had", says({
    "true true", "3 0 nil" }, [[
      local asked, sticky = {}, {}
      cluster.scheduling_policy = function(connection, workers)
        local known = asked[connection.remote_port] ~= nil
        table.insert(sticky, known)
        asked[connection.remote_port] = connection
        local chosen
        for _, worker in pairs(workers) do
          if not chosen or worker.id > chosen.id then chosen = worker end
        end
        return chosen
      end
      local port, workers = up(3)
      local one = client(port)
      assert(one:get() == "3")
      workers[3]:disconnect()
      await_exit(workers[3])
      say(one:get() == "2", sticky[1] == false and sticky[2] == true)
      say(3, workers[3].process.exit_code, workers[3].process.signal_code)
      down()]], "serve_http()"))
end)
