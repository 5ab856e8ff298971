--- Many sockets behind one luv handle: they are polled by an epoll set of the
--- core's, which luv polls in turn. For sockets whose errors luv would take for its
--- own, see core/lua_poller.c.

local core = require "orrery.core"
local errors = require "orrery.errors"
local loop = require "orrery.loop"

local READ, WRITE, GONE = 1, 2, 4 -- as core/lua_poller.c has them

local poller = {}

local set -- the core's
local watcher -- luv's handle of it
local watched, last_key = {}, 0 -- by key
local referenced = 0 -- of them, that keep the loop alive
local ready = {} -- filled anew by each wait

--- @class Watched
local Watched = {}
Watched.__index = Watched

--- What is ready; an error in one takes nothing from the others, whose fds stay
--- ready.
local function on_ready()
  local key, one = next(watched)
  if one and one.events == READ and next(watched, key) == nil then
    return one.fn(false, false) -- the only one there is: nobody else can be meant
  end
  for i = 1, 2 * set:wait(ready), 2 do
    one = watched[ready[i]]
    local events = ready[i + 1]
    if one then one.fn(events & WRITE ~= 0, events & GONE ~= 0) end
  end
end

local function open()
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

--- Calls fn(writable, gone) when `fd` can be read, written (as `listen` says), or
--- has lost its peer, which is then `gone`; where only one fd is watched, `gone` may
--- stay unsaid while it can be read.
--- @param fd integer
--- @param fn fun(writable: boolean, gone: boolean)
--- @return Watched? watched nil, err
--- @return Error? err
function poller.watch(fd, fn)
  local ok, err = open()
  if not ok then return nil, err end
  last_key = last_key + 1
  local added, errno = set:add(fd, last_key, READ)
  if not added then return nil, errors.system(errno, "epoll_ctl") end
  local self = setmetatable(
    { fd = fd, fn = fn, key = last_key, events = READ, referenced = false }, Watched)
  watched[last_key] = self
  return self
end

--- What to wait for from now on.
--- @param read boolean
--- @param write boolean
function Watched:listen(read, write)
  local events = (read and READ or 0) | (write and WRITE or 0)
  if self.closed or events == self.events then return end
  self.events = events
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
  set:remove(self.fd)
end

return poller
