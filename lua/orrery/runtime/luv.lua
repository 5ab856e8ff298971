--- luv, the same one for all of a Lua state, however often this library is
--- loaded there: opened a second time (a host that clears package.loaded, as
--- busted does between spec files), luv would give its handles' types new
--- methods and forget the host's changes to the old table.

local core = require "orrery.core"

local shared = core.shared

local uv = shared.luv or require "luv"
shared.luv = uv
package.loaded.luv = package.loaded.luv or uv

-- libuv's version tells nothing of luv's; these constants came with 1.46.
core.mend_luv(uv.run, uv.constants.TTY_MODE_RAW == nil)

return uv
