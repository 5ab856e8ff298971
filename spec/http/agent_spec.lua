--- Connections that are kept: which one a request gets, and when one ends.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"
local net = require "orrery.net"
local task = require "orrery.task"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

--- Returns the numbers of the connections on which requests have come.
local function connections_of(server)
  local list = {}
  for i, request in ipairs(server.requests) do list[i] = request.connection end
  return list
end

describe("http.agent", function()
  it("raises for options that are not good", function()
    for name, value in pairs { keep_alive = 1, max_sockets = 0,
      max_total_sockets = 1.5, max_free = -1, timeout = "1",
      scheduling = "random", maxsockets = 1 } do
      local ok, err = pcall(function()
        local agent = client.agent { [name] = value }
        return agent
      end)
      assert.is_false(ok)
      assert.matches("^spec/http/agent_spec.lua:%d+: agent: .*" .. name, err)
    end
  end)

  it("http agent-keepalive: keeps a connection for the next request", function()
    run(function()
      with_server(response "x", function(ask, server, agent)
        local first = ask()
        finish(first)
        assert.equal("agent: 1 sockets, 1 free, 0 requests wait",
          tostring(agent))
        local second = ask { method = "POST" }
        finish(second, "body")
        assert.same({ 1, 1 }, connections_of(server))
        assert.equal(first.socket, second.socket)
        assert.same({ false, true },
          { first.reused_socket, second.reused_socket })
      end)
    end)
  end)

  it("http keepalive-request: gives one after the other its answer", function()
    run(function()
      with_server(function(socket, request)
        socket:write(response(request.method .. request.body))
      end, function(ask, server)
        for i = 1, 5 do
          local _, body = finish(ask { method = "POST" }, tostring(i))
          assert.equal("POST" .. i, body)
          _, body = finish(ask())
          assert.equal("GET", body)
        end
        assert.equal(1, server.accepted)
      end)
    end)
  end)

  it("http keep-alive: has as many as are needed at a time, and no more",
    function()
    run(function()
      with_server(response "x", function(ask, server, agent)
        for _ = 1, 3 do
          task.all { function() finish(ask()) end,
            function() finish(ask()) end, function() finish(ask()) end }
        end
        assert.same({ 3, "agent: 3 sockets, 3 free, 0 requests wait" },
          { server.accepted, tostring(agent) })
      end, { max_sockets = 5 })
    end)
  end)

  it("http keep-alive-close-on-header: ends one with a request that says so",
    function()
    run(function()
      with_server(response "x", function(ask, server, agent)
        finish(ask())
        finish(ask { headers = { connection = "Close" } })
        helper.eventually(function() return agent.sockets == 0 end)
        assert.same({ 1, 1 }, connections_of(server))
      end)
    end)
  end)

  it("http should-keep-alive: keeps none that one side wants closed", function()
    run(function()
      for _, case in ipairs {
        { response("x", "Connection: close\r\n") },
        { "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx" },
        { response "x", { headers = { Connection = "close" } } },
        { response "x", { agent = false } },
      } do
        with_server(case[1], function(ask, server, agent)
          finish(ask(case[2]))
          helper.eventually(function() return agent.sockets == 0 end)
          finish(ask(case[2]))
          assert.same({ 1, 2 }, connections_of(server))
        end)
      end
    end)
  end)

  it("http 1.0-keep-alive: keeps one of HTTP/1.0 that says so", function()
    run(function()
      with_server("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
        .. "Content-Length: 1\r\n\r\nx", function(ask, server)
        finish(ask())
        finish(ask())
        assert.same({ 1, 1 }, connections_of(server))
      end)
    end)
  end)

  it("http agent: keeps none without keep_alive, and says close", function()
    run(function()
      with_server(response "x", function(ask, server, agent)
        finish(ask())
        helper.eventually(function() return agent.sockets == 0 end)
        finish(ask())
        assert.same({ 1, 2 }, connections_of(server))
        assert.equal("close", server.requests[1].headers.connection)
      end, { keep_alive = false })
    end)
  end)

  it("http remove-connection-header-persists-connection: keeps one where "
    .. "nobody says anything", function()
    run(function()
      with_server(response "x", function(ask, server)
        for _ = 1, 2 do
          local request = ask()
          request:remove_header("Connection")
          finish(request)
        end
        assert.same({ 1, 1 }, connections_of(server))
        assert.is_nil(server.requests[1].headers.connection)
      end)
    end)
  end)

  it("http get-pipeline-problem: gives each of many requests its own answer",
    function()
    run(function()
      with_server(function(socket, request)
        socket:write(response(request.url))
      end, function(ask, server)
        local tasks = {}
        for i = 1, 50 do
          tasks[i] = function()
            local _, body = finish(ask { path = "/" .. i })
            return body
          end
        end
        for i, body in ipairs(task.all(tasks)) do
          assert.equal("/" .. i, body)
        end
        assert.equal(50, server.accepted)
      end)
    end)
  end)

  it("http agent-keepalive-delay: has the kernel probe what it keeps",
    function()
    run(function()
      with_server(response "x", function(ask)
        local request = ask()
        finish(request)
        assert.same({ true, 1000 }, { request.socket.keep_alive_,
          request.socket.keep_alive_delay_ })
      end)
    end)
  end)

  it("lets the loop end although it keeps connections", function()
    run(function()
      with_server(response "x", function(_, _, _, url)
        local result = helper.script(([[
          local client = require "orrery.http.client"
          print(client.fetch(%q).body, client.fetch(%q).body,
            client.global_agent)]]):format(url, url), { timeout = 10000 })
        assert.equal("x\tx\tagent: 1 sockets, 1 free, 0 requests wait\n",
          result.stdout)
        assert.is_true(result.ok)
      end)
    end)
  end)

  it("http agent-scheduling: uses the one that was used last, or first",
    function()
    run(function()
      for scheduling, expected in pairs { lifo = 3, fifo = 1 } do
        with_server(response "x", function(ask, server)
          local open = {}
          for i = 1, 3 do
            open[i] = ask { method = "POST" }
            open[i]:flush_headers()
            open[i]:wait_for("socket")
            helper.eventually(function() return server.accepted == i end)
          end
          for i = 1, 3 do finish(open[i]) end
          local request = ask()
          finish(request)
          assert.equal(expected, server.requests[4].connection)
        end, { scheduling = scheduling })
      end
    end)
  end)

  it("keeps no more than max_free", function()
    run(function()
      with_server(response "x", function(ask, _, agent)
        local tasks = {}
        for i = 1, 5 do tasks[i] = function() finish(ask()) end end
        task.all(tasks)
        helper.eventually(function() return agent.sockets == 2 end)
        assert.equal("agent: 2 sockets, 2 free, 0 requests wait",
          tostring(agent))
      end, { max_free = 2 })
    end)
  end)
end)

