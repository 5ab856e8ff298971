--- What becomes of a request, and of its response, when the client has gone.

local helper = require "spec.helper"
local fixture = require "spec.fixture.http_server"
local net = require "orrery.net"
local task = require "orrery.task"

local with, head = fixture.with, fixture.head
local GET = fixture.GET

describe("a request whose client has gone", function()
  --- A handler that notes what becomes of its request.
  local function noting(log)
    return function(req, res)
      log.events = helper.record(req, { "aborted", "error", "end", "close" })
      log.req, log.res = req, res
      log.got = { req:read_all() }
      log.write = { res:write("too late") }
    end
  end

  it("http aborted, client-abort-event: is aborted, and reads give ECONNRESET",
    function()
      local log = {}
      with(noting(log), function(client, server)
        client:send(head("POST /", "Content-Length: 5") .. "ab")
        server:wait_for("request")
        client.socket:destroy()
        helper.eventually(function() return log.write end)

        assert.same({ "nil", "ECONNRESET" },
          { tostring(log.got[1]), log.got[2].code })
        assert.same({ true, false, false },
          { log.req.aborted, log.req.complete, log.write[1] })
        assert.equal("aborted", helper.names(log.events):match("^aborted"))
        assert.not_matches("error", helper.names(log.events))
      end)()
    end)

  it("gives ECONNRESET to who reads only then", with(function(req)
    req:wait_for("aborted")
    req.got = { req:read_all() }
  end, function(client, server)
    client:send(head("POST /", "Content-Length: 5"))
    local req = server:wait_for("request")
    client:reset()
    helper.eventually(function() return req.got end)

    assert.equal("ECONNRESET", req.got[2].code)
  end))

  it("destroys what it is piped to, which a part must not finish", with(
    function(req)
      local function nothing() return function() end end
      req:pipe {
        writable = true,
        on = nothing,
        write = function() return true end,
        finish = function() req.outcome = "finished" end,
        destroy = function() req.outcome = "destroyed" end,
      }
    end, function(client, server)
      client:send(head("POST /", "Content-Length: 10") .. "part")
      local req = server:wait_for("request")
      client.socket:finish()
      helper.eventually(function() return req.outcome end)

      assert.equal("destroyed", req.outcome)
    end))

  it("is aborted while its handler waits, and nothing can be written",
    with(function(req, res)
      req:wait_for("aborted")
      req.got = { res:write("x"), res.writable, res.closed,
        res:write_information(103), res:write_continue() }
      req.raised = { pcall(function()
        res:set_header("A", "b")
        res:finish("never")
      end) }
    end, function(client, server)
      client:send(GET)
      local req = server:wait_for("request")
      client:reset()
      helper.eventually(function() return req.raised end)

      assert.same({ false, false, true, false, false }, req.got)
      assert.same({ true }, req.raised)
      assert.is_true(req.aborted)
    end))

  it("is aborted once something is written for who has finished and gone",
    with(function(req, res)
      req:wait_for("go")
      while not req.aborted do
        res:write("x")
        task.sleep(0)
      end
      req.result = { res:write("x") }
    end, function(client, server)
      client:send(GET)
      local req = server:wait_for("request")
      client.socket:destroy()
      task.sleep(0)
      assert.is_false(req.aborted)
      req:emit("go")
      helper.eventually(function() return req.result end)

      assert.same({ false }, req.result)
      fixture.await_count(server, 0)
    end))

  it("is not aborted if all was answered", with(function(req, res)
    req.log = helper.record(req, { "aborted" })
    res:finish("hello")
  end, function(client, server)
    client:send(GET)
    local req = server:wait_for("request")
    client:answer()
    client:reset()
    fixture.await_count(server, 0)

    assert.same({ {}, false }, { req.log, req.aborted })
  end))

  it("has a socket that is closed", with(function(req)
    req:on("data", function() end)
    req:on("aborted", function()
      req.seen = { pcall(function() return req.socket.closed end) }
    end)
  end, function(client, server)
    client:send(head("POST /", "Content-Length: 5") .. "ab")
    local req = server:wait_for("request")
    client.socket:finish()
    helper.eventually(function() return req.seen end)

    assert.same({ true, true }, req.seen)
  end))

  it("lets its server take in another connection, which has its own socket",
    function()
      helper.run(function()
        local accepted, last
        local plain <close> = net.create_server(function(it) accepted = it end)
        assert(plain:listen(0, "127.0.0.1"))
        local server <close>, port = fixture.serve(function(req)
          req:wait_for("aborted")
        end)
        server:on("connection", function(it)
          if it ~= accepted then last = it end
        end)
        local client <close> = fixture.connect(port)
        local another <close> = fixture.connect(plain:address().port)
        helper.eventually(function() return accepted end)
        local req = client:send(GET) and server:wait_for("request")
        local first = req.socket
        req:on("aborted", function() server:emit("connection", accepted) end)
        first:destroy()

        assert.not_equal(first, last)
        assert.same({ true, nil }, { first.closed, last.closed })
        another.socket:destroy()
        fixture.await_count(server, 0)
        assert.is_true(last.closed)
      end)
    end)

  it("is aborted for all that were in the line",
    with(function(req) req:wait_for("aborted") end, function(client, server)
      local log = helper.record(server, { "request" })
      client:send(GET:rep(5))
      helper.eventually(function() return #log == 5 end)
      client:reset()
      fixture.await_count(server, 0)

      for _, entry in ipairs(log) do assert.is_true(entry[2].aborted) end
    end))
end)
