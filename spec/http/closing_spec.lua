--- The end of servers and of their connections, and bad requests.

local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local task = require "orrery.task"

local with, serve, connect, head = fixture.with, fixture.serve,
  fixture.connect, fixture.head
local GET, CHUNKED = fixture.GET, fixture.CHUNKED

local LONG = 8 << 20 -- bytes that the kernel does not take at once

local function hello(_, res) res:finish("hello") end

--- A handler that answers once its request is told to go on.
local function waiting(req, res)
  req:wait_for("go")
  res:finish(req.url)
end

describe("server:close", function()
  it("http server-close-idle-connections-pre-request: ends connections that "
    .. "have sent nothing", with(hello, function(client, server)
    fixture.await_count(server, 1)
    local closing = task.go(function() return server:close() end)

    assert.equal("", client:rest())
    assert.is_true(closing:join())
    assert.equal(0, server.connections)
  end))

  it("http server-keepalive-end: ends connections between two requests", with(
    hello, function(client, server)
      client:ask(GET)
      local log = helper.record(server, { "close" })
      local closing = task.go(function() return server:close() end)

      assert.equal("", client:rest())
      assert.is_true(closing:join())
      assert.equal("close", helper.names(log))
    end))

  it("http server-stale-close: waits for those that are busy, whose answers "
    .. "say close", with(waiting, function(client, server)
    client:send(GET)
    local req = server:wait_for("request")
    local closing = task.go(function() return server:close() end)
    task.sleep(0)
    assert.equal("running", closing.status)
    req:emit("go")

    local answer = client:answer()
    assert.same({ "/", "close" }, { answer.body, answer.headers.connection })
    assert.equal("", client:rest())
    assert.is_true(closing:join())
  end))

  it("http server-connection-list-when-close: ends each connection as it is",
    with(waiting, function(client, server, port)
      local busy <close> = connect(port)
      local half <close> = connect(port)
      client:send(GET)
      server:wait_for("request"):emit("go")
      client:answer()
      busy:send(head("GET /busy"))
      local req = server:wait_for("request")
      half:send("GET / HT")
      fixture.await_count(server, 3)
      task.sleep(0)
      local closing = task.go(function() return server:close() end)

      assert.equal("", client:rest())
      req:emit("go")
      assert.equal("/busy", busy:answer().body)
      half.socket:destroy()
      assert.is_true(closing:join())
    end))

  it("lets a request that is on its way be answered", with(waiting,
    function(client, server)
      client:send("GET /half HTTP/1.1\r\n")
      fixture.await_count(server, 1)
      task.sleep(0)
      local closing = task.go(function() return server:close() end)
      task.sleep(0)
      client:send("Host: a\r\n\r\n")
      server:wait_for("request"):emit("go")

      local answer = client:answer()
      assert.same({ "/half", "close" },
        { answer.body, answer.headers.connection })
      assert.equal("", client:rest())
      assert.is_true(closing:join())
    end))

  it("refuses new connections, and reports a second close", with(hello,
    function(client, server, port)
      client.socket:destroy()
      assert.is_true(server:close())
      local ok, err = pcall(connect, port)

      assert.is_false(ok)
      assert.matches("ECONNREFUSED", tostring(err))
      assert.equal("ERR_SERVER_NOT_RUNNING", select(2, server:close()).code)
    end))

  it("calls back, in a handler as well", with(function(_, res)
    res:finish("hello")
  end, function(client, server)
    local closed
    server:on("request", function()
      server:close(function(err) closed = err or "closed" end)
    end)
    assert.equal("hello", client:ask(GET).body)

    assert.equal("", client:rest())
    helper.eventually(function() return closed end)
    assert.equal("closed", closed)
  end))
end)

describe("server:close_idle_connections", function()
  it("http server-close-idle: ends those between two requests, and serves on",
    with(waiting, function(client, server, port)
      local busy <close> = connect(port)
      local fresh <close> = connect(port)
      client:send(GET)
      server:wait_for("request"):emit("go")
      client:answer()
      busy:send(head("GET /busy"))
      local req = server:wait_for("request")
      fixture.await_count(server, 3)
      server:close_idle_connections()

      assert.equal("", client:rest())
      assert.equal("", fresh:rest())
      req:emit("go")
      assert.equal("keep-alive", busy:answer().headers.connection)
      busy:send(head("GET /again"))
      server:wait_for("request"):emit("go")
      assert.equal("/again", busy:answer().body)
    end))

  it("http server-close-idle-wait-response: waits for an answer that is being "
    .. "written", with(function(req, res)
    res:write("hel")
    req:wait_for("go")
    res:finish("lo")
  end, function(client, server)
    client:send(GET)
    local req = server:wait_for("request")
    server:close_idle_connections()
    task.sleep(0)
    req:emit("go")

    assert.equal("hello", client:answer().body)
  end))

  it("takes a last look, and answers what has come meanwhile", with(hello,
    function(client, server)
      for _ = 1, 20 do
        assert.equal("hello", client:ask(GET).body)
        client:send(GET) -- is with the kernel now, and no one has read it
        server:close_idle_connections()
        assert.equal("hello", client:answer().body)
      end
      client:send(GET)
      server:close(function() end)

      assert.equal("close", client:answer().headers.connection)
      assert.equal("", client:rest())
    end))
end)

