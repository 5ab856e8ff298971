--- Requests that a server gets: what is added to the core's userdata so that
--- its body is read as any stream is. A request has fields of its own once
--- something is put into it; until then it costs a pointer.

local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local http_socket = require "orrery.http.server_socket"
local loop = require "orrery.runtime.loop"
local native = require "orrery.http.native"
local reading = require "orrery.stream.reading"
local stream = require "orrery.stream"

--- @class ServerRequest : Emitter, Stream events: data(chunk), end, aborted,
---   close
--- @field method string
--- @field url string as it was sent: a path with a query, mostly
--- @field headers table<string, string|string[]> by lower-case name
--- @field raw_headers string[] names and values in turn, as they were sent
--- @field trailers table<string, string|string[]> once all has been read
--- @field raw_trailers string[]
--- @field http_version "1.0"|"1.1"
--- @field complete boolean all of it has come
--- @field aborted boolean the client, or the server, has cut it off
--- @field socket HttpSocket its connection
--- @field on_body_ function? reads the body: see `read_start`
--- @field destroyed_ boolean?
local Request = native.request.methods

events.extend(Request)
for name, member in pairs(reading) do Request[name] = member end
Request.pipe = stream.Stream.pipe

Request.readable = true
Request.chunks_ = {} -- of all that have read nothing so far: never changed
Request.quiet_ = true -- a client that goes is no error of the server's
Request.ends_whole_ = true -- what is cut off must not be taken for a body

native.request.getters.socket = function(self)
  local socket = http_socket.of(self)
  self.socket = socket
  return socket
end

local metatable = native.request.metatable
metatable.__name = "orrery.http.ServerRequest"

function metatable.__tostring(self)
  return ("request %s %s"):format(self.method, self.url)
end

-- The body -------------------------------------------------------------------

--- Gives what has come of the body to what reads it.
local function deliver(self)
  if not self.on_body_ then return end
  local chunk, at_end, cut = self:take_()
  if chunk then self.on_body_(nil, chunk) end
  if at_end and self.on_body_ then
    self.on_body_(cut and "ECONNRESET" or nil)
  end
end

--- Tells that some of the body has come, or that no more will.
function Request:on_news_() deliver(self) end

--- Returns what reads the body: the request itself, which is its own handle.
--- @return ServerRequest? handle
--- @return Error? err (ERR_STREAM_DESTROYED)
function Request:handle_of_()
  if self.destroyed_ then
    return nil, errors.new("ERR_STREAM_DESTROYED", "the request is closed")
  end
  if not self.handle_ then self.handle_, self.chunks_ = self, {} end
  return self
end

--- Reads whenever there is something, as long as it is not stopped: the
--- interface of a luv handle.
--- @param on_read fun(code: string?, chunk: string?) neither at the end
function Request:read_start(on_read)
  self.on_body_ = on_read
  if self:want_(true) then loop.soon(deliver, self) end
end

--- Reads nothing until `read_start`.
function Request:read_stop()
  self.on_body_ = nil
  self:want_(false)
end

--- Ends the request for its reader once all is read. Its connection lives on.
function Request:close_if_over_()
  if not self.ended or self.size_ > 0 or self.close_emitted_ then return end
  self.close_emitted_ = true
  loop.soon(self.emit, self, "close")
end

--- Reads until the end. [w]
--- @param t integer? ms
--- @return string? data "" if there is no body
--- @return Error? err (ETIMEDOUT; ECONNRESET: it was cut off)
function Request:read_all(t)
  if self.complete and not self.handle_ and not self.flowing_ then
    self.handle_, self.chunks_, self.ended, self.asked_ = self, {}, true, true
    return self:take_() or ""
  end
  return reading.read_all(self, t)
end

-- Ending ---------------------------------------------------------------------

--- Cuts the connection, with all that it has under way.
--- @param err Error? what a task that reads gets
function Request:destroy(err)
  if self.destroyed_ then return end
  self.destroyed_, self.on_body_ = true, nil
  self:abandon_reading_(err)
  self:cut_()
end

--- Tells that the client has gone before all was done.
function Request:on_aborted_()
  self:emit("aborted")
  if self.on_body_ then deliver(self) end
end

return Request
