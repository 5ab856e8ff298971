local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local http = require "orrery.http"
local net = require "orrery.net"
local process = require "orrery.process"
local task = require "orrery.task"

local run = helper.run
local with, serve, connect, head = fixture.with, fixture.serve,
  fixture.connect, fixture.head
local GET = fixture.GET

local function hello(_, res) res:finish("hello") end

describe("http.create_server", function()
  it("takes a handler, with options before it or without", function()
    run(function()
      for _, args in ipairs { { hello }, { {}, hello }, { nil, hello } } do
        local server <close> = http.create_server(table.unpack(args, 1, 2))
        assert(server:listen(0, "127.0.0.1"))
        local client <close> = connect(server:address().port)

        assert.equal("hello", client:ask(GET).body)
      end
    end)
  end)

  it("gives a server of net's, which is not yet listening", function()
    local server = http.create_server()

    assert.is_false(server.listening)
    assert.equal(0, server.connections)
    assert.matches("^server .*closed$", tostring(server))
  end)

  it("has the times and limits that are documented", function()
    local server = http.create_server()

    assert.same({ 60000, 300000, 75000, 1000, 16384, 0, 64 }, {
      server.headers_timeout, server.request_timeout,
      server.keep_alive_timeout, server.keep_alive_buffer,
      server.max_header_size, server.max_requests_per_socket,
      server.max_pipelined })
  end)

  it("http server-timeouts-validation: raises at the caller's line for what "
    .. "cannot be", function()
    local cases = {
      { "on_request", { nil, 5 } }, { "on_request", { {}, "x" } },
      { "options", { 5 } },
      { "headers_timeout", { { headers_timeout = -1 } } },
      { "headers_timeout", { { headers_timeout = "1" } } },
      { "request_timeout", { { request_timeout = 1.5 } } },
      { "keep_alive_timeout", { { keep_alive_timeout = {} } } },
      { "keep_alive_buffer", { { keep_alive_buffer = -5 } } },
      { "max_header_size", { { max_header_size = 0 } } },
      { "max_requests_per_socket", { { max_requests_per_socket = -1 } } },
      { "max_pipelined", { { max_pipelined = 0 } } },
      { "did you mean 'headers_timeout'", { { header_timeout = 1 } } },
    }
    for _, case in ipairs(cases) do
      local ok, err = pcall(function()
        local result = http.create_server(case[2][1], case[2][2])
        return result
      end)

      assert.is_false(ok)
      assert.matches("^spec/http/server_spec.lua:%d+: create_server: ", err)
      assert.matches(case[1], err, 1, true)
    end
  end)

  it("does not change the options", function()
    local opts = { keep_alive_timeout = 5 }
    local server = http.create_server(opts)
    server.keep_alive_timeout = 6

    assert.same({ keep_alive_timeout = 5 }, opts)
  end)
end)

