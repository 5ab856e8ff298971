--- Responses, as a client gets them: a readable stream with a head. As a socket
--- does, it reads ahead from the start, up to a limit: a short body that nobody
--- reads holds up no connection, and the end of one that is cut off is noticed.

local class = require "orrery.runtime.class"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local native = require "orrery.http.native"
local options = require "orrery.runtime.options"
local stream = require "orrery.stream"

--- @class ClientResponse : Stream events: aborted, timeout, and those of a
---   stream that is read
--- @field request ClientRequest
--- @field socket Socket
--- @field status_code integer
--- @field status_message string
--- @field http_version string "1.1" or "1.0"
--- @field headers table<string, string|string[]> by names in lower case; a
---   field that came several times is one text, but for set-cookie
--- @field raw_headers string[] name, value, name, value, … as they came
--- @field trailers table<string, string|string[]> empty until the end
--- @field raw_trailers string[]
--- @field complete boolean all of it has come
--- @field aborted boolean the connection ended before that
local ClientResponse = class("orrery.ClientResponse", stream.Stream)

ClientResponse.reads_ahead_ = true
ClientResponse.complete, ClientResponse.aborted = false, false
ClientResponse.ends_whole_ = true -- what is cut off must not be taken for all
ClientResponse.handle_type_ = nil -- it has no fd that a message could carry

function ClientResponse.__tostring(self)
  local state = self.aborted and "aborted" or self.complete and "complete"
    or "open"
  return ("response %d %s: %s"):format(self.status_code, self.status_message,
    state)
end

--- Makes a response.
--- @param request ClientRequest
--- @param socket Socket
--- @param head table as the parser gives it
--- @param body ResponseBody? nil: there is none, for another protocol follows
--- @return ClientResponse
function ClientResponse.new_(request, socket, head, body)
  local self = setmetatable(stream.new(nil, "http", "r"), ClientResponse)
  self.handle_, self.ended = body, not body
  self.request, self.socket = request, socket
  self.status_code, self.status_message = head.status_code, head.status_message
  self.http_version = head.http_version
  self.raw_headers = head.raw_headers
  self.headers = native.headers(head.raw_headers)
  self.trailers, self.raw_trailers = {}, {}
  return self
end

--- Returns how long the server keeps the connection, less what an announcement
--- may be late.
--- @return integer? ms nil: it does not say
function ClientResponse:kept_for_()
  local field = self.headers["keep-alive"]
  local seconds = field and field:lower():match("timeout=(%d+)")
  if not seconds or #seconds > 9 then return nil end
  return (math.tointeger(tonumber(seconds)) - 1) * 1000
end

--- Emits `timeout` once nothing has gone either way for so long; ending the
--- request is up to the listener.
--- @param ms integer 0: no longer
--- @param cb function? added as a listener for one `timeout`
--- @return ClientResponse self
function ClientResponse:set_timeout(ms, cb)
  options.argument("set_timeout", "the time", ms, options.checks.ms)
  if cb ~= nil then
    options.argument("set_timeout", "the callback", cb,
      options.checks.callback)
    self:once("timeout", cb)
  end
  self.request:set_timeout(ms)
  return self
end

--- Reads ahead from now on, unless it was paused meanwhile.
function ClientResponse:begin_()
  if not self.paused_ then self:start_reading_() end
end

--- Notes that the message is complete.
--- @param raw_trailers string[]?
function ClientResponse:complete_(raw_trailers)
  self.complete = true
  if raw_trailers then
    self.raw_trailers = raw_trailers
    self.trailers = native.headers(raw_trailers)
  end
  if self.handle_ then self.handle_:end_() end
end

--- Notes that there will be no more than has come: who reads gets the rest and
--- then the error. Does nothing if the message is complete.
--- @param err Error? nil: ECONNRESET
function ClientResponse:abort_(err)
  if self.complete or self.aborted then return end
  self.aborted = true
  loop.soon(self.emit, self, "aborted")
  if self.handle_ then
    self.handle_:end_(err or errors.new("ECONNRESET",
      "the connection ended before the response did"))
  end
end

return ClientResponse
