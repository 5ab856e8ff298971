--- A worker's side of a cluster: `cluster` there. It knows itself, as
--- `cluster.worker`, and its servers listen where the primary does
--- (listening.lua).

local class = require "orrery.runtime.class"
local dotted = require "orrery.runtime.dotted"
local events = require "orrery.events"
local identity = require "orrery.cluster.identity"
local listening = require "orrery.cluster.listening"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local process = require "orrery.process"
local words = require "orrery.channel.words"

local DEADLINE = 10000 -- ms

local channel = process.channel
local bus = channel and channel.owner_ -- the emitter behind `process`

--- @class Member : Emitter this process as a worker; events: message(message,
---   handle), disconnect, error(err)
--- @field id integer
--- @field process table orrery.process
--- @field state "online"|"listening"|"disconnecting"|"disconnected"
--- @field exited_after_disconnect boolean?
local Member = class("orrery.Worker", events.Emitter)

local worker = { id = identity.id, process = process, state = "online" }

function Member.__tostring(self)
  return ("worker %d: %s"):format(self.id, self.state)
end

local function say(word)
  return bus ~= nil and words.say(bus, word)
end

-- Leaving --------------------------------------------------------------------

--- Ends the channel; then nothing of ours keeps the process.
local function leave()
  if worker.state == "disconnected" then return end
  worker.state = "disconnected"
  process.disconnect()
end

--- Takes no more connections, and leaves once those that there are have ended
--- or have gone to other workers; at the deadline the process exits.
local function begin_to_leave(word)
  if worker.exited_after_disconnect then return end
  worker.exited_after_disconnect = true
  worker.state = "disconnecting"
  local moves = type(word.moves) == "table" and word.moves or {}
  listening.close_all(moves, math.tointeger(word.deadline) or 0, leave)
end

local heard = {}

heard.disconnect = begin_to_leave

function heard.listen(word) listening.answer(word) end

function heard.share(word)
  listening.share(math.tointeger(word.service), math.tointeger(word.count))
end

-- What it can do -------------------------------------------------------------

--- Sends a message to the primary; see `process.send`.
function Member.send(_, ...) return process.send(...) end

--- Leaves the cluster: see `worker:disconnect` of the primary's workers.
--- @param deadline integer? ms, 10000
--- @return Member self
function Member:disconnect(deadline)
  if deadline ~= nil then
    options.argument("disconnect", "the deadline", deadline, options.checks.ms)
  end
  local word = { cluster = "leaving", deadline = deadline or DEADLINE }
  if self.state ~= "disconnected" and not say(word) then
    begin_to_leave(word)
  end
  return self
end

--- Sends this process a signal, at once.
--- @param signal string|integer? "SIGTERM"
--- @return boolean sent
function Member.kill(_, signal)
  return process.kill(process.pid, signal or "SIGTERM")
end
Member.destroy = Member.kill

--- Tells `cluster.reload` and `cluster.scale` that this worker serves: for one
--- whose predecessors do not listen, or that is ready before it does.
function Member.ready() say { cluster = "ready" } end

--- Tells whether the channel to the primary is open.
--- @return boolean
function Member.is_connected() return process.connected end

--- Tells whether it has ended, which it has not.
--- @return boolean
function Member.is_dead() return false end

local mirrored = {} -- disposers of listeners of the process's, by event

--- What the process hears, the worker does, if somebody listens here.
function Member:listeners_changed_(event, count)
  if event ~= "message" and event ~= "error" then return end
  if count > 0 and not mirrored[event] then
    mirrored[event] = process.on(event, function(...)
      self:emit(event, ...)
    end)
  elseif count == 0 and mirrored[event] then
    mirrored[event]()
    mirrored[event] = nil
  end
end

-- The module -----------------------------------------------------------------

local member = { is_primary = false, is_master = false, is_worker = true,
  worker = setmetatable(worker, Member) }

for _, name in ipairs { "setup_primary", "setup_master", "fork", "disconnect",
  "scale", "reload" } do
  member[name] = function()
    options.raise("cluster.%s is for the primary, and this is worker %d: ask "
      .. "cluster.is_primary first", name, identity.id)
  end
end

--- The channel has ended. Who has not left, nor ended it, has lost its primary.
local function on_disconnect()
  local chosen = channel.sending_ == "leaving" or channel.sending_ == "left"
  worker.state = "disconnected"
  worker.exited_after_disconnect = worker.exited_after_disconnect or chosen
  worker:emit("disconnect")
  if not worker.exited_after_disconnect then
    loop.soon(function() process.exit(1) end)
  end
end

if bus then
  function bus.on_word_(_, word)
    local fn = heard[word.cluster]
    if fn then fn(word) end
  end
  listening.begin(say, worker)
  process.on("disconnect", on_disconnect)
  say { cluster = "online" }
end

for name, method in pairs(events.Emitter) do
  if name:sub(1, 2) ~= "__" then
    member[name] = dotted(member, function(...) return method(member, ...) end)
  end
end

return member
