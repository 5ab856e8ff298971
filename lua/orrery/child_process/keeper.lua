--- Our side of `orrery-keeper`, a small program (core/keeper) that is found
--- beside the core. One keeps a program that was started with `contain`, and
--- one that serves watches the control groups that are families (group.lua) and
--- ends the families of all others. It is started when there is something for
--- it, and goes when there is nothing any more.

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"
local reaper = require "orrery.child_process.reaper"

local EAGAIN, EPROTO = core.errnos.EAGAIN, core.errnos.EPROTO
local SIGCONT, SIGKILL = core.signals.SIGCONT, core.signals.SIGKILL
local TRIES = 3 -- of a request, if what serves it ends before it is done
local SERVED = 4 -- the fd of a serving keeper that is its own program
local LINGER = 500 -- ms that it waits for another group once the last has gone

--- `path` is that of the program, which lies beside the core.
local keeper = { path = core.library:gsub("[^/]*$", "") .. "orrery-keeper" }

local program -- orrery.fd of orrery-keeper, which may be replaced meanwhile
local serving -- Keeper: the one that serves, if there is one
local serving_count = 0 -- with those that are about to end
local leaving_count = 0 -- of those whose program has ended
local last_id = 0
local groups = {} -- Group by id, which the one that serves watches
local group_count = 0
local free_ids = {} -- of groups that were there
local unheard = 0 -- how many in a row have served and ended without a word

--- @class Keeper
--- @field handle userdata orrery.keeper
--- @field process_ userdata orrery.spawn, once it runs
--- @field watched_ Watched of its socket
--- @field is_empty_ boolean? the family that it has kept has ended
--- @field requests_ table<integer, table> what is asked for, by its id
--- @field pending_ integer how many that are
--- @field queue_ table[] messages that wait for room, from first_queued_ to
---   last_queued_
--- @field owner_ table? a Child: has on_reaped_(), on_empty_(usage),
---   on_gone_()
local Keeper = class "orrery.Keeper"

--- Opens the program, unless it is open: then another installation in its place
--- changes nothing. It stays open.
--- @return userdata? fd nil, err
--- @return Error? err (ENOENT: it was not built; EMFILE)
function keeper.open()
  if program then return program end
  local fd, errno = core.open(keeper.path, "r")
  if not fd then
    return nil, errors.system(errno, "spawn",
      { stage = "cgroup", path = keeper.path })
  end
  program = fd
  return program
end

--- Tells whether a road is forbidden by ORRERY_FORCE.
--- @param road string "no_cgroup"
--- @return boolean
function keeper.is_forbidden(road)
  local force = os.getenv("ORRERY_FORCE") or ""
  return ("," .. force .. ","):find("," .. road .. ",", 1, true) ~= nil
end

--- Sends a message by a method of the handle; later, if there is no room now.
--- If the keeper has gone, its end will be told.
local function send(self, method, ...)
  if self.last_queued_ == 0 then
    local ok, errno = self.handle[method](self.handle, ...)
    if ok or errno ~= EAGAIN then return end
    self.watched_:listen(true, true)
  end
  self.last_queued_ = self.last_queued_ + 1
  self.queue_[self.last_queued_] = table.pack(method, ...)
end

--- Sends what has waited.
local function send_queued(self)
  local queue, handle = self.queue_, self.handle
  while self.first_queued_ <= self.last_queued_ do
    local message = queue[self.first_queued_]
    local ok, errno = handle[message[1]](handle,
      table.unpack(message, 2, message.n))
    if not ok and errno == EAGAIN then return end
    queue[self.first_queued_] = nil
    self.first_queued_ = self.first_queued_ + 1
  end
  self.first_queued_, self.last_queued_ = 1, 0
  self.watched_:listen(true, false)
end

--- Lets the one that serves go, if there is nothing for it to do. It ends once
--- its socket is closed.
local function dismiss(self)
  if serving ~= self or self.pending_ > 0 or group_count > 0 then return end
  serving = nil
  self.watched_:close()
  self.watched_ = nil
  self.handle:close()
end

--- Lets the one that serves go in a while, if there is nothing for it until
--- then.
local function dismiss_later(self)
  if self.pending_ > 0 or group_count > 0 then return end
  clock.after(LINGER, function() dismiss(self) end):set_ref(false)
end

