local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local events = require "orrery.events"
local task = require "orrery.task"

local with, head, post, chunk = fixture.with, fixture.head, fixture.post,
  fixture.chunk
local CHUNKED, GET = fixture.CHUNKED, fixture.GET

--- Returns a handler that answers, and a function that waits for the next
--- request which it has been given.
local function recorder(answer)
  local seen, arrivals = {}, events.new()
  local function handler(req, res)
    seen[#seen + 1] = req
    arrivals:emit("request")
    if answer then answer(req, res) else res:finish() end
  end
  return handler, function()
    if #seen == 0 then arrivals:wait_for("request", 15000) end
    return table.remove(seen, 1)
  end
end

--- Returns a test's function: fn(client, next_request, server).
local function recording(fn, answer, opts)
  local handler, next_request = recorder(answer)
  return with(handler, function(client, server)
    fn(client, next_request, server)
  end, opts)
end

describe("a request", function()
  it("has a method, a url and a version, as they were sent",
    recording(function(client, next_request)
      client:ask(head("DELETE /a%20b?c=d&e"))
      local req = next_request()
      client:ask("GET * HTTP/1.0\r\n\r\n")
      local old = next_request()

      assert.same({ "DELETE", "/a%20b?c=d&e", "1.1" },
        { req.method, req.url, req.http_version })
      assert.same({ "*", "1.0" }, { old.url, old.http_version })
      assert.matches("^request DELETE /a", tostring(req))
    end))

  it("http request-methods: has any method that llhttp knows",
    recording(function(client, next_request)
      for _, method in ipairs { "GET", "HEAD", "POST", "PUT", "DELETE",
        "OPTIONS", "TRACE", "PATCH", "PURGE", "REPORT", "MKACTIVITY",
        "CHECKOUT", "M-SEARCH", "PROPFIND", "SEARCH", "SUBSCRIBE" } do
        assert.equal(200, client:ask(head(method .. " /")).status)
        assert.equal(method, next_request().method)
      end
    end))

  it("http url.parse-path, malformed-request: has its url untouched, whatever "
    .. "it says", recording(function(client, next_request)
    for _, url in ipairs { "/a//b/../c", "/?a=%99&b=%zz", "/%00", "//x",
      "http://x:80/y?z", "/?a=b?c", "/" .. ("x"):rep(10000) } do
      assert.equal(200, client:ask(head("GET " .. url)).status)
      assert.equal(url, next_request().url)
    end
  end))

  it("http raw-headers, multiple-headers: has headers by name, and as they "
    .. "were sent", recording(function(client, next_request)
    client:ask(head("GET /", "X-One: 1", "COOKIE: a=1", "x-one: 2",
      "Cookie: b=2", "Empty:"))
    local req = next_request()

    assert.same({ host = "a", ["x-one"] = "1, 2", cookie = "a=1; b=2",
      empty = "" }, req.headers)
    assert.same({ "Host", "a", "X-One", "1", "COOKIE", "a=1", "x-one", "2",
      "Cookie", "b=2", "Empty", "" }, req.raw_headers)
  end))

  it("http blank-header: has headers without a value",
    recording(function(client, next_request)
      client:ask(head("GET /", "Origin: x", "Cookie:", "X-Blank:  "))

      assert.same({ host = "a", origin = "x", cookie = "", ["x-blank"] = "" },
        next_request().headers)
    end))

  it("http header-owstext: has no blanks around values",
    recording(function(client, next_request)
      client:ask(head("GET /", "A:\t b \t", "C:d", "E:  f g\t h  "))
      local headers = next_request().headers

      assert.same({ "b", "d", "f g\t h" },
        { headers.a, headers.c, headers.e })
    end))

  it("http header-obstext: has bytes above 127 in values as they are",
    recording(function(client, next_request)
      client:ask(head("GET /", "X: \xc3\xa9\xff\x80"))

      assert.equal("\xc3\xa9\xff\x80", next_request().headers.x)
    end))

  it("http rawheaders-limit, max-http-headers: has as many headers as "
    .. "max_header_size allows", recording(function(client, next_request)
    local lines = {}
    for i = 1, 2500 do lines[i] = ("x%d: 1"):format(i) end
    client:ask(head("GET /", table.unpack(lines)))
    local req = next_request()

    assert.equal(2 * 2501, #req.raw_headers)
    assert.equal("1", req.headers.x2500)
  end, nil, { max_header_size = 65536 }))

  it("keeps its headers, url and method when it is over", with(function(req,
    res)
    req.state = { 1 }
    res:finish(req.url)
  end, function(client, server)
    client:send(head("GET /x", "X-Y: z"))
    local req = server:wait_for("request")
    client.socket:destroy()
    fixture.await_count(server, 0)
    collectgarbage()

    assert.same({ "GET", "/x", "z", 1, true }, { req.method, req.url,
      req.headers["x-y"], req.state[1], req.complete })
    assert.equal(req.headers, req.headers)
  end))

  it("knows where its client is, and its connection's end", with(
    function(req, res)
      local socket = req.socket
      assert(socket == res.socket)
      local place = socket:address()
      res:finish(("%s %s %s %d %s %d"):format(socket.remote_family,
        socket.remote_address, socket.local_address, socket.remote_port,
        place.address, place.port))
    end, function(client, server, port)
      local log = helper.record(server, { "request" })
      local answer = client:ask(GET).body
      client:ask(GET)
      local socket = log[1][2].socket
      assert.equal(("4 127.0.0.1 127.0.0.1 %d 127.0.0.1 %d"):format(
        client.socket.local_port, port), answer)
      assert.equal(socket, log[2][2].socket)
      assert.is_true(socket:fileno() > 2)
      client.socket:destroy()
      socket:wait_for("close")

      assert.is_true(socket.closed)
      assert.is_nil(socket:address())
      assert.is_nil(socket:fileno())
      assert.matches("closed$", tostring(socket))
    end))
end)

describe("request.socket", function()
  it("knows where its client is behind the answer, too", with(
    function(req, res)
      res:finish("hello")
      req.place = req.socket.remote_port
    end, function(client, server)
      local log = helper.record(server, { "request" })
      client:ask(GET)

      assert.equal(client.socket.local_port, log[1][2].place)
    end))
end)

describe("a request's body", function()
  it("is read as a whole, in whatever pieces it comes", with(fixture.echo,
    function(client)
      assert.equal("hello", client:ask(post("hello")).body)
      assert.equal("", client:ask(post("")).body)
      assert.equal("", client:ask(GET).body)
      local whole = head("POST /", CHUNKED) .. chunk("hel") .. chunk("lo")
        .. "0\r\n\r\n"
      for i = 1, #whole do
        client:send(whole:sub(i, i))
        task.sleep(0)
      end
      assert.equal("hello", client:answer().body)
    end))

  it("http chunked: is read whatever its chunks and their extensions are", with(
    fixture.echo, function(client)
      local text = ("t\xc3\xa9xt"):rep(20000)
      local chunks = {}
      for i = 1, #text, 7919 do
        chunks[#chunks + 1] = chunk(text:sub(i, i + 7918))
      end
      chunks[1] = chunks[1]:gsub("\r\n", ';a=b;c="d e"\r\n', 1)
      client:send(head("POST /", CHUNKED) .. table.concat(chunks)
        .. "0;last\r\n\r\n")

      assert.equal(text, client:answer().body)
    end))

  it("is read bit by bit, and as lines", with(function(req, res)
    local seen = { req:read_exactly(2), req:read(1) }
    for line in req:lines() do seen[#seen + 1] = line end
    seen[#seen + 1] = tostring(req:read())
    res:finish(table.concat(seen, "|"))
  end, function(client)
    client:send(head("POST /", "Content-Length: 9") .. "ab")
    task.sleep(0)
    client:send("cd\nef\ng")

    assert.equal("ab|c|d|ef|g|nil", client:answer().body)
  end))

  it("is emitted as data and end", with(function(req, res)
    local seen = {}
    req:on("data", function(data) seen[#seen + 1] = data end)
    req:on("end", function()
      seen[#seen + 1] = "end"
      res:finish(table.concat(seen))
    end)
  end, function(client)
    assert.equal("helloend", client:ask(post("hello")).body)
    assert.equal("end", client:ask(GET).body)
  end))

  it("holds its client up where nobody reads it", with(function(req, res)
    if req.url == "/count" then return res:finish() end
    req:wait_for("continue_")
    res:finish(tostring(#req:read_all()))
  end, function(client, server)
    local requests = helper.record(server, { "request" })
    local size = 64 << 20
    client:send(head("POST /", "Content-Length: " .. size))
    local piece, written = ("x"):rep(1 << 20), 0
    while written < size and client.socket:write(piece) do
      written = written + #piece
      task.sleep(0)
    end
    assert.is_true(written < size)

    for _ = written + 2 * #piece, size, #piece do client:send(piece) end
    requests[1][2]:emit("continue_")
    assert.equal(tostring(size), client:answer().body)
  end))

  it("http pause, pause-no-dump: stays where it is while it is paused", with(
    function(req, res)
      req:on("data", function(data) req.seen = (req.seen or "") .. data end)
      req:pause()
      for _ = 1, 5 do task.sleep(0) end
      local early = req.seen
      req:resume()
      req:wait_for("end")
      res:finish(tostring(early) .. req.seen)
    end, function(client)
      assert.equal("nilhello", client:ask(post("hello")).body)
      assert.equal("nilbye", client:ask(post("bye")).body)
    end))

  it("http pause-resume-one-end: ends once", with(function(req, res)
    local ends = 0
    req:on("end", function() ends = ends + 1 end)
    for _ = 1, 3 do
      req:pause()
      req:resume()
      task.sleep(0)
    end
    req:resume()
    task.sleep(0)
    res:finish(tostring(ends))
  end, function(client)
    assert.equal("1", client:ask(post("hello")).body)
  end))

  it("http no-read-no-dump, dump-req-when-res-ends: is done with if the answer "
    .. "comes without it", with(function(req, res)
    res:finish(req.url)
  end, function(client)
    for i = 1, 3 do
      client:send(post(("x"):rep(100000 * i)) .. head("GET /next"))
      assert.equal("/", client:answer().body)
      local second = client:answer()
      if not second then return end -- the answer was before the body's end
      assert.equal("/next", second.body)
    end
  end))

  it("can be read after the answer if it has come", with(function(req, res)
    res:finish("early")
    task.sleep(0)
    req.late = req:read_all()
  end, function(client, server)
    local log = helper.record(server, { "request" })
    assert.equal("early", client:ask(post("hello")).body)

    helper.eventually(function() return log[1][2].late end)
    assert.equal("hello", log[1][2].late)
  end))

  it("can be read while the answer is written", with(function(req, res)
    while true do
      local piece = req:read()
      if not piece then break end
      res:write_wait(piece)
    end
    res:finish()
  end, function(client)
    local text = ("0123456789"):rep(100000)
    assert.equal(text, client:ask(post(text)).body)
    assert.equal("x", client:ask(post("x")).body)
  end))

  it("may be read by one task only", with(function(req, res)
    local reading = task.go(function() return req:read_all() end)
    task.sleep(0)
    local ok, err = pcall(req.read_all, req)
    res:finish(("%s %s %s"):format(reading:join(), ok,
      tostring(err):match("another task")))
  end, function(client)
    client:send(head("POST /", "Content-Length: 4") .. "ab")
    task.sleep(0)
    task.sleep(0)
    client:send("cd")

    assert.equal("abcd false another task", client:answer().body)
  end))

  it("has a time for a read", with(function(req, res)
    local none, err = req:read(nil, 5)
    req.has_waited = true
    res:finish(("%s %s %s"):format(none, err.code, req:read_all()))
  end, function(client, server)
    client:send(head("POST /", "Content-Length: 4"))
    local req = server:wait_for("request")
    helper.eventually(function() return req.has_waited end)
    client:send("abcd")

    assert.equal("nil ETIMEDOUT abcd", client:answer().body)
  end))
end)

describe("request.trailers", function()
  it("are there once all is read, and raw ones, too",
    recording(function(client, next_request)
      client:send(head("POST /", CHUNKED, "Trailer: X-Sum") .. chunk("ab")
        .. "0\r\nX-Sum: 12\r\nx-b: \r\nX-Sum: 3\r\n\r\n"):answer()
      local req = next_request()

      assert.same({ ["x-sum"] = "12, 3", ["x-b"] = "" }, req.trailers)
      assert.same({ "X-Sum", "12", "x-b", "", "X-Sum", "3" }, req.raw_trailers)
      assert.is_nil(req.headers["x-sum"])
    end, fixture.echo))

  it("are empty where there are none", recording(function(client, next_request)
    client:ask(GET)
    local req = next_request()

    assert.same({ {}, {} }, { req.trailers, req.raw_trailers })
  end))
end)

describe("request:destroy", function()
  it("cuts the connection, with what waits for it", with(function(req, res)
    if req.url == "/2" then return req:destroy() end
    res.log = helper.record(res, { "close", "finish" })
    task.sleep(0)
  end, function(client, server)
    local log = helper.record(server, { "request" })
    client:send(head("GET /1") .. head("GET /2"))
    client:rest()

    helper.eventually(function() return #log == 2 end)
    assert.is_true(log[1][2].aborted)
    assert.equal("close", helper.names(log[1][3].log))
    fixture.await_count(server, 0)
  end))

  it("ends the wait of who reads, with its error", with(function(req)
    local waiting = task.go(function() return req:read() end)
    task.sleep(0)
    req:destroy(require "orrery.runtime.errors".new("EIO", "a fault"))
    req.got = { waiting:join() }
  end, function(client, server)
    client:send(head("POST /", "Content-Length: 5"))
    local req = server:wait_for("request")
    client:rest()
    helper.eventually(function() return req.got end)

    assert.equal("EIO", req.got[2].code)
  end))
end)
