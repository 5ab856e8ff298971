--- What the workers of a cluster listen on: sockets that their primary has, as
--- long as one of them, old or new, wants the address. Workers ask for them
--- over their channel; the same address in several workers is one service.

local address = require "orrery.net.address"
local binding = require "orrery.net.binding"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local socket_file = require "orrery.net.socket_file"
local uv = require "orrery.runtime.luv"

local BACKLOG = 511 -- connections the kernel keeps until they are accepted
local LONGEST = 107 -- bytes of a path that fit into an address

local kinds = { tcp = true, pipe = true, udp = true }

local services = {}

--- @class Service
--- @field id integer
--- @field key string
--- @field kind "tcp"|"pipe"|"udp"
--- @field target table what was asked for
--- @field place table? where it is, as `address.own` has it
--- @field fd userdata? orrery.fd that listens; nil of "reuseport"
--- @field file table? that the socket has made
--- @field slots table<integer, userdata> orrery.fd of "reuseport", by slot
--- @field dispatched boolean? the primary accepts its connections
--- @field workers table<Worker, boolean> who want it
--- @field count integer of them

--- Returns what makes the services of workers one.
local function key_of(word)
  return table.concat({ word.kind, word.path or word.host or "",
    word.port or "", word.fd or "", word.index or 0 }, "\n")
end

-- Sockets --------------------------------------------------------------------

--- Tells whether a path is a socket's that nobody has any more. (A datagram to
--- one that somebody has comes to EPROTOTYPE.)
local function is_abandoned(path)
  local stat, probe = uv.fs_stat(path), core.unix_datagram()
  if not probe then return false end
  local _, errno = core.send_to(probe:fileno(), "", path)
  probe:close()
  return stat ~= nil and stat.type == "socket"
    and errno == core.errnos.ECONNREFUSED
end

