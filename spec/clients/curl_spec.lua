--- curl as a client of our servers: what scripts all over the world do.

local clients = require "spec.fixture.clients"
local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"
local net = require "spec.fixture.net"
local orrery = require "orrery"
local task = require "orrery.task"

--- A handler that tells method, url and body.
local function tell(req, res)
  local body = req:read_all()
  if body then res:finish(("%s %s %s"):format(req.method, req.url, body)) end
end

--- A handler that tells how long the body is, and never has more than a piece
--- of it.
local function measure(req, res)
  local size = 0
  for piece in function() return req:read() end do size = size + #piece end
  res:finish(tostring(size))
end

--- Runs curl with options and URLs, to its end. Returns its result. [w]
local function curl(...)
  local args = { "-q", "-s", "-S", "--noproxy", "*", "--max-time", "60", ... }
  return orrery.run("curl", args, { timeout = clients.TIME,
    max_buffer = 64 << 20 })
end

--- Returns what curl prints, which has to end well. [w]
local function output(...)
  local result = curl(...)
  assert(result.ok, result.stderr)
  return result.stdout
end

--- Defines a test with a server that has this handler: fn(url, folder, server),
--- where `url` ends without a slash.
local function test(name, handler, fn)
  it(name, function()
    clients.need("curl")
    helper.run(function()
      local server <close>, port = fixture.serve(handler)
      local folder <close> = clients.folder()
      fn("http://127.0.0.1:" .. port, folder, server)
    end, clients.TIME)
  end)
end

describe("curl #clients", function()
  test("-d @file sends 64 MiB", measure, function(url, folder)
    local file = folder:write("body", ("0123456789abcdef"):rep(4 << 20))

    assert.equal(tostring(64 << 20), output("-d", "@" .. file, url))
  end)

  test("-T - sends what comes by stdin, in chunks", function(req, res)
    assert(req.headers["transfer-encoding"] == "chunked")
    measure(req, res)
  end, function(url)
    local result = orrery.run("sh", { "-c",
      'head -c 5000000 /dev/zero | curl -q -sS --noproxy "*" -T - "$0"', url },
      { timeout = clients.TIME })

    assert.same({ "5000000", "" }, { result.stdout, result.stderr })
  end)

  test("--expect100-timeout need not pass before the body is sent", tell,
    function(url)
      local result = output("--max-time", "20", "--expect100-timeout", "60",
        "-H", "Expect: 100-continue", "-d", "hello", "-w", " %{http_code}",
        url .. "/a")

      assert.equal("POST /a hello 200", result)
    end)

  test("-I shows the head", tell, function(url)
    local text = output("-I", url .. "/a")

    assert.matches("^HTTP/1.1 200 OK\r\n", text)
    assert.matches("\r\nContent%-Length: 8\r\n.*\r\n\r\n$", text)
  end)

  test("--http1.0 has an answer up to the connection's end", function(req, res)
    res:write(req.http_version)
    res:finish(" is old")
  end, function(url)
    local text = output("--http1.0", "-i", url)

    assert.matches("\r\n\r\n1.0 is old$", text)
    assert.not_matches("[Cc]hunked", text)
    assert.matches("\r\nConnection: close\r\n", text)
  end)

  test("asks for three URLs on one connection", tell, function(url)
    local text = output("-w", " %{num_connects}\n", url .. "/1", url .. "/2",
      url .. "/3")

    assert.equal("GET /1  1\nGET /2  0\nGET /3  0\n", text)
  end)

  test("--max-time leaves in the middle of an answer", function(req, res)
    repeat
      task.sleep(1)
    until not res:write_wait("x")
    req.has_ended = true
  end, function(url, _, server)
    local log = helper.record(server, { "request" })
    local result = curl("--max-time", "0.2", url)
    helper.eventually(function() return log[1][2].has_ended end)

    assert.equal(28, result.code)
    assert.matches("^x+$", result.stdout)
    fixture.await_count(server, 0)
  end)

  test("--limit-rate holds an answer up, and gets all of it", function(_, res)
    for _ = 1, 64 do assert(res:write_wait(("x"):rep(65536))) end
    res:finish()
  end, function(url)
    assert.equal(4 << 20, #output("--limit-rate", "4M", url))
  end)

  it("--unix-socket asks on a path", function()
    clients.need("curl")
    helper.run(function()
      local path, dir = net.socket_path()
      local _ <close> = dir
      local server <close> = require "orrery.http".create_server(tell)
      assert(server:listen(path))

      assert.equal("GET /a ", output("--unix-socket", path, "http://x/a"))
    end, clients.TIME)
  end)

  it("asks by IPv6", function()
    clients.need("curl")
    helper.run(function()
      local server <close> = require "orrery.http".create_server(tell)
      assert(server:listen(0, "::1"))
      local url = ("http://[::1]:%d/a"):format(server:address().port)

      assert.equal("GET /a ", output(url))
    end, clients.TIME)
  end)

  test("--path-as-is has its path left as it is", tell, function(url)
    assert.equal("GET /a/../b/./c?d ",
      output("--path-as-is", url .. "/a/../b/./c?d"))
  end)

  test("-X PURGE has its method served", tell, function(url)
    assert.equal("PURGE /a ", output("-X", "PURGE", url .. "/a"))
  end)

  test("--raw shows the chunks", function(_, res)
    res:write("hello")
    res:finish("world!")
  end, function(url)
    assert.equal("5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n", output("--raw", url))
    assert.equal("helloworld!", output(url))
  end)

  test("-D has trailers behind the headers", function(_, res)
    res:set_header("Trailer", "X-Sum")
    res:write("hello")
    res:add_trailers { ["X-Sum"] = 5 }
    res:finish()
  end, function(url, folder)
    assert.equal("hello", output("-D", folder.path .. "/head", url))
    assert.matches("\r\nTrailer: X%-Sum\r\n.*X%-Sum: 5\r\n",
      folder:read("head"))
  end)

  test("-Z asks for 50 at once", function(req, res)
    task.sleep(10)
    res:finish(req.url:rep(1000))
  end, function(url, folder)
    output("-Z", "--parallel-max", "50", "-o", folder.path .. "/#1",
      url .. "/[1-50]")

    for i = 1, 50 do
      assert.equal(("/" .. i):rep(1000), folder:read(tostring(i)))
    end
  end)

  test("-C - goes on where a file ends", function(req, res)
    local text = ("0123456789"):rep(100000)
    local from = math.tointeger((req.headers.range or "")
      :match("^bytes=(%d+)%-$"))
    if not from then return res:finish(text) end
    res:write_head(206, { ["Content-Range"] =
      ("bytes %d-%d/%d"):format(from, #text - 1, #text) })
    res:finish(text:sub(from + 1))
  end, function(url, folder)
    folder:write("file", ("0123456789"):rep(4000))
    output("-C", "-", "-o", folder.path .. "/file", url)

    assert.equal(("0123456789"):rep(100000), folder:read("file"))
  end)
end)
