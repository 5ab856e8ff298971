--- What a client makes of a response: its head, its body, and how it is read.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"
local stream = require "orrery.stream"
local task = require "orrery.task"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

--- Returns the response to a request that is answered with some bytes, which
--- the server's end follows, and its body, or nil, err.
local function answer_of(bytes, opts)
  local answer, body
  with_server(function(socket) socket:finish(bytes) end, function(ask)
    answer, body = finish(ask(opts))
  end)
  return answer, body
end

describe("a response's head", function()
  it("http raw-headers: is kept as it came, and by name", function()
    run(function()
      local answer = answer_of("HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n"
        .. "Content-Length: 0\r\n\r\n")
      assert.same({ "X-A", "1", "x-a", "2", "Content-Length", "0" },
        answer.raw_headers)
      assert.same({ ["x-a"] = "1, 2", ["content-length"] = "0" },
        answer.headers)
    end)
  end)

  it("http response-multiheaders: has a list of set-cookie", function()
    run(function()
      local answer = answer_of("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\n"
        .. "set-cookie: b\r\nServer: x\r\nserver: y\r\n"
        .. "Content-Length: 0\r\n\r\n")
      assert.same({ { "a", "b" }, "x" },
        { answer.headers["set-cookie"], answer.headers.server })
    end)
  end)

  it("http response-no-headers: may be a status line alone", function()
    run(function()
      local answer, body = answer_of "HTTP/1.1 200 OK\r\n\r\nto the end"
      assert.same({ {}, "to the end" }, { answer.headers, body })
    end)
  end)

  it("http response-status-message: has any text, or none", function()
    run(function()
      for text, expected in pairs { ["200 Custom Message"] = "Custom Message",
        ["201 "] = "", ["999 Curious"] = "Curious" } do
        local answer = answer_of("HTTP/1.1 " .. text
          .. "\r\nContent-Length: 0\r\n\r\n")
        assert.same({ tonumber(text:sub(1, 3)), expected },
          { answer.status_code, answer.status_message })
      end
    end)
  end)

  it("http max-header-size: may have 16 KiB, or as much as is allowed",
    function()
    run(function()
      local head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "
      local function of_size(n) return head .. ("x"):rep(n) .. "\r\n\r\n" end
      local _, err = answer_of(of_size(16384))
      assert.equal("EMSGSIZE", err.code)
      assert.equal("", select(2, answer_of(of_size(15000))))
      assert.equal("", select(2, answer_of(of_size(60000),
        { max_header_size = 65536 })))
      _, err = answer_of(of_size(1000), { max_header_size = 500 })
      assert.equal("EMSGSIZE", err.code)
    end)
  end)

  it("http status-code: is what the server says", function()
    run(function()
      for _, code in ipairs { 200, 202, 300, 404, 451, 500, 599 } do
        assert.equal(code, answer_of(("HTTP/1.1 %d Text\r\n"
          .. "Content-Length: 0\r\n\r\n"):format(code)).status_code)
      end
    end)
  end)

  it("http 1.0: may be of HTTP/1.0", function()
    run(function()
      local answer, body = answer_of "HTTP/1.0 200 OK\r\n\r\nHello"
      assert.same({ "1.0", "Hello" }, { answer.http_version, body })
    end)
  end)
end)

