--- What a worker listens on: its primary has the sockets, and is asked for
--- them. Then connections come over the hand-off socket, or the listening
--- socket itself does, for a worker that accepts by itself.

local address = require "orrery.net.address"
local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local elsewhere = require "orrery.net.elsewhere"
local errors = require "orrery.runtime.errors"
local identity = require "orrery.cluster.identity"
local Listener = require "orrery.net.listener"
local loop = require "orrery.runtime.loop"
local native = require "orrery.cluster.native"
local poller = require "orrery.runtime.poller"

local BACKLOG = 511 -- connections the kernel keeps until they are accepted
local REST = 50 -- ms, until it is tried again to take what there are no fds for

local listening = {}

local hand_off -- ClusterWorker
local lent -- the poller's entry for it
local say -- function: says a word to the primary
local worker -- Member
local asked = {} -- by request: what waits for an answer
local last_request = 0
local indices = {} -- by address: which of its numbers are taken
local open = {} -- set of what listens: tables with server, service
local settled = false -- the primary has been told that all is listened on
local referenced = 0 -- handed services that keep the loop alive

-- Handed services ------------------------------------------------------------

--- @class Handed what connections come from that the primary has accepted: with
---   the interface of a luv handle
--- @field place_ table where that is
--- @field service integer
--- @field release function gives back what was asked for
local Handed = class "orrery.Handed"

local function count_ref(by)
  referenced = referenced + by
  lent:set_ref(referenced > 0)
end

function Handed:ref()
  if self.is_referenced or self.is_stopped then return end
  self.is_referenced = true
  count_ref(1)
end

function Handed:unref()
  if not self.is_referenced then return end
  self.is_referenced = false
  count_ref(-1)
end

--- Takes no more connections: what comes is given back.
function Handed:stop()
  if self.is_stopped then return end
  self:unref()
  self.is_stopped = true
  hand_off:leave(self.service)
end

function Handed.pause() end
function Handed.go_on() end
function Handed.fileno() return nil end
function Handed:is_closing() return self.is_closed or false end

function Handed:close(fn)
  self:stop()
  if not self.is_closed then self.release() end
  self.is_closed = true
  if fn then loop.soon(fn) end
end

-- Asking ---------------------------------------------------------------------

--- Returns the lowest number that no other listener of this address has here,
--- and what gives it back: a second one is an address in use, but of port 0.
local function take_index(word)
  local key = table.concat({ word.kind, word.path or word.host or "",
    word.port or "", word.fd or "" }, "\n")
  local taken = indices[key] or {}
  indices[key] = taken
  local index = 0
  while taken[index] do index = index + 1 end
  taken[index] = true
  return index, function() taken[index] = nil end
end

--- Asks the primary. `done(err, answer, fd)`
--- gets its word, and the orrery.fd of a socket unless the connections are
--- handed.
local function ask(word, syscall, done)
  last_request = last_request + 1
  word.cluster, word.request = "listen", last_request
  local give_back
  word.index, give_back = take_index(word)
  asked[last_request] = { done = done, give_back = give_back, word = word,
    syscall = syscall }
  if say(word) then return end
  asked[last_request] = nil
  give_back()
  loop.soon(done, errors.new("ERR_IPC_CHANNEL_CLOSED",
    "listen: the channel to the primary is closed"))
end

--- Has the asker go on once both have come: the answer, and a socket if there
--- is one.
local function settle(request)
  local entry = asked[request]
  local answer = entry.answer
  if not answer or not (answer.dispatched or answer.error or entry.fd) then
    return
  end
  asked[request] = nil
  loop.later(listening.tell_settled)
  if answer.error then
    entry.give_back()
    local word = entry.word
    return entry.done(address.failure(answer.error.code, entry.syscall,
      { address = word.host, port = word.port, path = word.path }))
  end
  entry.done(nil, answer, entry.fd, function()
    entry.give_back()
    say { cluster = "close", service = answer.service }
  end)
end

--- Tells the primary, once, that the script has run and waits for nothing that
--- it wants to listen on.
function listening.tell_settled()
  if settled or next(asked) then return end
  settled = true
  say { cluster = "settled" }
end

--- Takes in what the primary has answered.
--- @param word table
function listening.answer(word)
  local entry = asked[word.request]
  if not entry then return end
  entry.answer = word
  settle(word.request)
end

--- Takes in what has come over the hand-off socket.
local function on_socket(what, request, number)
  if what == "short" then
    return clock.after(REST, function() hand_off:go_on() end)
  elseif what ~= "listening" then
    return
  end
  local fd, entry = core.own(number), asked[request]
  if not entry then return fd:close() end
  entry.fd = fd
  settle(request)
end

--- Tells the primary, once the server has what it asked for.
local function tell(service, place, kind)
  if worker.state == "online" then worker.state = "listening" end
  local type_of = place.path and "unix" or place.family
  if kind == "udp" then type_of = "udp" .. (place.family or 4) end
  say { cluster = "listening", service = service,
    address = place.path or place.address, port = place.port,
    address_type = type_of }
