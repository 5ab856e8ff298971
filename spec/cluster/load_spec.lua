--- What a primary knows of its workers' work: connections and busy.

local fixture = require "spec.fixture.cluster"

local says = fixture.says

describe("worker.connections", function()
  it("are those that are open, of all its servers", says({
    "0", "3", "1", "0" }, [[
      local port, workers = up(1)
      local worker = workers[1]
      local function await_count(count)
        await(function() return worker.connections == count end)
        say(worker.connections)
      end
      await_count(0)
      local _, sockets = hold(port, 3)
      await_count(3)
      sockets[1]:destroy()
      sockets[2]:destroy()
      await_count(1)
      sockets[3]:destroy()
      await_count(0)
      down()]], "serve_open()"))

  it("are those of HTTP, too, with a request or without", says({
    "2 0", "0 0" }, [[
      local port, workers = up(1)
      local worker = workers[1]
      local first, second = client(port), client(port)
      first:get()
      await(function() return worker.connections == 2 end)
      say(worker.connections, worker.busy)
      first:close()
      second:close()
      await(function() return worker.connections == 0 end)
      say(worker.connections, worker.busy)
      down()]], "serve_http()"))

  it("are none once the worker is dead", says({ "0 0" }, [[
    local port, workers = up(1)
    hold(port, 3)
    workers[1]:kill "SIGKILL"
    await_exit(workers[1])
    await_none()
    say(workers[1].connections, workers[1].busy)]], "serve_open()"))
end)

describe("worker.busy", function()
  it("is how many requests are in progress", says({ "0", "3", "0" }, [[
    local port, workers = up(1)
    local worker = workers[1]
    local clients = {}
    say(worker.busy)
    for i = 1, 3 do clients[i] = client(port):request() end
    await(function() return worker.busy == 3 end)
    say(worker.busy)
    worker:send "answer"
    for i = 1, 3 do clients[i]:answer() end
    await(function() return worker.busy == 0 end)
    say(worker.busy)
    down()]], [[
    local waiting = {}
    process.on("message", function()
      for _, res in ipairs(waiting) do res:finish "done" end
    end)
    serve_http(function(_, res) waiting[#waiting + 1] = res end)]]))

  it("is right while a handler keeps the worker from all else", says({
    "1", "0" }, [[
      local port, workers = up(1)
      local worker, told = workers[1], nil
      worker:on("message", function() told = true end)
      local first = client(port):request()
      await(function() return told end)
      say(worker.busy)
      first:answer()
      await(function() return worker.busy == 0 end)
      say(worker.busy)
      down()]], [[
      serve_http(function(_, res)
        process.send "spinning"
        process.channel:flush()
        local last = process.uptime() + 0.3
        while process.uptime() < last do end
        res:finish "done"
      end)]]))

  it("is none again after clients that leave in the middle", says({
    "0 0" }, [[
      local port, workers = up(1)
      local worker = workers[1]
      for _ = 1, 5 do
        local one = client(port):request()
        await(function() return worker.busy == 1 end)
        one:close()
        worker:send "answer"
        await(function() return worker.busy == 0 end)
      end
      await(function() return worker.connections == 0 end)
      say(worker.connections, worker.busy)
      down()]], [[
      local waiting
      process.on("message", function() waiting:finish(("x"):rep(100000)) end)
      serve_http(function(_, res) waiting = res end)]]))
end)
