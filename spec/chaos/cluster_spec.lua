--- Clusters whose workers are killed, stopped, starved and lie, under load from
--- our own client. Each primary counts what came of its requests.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"
local net = require "orrery.net"
local orrery = require "orrery"

local run, lines, says = helper.run, fixture.lines, fixture.says

local TIME = 120000 -- ms
local KILLS = tonumber(os.getenv "ORRERY_CLUSTER_KILLS") or 30

--- For a primary: clients that ask until they are told to end, each request by
--- a number of its own, which the answer must have.
local LOAD = [[
  local load = { asked = 0, good = 0, bad = 0, slowest = {}, over = false }
  local function ask_once(port)
    load.asked = load.asked + 1
    local number, begun = load.asked, process.uptime()
    local body = get(port, "/" .. number)
    local id, back = tostring(body):match "^(%d+) /(%d+)$"
    if tonumber(back) ~= number then
      load.bad = load.bad + 1
      return
    end
    load.good = load.good + 1
    local took = (process.uptime() - begun) * 1000
    load.slowest[id] = math.max(load.slowest[id] or 0, took)
  end
  local function begin(port, count)
    local asking = {}
    for i = 1, count do
      asking[i] = orrery.go(function()
        while not load.over do ask_once(port) end
      end)
    end
    return function()
      load.over = true
      for _, one in ipairs(asking) do one:join() end
    end
  end ]]

--- A worker that answers with its id and what was asked.
local ANSWER = [[
  serve_http(function(req, res)
    res:finish(cluster.worker.id .. " " .. req.url)
  end) ]]

-- Killed and stopped ----------------------------------------------------------

