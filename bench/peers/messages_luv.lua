--- Measures what messages between a child and its parent cost with luv alone:
--- JSON lines over a Unix socket. Parameters and figures as in messages.c:
---
---     messages_luv.lua roundtrip|down|up COUNT [SIZE]

local uv = require "luv"
local folder = arg[0]:match("^.*/")
local messages = dofile(folder .. "messages.lua")
local lines = dofile(folder .. "lines.lua")

local plan = messages.plan(arg)
local parent = lines.parent()
if parent then
  lines.read(parent, messages.child(plan, lines.peer(parent)))
else
  local pipe, pid = lines.fork()
  lines.read(pipe, messages.parent(plan, lines.peer(pipe), pid,
    function() pipe:close() end))
end
uv.run()
