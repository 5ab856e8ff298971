-- Measures how long it takes to read a file: itself. Prints seconds and
-- nanoseconds.

local orrery = require "orrery"
local process = orrery.process

local before = process.hrtime()
local file <close> = assert(io.open(process.script))
local text = file:read "a"
local passed = process.hrtime(before)
print(("%d bytes in %d s and %d ns"):format(#text, passed[1], passed[2]))
