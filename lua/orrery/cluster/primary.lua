--- The primary of a cluster: forks workers, has their listening sockets, and
--- divides the connections among them. Its events: fork(worker),
--- online(worker), listening(worker, address), message(worker, message,
--- handle), disconnect(worker), exit(worker, code, signal), setup(settings).

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local dotted = require "orrery.runtime.dotted"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local fork = require "orrery.child_process.fork"
local identity = require "orrery.cluster.identity"
local loop = require "orrery.runtime.loop"
local native = require "orrery.cluster.native"
local options = require "orrery.runtime.options"
local poller = require "orrery.runtime.poller"
local scheduler = require "orrery.runtime.scheduler"
local services = require "orrery.cluster.services"
local settings = require "orrery.cluster.settings"
local Worker = require "orrery.cluster.worker"

local EVENINGS, EVENING = 50, 100 -- how often, and ms between two of them
local MOST = 0x7fffffff -- of a number in a word
local OVERTIME = 2000 -- ms after its deadline in which a worker has to end

--- @class Cluster : Emitter
--- @field is_primary boolean
--- @field is_worker boolean
--- @field is_master boolean the same as is_primary
--- @field workers table<integer, Worker> by id, until they have ended
--- @field settings table empty until setup_primary or the first fork
--- @field scheduling_policy string|function
--- @field native ClusterPrimary
--- @field services_ Services
--- @field last_id_ integer
--- @field slots_ table<integer, Worker> by slot
local Cluster = class("orrery.Cluster", events.Emitter)

local cluster = { is_primary = true, is_master = true, is_worker = false,
  workers = {}, settings = {}, last_id_ = 0, slots_ = {} }
local policy = settings.default_policy()

-- The core's part ------------------------------------------------------------

--- Returns a connection as policies see it.
local function describe(number)
  local own, own_port, peer, peer_port, family = core.addresses(number)
  return { local_address = own, local_port = own_port, remote_address = peer,
    remote_port = peer_port, remote_family = family }
end

