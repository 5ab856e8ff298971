--- What comes before a response, and what comes instead of one: 1xx, upgrades,
--- tunnels.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"
local net = require "orrery.net"
local task = require "orrery.task"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

--- Runs fn(ask, agent) against a server that calls talk(socket) in a task for
--- each connection.
local function with_raw_server(talk, fn)
  local server = net.create_server(talk)
  server:listen(0, "127.0.0.1")
  local agent = client.agent()
  local function ask(opts, cb)
    opts = opts or {}
    opts.port, opts.host = server:address().port, "127.0.0.1"
    if opts.agent == nil then opts.agent = agent end
    return client.request(opts, cb)
  end
  local ok, err = pcall(fn, ask, agent)
  agent:destroy()
  server:close()
  if not ok then error(err, 0) end
end

--- Reads up to some text, that included. [w]
local function read_to(socket, text)
  local got = ""
  while not got:find(text, 1, true) do
    local bytes = socket:read(1)
    if not bytes then return got end
    got = got .. bytes
  end
  return got
end

describe("Expect: 100-continue", function()
  local EXPECT = { Expect = "100-continue" }

  it("http expect-continue: sends the head, and the body on continue",
    function()
    run(function()
      local order = {}
      with_raw_server(function(socket)
        local head = read_to(socket, "\r\n\r\n")
        assert.is_truthy(head:find("Expect: 100-continue\r\n", 1, true))
        order[#order + 1] = "head"
        socket:write "HTTP/1.1 100 Continue\r\n\r\n"
        local body = read_to(socket, "0\r\n\r\n")
        order[#order + 1] = body
        socket:finish(response "done")
      end, function(ask)
        local request = ask { method = "POST", headers = EXPECT }
        request:on("continue", function()
          order[#order + 1] = "continue"
          request:finish("body")
        end)
        local answer = request:await_response()
        assert.equal("done", answer:read_all())
        assert.same({ "head", "continue", "4\r\nbody\r\n0\r\n\r\n" }, order)
      end)
    end)
  end)

  it("holds the body back that was written already", function()
    run(function()
      local early
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        local none, err = socket:read(1, 10)
        early = none or err.code
        socket:write "HTTP/1.1 100 Continue\r\n\r\n"
        socket:finish(response(read_to(socket, "body")))
      end, function(ask)
        local request = ask { method = "PUT", headers = EXPECT }
        local _, body = finish(request, "the body")
        assert.same({ "ETIMEDOUT", "the body" }, { early, body })
        assert.equal("8", request:get_header("Content-Length"))
      end)
    end)
  end)

  it("sends it after a second if the server says nothing", function()
    run(function()
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        socket:finish(response(read_to(socket, "body")))
      end, function(ask)
        local _, body = finish(ask { method = "PUT", headers = EXPECT },
          "the body")
        assert.equal("the body", body)
      end)
    end)
  end)

  it("http sync-write-error-during-continue: leaves it out if the response is "
    .. "there", function()
    run(function()
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        socket:write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        assert.is_nil(socket:read())
      end, function(ask, agent)
        local request = ask { method = "PUT", headers = EXPECT }
        local failure
        local log = helper.record(request, { "error", "finish", "close" })
        request:finish("the body", function(err) failure = err.code end)
        local answer = request:await_response()
        assert.same({ 413, "no" }, { answer.status_code, answer:read_all() })
        helper.eventually(function() return log[1] end)
        assert.same({ "close", "ECANCELED" }, { helper.names(log), failure })
        assert.equal(0, agent.sockets)
      end)
    end)
  end)

  it("http expect-continue-reuse-race: leaves its connection to nobody if the "
    .. "body was left out", function()
    run(function()
      with_raw_server(function(socket)
        local head = read_to(socket, "\r\n\r\n")
        socket:write(response(head:match("^%u+")))
        socket:read_all()
      end, function(ask)
        local first = ask { method = "PUT", headers = EXPECT }
        assert.equal("PUT", select(2, finish(first, "the body")))
        local second = ask { method = "POST" }
        assert.equal("POST", select(2, finish(second, "x")))
        assert.is_false(second.reused_socket)
      end)
    end)
  end)

  it("holds up a writer that goes on writing", function()
    run(function()
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        socket:write "HTTP/1.1 100 Continue\r\n\r\n"
        read_to(socket, "\r\n0\r\n\r\n")
        socket:finish(response "x")
      end, function(ask)
        local request = ask { method = "PUT", headers = EXPECT }
        local more, count = true, 0
        while more do
          more, count = request:write(("x"):rep(4096)), count + 1
        end
        assert.is_true(count <= 16)
        request:wait_for("drain")
        assert.equal("x", select(2, finish(request)))
      end)
    end)
  end)
