local helper = require "spec.helper"
local native = require "orrery.http.native"
local vectors = require "spec.fixture.http_vectors"

local MAX_HEAD = 16 * 1024

--- Adds to a list of words what a parser finds in what it was fed. Returns
--- false if that is an error.
local function take_all(parser, words)
  for _ = 1, 1000 do
    local what, value, status = parser:next()
    if not what then return true end
    if what == "body" and words.body == #words then
      words[#words] = words[#words] .. value
    elseif what == "body" then
      words[#words + 1] = value
      words.body = #words
    else
      words[#words + 1] = status or what
    end
    if what == "error" then return false end
    if what == "end" and value then
      words[#words + 1] = table.concat(value, ":")
    end
  end
  error("it goes on and on")
end

--- Feeds a new parser with pieces, and then the end of the connection. Returns
--- what it finds, as vectors.tsv has it.
local function read(type, pieces)
  local parser, words = native.parser(type, MAX_HEAD), {}
  for _, piece in ipairs(pieces) do
    parser:feed(piece)
    if not take_all(parser, words) then return table.concat(words, " ") end
  end
  local what = parser:finish()
  words[#words + 1] = what == "error" and "cut" or what
  local rest = parser:rest()
  if rest ~= "" and what ~= "error" then words[#words + 1] = "+" .. rest end
  return table.concat(words, " ")
end

local function split(bytes)
  local pieces = {}
  for i = 1, #bytes do pieces[i] = bytes:sub(i, i) end
  return pieces
end

--- Feeds a parser with a text and returns it.
local function fed(type, text, max_head)
  local parser = native.parser(type, max_head or MAX_HEAD)
  parser:feed(text)
  return parser
end

--- Takes the bytes from a parser that tells a long head, by finalizers that run
--- meanwhile, and prints whether one was refused, and the head's end.
local FINALIZER = [[
  local native = require "orrery.http.native"
  local parser, refused = native.parser("request", 1 << 20), false
  parser:feed("GET / HTTP/1.1\r\nHost: a\r\n")
  for i = 1, 1000 do parser:feed(("name-%d: value-%d\r\n"):format(i, i)) end
  parser:feed("\r\n")
  local function renew()
    setmetatable({}, { __gc = function()
      refused = not pcall(parser.rest, parser)
      renew()
    end })
  end
  collectgarbage("incremental", 1, 1000, 6)
  renew()
  local what, head = parser:next()
  collectgarbage("stop")
  print(refused, what, head.raw_headers[2002])
]]

describe("a parser of HTTP", function()
  for _, vector in ipairs(vectors.rows()) do
    local type, bytes = vector.type, vector.bytes

    it("reads as " .. vector.wanted .. ": " .. type .. " " .. vector.name,
      function()
      assert.equal(vector.wanted, read(type, { bytes }))
      assert.equal(vector.wanted, read(type, split(bytes)))
      for i = 1, #bytes - 1 do
        assert.equal(vector.wanted,
          read(type, { bytes:sub(1, i), bytes:sub(i + 1) }))
      end
    end)
  end

  it("finds nothing more after an error", function()
    local good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    local parser = fed("request", "GET / HTTP/1.1\r\n\r\n" .. good)

    for _ = 1, 3 do
      assert.same({ "error", "no Host", 400 }, { parser:next() })
      assert.same({ "error", "no Host", 400 }, { parser:finish() })
      parser:feed(good)
    end
    parser:next()
    assert.equal("", parser:rest())
  end)
end)

describe("parser:next", function()
  it("gives the head of a request", function()
    local parser = fed("request", "\r\nPOST /a?b HTTP/1.0\r\nHost:  x \r\n"
      .. "content-Length:3\r\nX:\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n")
    local what, head = parser:next()

    assert.equal("head", what)
    assert.same({ method = "POST", url = "/a?b", http_version = "1.0",
      raw_headers = { "Host", "x", "content-Length", "3", "X", "", "Connection",
        "upgrade", "Upgrade", "y" },
      keep_alive = false, upgrade = false, chunked = false,
      content_length = 3 }, head)
    assert.is_nil(parser:next())
  end)

  it("gives the head of a response", function()
    local _, head = fed("response", "HTTP/1.1 404 Not Found \r\n"
      .. "Transfer-Encoding: chunked\r\nA: b\r\n\r\n"):next()

    assert.same({ status_code = 404, status_message = "Not Found ",
      http_version = "1.1",
      raw_headers = { "Transfer-Encoding", "chunked", "A", "b" },
      keep_alive = true, upgrade = false, chunked = true }, head)
  end)

  it("says that a request asks for an upgrade", function()
    local text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
      .. "Upgrade: x\r\n\r\n"
    local _, head = fed("request", text):next()
    local _, connect = fed("request", "CONNECT a:1 HTTP/1.0\r\n\r\n"):next()

    assert.is_true(head.upgrade and connect.upgrade)
  end)

  it("gives a list of the trailers, if there are any", function()
    local head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    local parser = fed("response", head .. "0\r\nX-Y: z \r\na:\r\n\r\n" .. head
      .. "0\r\n\r\n")
    parser:next()

    assert.same({ "end", { "X-Y", "z", "a", "" } }, { parser:next() })
    parser:next()
    assert.same({ "end" }, { parser:next() })
  end)

  it("gives of a body what is there", function()
    local parser = fed("response",
      "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    parser:next()

    assert.same({ "body", "abc" }, { parser:next() })
    assert.is_nil(parser:next())
    assert.is_nil(parser:next())
    parser:feed("defHTTP")
    assert.same({ "body", "def" }, { parser:next() })
    assert.same({ "end" }, { parser:next() })
    assert.is_nil(parser:next())
    assert.equal("HTTP", parser:rest())
  end)

  it("takes heads of the greatest length, and no longer ones", function()
    local function head(length)
      local text = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n"
      return text:format(("x"):rep(length - #text + 2))
    end

    assert.equal("head", (fed("request", head(200), 200):next()))
    assert.same({ "error", "the head or the trailers are too large", 431 },
      { fed("request", head(201), 200):next() })
    assert.is_nil(fed("request", head(300):sub(1, 200), 200):next())
    assert.equal(431,
      select(3, fed("request", head(300):sub(1, 201), 200):next()))
    assert.equal(431,
      select(3, fed("request", ("\r\n"):rep(101), 200):next()))
  end)

  it("takes trailers of the greatest length, and no longer ones", function()
    local function trailers(length)
      local parser = fed("response", "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
        .. "chunked\r\n\r\n0\r\nX: " .. ("x"):rep(length - 7) .. "\r\n\r\n",
        100)
      parser:next()
      return parser:next()
    end

    assert.equal("end", (trailers(100)))
    assert.equal(431, select(3, trailers(101)))
  end)

  it("takes chunk extensions of 16 KiB, and no longer ones", function()
    local function chunk(length, pieces)
      local parser = fed("response",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      parser:next()
      local line = "1;" .. ("x"):rep(length - 4) .. "\r\n"
      for i = 1, #line, pieces do
        parser:feed(line:sub(i, i + pieces - 1))
        local what, reason, status = parser:next()
        if what then return status, reason end
      end
    end

    for _, pieces in ipairs { 1, 7, 100000 } do
      assert.is_nil(chunk(16 * 1024, pieces))
      assert.same({ 413, "the line of a chunk is too long" },
        { chunk(16 * 1024 + 1, pieces) })
      assert.equal(413, (chunk(16 * 1024 + 2, pieces)))
    end
  end)
end)

describe("parser:feed", function()
  it("takes more behind what is not used", function()
    local parser = native.parser("request", MAX_HEAD)
    local text = "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    local all = {}
    for i = 1, 2000 do all[i] = text:format(i) end
    parser:feed(table.concat(all))

    for i = 1, 2000 do
      local _, head = parser:next()
      assert.equal("/" .. i, head.url)
      assert.equal("end", (parser:next()))
      parser:feed(text:format(2000 + i))
    end
    local _, head = parser:next()
    assert.equal("/2001", head.url)
  end)

  it("raises for what is no string, and without a parser", function()
    local parser = native.parser("request", MAX_HEAD)

    assert.error_matches(function() parser:feed({}) end, "string expected")
    assert.error_matches(function() parser.feed(io.stdout, "") end,
      "orrery%.http_parser expected")
  end)
end)

describe("parser:skip_body", function()
  it("has the message end behind its head", function()
    local answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    local parser = fed("response", answer .. answer .. "hello")

    assert.equal("head", (parser:next()))
    assert.is_true(parser:skip_body())
    assert.equal("end", (parser:next()))
    assert.equal("head", (parser:next()))
    assert.same({ "body", "hello" }, { parser:next() })
  end)

  it("tells whether another message may follow", function()
    local parser = fed("response", "HTTP/1.1 200 OK\r\n\r\n")
    local _, head = parser:next()

    assert.is_false(head.keep_alive)
    assert.is_true(parser:skip_body())
    assert.equal("end", (parser:next()))
  end)

  it("does nothing anywhere else", function()
    local parser = fed("response",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
    parser:next()
    parser:next()
    parser:skip_body()
    parser:feed("b")

    assert.same({ "body", "b" }, { parser:next() })
  end)
end)

describe("parser:no_upgrade", function()
  it("makes an ordinary message of it", function()
    local text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
      .. "Upgrade: x\r\n\r\n"
    local parser = fed("request", text .. text)
    parser:next()
    parser:no_upgrade()

    assert.equal("end", (parser:next()))
    assert.equal("head", (parser:next()))
    assert.equal("end", (parser:next()))
    assert.is_nil(parser:next())
  end)
end)

describe("parser:finish", function()
  it("ends a body that has no length", function()
    local parser = fed("response", "HTTP/1.1 200 OK\r\n\r\nab")
    parser:next()
    parser:next()

    assert.same({ "end" }, { parser:finish() })
    assert.is_nil(parser:finish())
  end)

  it("says that a message was cut off", function()
    local parser = fed("response", "HTTP/1.1 200 OK\r\n")

    assert.is_nil(parser:next())
    assert.same({ "error", "the connection ended inside a message", 400 },
      { parser:finish() })
  end)
end)

describe("a parser", function()
  it("is made for one type of messages, and a length of heads", function()
    assert.error_matches(function() native.parser("both", 1) end,
      "invalid option 'both'")
    for _, max_head in ipairs { 0, -1, 2 ^ 31 } do
      assert.error_matches(function() native.parser("request", max_head) end,
        "not a number of bytes below 2 GiB")
    end
  end)

  it("is not to be touched by a finalizer while it tells", function()
    helper.run(function()
      assert.equal("true\thead\tvalue-1000\n", helper.lua(FINALIZER).stdout)
    end)
  end)
end)
