--- The Lua side of the core's reaper, one for the whole Lua state, as
--- `runtime/loop.lua` is: learns that children have ended, tells their Child,
--- of whichever copy of this library it is, and keeps the loop alive for those
--- that run. It never ends a child.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local ending = require "orrery.runtime.ending"
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

local reaper = {}
shared.reaper = reaper

local children = {} -- orrery.spawn → its Child, while it runs
local watcher -- tells that a child has ended
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

--- Returns a name for each child that keeps the loop alive.
local function names()
  local list = {}
  for _, child in next, children do
    child = child.owner_ or child -- whom a keeper keeps
    if child.is_referenced_ then list[#list + 1] = child:name_() end
  end
  return list
end

--- Returns a handle that calls `reap` at SIGCHLD, if there are no pidfds to
--- watch.
local function watch_sigchld()
  local handle = uv.new_signal()
  loop.naming[handle] = names
  handle:start("sigchld", loop.guard(reaper.reap))
  return handle
end

--- Starts listening, which must come before the first child. Does nothing when
--- called again.
--- @return true? ok
--- @return integer? errno (EMFILE, ENFILE …)
--- @return string? stage at which a start fails by that
function reaper.open()
  ending.watch()
  if watcher then return true end
  local polling, err = poller.open() -- for what children write
  if not polling then return nil, err.errno, "fork" end
  local fd, errno, stage = core.reaper_fd()
  if fd == nil then return nil, errno, stage end
  local code
  if fd then
    watcher, code = Watcher.new(fd, "r", reaper.reap, names)
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
--- code in this process has waited for it, or `why`.
--- @param pid integer
--- @param why string?
--- @return Error err ECHILD
function reaper.status_taken(pid, why)
  return errors.new("ECHILD", ("child %d: its exit status %s"):format(pid,
    why or "was taken by somebody else"))
end

return reaper
