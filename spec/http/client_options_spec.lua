--- Where a request goes, and with which head: urls, options, header fields.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local errors = require "orrery.runtime.errors"
local fixture = require "spec.fixture.http"
local net = require "orrery.net"
local net_fixture = require "spec.fixture.net"

local run = helper.run
local with_server, finish, response = fixture.with_server, fixture.finish,
  fixture.response

local OK = response "ok"

--- Checks that a call raises at its own line, with each of some words in it.
local function raises(fn, ...)
  local ok, err = pcall(function()
    local result = fn()
    return result
  end)
  assert.is_false(ok)
  assert.matches("^spec/http/client_options_spec.lua:%d+: ", err)
  for _, word in ipairs { ... } do assert.matches(word, err, 1, true) end
end

describe("http.request to a url", function()
  it("raises for what is no absolute http url, and says what to do", function()
    for url, word in pairs {
      [""] = "absolute", ["/path"] = "absolute", ["localhost:80"] = "absolute",
      ["https://localhost/"] = "HAProxy", ["HTTPS://localhost/"] = "TLS",
      ["ftp://localhost/"] = "http://", ["http://"] = "host",
      ["http:///path"] = "host", ["http://a b/"] = "host",
      ["http://a:b/"] = "port", ["http://a:1:2/"] = "port",
      ["http://a:70000/"] = "port", ["http://a:99999999999999999999/"] = "port",
      ["http://u:p@a/"] = "Authorization", ["http://a\r\nb/"] = "host",
      ["http://[::1/"] = "host", ["http://[a]/"] = "IPv6",
      ["http://[::1]x/"] = "port", ["http://a/b c"] = "%20",
      ["http://a/b\r\nX: y"] = "path", ["http://a\\b/"] = "host",
    } do
      raises(function() return client.request(url) end, "request", word)
      raises(function() return client.get(url) end, "get", word)
    end
    raises(function() return client.request() end, "url")
    raises(function() return client.request(5) end, "url")
  end)

  it("raises for options that are not good", function()
    for word, opts in pairs {
      ["'hostname'"] = { hostnam = "a" }, ["'port'"] = { port = 65536 },
      ["'timeout'"] = { timeout = -1 }, ["'family'"] = { family = 5 },
      ["'agent'"] = { agent = {} }, ["'headers'"] = { headers = "a: b" },
      ["'socket_path'"] = { socket_path = "" },
      ["'local_address'"] = { local_address = "localhost" },
      ["'create_connection'"] = { create_connection = true },
      ["without its port"] = { host = "localhost:80" },
    } do
      raises(function() return client.request(opts) end, word)
    end
    raises(function() return client.request({}, {}) end, "callback")
    raises(function() return client.request("http://a/", 5) end, "options")
  end)

  it("http hostname-typechecking: takes no host but a string", function()
    for _, value in ipairs { 1, true, {}, print, "", "a/b", "a b" } do
      raises(function() return client.request { hostname = value } end,
        "'hostname'")
      raises(function() return client.request { host = value } end, "'host'")
    end
  end)

  it("http client-unescaped-path: takes no blanks, ends of lines, fragments",
    function()
    for i = 0, 32 do
      raises(function()
        return client.request { path = "/bad" .. string.char(i) .. "path" }
      end, "'path'")
    end
    raises(function() return client.request { path = "/a#b" } end, "%23")
  end)

  it("http client-check-http-token: takes no method but a token", function()
    for _, method in ipairs { "", "A B", "G\r\nT", "GET\t", 5, {}, "a\0" } do
      raises(function() return client.request { method = method } end,
        "'method'", "token")
    end
  end)
end)

