local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local source = require "spec.fixture.source"
local stream = require "orrery.stream"

local with, head = fixture.with, fixture.head
local answering, raised = fixture.answering, fixture.raised
local GET, CLOSE = fixture.GET, fixture.CLOSE
local OLD = "GET / HTTP/1.0\r\n\r\n"

describe("response:finish", function()
  it("http content-length, automatic-headers: says the length, and the date",
    answering(function(_, res) res:finish("hello") end, function(answer, client)
      assert.same({ 200, "OK", "hello" },
        { answer.status, answer.message, answer.body })
      assert.same({ "5", nil }, { answer.headers["content-length"],
        answer.headers["transfer-encoding"] })
      assert.same({ "keep-alive", "timeout=75" },
        { answer.headers.connection, answer.headers["keep-alive"] })
      assert.equal("hello", client:ask(GET).body)
    end))

  it("http contentLength0: says that there is nothing",
    answering(function(_, res) res:finish() end, function(answer)
      assert.same({ "0", "" },
        { answer.headers["content-length"], answer.body })
    end))

  it("http date-header: has the date as RFC 9110 writes it, or another",
    with(function(req, res)
      if req.url == "/own" then res:set_header("date", "then") end
      res:finish()
    end, function(client)
      local earliest = os.time()
      local date = client:ask(GET).headers.date
      local latest = os.time()

      assert.matches("^%u%l%l, %d%d %u%l%l %d%d%d%d %d%d:%d%d:%d%d GMT$", date)
      local near = false
      for at = earliest - 1, latest do
        near = near or os.date("!%a, %d %b %Y %H:%M:%S GMT", at) == date
      end
      assert.is_true(near)
      assert.equal("then", client:ask(head("GET /own")).headers.date)
    end))

  it("http outgoing-end-multiple, res-write-after-end, server-write-after-end: "
    .. "is refused behind another one, as a write is", with(function(_, res)
    res.codes = {}
    local function note(err)
      table.insert(res.codes, err and err.code or "sent")
    end
    res:on("error", note)
    res:write("a", note)
    res:finish("b", note)
    res:finish(note)
    res.result = res:write("c", note)
  end, function(client, server)
    client:send(GET)
    local _, res = server:wait_for("request")
    assert.equal("ab", client:answer().body)
    helper.eventually(function() return #res.codes == 6 end)
    table.sort(res.codes)

    assert.is_false(res.result)
    assert.equal("sent sent", table.concat(res.codes, " ", 5))
    for i = 1, 4 do
      assert.equal("ERR_STREAM_WRITE_AFTER_END", res.codes[i])
    end
    assert.equal("ab", client:ask(GET).body)
  end))

  it("http outgoing-finish, response-close: has finish and close emitted once "
    .. "all is with the kernel", with(function(_, res)
    res.log = helper.record(res, { "finish", "close", "drain", "error" })
    res:finish(("x"):rep(10 << 20))
    res.early = #res.log
  end, function(client, server)
    client:send(GET)
    local _, res = server:wait_for("request")
    assert.equal(10 << 20, #client:answer().body)
    helper.eventually(function() return #res.log >= 2 end)

    assert.equal(0, res.early)
    assert.equal("finish close", helper.names(res.log))
    assert.is_true(res.closed)
  end))

  it("has close emitted, and no finish, if the client goes", with(
    function(_, res)
      res.log = helper.record(res, { "finish", "close", "error" })
      res:write(("x"):rep(10 << 20), function(err) res.err = err end)
    end, function(client, server)
      client:send(GET)
      local _, res = server:wait_for("request")
      client:reset()
      helper.eventually(function() return res.err and #res.log > 0 end)

      assert.same({ "ECONNRESET", "close" },
        { res.err.code, helper.names(res.log) })
    end))

  it("http outgoing-finish-writable: leaves nothing to be written", answering(
    function(_, res)
      local before = { res.writable, res.finished, res.headers_sent }
      res:finish("hello")
      res.req.seen = before
      local after = { res.writable, res.finished, res.headers_sent }
      assert(table.concat({ tostring(before[1]), tostring(before[2]),
        tostring(before[3]), tostring(after[1]), tostring(after[2]),
        tostring(after[3]) }, " ") == "true false false false true true")
    end, function(answer) assert.equal("hello", answer.body) end))

  it("http content-length-mismatch: raises if the head says another length",
    with(function(req, res)
      res:set_header("Content-Length", 5)
      local short, long = { "hell", "" }, { "hello!", "hello world" }
      for _, text in ipairs(req.url == "/short" and short or long) do
        raised(res.finish, res, text)
      end
      res:finish("hello")
    end, function(client)
      for _, url in ipairs { "/short", "/long" } do
        local answer = client:ask(head("GET " .. url))

        assert.same({ "hello", "5" },
          { answer.body, answer.headers["content-length"] })
      end
    end))

  it("takes what was written before it and behind it in order", answering(
    function(_, res)
      for i = 1, 200 do res:write(i .. ",") end
      res:finish("end")
    end, function(answer)
      local expected = {}
      for i = 1, 200 do expected[i] = i .. "," end
      assert.equal(table.concat(expected) .. "end", answer.body)
    end))

  it("raises for what is no text", answering(function(_, res)
    for _, bad in ipairs { {}, true } do
      raised(res.finish, res, bad)
      raised(res.write, res, bad)
    end
    raised(res.write, res, "x", "no function")
    raised(res.finish, res, "x", "no function")
    res:finish("hello")
  end, function(answer)
    assert.same({ "hello", "5" },
      { answer.body, answer.headers["content-length"] })
  end))
end)

describe("response:write", function()
  it("sends a body that is chunked", answering(function(_, res)
    res:write("hel")
    res:write("lo")
    res:finish(" world")
  end, function(answer, client)
    assert.same({ "chunked", nil }, { answer.headers["transfer-encoding"],
      answer.headers["content-length"] })
    assert.equal("hello world", answer.body)
    assert.same({ 3, 2, 6 }, answer.chunks)
    assert.equal("hello world", client:ask(GET).body)
  end))

  it("sends a body whose length is known as it is", answering(function(_, res)
    res:set_header("Content-Length", "5")
    res:write("hel")
    res:write("lo")
    res:finish()
  end, function(answer, client)
    assert.is_nil(answer.headers["transfer-encoding"])
    assert.equal("hello", answer.body)
    assert.equal("hello", client:ask(GET).body)
  end))

  it("raises for more than Content-Length says", answering(function(_, res)
    res:set_header("Content-Length", "5")
    res:write("hel")
    raised(res.write, res, "lo!")
    res:finish("lo")
  end, function(answer, client)
    assert.equal("hello", answer.body)
    assert.equal("hello", client:ask(GET).body)
  end))

  it("http zero-length-write, write-empty-string: sends no chunk for nothing, "
    .. "which would be the end", answering(function(_, res)
    for _, text in ipairs { "", "a", "", "b", "" } do res:write(text) end
    res:finish("")
  end, function(answer)
    assert.same({ "ab", { 1, 1 } }, { answer.body, answer.chunks })
  end))

  it("sends the head with the first of the body, at once", with(
    function(req, res)
      res:write("one")
      req:wait_for("go")
      res:finish("two")
    end, function(client, server)
      client:send(GET)
      local req = server:wait_for("request")
      assert.equal(200, client:head().status)
      assert.equal("3", client:line())
      assert.equal("one\r\n", client:bytes(5))
      req:emit("go")

      assert.equal("3\r\ntwo\r\n0\r\n\r\n", client:bytes(13))
    end))

  it("is false when too much waits, and drain follows", with(function(req, res)
    local piece, count = ("x"):rep(65536), 0
    while res:write(piece) do count = count + 1 end
    req.full = count
    res:wait_for("drain")
    res:finish("end")
  end, function(client, server)
    client:send(GET)
    local req = server:wait_for("request")
    helper.eventually(function() return req.full end)
    local size = (req.full + 1) * 65536 + 3

    assert.equal(size, #client:answer().body)
    assert.equal("end", client:ask(GET).body:sub(-3))
  end))

  it("takes its time with write_wait", with(function(_, res)
    for _ = 1, 64 do assert(res:write_wait(("x"):rep(1 << 20))) end
    res:finish()
  end, function(client)
    client:send(GET):head()
    local size = 0
    for _ = 1, 64 do
      size = tonumber(client:line(), 16) + size
      client:bytes(1 << 20)
      client:line()
    end

    assert.equal(64 << 20, size)
  end))

  it("goes on to the end of the connection for HTTP/1.0", answering(
    function(_, res)
      res:write("hel")
      res:finish("lo")
    end, function(answer, client)
      assert.same({ nil, nil, "close", "hello" }, {
        answer.headers["content-length"], answer.headers["transfer-encoding"],
        answer.headers.connection, answer.body })
      assert.equal("", client:rest())
    end, OLD))
end)

describe("a response as a stream", function()
  local PATH = "spec/http/response_spec.lua"

  it("takes what another one pipes into it", answering(function(_, res)
    stream.open(PATH):pipe(res)
    res:wait_for("finish")
  end, function(answer, client)
    assert.equal(source.read(PATH), answer.body)
    assert.equal(source.read(PATH), client:ask(GET).body)
  end))

  it("takes its request, piped, as fast as its client reads", with(
    function(req, res)
      req:pipe(res)
      res:wait_for("finish")
    end, function(client)
      local text = ("0123456789"):rep(300000)
      client:send(head("POST /", "Content-Length: " .. #text) .. text)

      assert.equal(text, client:answer().body)
    end))

  it("ends what is piped into it when its client goes", with(function(_, res)
    res.source = stream.open("/dev/zero")
    res.source:pipe(res)
    res:wait_for("close")
    res.source:destroy()
    res.is_over = true
  end, function(client, server)
    client:send(GET)
    local _, res = server:wait_for("request")
    client:head()
    client:reset()
    helper.eventually(function() return res.is_over end)

    fixture.await_count(server, 0)
  end))
end)

describe("a response without a body", function()
  local BARE = { ["/204"] = 204, ["/304"] = 304 }

  --- Answers by body in each way, with the status that the url says.
  local function bodies(req, res)
    res.status_code = BARE[req.url:match("/%d+")] or 200
    if req.url:find("chunked") then
      res:set_header("Transfer-Encoding", "chunked")
    end
    if req.url:find("write") then
      res:write("hel")
      res:write("lo")
      return res:finish()
    end
    res:finish("hello")
  end

  it("http head-request, head-response-has-no-body, "
    .. "head-response-has-no-body-end, "
    .. "head-response-has-no-body-end-implicit-headers: has the headers that "
    .. "GET has, for HEAD", with(bodies, function(client)
    for _, url in ipairs { "/finish", "/write", "/chunked" } do
      local got = client:ask(head("GET " .. url))
      local answer = client:ask(head("HEAD " .. url))
      got.headers.date, answer.headers.date = nil, nil

      assert.same(got.headers, answer.headers)
      assert.same({ "", "hello" }, { answer.body, got.body })
    end
    client:send(head("HEAD /", CLOSE))
    assert.equal("5", client:answer("HEAD").headers["content-length"])
    assert.equal("", client:rest())
  end))

  it("http head-throw-on-response-body-write: drops the body, and raises "
    .. "nothing", with(function(_, res)
    res:set_header("Content-Length", 1234)
    assert(res:write("hello"))
    res:finish("more")
  end, function(client)
    local answer = client:ask(head("HEAD /"))

    assert.same({ 200, "1234" },
      { answer.status, answer.headers["content-length"] })
    assert.equal(200, client:ask(head("HEAD /")).status)
  end))

  it("http chunked-304, allow-req-after-204-res: is none for 204 and 304, and "
    .. "the connection goes on", with(bodies, function(client)
    for url, status in pairs(BARE) do
      for _, way in ipairs { "", "/write", "/chunked" } do
        local answer = client:ask(head("GET " .. url .. way))

        assert.same({ status, "", nil }, { answer.status, answer.body,
          answer.headers["transfer-encoding"] })
      end
    end
    assert.equal("hello", client:ask(GET).body)
  end))

  it("http allow-content-length-304: may say the length for 304, not for 204",
    with(function(req, res)
      res.status_code = BARE[req.url]
      res:set_header("Content-Length", 10)
      res:finish()
    end, function(client)
      assert.equal("10",
        client:ask(head("GET /304")).headers["content-length"])
      local answer = client:ask(head("GET /204"))
      assert.is_nil(answer.headers["content-length"])
      assert.equal(204, answer.status)
      assert.equal(304, client:ask(head("GET /304")).status)
    end))

  it("http no-content-length: ends with the connection if HTTP/1.0 asks for it",
    answering(function(_, res)
      res:write("")
      res:finish()
    end, function(answer, client)
      assert.equal("", answer.body)
      assert.equal("", client:rest())
    end, OLD))
end)

describe("response:add_trailers", function()
  local function trailing(_, res)
    res:set_header("Trailer", "X-Sum")
    res:write("hello")
    res:add_trailers { ["X-Sum"] = { "1", "2" } }
    res:add_trailers { "X-Two", 2 }
    res:finish()
  end

  it("http set-trailers: sends them behind a chunked body", answering(trailing,
    function(answer, client)
      assert.same({ "hello", { ["x-sum"] = "1, 2", ["x-two"] = "2" }, "X-Sum" },
        { answer.body, answer.trailers, answer.headers.trailer })
      assert.equal("hello", client:ask(GET).body)
    end))

  it("has the body chunked if nothing was written before", answering(
    function(_, res)
      res:add_trailers { A = "b" }
      res:finish("hello")
    end, function(answer)
      assert.same({ "hello", { a = "b" } }, { answer.body, answer.trailers })
    end))

  it("http server-de-chunked-trailer: drops them for HTTP/1.0", answering(
    trailing, function(answer)
      assert.same({ "hello", nil },
        { answer.body, answer.headers["transfer-encoding"] })
    end, OLD))

  it("drops them where the length is known", answering(function(_, res)
    res:set_header("Content-Length", 5)
    res:add_trailers { A = "b" }
    res:finish("hello")
  end, function(answer, client)
    assert.equal("hello", answer.body)
    assert.equal("hello", client:ask(GET).body)
  end))

  it("raises for what cannot be one", answering(function(_, res)
    local bad = { { ["Content-Length"] = 5 }, { ["transfer-encoding"] = "x" },
      { Host = "a" }, { Trailer = "x" }, { ["A\n"] = "b" }, { A = "b\r\nC: d" },
      { A = {} , [1] = 5 }, { A = true }, 5 }
    for _, trailers in ipairs(bad) do
      raised(res.add_trailers, res, trailers)
    end
    res:finish("hello")
  end, function(answer)
    assert.same({ "hello", nil }, { answer.body, answer.trailers })
  end))
end)
