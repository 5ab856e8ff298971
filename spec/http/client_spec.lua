--- What a client sends, and what it makes of responses. The names behind "http"
--- are those of Node's own tests.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

local OK = response "ok"

describe("http.request", function()
  it("http client-defaults: is a GET of / with Host and Connection", function()
    run(function()
      with_server(OK, function(ask, server)
        local request = ask()
        local answer, body = finish(request)

        assert.same({ 200, "OK", "1.1", "ok" }, { answer.status_code,
          answer.status_message, answer.http_version, body })
        local got = server.requests[1]
        assert.same({ "GET", "/", "" }, { got.method, got.url, got.body })
        assert.same({ "Host", "127.0.0.1:" .. server:address().port,
          "Connection", "keep-alive" }, got.raw_headers)
        assert.same({ "GET", "/" }, { request.method, request.path })
      end)
    end)
  end)

  it("http url.parse-path: asks for the path and the query of its url",
    function()
    run(function()
      with_server(OK, function(_, server, agent, url)
        for _, case in ipairs {
          { "", "/" }, { "?a=1", "/?a=1" }, { "/asdf", "/asdf" },
          { "/a%20b?x=/y&z#fragment", "/a%20b?x=/y&z" },
        } do
          finish(client.request(url .. case[1], { agent = agent }))
          assert.equal(case[2], server.requests[#server.requests].url)
        end
      end)
    end)
  end)

  it("takes a url with options, which count more, or options alone", function()
    run(function()
      with_server(OK, function(_, server, agent, url)
        local port = server:address().port
        finish(client.request(url .. "/a",
          { agent = agent, path = "/b", method = "post" }))
        finish(client.request { host = "nowhere", hostname = "127.0.0.1",
          port = tostring(port), agent = agent, path = "" })

        local first, second = server.requests[1], server.requests[2]
        assert.same({ "POST", "/b" }, { first.method, first.url })
        assert.same({ "GET", "/" }, { second.method, second.url })
      end)
    end)
  end)

  it("runs its callback as a task, which may read", function()
    run(function()
      with_server(OK, function(ask)
        local got
        local request = ask({}, function(answer) got = answer:read_all() end)
        request:finish()
        request:wait_for("close")
        helper.eventually(function() return got end)

        assert.equal("ok", got)
      end)
    end)
  end)

  it("http client-immediate-error: emits error, then close, and no response",
    function()
    run(function()
      local server = fixture.serve(OK)
      local port = server:address().port
      server:close()
      local request = client.request { port = port, host = "127.0.0.1",
        agent = false }
      local log = helper.record(request, { "response", "error", "close" })
      request:finish()
      request:wait_for("close")

      assert.equal("error close", helper.names(log))
      assert.equal("ECONNREFUSED", log[1][2].code)
    end)
  end)

  it("leaves by one write what is said in one go", function()
    run(function()
      local chunks = {}
      local server = require "orrery.net".create_server(function(socket)
        chunks[1] = socket:read()
        socket:finish(OK)
      end)
      server:listen(0, "127.0.0.1")
      local request = client.request { port = server:address().port,
        host = "127.0.0.1", method = "PUT", agent = false }
      assert.is_true(request:write "a")
      request:write "bc"
      finish(request)

      assert.matches("\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n$", chunks[1])
      server:close()
    end)
  end)

  it("prints as what it is, in each of its states", function()
    run(function()
      with_server(OK, function(ask)
        local request = ask { path = "/x" }
        assert.equal("request GET /x: waiting", tostring(request))
        local answer = finish(request)
        assert.equal("request GET /x: answered", tostring(request))
        assert.equal("response 200 OK: complete", tostring(answer))
        request = ask { path = "/x" }
        request:destroy()
        assert.equal("request GET /x: closed", tostring(request))
      end)
    end)
  end)
end)

describe("a request's body", function()
  --- Returns what the server has got of a request that write(request) writes.
  local function sent(opts, write)
    local got
    with_server(OK, function(ask, server)
      local request = ask(opts)
      write(request)
      finish(request)
      got = server.requests[1]
    end)
    return got
  end

  it("http content-length: has one where finish is the only write", function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        request:finish("hello")
      end)
      assert.same({ "hello", "5", nil }, { got.body,
        got.headers["content-length"], got.headers["transfer-encoding"] })
    end)
  end)

  it("http no-content-length: has none in a GET, and 0 in a POST", function()
    run(function()
      for method, length in pairs { GET = false, HEAD = false, DELETE = false,
        OPTIONS = false, POST = "0", PUT = "0", PATCH = "0" } do
        local got = sent({ method = method }, function() end)
        assert.equal(length, got.headers["content-length"] or false, method)
        assert.is_false(got.chunked)
      end
    end)
  end)

  it("http client-upload: goes in chunks where its length is not known",
    function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        request:write("hello ")
        request:write("world")
      end)
      assert.same({ "hello world", "chunked" },
        { got.body, got.headers["transfer-encoding"] })
    end)
  end)

  it("http client-upload-buf: is bytes", function()
    run(function()
      local bytes = ("\0\255\r\n\r\n"):rep(50000)
      assert.equal(bytes, sent({ method = "POST" }, function(request)
        request:write(bytes)
      end).body)
      assert.equal(bytes, sent({ method = "POST" }, function(request)
        request:finish(bytes)
      end).body)
    end)
  end)

  it("http request-method-delete-payload: is framed in any method", function()
    run(function()
      for _, method in ipairs { "DELETE", "GET", "OPTIONS", "HEAD" } do
        local got = sent({ method = method }, function(request)
          request:write("text")
        end)
        assert.same({ "text", "chunked" },
          { got.body, got.headers["transfer-encoding"] })
        got = sent({ method = method }, function(request)
          request:finish("text")
        end)
        assert.same({ "text", "4" },
          { got.body, got.headers["content-length"] })
      end
    end)
  end)

  it("http write-empty-string: is not ended by an empty write", function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        local called = 0
        local function count() called = called + 1 end
        request:write("1", count)
        request:write("", count)
        request:write("2", count)
        request:finish("", count)
        request:wait_for("finish")
        helper.eventually(function() return called == 4 end)
      end)
      assert.equal("12", got.body)
    end)
  end)

  it("http zero-length-write: may be all that there is", function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        request:write("")
      end)
      assert.same({ "", "0" }, { got.body, got.headers["content-length"] })
    end)
  end)

  it("http request-end: has what finish is given, at its end", function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        request:write("hello ")
        request:finish("world")
      end)
      assert.equal("hello world", got.body)
    end)
  end)

  it("http request-end-twice: is finished once", function()
    run(function()
      local calls = {}
      local got = sent({ method = "POST" }, function(request)
        request:finish("a", function(err) calls[#calls + 1] = err or "ok" end)
        request:finish(function(err) calls[#calls + 1] = err or "ok" end)
        request:wait_for("finish")
        request:finish(function(err) calls[#calls + 1] = err or "ok" end)
        helper.eventually(function() return calls[3] end)
      end)
      assert.equal("a", got.body)
      assert.same({ "ok", "ok", "ok" }, calls)
    end)
  end)

  it("http request-large-payload: arrives as a whole, and says drain",
    function()
    run(function()
      local big = ("0123456789abcdef"):rep(1 << 18) -- 4 MiB
      local got = sent({ method = "POST",
        headers = { ["Content-Length"] = 2 * #big } }, function(request)
        assert.is_false(request:write(big))
        request:wait_for("drain")
        request:write(big)
      end)
      assert.equal(2 * #big, #got.body)
    end)
  end)

  it("can be piped from a stream", function()
    run(function()
      local got = sent({ method = "PUT" }, function(request)
        require "orrery.stream".open("Makefile"):pipe(request)
        request:wait_for("finish")
      end)
      local file <close> = io.open("Makefile")
      assert.equal(file:read("a"), got.body)
    end)
  end)

  it("http set-trailers: can have fields behind it", function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        request:write("a")
        request:add_trailers { ["X-Sum"] = 1 }
      end)
      assert.same({ "X-Sum", "1" }, got.trailers)
      got = sent({ method = "POST" }, function(request)
        request:add_trailers { { "A", "b" } }
        request:finish("text")
        assert.is_false((pcall(request.add_trailers, request, { C = "d" })))
      end)
      assert.same({ "text", { "A", "b" } }, { got.body, got.trailers })
    end)
  end)

  it("http outgoing-finish: has finish called and emitted once", function()
    run(function()
      with_server(OK, function(ask)
        local request = ask { method = "POST" }
        local log = helper.record(request, { "finish" })
        local called = 0
        assert.is_true(request.writable)
        request:write(("x"):rep(1000000))
        request:finish("x", function() called = called + 1 end)
        finish(request)
        helper.eventually(function() return request.closed end)
        assert.same({ 1, 1 }, { called, #log })
        assert.is_false(request.writable)
      end)
    end)
  end)

  it("can be awaited with write_wait", function()
    run(function()
      local got = sent({ method = "POST" }, function(request)
        assert.is_true(request:write_wait("abc"))
      end)
      assert.equal("abc", got.body)
    end)
  end)

  it("http content-length-mismatch: ends the request where it does not fit",
    function()
    run(function()
      for _, text in ipairs { "abc", "a" } do
        with_server(OK, function(ask)
          local request = ask { method = "POST",
            headers = { ["Content-Length"] = 2 } }
          local log = helper.record(request, { "error", "close" })
          request:finish(text)
          request:wait_for("close")
          assert.equal("error close", helper.names(log))
          assert.equal("ERR_HTTP_CONTENT_LENGTH_MISMATCH", log[1][2].code)

          local failure
          request = ask { method = "POST",
            headers = { ["Content-Length"] = 2 } }
          request:on("error", function() end)
          request:write("abc", function(err) failure = err end)
          request:wait_for("close")
          assert.equal("ERR_HTTP_CONTENT_LENGTH_MISMATCH", failure.code)
        end)
      end
    end)
  end)

  it("raises where there can be none", function()
    run(function()
      with_server(OK, function(ask)
        for _, request in ipairs { ask { method = "TRACE" },
          ask { method = "CONNECT" }, ask() } do
          if request.method == "GET" then request:flush_headers() end
          for _, write in ipairs { request.write, request.finish } do
            local ok, err = pcall(function() write(request, "a") end)
            assert.is_false(ok)
            assert.matches("^spec/http/client_spec.lua:%d+: ", err)
          end
          request:destroy()
        end
      end)
    end)
  end)

  it("refuses a write behind finish", function()
    run(function()
      with_server(OK, function(ask)
        local request = ask { method = "POST" }
        local failure
        request:finish("a")
        assert.is_false(request:write("b", function(err) failure = err end))
        finish(request)
        assert.equal("ERR_STREAM_WRITE_AFTER_END", failure.code)
      end)
    end)
  end)
end)
