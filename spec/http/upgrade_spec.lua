--- What is no plain request and answer: the listeners that take a connection
--- over, and those that judge a request before its body comes.

local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local task = require "orrery.task"

local with, head, connect = fixture.with, fixture.head, fixture.connect
local GET = fixture.GET

local UPGRADE = head("GET /chat", "Connection: Upgrade", "Upgrade: echo")
local CONNECT = "CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"
local SWITCH = "HTTP/1.1 101 Switching Protocols\r\n\r\n"

local function hello(_, res) res:finish("hello") end

--- Has a server answer upgrades by sending back what it gets.
local function echo_upgrades(server)
  server:on("upgrade", function(req, socket)
    task.go(function()
      socket:write(SWITCH .. req.url .. "\n")
      for chunk in function() return socket:read() end do
        socket:write_wait(chunk)
      end
      socket:finish()
    end)
  end)
end

describe("a server's event upgrade", function()
  it("http upgrade-server, upgrade-server2: gives the connection to its "
    .. "listener, with what came behind the head", with(hello,
    function(client, server)
      echo_upgrades(server)
      client:send(UPGRADE .. "early ")
      assert.equal(SWITCH .. "/chat\nearly ", client:bytes(#SWITCH + 12))
      client:send("late"):finish()

      assert.equal("late", client:rest())
    end))

  it("lets the server close without it", with(hello, function(client, server)
    client:send(UPGRADE)
    local _, socket = server:wait_for("upgrade")

    assert.is_true(server:close())
    socket:destroy()
  end))

  it("leaves nothing of its request's socket to the next connection", with(
    function(req, res) res:finish(tostring(req.socket.remote_port)) end,
    function(client, server)
      server:on("upgrade", function(_, socket) socket:destroy() end)
      client:send(GET)
      client:answer()
      client:send(UPGRADE)
      client:rest()
      local other <close> = connect(server:address().port)
      other:send(GET)

      assert.equal(tostring(other.socket.local_port), other:answer().body)
    end))

  it("http upgrade-binary: leaves any byte as it is", with(hello,
    function(client, server)
      echo_upgrades(server)
      local bytes = {}
      for i = 0, 255 do bytes[i + 1] = string.char(i) end
      local text = table.concat(bytes):rep(400)
      client:send(UPGRADE .. text):finish()

      assert.equal(SWITCH .. "/chat\n" .. text, client:rest())
    end))

  it("http parser-freed-before-upgrade, upgrade-reconsume-stream: gives a "
    .. "socket like any other, which the server has no more", with(hello,
    function(client, server)
      client:send(UPGRADE)
      local req, socket = server:wait_for("upgrade")

      assert.same({ "GET", "/chat", "echo" },
        { req.method, req.url, req.headers.upgrade })
      assert.equal(socket, req.socket)
      assert.equal(client.socket.local_port, socket.remote_port)
      assert.equal(0, server.connections)
      local another = require "orrery.http".create_server(hello)
      another:emit("connection", socket)
      assert.equal("hello", client:ask(GET).body)
      client.socket:destroy()
      fixture.await_count(another, 0)
      another:close(function() end)
    end))

  it("comes once the requests before it are answered", with(function(req, res)
    task.sleep(0)
    task.sleep(0)
    res:finish(req.url)
  end, function(client, server)
    echo_upgrades(server)
    client:send(head("GET /1") .. head("GET /2") .. UPGRADE .. "x"):finish()

    assert.equal("/1", client:answer().body)
    assert.equal("/2", client:answer().body)
    assert.equal(SWITCH .. "/chat\nx", client:rest())
  end))

  it("http upgrade-advertise: is for requests that ask for it only", with(
    function(_, res)
      res:set_header("Connection", "upgrade"):set_header("Upgrade", "h2c")
      res:finish("hello")
    end, function(client, server)
      local log = helper.record(server, { "upgrade" })
      for _, request in ipairs { GET, head("GET /", "Upgrade: x"),
        head("GET /", "Connection: upgrade") } do
        local answer = client:ask(request)
        assert.same({ "hello", "h2c" },
          { answer.body, answer.headers.upgrade })
      end
      assert.same({}, log)
    end))

  it("is an ordinary request without a listener", with(hello,
    function(client, server)
      assert.equal("hello", client:ask(UPGRADE).body)
      client:send(UPGRADE .. UPGRADE)
      assert.equal("hello", client:answer().body)
      assert.equal("hello", client:answer().body)
      local function unwanted() error("must not be called") end
      server:on("upgrade", unwanted)
      server:off("upgrade", unwanted)

      assert.equal("hello", client:ask(UPGRADE).body)
    end))

  it("is an ordinary request with HTTP/1.0", with(hello,
    function(client, server)
      local log = helper.record(server, { "upgrade" })
      local text = UPGRADE:gsub("HTTP/1.1", "HTTP/1.0")

      assert.equal("hello", client:ask(text).body)
      assert.same({}, log)
    end))

  it("comes behind the body of its request", with(hello,
    function(client, server)
      client:send(head("POST /", "Connection: upgrade", "Upgrade: x",
        "Content-Length: 4") .. "bo")
      client:send("dyrest"):finish()
      local req, socket = server:wait_for("upgrade")

      assert.equal("body", req:read_all())
      assert.equal("rest", socket:read_all())
      socket:destroy()
    end))
end)

describe("a server's event connect", function()
  it("http connect, connect-req-res: gives the connection to its listener",
    with(hello, function(client, server)
      client:send(CONNECT .. "early")
      local req, socket = server:wait_for("connect")
      assert.same({ "CONNECT", "b:80" }, { req.method, req.url })
      socket:write("HTTP/1.1 200 Connection established\r\n\r\n")

      assert.equal(200, client:head().status)
      assert.equal("early", socket:read_exactly(5))
      socket:destroy()
      assert.equal("", client:rest())
    end))

  it("http eof-on-connect: comes for who has finished sending", with(hello,
    function(client, server)
      client:send(CONNECT):finish()
      local _, socket = server:wait_for("connect")

      assert.equal("", socket:read_all())
      socket:destroy()
    end))

  it("is 405 without a listener, and the connection ends", with(hello,
    function(client, server)
      local log = helper.record(server, { "request" })
      local answer = client:ask(CONNECT .. "GET / HTTP/1.1\r\n\r\n")

      assert.same({ 405, "close" },
        { answer.status, answer.headers.connection })
      assert.equal("", client:rest())
      assert.same({}, log)
    end))
end)

describe("CONNECT that nobody listens to", function()
  it("is 405 behind a request that is not answered", with(function(req, res)
    req:wait_for("go")
    res:finish(req.url)
  end, function(client, server)
    client:send(head("GET /1") .. CONNECT)
    local req = server:wait_for("request")
    collectgarbage()
    collectgarbage()
    req:emit("go")

    assert.equal("/1", client:answer().body)
    assert.equal(405, client:answer().status)
    assert.equal("", client:rest())
  end))
end)

describe("Expect: 100-continue", function()
  local EXPECT = head("POST /", "Content-Length: 5", "Expect: 100-continue")

  it("http expect-continue: is answered, and then the request is", with(
    fixture.echo, function(client)
      client:send(EXPECT)
      assert.equal(100, client:head().status)
      client:send("hello")

      assert.equal("hello", client:answer().body)
      client:send(EXPECT)
      assert.equal(100, client:head().status)
    end))

  it("is not answered if the body is there, or with HTTP/1.0", with(
    fixture.echo, function(client)
      client:send(EXPECT .. "hello")
      assert.equal("hello", client:answer().body)
      client:send((EXPECT:gsub("1%.1", "1.0")) .. "hello")

      assert.equal("hello", client:answer().body)
      assert.equal("", client:rest())
    end))

  it("http expect-handling: is nothing if it expects something else", with(
    fixture.echo, function(client)
      assert.equal("", client:ask(head("GET /", "Expect: meoww")).body)
      assert.equal("", client:ask(head("GET /", "Expect:")).body)
    end))

  it("is told to a listener of check_continue, which judges it", with(
    hello, function(client, server, port)
      local seen = helper.record(server, { "request" })
      server:on("check_continue", function(req, res)
        if req.url ~= "/" then
          res.status_code = 417
          return res:finish("no")
        end
        res:write_continue()
        task.go(fixture.echo, req, res)
      end)
      client:send(EXPECT)
      assert.equal(100, client:head().status)
      client:send("hello")
      assert.equal("hello", client:answer().body)
      local second <close> = connect(port)
      second:send((EXPECT:gsub("/", "/no", 1)))
      local answer = second:answer()

      assert.same({ 417, "no", "close" },
        { answer.status, answer.body, answer.headers.connection })
      assert.equal("", second:rest())
      assert.same({}, seen)
    end))

  it("http sync-write-error-during-continue: is nothing to a client that has "
    .. "gone", with(hello, function(client, server)
    local result
    server:on("check_continue", function(req, res)
      req.socket:destroy()
      result = { res:write_continue(), res:write("x") }
      res:finish()
    end)
    client:send(EXPECT)
    client:rest()

    assert.same({ false, false }, result)
    fixture.await_count(server, 0)
  end))
end)

describe("a server's event client_error", function()
  it("http server-client-error, server-unconsume: gives the socket and the "
    .. "error to its listener", with(hello, function(client, server)
    client:send("bad\r\n\r\n")
    local err, socket = server:wait_for("client_error")

    assert.same({ "ERR_HTTP_BAD_REQUEST", 400 }, { err.code, err.status })
    assert.matches("^bad request: ", tostring(err))
    socket:finish("HTTP/1.1 418 Own\r\n\r\n")
    assert.equal(418, client:head().status)
    assert.equal("", client:rest())
    assert.equal(0, server.connections)
    socket:destroy()
  end))

  it("http server-destroy-socket-on-client-error: may end it at once", with(
    hello, function(client, server, port)
      server:on("client_error", function(_, socket) socket:destroy() end)
      client:send("bad\r\n\r\n" .. GET)

      assert.equal("", client:rest() or "")
      local second <close> = connect(port)
      assert.equal("hello", second:ask(GET).body)
    end))

  it("http socket-error-listeners: gives a socket that nothing of the server's "
    .. "listens to", with(hello, function(client, server)
    client:send("bad\r\n\r\n")
    local _, socket = server:wait_for("client_error")

    for _, event in ipairs { "error", "data", "end", "close", "timeout" } do
      assert.equal(0, socket:listener_count(event))
    end
    client:send("more"):finish()
    assert.equal("more", socket:read_all())
    socket:destroy()
  end))

  it("comes for what is too large, and too late", function()
    helper.run(function()
      local server <close>, port = fixture.serve(hello,
        { max_header_size = 100, headers_timeout = 20 })
      for bytes, status in pairs { ["GET / HTTP/1.1\r\n"] = 408,
        [head("GET /", "X: " .. ("x"):rep(100))] = 431,
        ["GET / HTTP/1.2\r\n\r\n"] = 505 } do
        local client <close> = connect(port)
        client:send(bytes)
        local err, socket = server:wait_for("client_error")
        assert.equal(status, err.status)
        socket:destroy()
      end
    end)
  end)

  it("takes no answer from requests that came before", with(hello,
    function(client, server)
      server:on("client_error", function(_, socket) socket:finish() end)
      client:send(head("GET /1") .. "bad\r\n\r\n")

      assert.equal("hello", client:answer().body)
    end))
end)
