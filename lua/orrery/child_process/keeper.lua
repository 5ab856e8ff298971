--- Our side of `orrery-keeper`, a small program (core/keeper) that is found
--- beside the core. One keeps a program that was started with `contain`, and
--- one that serves ends the families of all others; it is started when there is
--- a request for it, and ends when there is none any more.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"
local reaper = require "orrery.child_process.reaper"

local EAGAIN = core.errnos.EAGAIN
local TRIES = 3 -- of a request, if what serves it ends before it is done
local SERVED = 4 -- the fd of a serving keeper that is its own program

local keeper = {}

local program -- orrery.fd of orrery-keeper, which may be replaced meanwhile
local serving -- Keeper: the one that serves, if there is one
local serving_count = 0 -- with those that are about to end
local last_id = 0

--- @class Keeper
--- @field handle userdata orrery.keeper
--- @field watched_ Watched of its socket
--- @field requests_ table<integer, table> what is asked for, by its id
--- @field pending_ integer how many that are
--- @field owner_ table? a Child: has on_reaped_(), on_empty_(usage),
---   on_gone_()
local Keeper = class "orrery.Keeper"

--- Opens the program, unless it is open: then another installation in its place
--- changes nothing. It stays open.
--- @return userdata? fd nil, err
--- @return Error? err (ENOENT: it was not built; EMFILE)
function keeper.open()
  if program then return program end
  local path = core.library:gsub("[^/]*$", "") .. "orrery-keeper"
  local fd, errno = core.open(path, "r")
  if not fd then
    return nil, errors.system(errno, "spawn", { stage = "cgroup", path = path })
  end
  program = fd
  return program
end

--- Tells whether a road is forbidden by ORRERY_FORCE.
local function is_forbidden(road)
  local force = os.getenv("ORRERY_FORCE") or ""
  return ("," .. force .. ","):find("," .. road .. ",", 1, true) ~= nil
end

--- Tells who waits for a request, with its result. A keeper that serves ends
--- with the last one, and is awaited: a stop leaves nothing behind.
local function settle(self, id, result)
  local request = self.requests_[id]
  self.requests_[id] = nil
  self.pending_ = self.pending_ - 1
  if self.pending_ == 0 and serving == self then
    serving = nil
    self.last_ = function() request.done(result) end
    return
  end
  self.watched_:set_ref(self.pending_ > 0)
  request.done(result)
end

--- Takes the end of the keeper: what is left to do is asked of another one.
local function on_gone(self)
  if self.is_gone_ then return end
  self.is_gone_ = true
  if serving == self then serving = nil end
  if not self.owner_ then serving_count = serving_count - 1 end
  if self.watched_ then self.watched_:close() end
  self.handle:close()
  if self.owner_ then self.owner_:on_gone_() end
  local requests = self.requests_
  self.requests_, self.pending_ = {}, 0
  for _, request in pairs(requests) do request.again() end
  if self.last_ then self.last_() end
end

--- Takes one message. Returns false if there is none; that the socket is at its
--- end says nothing: the reaper will.
local function take(self)
  local what, a, b, c, d = self.handle:receive()
  if what == "done" then
    if self.requests_[a] then
      settle(self, a, { living = b, forced = c, left = d })
    end
  elseif what == "exit" then
    self.owner_:on_reaped_()
  elseif what == "empty" then
    self.owner_:on_empty_(a)
  else
    if a ~= EAGAIN then self.watched_:listen(false, false) end
    return false
  end
  return not self.is_gone_
end

--- Takes all that it has sent.
function Keeper:take()
  while not self.is_gone_ and take(self) do end -- luacheck: ignore
end

--- Takes in that the process has ended; what it has said comes first. Called
--- by the reaper.
function Keeper:on_reaped_()
  if self.watched_ then self:take() end
  on_gone(self)
end

function Keeper.name_() return "keeper" end

--- Makes a keeper that is not started yet.
--- @return Keeper? self
--- @return Error? err (ENOENT, EMFILE, ENFILE)
function keeper.new()
  local fd, err = keeper.open()
  if not fd then return nil, err end
  local handle, errno = core.keeper(fd, is_forbidden("no_children"))
  if not handle then
    return nil, errors.system(errno, "spawn", { stage = "pipe" })
  end
  return setmetatable({ handle = handle, requests_ = {}, pending_ = 0 },
    Keeper)
end

--- Begins to listen to a keeper that was started.
--- @param spawned userdata orrery.spawn
--- @param owner table? see the class
--- @return true? ok
--- @return Error? err (ENOMEM)
function Keeper:watch(spawned, owner)
  self.owner_ = owner
  reaper.watch(spawned, self)
  local err
  self.watched_, err = poller.watch(self.handle:fileno(), self.take, self)
  if not self.watched_ then return nil, err end
  return true
end

--- Starts the keeper that serves.
--- @return Keeper? self
--- @return Error? err
local function serve()
  local self, err = keeper.new()
  if not self then return nil, err end
  local null, errno = core.null_fd()
  if not null then return nil, errors.system(errno, "open") end
  local env = is_forbidden("no_children") and { "ORRERY_FORCE=no_children" }
    or {}
  local spawned
  spawned, errno = core.spawn("/proc/self/fd/" .. SERVED,
    { "orrery-keeper", "serve", "3" },
    { null, null, null, self.handle:peer(), program:fileno() }, env,
    { unmarked = true })
  self.handle:close_peer()
  if not spawned then return nil, errors.system(errno, "spawn") end
  local ok
  ok, err = self:watch(spawned)
  if not ok then return nil, err end
  serving, serving_count = self, serving_count + 1
  return self
end

--- Tells whether a keeper is there that serves.
--- @return boolean
function keeper.is_serving() return serving_count > 0 end

--- Asks a keeper for something; `done(result)` is called once it is done, as
--- {living, forced, left}; `done(nil)` if no keeper can do it.
--- @param self Keeper? of the family; nil: the one that serves
--- @param op "signal"|"end"
--- @param what {signal: integer, grace: integer?, pid: integer, born: integer,
---   mark: string}
--- @param done fun(result: table?)
--- @return integer? id for `hurry`
function keeper.request(self, op, what, done)
  last_id = last_id % 0xffffffff + 1
  local id, tries = last_id, 0
  local function ask(of)
    tries = tries + 1
    of = of or serving or serve()
    local sent = of and tries <= TRIES and of.handle:request(op, id,
      what.signal, math.min(what.grace or 0, 0xffffffff), what.pid, what.born,
      what.mark)
    if not sent then
      if of and tries <= TRIES then return ask(nil) end
      return loop.soon(done)
    end
    of.requests_[id] = { done = done, again = function() ask(nil) end }
    of.pending_ = of.pending_ + 1
    of.watched_:set_ref(true)
  end
  ask(self and not self.is_gone_ and self or nil)
  return id
end

return keeper
