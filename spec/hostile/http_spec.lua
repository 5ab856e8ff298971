--- What a hostile client may try with an HTTP server: requests that others read
--- differently, and what costs it nothing and a careless server much.

local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"
local http = require "orrery.http"
local orrery = require "orrery"
local socket_path = require "spec.fixture.net".socket_path
local task = require "orrery.task"
local vectors = require "spec.fixture.http_vectors"

local run = helper.run
local head, connect, serve, with = fixture.head, fixture.connect,
  fixture.serve, fixture.with
local GET, CHUNKED = fixture.GET, fixture.CHUNKED

local TIME = 120000 -- ms, for what takes some under a sanitizer

local function hello(_, res) res:finish("hello") end

-- Vectors ---------------------------------------------------------------------

local NEXT = head("GET /next")

--- Returns what a server is to answer where a parser finds this: for each
--- message its status, behind 200 the body; and whether it refuses one.
local function wanted_answers(wanted)
  local answers, body, refuses = {}, "", false
  for word in wanted:gmatch("[^ ]+") do
    local status = tonumber(word:match("^[45]%d%d$"))
    if word == "head" then
      body = nil
    elseif word == "end" then
      answers[#answers + 1], body = "200 " .. (body or ""), ""
    elseif status then
      answers[#answers + 1], refuses = word, true
    elseif not body then
      body = word
    end
  end
  return answers, refuses
end

--- Returns the vectors of requests, but for those of other protocols, with what
--- is to be sent: behind what is refused comes a request that is good.
local function cases()
  local list = {}
  for _, row in ipairs(vectors.rows()) do
    if row.type == "request" and not row.wanted:find("+", 1, true) then
      local answers, refuses = wanted_answers(row.wanted)
      list[#list + 1] = { name = row.name, answers = answers,
        bytes = row.bytes, behind = refuses and NEXT or "" }
    end
  end
  return list
end

--- Returns the answers up to the end of the connection. [w]
local function answers_of(client)
  local answers = {}
  for answer in function() return client:answer() end do
    local good = answer.status == 200
    assert(good or answer.headers.connection == "close", "it is kept")
    answers[#answers + 1] = good and "200 " .. answer.body
      or tostring(answer.status)
  end
  return answers
end

--- Sends pieces, each of which the server reads for itself, then the end of the
--- connection, and returns the answers. They are read meanwhile, since what is
--- sent to who has closed ends a socket. [w]
local function play(place, pieces)
  local client <close> = connect(place)
  client.socket:on("error", function() end)
  local reading = task.go(answers_of, client)
  for _, piece in ipairs(pieces) do
    client:send(piece)
    task.sleep(0) -- the server reads it
    task.sleep(0) -- the client reads what is answered
  end
  client:finish()
  return assert(reading:join())
end

--- Runs fn(case, place) for all cases at once, with a server that reads
--- the bodies, and answers them. Returns how many requests followed one that
--- was refused.
local function each_case(fn, place)
  local next_ones = 0
  local server <close> = http.create_server(function(req, res)
    if req.url == "/next" then next_ones = next_ones + 1 end
    fixture.echo(req, res)
  end)
  assert(server:listen(place or { port = 0, host = "127.0.0.1" }))
  place = place or server:address().port
  local tasks = {}
  for i, case in ipairs(cases()) do
    tasks[i] = function() fn(case, place) end
  end
  task.all(tasks)
  fixture.await_count(server, 0)
  return next_ones
end

local function assert_answers(case, answers, note)
  assert.same({ case.name, note, case.answers }, { case.name, note, answers })
end

describe("a request of vectors.tsv", function()
  it("is answered as it is to be, and what follows a bad one is none",
    function()
    run(function()
      assert.equal(0, each_case(function(case, port)
        assert_answers(case, play(port, { case.bytes .. case.behind }))
      end))
    end, TIME)
  end)

  it("is answered as it is to be if it comes byte by byte", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      assert.equal(0, each_case(function(case, place)
        local pieces = {}
        for byte in (case.bytes .. case.behind):gmatch(".") do
          pieces[#pieces + 1] = byte
        end
        assert_answers(case, play(place, pieces))
      end, path))
    end, TIME)
  end)

  it("is answered as it is to be wherever it is cut in two", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      assert.equal(0, each_case(function(case, place)
        for at = 1, #case.bytes - 1 do
          local pieces = { case.bytes:sub(1, at),
            case.bytes:sub(at + 1) .. case.behind }
          assert_answers(case, play(place, pieces), at)
        end
      end, path))
    end, TIME)
  end)
end)

-- Patience --------------------------------------------------------------------

--- Makes `count` clients that send the head, and then the text again and again,
--- up to the end of the variable that has them.
local function trickling(port, count, text, more)
  local clients = {}
  for i = 1, count do clients[i] = connect(port):send(text) end
  local timer = task.every(1, function()
    for _, client in ipairs(clients) do
      if not client.socket.closed then client.socket:write(more) end
    end
  end)
  return setmetatable(clients, { __close = function()
    timer:stop()
    for _, client in ipairs(clients) do client.socket:destroy() end
  end })
end

describe("clients that send slowly", function()
  for _, case in ipairs {
    { "a head", "GET / HTTP/1.1\r\n", "x: y\r\n" },
    { "a line of a head", "GET / HTTP/1.1\r\nX: ", "x" },
    { "empty lines", "\r\n", "\r\n" },
    { "a body", head("POST /", "Content-Length: 1000000"), "x" },
    { "chunks", head("POST /", CHUNKED), "1\r\nx\r\n" },
    { "the size of a chunk", head("POST /", CHUNKED), "0" },
    { "the extension of a chunk", head("POST /", CHUNKED) .. "1;", "x" },
    { "trailers", head("POST /", CHUNKED) .. "0\r\n", "x: y\r\n" },
  } do
    it("are sent away, and others are served meanwhile: " .. case[1], function()
      run(function()
        local server <close>, port = serve(fixture.echo,
          { headers_timeout = 50, request_timeout = 100 })
        local slow <close> = trickling(port, 50, case[2], case[3])
        for _ = 1, 20 do
          local client <close> = connect(port)
          assert.equal("good", client:ask(fixture.post("good")).body)
        end

        for _, client in ipairs(slow) do
          assert.equal(408, client:answer().status)
          assert.equal("", client:rest())
        end
        fixture.await_count(server, 0)
      end)
    end)
  end
end)

describe("a client that does not read", function()
  it("http pipeline-flood: has few of 10,000 requests handled, and then all",
    function()
      run(function()
        local count = 0
        local body = ("x"):rep(10000)
        local server <close>, port = serve(function(_, res)
          count = count + 1
          res:finish(body)
        end)
        local client <close> = connect(port)
        client.socket:pause()
        client:send(GET:rep(10000))
        local other <close> = connect(port)
        local before
        repeat
          before = count
          for _ = 1, 50 do assert.equal(body, other:ask(GET).body) end
        until count == before + 50
        assert.is_true(before < 5000)

        for _ = 1, 10000 do assert.equal(body, client:answer().body) end
        assert.equal(2, server.connections)
      end, TIME)
    end)

  it("has no more written for it than its socket and a buffer hold", with(
    function(req, res)
      local size = 0
      while res:write(("x"):rep(65536)) do size = size + 65536 end
      req.size = size
      res:wait_for("close")
    end, function(client, server, port)
      client.socket:pause()
      client:send(GET)
      local req = server:wait_for("request")
      helper.eventually(function() return req.size end)

      assert.is_true(req.size < 64 << 20)
      local other <close> = connect(port)
      other:send(GET)
      assert.equal(200, other:head().status)
    end))

  it("may go when much waits for it", with(function(_, res)
    res:finish(("x"):rep(8 << 20))
  end, function(client, server)
    client.socket:pause()
    client:send(GET:rep(20))
    server:wait_for("request")
    client:reset()

    fixture.await_count(server, 0)
  end))
end)

describe("a client", function()
  it("fills no memory by a body that nobody reads", with(function(req)
    req:wait_for("aborted")
  end, function(client, server)
    local piece, sent = ("x"):rep(1 << 20), 0
    client:send(head("POST /", CHUNKED))
    client:send("fffffff\r\n")
    while client.socket:write(piece) and sent < 255 do sent = sent + 1 end
    server:wait_for("request")

    assert.is_true(sent < 255)
    client:reset()
    fixture.await_count(server, 0)
  end))

  it("has no more read of its requests than are handled and a buffer holds",
    with(function(req) req:wait_for("aborted") end, function(client, server)
      local sent = 0
      repeat
        client.socket:write(GET:rep(10000))
        sent = sent + 10000 * #GET
        task.sleep(0)
      until client.socket.queued_ > 1 << 20 or sent > 64 << 20

      assert.is_true(sent < 64 << 20)
      client:reset()
      fixture.await_count(server, 0)
    end, { max_pipelined = 2 }))

  it("is cut off if it sends on and on behind what was refused", with(hello,
    function(client, server)
      client.socket:on("error", function() end)
      client:send("bad\r\n\r\n")
      assert.equal(400, client:answer().status)
      local timer <close> = task.every(1, function()
        if client.socket.writable then client:send(("x"):rep(65536)) end
      end)

      fixture.await_count(server, 0)
      assert(timer)
    end))

  it("gains nothing by chunks of one byte", with(fixture.echo,
    function(client)
      client:send(head("POST /", CHUNKED) .. ("1\r\nx\r\n"):rep(200000)
        .. "0\r\n\r\n")

      assert.equal(("x"):rep(200000), client:answer().body)
    end))

  it("gains nothing by empty lines", with(hello, function(client)
    client:send(("\r\n"):rep(100000))

    assert.equal(431, client:answer().status)
    assert.equal("", client:rest())
  end))

  it("may go at any time while its request is handled", function()
    run(function()
      local server <close>, port = serve(function(req, res)
        res:write("one")
        req:read()
        for _ = 1, 3 do
          task.sleep(0)
          res:write("more")
        end
        res:finish("end")
      end)
      local text = head("POST /", "Content-Length: 4") .. "body" .. GET
      for at = 1, #text do
        for _, way in ipairs { "reset", "finish" } do
          local client <close> = connect(port)
          client:send(text:sub(1, at))
          if at % 2 == 0 then task.sleep(0) end
          client[way](client)
        end
      end

      fixture.await_count(server, 0)
    end)
  end)
end)

describe("a server without fds", function()
  it("turns away who comes, and serves on when there are some again", function()
    run(function()
      local child <close> = orrery.spawn(helper.interpreter, { "-e", [[
        local http = require "orrery.http"
        local server = http.create_server(function(req, res)
          if req.url == "/hold" then
            res:write("held")
            req:wait_for("aborted")
          end
          res:finish("hello")
        end)
        server:on("error", function(err) print(err.code) end)
        server:listen(0, "127.0.0.1", function()
          print(server:address().port)
        end)
        require "luv".run()
      ]] }, { stdio = { "ignore", "pipe", "inherit" },
        rlimits = { nofile = 32 }, env_extend = helper.env() })
      local port = tonumber(child.stdout:read())
      local clients, served = {}, 0
      for i = 1, 40 do
        clients[i] = connect(port):send(head("GET /hold"))
        local ok, answer = pcall(clients[i].head, clients[i])
        if ok and answer then served = served + 1 end
      end
      assert.is_true(served > 8 and served < 32)

      for _, client in ipairs(clients) do client:reset() end
      helper.eventually(function()
        local client <close> = connect(port)
        local ok, answer = pcall(client.ask, client, GET)
        return ok and answer and answer.body == "hello"
      end)
      child:stop()
      assert.equal("", child.stdout:read_all())
    end)
  end)
end)
