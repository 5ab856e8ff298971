--- Many fds behind one luv handle: an epoll set of the core's, which luv polls
--- in turn. For each channel and each pipe that we read, of which there may be
--- thousands: one costs an entry in the set, no handle, and libuv cannot take
--- an error of its fd for one of its own (see core/binding/poller.c). For a
--- single fd that must wake the loop by itself, as the set itself, use
--- `runtime/watcher.lua`. One set serves the whole Lua state, as
--- `runtime/loop.lua` does.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local Watcher = require "orrery.runtime.watcher"

local shared = core.shared
if shared.poller then return shared.poller end

local READ, WRITE, GONE = core.ready.read, core.ready.write, core.ready.gone
local FIRST = READ | GONE -- what an fd is watched for to begin with
local SOME = core.ready_batch -- that one wait gives at most
local LENT = 4 * SOME -- fds that a library which has the set counts as

local poller = {}
shared.poller = poller

local set -- the core's
local watcher -- luv's handle of it
local watched, last_key, count = {}, 0, 0 -- by key; how many fds there are
-- The one entry, if exactly one is watched and only for reading: an event of
-- luv's can then mean no other, and the set need not be asked.
local only
local referenced = 0 -- entries that keep the loop alive
local ready = {} -- what one wait gives: key, events, key, events …

--- @class Watched an fd in the set; it does not own the fd
--- @field fd integer? nil: see `poller.lend`
--- @field key integer
--- @field fn fun(owner: any, readable: boolean, writable: boolean, gone:
--- boolean)
--- @field owner any
--- @field events integer what it is watched for
--- @field referenced boolean
--- @field closed boolean?
local Watched = class "orrery.Watched"

--- Calls the functions of up to SOME fds that are ready. Returns how many the
--- set gave, those included that it has served by itself.
local function call_some()
  local n, all = set:wait(ready)
  for i = 1, 2 * n, 2 do
    local one, events = watched[ready[i]], ready[i + 1]
    if one then
      one.fn(one.owner, events & READ ~= 0, events & WRITE ~= 0,
        events & GONE ~= 0)
    end
  end
  return all
end

--- Calls the functions of all fds that are ready, which the set gives in turn.
--- If one raises, the others are called in the next turn: their fds stay ready.
local function on_ready()
  if only then return only.fn(only.owner, true, false, false) end
  for _ = 0, count // SOME do
    if call_some() < SOME then return end
  end
end

local function find_only()
  only = nil
  if count ~= 1 then return end
  local _, one = next(watched)
  if one.events == FIRST then only = one end
end

--- Returns a name for each entry that keeps the loop alive: its owner's.
local function names()
  local list = {}
  for _, one in next, watched do
    if one.referenced then list[#list + 1] = one.owner:name_() end
  end
  return list
end

--- Makes the set, unless there is one. `watch` does so too; this is for callers
--- that want to know early whether there are fds for it.
--- @return true? ok
--- @return Error? err (EMFILE, ENFILE)
function poller.open()
  if watcher then return true end
  local errno
  set, errno = core.poller()
  if not set then return nil, errors.system(errno, "epoll_create1") end
  local code
  watcher, code = Watcher.new(set:fileno(), "r", on_ready, names)
  if not watcher then return nil, errors.luv(code, "poll") end
  watcher:unref()
  return true
end

--- Gives the set to a library of ours in C, which watches fds of its own in it
--- and serves them in the same wait. The entry says whether those keep the loop
--- alive; it is to be closed after the last of them.
--- @param owner table with a method `name_`
--- @return userdata? set
--- @return Watched|Error entry; err (EMFILE, ENFILE)
function poller.lend(owner)
  local ok, err = poller.open()
  if not ok then return nil, err end
  last_key = last_key + 1
  local self = setmetatable({ owner = owner, key = last_key, events = 0,
    referenced = false }, Watched)
  watched[last_key] = self
  count = count + LENT
  find_only()
  return set, self
end

--- Calls fn(owner, readable, writable, gone) whenever `fd` can be read, can be
--- written (if `listen` says so), or has lost its peer. If only one fd is
--- watched, `gone` may stay false as long as there is something to read. Does
--- not keep the loop alive until `set_ref`.
--- @param fd integer
--- @param fn fun(owner: any, readable: boolean, writable: boolean, gone:
--- boolean)
--- @param owner any
--- @return Watched? watched
--- @return Error? err (EMFILE, ENOMEM, EPERM: a file, which is always ready)
function poller.watch(fd, fn, owner)
  local ok, err = poller.open()
  if not ok then return nil, err end
  last_key = last_key + 1
  local added, errno = set:add(fd, last_key, FIRST)
  if not added then return nil, errors.system(errno, "epoll_ctl") end
  local self = setmetatable({ fd = fd, fn = fn, owner = owner, key = last_key,
    events = FIRST, referenced = false }, Watched)
  watched[last_key] = self
  count = count + 1
  find_only()
  return self
end

--- Sets what is waited for from now on. Does nothing once it is closed.
--- @param read boolean
--- @param write boolean
--- @param gone boolean? false: not that the peer has ended its side, which who
---   does not read would be told of again and again; that it has gone for good
---   is told in any case
function Watched:listen(read, write, gone)
  local events = (read and READ or 0) | (write and WRITE or 0)
    | (gone == false and 0 or GONE)
  if self.closed or events == self.events then return end
  self.events = events
  find_only()
  set:change(self.fd, self.key, events)
end

--- Says whether it keeps the loop alive.
--- @param on boolean
function Watched:set_ref(on)
  if self.referenced == on then return end
  self.referenced = on
  referenced = referenced + (on and 1 or -1)
  if referenced > 0 then watcher:ref() else watcher:unref() end
end

--- Stops watching; to be called before the fd is closed. (Closing alone would
--- not do: the fd may be open in another process, and would go on being
--- reported.)
function Watched:close()
  if self.closed then return end
  self:set_ref(false)
  self.closed = true
  watched[self.key] = nil
  count = count - (self.fd and 1 or LENT)
  find_only()
  if self.fd then set:remove(self.fd) end
end

return poller
