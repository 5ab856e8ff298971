--- What becomes of connections that take too long. The times are as short as
--- can be, or so long that only a fault would have them pass.

local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local task = require "orrery.task"

local with, head = fixture.with, fixture.head
local GET = fixture.GET

local SHORT = 30 -- ms

local function hello(_, res) res:finish("hello") end

--- Checks that the connection ends, for both sides.
local function assert_over(client, server)
  assert.equal("", client:rest())
  client.socket:destroy()
  fixture.await_count(server, 0)
end

--- Checks that an answer is 408, and the last thing of its connection.
local function assert_late(client, server)
  local answer = client:answer()
  assert.same({ 408, "Request Timeout", "close" },
    { answer.status, answer.message, answer.headers.connection })
  assert_over(client, server)
end

--- Sends a text again and again, up to the end of the variable that has it.
local function trickle(client, text)
  return task.every(1, function()
    if not client.socket.closed then client.socket:write(text) end
  end)
end

describe("headers_timeout", function()
  it("http server-headers-timeout-delayed-headers: answers 408 if a head does "
    .. "not come", with(hello, function(client, server)
    assert_late(client, server)
  end, { headers_timeout = SHORT }))

  it("http server-headers-timeout-interrupted-headers: answers 408 if a head "
    .. "does not come to its end", with(hello, function(client, server)
    client:send("GET / HTTP/1.1\r\nX-")
    assert_late(client, server)
  end, { headers_timeout = SHORT }))

  it("is not put off by bytes that come slowly", with(hello,
    function(client, server)
      client:send("GET / HTTP/1.1\r\nX: ")
      local _ <close> = trickle(client, "x")
      assert_late(client, server)
    end, { headers_timeout = SHORT }))

  it("http server-headers-timeout-keepalive: begins with the first byte of the "
    .. "next head", with(hello, function(client, server)
    assert.equal("hello", client:ask(GET).body)
    assert.equal("hello", client:ask(GET).body)
    client:send("GET")
    assert_late(client, server)
  end, { headers_timeout = SHORT, keep_alive_timeout = 1000000 }))

  it("http server-headers-timeout-pipelining: counts for each request of "
    .. "several", with(hello, function(client, server)
    client:send(GET .. GET .. "GET / HT")
    assert.equal("hello", client:answer().body)
    assert.equal("hello", client:answer().body)
    assert_late(client, server)
  end, { headers_timeout = SHORT }))

  it("has no part in how long a handler or a body takes", with(
    function(req, res)
      local early = task.sleep(2 * SHORT)
      res:finish(tostring(early) .. req:read_all())
    end, function(client)
      client:send(head("POST /", "Content-Length: 5") .. "he")
      task.sleep(3 * SHORT)
      client:send("llo")

      assert.equal("truehello", client:answer().body)
    end, { headers_timeout = SHORT }))

  it("is none if it is 0, as request_timeout is", with(hello,
    function(client)
      client:send("GET / ")
      task.sleep(SHORT)
      client:send("HTTP/1.1\r\nHost: a\r\n\r\n")

      assert.equal("hello", client:answer().body)
    end, { headers_timeout = 0, request_timeout = 0 }))
end)

