--- Counts connections that live in another process than the server which
--- accepted them. A server here waits in `close` for those that it gave away,
--- and counts them in `get_connections`; the process that got one says when it
--- is closed.
---
--- This is the only file that knows of both sides. The wires carry its words; a
--- server is told by its `moved_`, and a socket calls its `count_off_` when it
--- has ended.

local given_away = {}

--- @class Tally what is counted for one channel
--- @field there table<integer, integer> connections in the other process, by
---   the id of the server here
--- @field here table<string, Arrived> connections of the other process's
---   servers, by Node's key of such a server

--- @class Arrived
--- @field count integer of those that are open here
--- @field on_none function? called once there are none

local tallies = setmetatable({}, { __mode = "k" }) -- by channel

-- Servers here; these tables keep none of them alive.
local servers = setmetatable({}, { __mode = "v" }) -- by id
local ids = setmetatable({}, { __mode = "k" }) -- by server
local last_id = 0

--- @return Tally
local function tally_of(channel)
  local tally = tallies[channel]
  if not tally then
    tally = { there = {}, here = {} }
    tallies[channel] = tally
  end
  return tally
end

-- Connections of servers here, which live there ------------------------------

--- Returns the id under which the server of a socket counts it, to be sent
--- along; nil if no server does.
--- @param socket Socket
--- @return integer? id
function given_away.id_of(socket)
  local server = socket.server
  if not server or not socket.count_off_ then return nil end
  if not ids[server] then
    last_id = last_id + 1
    ids[server], servers[last_id] = last_id, server
  end
  return ids[server]
end

--- Changes what is counted of a server that lives still.
local function move(id, by)
  local server = servers[id]
  if server then server:moved_(by) end
end

--- Counts a connection that has been sent. Does nothing if the channel is
--- closed: nothing would tell of its end.
--- @param channel Channel
--- @param id integer of its server
function given_away.sent(channel, id)
  if channel.closed or not servers[id] then return end
  local there = tally_of(channel).there
  there[id] = (there[id] or 0) + 1
  move(id, 1)
end

--- Counts off a connection of a server: the other process says that it is
--- closed. That may say anything.
local function one_closed(channel, id)
  local tally = tallies[channel]
  local count = tally and tally.there[id]
  if not count then return end
  tally.there[id] = count > 1 and count - 1 or nil
  move(id, -1)
end

--- Counts off all connections of a server: the other process says that they are
--- closed.
--- @param channel Channel
--- @param id integer
function given_away.all_closed(channel, id)
  local tally = tallies[channel]
  local count = tally and tally.there[id]
  if not count then return end
  tally.there[id] = nil
  move(id, -count)
end

--- Takes a word of the other process's engine. Does nothing if it is unknown.
--- @param channel Channel
--- @param value any {closed = id}, or what another version may say
function given_away.hear(channel, value)
  if type(value) == "table" and value.closed then
    one_closed(channel, value.closed)
  end
end

--- Counts off all that is counted for a channel, which is closed: the other
--- process tells of nothing any more.
--- @param channel Channel
function given_away.lost(channel)
  local tally = tallies[channel]
  if not tally then return end
  tallies[channel] = nil
  for id, count in pairs(tally.there) do move(id, -count) end
end

-- Connections of servers there, which live here ------------------------------

--- Returns what is to be called when a connection has ended here: it tells the
--- other process, unless no more can be sent.
--- @param channel Channel
--- @param id any as the peer sent it
--- @return function? on_closed nil if no server of the peer's counts it
function given_away.reporter(channel, id)
  if math.type(id) ~= "integer" then return nil end
  return function()
    if channel:refusal_() then return end
    local queued = channel.wire_.internal(channel, { closed = id })
    if queued then channel:queued_(queued) end
  end
end

--- Counts a connection of a server of Node's, which asks when the last one has
--- ended. Returns what is to be called when this one has.
--- @param channel Channel
--- @param key string Node's name of the server
--- @return function on_closed
function given_away.arrived(channel, key)
  local here = tally_of(channel).here
  local arrived = here[key] or { count = 0 }
  here[key] = arrived
  arrived.count = arrived.count + 1
  return function()
    arrived.count = arrived.count - 1
    if arrived.count > 0 then return end
    here[key] = nil
    if arrived.on_none then arrived.on_none() end
  end
end

--- Returns how many connections of a server of Node's are open here.
--- @param channel Channel
--- @param key string
--- @return integer
function given_away.count(channel, key)
  local arrived = tally_of(channel).here[key]
  return arrived and arrived.count or 0
end

--- Calls fn() once no connection of a server of Node's is open here; at once if
--- there is none.
--- @param channel Channel
--- @param key string
--- @param fn function
function given_away.when_none(channel, key, fn)
  local arrived = tally_of(channel).here[key]
  if not arrived then return fn() end
  arrived.on_none = fn
end

return given_away