end

--- Notes who listens, until that is closed; returns what does that.
local function note(server, service, release)
  local entry = { server = server, service = service }
  open[entry] = true
  return function()
    open[entry] = nil
    release()
  end
end

-- Servers --------------------------------------------------------------------

--- Has a server get connections that the primary accepts.
local function hand(server, answer, release)
  server:count_for_(hand_off)
  local handed = setmetatable({ place_ = answer.place,
    service = answer.service }, Handed)
  handed.release = note(server, answer.service, release)
  hand_off:limit(not server.drop_max_connection and server.max_connections
    or nil)
  hand_off:serve(answer.service, server:taker_())
  handed:ref()
  return handed
end

--- Has a server accept from a socket that others accept from, too.
local function accept(server, answer, fd, backlog, on_error, release)
  server:count_for_(hand_off)
  local listener, err = Listener.open({ fd = fd, kind = "tcp",
    place = answer.place or {} }, backlog, server, on_error)
  if not listener then
    release()
    return nil, err
  end
  local closed = note(server, answer.service, release)
  hand_off:serve(answer.service, server:taker_()) -- what others give back
  function listener.on_closed_()
    hand_off:leave(answer.service)
    closed()
  end
  return listener
end

--- See net/elsewhere.lua.
local function listen(server, target, ip, on_error, done)
  local path = target.path
  if path and path:sub(1, 1) ~= "/" then
    path = require "orrery.process".cwd() .. "/" .. path
  end
  ask({ kind = path and "pipe" or "tcp", host = ip, port = target.port,
    path = path, fd = target.fd, backlog = target.backlog,
    ipv6_only = target.ipv6_only }, "listen", function(err, answer, fd, release)
    if err then return done(err) end
    local kind = answer.place and answer.place.path and "pipe" or "tcp"
    local listener
    if fd then
      listener, err = accept(server, answer, fd, target.backlog or BACKLOG,
        on_error, release)
    else
      listener = hand(server, answer, release)
    end
    done(err, listener, kind)
    if listener and not listener:is_closing() then
      tell(answer.service, server:address(), kind)
    end
  end)
end

--- See net/elsewhere.lua.
local function bind(socket, place, ip, done)
  local settings = socket.settings_
  ask({ kind = "udp", host = ip, port = place.port, fd = place.fd,
    ipv6_only = settings.ipv6_only, reuse_addr = settings.reuse_addr,
    reuse_port = settings.reuse_port, type = socket.type }, "bind",
    function(err, answer, fd, release)
      if err then return done(err) end
      local at = address.own(fd:fileno())
      done(nil, fd)
      if socket.closed then return release() end
      socket:once("close", note(socket, answer.service, release))
      tell(answer.service, at, "udp")
    end)
end

--- Takes note of what this process listens on by itself, which ends with all
--- else.
local function opened(server)
  local entry = { server = server }
  open[entry] = true
  server:once("close", function() open[entry] = nil end)
end

-- The end --------------------------------------------------------------------

--- Gives away some idle connections of a service.
--- @param service integer?
--- @param count integer?
function listening.share(service, count)
  for entry in pairs(open) do
    if entry.service == service and entry.server.share_ and count then
      entry.server:share_(hand_off, service, count)
    end
  end
end

--- Closes all servers that listen; calls `done` once their connections have
--- ended, or have gone to other workers. At the deadline the process exits.
--- @param moves table<string, boolean> services that others go on with
--- @param deadline integer ms
--- @param done function
function listening.close_all(moves, deadline, done)
  local left = 1
  local function exit() require "orrery.process".exit() end
  clock.after(deadline, exit):set_ref(false)
  local function one_less()
    left = left - 1
    if left > 0 then return end
    done()
    if next(asked) then exit() end -- nobody is going to answer
  end
  local servers = {}
  for entry in pairs(open) do servers[#servers + 1] = entry end
  for _, entry in ipairs(servers) do
    local server = entry.server
    if moves[tostring(entry.service)] and server.give_idle_ then
      server:give_idle_(hand_off, entry.service)
    end
    left = left + 1
    server:close(one_less)
  end
  loop.soon(one_less)
end

--- Begins to be a worker.
--- @param say_word fun(word: table): boolean says it to the primary
--- @param member Member
function listening.begin(say_word, member)
  say, worker = say_word, member
  local set, entry = poller.lend { name_ = function() return "cluster" end }
  if not set then errors.raise(entry) end
  lent = entry
  local made, errno = native.worker(identity.socket, identity.page, set,
    on_socket)
  if not made then
    errors.raise(errors.system(errno, "cluster",
      { path = "the hand-off socket" }))
  end
  hand_off = made
  elsewhere.road = { listen = listen, bind = bind, opened = opened }
  loop.later(listening.tell_settled)
end

return listening
