-- Writes its input into the file that its argument names. Started by the
-- scripts above.

local orrery = require "orrery"
local process = orrery.process

process.stdin:pipe(assert(orrery.stream.open(process.argv[1], "w")))