describe("a response's body", function()
  it("http contentLength0: may be empty", function()
    run(function()
      assert.equal("", select(2, answer_of(response(""))))
    end)
  end)

  it("http head-request: is none of an answer to HEAD", function()
    run(function()
      for _, field in ipairs { "Content-Length: 100",
        "Transfer-Encoding: chunked", "X: y" } do
        with_server("HTTP/1.1 200 OK\r\n" .. field .. "\r\n\r\n",
          function(ask, server)
            for _ = 1, 2 do
              local answer, body = finish(ask { method = "HEAD" })
              assert.same({ "", true }, { body, answer.complete })
            end
            assert.equal(1, server.accepted)
          end)
      end
    end)
  end)

  it("http chunked-304: is none of 204 and 304", function()
    run(function()
      for _, status in ipairs { "204 No Content", "304 Not Modified" } do
        for _, field in ipairs { "Transfer-Encoding: chunked",
          "Content-Length: 10" } do
          with_server("HTTP/1.1 " .. status .. "\r\n" .. field .. "\r\n\r\n",
            function(ask, server)
              for _ = 1, 2 do
                assert.equal("", select(2, finish(ask())))
              end
              assert.equal(1, server.accepted)
            end)
        end
      end
    end)
  end)

  it("http allow-content-length-304: has a length in the head of a 304",
    function()
    run(function()
      local answer, body = answer_of(
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n")
      assert.same({ "42", "" }, { answer.headers["content-length"], body })
    end)
  end)

  it("http allow-req-after-204-res: of a 204 leaves the connection to others",
    function()
    run(function()
      local codes = { "204 No Content\r\n\r\n",
        "200 OK\r\nContent-Length: 1\r\n\r\nx" }
      with_server(function(socket)
        socket:write("HTTP/1.1 " .. table.remove(codes, 1))
      end, function(ask, server)
        assert.same({ 204, 200 }, { finish(ask()).status_code,
          (finish(ask()).status_code) })
        assert.equal(1, server.accepted)
      end)
    end)
  end)

  it("http chunked: comes in chunks, with trailers", function()
    run(function()
      local answer, body = answer_of("HTTP/1.1 200 OK\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n"
        .. "0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n")
      assert.equal("hello!", body)
      assert.same({ { ["x-sum"] = "1, 2" }, { "X-Sum", "1", "x-sum", "2" } },
        { answer.trailers, answer.raw_trailers })
    end)
  end)

  it("comes as it was sent however the bytes are cut", function()
    run(function()
      local bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "5\r\nhello\r\n1\r\n!\r\n0\r\nX: 1\r\n\r\n"
      with_server(function(socket)
        socket:set_no_delay()
        for i = 1, #bytes do
          socket:write(bytes:sub(i, i))
          task.sleep(0)
        end
      end, function(ask)
        local answer, body = finish(ask())
        assert.same({ "hello!", "1" }, { body, answer.trailers.x })
      end)
    end)
  end)

  it("http full-response: comes as a whole, if it is large", function()
    run(function()
      local big = ("0123456789abcdef"):rep(1 << 17) -- 2 MiB
      with_server(response(big), function(ask, server)
        for _ = 1, 2 do
          local _, body = finish(ask())
          assert.is_true(body == big)
        end
        assert.equal(1, server.accepted)
      end)
    end)
  end)
end)

describe("reading a response", function()
  it("http response-readable: can be done bit by bit, and by lines", function()
    run(function()
      with_server(response "one\ntwo\nthree", function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        assert.equal("on", answer:read(2))
        assert.equal("e\n", answer:read_exactly(2))
        local lines = {}
        for line in answer:lines() do lines[#lines + 1] = line end
        assert.same({ "two", "three" }, lines)
        assert.is_nil(answer:read())
        local _, err = answer:read_exactly(1)
        assert.equal("ERR_STREAM_PREMATURE_CLOSE", err.code)
      end)
    end)
  end)

  it("http readable-data-event: can be done by data, end and close", function()
    run(function()
      with_server(response "body", function(ask)
        local request = ask()
        local log
        request:on("response", function(answer)
          log = helper.record(answer, { "data", "end", "close", "aborted" })
        end)
        request:finish()
        helper.eventually(function() return log and log[3] end)
        assert.equal("data end close", helper.names(log))
        assert.equal("body", log[1][2])
      end)
    end)
  end)

  it("http pause: can be paused, which holds up the server", function()
    run(function()
      local big = ("x"):rep(1 << 24)
      with_server(response(big), function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        answer:pause()
        for _ = 1, 50 do task.sleep(0) end -- turns in which more could come
        assert.is_true(answer.bytes_read <= 1 << 17)
        assert.is_true(request.socket.bytes_read <= 1 << 18)
        assert.equal(1 << 24, #answer:read_all())
      end)
    end)
  end)

  it("http pause-resume-one-end: has one end", function()
    run(function()
      with_server(response "Hello World", function(ask)
        local request = ask()
        local ends = 0
        request:on("response", function(answer)
          answer:on("data", function()
            answer:pause()
            task.after(1, function() answer:resume() end)
          end)
          answer:on("end", function() ends = ends + 1 end)
        end)
        request:finish()
        helper.eventually(function() return ends > 0 end)
        request:wait_for("close", 10)
        assert.equal(1, ends)
      end)
    end)
  end)

  it("http pause-no-dump: keeps what was not read when it is paused", function()
    run(function()
      with_server(response(("x"):rep(100000)), function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        local first = answer:read(10)
        answer:pause()
        assert.equal(99990, #answer:read_all())
        assert.equal("xxxxxxxxxx", first)
      end)
    end)
  end)

  it("http no-read-no-dump: is not needed for the next request, if it is short",
    function()
    run(function()
      with_server(response "short", function(ask, server)
        local first = ask()
        first:finish()
        local answer = first:await_response()
        helper.eventually(function() return answer.complete end)
        finish(ask())
        assert.equal(1, server.accepted)
        assert.equal("short", answer:read_all())
      end)
    end)
  end)

  it("is not needed where nobody is there for the response", function()
    run(function()
      with_server(response(("x"):rep(1 << 20)), function(ask, server)
        local request = ask()
        request:finish()
        request:wait_for("close")
        finish(ask())
        assert.equal(1, server.accepted)
      end)
    end)
  end)

  it("can be left to a pipe", function()
    run(function()
      local path = helper.tmpname()
      with_server(response(("0123456789abcdef"):rep(1 << 16)), function(ask)
        local request = ask()
        request:finish()
        local file = stream.open(path, "w")
        request:await_response():pipe(file)
        file:wait_for("finish")
        assert.equal(1 << 20, require "luv".fs_stat(path).size)
      end)
      os.remove(path)
    end)
  end)

  it("goes on to the end where the socket ends while nobody reads", function()
    run(function()
      local big = ("x"):rep(1 << 20)
      local answer
      with_server(function(socket)
        socket:finish("HTTP/1.0 200 OK\r\n\r\n" .. big)
      end, function(ask)
        local request = ask()
        request:finish()
        answer = request:await_response()
        answer:pause()
        for _ = 1, 50 do task.sleep(0) end
        assert.equal(1 << 20, #answer:read_all())
        assert.is_true(answer.complete)
      end)
    end)
  end)

  it("is not possible for a child or as a message", function()
    run(function()
      with_server(response "x", function(ask)
        local request = ask()
        request:finish()
        local answer = request:await_response()
        assert.is_nil(answer:fileno())
        assert.is_false((pcall(require "orrery".spawn, "true", {},
          { stdio = { answer } })))
        answer:read_all()
      end)
    end)
  end)
end)

describe("await_response", function()
  it("gives the response, also when it is there", function()
    run(function()
      with_server(response "x", function(ask)
        local request = ask()
        request:on("response", function() end)
        request:finish()
        local answer = request:await_response()
        assert.equal(answer, request:await_response())
        assert.equal(answer, request.response)
        assert.equal("x", answer:read_all())
      end)
    end)
  end)

  it("gives nil, err for what keeps it from coming, and no error event",
    function()
    run(function()
      with_server(function() end, function(ask)
        local request = ask()
        local log = helper.record(request, { "error" })
        request:finish()
        local none, err = request:await_response(10)
        assert.same({ nil, "ETIMEDOUT" }, { none, err.code })
        task.after(1, function() request:destroy() end)
        none, err = request:await_response()
        assert.same({ nil, "ECANCELED" }, { none, err.code })
        none, err = request:await_response()
        assert.same({ nil, "ECANCELED" }, { none, err.code })
        assert.same({}, log)
      end)
      local request <close> = client.request { port = 1, agent = false }
      local none, err = request:await_response()
      assert.same({ nil, "ECONNREFUSED" }, { none, err.code })
    end)
  end)

  it("raises for a second task that waits", function()
    run(function()
      with_server(function() end, function(ask)
        local request = ask()
        task.go(function() request:await_response() end)
        task.sleep(0)
        local ok, err = pcall(function()
          local got = request:await_response()
          return got
        end)
        assert.is_false(ok)
        assert.matches("another task", err)
        request:destroy()
      end)
    end)
  end)
end)
