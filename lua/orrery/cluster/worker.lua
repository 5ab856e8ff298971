--- A worker, as its primary sees it.

local class = require "orrery.runtime.class"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local options = require "orrery.runtime.options"
local words = require "orrery.channel.words"

local DEADLINE = 10000 -- ms

--- @class Worker : Emitter events: online, listening(address), message(message,
---   handle), disconnect, exit(code, signal), error(err)
--- @field id integer from 1 on, never used again
--- @field process Child
--- @field state "none"|"online"|"listening"|"disconnecting"|"disconnected"|
---   "dead"
--- @field exited_after_disconnect boolean? nil until it, or its channel, has
---   ended; true if it was told to leave, or left by itself
--- @field connections integer that are open there (0 once it has ended)
--- @field busy integer requests in progress there
--- @field stalled boolean it has taken nothing for `stall` ms
--- @field primary_ table what it is a worker of
--- @field slot_ integer its place among the listening sockets of "reuseport"
--- @field services_ table<integer, Service> that it listens to
--- @field keys_ table<string, boolean> of the addresses that it listens on
--- @field leaving_ boolean? it was told to leave
--- @field is_new_ boolean? a reload has started it, and waits for it: it is not
---   to be replaced if it ends
--- @field ready_ boolean? it has said so
--- @field settled_ boolean? its script has run, and waits for no socket
local Worker = class("orrery.Worker", events.Emitter)

function Worker.__tostring(self)
  return ("worker %d: %s"):format(self.id, self.state)
end

--- What is asked of its page: connections, busy, stalled.
local loads = { connections = 1, busy = 2, stalled = 4 }

local methods = Worker.__index
function Worker.__index(self, name)
  local place = loads[name]
  if not place then return methods[name] end
  if self.state == "dead" then return place < 4 and 0 end
  return (select(place, self.primary_.native:load(self.id)))
end

--- Sends a message to the worker; see `child:send`.
--- @return boolean go_on
function Worker:send(...) return self.process:send(...) end

--- Sends it a signal, at once. It does not leave before.
--- @param signal string|integer? "SIGTERM"
--- @return boolean sent false once it has ended
--- @return Error? err (EPERM)
function Worker:kill(signal) return self.process:kill(signal) end
Worker.destroy = Worker.kill

--- Has the worker leave: it takes no more connections; those that are idle go
--- to other workers, unseen by their clients, or are closed if there are none;
--- those with a request in progress follow after their answer, and at the
--- deadline what is left is closed. Then its channel ends. Messages may be sent
--- until then. Again, it changes nothing.
--- @param deadline integer? ms, 10000
--- @return Worker self
function Worker:disconnect(deadline)
  if deadline ~= nil then
    options.argument("disconnect", "the deadline", deadline, options.checks.ms)
  end
  self.primary_:let_go(self, deadline or DEADLINE)
  return self
end

--- Tells whether its channel is open.
--- @return boolean
function Worker:is_connected() return self.process.connected or false end

--- Tells whether it has ended.
--- @return boolean
function Worker:is_dead() return self.state == "dead" end

--- Says that it can serve: for workers only.
function Worker.ready()
  options.raise("worker:ready is for the worker itself: ask "
    .. "cluster.is_primary")
end

--- Says a word of ours to it.
--- @param word table with a field `cluster`
--- @return boolean said
function Worker:say_(word) return words.say(self.process, word) end

--- Emits `error`, if somebody listens to that.
--- @param code string
--- @param message string
function Worker:fail_(code, message)
  if self:listener_count("error") == 0 then return end
  self:emit("error", errors.new(code, message))
end

return Worker
