--- Measures what a request costs an HTTP server:
---
---     orrery http_load.lua KIND CONNECTIONS SERVER ARG...
---
--- The server is a program that prints "ready PORT", and has its children when
--- it does, or a moment later. wrk asks it, in KIND: `keep` alive, with the
--- head of a `browser`, or one connection a request: `close`. Prints the CPU
--- time of the server and its children in us for each request.

local orrery = require "orrery"

local TICKS = 100 -- a second, of /proc
local WARM, RUN = "1s", "2s"
local BROWSER = {
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101",
  "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  "Accept-Language: en-US,en;q=0.5",
  "Accept-Encoding: gzip, deflate",
  "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
  "Upgrade-Insecure-Requests: 1",
}

local kind, connections = arg[1], arg[2]

--- Returns the CPU time that a process has used, in us.
local function cpu_of(pid)
  local file <close> = assert(io.open(("/proc/%d/stat"):format(pid)))
  local utime, stime = file:read("a"):match(
    "^.*%) %S+ %d+ %d+ %d+ %-?%d+ %-?%d+ %d+ %d+ %d+ %d+ %d+ (%d+) (%d+)")
  return (utime + stime) * 1000000 // TICKS
end

--- Returns the CPU time that a process and its children have used, in us.
local function cpu(pid)
  local sum = cpu_of(pid)
  local file <close> = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
  for child in (file and file:read("a") or ""):gmatch("%d+") do
    sum = sum + cpu_of(child)
  end
  return sum
end

local function ask(port, time)
  local args = { "-t1", "-c" .. connections, "-d" .. time }
  if kind == "close" then args[#args + 1] = "-HConnection: close" end
  for _, header in ipairs(kind == "browser" and BROWSER or {}) do
    args[#args + 1] = "-H" .. header
  end
  args[#args + 1] = ("http://127.0.0.1:%d/"):format(port)
  local result = orrery.run("wrk", args, { check = true })
  return tonumber(result.stdout:match("(%d+) requests in"))
end

local server <close> = orrery.spawn(arg[3], { table.unpack(arg, 4) },
  { stdio = { "ignore", "pipe", "inherit" } })
local port = tonumber(server.stdout:lines()():match("^ready (%d+)"))
for _ = 1, 100 do -- nginx is not quite ready when its line has been read
  local socket = orrery.net.connect(port, "127.0.0.1")
  if socket then
    socket:destroy()
    break
  end
  orrery.sleep(10)
end
ask(port, WARM)
local begun = cpu(server.pid)
local count = ask(port, RUN)
print(("cpu_us_per_op %.3f"):format((cpu(server.pid) - begun) / count))
