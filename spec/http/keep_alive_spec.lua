--- Connections that serve more than one request: which are kept, and requests
--- that come before the one in front of them is answered.

local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local task = require "orrery.task"

local with, head, post = fixture.with, fixture.head, fixture.post
local GET, CLOSE = fixture.GET, fixture.CLOSE
local OLD = "GET / HTTP/1.0\r\n"

local function hello(_, res) res:finish("hello") end

describe("a connection", function()
  it("http keep-alive, keepalive-request: is kept for the next request", with(
    hello, function(client, server)
      for _ = 1, 100 do assert.equal("hello", client:ask(GET).body) end

      assert.equal(1, server.connections)
    end))

  it("http should-keep-alive, 1.0, 1.0-keep-alive, keep-alive-close-on-header: "
    .. "is kept as version and Connection say", function()
    helper.run(function()
      local _ <close>, port = fixture.serve(hello)
      local KEEP = "Connection: keep-alive\r\n"
      for request, kept in pairs {
        [GET] = true, [head("GET /", "Connection: x")] = true,
        [head("GET /", CLOSE)] = false,
        [head("GET /", "Connection: x, CLOSE")] = false,
        [head("GET /", CLOSE, "Connection: keep-alive")] = false,
        [OLD .. "\r\n"] = false, [OLD .. KEEP .. "\r\n"] = true,
        [OLD .. KEEP:upper() .. "\r\n"] = true,
        [OLD .. "Connection: close\r\n\r\n"] = false,
      } do
        local client <close> = fixture.connect(port)
        local answer = client:ask(request)

        assert.same({ request, "hello" }, { request, answer.body })
        assert.equal(kept and "keep-alive" or "close",
          answer.headers.connection)
        if kept then assert.equal("hello", client:ask(GET).body) end
        if not kept then assert.equal("", client:rest()) end
      end
    end)
  end)

  it("is ended where HTTP/1.0 cannot know the length", with(function(_, res)
    res:write("hel")
    res:finish("lo")
  end, function(client)
    local answer = client:ask(OLD .. "Connection: keep-alive\r\n\r\n")

    assert.same({ "close", "hello" },
      { answer.headers.connection, answer.body })
    assert.equal("", client:rest())
  end))

  it("http keep-alive-timeout-custom: announces how long it is kept", function()
    helper.run(function()
      for ms, announced in pairs { [75000] = "timeout=75", [1999] = "timeout=1",
        [1000] = "timeout=1", [999] = false, [0] = false } do
        local _ <close>, port = fixture.serve(hello,
          { keep_alive_timeout = ms })
        local client <close> = fixture.connect(port)
        for _ = 1, 2 do
          assert.equal(announced or nil, client:ask(GET).headers["keep-alive"])
        end
      end
    end)
  end)

  it("http keep-alive-empty-line: takes empty lines between requests", with(
    fixture.echo, function(client)
      client:send(post("a") .. "\r\n" .. post("b") .. "\r\n\r\n" .. GET)
      for _, body in ipairs { "a", "b", "" } do
        assert.equal(body, client:answer().body)
      end
    end))

  it("goes on after a body that nobody reads, if all of it has come", with(
    function(req, res)
      if req.url ~= "/" then return res:finish(req.url) end
      req:wait_for("go")
      res:finish("unread")
    end, function(client, server)
      local log = helper.record(server, { "request" })
      client:send(post("hello"))
      helper.eventually(function() return log[1] and log[1][2].complete end)
      log[1][2]:emit("go")

      assert.equal("unread", client:answer().body)
      assert.equal("/next", client:ask(head("GET /next")).body)
    end))

  it("ends behind an answer that comes before the body's end, and takes none "
    .. "of it for a request", with(function(_, res)
    res:finish("early")
  end, function(client, server)
    local log = helper.record(server, { "request" })
    client:send(head("POST /", "Content-Length: 100"))
    local answer = client:answer()
    client:send(GET:rep(5))

    assert.same({ "early", "close" },
      { answer.body, answer.headers.connection })
    assert.equal("", client:rest())
    assert.equal(1, #log)
  end))
end)

describe("max_requests_per_socket", function()
  it("http keep-alive-max-requests: has the last answer say close", with(hello,
    function(client)
      for _ = 1, 2 do
        assert.equal("keep-alive", client:ask(GET).headers.connection)
      end
      local last = client:ask(GET)

      assert.same({ "hello", "close" }, { last.body, last.headers.connection })
      assert.equal("", client:rest())
    end, { max_requests_per_socket = 3 }))

  it("http keep-alive-pipeline-max-requests, keep-alive-drop-requests: drops "
    .. "what comes behind the last", with(function(req, res)
    task.sleep(0)
    res:finish(req.url)
  end, function(client, server)
    local log = helper.record(server, { "request" })
    for i = 1, 10 do client:send(head("GET /" .. i)) end
    for i = 1, 3 do
      local answer = client:answer()
      assert.same({ "/" .. i, i == 3 and "close" or "keep-alive" },
        { answer.body, answer.headers.connection })
    end

    assert.equal("", client:rest())
    assert.equal(3, #log)
  end, { max_requests_per_socket = 3 }))

  it("counts each connection for itself", with(hello,
    function(client, _, port)
      client:ask(GET)
      local second <close> = fixture.connect(port)

      assert.equal("keep-alive", second:ask(GET).headers.connection)
      assert.equal("close", client:ask(GET).headers.connection)
    end, { max_requests_per_socket = 2 }))
end)

describe("pipelined requests", function()
  it("http many-ended-pipelines: are answered in order, whichever is done "
    .. "first", with(function(req, res)
    local n = tonumber(req.url:sub(2))
    for _ = n, 20 do task.sleep(0) end
    if n % 2 == 0 then res:write("") end
    res:finish(req.url)
  end, function(client)
    local requests = {}
    for i = 1, 20 do requests[i] = head("GET /" .. i) end
    client:send(table.concat(requests))

    for i = 1, 20 do assert.equal("/" .. i, client:answer().body) end
    assert.equal("/21", client:ask(head("GET /21")).body)
  end))

  it("are all with handlers before the first is answered", with(
    function(req, res)
      if req.url == "/1" then req:wait_for("go") end
      res:finish(req.url)
    end, function(client, server)
      local log = helper.record(server, { "request" })
      client:send(head("GET /1") .. head("GET /2") .. head("GET /3"))
      helper.eventually(function() return #log == 3 end)
      log[1][2]:emit("go")

      for i = 1, 3 do assert.equal("/" .. i, client:answer().body) end
    end))

  it("may have long bodies in both directions", with(fixture.echo,
    function(client)
      local bodies = {}
      for i = 1, 6 do bodies[i] = tostring(i):rep(200000 * i) end
      for _, body in ipairs(bodies) do client:send(post(body)) end

      for _, body in ipairs(bodies) do
        assert.equal(body, client:answer().body)
      end
    end))

  it("are with handlers max_pipelined at once", with(function(req, res)
    req:wait_for("go")
    res:finish(req.url)
  end, function(client, server)
    local log = helper.record(server, { "request" })
    for i = 1, 10 do client:send(head("GET /" .. i)) end
    for i = 1, 10 do
      local there = math.min(i + 2, 10)
      helper.eventually(function() return #log == there end)
      task.sleep(0)
      assert.equal(there, #log)
      log[i][2]:emit("go")
      assert.equal("/" .. i, client:answer().body)
    end
  end, { max_pipelined = 3 }))

  it("wait one for the other if max_pipelined is 1", with(function(req, res)
    task.sleep(0)
    res:finish(req.url)
  end, function(client)
    local requests = {}
    for i = 1, 500 do requests[i] = head("GET /" .. i) end
    client:send(table.concat(requests))

    for i = 1, 500 do assert.equal("/" .. i, client:answer().body) end
  end, { max_pipelined = 1 }))

  it("http get-pipeline-problem: have their long answers in order, to who "
    .. "reads slowly", with(function(req, res)
    res:finish(req.url:sub(2):rep(300000))
  end, function(client)
    for i = 0, 9 do client:send(head("GET /" .. i)) end
    for i = 0, 9 do
      client:send(head("GET /" .. i))
      assert.equal(tostring(i):rep(300000), client:answer().body)
    end
    for i = 0, 9 do
      assert.equal(tostring(i):rep(300000), client:answer().body)
    end
  end))

  it("http pipeline-requests-connection-leak: leave nothing of a connection "
    .. "that is cut", with(function(_, res)
    for _ = 1, 100 do
      if not res:write(("x"):rep(65536)) then break end
    end
  end, function(client, server)
    client:send(GET:rep(200))
    server:wait_for("request")
    client:reset()
    fixture.await_count(server, 0)

    assert.is_true(server:close())
  end))

  it("behind one that asks for the end are dropped", with(function(req, res)
    task.sleep(0)
    res:finish(req.url)
  end, function(client, server)
    local log = helper.record(server, { "request" })
    client:send(head("GET /1", CLOSE) .. head("GET /2"))

    assert.equal("/1", client:answer().body)
    assert.equal("", client:rest())
    assert.equal(1, #log)
  end))

  it("behind one whose answer is the last are aborted", with(function(req, res)
    if req.url == "/2" then return res:finish("2") end
    req:wait_for("go")
    res:set_header("Connection", "close")
    res:finish("1")
  end, function(client, server)
    local log = helper.record(server, { "request" })
    client:send(head("GET /1") .. head("GET /2"))
    helper.eventually(function() return #log == 2 end)
    log[1][2]:emit("go")

    assert.equal("1", client:answer().body)
    assert.equal("", client:rest())
    assert.is_true(log[2][3].closed)
  end))

  it("behind one whose answer is the last may be incomplete", function()
    local seen = {}
    with(function(req, res)
      seen[req.url] = req
      if req.url == "/2" then return end
      req:wait_for("go")
      res:set_header("Connection", "close")
      res:finish("1")
    end, function(client, server)
      client:send(head("GET /1") .. head("POST /2", "Content-Length: 9") .. "a")
      helper.eventually(function() return seen["/2"] end)
      seen["/1"]:emit("go")
      assert.equal("1", client:answer().body)
      helper.eventually(function() return seen["/2"].aborted end)
      seen["/2"] = nil
      for _ = 1, 3 do collectgarbage() end

      client:send("b"):finish()
      assert.equal("", client:rest())
      fixture.await_count(server, 0)
    end)()
  end)

  it("are all answered before a half-closed connection ends", with(
    function(req, res)
      task.sleep(0)
      res:finish(req.url)
    end, function(client)
      for i = 1, 100 do client:send(head("GET /" .. i)) end
      client:finish()

      for i = 1, 100 do assert.equal("/" .. i, client:answer().body) end
      assert.equal("", client:rest())
    end))

  it("with long answers are all answered before a half-closed connection ends",
    with(function(req, res)
      res:finish(req.url:sub(2):rep(100000))
    end, function(client)
      for i = 0, 9 do client:send(head("GET /" .. i)) end
      client:finish()

      for i = 0, 9 do
        assert.equal(tostring(i):rep(100000), client:answer().body)
      end
      assert.equal("", client:rest())
    end))

  it("are answered as far as they are good", with(function(req, res)
    res:finish(req.url)
  end, function(client)
    client:send(head("GET /1") .. head("GET /2") .. "bad\r\n\r\n"
      .. head("GET /3"))

    assert.equal("/1", client:answer().body)
    assert.equal("/2", client:answer().body)
    assert.equal(400, client:answer().status)
    assert.equal("", client:rest())
  end))
end)