describe("a request's host", function()
  --- Returns the field Host of a request with some options.
  local function host_of(opts)
    local got
    local server = net.create_server(function(socket)
      got = socket:read():match("\r\n[Hh]ost: ([^\r]*)")
      socket:finish(OK)
    end)
    server:listen(0, "127.0.0.1")
    opts.create_connection = function()
      return net.connect(server:address().port, "127.0.0.1")
    end
    finish(client.request(opts))
    server:close()
    return got
  end

  it("http host-headers: is its name, with the port unless that is 80",
    function()
    run(function()
      assert.equal("localhost", host_of {})
      assert.equal("localhost:81", host_of { port = 81 })
      assert.equal("example.org", host_of { host = "example.org", port = 80 })
      assert.equal("b:5", host_of { host = "a", hostname = "b", port = "5" })
    end)
  end)

  it("http host-header-ipv6-fail: has an IPv6 address in brackets", function()
    run(function()
      assert.equal("[::1]", host_of { host = "::1" })
      assert.equal("[::1]:81", host_of { host = "::1", port = 81 })
      assert.equal("[fe80::1]", host_of { host = "fe80::1%eth0" })
    end)
  end)

  it("http client-default-headers-exist: is what the headers say", function()
    run(function()
      assert.equal("x", host_of { headers = { host = "x" } })
      with_server(OK, function(ask, server)
        finish(ask { headers = { HOST = "x", connection = "close" } })
        assert.same({ "HOST", "x", "connection", "close" },
          server.requests[1].raw_headers)
      end)
    end)
  end)

  it("http correct-hostname: is what the request says it is", function()
    run(function()
      local request = client.request { host = "example.org", agent = false }
      assert.same({ "example.org", 80 }, { request.host, request.port })
      request:destroy()
      request = client.request("http://[::1]:8080/")
      assert.same({ "::1", 8080 }, { request.host, request.port })
      request:destroy()
    end)
  end)

  it("http dns-error: is ENOTFOUND where there is none", function()
    run(function()
      local uv = require "luv"
      local real = uv.getaddrinfo
      local _ <close> = setmetatable({}, {
        __close = function() uv.getaddrinfo = real end,
      })
      function uv.getaddrinfo(_, _, _, cb)
        if cb then return nil, "", "EAI_NONAME" end
      end
      local request = client.get { host = "nowhere.invalid", agent = false }
      local log = helper.record(request, { "error", "close" })
      request:wait_for("close")
      assert.equal("error close", helper.names(log))
      assert.same({ "ENOTFOUND", "nowhere.invalid" },
        { log[1][2].code, log[1][2].hostname })
    end)
  end)
end)

