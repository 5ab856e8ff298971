--- How many connections an agent has, who waits for one, and its end.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"
local task = require "orrery.task"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

--- Returns what holds requests of a server back, and lets them go: a function
--- for `with_server`, and one that answers the one that has waited longest.
local function held()
  local waiting = {}
  local function respond(socket, request)
    waiting[#waiting + 1] = function()
      socket:write(response(request.url))
    end
    waiting.most = math.max(waiting.most or 0, #waiting)
  end
  return respond, function()
    helper.eventually(function() return waiting[1] end)
    table.remove(waiting, 1)()
  end, waiting
end

--- Starts requests, and returns them, and a list of the paths that have been
--- answered, which grows.
local function start(ask, paths)
  local requests, answered = {}, {}
  for i, path in ipairs(paths) do
    requests[i] = ask({ path = path }, function(answer)
      answered[#answered + 1] = answer:read_all()
    end)
    requests[i]:finish()
  end
  return requests, answered
end

describe("an agent's limits", function()
  it("http agent-maxsockets: have requests wait, in order", function()
    run(function()
      local respond, let_go, waiting = held()
      with_server(respond, function(ask, server, agent)
        local _, answered = start(ask, { "/1", "/2", "/3", "/4", "/5" })
        helper.eventually(function() return agent.waiting == 3 end)
        assert.equal("agent: 2 sockets, 0 free, 3 requests wait",
          tostring(agent))
        for _ = 1, 5 do let_go() end
        helper.eventually(function() return #answered == 5 end)
        assert.same({ "/1", "/2", "/3", "/4", "/5" }, answered)
        assert.same({ 2, 2 }, { server.accepted, waiting.most })
      end, { max_sockets = 2 })
    end)
  end)

  it("count each origin for itself", function()
    run(function()
      local other, url = fixture.serve(response "y")
      with_server(response "x", function(ask, _, agent)
        finish(ask())
        finish(client.request(url, { agent = agent }))
        finish(ask { local_address = "127.0.0.2" })
        assert.equal("agent: 3 sockets, 3 free, 0 requests wait",
          tostring(agent))
        agent:destroy()
        assert.same({}, agent.origins_)
      end, { max_sockets = 1 })
      other:close()
    end)
  end)

  it("http agent-maxtotalsockets: count all origins, and close what is free",
    function()
    run(function()
      local other, url = fixture.serve(response "y")
      with_server(response "x", function(ask, server, agent)
        for _ = 1, 2 do
          finish(ask())
          finish(client.request(url, { agent = agent }))
          assert.equal(1, agent.sockets)
        end
        assert.same({ 2, 2 }, { server.accepted, other.accepted })
      end, { max_total_sockets = 1 })
      other:close()
    end)
  end)

  it("serve the origins that wait for the total in turn", function()
    run(function()
      local servers, urls = {}, {}
      for i = 1, 3 do
        servers[i], urls[i] = fixture.serve(response(tostring(i)))
      end
      local agent <close> = client.agent { max_total_sockets = 2 }
      local tasks = {}
      for i = 1, 30 do
        tasks[i] = function()
          local _, body = finish(client.request(urls[i % 3 + 1],
            { agent = agent }))
          assert.is_true(agent.sockets <= 2)
          return body
        end
      end
      for i, body in ipairs(task.all(tasks)) do
        assert.equal(tostring(i % 3 + 1), body)
      end
      assert.equal(0, agent.waiting)
      agent:destroy()
      for _, server in ipairs(servers) do server:close() end
    end)
  end)

  it("let no origin starve another one", function()
    run(function()
      local other, url = fixture.serve(response "y")
      with_server(response "x", function(ask, server, agent)
        local done = false
        local function again(answer)
          answer:resume()
          if not done then ask({}, again):finish() end
        end
        for _ = 1, 3 do ask({}, again):finish() end
        helper.eventually(function() return #server.requests > 3 end)
        local _, body = finish(client.request(url, { agent = agent }))
        done = true
        assert.equal("y", body)
        helper.eventually(function()
          return tostring(agent):find("1 free, 0 requests", 1, true)
        end)
      end, { max_total_sockets = 1 })
      other:close()
    end)
  end)

  it("go on with the others where a connection fails", function()
    run(function()
      local count = 0
      with_server(function(socket, request)
        count = count + 1
        if count % 2 == 1 then return socket:destroy() end
        socket:write(response(request.url, "Connection: close\r\n"))
      end, function(ask, _, agent)
        local results = {}
        local tasks = {}
        for i = 1, 6 do
          tasks[i] = function()
            results[i] = finish(ask { method = "POST" }) and "ok" or "failed"
          end
        end
        task.all(tasks)
        assert.same({ "failed", "ok", "failed", "ok", "failed", "ok" }, results)
        assert.equal(0, agent.sockets)
      end, { max_sockets = 1 })
    end)
  end)

  it("http abort-queued: forget a request that was ended while it waits",
    function()
    run(function()
      local respond, let_go = held()
      with_server(respond, function(ask, server, agent)
        local requests, answered = start(ask, { "/1", "/2", "/3" })
        helper.eventually(function() return agent.waiting == 2 end)
        requests[2]:abort()
        assert.equal(1, agent.waiting)
        let_go()
        let_go()
        helper.eventually(function() return #answered == 2 end)
        assert.same({ "/1", "/3" }, answered)
        assert.equal(2, #server.requests)
      end, { max_sockets = 1 })
    end)
  end)

  it("http client-race: give a connection that is lost to nobody", function()
    run(function()
      with_server(response("x", "Connection: close\r\n"),
        function(ask, server)
          local first, second = ask(), ask()
          local bodies = task.all {
            function() return select(2, finish(first)) end,
            function() return select(2, finish(second)) end,
          }
          assert.same({ "x", "x" }, bodies)
          assert.equal(2, server.accepted)
        end, { max_sockets = 1 })
    end)
  end)

  it("http client-race-2: give each of those that follow its own body",
    function()
    run(function()
      local bodies = { ("1"):rep(1000), ("22"):rep(30000), "3" }
      with_server(function(socket, request)
        socket:write(response(bodies[tonumber(request.url:sub(2))]))
      end, function(ask)
        local _, answered = start(ask, { "/1", "/2", "/3" })
        helper.eventually(function() return #answered == 3 end)
        assert.same(bodies, answered)
      end, { max_sockets = 1 })
    end)
  end)

  it("cost the same however many wait", function()
    run(function()
      with_server(response "x", function(ask, server, agent)
        local tasks = {}
        for i = 1, 2000 do
          tasks[i] = function() return select(2, finish(ask())) end
        end
        assert.equal(2000, #task.all(tasks))
        assert.equal(10, server.accepted)
        assert.equal(0, agent.waiting)
      end, { max_sockets = 10 })
    end)
  end)
end)

describe("agent:destroy", function()
  it("closes what is free and what is in use, and fails those that wait",
    function()
    run(function()
      with_server(function(socket, request)
        if request.url == "/free" then socket:write(response "x") end
      end, function(ask, server, agent)
        finish(ask { path = "/free" })
        local requests = start(ask, { "/1", "/2", "/3" })
        helper.eventually(function() return #server.requests == 3 end)
        assert.equal(1, agent.waiting)
        local codes = {}
        for i, request in ipairs(requests) do
          request:on("error", function(err) codes[i] = err.code end)
        end
        agent:destroy()
        assert.same({ 0, 0 }, { agent.sockets, agent.waiting })
        assert.same({}, agent.origins_)
        helper.eventually(function() return codes[3] end)
        assert.same({ "ECANCELED", "ECANCELED", "ECANCELED" }, codes)
      end, { max_sockets = 2 })
    end)
  end)

  it("serves requests that are made later", function()
    run(function()
      with_server(response "x", function(ask, _, agent)
        finish(ask())
        agent:destroy()
        agent:destroy()
        assert.equal("x", select(2, finish(ask())))
      end)
    end)
  end)

  it("aborts the responses that are coming", function()
    run(function()
      with_server(function(socket)
        socket:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"
      end, function(ask, _, agent)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        agent:destroy()
        local _, err = answer:read_all()
        assert.equal("ECANCELED", err.code)
      end)
    end)
  end)
end)
