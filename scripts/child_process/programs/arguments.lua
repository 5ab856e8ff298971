-- Prints each of its arguments on a line. Started by the scripts above.

local process = require "orrery".process

for _, argument in ipairs(process.argv) do print(argument) end
