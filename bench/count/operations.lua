--- The operations that count.sh counts, for `orrery` to run:
---
---     operations.lua NAME COUNT            performs the operation COUNT times
---     operations.lua NAME COUNT figures    prints what one of them took
---
--- A figure is the difference between twice COUNT operations and COUNT of them:
--- what does not grow with their number cancels out.

local orrery = require "orrery"

local CHILD = arg[0]:match("^.*/") .. "child.lua"

--- Calls step(next) `n` times, each from the call of `next` of the one before,
--- and waits for the last one.
local function chain(n, step)
  local finished = orrery.events.new()
  local function go_on()
    if n == 0 then return finished:emit("finished") end
    n = n - 1
    step(go_on)
  end
  go_on()
  finished:wait_for("finished")
end

--- By name, a function that performs the operation n times. `child` and
--- `server` are those of operations that need one.
local operations = {}

local ignore = { stdio = "ignore" }

function operations.spawn_event(n)
  chain(n, function(go_on)
    orrery.spawn("/bin/true", {}, ignore):on("exit", go_on)
  end)
end

function operations.spawn_task(n)
  for _ = 1, n do
    assert(orrery.spawn("/bin/true", {}, ignore):wait() == 0)
  end
end

function operations.exec(n)
  chain(n, function(go_on)
    orrery.exec("echo hi", function(err, stdout)
      assert(not err and stdout == "hi\n", err)
      go_on()
    end)
  end)
end

function operations.sh(n)
  for _ = 1, n do assert(orrery.sh("echo hi").stdout == "hi\n") end
end

--- A message to the child, which sends it back.
function operations.message(n, child)
  local finished = orrery.events.new()
  local function on_message(message)
    n = n - 1
    if n == 0 then return finished:emit("finished") end
    child:send(message)
  end
  child:on("message", on_message)
  child:send { id = 1, name = "zfpx" }
  finished:wait_for("finished")
  child:off("message", on_message)
end

--- A connection that is accepted here and given to the child, which answers it.
--- The client opens one after the other.
function operations.handle(n, _, server)
  local client = orrery.run("build/bench/connect",
    { tostring(server:address().port), tostring(n), "1" })
  assert(client.ok, client.stderr)
end

--- From fork to the child's first message, and to its end.
function operations.fork(n)
  for _ = 1, n do
    local child = orrery.fork(CHILD)
    child:send "hello"
    assert(child:receive() == "hello")
    child:disconnect()
    assert(child:wait() == 0)
  end
end

--- `orrery -e ''`, from start to exit.
function operations.startup(n)
  for _ = 1, n do
    assert(orrery.run("bin/orrery", { "-e", "" }).ok)
  end
end

--- What an operation needs, opened once: a child, a server that gives it what
--- it accepts, and a function that closes both.
local function open(name)
  if name ~= "message" and name ~= "handle" then
    return nil, nil, function() end
  end
  local child = orrery.fork(CHILD)
  local server = orrery.net.create_server()
  server:on("connection", function(socket) child:send("socket", socket) end)
  server:listen(0, "127.0.0.1")
  return child, server, function()
    server:close()
    child:disconnect()
    child:wait()
  end
end

local FIGURES = { "instructions", "allocations", "faults" }

local function print_figures(run, n)
  package.cpath = "build/bench/?.so;" .. package.cpath
  local counts = require "counts"
  counts.start()
  run(n) -- what is loaded or made once is there
  collectgarbage("stop")
  local a = { counts.read() }
  run(n)
  local b = { counts.read() }
  run(2 * n)
  local c = { counts.read() }
  for i, figure in ipairs(FIGURES) do
    print(("%s %.3f"):format(figure, (c[i] - b[i] - (b[i] - a[i])) / n))
  end
end

local name, n = arg[1], tonumber(arg[2])
local child, server, close = open(name)
local function run(times) operations[name](times, child, server) end
if arg[3] == "figures" then print_figures(run, n) else run(n) end
close()
