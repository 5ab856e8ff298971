--- Connections that a server here has accepted and that live in other processes by
--- now: whoever got one tells when it is closed, so that `server:close` can wait
--- for them and `get_connections` counts them.

local given_away = {}

local servers = setmetatable({}, { __mode = "v" }) -- by id
local last_id = 0

--- What to send along with a connection, so that its end is reported; nil where
--- no server counts it.
--- @param socket Socket
--- @return integer? id
function given_away.id_of(socket)
  local server = socket.server
  if not server or not socket.count_off_ then return nil end
  if not server.id_ then
    last_id = last_id + 1
    server.id_ = last_id
    servers[last_id] = server
  end
  return server.id_
end

--- A connection of server `id` has gone over `channel`.
function given_away.sent(channel, id)
  local server = servers[id]
  if not server then return end
  channel.sent_connections = channel.sent_connections or {}
  channel.sent_connections[id] = (channel.sent_connections[id] or 0) + 1
  server:moved_(1)
end

--- The other side says that one was closed. It may say anything.
function given_away.closed(channel, id)
  local counts = channel.sent_connections
  local count = counts and counts[id]
  if not count then return end
  counts[id] = count > 1 and count - 1 or nil
  if servers[id] then servers[id]:moved_(-1) end
end

--- Takes a word between the engines, of which this is the only one that is known.
function given_away.hear(channel, value)
  if type(value) == "table" and value.closed then
    given_away.closed(channel, value.closed)
  end
end

--- Tells the other side that a connection which it sent is closed.
function given_away.report(channel, id)
  if channel:refusal_() then return end
  local queued = channel.wire.internal(channel, { closed = id })
  if queued then channel:queued_(queued) end
end

--- The other side has gone, and its connections with it.
function given_away.lost(channel)
  for id, count in pairs(channel.sent_connections or {}) do
    if servers[id] then servers[id]:moved_(-count) end
  end
  channel.sent_connections = nil
end

return given_away
