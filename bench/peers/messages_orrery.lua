--- Measures what messages between a forked child and its parent cost with
--- Orrery. Parameters and figures as in messages.c:
---
---     messages_orrery.lua roundtrip|down|up COUNT [SIZE]

local orrery = require "orrery"
local messages = dofile(arg[0]:match("^.*/") .. "messages.lua")

local process = orrery.process

local function peer_of(owner)
  return {
    send = function(value) return owner:send(value) end,
    on_drain = function(fn) owner:once("drain", fn) end,
  }
end

local plan = messages.plan(arg)
if process.connected then
  process:on("message", messages.child(plan, peer_of(process)))
else
  local child = orrery.fork(arg[0], arg)
  child:on("message", messages.parent(plan, peer_of(child), child.pid,
    function() child:disconnect() end))
end
