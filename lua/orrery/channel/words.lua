--- What the engines of two processes say to each other over a channel, beside
--- the messages of their users.

local given_away = require "orrery.channel.given_away"
local loop = require "orrery.runtime.loop"

local words = {}

--- Takes a word of the other process's engine: of connections that have ended
--- there, or of a cluster, which is for the owner's `on_word_`. Does nothing if
--- it is unknown.
--- @param channel Channel
--- @param value any {closed = id}, {cluster = …}, or what another version says
function words.hear(channel, value)
  if type(value) ~= "table" then return end
  if value.closed then return given_away.hear(channel, value) end
  local on_word = rawget(channel.owner_, "on_word_")
  if not value.cluster or not on_word then return end
  local ok, err = pcall(on_word, channel.owner_, value)
  if not ok then loop.soon(error, err, 0) end -- a listener's, not the peer's
end

--- Says a word. Does nothing if the channel takes no more.
--- @param owner Emitter
--- @param value table
--- @return boolean said
function words.say(owner, value)
  local channel = owner.channel_
  if not channel or channel:refusal_() then return false end
  local ok, queued = pcall(channel.wire_.internal, channel, value)
  if not ok or not queued then return false end
  channel:queued_(queued)
  return true
end

return words
