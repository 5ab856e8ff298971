-- Prints each of its arguments on a line. Started by silent.lua.

local process = require "orrery".process

for _, argument in ipairs(process.argv) do print(argument) end
