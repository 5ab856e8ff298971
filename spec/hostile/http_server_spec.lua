--- What a hostile server may try on our client: each request comes to an end,
--- and takes a bounded amount of memory.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local net = require "orrery.net"
local task = require "orrery.task"

local run = helper.run

local CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

--- Runs fn(fetch, agent) against a server that calls talk(socket) in a task for
--- each connection, once something has come. Returns when all these have ended.
local function with_server(talk, fn)
  local talking = 0
  local server = net.create_server(function(socket)
    talking = talking + 1
    socket:read()
    talk(socket)
    socket:read_all()
    socket:destroy()
    talking = talking - 1
  end)
  server:listen(0, "127.0.0.1")
  local agent = client.agent()
  local url = ("http://127.0.0.1:%d/"):format(server:address().port)
  local ok, err = pcall(fn, function(opts)
    opts = opts or {}
    opts.agent = agent
    return client.fetch(url, opts)
  end, agent)
  agent:destroy()
  server:close()
  helper.eventually(function() return talking == 0 end)
  if not ok then error(err, 0) end
end

--- Writes some bytes again and again until the client has gone. [w]
local function flood(socket, first, more)
  socket:write(first)
  while not (socket.ended or socket.closed) do
    if not socket:write(more) then socket:wait_for("drain", 100) end
    task.sleep(0)
  end
  socket:destroy()
end

describe("a hostile server", function()
  it("cannot fill memory by a head, a chunk's line or trailers without end",
    function()
    run(function()
      for first, code in pairs {
        ["HTTP/1.1 200 "] = "EMSGSIZE",
        ["HTTP/1.1 200 OK\r\nX: "] = "EMSGSIZE",
        [CHUNKED .. "1;"] = "EMSGSIZE",
        [CHUNKED .. "0\r\nX: "] = "EMSGSIZE",
        [CHUNKED] = "EPROTO",
      } do
        with_server(function(socket)
          flood(socket, first, ("x"):rep(4096))
        end, function(fetch)
          local none, err = fetch()
          assert.same({ nil, code }, { none, err.code }, first)
        end)
      end
    end)
  end)

  it("cannot fill memory by fields, of which there are many", function()
    run(function()
      with_server(function(socket)
        flood(socket, "HTTP/1.1 200 OK\r\n", ("a:\r\n"):rep(1000))
      end, function(fetch)
        local _, err = fetch()
        assert.equal("EMSGSIZE", err.code)
      end)
    end)
  end)

  it("cannot fill memory by a body that nobody reads", function()
    run(function()
      local over
      local server = net.create_server(function(socket)
        flood(socket, "HTTP/1.1 200 OK\r\n\r\n", ("x"):rep(65536))
        over = true
      end)
      server:listen(0, "127.0.0.1")
      local request = client.get { port = server:address().port,
        host = "127.0.0.1", agent = false }
      local answer = request:await_response()
      for _ = 1, 100 do task.sleep(0) end
      assert.is_true(request.socket.bytes_read <= 1 << 18)
      assert.equal(10, #answer:read(10))
      request:destroy()
      server:close()
      helper.eventually(function() return over end)
    end)
  end)

  it("costs no more if its head comes byte by byte", function()
    run(function()
      with_server(function(socket)
        socket:set_no_delay()
        for _ = 1, 2000 do
          socket:write("HTTP/1.1 102 P\r\n\r\n")
        end
        for byte in ("HTTP/1.1 200 OK\r\nX: " .. ("y"):rep(8000)
          .. "\r\nContent-Length: 0\r\n\r\n"):gmatch(".") do
          socket:write(byte)
        end
      end, function(fetch)
        assert.equal(200, fetch().status)
      end)
    end)
  end)

  it("ends a request wherever it ends the connection", function()
    run(function()
      local whole = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nC: d\r\n\r\n"
      for how, last in pairs { finish = #whole, destroy = #whole } do
        local at = 0
        with_server(function(socket)
          at = at + 1
          if at > 1 then socket:write_wait(whole:sub(1, at - 1)) end
          socket[how](socket)
        end, function(fetch)
          for i = 1, last do
            local answer, err = fetch()
            assert.is_nil(answer)
            assert.equal("ECONNRESET", err.code, i)
          end
          assert.equal("abc", fetch().body)
        end)
      end
    end)
  end)

  it("ends a request by whatever nonsense it sends", function()
    run(function()
      math.randomseed(20)
      local good = "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: x\r\n"
        .. "Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nC: d\r\n\r\n"
      with_server(function(socket)
        local bytes = good
        for _ = 1, math.random(3) do
          local at = math.random(#bytes)
          bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255))
            .. bytes:sub(at + math.random(0, 1))
        end
        local cut = math.random(#bytes)
        socket:write(bytes:sub(1, cut))
        task.sleep(0)
        socket:finish(bytes:sub(cut + 1))
      end, function(fetch, agent)
        local ends = {}
        for _ = 1, 500 do
          local answer, err = fetch { timeout = 5000 }
          local code = answer and "answer" or err.code
          ends[code] = (ends[code] or 0) + 1
        end
        assert.is_nil(ends.ETIMEDOUT)
        assert.is_true(ends.EPROTO > 0 and ends.answer > 0)
        helper.eventually(function() return agent.sockets == 0 end)
      end)
    end)
  end)
end)
