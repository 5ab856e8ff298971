--- What luv's handles of ours stand for, by handle: functions that return a
--- list of names, for `process.active_resources`. One table for the whole Lua
--- state. A handle that is not here speaks for itself.

local shared = require "orrery.core".shared

shared.naming = shared.naming or setmetatable({}, { __mode = "k" })
return shared.naming
