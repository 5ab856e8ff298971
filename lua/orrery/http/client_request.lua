--- Requests, as a client makes them: writable streams with a head, and with a
--- response. This file has what a request goes through, from the wait for a
--- connection to its end; request_sending.lua, a part of the class with a state
--- of its own, has what it sends.

local class = require "orrery.runtime.class"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local request_sending = require "orrery.http.request_sending"
local scheduler = require "orrery.runtime.scheduler"

--- @class ClientRequest : Emitter events: socket(socket), continue,
---   information(info), response(response), upgrade(response, socket, head),
---   connect(response, socket, head), drain, finish, timeout, abort,
---   error(err), close
--- @field method string
--- @field path string
--- @field host string
--- @field port integer
--- @field agent Agent
--- @field socket Socket? once it has one
--- @field reused_socket boolean which has served another request before
--- @field response ClientResponse? once it has come
--- @field aborted boolean by `abort`
--- @field closed boolean? it has come to its end, by whatever
--- @field headers_sent boolean header fields cannot be set any more
--- @field plan_ RequestPlan
--- @field connection_ ClientConnection?
--- @field timeout_ integer? ms
--- @field failure_ Error? what it has come to its end by
--- @field repeated_ boolean? it has been sent twice
--- @field asked_ boolean? the agent has it
--- @field place_ integer? its place among all that have waited at the agent
--- @field wake_ function? what wakes the task that waits for the response
local ClientRequest = class("orrery.ClientRequest", events.Emitter,
  request_sending)

ClientRequest.aborted, ClientRequest.reused_socket = false, false

function ClientRequest.__tostring(self)
  local state = self.response and "answered" or self.closed and "closed"
    or self.connection_ and "sent" or "waiting"
  return ("request %s %s: %s"):format(self.method, self.path, state)
end

--- Asks the agent for a connection, once the code that has made the request has
--- said all that it says in one go.
local function ask(self)
  if self.closed then return end
  self.asked_ = true
  self.agent:add_(self)
end

--- Makes a request, and sends it as far as it is written.
--- @param plan RequestPlan
--- @param cb fun(response: ClientResponse)? run as a task
--- @return ClientRequest
function ClientRequest.new_(plan, cb)
  local self = setmetatable({
    plan_ = plan,
    method = plan.method,
    path = plan.path,
    host = plan.host,
    port = plan.port,
    agent = plan.agent,
    timeout_ = plan.timeout,
    headers_ = plan.headers,
    outbox_ = {},
    on_finish_ = {},
  }, ClientRequest)
  if cb then
    self:once("response", function(response) scheduler.go(cb, response) end)
  end
  loop.soon(ask, self)
  return self
end

-- Ending ----------------------------------------------------------------------

--- Comes to the end. The error goes to the task that waits for the response, or
--- is an `error` event.
local function conclude(self, err)
  if self.closed then return end
  self.closed, self.failure_ = true, err
  self:end_sending_(err)
  local wake = self.wake_
  self.wake_ = nil
  if wake then
    wake(nil, err or errors.new("ECANCELED", "the request was ended"))
  elseif err then
    loop.soon(self.emit, self, "error", err)
  end
  loop.soon(self.emit, self, "close")
end

--- Ends the request and closes its connection, if it has one. A response that
--- has not come as a whole is aborted: who reads it gets the error.
--- Does nothing once the request has come to its end.
--- @param err Error? emitted as `error`, unless the response has come; nil: no
---   error is emitted
function ClientRequest:destroy(err)
  if self.closed then return end
  local response = self.response
  conclude(self, not response and err or nil)
  if response then response:abort_(err) end
  if self.connection_ then
    self.connection_:close()
  elseif self.asked_ then
    self.agent:forget_(self)
  end
end

--- Ends at the end of a block, without an error; see `destroy`.
function ClientRequest:__close() self:destroy() end

