--- The Lua side of the core's reaper, one for the whole Lua state, as
--- `runtime/loop.lua` is: learns that children have ended, tells their Child,
--- of whichever copy of this library it is, and keeps the loop alive for those
--- that run. It never ends a child.

local uv = require "orrery.runtime.luv"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"
local Watcher = require "orrery.runtime.watcher"

-- Needed by a wait in the main chunk of a host, when there may be no fd left to
-- load it by.
require "orrery.runtime.main_chunk"

local shared = core.shared
if shared.reaper then return shared.reaper end

local EMFILE = core.errnos.EMFILE
local ENDING_GRACE = 2000 -- ms for children that are to die with this process

local reaper = {}
shared.reaper = reaper

local children = {} -- orrery.spawn → its Child, while it runs
local watcher -- tells that a child has ended
local ending -- tells that a signal is to end this process
local referenced = 0 -- running children for which the loop lives

--- Takes in all children that have ended, and calls `child:on_reaped_()` of
--- each that `watch` was called for. The others are sync.lua's, which asks the
--- core.
function reaper.reap()
  for spawned in core.reap do
    local child = children[spawned]
    children[spawned] = nil
    if child then child:on_reaped_() end
  end
end

--- Returns a handle that calls `reap` at SIGCHLD, if there are no pidfds to
--- watch.
local function watch_sigchld()
  local handle = uv.new_signal()
  handle:start("sigchld", loop.guard(reaper.reap))
  return handle
end

--- Gives the children that are to die with this process the signal that ends
--- it, and some time. When the last of them is reaped, the core ends it.
local function pass_on()
  ending:close()
  core.ending.pass_on()
  clock.after(ENDING_GRACE, core.ending.finish)
end

--- Starts to listen for signals that end this process, if it is ours to end.
local function watch_ending()
  local fd = core.ending.fd()
  ending = fd and Watcher.new(fd, "r", pass_on)
  if ending then ending:unref() end
end

--- Starts listening, which must come before the first child. Does nothing when
--- called again.
--- @return true? ok
--- @return integer? errno (EMFILE, ENFILE …)
--- @return string? stage at which a start fails by that
function reaper.open()
  if not ending then watch_ending() end
  if watcher then return true end
  local polling, err = poller.open() -- for what children write
  if not polling then return nil, err.errno, "fork" end
  local fd, errno, stage = core.reaper_fd()
  if fd == nil then return nil, errno, stage end
  local code
  if fd then
    watcher, code = Watcher.new(fd, "r", reaper.reap)
  else
    watcher = watch_sigchld()
  end
  if not watcher then return nil, core.errnos[code] or EMFILE, "fork" end
  watcher:unref()
  return true
end

--- Counts one more child for which the loop lives.
function reaper.ref()
  referenced = referenced + 1
  if referenced == 1 then watcher:ref() end
end

--- Takes a child back that `ref` has counted.
function reaper.unref()
  referenced = referenced - 1
  if referenced == 0 then watcher:unref() end
end

--- Calls `child:on_reaped_()` once the process has ended; until then it is
--- kept.
--- @param spawned userdata orrery.spawn
--- @param child Child
function reaper.watch(spawned, child)
  children[spawned] = child
end

--- Returns the error of a child whose exit code or signal is not known: other
--- code in this process has waited for it.
--- @param pid integer
--- @return Error err ECHILD
function reaper.status_taken(pid)
  return errors.new("ECHILD", ("child %d: its exit status was taken by "
    .. "somebody else"):format(pid))
end

return reaper