describe("a request's connection", function()
  it("http default-port: goes to port 80", function()
    run(function()
      local got
      local request = client.get {
        host = "127.0.0.1",
        create_connection = function(target)
          got = target
          return nil, errors.new("EACCES", "not today")
        end,
      }
      local err = request:wait_for("error")
      assert.equal("EACCES", err.code)
      assert.same({ host = "127.0.0.1", port = 80, no_delay = true }, got)
    end)
  end)

  it("http client-with-create-connection: is what that gives, which may wait",
    function()
    run(function()
      local path, remove = net_fixture.socket_path()
      local _ <close> = remove
      local server = fixture.serve(OK, { path = path })
      local asked = {}
      local function create_connection(target)
        asked[#asked + 1] = target.port
        return net.connect(path)
      end
      local agent <close> = client.agent()
      for _, agent_option in ipairs { false, agent, agent } do
        local _, body = finish(client.request { port = 1,
          agent = agent_option, create_connection = create_connection })
        assert.equal("ok", body)
      end
      assert.same({ 1, 1 }, asked)
      assert.equal("close", server.requests[1].headers.connection)
      agent:destroy()
      server:close()
    end)
  end)

  it("fails where create_connection gives or raises something else", function()
    run(function()
      local uncaught = {}
      local loop = require "orrery.runtime.loop"
      local real = loop.on_uncaught
      loop.on_uncaught = function(err) uncaught[#uncaught + 1] = err end
      for _, create in ipairs { function() end, function() return {} end,
        function() error("oh") end } do
        local request = client.get { create_connection = create }
        assert.equal("ECANCELED", request:wait_for("error").code)
      end
      helper.eventually(function() return uncaught[2] end)
      loop.on_uncaught = real
      assert.matches("create_connection: its result must be a socket",
        uncaught[1])
      assert.matches("oh", uncaught[2])
    end)
  end)

  it("is not awaited any more once the request is ended", function()
    run(function()
      local ended
      local request = client.get {
        create_connection = function()
          local _ <close> = setmetatable({}, {
            __close = function() ended = true end,
          })
          require "orrery.task".sleep(20000)
        end,
      }
      require "orrery.task".sleep(1)
      request:destroy()
      helper.eventually(function() return ended end)
    end)
  end)

  it("http unix-socket: goes to a Unix socket", function()
    run(function()
      local path, remove = net_fixture.socket_path()
      local _ <close> = remove
      local server = fixture.serve(OK, { path = path })
      local agent <close> = client.agent()
      local answer, body = finish(client.request { socket_path = path,
        path = "/x", agent = agent })
      assert.same({ 200, "ok" }, { answer.status_code, body })
      assert.equal("localhost", server.requests[1].headers.host)
      local none, err = finish(client.request { socket_path = "/nowhere/s",
        agent = agent })
      assert.same({ nil, "ENOENT" }, { none, err.code })
      agent:destroy()
      server:close()
    end)
  end)

  it("http unix-socket-keep-alive: may serve several requests there", function()
    run(function()
      local path, remove = net_fixture.socket_path()
      local _ <close> = remove
      local server = fixture.serve(OK, { path = path })
      local agent <close> = client.agent()
      for _ = 1, 3 do
        finish(client.request { socket_path = path, agent = agent })
      end
      assert.equal(1, server.accepted)
      agent:destroy()
      server:close()
    end)
  end)

  it("http localaddress: comes from the local address", function()
    run(function()
      local from
      with_server(function(socket)
        from = socket.remote_address
        socket:write(OK)
      end, function(ask)
        finish(ask { local_address = "127.0.0.2" })
        assert.equal("127.0.0.2", from)
        local _, err = finish(ask { local_address = "192.0.2.1" })
        assert.equal("EADDRNOTAVAIL", err.code)
      end)
    end)
  end)
end)

describe("a request's header fields", function()
  it("http multiple-headers: can be set, asked for and removed", function()
    run(function()
      with_server(OK, function(ask, server)
        local request = ask { headers = { A = "1", ["X-B"] = 2 } }
        request:set_header("x-b", { "3", 4 }):set_header("Gone", "x")
        request:remove_header("gone"):remove_header("never")
        assert.same({ "3", "4" }, request:get_header("X-B"))
        assert.equal("1", request:get_header("a"))
        assert.is_nil(request:get_header("Gone"))
        finish(request)
        assert.same({ "Host", "127.0.0.1:" .. server:address().port, "A", "1",
          "x-b", "3", "x-b", "4", "Connection", "keep-alive" },
          server.requests[1].raw_headers)
      end)
    end)
  end)

  it("http client-headers-array: can be a list, flat or of pairs", function()
    run(function()
      with_server(OK, function(ask, server)
        for _, headers in ipairs {
          { "X-Foo", "boom", "cookie", "a=1", "cookie", "b=2" },
          { { "X-Foo", "boom" }, { "cookie", { "a=1", "b=2" } } },
        } do
          finish(ask { headers = headers })
          local got = server.requests[#server.requests]
          assert.same({ "boom", "a=1; b=2" },
            { got.headers["x-foo"], got.headers.cookie })
        end
      end)
    end)
  end)

  it("http header-validators: raise if they would not be one line each",
    function()
    run(function()
      with_server(OK, function(ask)
        for name, value in pairs {
          ["A"] = "a\r\nB: c", ["B"] = "a\n", ["C"] = "a\0", ["D"] = {},
          ["E"] = { "a", "b\r" }, ["F"] = true, ["a b"] = "c", [""] = "c",
          ["a:"] = "b", ["a\r\n"] = "b", ["\228"] = "c",
        } do
          if name ~= "D" then
            raises(function() return ask { headers = { [name] = value } } end,
              "request")
            local request = ask()
            raises(function() return request:set_header(name, value) end,
              "set_header", type(value) == "table" and "'E'" or "")
            request:destroy()
          end
        end
        raises(function() return ask { headers = { "a" } } end, "list")
        raises(function() return ask { headers = { { "a", "b" }, "c" } } end,
          "header 2")
        raises(function() return ask { headers = { "a", "b", 1, "c" } } end,
          "name")
      end)
    end)
  end)

  it("raise if they leave open where the body ends", function()
    run(function()
      with_server(OK, function(ask)
        for name, value in pairs {
          ["Content-Length"] = "x", ["content-length"] = -1,
          ["Content-length"] = { 1, 2 }, ["CONTENT-LENGTH"] = ("9"):rep(30),
          ["Transfer-Encoding"] = "gzip", ["transfer-encoding"] = "xchunked",
          Host = { "a", "b" },
        } do
          raises(function() return ask { headers = { [name] = value } } end,
            name)
        end
        local request = ask { headers = { ["Content-Length"] = 1 } }
        raises(function()
          return request:set_header("Transfer-Encoding", "chunked")
        end, "content-length")
        request:remove_header("Content-Length")
        request:set_header("Transfer-Encoding", "gzip, chunked")
        request:destroy()
      end)
    end)
  end)

  it("http response-remove-header-after-sent: raise once the head is sent",
    function()
    run(function()
      with_server(OK, function(ask)
        local request = ask { method = "POST" }
        assert.is_false(request.headers_sent)
        request:flush_headers()
        assert.is_true(request.headers_sent)
        raises(function() return request:set_header("a", "b") end, "set_header")
        raises(function() return request:remove_header("a") end,
          "remove_header")
        assert.is_nil(request:get_header("a"))
        finish(request)
      end)
    end)
  end)

  it("are sent without a body where that is asked for", function()
    run(function()
      local got
      local server = net.create_server(function(socket)
        got = socket:read()
        socket:finish(OK)
      end)
      server:listen(0, "127.0.0.1")
      local request = client.request { port = server:address().port,
        host = "127.0.0.1", agent = false }
      request:flush_headers()
      local answer = request:await_response()

      assert.equal(200, answer.status_code)
      assert.matches("^GET / HTTP/1.1\r\n.*\r\n\r\n$", got)
      request:destroy()
      server:close()
    end)
  end)
end)