--- Emits `abort` and ends the request, without an error; see `destroy`. Does
--- nothing once it has come to its end.
function ClientRequest:abort()
  if self.closed then return end
  self.aborted = true
  loop.soon(self.emit, self, "abort")
  self:destroy()
end

--- Ends because there will be no response.
--- @param err Error
function ClientRequest:fail_(err) conclude(self, err) end

--- Ends because the response has come to its end.
function ClientRequest:over_() conclude(self) end

-- What connections call -------------------------------------------------------

--- Notes the connection that is to serve the request. If there was another one,
--- the request is sent once more.
--- @param connection ClientConnection
function ClientRequest:take_connection_(connection)
  if self.connection_ then
    self.repeated_ = true
    self:rewind_()
  end
  self.connection_ = connection
end

--- Begins to send, once the connection has a socket.
function ClientRequest:begin_()
  local connection = self.connection_
  self.socket, self.reused_socket = connection.socket, connection.reused_
  loop.soon(self.emit, self, "socket", self.socket)
  loop.soon(self.begin_sending_, self)
end

--- Tells whether the request may be sent once more over another connection.
--- @return boolean
function ClientRequest:is_repeatable_()
  return not self.repeated_ and not self.closed and self:can_be_sent_again_()
end

--- Takes in a message that comes before the response.
--- @param information table
function ClientRequest:inform_(information)
  if self.closed then return end
  if information.status_code == 100 then
    self:let_go_()
    loop.soon(self.emit, self, "continue")
  end
  loop.soon(self.emit, self, "information", information)
end

--- Takes in the response. If nobody is there for it, its body is dropped.
--- @param response ClientResponse
function ClientRequest:answer_(response)
  if self.closed then return end
  self.response = response
  self:leave_out_body_()
  local wake = self.wake_
  self.wake_ = nil
  if wake then wake(response) end
  if not wake and self:listener_count("response") == 0 then
    response:resume()
  end
  self:emit("response", response)
end

--- Returns the event by which the socket can be handed over to another
--- protocol; nil if nobody waits for that.
--- @param status integer of the response
--- @return "upgrade"|"connect"|nil
function ClientRequest:other_protocol_(status)
  local event = status == 101 and "upgrade" or "connect"
  if event == "upgrade" and not self.headers_:get("upgrade") then return nil end
  return self:listener_count(event) > 0 and event or nil
end

-- Waiting ---------------------------------------------------------------------

--- Waits for the response. An error that keeps it from coming is returned, and
--- is not also an `error` event. [w]
---
---     local response, err = http.get(url):await_response()
---
--- To be called before the response comes: a body that nobody is there for is
--- dropped.
--- @param t integer? ms; the request goes on
--- @return ClientResponse? response
--- @return Error? err (ETIMEDOUT, ECONNREFUSED, ECONNRESET, ENOTFOUND, EPROTO,
---   EMSGSIZE; ECANCELED: it was ended)
function ClientRequest:await_response(t)
  scheduler.checkpoint("await_response", t)
  if self.response then return self.response end
  if self.closed then
    return nil, self.failure_ or errors.new("ECANCELED",
      "the request was ended")
  elseif self.wake_ then
    options.raise("await_response: another task waits for this response")
  end
  return scheduler.wait(function(wake)
    self.wake_ = wake
    return function() self.wake_ = nil end
  end, t, "await_response")
end

--- Emits `timeout` once nothing has gone either way for so long, from the
--- moment on at which it has a socket. Ending the request is up to the
--- listener.
--- @param ms integer 0: no longer
--- @param cb function? added as a listener for one `timeout`
--- @return ClientRequest self
function ClientRequest:set_timeout(ms, cb)
  options.argument("set_timeout", "the time", ms, options.checks.ms)
  if cb ~= nil then
    options.argument("set_timeout", "the callback", cb,
      options.checks.callback)
    self:once("timeout", cb)
  end
  self.timeout_ = ms
  if self.connection_ and self.connection_.socket and not self.closed then
    self.connection_:set_timeout_(ms)
  end
  return self
end

return ClientRequest