--- Binds to a path. One that is too long for an address may be short enough if
--- it is seen from the working folder.
local function bind_path(path)
  local folder = uv.cwd() .. "/"
  if #path > LONGEST and path:sub(1, #folder) == folder then
    path = path:sub(#folder + 1)
  end
  local bound, err = binding.bind({ path = path })
  if bound or err.code ~= "EADDRINUSE" or not is_abandoned(path) then
    return bound, err
  end
  os.remove(path)
  return binding.bind({ path = path })
end

--- Makes a socket that is bound for a target.
--- @return Bound? bound
--- @return Error? err
local function bind(target, reuse_port)
  if target.fd then
    local from, errno = core.dup(target.fd)
    if not from then return nil, errors.system(errno, "dup") end
    return binding.bind({ from = from })
  elseif target.path then
    return bind_path(target.path)
  end
  return binding.bind({ port = target.port, ipv6_only = target.ipv6_only,
    reuse_port = reuse_port }, target.host)
end

local function bind_datagrams(target)
  local fd, errno
  if target.fd then
    fd, errno = core.dup(target.fd)
  else
    fd, errno = core.bind("udp", target.host, target.port, target)
  end
  if fd then return { fd = fd, kind = "udp", place = target } end
  return nil, address.failure(errors.code_of(errno), "bind", target)
end

--- Returns the listening socket of a service, or of one of its slots.
local function listening(self, reuse_port)
  local target = self.target
  if self.kind == "udp" then return bind_datagrams(target) end
  local bound, err = bind(target, reuse_port)
  if not bound then return nil, err end
  local ok, errno = core.listen(bound.fd:fileno(), target.backlog or BACKLOG)
  if ok then return bound end
  bound.fd:close()
  if bound.file then socket_file.remove(bound.file) end
  return nil, address.failure(errors.code_of(errno), "listen", target)
end

-- Services -------------------------------------------------------------------

--- @class Services of one cluster
--- @field native ClusterPrimary
--- @field by_key table<string, Service>
--- @field by_id table<integer, Service>
--- @field last_id integer
local Services = {}
Services.__index = Services

--- Ends a service that no worker wants any more.
local function close(self, service)
  self.by_key[service.key], self.by_id[service.id] = nil, nil
  if service.kind ~= "udp" then self.native:shut(service.id) end
  if service.file then socket_file.remove(service.file) end
  if service.fd then service.fd:close() end
  for _, fd in pairs(service.slots) do fd:close() end
end

--- Returns what the policy is to the core; nil if workers accept themselves.
local function dispatched_by(policy)
  if type(policy) == "function" then return "ask" end
  return (policy == "least" or policy == "rr") and policy or nil
end

--- Has the core divide the connections of a service; those that workers accept
--- themselves, if they give them back.
local function divide(self, service, policy)
  if service.kind == "udp" then return true end
  local by = dispatched_by(policy)
  service.dispatched = by ~= nil
  local ok, errno = self.native:open(service.id,
    by and service.fd:fileno() or nil, by or "least")
  if not ok then return nil, errors.system(errno, "listen") end
  return true
end

--- Opens a service. "reuseport" has a socket for each slot, but not of what is
--- no port.
local function open(self, key, word, policy)
  local service = { id = self.last_id + 1, key = key, kind = word.kind,
    target = word, slots = {}, workers = {}, count = 0 }
  if policy ~= "reuseport" or word.kind ~= "tcp" or word.fd then
    local bound, err = listening(service, false)
    if not bound then return nil, err end
    service.fd, service.file, service.kind = bound.fd, bound.file, bound.kind
    service.place = address.own(bound.fd:fileno())
  end
  local ok, err = divide(self, service, policy)
  if not ok then
    if service.fd then service.fd:close() end
    return nil, err
  end
  self.last_id = service.id
  self.by_key[key], self.by_id[service.id] = service, service
  return service
end

--- Returns the socket of a slot, which is made once; nil, err.
local function of_slot(service, slot)
  if service.slots[slot] then return service.slots[slot] end
  local bound, err = listening(service, true)
  if not bound then return nil, err end
  service.slots[slot] = bound.fd
  if not service.place then
    service.place = address.own(bound.fd:fileno())
    service.target.port = service.place.port -- that of all others, too
  end
  return bound.fd
end

--- Returns the service that a worker asks for, and the socket that it is to get
--- if it accepts by itself; nil, err.
local function find(self, worker, word, policy)
  local key = key_of(word)
  local service, err = self.by_key[key], nil
  if not service then service, err = open(self, key, word, policy) end
  if not service then return nil, err end
  if service.dispatched then return service end
  local fd = service.fd
  if not fd then fd, err = of_slot(service, worker.slot_) end
  if fd then return service, fd end
  if service.count == 0 then close(self, service) end
  return nil, err
end

--- Tells whether a word names a place: a worker may say anything.
local function is_place(word)
  return word.request and kinds[word.kind] and (word.port or word.path)
    and (word.port or 0) <= 65535 and (word.kind ~= "udp" or word.host)
end

--- Answers a worker that wants to listen. What it gets is a service's id, or a
--- socket, which goes over its hand-off socket.
--- @param worker Worker
--- @param word {request: integer, kind: string, host: string?, port: integer?,
---   path: string?, fd: integer?, backlog: integer?, ipv6_only: boolean?,
---   index: integer?}
--- @param policy string|function
function Services:ask(worker, word, policy)
  if not is_place(word) then return end
  local service, fd = find(self, worker, word, policy)
  if not service then
    worker:say_ { cluster = "listen", request = word.request,
      error = { code = fd.code, message = fd.message } }
    return
  end
  if not service.workers[worker] then service.count = service.count + 1 end
  service.workers[worker] = true
  worker.services_[service.id] = service
  worker:say_ { cluster = "listen", request = word.request,
    service = service.id, place = service.place,
    dispatched = service.dispatched or false }
  if fd then
    self.native:send_listening(worker.id, word.request, fd:fileno())
  end
end

--- Has a worker get the connections of a service, which it takes from now on.
--- @param worker Worker
--- @param id integer the service
--- @return Service? service nil if it has none of that id
function Services:join(worker, id)
  local service = worker.services_[id]
  if not service then return nil end
  worker.keys_[service.key] = true
  if service.kind ~= "udp" and not worker.leaving_ then
    self.native:join(worker.id, id)
  end
  return service
end

--- Has a worker get no more connections of a service, which it may still want.
--- @param worker Worker
--- @param service Service
function Services:stop(worker, service)
  if service.kind ~= "udp" then self.native:leave(worker.id, service.id) end
end

--- Takes in that a worker wants a service no more.
--- @param worker Worker
--- @param id integer
function Services:leave(worker, id)
  local service = worker.services_[id]
  if not service then return end
  self:stop(worker, service)
  worker.services_[id], worker.keys_[service.key] = nil, nil
  service.workers[worker] = nil
  service.count = service.count - 1
  if service.count == 0 then close(self, service) end
end

--- Takes in that a worker has ended.
--- @param worker Worker
function Services:lost(worker)
  for id in pairs(options.copy(worker.services_)) do self:leave(worker, id) end
end

--- Makes the services of a cluster.
--- @param native ClusterPrimary
--- @return Services
function services.new(native)
  return setmetatable(
    { native = native, by_key = {}, by_id = {}, last_id = 0 }, Services)
end

return services
