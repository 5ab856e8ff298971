--- Shared by the Lua peers of messages.c: sends, counts and answers messages
--- over a channel that the peer has made.

local uv = require "luv"

local messages = {}

--- @class Plan
--- @field mode "roundtrip"|"down"|"up"
--- @field count integer
--- @field size integer bytes of a string; 0: a small record

--- Reads the command line.
--- @param words string[] without the script
--- @return Plan
function messages.plan(words)
  return {
    mode = words[1],
    count = tonumber(words[2]),
    size = tonumber(words[3] or 0),
  }
end

--- @class Peer
--- @field send fun(value: any): boolean false: more after on_drain
--- @field on_drain fun(fn: function) calls fn once

--- Sends n messages as fast as the peer takes them.
local function send_all(plan, peer, n)
  local text, i = plan.size > 0 and ("x"):rep(plan.size), 0
  local function more()
    while i < n do
      i = i + 1
      local go_on = peer.send(text or { id = i, name = "zfpx" })
      if not go_on and i < n then return peer.on_drain(more) end
    end
  end
  more()
end

--- Returns what a child does with each message. A number starts as many.
--- @param plan Plan
--- @param peer Peer
--- @return fun(message: any)
function messages.child(plan, peer)
  if plan.mode == "roundtrip" then return peer.send end
  local left
  return function(message)
    if math.type(message) then
      left = message
      if plan.mode == "up" then send_all(plan, peer, left) end
    else
      left = left - 1
      if left == 0 then peer.send(true) end
    end
  end
end

local starts = {}

function starts.roundtrip(_, peer, n, done)
  local message = { id = 1, name = "zfpx" }
  peer.send(message)
  return function(back)
    n = n - 1
    if n == 0 then return done() end
    peer.send(back)
  end
end

function starts.down(plan, peer, n, done)
  peer.send(n)
  send_all(plan, peer, n)
  return done
end

function starts.up(_, peer, n, done)
  peer.send(n)
  return function()
    n = n - 1
    if n == 0 then done() end
  end
end

--- Returns the peak of a process's resident memory in MiB.
local function peak(pid)
  local file <close> = assert(io.open(("/proc/%s/status"):format(pid)))
  return tonumber(file:read("a"):match("VmHWM:%s*(%d+)")) / 1024
end

local function report(plan, seconds, child_pid)
  local function say(name, value)
    print(("%s_%s %.3f"):format(plan.mode, name, value))
  end
  local mib = plan.count * plan.size / (1 << 20)
  say("per_second", plan.count / seconds)
  say("mb_per_second", plan.count * plan.size / seconds / 1e6)
  say("ms", seconds * 1e3)
  say("ms_per_mib", seconds * 1e3 / mib)
  say("parent_peak_mib", peak "self")
  say("child_peak_mib", peak(child_pid))
end

--- Returns what a parent does with each message: it runs a tenth of them to
--- warm up, unless there is only one, then all, prints the figures, and calls
--- finished().
--- @param plan Plan
--- @param peer Peer
--- @param child_pid integer
--- @param finished fun()
--- @return fun(message: any)
function messages.parent(plan, peer, child_pid, finished)
  local on_message, begun
  local start = starts[plan.mode]
  local function measure()
    begun = uv.hrtime()
    on_message = start(plan, peer, plan.count, function()
      report(plan, (uv.hrtime() - begun) / 1e9, child_pid)
      finished()
    end)
  end
  if plan.count == 1 then
    measure()
  else
    on_message = start(plan, peer, plan.count // 10 + 1, measure)
  end
  return function(message) on_message(message) end
end

return messages