describe("http server", function()
  it("emits request beside the handler, and without one", function()
    run(function()
      local server <close>, port = serve()
      local got = {}
      server:on("request", function(req, res)
        got[#got + 1] = req.url
        hello(req, res)
      end)
      local client <close> = connect(port)

      assert.equal("hello", client:ask(GET).body)
      assert.same({ "/" }, got)
    end)
  end)

  it("runs each request as a task that may wait", with(function(req, res)
    task.sleep(0)
    res:finish(req.url)
  end, function(client)
    assert.equal("/a", client:ask(head("GET /a")).body)
    assert.equal("/b", client:ask(head("GET /b")).body)
  end))

  it("answers who has finished sending", with(function(_, res)
    task.sleep(0)
    res:finish("hello")
  end, function(client)
    client:send(GET):finish()

    assert.equal("hello", client:answer().body)
    assert.equal("", client:rest())
  end))

  it("counts its connections", with(hello, function(client, server, port)
    client:ask(GET)
    local second <close> = connect(port)
    second:ask(GET)

    assert.same({ 2, 2 }, { server.connections, server:get_connections() })
    second.socket:destroy()
    fixture.await_count(server, 1)
  end))

  it("drops connections above max_connections", with(hello,
    function(client, server, port)
      server.max_connections = 1
      local dropped = helper.record(server, { "drop" })
      client:ask(GET)
      local second <close> = connect(port)

      assert.equal("", second:rest() or "")
      assert.equal(second.socket.local_port, dropped[1][2].remote_port)
      assert.equal("hello", client:ask(GET).body)
    end))

  it("serves a connection that somebody else emits, with what was read of it",
    with(hello, function(_, server)
      local door <close> = net.create_server(function(socket)
        assert(socket:read_exactly(4))
        server:emit("connection", socket)
      end)
      assert(door:listen(0, "127.0.0.1"))
      local client <close> = connect(door:address().port)

      assert.equal("hello", client:ask("PRE " .. GET).body)
      assert.equal("hello", client:ask(GET).body)
      assert.equal(2, server.connections)
    end))

  it("http bind-twice: gives a waiter nil, err if the port is taken",
    with(hello, function(client, _, port)
      local second = http.create_server(hello)
      local none, err = second:listen(port, "127.0.0.1")

      assert.same({ nil, "EADDRINUSE" }, { none, err.code })
      assert.equal("hello", client:ask(GET).body)
    end))

  it("tells of each connection, before its first request", with(
    function(_, res) res:finish("hello") end,
    function(client, server, port)
      local ports, ended = {}, 0
      server:on("connection", function(socket)
        ports[#ports + 1] = socket.remote_port
        socket:once("close", function() ended = ended + 1 end)
      end)
      client:ask(GET) -- which has been there before
      local other <close> = connect(port)
      other:ask(GET)
      other:ask(GET)

      assert.same({ other.socket.local_port }, ports)
      other.socket:destroy()
      helper.eventually(function() return ended == 1 end)
    end))

  it("keeps new connections though old ones of before it was closed are there",
    with(function(req, res)
      if req.url == "/old" then req:wait_for("go") end
      res:finish()
    end, function(old, server, port)
      local waiting
      server:once("request", function(req) waiting = req end)
      old:send(head "GET /old")
      helper.eventually(function() return waiting end)
      server:close(function() end)
      assert(server:listen(port, "127.0.0.1"))
      local new <close> = connect(port)

      assert.equal("keep-alive", new:ask(GET).headers.connection)
      waiting:emit("go")
      old:answer()
    end))

  it("can be listening again after it was closed", function()
    run(function()
      local server <close> = http.create_server(hello)
      for _ = 1, 3 do
        assert(server:listen(0, "127.0.0.1"))
        local client = connect(server:address().port)
        assert.equal("hello", client:ask(GET).body)
        client.socket:destroy()
        assert.is_true(server:close())
      end
    end)
  end)

  it("http unix-socket, unix-socket-keep-alive: serves on a path", function()
    run(function()
      local path, dir = require "spec.fixture.net".socket_path()
      local _ <close> = dir
      local server = http.create_server(hello)
      assert(server:listen(path))
      local client <close> = connect(path)

      for _ = 1, 3 do assert.equal("hello", client:ask(GET).body) end
      client.socket:destroy()
      assert.is_true(server:close())
    end)
  end)

  it("answers 200 connections at once", function()
    run(function()
      local _ <close>, port = serve(function(req, res)
        task.sleep(0)
        res:finish(req.url)
      end)
      local tasks = {}
      for i = 1, 200 do
        tasks[i] = function()
          local client <close> = connect(port)
          return client:ask(head("GET /" .. i)).body
        end
      end
      for i, body in ipairs(task.all(tasks)) do assert.equal("/" .. i, body) end
    end)
  end)

  it("keeps nothing of requests that are over, though the connection lives",
    function()
      local seen = setmetatable({}, { __mode = "k" })
      with(function(req, res)
        seen[req], seen[res] = true, true
        res:on("finish", function() end)
        if req.url == "/read" then req:read_all() end
        if req.url == "/wait" then task.sleep(0) end
        req.state = { res }
        res:finish(req.headers.host)
      end, function(client)
        for _, url in ipairs { "/", "/read", "/wait", "/" } do
          client:ask(head("POST " .. url, "Content-Length: 2") .. "ab")
        end
        task.sleep(0)
        helper.eventually(function()
          collectgarbage()
          return next(seen) == nil
        end)
      end)()
    end)

  it("leaves responses that may be used when it has gone", function()
    run(function()
      local kept
      local server, port = serve(function(req, res) kept = { req, res } end)
      local client <close> = connect(port)
      client:send(head("POST /", "Content-Length: 5") .. "ab")
      helper.eventually(function() return kept end)
      client:reset()
      assert.is_true(server:close())
      server = nil -- luacheck: ignore
      task.sleep(0)
      collectgarbage()
      collectgarbage()

      local req, res = kept[1], kept[2]
      assert.same({ nil, "ECONNRESET" },
        { req:read_all(), select(2, req:read_all()).code })
      assert.is_false(res:set_header("A", "b"):write("x"))
      res.status_code = 404
      res:finish("more")
      assert.is_true(req.aborted and req.socket.closed and res.closed)
    end)
  end)

  it("holds the loop unless it is unreferenced", function()
    run(function()
      local result = helper.lua [[
        require "orrery.http".create_server():listen(0, "127.0.0.1"):unref()
        require "luv".run()
        print("over")]]

      assert.same({ "over\n", "", 0 },
        { result.stdout, result.stderr, result.code })
    end)
  end)

  it("lets a process end whatever its connections are doing", function()
    run(function()
      local code = [[
        local http, net = require "orrery.http", require "orrery.net"
        local task, uv = require "orrery.task", require "luv"
        local server = http.create_server(function(req, res)
          if req.url == "/wait" then task.sleep(1000000) end
          if req.url == "/read" then req:read_all() end
          res:write(("x"):rep(1000000))
        end)
        server:listen(0, "127.0.0.1", function()
          local socket = net.connect(server:address().port, "127.0.0.1")
          socket:write(%q, function() uv.stop() end)
        end)
        uv.run()
        for _ = 1, 10 do uv.run("nowait") end]]
      for _, bytes in ipairs { "", "GET / HT", GET, GET .. GET,
        head("GET /wait"), head("POST /read", "Content-Length: 5") } do
        local result = helper.lua(code:format(bytes), { timeout = 15000 })
        assert.same({ bytes, 0, "" }, { bytes, result.code, result.stderr })
      end
    end)
  end)
end)

--- Runs fn and returns the error that was uncaught meanwhile, if any. [w]
local function uncaught_in(fn)
  local caught
  local function listener(err) caught = err end
  process.on("uncaught_exception", listener)
  fn()
  task.sleep(0)
  process.off("uncaught_exception", listener)
  return caught
end

describe("a handler that raises", function()
  it("http uncaught-from-request-callback, exceptions: has its client get 500, "
    .. "and its error is uncaught", with(function(req, res)
    res:set_header("X-Half", "done")
    if req.url == "/" then error("a fault") end
    res:finish("hello")
  end, function(client)
    local answer
    local caught = uncaught_in(function() answer = client:ask(GET) end)

    assert.matches("a fault$", caught)
    assert.same({ 500, nil, "Internal Server Error\n" },
      { answer.status, answer.headers["x-half"], answer.body })
    assert.equal("hello", client:ask(head("GET /2")).body)
  end))

  it("has its connection end if the body is not read", with(function()
    error("a fault")
  end, function(client)
    local answer
    uncaught_in(function()
      client:send(head("POST /", "Content-Length: 5") .. "ab")
      answer = client:answer()
    end)

    assert.same({ 500, "close" }, { answer.status, answer.headers.connection })
    assert.equal("", client:rest())
  end))

  it("has its connection kept if the body was read", with(function(req, res)
    local body = req:read_all()
    if body == "bad" then error("a fault") end
    res:finish(body)
  end, function(client)
    uncaught_in(function()
      assert.equal(500, client:ask(fixture.post("bad")).status)
    end)

    assert.equal("good", client:ask(fixture.post("good")).body)
  end))

  it("has its connection cut if the head is out", with(function(_, res)
    res:write("half")
    task.sleep(0)
    error("a fault")
  end, function(client)
    local caught = uncaught_in(function()
      client:send(GET)
      assert.equal(200, client:head().status)
      assert.not_matches("\r\n0\r\n", client:rest() or "")
    end)

    assert.matches("a fault$", caught)
  end))

  it("harms no other connection, and no request before its own",
    with(function(req, res)
      if req.url == "/bad" then error("a fault") end
      task.sleep(0)
      res:finish(req.url)
    end, function(client, _, port)
      local other <close> = connect(port)
      uncaught_in(function()
        client:send(head("GET /1") .. head("GET /bad") .. head("GET /3"))
        assert.equal("/1", client:answer().body)
        assert.equal(500, client:answer().status)
      end)

      assert.equal("/3", client:answer().body)
      assert.equal("/4", other:ask(head("GET /4")).body)
    end))

  it("http end-throw-socket-handling: ends nothing if it is a listener of an "
    .. "event", with(function(req, res)
    req:on("end", function() error("a fault") end)
    req:resume()
    res:finish(req.url)
  end, function(client)
    local count = 0
    local function listener() count = count + 1 end
    process.on("uncaught_exception", listener)
    for i = 1, 10 do
      assert.equal("/" .. i, client:ask(head("GET /" .. i)).body)
    end
    helper.eventually(function() return count == 10 end)
    process.off("uncaught_exception", listener)
  end))

  it("has its client get 500 if it is a listener of request, too", function()
    run(function()
      local server <close>, port = serve()
      server:on("request", function(req, res)
        if req.url == "/bad" then error("a fault") end
        res:finish(req.url)
      end)
      local client <close> = connect(port)
      local caught = uncaught_in(function()
        client:send(head("GET /1") .. head("GET /bad") .. head("GET /3"))
        assert.equal("/1", client:answer().body)
        assert.equal(500, client:answer().status)
      end)

      assert.matches("a fault$", caught)
      assert.equal("/3", client:answer().body)
    end)
  end)

  it("has nothing uncaught if what it raises is what its client has done",
    with(function(req)
      error(select(2, req:read_all()))
    end, function(client, server)
      local caught = uncaught_in(function()
        client:send(head("POST /", "Content-Length: 5") .. "ab")
        server:wait_for("request")
        client.socket:destroy()
        fixture.await_count(server, 0)
      end)

      assert.is_nil(caught)
    end))
end)
