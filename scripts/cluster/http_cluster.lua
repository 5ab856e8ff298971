-- What a cluster can do: one worker a core behind one port, and clients of our
-- own, each on a connection that it keeps. A worker is killed and replaced, one
-- stands still for a second, and a reload replaces all of them under load.
-- Prints what the clients saw of each, and the answers of each worker. Ends by
-- itself after some seconds, or by Ctrl-C.

local orrery = require "orrery"
local uv = require "luv"
local cluster, http, process = orrery.cluster, orrery.http, orrery.process

if cluster.is_worker then
  process.on("SIGINT", function() end) -- Ctrl-C: the primary has us leave
  local server = http.create_server(function(_, res)
    res:finish(tostring(cluster.worker.id))
  end)
  assert(server:listen(0, "127.0.0.1"))
  return
end

local WORKERS = math.max(2, uv.available_parallelism())
local CLIENTS = math.max(32, 4 * WORKERS)
local PAUSE = 5 -- ms that a client takes before it asks again

local url
local served = {} -- answers by the id of the worker that gave them
local seen        -- what the clients have seen in the part that is shown
local total = { answers = 0, failed = 0, closed = 0 } -- and before

--- Returns the time in ms.
local function now() return process.hrtime_ns() / 1e6 end

-- The terminal ----------------------------------------------------------------

local clear = process.stdout.is_tty and "\r\27[K" or ""

--- Prints a line, in place of that which shows the progress.
local function say(text, ...)
  process.stdout:write(clear .. text:format(...) .. "\n")
end

--- Shows how far we are, in a line that is overwritten.
local function show_progress()
  process.stdout:write(clear .. ("%s: %d answers, %d failed, %.1f s"):format(
    seen.name, seen.answers, seen.failed, (now() - seen.from) / 1000))
end

-- The clients -----------------------------------------------------------------

--- Asks once, and notes what came of it. With POST, which the agent never sends
--- again by itself: a request that fails is seen here. Returns whether it went
--- over a connection that had served others, and how many ms it took.
local function ask(agent)
  local from = now()
  local request <close> = http.request(url, { method = "POST", agent = agent })
  request:finish "who are you?"
  local response = request:await_response()
  local id = response and response:read_all()
  local took = now() - from
  if id then
    served[id] = (served[id] or 0) + 1
    seen.answers = seen.answers + 1
  else
    seen.failed = seen.failed + 1
  end
  seen.slowest = math.max(seen.slowest, took)
  return request.reused_socket, took
end

--- A client: asks again and again over one connection, or over another one if
--- that has been closed.
local function client()
  local agent <close> = http.agent { max_sockets = 1 }
  ask(agent)
  while true do
    orrery.sleep(PAUSE)
    if not ask(agent) then seen.closed = seen.closed + 1 end
  end
end

-- The parts -------------------------------------------------------------------

--- Does something to the cluster, which returns what there is to say of it, and
--- prints that with what the clients have seen meanwhile.
local function part(name, fn)
  seen = { name = name, answers = 0, failed = 0, closed = 0, slowest = 0,
    from = now() }
  local note = fn()
  say("%-7s %8d %8d %8d %8.0f ms   %s", name, seen.answers, seen.failed,
    seen.closed, seen.slowest, note)
  for what, count in pairs(total) do total[what] = count + seen[what] end
end

local function serve()
  orrery.sleep(1500)
  return ("%.0f requests a second"):format(
    seen.answers / (now() - seen.from) * 1000)
end

--- Kills a worker; the listener of `exit` starts another one.
local function kill()
  local _, victim = next(cluster.workers)
  local from = now()
  victim:kill("SIGKILL")
  local heir = assert(cluster:wait_for("listening", 5000))
  local took = now() - from
  orrery.sleep(1000)
  return ("worker %d killed, worker %d serves after %.0f ms"):format(victim.id,
    heir.id, took)
end

--- Has a worker stand still for a second, and connects meanwhile.
local function stop()
  local _, worker = next(cluster.workers)
  local pid, slowest = worker.process.pid, 0
  process.kill(pid, "SIGSTOP")
  orrery.after(1000, function() process.kill(pid, "SIGCONT") end)
  while now() - seen.from < 900 do
    local _, took = ask(false)
    slowest = math.max(slowest, took)
    orrery.sleep(20)
  end
  orrery.sleep(400)
  return ("worker %d stood still for 1 s; a new client waited %.0f ms at most")
    :format(worker.id, slowest)
end

local function reload()
  assert(cluster.reload())
  local took = now() - seen.from
  orrery.sleep(300)
  return ("%d new processes after %.0f ms"):format(WORKERS, took)
end

-- The whole -------------------------------------------------------------------

--- Starts the workers, and waits until all of them listen. [w]
local function start()
  for _ = 1, WORKERS do cluster.fork() end
  local listening = 0
  for _, address in cluster:each("listening") do
    url = "http://127.0.0.1:" .. address.port
    listening = listening + 1
    if listening == WORKERS then return end
  end
end

local function summarize()
  local ids, lines = {}, {}
  for id in pairs(served) do ids[#ids + 1] = tonumber(id) end
  table.sort(ids)
  for i, id in ipairs(ids) do
    lines[i] = ("worker %d: %d"):format(id, served[tostring(id)])
  end
  say("%-7s %8d %8d %8d\n", "all", total.answers, total.failed, total.closed)
  say("answers by worker: %s", table.concat(lines, ", "))
end

local show = orrery.go(function()
  start()
  say("%d workers serve %s, %d clients ask\n", WORKERS, url, CLIENTS)
  say("%-7s %8s %8s %8s %11s", "", "answers", "failed", "closed", "slowest")
  orrery.scope(function(scope)
    local _ <close> = clear ~= "" and orrery.every(100, show_progress)
    for _ = 1, CLIENTS do scope:go(client) end
    part("load", serve)
    part("kill", kill)
    part("stop", stop)
    part("reload", reload)
  end)
  summarize()
  cluster.disconnect()
end)

cluster:on("exit", function(worker)
  if worker.exited_after_disconnect or show.status ~= "running" then return end
  if not seen then process.exit(1) end -- it could not even start
  cluster.fork()
end)
process.on_shutdown(function(reason)
  if reason == "end" then return end
  show:cancel(reason)
  say "the workers leave"
  cluster.disconnect()
end)
show:join()