--- Calls fn() once the keeper has gone, for which the loop lives.
local function when_gone(self, fn)
  if not self.on_gone_ then
    self.on_gone_ = {}
    reaper.ref()
  end
  table.insert(self.on_gone_, fn)
end

--- Tells who waits for a request, with its result. A keeper whose family has
--- ended is awaited, for it has yet to tell what that has used; and so is one
--- that serves, with its last request: a stop leaves nothing behind. But where
--- it has watched groups the next one may come soon.
local function settle(self, id, result)
  local request = self.requests_[id]
  self.requests_[id] = nil
  self.pending_ = self.pending_ - 1
  local is_over = self.pending_ == 0 and serving == self and not self.lingers_
  if is_over or self.owner_ and request.ends and #result.left == 0 then
    when_gone(self, function() request.done(result) end)
    return dismiss(self)
  end
  self.watched_:set_ref(self.pending_ > 0)
  if serving == self then dismiss_later(self) end
  request.done(result)
end

--- Takes a group off the list. Returns it, or nil.
local function drop_group(id)
  local group = groups[id]
  if not group then return nil end
  groups[id] = nil
  free_ids[#free_ids + 1] = id
  group_count = group_count - 1
  if serving then dismiss_later(serving) end
  return group
end

--- Has the groups watched of a keeper that has gone, unless one after the other
--- goes without a word.
local function watch_groups()
  unheard = unheard + 1
  if not serving and group_count > 0 and unheard <= TRIES then
    keeper.serve()
  end
end

--- Takes the end of the keeper: what is left to do is asked of another one.
local function on_gone(self)
  if self.is_gone_ then return end
  self.is_gone_ = true
  if serving == self then serving = nil end
  if not self.owner_ then serving_count = serving_count - 1 end
  if self.is_leaving_ then leaving_count = leaving_count - 1 end
  if self.watched_ then self.watched_:close() end
  self.watched_ = nil
  self.handle:close()
  if self.owner_ then self.owner_:on_gone_() end
  local requests = self.requests_
  self.requests_, self.pending_ = {}, 0
  for _, request in pairs(requests) do request.again() end
  if self.on_gone_ then reaper.unref() end
  for _, fn in ipairs(self.on_gone_ or {}) do fn() end
  watch_groups()
end

--- Takes in that a group cannot be watched: its family must be looked for.
local function on_lost(self, id)
  local group = drop_group(id)
  if not group then return end
  group.is_lost_ = true
  local requests = self.requests_
  self.requests_ = {}
  for place, request in pairs(requests) do
    if request.group == id then
      self.pending_ = self.pending_ - 1
      request.again()
    else
      self.requests_[place] = request
    end
  end
end

--- Takes one message. Returns false if there is none; that the socket is at its
--- end says nothing: the reaper will. What talks nonsense is no keeper.
local function take(self)
  local what, a, b, c, d = self.handle:receive()
  if what == "done" then
    if self.requests_[a] then
      settle(self, a, { living = b, forced = c, left = d })
    end
  elseif what == "exit" then
    leaving_count = leaving_count + 1
    self.is_leaving_ = true
    self.owner_:on_reaped_()
  elseif what == "empty" then
    self.is_empty_ = true
    self.owner_:on_empty_(a)
  elseif what == "emptied" then
    local group = drop_group(a)
    if group then group:on_emptied_(b) end
  elseif what == "lost" then
    on_lost(self, a)
  else
    if a == EPROTO then self.process_:kill(SIGKILL) end
    if a ~= EAGAIN then self.watched_:listen(false, false) end
    return false
  end
  return self.watched_ ~= nil
end

--- Takes all that it has sent; first, what waits to be sent to it.
--- @param writable boolean? there is room for it
function Keeper:take(_, writable)
  if writable and self.last_queued_ > 0 then send_queued(self) end
  while self.watched_ and take(self) do unheard = 0 end
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
  local handle, errno = core.keeper(fd, keeper.is_forbidden("no_children"))
  if not handle then
    return nil, errors.system(errno, "spawn", { stage = "pipe" })
  end
  return setmetatable({ handle = handle, requests_ = {}, pending_ = 0,
    queue_ = {}, first_queued_ = 1, last_queued_ = 0 }, Keeper)
end

--- Takes back a keeper that was not started.
function Keeper:abandon() self.handle:close() end

--- Begins to listen to a keeper that was started.
--- @param spawned userdata orrery.spawn
--- @param owner table? see the class
--- @return true? ok
--- @return Error? err (ENOMEM)
function Keeper:watch(spawned, owner)
  self.owner_, self.process_ = owner, spawned
  reaper.watch(spawned, self)
  local err
  self.watched_, err = poller.watch(self.handle:fileno(), self.take, self)
  if not self.watched_ then return nil, err end
  return true
end

--- Has a keeper watch a group.
local function hand_over(self, id, group)
  self.lingers_ = true
  send(self, "adopt", id, group.path, group.made, group.die, group.is_entered)
end

--- Starts the keeper that serves. It takes over the groups of one that ended.
--- @return Keeper? self
--- @return Error? err
local function start_serving()
  local self, err = keeper.new()
  if not self then return nil, err end
  local null, errno = core.null_fd()
  if not null then return nil, errors.system(errno, "open") end
  local env = keeper.is_forbidden("no_children")
    and { "ORRERY_FORCE=no_children" } or {}
  local spawned
  spawned, errno = core.spawn("/proc/self/fd/" .. SERVED,
    { "orrery-keeper", "serve", "3" },
    { null, null, null, self.handle:peer(), program:fileno() }, env,
    { unmarked = true, no_script = true })
  self.handle:close_peer()
  if not spawned then return nil, errors.system(errno, "spawn") end
  local ok
  ok, err = self:watch(spawned)
  if not ok then return nil, err end
  serving, serving_count = self, serving_count + 1
  for id, group in pairs(groups) do hand_over(self, id, group) end
  return self
end

--- Returns the keeper that serves, which is started if there is none.
--- @return Keeper? self
--- @return Error? err
function keeper.serve()
  if serving then return serving end
  return start_serving()
end

--- Tells whether a keeper is there that serves, or whose program has ended. One
--- that has nothing to do is let go.
--- @return boolean
function keeper.are_leaving()
  if serving then dismiss(serving) end
  return serving_count + leaving_count > 0
end

--- Has a group watched until it is empty: group:on_emptied_(usage) is called
--- then, and its directories are removed.
--- @param group Group gets `id`
--- @return true? ok
--- @return Error? err
function keeper.adopt(group)
  local self, err = keeper.serve()
  if not self then return nil, err end
  local id = table.remove(free_ids) or group_count + 1
  group.id, groups[id], group_count = id, group, group_count + 1
  hand_over(self, id, group)
  return true
end

--- Has the directories of a group removed that nobody has entered.
--- @param group Group
function keeper.forget(group)
  if serving then send(serving, "forget", group.id) end
  drop_group(group.id)
end

--- Returns the keeper that is to be asked about a family.
local function keeper_of(family)
  if family and family.handle and not family.is_gone_ then return family end
  return keeper.serve()
end

--- Asks a keeper for something; `done(result)` is called once it is done, as
--- {living, forced, left}; `done(nil)` if no keeper can do it.
--- @param family Keeper|Group|nil nil, or one that is lost: it is looked for
--- @param op "signal"|"end"
--- @param what {signal: integer, grace: integer?, root: (fun(): integer?),
---   born: integer, mark: string}
--- @param done fun(result: table?)
function keeper.request(family, op, what, done)
  last_id = last_id % 0xffffffff + 1
  local id, tries = last_id, 0
  local ask
  -- One that went while it sent a signal may have left members stopped.
  local function again()
    local group = family and family.id
    if op == "end" or what.signal == 0 or group or tries >= TRIES then
      return ask()
    end
    local continue = { signal = SIGCONT, root = what.root, born = what.born,
      mark = what.mark }
    keeper.request(nil, "signal", continue, function() ask() end)
  end
  function ask()
    tries = tries + 1
    local of = tries <= TRIES and keeper_of(family) or nil
    if not of then return loop.soon(done) end
    of.process_:kill(SIGCONT) -- if somebody has stopped it
    local group = family and not family.is_lost_ and family.id
    of.requests_[id] = { done = done, again = again, group = group,
      ends = op == "end" }
    of.pending_ = of.pending_ + 1
    of.watched_:set_ref(true)
    send(of, "request", op, id, what.signal,
      math.min(what.grace or 0, 0xffffffff), group or 0, what.root(),
      what.born, what.mark)
  end
  ask()
end

return keeper
