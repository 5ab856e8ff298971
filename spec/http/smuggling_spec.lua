--- Requests that hide another one: who reads them in two ways lets a client put
--- a request into somebody else's connection. All are refused, and what is
--- hidden is never served.

local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"

local head, with = fixture.head, fixture.with
local CHUNKED = fixture.CHUNKED

local HIDDEN = "GET /flag HTTP/1.1\r\nHost: a\r\n\r\n"

--- A handler that reads the body and tells the url.
local function tell(req, res)
  if req:read_all() then res:finish(req.url) end
end

--- Returns a test's function: each of these has one answer, with this status,
--- and then the connection ends. None has a request served that it hides.
local function refused(status, requests)
  return function()
    helper.run(function()
      local server <close>, port = fixture.serve(tell)
      local log = helper.record(server, { "request" })
      for _, bytes in ipairs(requests) do
        local client <close> = fixture.connect(port)
        client:send(bytes .. HIDDEN):finish()
        local answer = client:answer()

        assert.same({ bytes, status, "close" },
          { bytes, answer.status, answer.headers.connection })
        assert.equal("", client:rest())
      end
      for _, entry in ipairs(log) do assert.not_equal("/flag", entry[2].url) end
    end)
  end
end

local function post(...) return head("POST /", ...) end

describe("a request that hides another", function()
  it("http double-content-length, request-smuggling-content-length: is refused "
    .. "if its length is said twice, or badly", refused(400, {
    post("Content-Length: 1", "Content-Length: 2"),
    post("Content-Length: 5", "content-length: 5"),
    post("Content-Length: 1, 1"), post("Content-Length : 1"),
    post("Content-Length: +1"), post("Content-Length: 0x1"),
    post("Content-Length: 1 1"), post("Content-Length:\r\n 1"),
    post("Content-Length: -1"), post("Content-Length:"),
  }))

  it("http server-reject-chunked-with-content-length: is refused if it says a "
    .. "length and that it is chunked", refused(400, {
    post("Content-Length: 4", CHUNKED) .. "0\r\n\r\n",
    post(CHUNKED, "Content-Length: 4") .. "0\r\n\r\n",
    post("Content-Length: 0", CHUNKED),
  }))

  it("http transfer-encoding-smuggling, transfer-encoding-repeated-chunked: is "
    .. "refused if its coding is anything but chunked", refused(400, {
    post("Transfer-Encoding: chunkedchunked"),
    post("Transfer-Encoding: xchunked"),
    post("Transfer-Encoding: chunked, chunked") .. "0\r\n\r\n",
    post(CHUNKED, CHUNKED) .. "0\r\n\r\n",
    post(CHUNKED, "Transfer-Encoding: identity") .. "0\r\n\r\n",
    post("Transfer-Encoding: \vchunked"),
    post("Transfer-Encoding:\r\n chunked"),
    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  }))

  it("http chunked-smuggling: is refused if an extension has a line's end",
    refused(400, {
      post(CHUNKED) .. "2;\n\r\nab\r\n0\r\n\r\n",
      post(CHUNKED) .. "2;a=\nb\r\nab\r\n0\r\n\r\n",
      post(CHUNKED) .. "2;\rx\r\nab\r\n0\r\n\r\n",
      post(CHUNKED) .. "2 \n;\r\nab\r\n0\r\n\r\n",
    }))

  it("http dummy-characters-smuggling, server-reject-cr-no-lf, "
    .. "missing-header-separator-lf: is refused if something else than LF "
    .. "follows CR", refused(400, {
    "GET / HTTP/1.1\r\nHost: a\r\n\rZ\n",
    "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
    "GET / HTTP/1.1\rHost: a\r\n\r\n",
    post(CHUNKED) .. "2\rZab\r\n0\r\n\r\n",
    post(CHUNKED) .. "2\r\nab\rZ0\r\n\r\n",
  }))

  it("http missing-header-separator-cr: is refused if LF has no CR",
    refused(400, {
      "GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n\n",
      post(CHUNKED) .. "2\nab\r\n0\r\n\r\n",
      post(CHUNKED) .. "2\r\nab\n0\r\n\r\n",
      post(CHUNKED) .. "2\r\nab\r\n0\r\nX: y\n\r\n",
    }))

  it("http multi-line-headers: is refused if a header goes on in a second line",
    refused(400, {
      head("GET /", "X: a\r\n b"), head("GET /", "X: a\r\n\tb"),
      "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    }))

  it("http invalid-path-chars: is refused if its url has what none has",
    refused(400, {
      head("GET /\1"), head("GET /\127"), head("GET /a b"), head("GET /\xe4"),
      head("GET /\0"), head("GET /#a"), head("GET "),
    }))

  it("is refused with 505 if it is of another version", refused(505, {
    "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET /\r\n\r\n",
  }))

  it("http request-host-header: is refused if it has not one Host", refused(400,
    {
      "GET / HTTP/1.1\r\n\r\n",
      head("GET /", "Host: b"),
      head("GET /", "Host: a"),
    }))

  it("is served without Host if it is of HTTP/1.0", with(tell,
    function(client)
      assert.equal("/a", client:ask("GET /a HTTP/1.0\r\n\r\n").body)
    end))
end)