--- Returns the workers that take connections of a service, in the order of
--- their ids.
local function takers(service)
  local list = {}
  for worker in pairs(service.workers) do
    if not worker.leaving_ and worker.keys_[service.key] then
      list[#list + 1] = worker
    end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

--- Asks the user's policy for the worker of a connection. One that raises has
--- its connection go nowhere, and the error is uncaught.
local function ask(id, number)
  local service = cluster.services_.by_id[id]
  local ok, worker = pcall(policy, describe(number), takers(service))
  if not ok then
    loop.soon(error, worker, 0)
    return nil
  end
  if worker == nil then return nil end
  if getmetatable(worker) == Worker and service.workers[worker]
    and not worker.leaving_ then
    return worker.id
  end
  loop.soon(error, ("cluster.scheduling_policy must return one of the workers "
    .. "that it was given, or nil, got %s"):format(options.got(worker)), 0)
end

--- Takes in that a worker has shut its hand-off socket, or sent nonsense there:
--- it would get no connections any more.
local function on_broken(id)
  local worker = cluster.workers[id]
  if not worker then return end
  loop.soon(function()
    worker:fail_("EPROTO", ("worker %d has broken its hand-off socket, and is "
      .. "killed"):format(id))
    worker.process:kill("SIGKILL")
  end)
end

--- Makes the core's part with the first worker.
local function open()
  if cluster.native then return end
  local set, lent = poller.lend(cluster)
  if not set then errors.raise(lent) end
  local made, errno = native.primary(set, ask, on_broken)
  if not made then
    lent:close()
    errors.raise(errors.system(errno, "timerfd_create"))
  end
  cluster.native, cluster.services_ = made, services.new(made)
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function Cluster.name_() return "cluster" end

-- Evening out ----------------------------------------------------------------

--- Has workers that have more than their share of a service's connections give
--- some of those that are idle to the others: to one apart. Returns whether
--- that is so already.
local function even_out_once(service)
  local list, counts, all = takers(service), {}, 0
  for _, worker in ipairs(list) do
    counts[worker] = worker.connections
    all = all + counts[worker]
  end
  table.sort(list, function(a, b) return counts[a] > counts[b] end)
  local count, even = math.max(#list, 1), true
  for i, worker in ipairs(list) do
    local share = all // count + (i <= all % count and 1 or 0)
    local above = counts[worker] - share
    if above > 0 then
      even = false
      worker:say_ { cluster = "share", service = service.id, count = above }
    end
  end
  return even
end

--- Does so again and again, for others will be idle then, until it has found
--- nothing to do twice.
local function even_out(service, times, found_even)
  if cluster.services_.by_id[service.id] ~= service then return end
  local even = even_out_once(service)
  if times <= 1 or even and found_even then return end
  clock.after(EVENING, function()
    even_out(service, times - 1, even)
  end):set_ref(false)
end

-- Words of workers -----------------------------------------------------------

local heard = {}

function heard.online(worker)
  if worker.state == "none" then worker.state = "online" end
  worker:emit("online")
  cluster:emit("online", worker)
end

function heard.listen(worker, word)
  if worker.leaving_ then return end
  cluster.services_:ask(worker, word, policy)
end

function heard.listening(worker, word)
  local service = cluster.services_:join(worker, word.service)
  if service and policy == "least" and cluster.settings.move then
    even_out(service, EVENINGS)
  end
  if not worker.leaving_ then worker.state = "listening" end
  local at = { address = word.address, port = word.port,
    address_type = word.address_type }
  worker:emit("listening", at)
  cluster:emit("listening", worker, at)
end

function heard.close(worker, word)
  cluster.services_:leave(worker, word.service)
end

function heard.leaving(worker, word)
  cluster:let_go(worker, math.tointeger(word.deadline) or 0)
end

function heard.settled(worker)
  worker.settled_ = true
  worker:emit("ready_")
end

function heard.ready(worker)
  worker.ready_ = true
  worker:emit("ready_")
end

--- What the fields of words are; each may be missing.
local fields = { service = "integer", request = "integer", port = "integer",
  fd = "integer", backlog = "integer", index = "integer", deadline = "integer",
  kind = "string", host = "string", path = "string", type = "string",
  ipv6_only = "boolean", reuse_addr = "boolean", reuse_port = "boolean",
  address_type = "any", address = "string", cluster = "string" }

--- Tells whether a word is one: a worker may say anything.
local function is_good(word)
  for name, value in next, word do
    local kind = fields[name]
    if kind == "integer" then
      if math.type(value) ~= kind or value < 0 or value > MOST then
        return false
      end
    elseif kind ~= "any" and type(value) ~= kind then
      return false
    end
  end
  return true
end

--- Takes a word of a worker.
local function on_word(worker, word)
  local fn = heard[word.cluster]
  if fn and is_good(word) then fn(worker, word) end
end

-- A worker's life ------------------------------------------------------------

--- Notes whether it has left because it was told to, once it is clear.
local function note_reason(worker)
  if worker.exited_after_disconnect == nil then
    worker.exited_after_disconnect = worker.leaving_ or worker.is_new_ or false
  end
end

local function on_disconnect(worker)
  note_reason(worker)
  if worker.state ~= "dead" then worker.state = "disconnected" end
  worker:emit("disconnect")
  cluster:emit("disconnect", worker)
end

--- Gives back what a worker has had.
local function bury(worker)
  if worker.state == "dead" then return end
  note_reason(worker)
  worker.state = "dead"
  if worker.deadline_ then worker.deadline_:stop() end
  cluster.services_:lost(worker)
  cluster.native:remove(worker.id)
  if cluster.slots_[worker.slot_] == worker then
    cluster.slots_[worker.slot_] = nil
  end
  cluster.workers[worker.id] = nil
end

local function on_exit(worker, code, signal)
  bury(worker)
  worker:emit("exit", code, signal)
  cluster:emit("exit", worker, code, signal)
end

--- Listens to what becomes of a worker.
local function look_after(worker)
  local child = worker.process
  function child.on_word_(_, word) on_word(worker, word) end
  child:on("message", function(message, handle)
    worker:emit("message", message, handle)
    cluster:emit("message", worker, message, handle)
  end)
  child:on("disconnect", function() on_disconnect(worker) end)
  child:on("exit", function(code, signal) on_exit(worker, code, signal) end)
  child:on("error", function(err)
    if not child.pid then bury(worker) end
    worker:emit("error", err)
  end)
end

-- Starting -------------------------------------------------------------------

--- Returns stdio with the two fds of a worker behind what was asked for, and
--- which fds they are there.
local function stdio_of(all, socket, page)
  local given = all.stdio
  if given == nil then given = all.silent and "pipe" or "inherit" end
  local list, last = {}, 0
  if type(given) == "string" then
    list, last = { given, given, given, "ipc" }, 4
  else
    for key, value in next, given do
      list[key] = value
      if math.type(key) == "integer" and key > last then last = key end
    end
    if last < 3 then last = 3 end
  end
  list[last + 1], list[last + 2] = socket, page
  return list, last, last + 1
end

--- Returns a table with what both have; the second one's win.
local function merged(first, second)
  local all = options.copy(first or {})
  for name, value in next, second or {} do all[name] = value end
  return all
end

--- Returns the lowest slot that no worker has.
local function free_slot()
  local slot = 1
  while cluster.slots_[slot] do slot = slot + 1 end
  return slot
end

--- Returns the options that `fork` of child_process takes.
local function start_options(own, id, env)
  local all = merged(cluster.settings, own)
  for _, name in ipairs { "exec", "args", "credit", "stall", "move" } do
    all[name] = nil
  end
  local socket, page = cluster.native:add(id)
  if not socket then errors.raise(errors.system(page, "socketpair")) end
  local socket_fd, page_fd
  all.stdio, socket_fd, page_fd = stdio_of(all, socket, page)
  all.silent = nil
  all.env_extend = merged(all.env_extend, env)
  local name, value = identity.variable(id, socket_fd, page_fd)
  all.env_extend[name] = value
  if all.die_with_parent == nil then all.die_with_parent = true end
  return all
end

--- Starts a worker.
--- @param env table?
--- @param own table? options of its own
--- @param slot integer? that of the one whose place it takes
--- @return Worker
local function start(env, own, slot)
  local id = cluster.last_id_ + 1
  cluster.last_id_ = id
  local given = merged(cluster.settings, own)
  if given.exec == nil then
    options.raise("cluster.fork: there is no script to run: give "
      .. "setup_primary{exec=...}")
  end
  local all = start_options(own, id, env)
  local started, child = pcall(fork.fork, given.exec, given.args, all)
  if not started then
    cluster.native:remove(id)
    error(child, 0)
  end
  local worker = setmetatable({ id = id, state = "none", process = child,
    primary_ = cluster, services_ = {}, keys_ = {}, env_ = env, own_ = own,
    slot_ = slot or free_slot() }, Worker)
  cluster.workers[id] = worker
  cluster.slots_[worker.slot_] = worker
  look_after(worker)
  loop.soon(cluster.emit, cluster, "fork", worker)
  return worker
end
Cluster.start_ = function(_, ...) return start(...) end

--- Sets how workers are started from now on; again, it changes what is given.
--- Emits `setup`.
--- @param given table? exec (this script), args (its arguments), exec_path,
---   exec_argv, cwd, env, silent, stdio, serialization, uid, gid; credit: how
---   many connections wait in a worker at most (16); stall: for how many ms,
---   before they go to another one (100); move: whether idle HTTP connections
---   may go to another worker (true)
function Cluster.setup_primary(given)
  given = settings.check(given)
  open()
  for name, value in next, given do cluster.settings[name] = value end
  settings.complete(cluster.settings)
  cluster.native:set(cluster.settings.credit, cluster.settings.stall)
  loop.soon(cluster.emit, cluster, "setup", cluster.settings)
end
Cluster.setup_master = Cluster.setup_primary

--- Starts a worker: the script again, in a process of its own, with a channel.
--- @param env table<string, any>? variables beside ours
--- @param own table? options of `spawn`, and exec, args, exec_path, exec_argv,
---   silent, serialization: for this one, in place of the settings'
--- @return Worker
function Cluster.fork(env, own)
  if env ~= nil and type(env) ~= "table" then
    options.raise("cluster.fork: the environment must be a table of names and "
      .. "values, got %s", options.got(env))
  end
  own = settings.check_one(own)
  if not cluster.settings.credit then cluster.setup_primary() end
  return start(env, own)
end

-- Leaving --------------------------------------------------------------------

--- Tells whether another worker takes connections of a service.
local function has_others(worker, service)
  for other in pairs(service.workers) do
    if other ~= worker and not other.leaving_ and other.keys_[service.key] then
      return true
    end
  end
  return false
end

--- Tells a worker to leave.
--- @param worker Worker
--- @param deadline integer ms
function Cluster:let_go(worker, deadline)
  if worker.leaving_ or worker.state == "dead" then return end
  worker.leaving_ = true
  worker.exited_after_disconnect = true
  local moves = {}
  for id, service in pairs(worker.services_) do
    self.services_:stop(worker, service)
    moves[tostring(id)] = self.settings.move and service.kind ~= "udp"
      and has_others(worker, service) or false
  end
  if worker.state ~= "disconnected" then worker.state = "disconnecting" end
  if not worker:say_ { cluster = "disconnect", deadline = deadline,
    moves = moves } then
    worker.process:disconnect()
  end
  worker.deadline_ = clock.after(deadline + OVERTIME, function()
    worker.process:kill("SIGKILL")
  end)
end

--- Has all workers leave, and calls done() when none is left.
local function let_all_go(done)
  local left = 1
  local function one_less()
    left = left - 1
    if left == 0 then done() end
  end
  for _, worker in pairs(options.copy(cluster.workers)) do
    left = left + 1
    worker:once("exit", one_less)
    worker:disconnect()
  end
  loop.soon(one_less)
end

--- Has all workers leave, and calls `cb` when none is left. Waits for that if a
--- task calls without `cb`. [w]
--- @param cb fun()?
--- @return true? ok if it has waited
function Cluster.disconnect(cb)
  if cb ~= nil then
    options.argument("cluster.disconnect", "the callback", cb,
      options.checks.callback)
  end
  if cb or not scheduler.current() or scheduler.forbidden("disconnect") then
    return let_all_go(cb or function() end)
  end
  return scheduler.wait(function(wake)
    let_all_go(function() wake(true) end)
  end, nil, "disconnect")
end

-- Properties -----------------------------------------------------------------

local rolling = require "orrery.cluster.rolling"

--- Has so many workers; see rolling.lua. [w]
function Cluster.scale(count) return rolling.scale(cluster, count) end

--- Starts a new worker for each; see rolling.lua. [w]
function Cluster.reload(opts) return rolling.reload(cluster, opts) end

local methods = Cluster.__index
function Cluster.__index(_, name)
  if name == "scheduling_policy" then return policy end
  return methods[name]
end

function Cluster.__newindex(self, name, value)
  if name ~= "scheduling_policy" then return rawset(self, name, value) end
  if self.last_id_ > 0 then
    options.raise("cluster.scheduling_policy can be set before the first fork "
      .. "only")
  end
  policy = settings.policy(value)
end

-- All are called with a dot or a colon, as those of `process`.
for _, name in ipairs { "setup_primary", "setup_master", "fork", "disconnect",
  "scale", "reload" } do
  cluster[name] = dotted(cluster, Cluster[name])
end
for name, method in pairs(events.Emitter) do
  if name:sub(1, 2) ~= "__" then
    cluster[name] = dotted(cluster, function(...)
      return method(cluster, ...)
    end)
  end
end

return setmetatable(cluster, Cluster)
