-- Writes its messages into the file that its argument names, until the channel
-- ends. Started by silent.lua.

local orrery = require "orrery"
local process = orrery.process

local out = assert(orrery.stream.open(process.argv[1], "w"))
process.on("message", function(text) out:write(text) end)
process.on("disconnect", function() out:finish() end)