end)

describe("a message before the response", function()
  it("http information-processing: is an event of its own", function()
    run(function()
      with_server("HTTP/1.1 102 Processing\r\nA: b\r\n\r\n"
        .. "HTTP/1.1 100 Continue\r\n\r\n" .. response "x", function(ask)
        for _ = 1, 2 do
          local request = ask()
          local log = helper.record(request, { "information", "continue",
            "response" })
          local _, body = finish(request)
          assert.equal("x", body)
          assert.equal("information continue information response",
            helper.names(log))
          assert.same({ status_code = 102, status_message = "Processing",
            http_version = "1.1", headers = { a = "b" },
            raw_headers = { "A", "b" } }, log[1][2])
        end
      end)
    end)
  end)

  it("http information-headers: has fields of its own", function()
    run(function()
      with_server("HTTP/1.1 102 Processing\r\nFoo: a\r\n\r\n"
        .. response("x", "Foo: b\r\n"), function(ask)
        local request = ask()
        local log = helper.record(request, { "information" })
        local answer = finish(request)
        assert.same({ "a", "b" }, { log[1][2].headers.foo,
          answer.headers.foo })
      end)
    end)
  end)

  it("http early-hints: may have several links", function()
    run(function()
      with_server("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
        .. response "x", function(ask)
        local request = ask()
        request:finish()
        local info = request:wait_for("information")
        assert.same({ 103, "</a>, </b>" },
          { info.status_code, info.headers.link })
        request:wait_for("close")
      end)
    end)
  end)
end)

