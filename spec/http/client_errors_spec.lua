--- Requests that come to no good end: by the server, by time, by the user.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"
local task = require "orrery.task"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

--- Returns the error of a request that is answered with some bytes.
local function error_of(bytes, opts)
  local answer, err
  with_server(function(socket) socket:finish(bytes) end, function(ask)
    answer, err = finish(ask(opts))
  end)
  assert.is_nil(answer)
  return err
end

describe("a server that breaks the rules", function()
  it("http client-parse-error: is an error event, and no more", function()
    run(function()
      for _, bytes in ipairs { "bad http - should trigger parse error\r\n",
        "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n" } do
        with_server(function(socket) socket:finish(bytes) end, function(ask)
          local request = ask()
          local log = helper.record(request, { "response", "error", "close" })
          request:finish()
          request:wait_for("close")
          assert.equal("error close", helper.names(log))
          assert.equal("EPROTO", log[1][2].code)
          assert.matches("^the server's response: ", tostring(log[1][2]))
        end)
      end
    end)
  end)

  it("http client-error-rawbytes: has its bytes in the error", function()
    run(function()
      local bytes = "\255 no http\r\n\r\n"
      assert.equal(bytes, error_of(bytes).raw_packet)
    end)
  end)

  it("http client-reject-chunked-with-content-length: is refused", function()
    run(function()
      assert.equal("EPROTO", error_of("HTTP/1.1 200 OK\r\n"
        .. "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "1\r\na\r\n0\r\n\r\n").code)
    end)
  end)

  it("http client-reject-cr-no-lf: is refused", function()
    run(function()
      for _, bytes in ipairs { "HTTP/1.1 200 OK\r\nFoo: Bar\rContent-Length: 1"
        .. "\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n" } do
        assert.equal("EPROTO", error_of(bytes).code)
      end
    end)
  end)

  it("http multi-line-headers: is refused", function()
    run(function()
      assert.equal("EPROTO",
        error_of("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n").code)
    end)
  end)

  it("http response-multi-content-length: is refused", function()
    run(function()
      for _, lengths in ipairs { { 1, 2 }, { 1, 1 } } do
        assert.equal("EPROTO", error_of(("HTTP/1.1 200 OK\r\n"
          .. "Content-Length: %d\r\nContent-Length: %d\r\n\r\na"):format(
            lengths[1], lengths[2])).code)
      end
    end)
  end)

  it("http client-read-in-error: ends the body if it is wrong there", function()
    run(function()
      with_server(function(socket)
        socket:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        socket:finish "1\r\na\r\nfish\r\n"
      end, function(ask)
        local request = ask()
        local log = helper.record(request, { "error" })
        request:finish()
        local answer = request:await_response()
        local events = helper.record(answer, { "aborted" })
        assert.equal("a", answer:read())
        local none, err = answer:read()
        assert.same({ nil, "EPROTO" }, { none, err.code })
        assert.equal(answer, err.of_)
        assert.same({ true, false, 1 },
          { answer.aborted, answer.complete, #events })
        assert.same({}, log)
      end)
    end)
  end)

  it("cannot fill memory with what comes before the response", function()
    run(function()
      local went
      with_server(function(socket)
        for _ = 1, 10000 do socket:write "HTTP/1.1 102 Processing\r\n\r\n" end
        socket:write(response "x")
      end, function(ask)
        local request = ask()
        local count = 0
        request:on("information", function() count = count + 1 end)
        local _, body = finish(request)
        went = { count, body }
      end)
      assert.same({ 10000, "x" }, went)
    end)
  end)
end)

describe("a server that leaves", function()
  it("http conn-reset: before the response is ECONNRESET", function()
    run(function()
      for _, bytes in ipairs { "", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nA: b",
        "HTTP/1.1 100 Continue\r\n\r\n" } do
        assert.equal("ECONNRESET", error_of(bytes).code)
      end
    end)
  end)

  it("http aborted: amid the response aborts it", function()
    run(function()
      for _, head in ipairs { "Content-Length: 10\r\n\r\nab",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n" } do
        with_server(function(socket)
          socket:finish("HTTP/1.1 200 OK\r\n" .. head)
        end, function(ask)
          local request = ask()
          request:finish()
          local answer = request:await_response()
          local log = helper.record(answer, { "aborted", "end", "close" })
          local text, err = answer:read_all()
          assert.same({ nil, "ECONNRESET" }, { text, err.code })
          assert.equal("ab", answer:read())
          answer:wait_for("close")
          assert.equal("aborted", log[1][1])
          assert.matches("aborted$", tostring(answer))
        end)
      end
    end)
  end)

  it("http client-aborted-event: tells who is not reading", function()
    run(function()
      local socket_of_server
      with_server(function(socket)
        socket_of_server = socket
        socket:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
      end, function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        socket_of_server:destroy()
        answer:wait_for("aborted")
        assert.is_true(answer.aborted)
      end)
    end)
  end)

  it("is an error event of the response for who listens", function()
    run(function()
      with_server(function(socket)
        socket:finish "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
      end, function(ask)
        local request = ask()
        request:finish()
        assert.equal("ECONNRESET",
          request:await_response():wait_for("error").code)
      end)
    end)
  end)

  it("with an answer, before it has read the body, is heard", function()
    run(function()
      local server = require "orrery.net".create_server(function(socket)
        socket:read(1)
        socket:finish(response("too much", "Connection: close\r\n"))
        socket:read_all()
      end)
      server:listen(0, "127.0.0.1")
      local request = client.request { port = server:address().port,
        host = "127.0.0.1", method = "POST", agent = false,
        headers = { ["Content-Length"] = 1 << 30 } }
      request:write(("x"):rep(1 << 16))
      local answer = request:await_response()
      assert.equal("too much", answer:read_all())
      request:destroy()
      server:close()
    end)
  end)
end)

describe("time", function()
  it("http client-timeout-event: emits timeout, and ends nothing", function()
    run(function()
      local go_on
      with_server(function(socket)
        task.wait(function(wake) go_on = wake end)
        socket:write(response "late")
      end, function(ask)
        local request = ask { timeout = 10 }
        request:finish()
        request:wait_for("timeout")
        go_on()
        local answer = request:await_response()
        assert.equal("late", answer:read_all())
      end)
    end)
  end)

  it("http client-set-timeout: can be set on the request, at any time",
    function()
    run(function()
      with_server(function() end, function(ask)
        for _, at in ipairs { "once", "connected" } do
          local request = ask()
          request:finish()
          if at == "connected" then request:wait_for("socket") end
          local called
          assert.equal(request, request:set_timeout(5, function()
            called = true
          end))
          request:wait_for("timeout")
          helper.eventually(function() return called end)
          request:destroy()
        end
      end)
    end)
  end)

  it("http client-timeout: can end the request", function()
    run(function()
      with_server(function() end, function(ask)
        local request = ask { timeout = 5 }
        request:finish()
        request:on("timeout", function() request:destroy() end)
        local none, err = request:await_response()
        assert.same({ nil, "ECANCELED" }, { none, err.code })
      end)
    end)
  end)

  it("http client-response-timeout: can be set on the response", function()
    run(function()
      with_server(function(socket)
        socket:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
      end, function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        local log = helper.record(request, { "timeout" })
        answer:set_timeout(5)
        answer:wait_for("timeout")
        assert.equal(1, #log)
        answer:destroy()
      end)
    end)
  end)

  it("is over for a connection that is kept", function()
    run(function()
      with_server(response "x", function(ask)
        local request = ask { timeout = 5 }
        local log = helper.record(request, { "timeout" })
        finish(request)
        task.sleep(20)
        assert.same({}, log)
        assert.is_nil(request.socket.idle_timer_)
      end)
    end)
  end)
end)

describe("ending a request", function()
  it("http abort-client: aborts the response", function()
    run(function()
      with_server(function(socket)
        socket:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"
      end, function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        local events = helper.record(answer, { "aborted", "close" })
        local log = helper.record(request, { "abort", "error", "close" })
        request:abort()
        request:abort()
        local _, err = answer:read_all()
        assert.equal("ECONNRESET", err.code)
        helper.eventually(function() return log[2] end)
        assert.equal("abort close", helper.names(log))
        assert.equal("aborted", events[1][1])
        assert.is_true(request.aborted)
      end)
    end)
  end)

  it("http abort-before-end: may come before anything is sent", function()
    run(function()
      with_server(response "x", function(ask, server)
        local request = ask()
        local log = helper.record(request, { "abort", "error", "socket",
          "close" })
        request:abort()
        request:finish()
        request:wait_for("close")
        assert.equal("abort close", helper.names(log))
        assert.equal(0, server.accepted)
      end)
    end)
  end)

  it("http client-abort-event: emits abort once, and close", function()
    run(function()
      with_server(function() end, function(ask)
        local request = ask()
        local log = helper.record(request, { "abort", "close", "error" })
        request:finish()
        request:wait_for("socket")
        request:abort()
        request:abort()
        request:wait_for("close")
        request:destroy()
        assert.equal("abort close", helper.names(log))
      end)
    end)
  end)

  it("emits the error that it is ended with, if there is no response",
    function()
    run(function()
      with_server(function() end, function(ask)
        local request = ask()
        local log = helper.record(request, { "error", "close" })
        local failure
        request:write("x", function() end)
        request:finish(function(err) failure = err end)
        local reason = require "orrery.runtime.errors".new("EIDRM", "enough")
        request:destroy(reason)
        request:wait_for("close")
        assert.equal("error close", helper.names(log))
        assert.equal(reason, log[1][2])
        assert.equal(reason, failure)
      end)
    end)
  end)

  it("http client-res-destroyed: may be done by its response", function()
    run(function()
      with_server(function(socket)
        socket:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"
      end, function(ask, _, agent)
        local request = ask()
        local log = helper.record(request, { "error", "close" })
        request:finish()
        local answer = request:await_response()
        local events = helper.record(answer, { "aborted", "close" })
        answer:destroy()
        assert.is_true(answer.closed)
        helper.eventually(function() return log[1] and events[2] end)
        assert.equal("close", helper.names(log))
        assert.equal("aborted close", helper.names(events))
        assert.equal(0, agent.sockets)
      end)
    end)
  end)

  it("http client-abort-keep-alive-destroy-res: of which it is over leaves the "
    .. "connection", function()
    run(function()
      with_server(response "x", function(ask, server, agent)
        local request = ask()
        local answer = finish(request)
        answer:destroy()
        request:destroy()
        request:abort()
        assert.equal(1, agent.sockets)
        finish(ask())
        assert.equal(1, server.accepted)
      end)
    end)
  end)

  it("can be left to the end of a block", function()
    run(function()
      with_server(function() end, function(ask, _, agent)
        do
          local request <close> = ask()
          request:finish()
          request:wait_for("socket")
        end
        assert.equal(0, agent.sockets)
      end)
    end)
  end)

  it("happens with the socket, if somebody destroys that", function()
    run(function()
      with_server(function() end, function(ask)
        local request = ask()
        request:finish()
        request:wait_for("socket"):destroy()
        local _, err = request:await_response()
        assert.equal("ECONNRESET", err.code)
      end)
    end)
  end)
end)

describe("an error in a listener", function()
  --- Runs fn with what would end the process collected instead.
  local function collecting(fn)
    local loop = require "orrery.runtime.loop"
    local real, list = loop.on_uncaught, {}
    loop.on_uncaught = function(err) list[#list + 1] = tostring(err) end
    local ok, err = pcall(fn, list)
    loop.on_uncaught = real
    if not ok then error(err, 0) end
  end

  it("http uncaught-from-request-callback: holds nothing up", function()
    run(function()
      collecting(function(uncaught)
        with_server("HTTP/1.1 103 Hints\r\n\r\n" .. response "x",
          function(ask, server)
            for _, event in ipairs { "socket", "information", "finish",
              "response", "close" } do
              local request = ask()
              request:on(event, function() error(event) end)
              local _, body = finish(request)
              assert.equal("x", body)
            end
            helper.eventually(function() return #uncaught == 5 end)
            assert.equal(1, server.accepted)
          end)
      end)
    end)
  end)

  it("http exceptions: of the response holds nothing up", function()
    run(function()
      collecting(function(uncaught)
        with_server(response "x", function(ask, server)
          for _, event in ipairs { "data", "end", "close" } do
            local request = ask()
            request:on("response", function(answer)
              answer:on("data", function() end)
              answer:on(event, function() error(event) end)
            end)
            request:finish()
            request:wait_for("close")
          end
          helper.eventually(function() return #uncaught == 3 end)
          assert.equal(1, server.accepted)
        end)
      end)
    end)
  end)
end)
