local helper = require "spec.helper"
local client = require "orrery.http.client"
local fixture = require "spec.fixture.http"
local task = require "orrery.task"

local run = helper.run
local with_server, response = fixture.with_server, fixture.response
local fetch = client.fetch

describe("http.fetch", function()
  it("gives status, headers and body", function()
    run(function()
      with_server(response("hello", "X-A: b\r\n"),
        function(_, server, agent, url)
          assert.same({ status = 200, body = "hello",
            headers = { ["x-a"] = "b", ["content-length"] = "5" } },
            fetch(url .. "/x", { agent = agent }))
          assert.same({ "GET", "/x" },
            { server.requests[1].method, server.requests[1].url })
        end)
    end)
  end)

  it("sends a method, headers and a body", function()
    run(function()
      with_server(response "ok", function(_, server, agent, url)
        fetch(url, { method = "PUT", headers = { ["X-A"] = 1 },
          body = "hello", agent = agent })
        local got = server.requests[1]
        assert.same({ "PUT", "1", "5", "hello" }, { got.method,
          got.headers["x-a"], got.headers["content-length"], got.body })
      end)
    end)
  end)

  it("gives what a server says of failures and other places", function()
    run(function()
      local there = "HTTP/1.1 302 Found\r\nLocation: /there\r\n"
        .. "Content-Length: 4\r\n\r\nmove"
      with_server(there, function(_, server, agent, url)
        local answer = fetch(url, { agent = agent })
        assert.same({ 302, "/there", "move", 1 }, { answer.status,
          answer.headers.location, answer.body, #server.requests })
      end)
      with_server("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        function(_, _, agent, url)
          assert.equal(500, fetch(url, { agent = agent }).status)
        end)
    end)
  end)

  it("gives nil, err where there is no whole response", function()
    run(function()
      local function code_of(bytes)
        local code
        with_server(function(socket) socket:finish(bytes) end,
          function(_, _, agent, url)
            local none, err = fetch(url, { agent = agent })
            assert.is_nil(none)
            code = err.code
          end)
        return code
      end
      assert.equal("ECONNRESET", code_of "")
      assert.equal("EPROTO", code_of "no http at all\r\n")
      assert.equal("ECONNRESET",
        code_of "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
      assert.equal("EPROTO", code_of
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfish\r\n")
      local none, err = fetch("http://127.0.0.1:1/", { agent = false })
      assert.same({ nil, "ECONNREFUSED" }, { none, err.code })
    end)
  end)

  it("ends the request once its time is over, whatever comes", function()
    run(function()
      for head, more in pairs {
        ["HTTP/1.1 200 "] = "K",
        ["HTTP/1.1 200 OK\r\n\r\n"] = "body",
        ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] =
          "1\r\na\r\n",
      } do
        with_server(function(socket)
          socket:write(head)
          while not socket.ended and socket:write(more) do task.sleep(1) end
        end, function(_, _, agent, url)
          local none, err = fetch(url, { agent = agent, timeout = 20 })
          assert.same({ nil, "ETIMEDOUT" }, { none, err.code })
          assert.equal(0, agent.sockets)
        end)
      end
      with_server(function() end, function(_, _, agent, url)
        local _, err = fetch(url, { agent = agent, timeout = 5 })
        assert.equal("ETIMEDOUT", err.code)
        assert.equal(0, agent.sockets)
      end)
    end)
  end)

  it("takes no more than max_buffer", function()
    run(function()
      for _, bytes in ipairs { response "12345",
        "HTTP/1.0 200 OK\r\n\r\n12345" } do
        with_server(function(socket) socket:finish(bytes) end,
          function(_, _, agent, url)
            local none, err = fetch(url, { agent = agent, max_buffer = 4 })
            assert.same({ nil, "ERR_HTTP_MAX_BUFFER" }, { none, err.code })
            local answer = fetch(url, { agent = agent, max_buffer = 5 })
            assert.equal("12345", answer.body)
            answer = fetch(url, { agent = agent, max_buffer = math.huge })
            assert.equal("12345", answer.body)
          end)
      end
    end)
  end)

  it("ends the request with its task", function()
    run(function()
      with_server(function() end, function(_, server, agent, url)
        local fetching = task.go(fetch, url, { agent = agent })
        helper.eventually(function() return #server.requests == 1 end)
        fetching:cancel()
        fetching:join()
        assert.equal("cancelled", fetching.status)
        assert.equal(0, agent.sockets)
      end)
    end)
  end)

  it("raises for arguments that are not good", function()
    run(function()
      for word, arguments in pairs {
        TLS = { "https://localhost/" },
        ["'body'"] = { "http://a/", { body = {} } },
        ["'max_buffer'"] = { "http://a/", { max_buffer = -1 } },
        ["'timeout'"] = { "http://a/", { timeout = "1" } },
        ["unknown option"] = { "http://a/", { data = "x" } },
        ["has no body"] = { "http://a/", { method = "TRACE", body = "x" } },
      } do
        local ok, err = pcall(function()
          local result = fetch(table.unpack(arguments))
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/http/fetch_spec.lua:%d+: ", err)
        assert.matches(word, err, 1, true)
      end
    end)
  end)

  it("cannot be called where nothing may wait", function()
    local ok, err = pcall(coroutine.wrap(function() fetch("http://a/") end))
    assert.is_false(ok)
    assert.matches("fetch waits", err)
  end)
end)