describe("request_timeout", function()
  it("http server-request-timeout-delayed-headers, "
    .. "server-request-timeout-interrupted-headers: answers 408 if no request "
    .. "comes, or no end of its head", function()
    helper.run(function()
      local server <close>, port = fixture.serve(hello,
        { request_timeout = SHORT })
      for _, bytes in ipairs { "", "GET", "GET / HTTP/1.1\r\nX: y\r\n" } do
        local client <close> = fixture.connect(port)
        if bytes ~= "" then client:send(bytes) end
        assert_late(client, server)
      end
    end)
  end)

  it("http server-request-timeout-delayed-body, "
    .. "server-request-timeout-interrupted-body: answers 408 if the body does "
    .. "not come to its end", function()
    helper.run(function()
      local seen = {}
      local server <close>, port = fixture.serve(function(req)
        seen[#seen + 1] = { req:read_all() }
      end, { request_timeout = SHORT })
      for i, bytes in ipairs { "", "hell" } do
        local client <close> = fixture.connect(port)
        client:send(head("POST /", "Content-Length: 5") .. bytes)
        assert_late(client, server)
        helper.eventually(function() return seen[i] end)
        assert.equal("ECONNRESET", seen[i][2].code)
      end
    end)
  end)

  it("is not put off by a body that comes slowly", with(fixture.echo,
    function(client, server)
      client:send(head("POST /", fixture.CHUNKED))
      local _ <close> = trickle(client, "1\r\nx\r\n")
      assert_late(client, server)
    end, { request_timeout = SHORT }))

  it("cuts the connection if the head of the answer is out", with(
    function(req, res)
      res:write("half")
      req:read_all()
    end, function(client, server)
      client:send(head("POST /", "Content-Length: 5"))
      assert.equal(200, client:head().status)

      assert.not_matches("408", client:rest() or "")
      fixture.await_count(server, 0)
    end, { request_timeout = SHORT }))

  it("http server-request-timeout-keepalive, "
    .. "server-request-timeout-pipelining: counts for each request anew",
    with(hello, function(client, server)
      client:send(GET .. GET .. head("POST /", "Content-Length: 5"))
      for _ = 1, 3 do assert.equal("hello", client:answer().body) end
      client.socket:destroy()
      fixture.await_count(server, 0)
    end, { request_timeout = 1000000 }))

  it("adds nothing to an answer that came before the body's end", with(
    function(_, res) res:finish(("x"):rep(8 << 20)) end,
    function(client)
      client.socket:pause()
      client:send(head("POST /", "Content-Length: 5"))
      task.sleep(3 * SHORT)

      assert.equal(8 << 20, #client:answer().body)
      assert.equal("", client:rest())
    end, { request_timeout = SHORT }))

  it("is over with the request, however long its answer takes", with(
    function(_, res)
      task.sleep(3 * SHORT)
      res:write("hel")
      task.sleep(2 * SHORT)
      res:finish("lo")
    end, function(client)
      assert.equal("hello", client:ask(GET).body)
      assert.equal("hello", client:ask(GET).body)
    end, { request_timeout = SHORT }))

  it("has no part in how long a request waits for those before it", with(
    function(req, res)
      task.sleep(3 * SHORT)
      res:finish(req.url)
    end, function(client)
      client:send(head("GET /1") .. head("GET /2") .. head("GET /3"))

      for i = 1, 3 do assert.equal("/" .. i, client:answer().body) end
    end, { request_timeout = SHORT, headers_timeout = SHORT,
      max_pipelined = 1 }))

  it("http server-request-timeout-upgrade: is over when another protocol "
    .. "follows", with(hello, function(client, server)
    client:send(head("GET /", "Connection: upgrade", "Upgrade: x"))
    local _, socket = server:wait_for("upgrade")
    task.sleep(3 * SHORT)
    socket:finish("here still")

    assert.equal("here still", client:rest())
    socket:destroy()
  end, { request_timeout = SHORT, headers_timeout = SHORT }))
end)

describe("keep_alive_timeout", function()
  local opts = { keep_alive_timeout = SHORT, keep_alive_buffer = 1 }

  it("http keep-alive-timeout, server-keep-alive-timeout: ends a connection "
    .. "that brings no other request, without a word", with(hello,
    function(client, server)
      assert.equal("hello", client:ask(GET).body)

      assert_over(client, server)
    end, opts))

  it("counts from the last answer", with(hello, function(client, server)
    for _ = 1, 3 do
      client:send(GET .. GET)
      assert.equal("hello", client:answer().body)
      assert.equal("hello", client:answer().body)
    end
    assert_over(client, server)
  end, opts))

  it("has no part in the first request, nor in what is under way", with(
    function(req, res)
      res:write("a")
      task.sleep(3 * SHORT)
      res:finish(req:read_all())
    end, function(client)
      task.sleep(2 * SHORT)
      client:send(head("POST /", "Content-Length: 2") .. "b")
      task.sleep(2 * SHORT)
      client:send("c")

      assert.equal("abc", client:answer().body)
    end, opts))

  it("http keep-alive-timeout-buffer: ends the connection later than it was "
    .. "announced, by keep_alive_buffer", with(hello, function(client)
    assert.equal("timeout=1", client:ask(GET).headers["keep-alive"])
    task.sleep(1100)

    assert.equal("hello", client:ask(GET).body)
  end, { keep_alive_timeout = 1000, keep_alive_buffer = 1000000 }))

  it("is none if it is 0", with(hello, function(client)
    assert.is_nil(client:ask(GET).headers["keep-alive"])
    task.sleep(2 * SHORT)

    assert.equal("hello", client:ask(GET).body)
  end, { keep_alive_timeout = 0, keep_alive_buffer = 1 }))

  it("http keep-alive-timeout-race-condition: takes a last look, and answers "
    .. "what has come meanwhile", with(hello, function(client)
    assert.equal("hello", client:ask(GET).body)
    client:send(GET) -- is with the kernel now
    require "luv".sleep(3 * SHORT) -- and the loop is held up

    assert.equal("hello", client:answer().body)
  end, opts))
end)

describe("request.socket:set_timeout", function()
  it("http set-timeout, set-timeout-server, server-consumed-timeout: emits "
    .. "timeout, and leaves the rest to the listener", with(
    function(req, res)
      req.socket:set_timeout(SHORT, function() res:finish("late") end)
    end, function(client)
      assert.equal("late", client:ask(GET).body)
      assert.equal("late", client:ask(GET).body)
    end))

  it("may end a connection that is idle", with(function(req, res)
    req.socket:set_timeout(SHORT, function() req.socket:destroy() end)
    res:finish("hello")
  end, function(client, server)
    assert.equal("hello", client:ask(GET).body)

    assert.equal("", client:rest() or "")
    fixture.await_count(server, 0)
  end))

  it("is undone by 0, and by the end of the connection", with(
    function(req, res)
      local function unwanted() error("must not be called") end
      req.socket:set_timeout(SHORT, unwanted)
      if req.url == "/" then req.socket:set_timeout(0) end
      res:finish("hello")
    end, function(client, server)
      assert.equal("hello", client:ask(GET).body)
      task.sleep(2 * SHORT)
      assert.equal("hello", client:ask(head("GET /2")).body)
      client.socket:destroy()
      fixture.await_count(server, 0)
      task.sleep(2 * SHORT)
    end))

  it("raises for what is no time", with(function(req, res)
    for _, bad in ipairs { -1, "x", 1.5 } do
      assert(not pcall(req.socket.set_timeout, req.socket, bad))
    end
    assert(not pcall(req.socket.set_timeout, req.socket, 5, "x"))
    res:finish("hello")
  end, function(client) assert.equal("hello", client:ask(GET).body) end))
end)
