--- Responses of a server: what is added to the core's userdata so that they can
--- be written as any stream is.

local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local native = require "orrery.http.native"
local options = require "orrery.runtime.options"
local writing = require "orrery.stream.writing"

--- @class ServerResponse : Emitter events: drain, finish, close
--- @field status_code integer 200; may be set until the head is written
--- @field status_message string the standard text, unless it is set
--- @field headers_sent boolean the head is written, or may not be changed
--- @field finished boolean
--- @field writable boolean
--- @field closed boolean the client has all of it, or has gone
--- @field req ServerRequest
--- @field callbacks_ function[]? of writes that are not sent so far
local Response = native.response.methods

events.extend(Response)
Response.write_wait = writing.write_wait

native.response.getters.socket = function(self) return self.req.socket end

local metatable = native.response.metatable
metatable.__name = "orrery.http.ServerResponse"

function metatable.__tostring(self)
  return ("response %d to %s %s"):format(self.status_code, self.req.method,
    self.req.url)
end

--- Calls the callbacks of writes.
local function answer(self, err)
  local callbacks = self.callbacks_
  if not callbacks then return end
  self.callbacks_ = nil
  for _, cb in ipairs(callbacks) do loop.soon(cb, err) end
end

--- Refuses a write: tells the callback, and the `error` listeners if there are
--- any. That a client has gone is nothing that ends a server.
--- @param cb function?
function Response:refuse_(cb)
  if cb == nil and not self.listeners_ then return end
  local err = self.finished
    and errors.new("ERR_STREAM_WRITE_AFTER_END", "write after finish",
      { of_ = self })
    or errors.luv("ECONNRESET", "write", { of_ = self })
  if cb ~= nil then
    options.argument("write", "the callback", cb, options.checks.callback)
    loop.soon(cb, err)
  end
  if self:listener_count("error") > 0 then
    loop.soon(self.emit, self, "error", err)
  end
end

--- Cuts the connection, unless the client has all of it.
function Response:destroy() self.req:destroy() end

--- Tells that all that was written so far is with the kernel.
function Response:on_flushed_()
  answer(self)
  self:emit("drain")
end

--- Tells that the response is with the kernel as a whole.
function Response:on_sent_()
  answer(self)
  self:emit("finish")
  self:emit("close")
end

--- Tells that the client has gone before it had all of it.
function Response:on_cut_()
  answer(self, errors.luv("ECONNRESET", "write", { of_ = self }))
  self:emit("close")
end

return Response