describe("kill -9 of workers under load #chaos", function()
  it("fails no more than the connections that they had taken", function()
    run(function()
      local code = LOAD .. ([[
        local KILLS = %d
        local port = up(3)
        local finish = begin(port, 12)
        local had = 0
        for kill = 1, KILLS do
          local ids = {}
          for id in pairs(cluster.workers) do ids[#ids + 1] = id end
          local id = ids[math.random(#ids)]
          local worker = cluster.workers[id]
          pause(worker)
          had = had + worker.connections
          worker:kill "SIGKILL"
          await_exit(worker)
          fork():wait_for("listening", 10000)
          local good = load.good
          await(function() return load.good >= good + 20 end)
        end
        finish()
        say(load.bad <= had or ("%%d failed of %%d"):format(load.bad, had))
        say(load.good >= 20 * KILLS)
        down()]]):format(KILLS)

      assert.same({ "true", "true" }, lines(code, ANSWER, { timeout = 90000 }))
    end, TIME)
  end)

  it("loses nothing of what waits for one that is stopped first", says({
    "60" }, [[
      local port, workers = up(2)
      pause(workers[1])
      local asking = orrery.go(at_once, 60, function() return ask(port) end)
      workers[1]:kill "SIGKILL"
      say(tally(asking:join())["2"])
      down()]], "serve()"))
end)

describe("a worker that is stopped under load #chaos", function()
  it("keeps no one waiting whose connection it had not taken", function()
    run(function()
      assert.same({ "0", "true", "true", "true" }, lines(LOAD .. [[
        local port, workers = up(2)
        local finish = begin(port, 16)
        await(function() return load.good > 100 end)
        pause(workers[1])
        local had = workers[1].connections
        load.slowest = {}
        local good = load.good
        orrery.sleep(2000)
        say(load.bad)
        say(had < 16 and load.good > good + 50)
        local slowest = load.slowest["2"] or 0
        say(slowest < 1000 or slowest) -- 300 where nobody else works
        resume(workers[1])
        finish()
        say(load.bad == 0 and load.good == load.asked)
        down()]], ANSWER, { timeout = 60000 }))
    end, TIME)
  end)

  it("answers after it what it had taken, and each once", says({
    "true", "true", "1 /held end" }, [[
      local port, workers = up(2)
      local told
      workers[1]:on("message", function() told = true end)
      workers[2]:on("message", function() told = false end)
      local one
      repeat
        told = nil
        one = client(port):request("/held", "Connection: close\r\n")
        await(function() return told ~= nil end)
      until told
      pause(workers[1])
      local answers = tally(times(20, get, port, "/"))
      say(answers["2 /"] == 20)
      say(workers[1].busy >= 1)
      resume(workers[1])
      workers[1]:send "go on"
      local body = one:answer()
      say(body, one.socket:read_all(10000) == "" and "end")
      down()]], [[
      local waiting = {}
      process.on("message", function()
        for _, res in ipairs(waiting) do res:finish "1 /held" end
      end)
      serve_http(function(req, res)
        if req.url == "/held" then
          waiting[#waiting + 1] = res
          return process.send "waiting"
        end
        res:finish(cluster.worker.id .. " " .. req.url)
      end)]]))
end)

--- Returns all that a port says, to a client in this process. [w]
local function ask(port)
  local socket, err = net.connect(port, "127.0.0.1")
  if not socket then return err.code end
  local text
  text, err = socket:read_all(15000)
  socket:destroy()
  return text or err.code
end

describe("a primary that is stopped #chaos", function()
  it("has clients wait, and neither loses them nor its workers", function()
    run(function()
      local primary <close> = fixture.start([[
        say(up(2))
        process.stdin:read()
        local count = 0
        for _ in pairs(cluster.workers) do count = count + 1 end
        say(count, "workers")
        down()]], "serve()")
      local port = tonumber(primary.line():match "^%d+")
      primary:kill "SIGSTOP"
      helper.eventually(function()
        local file <close> = assert(io.open("/proc/" .. primary.pid .. "/stat"))
        return file:read("a"):find(") T", 1, true)
      end)
      local asking = {}
      for i = 1, 20 do asking[i] = function() return ask(port) end end
      local answers = orrery.go(orrery.all, asking)
      orrery.sleep(2000)
      primary:kill "SIGCONT"
      for _, answer in ipairs(answers:join()) do
        assert.matches("^[12]$", answer)
      end
      primary.stdin:write "enough\n"

      assert.equal("2 workers", primary.line())
      assert.equal(0, primary:wait())
    end, TIME)
  end)
end)

-- Starved ---------------------------------------------------------------------

describe("want of fds in a cluster #chaos", function()
  it("in one worker has others serve", says({ "80 true", "true" }, [[
    fork(nil, { rlimits = { nofile = 40 } }):wait_for("listening", 10000)
    local port = up(1)
    local answers, sockets = hold(port, 80)
    local counts = tally(answers)
    say((counts["1"] or 0) + (counts["2"] or 0), (counts["2"] or 0) > 40)
    for _, socket in ipairs(sockets) do socket:destroy() end
    await(function() return cluster.workers[1].connections == 0 end)
    await(function()
      answers, sockets = hold(port, 4)
      for _, socket in ipairs(sockets) do socket:destroy() end
      return tally(answers)["1"]
    end)
    say "true"
    down()]], "serve_open()"))

  it("in the only worker has clients wait until others go", says({
    "true", "true" }, [[
      fork(nil, { rlimits = { nofile = 40 } })
      local port
      cluster.once("listening", function(_, address) port = address.port end)
      await(function() return port end)
      local served, sockets, waiting = 0, {}, {}
      for i = 1, 60 do
        waiting[i] = orrery.go(function()
          sockets[i] = net.connect(port, "127.0.0.1")
          if sockets[i]:read(nil, 10000) == "1" then served = served + 1 end
        end)
      end
      await(function() return served >= 10 end)
      say(served < 40)
      await(function()
        for i = 1, 60 do
          if waiting[i].status ~= "running" and sockets[i] then
            sockets[i]:destroy()
          end
        end
        return served == 60
      end)
      say(served == 60)
      down()]], "serve_open()"))

  it("in the primary has clients wait, and be served then", function()
    run(function()
      local primary <close> = fixture.start([[
        local port, stdin = up(2), process.stdin
        local core, held = require "orrery.core", {}
        repeat
          local fd = core.open("/dev/null", "r")
          held[#held + 1] = fd
        until not fd
        say(port)
        assert(stdin:read())
        for _, fd in ipairs(held) do fd:close() end
        assert(stdin:read())
        down()]], "serve()", { rlimits = { nofile = 80 } })
      local port = tonumber(primary.line())
      local asking = {}
      for i = 1, 20 do asking[i] = function() return ask(port) end end
      local answers = orrery.go(orrery.all, asking)
      orrery.sleep(300)
      primary.stdin:write "go on\n"
      for _, answer in ipairs(answers:join()) do
        assert.matches("^[12]$", answer)
      end
      primary.stdin:write "enough\n"

      assert.equal(0, primary:wait())
    end, TIME)
  end)

  it("in a primary of few fds is none, for it keeps no connection", function()
    run(function()
      local primary <close> = fixture.start([[
        say(up(2))
        process.stdin:read()
        down()]], "serve_open()", { rlimits = { nofile = 64 } })
      local port = tonumber(primary.line():match "^%d+")
      local sockets = {}
      for i = 1, 50 do
        sockets[i] = assert(net.connect(port, "127.0.0.1"))
        assert.matches("^[12]$", sockets[i]:read(nil, 15000))
      end
      for _, socket in ipairs(sockets) do socket:destroy() end
      primary.stdin:write "enough\n"

      assert.equal(0, primary:wait())
    end, TIME)
  end)
end)

-- Many, and never ready -------------------------------------------------------

describe("forks of a cluster #chaos", function()
  it("may be 1,000 in a row, of which nothing is left", function()
    run(function()
      local said = lines([[
        local function fds()
          local count = 0
          local scan = require "luv".fs_scandir "/proc/self/fd"
          while require "luv".fs_scandir_next(scan) do count = count + 1 end
          return count
        end
        local before
        for round = 1, 100 do
          for _ = 1, 10 do cluster.fork() end
          await_none()
          before = before or fds()
        end
        collectgarbage()
        await(function() return fds() <= before end)
        cluster.on("fork", function(worker) say("fork", worker.id) end)
        local last = cluster.fork()
        await_exit(last)
        await_none()]], "process.exit(0)", { timeout = 110000 })

      assert.same({ "fork 1001" }, said)
    end, TIME)
  end)

  it("that never get ready take nothing from those that are", says({
    "3:30", "true" }, [[
      fork { ROLE = "idle" }
      fork { ROLE = "stuck" }
      local port = up(1)
      say(select(2, tally(at_once(30, function() return ask(port) end))))
      local ok = cluster.workers[1] and cluster.workers[2]
      say(ok ~= nil)
      down()]], [[
      if process.env.ROLE == "stuck" then while true do end end
      if not process.env.ROLE then serve() end]]))
end)

-- Lies ------------------------------------------------------------------------

--- A primary that has a worker of one kind and two that serve, and says who
--- answered 30 clients, thrice.
local BESIDE = [[
  local port = up(2)
  local liar = fork { LIAR = "1" }
  local lied
  liar:on("message", function() lied = true end)
  await(function() return lied or liar:is_dead() end)
  for _ = 1, 3 do
    local counts = tally(at_once(30, function() return ask(port) end))
    say((counts["1"] or 0) + (counts["2"] or 0) + (counts["3"] or 0))
  end
  down()]]

--- What a worker does that lies: it serves, and then runs this.
local function liar(code)
  return [[
    serve()
    if process.env.LIAR then ]] .. code .. [[
      process.send "lied"
    end]]
end

--- For a worker: calls fn(fd, name) for each of its own fds of a kind.
local EACH_FD = [[
  local uv = require "luv"
  local function each_fd(kind, fn)
    for fd = 4, 100 do
      local name = uv.fs_readlink("/proc/self/fd/" .. fd)
      if name and name:find(kind, 1, true) then fn(fd) end
    end
  end ]]

describe("a worker that lies #chaos", function()
  it("by what it writes into its page harms nobody but itself", function()
    run(function()
      for _, byte in ipairs { "\\255", "\\0", "\\127", "\\128" } do
        local result = fixture.run(BESIDE, liar(EACH_FD .. [[
          each_fd("memfd", function(fd)
            local size = uv.fs_fstat(fd).size
            uv.fs_write(fd, ("]] .. byte .. [["):rep(size), 0)
            uv.fs_ftruncate(fd, 0)
          end)]]))

        assert.same({ "30\n30\n30\n", 0, "" },
          { result.stdout, result.code, result.stderr }, byte)
      end
    end, TIME)
  end)

  it("by garbage on its channel is alone with it", function()
    run(function()
      for _, bytes in ipairs { [[("\255"):rep(100)]],
        [["\1\0\0\0\4\0\0\0\xc1"]], [["\2\0\0\0\4\0\0\0\x91\x01"]] } do
        local result = fixture.run(BESIDE, liar(
          'require "luv".fs_write(3, ' .. bytes .. ", -1)"))

        assert.same({ "30\n30\n30\n", 0 }, { result.stdout, result.code },
          bytes)
      end
    end, TIME)
  end)

  it("by words of the cluster that make no sense is alone with them", function()
    run(function()
      local result = fixture.run(BESIDE, liar([[
        local words = require "orrery.channel.words"
        local bus = process.channel.owner_
        local odd = { {}, { 1 }, true, "x", -1, 1.5, 2 ^ 60, math.maxinteger,
          math.mininteger, 0 / 0, "" }
        for _, name in ipairs { "online", "listen", "listening", "close",
          "ready", "share", "disconnect", "nonsense", "" } do
          for _, value in ipairs(odd) do
            for _, kind in ipairs { "tcp", "pipe", "udp", "what", value } do
              words.say(bus, { cluster = name, request = value, kind = kind,
                host = value, port = value, path = value, fd = value,
                index = value, backlog = value, service = value,
                deadline = value, address = value, type = value })
            end
            words.say(bus, { cluster = value })
          end
        end]]))

      assert.same({ "30\n30\n30\n", 0, "" },
        { result.stdout, result.code, result.stderr })
    end, TIME)
  end)

  it("about when it leaves is believed, and alone with it", function()
    run(function()
      for _, deadline in ipairs { "math.maxinteger", "-1", "{}", "0 / 0" } do
        local result = fixture.run(BESIDE, liar([[
          require "orrery.channel.words".say(process.channel.owner_,
            { cluster = "leaving", deadline = ]] .. deadline .. "})"))

        assert.same({ "30\n30\n30\n", 0, "" },
          { result.stdout, result.code, result.stderr })
      end
    end, TIME)
  end)
end)

--- Python programs that have a hand-off socket, and use it as no worker would.
local ABUSES = {
  { "floods", [[
import os, socket
s.setblocking(False)
for i in range(20000):
    try: s.send(bytes([i % 256]) * (i % 300))
    except BlockingIOError: break
]] },
  { "sends fds that nobody asked for", [[
import array
fds = array.array("i", [0] * 16).tobytes()
for kind in range(5):
    for id in (0, 1, 2, 0xffffffff):
        try:
            s.sendmsg([kind.to_bytes(4, "little") + id.to_bytes(4, "little")],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError: pass
]] },
  { "shuts", "s.shutdown(socket.SHUT_RDWR)\n" },
  { "shuts for reading", "s.shutdown(socket.SHUT_RD)\n" },
  { "shuts for writing", "s.shutdown(socket.SHUT_WR)\n" },
  { "closes", "s.close()\n" },
}

describe("a worker's hand-off socket #chaos", function()
  for _, abuse in ipairs(ABUSES) do
    it("that a program " .. abuse[1] .. " harms nobody else", function()
      run(function()
        local result = fixture.run(([[
          local path = os.tmpname()
          local file = io.open(path, "w")
          file:write(%q)
          file:close()
          local port = up(2)
          local liar = fork(nil, { exec_path = "python3", exec_argv = {},
            exec = path, silent = true })
          liar.process.stdout:read(nil, 10000)
          for _ = 1, 3 do
            local counts = tally(at_once(30, function() return ask(port) end))
            say((counts["1"] or 0) + (counts["2"] or 0))
          end
          os.remove(path)
          down()]]):format([[
import os, socket, sys, time
s = socket.socket(fileno=int(os.environ["ORRERY_WORKER"].split(":")[1]))
]] .. abuse[2] .. [[
print("done", flush=True)
time.sleep(30)
]]), "serve()")

        assert.same({ "30\n30\n30\n", 0, "" },
          { result.stdout, result.code, result.stderr })
      end, TIME)
    end)
  end
end)
