--- Many sockets behind one luv handle: they are polled by an epoll set of the
--- core's, which luv polls in turn. For sockets whose errors luv would take for its
--- own, see core/binding/poller.c.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"

local READ, WRITE, GONE = core.ready.read, core.ready.write, core.ready.gone
local SOME = core.ready_batch -- that one wait gives at most

local poller = {}

local set -- the core's
local watcher -- luv's handle of it
local watched, last_key, count = {}, 0, 0 -- by key; how many
local only -- of them, where there is just one, and it is only to be read
local referenced = 0 -- of them, that keep the loop alive
local ready = {} -- filled anew by each wait

--- @class Watched
local Watched = {}
Watched.__index = Watched

--- Tells who is ready, of some. How many there were.
local function tell_some()
  local n = set:wait(ready)
  for i = 1, 2 * n, 2 do
    local one, events = watched[ready[i]], ready[i + 1]
    if one then
      one.fn(one.owner, events & READ ~= 0, events & WRITE ~= 0, events & GONE ~= 0)
    end
  end
  return n
end

--- Tells all that are ready, which the set gives in turn; an error in one takes
--- nothing from the others, whose fds stay ready.
local function on_ready()
  if only then return only.fn(only.owner, true, false, false) end
  for _ = 0, count // SOME do
    if tell_some() < SOME then return end
  end
end

--- Where nobody else can be meant, the set is not asked.
local function find_only()
  only = nil
  if count ~= 1 then return end
  local _, one = next(watched)
  if one.events == READ then only = one end
end

--- Opens the set: for who wants to know early whether there are fds for it.
--- @return true? ok nil, err (EMFILE)
--- @return Error? err
function poller.open()
  if watcher then return true end
  local errno
  set, errno = core.poller()
  if not set then return nil, errors.system(errno, "epoll_create1") end
  local code
  watcher, code = loop.watch(set:fileno(), "r", on_ready)
  if not watcher then return nil, errors.luv(code, "poll") end
  watcher:unref()
  return true
end

--- Calls fn(owner, readable, writable, gone) when `fd` can be read, written (as
--- `listen` says), or has lost its peer, which is then `gone`; where only one fd is
--- watched, `gone` may stay unsaid while it can be read.
--- @param fd integer
--- @param fn fun(owner: any, readable: boolean, writable: boolean, gone: boolean)
--- @param owner any
--- @return Watched? watched nil, err
--- @return Error? err
function poller.watch(fd, fn, owner)
  local ok, err = poller.open()
  if not ok then return nil, err end
  last_key = last_key + 1
  local added, errno = set:add(fd, last_key, READ)
  if not added then return nil, errors.system(errno, "epoll_ctl") end
  local self = setmetatable({ fd = fd, fn = fn, owner = owner, key = last_key,
    events = READ, referenced = false }, Watched)
  watched[last_key] = self
  count = count + 1
  find_only()
  return self
end

--- What to wait for from now on.
--- @param read boolean
--- @param write boolean
function Watched:listen(read, write)
  local events = (read and READ or 0) | (write and WRITE or 0)
  if self.closed or events == self.events then return end
  self.events = events
  find_only()
  set:change(self.fd, self.key, events)
end

--- Whether the loop lives while this is watched.
--- @param on boolean
function Watched:set_ref(on)
  if self.referenced == on then return end
  self.referenced = on
  referenced = referenced + (on and 1 or -1)
  if referenced > 0 then watcher:ref() else watcher:unref() end
end

--- Stops, before the fd is closed. (That alone would not do: it may be open in
--- another process, and go on being reported.)
function Watched:close()
  if self.closed then return end
  self:set_ref(false)
  self.closed = true
  watched[self.key] = nil
  count = count - 1
  find_only()
  set:remove(self.fd)
end

return poller