describe("a kept connection", function()
  --- Runs fn(ask, agent, sockets) where the agent has one free connection, and
  --- `sockets` are the server's ends of all.
  local function with_free(fn, fields, agent_options)
    local sockets = {}
    with_server(function(socket)
      if sockets[#sockets] ~= socket then sockets[#sockets + 1] = socket end
      socket:write(response("x", fields))
    end, function(ask, _, agent)
      finish(ask())
      fn(ask, agent, sockets)
    end, agent_options)
  end

  it("http agent-destroyed-socket: is forgotten once it has ended", function()
    run(function()
      with_free(function(ask, agent, sockets)
        sockets[1]:destroy()
        helper.eventually(function() return agent.sockets == 0 end)
        finish(ask())
        assert.equal(2, #sockets)
      end)
    end)
  end)

  it("http agent-error-on-idle: may fail without a word", function()
    run(function()
      with_free(function(ask, agent)
        local request = ask()
        finish(request)
        request.socket:destroy(
          require "orrery.runtime.errors".new("EIDRM", "oh"))
        helper.eventually(function() return agent.sockets == 0 end)
        local again = ask()
        finish(again)
        assert.is_false(again.reused_socket)
      end)
    end)
  end)

  it("http agent-reuse-drained-socket-only: is not used where the kernel knows "
    .. "of its end", function()
    run(function()
      with_free(function(ask, _, sockets)
        -- In one turn: the loop cannot have told the agent.
        sockets[1]:destroy()
        os.execute("sleep 0.01")
        local request = ask { method = "POST" }
        finish(request, "x")
        assert.same({ false, 2 }, { request.reused_socket, #sockets })
      end)
    end)
  end)

  it("http extra-response: is not used where bytes have come that nobody asked "
    .. "for", function()
    run(function()
      with_free(function(ask, agent, sockets)
        sockets[1]:write(response "unasked")
        helper.eventually(function() return agent.sockets == 0 end)
        assert.equal("x", select(2, finish(ask())))
      end)
      with_server(response "x" .. response "second", function(ask, server)
        assert.equal("x", select(2, finish(ask())))
        assert.equal("x", select(2, finish(ask())))
        assert.same({ 1, 2 }, connections_of(server))
      end)
    end)
  end)

  it("http client-keep-alive-hint: ends a second before the server says",
    function()
    run(function()
      with_free(function(_, agent)
        assert.equal(0, agent.sockets)
      end, "Keep-Alive: timeout=1\r\n")
      with_free(function(ask, agent)
        local answer = finish(ask())
        assert.equal(4000, answer:kept_for_())
        assert.is_truthy(next(agent.connections_).lifetime_)
      end, "Keep-Alive: Timeout=5, max=100\r\n")
    end)
  end)

  it("http agent-keep-alive-timeout-buffer: ends by the shorter of both times",
    function()
    run(function()
      with_free(function(_, agent)
        helper.eventually(function() return agent.sockets == 0 end)
      end, "Keep-Alive: timeout=600\r\n", { timeout = 5 })
      for _, field in ipairs { "Keep-Alive: timeout=x\r\n",
        "Keep-Alive: timeout=99999999999999999999\r\n", "Keep-Alive: \r\n" } do
        with_free(function(_, agent)
          assert.equal(1, agent.sockets)
          assert.is_nil(next(agent.connections_).lifetime_)
        end, field)
      end
    end)
  end)

  it("http agent-timeout: ends by the agent's, which a request has, too",
    function()
    run(function()
      with_free(function(_, agent)
        helper.eventually(function() return agent.sockets == 0 end)
      end, nil, { timeout = 5 })
      with_server(function() end, function(ask)
        local request = ask()
        request:finish()
        request:wait_for("timeout")
        request:destroy()
      end, { timeout = 5 })
    end)
  end)

  it("http client-keep-alive-release-before-finish: is free once the request "
    .. "has left, too", function()
    run(function()
      local requests = {}
      local server = net.create_server(function(socket)
        while true do
          local bytes = socket:read()
          if not bytes then return end
          requests[#requests + 1] = bytes
          if bytes:find("HTTP/1.1\r\n", 1, true) then
            socket:write(response "x")
          end
        end
      end)
      server:listen(0, "127.0.0.1")
      local agent <close> = client.agent { max_sockets = 1 }
      local to = { port = server:address().port, host = "127.0.0.1",
        agent = agent, method = "POST" }
      local first = client.request(to)
      first:write("early")
      local answer = first:await_response()
      assert.equal("x", answer:read_all())
      local second = client.get(to)
      assert.is_true(agent.sockets == 1)
      first:finish("late")
      assert.equal("x", second:await_response():read_all())
      assert.is_true(second.reused_socket)
      assert.matches("late\r\n0\r\n\r\n", requests[2])
      agent:destroy()
      server:close()
    end)
  end)
end)

describe("a request on a kept connection that ends unanswered", function()
  --- Runs fn(ask, seen) against a server that drops a connection at its second
  --- request, after `before` bytes; `seen` are the requests' methods.
  local function with_dropping(before, fn, every)
    local seen, count = {}, 0
    with_server(function(socket, request)
      seen[#seen + 1] = request.method
      count = count + 1
      if every and count > 1 or count == 2 then
        if before ~= "" then socket:write_wait(before) end
        return socket:destroy()
      end
      socket:write(response "x")
    end, function(ask)
      finish(ask())
      fn(ask, seen)
    end)
  end

  it("is sent once more if it is idempotent", function()
    run(function()
      for _, method in ipairs { "GET", "HEAD", "OPTIONS", "TRACE", "PUT",
        "DELETE" } do
        with_dropping("", function(ask, seen)
          local request = ask { method = method }
          local log = helper.record(request, { "socket", "finish", "error" })
          local answer = finish(request, method == "PUT" and "body" or nil)
          assert.equal(200, answer.status_code)
          assert.same({ "GET", method, method }, seen)
          assert.is_false(request.reused_socket)
          assert.equal("socket finish socket", helper.names(log))
        end)
      end
    end)
  end)

  it("is not sent again if it is not, or was streamed, or is not whole",
    function()
    run(function()
      for _, send in pairs {
        function(ask)
          local request = ask { method = "POST" }
          request:finish("x")
          return request
        end,
        function(ask)
          local request = ask { method = "PUT" }
          request:write("x")
          request:finish("y")
          return request
        end,
        function(ask)
          local request = ask()
          request:flush_headers()
          return request
        end,
      } do
        with_dropping("", function(ask, seen)
          local request = send(ask)
          local _, err = request:await_response()
          assert.equal("ECONNRESET", err.code)
          assert.is_true(request.reused_socket)
          assert.is_true(#seen <= 2)
        end)
      end
    end)
  end)

  it("is not sent again if a byte of the answer has come", function()
    run(function()
      with_dropping("H", function(ask, seen)
        local _, err = finish(ask())
        assert.equal("ECONNRESET", err.code)
        assert.same({ "GET", "GET" }, seen)
      end)
    end)
  end)

  it("is sent twice, and no more", function()
    run(function()
      with_dropping("", function(ask, seen)
        local _, err = finish(ask())
        assert.equal("ECONNRESET", err.code)
        assert.same({ "GET", "GET", "GET" }, seen)
      end, true)
    end)
  end)

  it("is not sent again by a fresh connection", function()
    run(function()
      with_server(function(socket) socket:destroy() end, function(ask, server)
        local _, err = finish(ask())
        assert.equal("ECONNRESET", err.code)
        assert.equal(1, #server.requests)
      end)
    end)
  end)

  it("goes before those that wait for a connection", function()
    run(function()
      local order, count = {}, 0
      with_server(function(socket, request)
        count = count + 1
        if count == 2 then return socket:destroy() end
        order[#order + 1] = request.url
        socket:write(response "x")
      end, function(ask)
        finish(ask { path = "/1" })
        task.all {
          function() finish(ask { path = "/2" }) end,
          function() finish(ask { path = "/3" }) end,
        }
        assert.same({ "/1", "/2", "/3" }, order)
      end, { max_sockets = 1 })
    end)
  end)
end)
