--- Random clients of a server with random handlers: each sends some of
--- vectors.tsv and of good requests, cut anywhere, and leaves somehow. A run is
--- told by its seed, which a failure names: ORRERY_SEED=n repeats it. What this
--- is to find are errors of memory, so it is worth most under `make asan`.

local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"
local process = require "orrery.process"
local task = require "orrery.task"
local vectors = require "spec.fixture.http_vectors"

local head, post = fixture.head, fixture.post
local random = math.random

local CLIENTS, VISITS = 60, 60
local FAULT = "a fault that is wanted"
local TIME = 120000 -- ms

-- Handlers --------------------------------------------------------------------

--- What handlers do; each is as likely as another.
local deeds = {
  function(_, res) res:finish("x") end,
  function(_, res) res:finish(("y"):rep(random(200000))) end,
  function(req, res)
    req:read_all()
    res:finish("z")
  end,
  function(req, res)
    for piece in function() return req:read() end do res:write(piece) end
    res:finish()
  end,
  function(req, res) req:pipe(res) end,
  function(req, res)
    req:on("data", function() res:write("d") end)
    req:on("end", function() res:finish() end)
  end,
  function(_, res)
    task.sleep(random(0, 2))
    res:write("a")
    task.sleep(random(0, 2))
    res:finish()
  end,
  function() error(FAULT) end,
  function(_, res)
    res:write("q")
    task.sleep(0)
    error(FAULT)
  end,
  function(req) req:destroy() end,
  function(req, res)
    req.socket:destroy()
    res:finish("n")
  end,
  function(_, res)
    for _ = 1, 5 do res:write(("w"):rep(100000)) end
    res:finish()
  end,
  function(_, res)
    res:write_information(103, { A = "b" })
    res:add_trailers { T = "v" }
    res:finish("t")
  end,
  function(_, res)
    res:set_header("Connection", "close")
    task.sleep(0)
    res:finish("c")
  end,
  function(req, res)
    res:on("finish", function() if random(3) == 1 then error(FAULT) end end)
    res:finish("f", function() if random(3) == 1 then req:destroy() end end)
  end,
  function(req, res)
    req:on("aborted", function()
      res:finish("late")
      error(FAULT)
    end)
    task.sleep(3)
    res:write_wait(("k"):rep(300000))
    res:finish()
  end,
  function(_, res, server)
    if random(30) == 1 then server:close_all_connections() end
    res:finish("all")
  end,
  function(_, res, server)
    server:close_idle_connections()
    res:finish("idle")
  end,
  function(_, res)
    collectgarbage("step")
    res:finish("g")
  end,
}

--- Has a server hear some events, or not.
local function listen(server)
  local function leave(_, socket)
    socket:on("error", function() end)
    socket:finish("HTTP/1.1 400 Bad\r\n\r\n")
    task.go(function()
      socket:read_all(50)
      socket:destroy()
    end)
  end
  if random(2) == 1 then server:on("upgrade", leave) end
  if random(2) == 1 then server:on("connect", leave) end
  if random(2) == 1 then server:on("client_error", leave) end
  if random(2) == 1 then
    server:on("check_continue", function(req, res)
      if random(2) == 1 then res:write_continue() end
      task.go(fixture.echo, req, res)
    end)
  end
end

--- Returns a server with small limits, and its port. [w]
local function serve()
  local server, port
  server, port = fixture.serve(function(req, res)
    return deeds[random(#deeds)](req, res, server)
  end, { headers_timeout = 60, request_timeout = 90, keep_alive_timeout = 20,
    keep_alive_buffer = 1, max_header_size = 2000,
    max_requests_per_socket = random(0, 5), max_pipelined = random(4) })
  listen(server)
  return server, port
end

-- Clients ---------------------------------------------------------------------

--- Returns what clients choose from.
local function requests()
  local list = {}
  for _, row in ipairs(vectors.rows()) do
    if row.type == "request" then list[#list + 1] = row.bytes end
  end
  for i = 1, 60 do
    list[#list + 1] = fixture.GET
    list[#list + 1] = post(("x"):rep(50 * i))
    list[#list + 1] = head("POST /", fixture.CHUNKED)
      .. "5\r\nhello\r\n0\r\nX: y\r\n\r\n"
  end
  for _ = 1, 10 do
    list[#list + 1] = head("GET /", "Connection: upgrade", "Upgrade: x")
    list[#list + 1] = head("POST /", "Expect: 100-continue",
      "Content-Length: 5")
  end
  return list
end

--- Returns some of them, at times with a byte that does not belong there.
local function text_of(list)
  local parts = {}
  for i = 1, random(8) do parts[i] = list[random(#list)] end
  local text = table.concat(parts)
  if random(5) > 1 then return text end
  local at = random(#text)
  return text:sub(1, at) .. string.char(random(0, 255)) .. text:sub(at + 1)
end

--- Sends a text in pieces. [w]
local function send(client, text)
  local at = 1
  while at <= #text and client.socket.writable do
    local size = ({ #text, random(3), random(100), random(3000) })[random(4)]
    client:send(text:sub(at, at + size - 1))
    at = at + size
    task.sleep(random(4) == 1 and random(0, 3) or 0)
  end
end

--- Comes, sends, and leaves. [w]
local function visit(port, list)
  local client <close> = fixture.connect(port)
  client.socket:on("error", function() end)
  if random(4) > 1 then client.socket:resume() end
  send(client, text_of(list))
  local way = random(4)
  if way == 1 and not client.socket.closed then
    client:reset()
  elseif way == 2 then
    client:finish()
    task.sleep(random(0, 30))
  elseif way == 3 then
    task.sleep(random(0, 60))
  end
end

--- Has all clients come, each many times. [w]
local function visit_all(port)
  local list, tasks = requests(), {}
  for i = 1, CLIENTS do
    tasks[i] = function()
      for _ = 1, VISITS do visit(port, list) end
    end
  end
  task.all(tasks)
end

describe("an HTTP server with random handlers #chaos", function()
  it("lives through random clients and listeners", function()
    local seed = tonumber(os.getenv "ORRERY_SEED") or os.time()
    math.randomseed(seed)
    local unwanted
    local function caught(err)
      if not tostring(err):find(FAULT, 1, true) then unwanted = err end
    end
    process.on("uncaught_exception", caught)
    helper.run(function()
      local server <close>, port = serve()
      visit_all(port)
      task.sleep(200) -- longer than any handler or listener takes
      server:close_all_connections()
      fixture.await_count(server, 0)
    end, TIME)
    process.off("uncaught_exception", caught)

    assert.same({ seed, nil }, { seed, unwanted and tostring(unwanted) })
  end)
end)