describe("server:close_all_connections", function()
  it("http server-close-all, server-close-destroy-timeout: cuts all, whatever "
    .. "they do, and serves on", with(waiting, function(client, server, port)
    local busy <close> = connect(port)
    local half <close> = connect(port)
    busy:send(GET)
    local req = server:wait_for("request")
    half:send("GET / HT")
    fixture.await_count(server, 3)
    server:close_all_connections()

    for _, each in ipairs { client, busy, half } do
      assert.equal("", each:rest() or "")
    end
    assert.equal(0, server.connections)
    assert.is_true(req.aborted)
    local again <close> = connect(port)
    again:send(GET)
    server:wait_for("request"):emit("go")
    assert.equal("/", again:answer().body)
  end))

  it("has a close that waits come to its end", with(waiting,
    function(client, server)
      client:send(GET)
      server:wait_for("request")
      local closing = task.go(function() return server:close() end)
      task.sleep(0)
      server:close_all_connections()

      assert.is_true(closing:join())
    end))

  it("may be called in a handler, and in a listener of what it does", with(
    function(_, res) res.result = res:write("x") end,
    function(client, server, port)
      local other <close> = connect(port)
      other:send("GET / H")
      fixture.await_count(server, 2)
      local log = helper.record(server, { "request" })
      server:on("request", function(req)
        req:on("aborted", function() server:close_all_connections() end)
        server:close_all_connections()
      end)
      client:send(GET:rep(3))
      client:rest()

      assert.same({ 0, 1 }, { server.connections, #log })
      assert.is_true(log[1][2].aborted)
    end))
end)

describe("a bad request", function()
  it("http header-badrequest: is answered, and then the connection ends", with(
    hello, function(client, server)
      local log = helper.record(server, { "request" })
      local answer = client:ask("GET / HTTP/1.1\r\nBad Name: x\r\n\r\n" .. GET)

      assert.same({ 400, "Bad Request", "close", "text/plain" }, {
        answer.status, answer.message, answer.headers.connection,
        answer.headers["content-type"] })
      assert.matches("^%a.*\n$", answer.body)
      assert.equal("", client:rest())
      assert.same({}, log)
    end))

  it("http header-overflow, max-header-size: has 431 if its head is too large",
    function()
      helper.run(function()
        local _ <close>, port = serve(hello, { max_header_size = 200 })
        local function ask(size)
          local client <close> = connect(port)
          local text = head("GET /", "X: ")
          text = text:gsub("X: ", "%0" .. ("x"):rep(size - #text))
          return client:ask(text)
        end

        assert.equal(200, ask(200).status)
        local answer = ask(201)
        assert.same({ 431, "close" },
          { answer.status, answer.headers.connection })
        assert.equal(431, ask(500000).status)
      end)
    end)

  it("has 431 if its url or its trailers are too large", with(fixture.echo,
    function(client, _, port)
      local second <close> = connect(port)
      local long = ("x"):rep(20000)

      assert.equal(431, client:ask(head("GET /" .. long)).status)
      second:send(head("POST /", CHUNKED) .. "0\r\nX: " .. long .. "\r\n\r\n")
      assert.equal(431, second:answer().status)
      assert.equal("", second:rest())
    end))

  it("http chunk-extensions-limit: has 413 if the extensions of a chunk are "
    .. "too long", with(fixture.echo, function(client)
    client:send(head("POST /", CHUNKED) .. "2;" .. ("x"):rep(16 * 1024))

    assert.equal(413, client:answer().status)
    assert.equal("", client:rest())
  end))

  it("http invalid-te: has 400 or 501 for a transfer coding that is not known",
    function()
      helper.run(function()
        local _ <close>, port = serve(hello)
        for coding, status in pairs { ["gzip, chunked"] = 501, gzip = 400,
          ["chunked, gzip"] = 400, identity = 400 } do
          local client <close> = connect(port)
          local answer = client:ask(head("POST /",
            "Transfer-Encoding: " .. coding))

          assert.same({ coding, status }, { coding, answer.status })
          assert.equal("", client:rest())
        end
      end)
    end)

  it("has its answer read, though the client goes on to send", with(hello,
    function(client)
      client:send("bad\r\n\r\n" .. ("x"):rep(100000))
      client:send(("x"):rep(100000))
      local answer = client:answer()

      assert.equal(400, answer.status)
      assert.equal("", client:rest())
    end))

  it("in a body has its answer cut if the head is out", with(function(req, res)
    res:write("half")
    req:read_all()
    res:finish("never")
  end, function(client)
    client:send(head("POST /", CHUNKED))
    assert.equal(200, client:head().status)
    client:send("no size\r\n")

    assert.not_matches("never", client:rest() or "")
  end))

  it("in a body is not answered twice, and the answer is sent as a whole", with(
    function(_, res)
      res:once("close", function() end)
      res:write(("x"):rep(LONG))
      res:finish()
    end, function(client)
      client:send(head("POST /", CHUNKED) .. fixture.chunk "some")
      assert.matches("200", client:line()) -- most of the rest is not sent
      client:send "no chunk\r\n"
      local more = client:rest()
      collectgarbage()

      assert.matches("%x\r\nx+\r\n0\r\n\r\n$", more)
      assert.is_true(#more > LONG and #more < LONG + 1000)
    end))

  it("in a body gives its handler ECONNRESET, and nothing it writes is sent",
    with(function(req, res)
      req.got = { req:read_all() }
      res:finish("never")
    end, function(client, server)
      client:send(head("POST /", CHUNKED) .. "2\r\nab\r\n")
      local req = server:wait_for("request")
      client:send("no size\r\n")

      assert.equal(400, client:answer().status)
      assert.equal("", client:rest())
      helper.eventually(function() return req.got end)
      assert.equal("ECONNRESET", req.got[2].code)
      assert.is_true(req.aborted)
    end))
end)
