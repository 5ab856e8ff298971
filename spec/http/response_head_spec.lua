--- The head of a response: its status, its headers, and answers before it.

local fixture = require "spec.fixture.http_server"

local with, head = fixture.with, fixture.head
local answering, raised = fixture.answering, fixture.raised
local GET, CLOSE = fixture.GET, fixture.CLOSE

--- Returns the lines of an answer's head whose name this is.
local function lines_of(answer, name)
  local found = {}
  for _, line in ipairs(answer.lines) do
    if line:lower():find(name .. ":", 1, true) == 1 then
      found[#found + 1] = line
    end
  end
  return found
end

describe("response.status_code", function()
  it("http status-code: is what is sent, with the text that goes with it", with(
    function(req, res)
      res.status_code = math.tointeger(tonumber(req.url:sub(2)))
      res:finish("hello")
    end, function(client)
      for status, message in pairs { [200] = "OK", [201] = "Created",
        [301] = "Moved Permanently", [404] = "Not Found", [418] = "Unknown",
        [429] = "Too Many Requests", [500] = "Internal Server Error",
        [511] = "Network Authentication Required", [999] = "Unknown" } do
        local answer = client:ask(head("GET /" .. status))

        assert.same({ status, message, "hello" },
          { answer.status, answer.message, answer.body })
      end
    end))

  it("http response-statuscode: raises unless it is from 100 to 999", answering(
    function(_, res)
      for _, bad in ipairs { 99, 1000, -1, 0, 200.5, "abc", "", {}, true,
        math.huge } do
        raised(function() res.status_code = bad end)
        raised(res.write_head, res, bad)
      end
      raised(res.write_head, res)
      assert(res.status_code == 200 and not res.headers_sent)
      res:finish("hello")
    end, function(answer) assert.equal(200, answer.status) end))

  it("can be set until the head is written", answering(function(_, res)
    res:write("hello")
    local seen = raised(function() res.status_code = 404 end)
    raised(function() res.status_message = "No" end)
    res:finish(seen:match("status_code: the head has been written"))
  end, function(answer)
    assert.same({ 200, "hellostatus_code: the head has been written" },
      { answer.status, answer.body })
  end))
end)

describe("response.status_message", function()
  it("http status-message, response-status-message: is what is sent", with(
    function(req, res)
      if req.url == "/own" then res.status_message = "Custom Message" end
      if req.url == "/head" then res:write_head(404, "Nothing \xe9 here") end
      res:finish(res.status_message)
    end, function(client)
      for url, message in pairs { ["/"] = "OK", ["/own"] = "Custom Message",
        ["/head"] = "Nothing \xe9 here" } do
        local answer = client:ask(head("GET " .. url))

        assert.same({ message, message }, { answer.message, answer.body })
      end
    end))

  it("http status-reason-invalid-chars: raises for control characters",
    answering(function(_, res)
      for _, bad in ipairs { "a\r\nX: y", "a\n", "\0", "a\rb", "\x1b[0m",
        "a\x7f" } do
        raised(function() res.status_message = bad end)
        raised(res.write_head, res, 200, bad)
      end
      res:finish("hello")
    end, function(answer) assert.equal("OK", answer.message) end))
end)

describe("response:set_header", function()
  it("sends a string, a number or a list of strings", answering(
    function(_, res)
      res:set_header("X-One", "a b"):set_header("x-two", 2)
        :set_header("X-List", { "1", "2" }):set_header("X-Empty", "")
      res:finish()
    end, function(answer)
      assert.same({ "a b", "2", "" }, { answer.headers["x-one"],
        answer.headers["x-two"], answer.headers["x-empty"] })
      assert.same({ "X-List: 1", "X-List: 2" }, lines_of(answer, "x-list"))
    end))

  it("http response-multiheaders: sends each of a list as a header of its own",
    answering(function(_, res)
      for _, name in ipairs { "Set-Cookie", "Link", "WWW-Authenticate" } do
        res:set_header(name, { "a=1; b", "c=2" })
      end
      res:finish()
    end, function(answer)
      assert.same({ "Set-Cookie: a=1; b", "Set-Cookie: c=2" },
        lines_of(answer, "set-cookie"))
      assert.equal("a=1; b, c=2", answer.headers.link)
    end))

  it("http mutable-headers: replaces what was set, in any letters", answering(
    function(_, res)
      res:set_header("X-Test", { "1", "2" })
      assert(#res:get_header("x-TEST") == 2)
      res:set_header("x-test", "3")
      assert(res:get_header("X-Test") == "3")
      res:set_header("X-Gone", 1)
      res:remove_header("x-gone")
      res:remove_header("x-never")
      assert(res:get_header("X-Gone") == nil)
      assert(not res.headers_sent)
      res:finish()
    end, function(answer)
      assert.same({ "x-test: 3" }, lines_of(answer, "x-test"))
      assert.is_nil(answer.headers["x-gone"])
    end))

  it("http response-splitting, invalidheaderfield, header-validators: raises "
    .. "for what could end the head", answering(function(_, res)
    for _, value in ipairs { "a\r\nX: y", "a\nb", "a\rb", "a\0b", "\x01",
      "a\x7f", { "fine", "a\r\nb" }, {} , { {} }, true } do
      local ok = pcall(res.set_header, res, "X-Bad", value)
      assert(not ok or (type(value) == "table" and #value == 0))
      raised(res.write_head, res, 200, { ["X-Bad"] = value, ["X-B:"] = "" })
    end
    for _, name in ipairs { "", "X Y", "X:", "X\r\n", "X\0", "\xe9", "(", {},
      5 } do
      raised(res.set_header, res, name, "x")
    end
    raised(res.set_header, res, "X")
    res:remove_header("X-Bad")
    res:finish("hello")
  end, function(answer)
    assert.same({ 200, "hello" }, { answer.status, answer.body })
    assert.same({}, lines_of(answer, "x"))
  end))

  it("http server-non-utf8-header: sends bytes above 127 as they are",
    answering(function(_, res)
      res:set_header("Content-Disposition", "filename=\xe9\xff\xc3\xa9")
      res:finish()
    end, function(answer)
      assert.equal("filename=\xe9\xff\xc3\xa9",
        answer.headers["content-disposition"])
    end))

  it("http response-add-header-after-sent, response-remove-header-after-sent: "
    .. "raises once the head is written", answering(function(_, res)
    res:set_header("X-One", 1)
    res:write("hello")
    assert(res.headers_sent)
    for _, call in ipairs { "set_header", "remove_header", "write_head" } do
      local first = call == "write_head" and 200 or "X"
      local err = raised(res[call], res, first, "")
      assert(err:find(call .. ": the head has been written", 1, true), err)
    end
    assert(res:get_header("x-one") == "1")
    res:finish()
  end, function(answer)
    assert.same({ "hello", "1" }, { answer.body, answer.headers["x-one"] })
  end))

  it("raises for what a message cannot say of its end", answering(
    function(_, res)
      for _, value in ipairs { "abc", "-1", "1 ", "", "0x1", 1.5, { "1", "2" },
        "99999999999999999999" } do
        raised(res.set_header, res, "Content-Length", value)
      end
      raised(res.set_header, res, "Transfer-Encoding", "gzip")
      assert(res:get_header("Content-Length") == nil)
      res:finish("hello")
    end, function(answer)
      assert.same({ "hello", "5" },
        { answer.body, answer.headers["content-length"] })
    end))

  it("http response-multi-content-length: says one length only", answering(
    function(_, res)
      pcall(res.set_header, res, "Content-Length", { "5", "5" })
      res:finish("hello")
    end, function(answer, client)
      assert.same({ "Content-Length: 5" }, lines_of(answer, "content-length"))
      assert.equal("hello", client:ask(GET).body)
    end))

  it("never says both a length and that it is chunked", answering(
    function(_, res)
      res:set_header("Content-Length", 5)
      res:set_header("Transfer-Encoding", "chunked")
      res:finish("hello")
    end, function(answer, client)
      local both = answer.headers["content-length"]
        and answer.headers["transfer-encoding"]

      assert.is_nil(both)
      assert.equal("hello", answer.body)
      assert.equal("hello", client:ask(GET).body)
    end))
end)

describe("response:write_head", function()
  it("http write-head, write-head-2: sends a status, a message and headers",
    with(function(req, res)
      local forms = {
        ["/1"] = { 201 },
        ["/2"] = { 201, { ["X-A"] = 1, ["X-L"] = { "1", "2" } } },
        ["/3"] = { 201, "Made", { "X-A", "1", "X-L", "1", "X-L", "2" } },
        ["/4"] = { 201, "Made" },
      }
      assert(res:write_head(table.unpack(forms[req.url])) == res)
      assert(res.headers_sent)
      raised(res.write_head, res, 200)
      res:finish("hello")
    end, function(client)
      for i = 1, 4 do
        local answer = client:ask(head("GET /" .. i))
        assert.same({ 201, i < 3 and "Created" or "Made", "hello" },
          { answer.status, answer.message, answer.body })
        if i == 2 or i == 3 then
          assert.equal("1", answer.headers["x-a"])
          assert.same({ "X-L: 1", "X-L: 2" }, lines_of(answer, "x-l"))
        end
      end
    end))

  it("http write-head-after-set-header: joins what was set before", answering(
    function(_, res)
      res:set_header("X-A", "set"):set_header("X-B", "set")
      res:write_head(200, { ["x-b"] = "head", ["X-C"] = "head" })
      res:finish()
    end, function(answer)
      assert.same({ "set", "head", "head" }, { answer.headers["x-a"],
        answer.headers["x-b"], answer.headers["x-c"] })
    end))

  it("can be called again after it has raised", answering(function(_, res)
    raised(res.write_head, res, 404, { ["X-Bad"] = "a\r\nb" })
    raised(res.write_head, res, 404, { "X-Odd" })
    raised(res.write_head, res, 404, 5)
    assert(not res.headers_sent)
    res:write_head(201)
    res:finish("hello")
  end, function(answer)
    assert.same({ 201, "hello", nil },
      { answer.status, answer.body, answer.headers["x-bad"] })
  end))
end)

describe("response's header Connection", function()
  it("http remove-connection-header-persists-connection: is not what decides, "
    .. "if it is removed", answering(function(_, res)
    res:remove_header("Connection")
    res:finish("hello")
  end, function(_, client) assert.equal("hello", client:ask(GET).body) end))

  it("ends the connection if it says close", answering(function(_, res)
    res:set_header("Connection", "X-Other, Close")
    res:finish("hello")
  end, function(answer, client)
    assert.same({ "Connection: X-Other, Close" },
      lines_of(answer, "connection"))
    assert.equal("", client:rest())
  end))

  it("is close if the client has asked for that", answering(function(_, res)
    res:finish("hello")
  end, function(answer, client)
    assert.same({ "Connection: close" }, lines_of(answer, "connection"))
    assert.is_nil(answer.headers["keep-alive"])
    assert.equal("", client:rest())
  end, head("GET /", CLOSE)))
end)

describe("response:write_information", function()
  it("http early-hints, information-headers, information-processing: answers "
    .. "before the answer", with(function(req, res)
    assert(res:write_information(102))
    req:wait_for("go")
    assert(res:write_information(103, { Link = { "</a>", "</b>" } }))
    assert(not res.headers_sent)
    res:finish("hello")
  end, function(client, server)
    client:send(GET)
    local req = server:wait_for("request")
    local first = client:head()
    assert.same({ 102, "Processing", {} },
      { first.status, first.message, first.headers })
    req:emit("go")
    local hints = client:head()

    assert.same({ 103, "Early Hints", { link = "</a>, </b>" } },
      { hints.status, hints.message, hints.headers })
    assert.equal("hello", client:answer().body)
  end))

  it("does nothing for HTTP/1.0, which does not know it", answering(
    function(_, res)
      assert(res:write_information(103) == false)
      assert(res:write_continue() == false)
      res:finish("hello")
    end, function(answer) assert.equal(200, answer.status) end,
    "GET / HTTP/1.0\r\n\r\n"))

  it("raises for what cannot come before, and behind the head", answering(
    function(_, res)
      for _, bad in ipairs { 99, 100, 101, 200, "x", {} } do
        raised(res.write_information, res, bad)
      end
      raised(res.write_information, res, 103, { X = "a\r\nb" })
      raised(res.write_information, res, 103, { "X" })
      raised(res.write_information, res, 103, { ["Content-Length"] = 3 })
      raised(res.write_information, res, 103,
        { "transfer-Encoding", "chunked" })
      res:write("hello")
      raised(res.write_information, res, 103)
      res:finish()
    end, function(answer) assert.equal("hello", answer.body) end))
end)
