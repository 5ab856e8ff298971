--- How this process ends by a signal that the core has noted (engine/ending.h):
--- hooks run first, then the children that are to die with this process get the
--- signal and some time. One for the whole Lua state, as `runtime/loop.lua` is.

local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local Watcher = require "orrery.runtime.watcher"

local shared = core.shared
if shared.ending then return shared.ending end

local GRACE = 2000 -- ms for children that are to die with this process

--- @field on_noted (fun(signal: integer))? takes the signal, and calls
---   `finish` later
local ending = {}
shared.ending = ending

local self_process = core.process()
local watcher -- tells that a signal is noted
local finishing = false

--- Gives the children that are to die with this process the signal that was
--- noted, and some time. When the last of them is reaped, the core ends this
--- process; at once if there is none, so what C has buffered is written before.
function ending.finish()
  if finishing then return end
  finishing = true
  self_process:flush()
  core.ending.pass_on()
  clock.after(GRACE, core.ending.finish)
  core.ending.hold_for(0)
end

local function names() return {} end -- it never keeps the loop alive

local function on_noted()
  watcher:close()
  local take = ending.on_noted or ending.finish
  take(core.ending.noted())
end

--- Starts to listen for signals that end this process, if it is ours to end.
--- Does nothing when called again.
function ending.watch()
  if watcher then return end
  local fd = core.ending.fd()
  watcher = fd and Watcher.new(fd, "r", on_noted, names)
  if watcher then watcher:unref() end
end

return ending