describe("an upgrade", function()
  local UPGRADE = { Connection = "Upgrade", Upgrade = "echo" }
  local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    .. "Upgrade: echo\r\n\r\n"

  local function echo(socket)
    read_to(socket, "\r\n\r\n")
    socket:write(SWITCH .. "head")
    socket:pipe(socket)
  end

  it("http upgrade-client: hands the socket over, with what has come",
    function()
    run(function()
      with_raw_server(echo, function(ask, agent)
        local request = ask { headers = UPGRADE }
        local log = helper.record(request, { "response", "error", "close" })
        request:finish()
        local answer, socket, head = request:wait_for("upgrade")
        assert.same({ 101, "echo" },
          { answer.status_code, answer.headers.upgrade })
        if head == "" then head = socket:read() end
        assert.equal("head", head)
        socket:write("\0\255")
        assert.equal("\0\255", socket:read())
        assert.equal("close", helper.names(log))
        assert.equal(0, agent.sockets)
        socket:destroy()
      end)
    end)
  end)

  it("http upgrade-binary: loses no byte of what has come", function()
    run(function()
      local bytes = "\0\255HTTP/1.1 200 OK\r\n\r\n" .. ("\r\n\0"):rep(20000)
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        socket:finish(SWITCH .. bytes)
      end, function(ask)
        local request = ask { headers = UPGRADE }
        request:finish()
        local _, socket, head = request:wait_for("upgrade")
        assert.is_true(head .. socket:read_all() == bytes)
      end)
    end)
  end)

  it("http upgrade-client2: can be followed by another one", function()
    run(function()
      with_raw_server(echo, function(ask)
        for _ = 1, 2 do
          local request = ask { headers = UPGRADE }
          request:finish()
          local _, socket = request:wait_for("upgrade")
          socket:destroy()
        end
      end)
    end)
  end)

  it("http upgrade-reconsume-stream: leaves the socket to all ways of reading",
    function()
    run(function()
      with_raw_server(echo, function(ask)
        local request = ask { headers = UPGRADE }
        local got = ""
        request:on("upgrade", function(_, socket, head)
          got = head
          socket:on("data", function(bytes) got = got .. bytes end)
          socket:on("close", function() got = got .. "|" end)
          socket:write("ping")
          request:on("close", function() socket:finish() end)
        end)
        request:finish()
        helper.eventually(function() return got == "headping|" end)
      end)
    end)
  end)

  it("http upgrade-agent: of a kept connection takes it from the agent",
    function()
    run(function()
      with_server(function(socket, request)
        socket:write(request.headers.upgrade and SWITCH or response "x")
      end, function(ask, server, agent)
        finish(ask())
        local request = ask { headers = UPGRADE }
        request:finish()
        local _, socket = request:wait_for("upgrade")
        assert.same({ 0, true }, { agent.sockets, request.reused_socket })
        finish(ask())
        assert.equal(2, server.accepted)
        socket:destroy()
      end)
    end)
  end)

  it("http upgrade-advertise: is not what a server merely offers", function()
    run(function()
      with_server(response("x", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
        function(ask)
          local request = ask { headers = UPGRADE }
          local log = helper.record(request, { "upgrade" })
          local answer, body = finish(request)
          assert.same({ "x", "h2c", 0 }, { body, answer.headers.upgrade, #log })
        end)
    end)
  end)

  it("that nobody has asked or listens for is an error", function()
    run(function()
      for _, headers in ipairs { UPGRADE, {} } do
        with_raw_server(echo, function(ask, agent)
          local request = ask { headers = headers }
          if headers ~= UPGRADE then request:on("upgrade", print) end
          local _, err = finish(request)
          assert.equal("EPROTO", err.code)
          assert.equal(0, agent.sockets)
        end)
      end
    end)
  end)

  it("notices the end of a socket that nobody reads", function()
    run(function()
      local theirs
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        socket:write(SWITCH)
        theirs = socket
      end, function(ask)
        local request = ask { headers = UPGRADE }
        request:finish()
        local _, socket = request:wait_for("upgrade")
        theirs:destroy()
        socket:wait_for("close")
      end)
    end)
  end)
end)

describe("CONNECT", function()
  it("http connect: opens a tunnel", function()
    run(function()
      local asked
      with_raw_server(function(socket)
        asked = read_to(socket, "\r\n\r\n")
        socket:write("HTTP/1.1 200 Connection established\r\n"
          .. "Content-Length: 100\r\n\r\nhead")
        socket:pipe(socket)
      end, function(ask, agent)
        local request = ask { method = "CONNECT", path = "example.org:443",
          headers = { Host = "example.org:443" } }
        request:finish()
        local answer, socket, head = request:wait_for("connect")
        assert.matches("^CONNECT example.org:443 HTTP/1.1\r\n"
          .. "Host: example.org:443\r\n", asked)
        assert.equal(200, answer.status_code)
        if head == "" then head = socket:read() end
        socket:write("ping")
        assert.same({ "head", "ping", 0 }, { head, socket:read(),
          agent.sockets })
        socket:destroy()
      end)
    end)
  end)

  it("http connect-req-res: that is refused has an ordinary response",
    function()
    run(function()
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        socket:finish("HTTP/1.1 407 Who are you\r\nContent-Length: 2\r\n\r\nno")
      end, function(ask)
        local request = ask { method = "CONNECT", path = "example.org:443" }
        request:on("connect", error)
        local answer, body = finish(request)
        assert.same({ 407, "no" }, { answer.status_code, body })
      end)
    end)
  end)

  it("can be used by create_connection", function()
    run(function()
      local target = fixture.serve(response "behind the proxy")
      with_raw_server(function(socket)
        read_to(socket, "\r\n\r\n")
        local far = net.connect(target:address().port, "127.0.0.1")
        socket:write("HTTP/1.1 200 OK\r\n\r\n")
        socket:pipe(far)
        far:pipe(socket)
      end, function(ask)
        local _, body = finish(client.request {
          create_connection = function()
            local request = ask { method = "CONNECT", path = "target:80" }
            request:finish()
            local _, socket = request:wait_for("connect")
            return socket
          end,
        })
        assert.equal("behind the proxy", body)
        task.sleep(0)
      end)
      target:close()
    end)
  end)
end)
