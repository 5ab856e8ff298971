-- A child that shares our input and output: no byte passes through here.
--   printf 'b\na\n' | orrery scripts/child_process/inherit.lua
-- prints the lines sorted, as sort itself writes them.

local orrery = require "orrery"

orrery.spawn("sort", {}, { stdio = "inherit" })
