--- What listeners and handlers may do to what calls them: anything. Each test
--- does one thing in one event, with clients that do all that clients do, and
--- checks that the server then serves on, and that no connection stays.

local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"
local process = require "orrery.process"
local task = require "orrery.task"

local head, post = fixture.head, fixture.post
local GET = fixture.GET

--- What a listener does, once at most for each request: in words, and how.
local actions = {
  { "destroy the request", function(_, req) req:destroy() end },
  { "destroy the response", function(_, _, res) res:destroy() end },
  { "destroy the socket", function(_, req) req.socket:destroy() end },
  { "finish", function(_, _, res) res:finish("early") end },
  { "write much", function(_, _, res) res:write(("x"):rep(300000)) end },
  { "read", function(_, req)
    task.go(function() req:read_all() end)
  end },
  { "pause and resume", function(_, req)
    req:pause()
    req:resume()
  end },
  { "close idle connections", function(server)
    server:close_idle_connections()
  end },
  { "close all connections", function(server)
    server:close_all_connections()
  end },
  { "add listeners that raise", function(_, req, res)
    req:once("close", function() error("a fault") end)
    res:once("close", function() error("a fault") end)
  end },
  { "raise", function() error("a fault") end },
  { "collect", function() collectgarbage() end },
}

--- Where it does that: in words, and what has act() called there.
local events = {
  { "a request", function(act) act() end },
  { "data of a request", function(act, req) req:on("data", act) end },
  { "the end of a request", function(act, req)
    req:on("end", act)
    req:resume()
  end },
  { "the close of a request", function(act, req)
    req:on("close", act)
    req:resume()
  end },
  { "an abort", function(act, req) req:on("aborted", act) end },
  { "drain", function(act, _, res)
    res:on("drain", act)
    res:write(("x"):rep(300000))
  end },
  { "finish", function(act, _, res) res:on("finish", act) end },
  { "the close of a response", function(act, _, res) res:on("close", act) end },
  { "the close of a socket", function(act, req)
    req.socket:on("close", act)
  end },
  { "the callback of a write", function(act, _, res) res:write("x", act) end },
}

--- What clients send, in pieces; and how they end.
local requests = {
  { GET }, { GET .. GET .. GET }, { GET:sub(1, 20), GET:sub(21) },
  { post("hello") .. GET },
  { head("POST /", "Content-Length: 100000"), ("x"):rep(60000),
    ("x"):rep(40000) .. GET },
  { head("POST /", fixture.CHUNKED), "2\r\nab\r\n", "0\r\n\r\n", GET },
  { head("POST /", "Content-Length: 5") .. "ab" },
  { head("POST /", fixture.CHUNKED) .. "2\r\nab\r\n", "nonsense\r\n" },
  { head("GET /", fixture.CLOSE) .. GET },
  { head("POST /", "Expect: 100-continue", "Content-Length: 2"), "ab" },
  { "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" },
}

local ends = {
  finish = function(client)
    client:finish()
    client:rest()
  end,
  destroy = function(client) client.socket:destroy() end,
  reset = function(client) client:reset() end,
}

--- Has a client of each kind come and go. [w]
local function visit(port)
  local tasks = {}
  for _, pieces in ipairs(requests) do
    for _, leave in pairs(ends) do
      tasks[#tasks + 1] = function()
        local client <close> = fixture.connect(port)
        client.socket:on("error", function() end)
        for _, piece in ipairs(pieces) do
          client:send(piece)
          task.sleep(0)
        end
        if not client.socket.closed then leave(client) end
      end
    end
  end
  task.all(tasks)
end

--- Returns a handler that sets the trap, and then answers.
local function handler_of(listen, action, the_server)
  return function(req, res)
    local acted = false
    listen(function()
      if acted then return end
      acted = true
      action(the_server.value, req, res)
    end, req, res)
    res:write("a")
    task.sleep(0)
    if res.writable then res:finish("b") end
  end
end

--- Runs one pair of an event and an action. [w]
local function attack(listen, action)
  local the_server = {}
  local server <close>, port =
    fixture.serve(handler_of(listen, action, the_server))
  the_server.value = server
  visit(port)
  server:close_all_connections()
  fixture.await_count(server, 0)
end

describe("a listener or a callback of an HTTP server", function()
  for _, event in ipairs(events) do
    it("may do anything in " .. event[1], function()
      helper.run(function()
        local function expected() end
        process.on("uncaught_exception", expected)
        for _, action in ipairs(actions) do attack(event[2], action[2]) end
        process.off("uncaught_exception", expected)
      end, 60000)
    end)
  end
end)
