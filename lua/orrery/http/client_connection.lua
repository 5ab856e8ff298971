--- A client's connection: a socket, the parser of what it brings, and the one
--- request that it serves at a time. It tells the request what comes, and its
--- agent when it is free or gone; it decides nothing about either.
---
--- Its state_ is one of
---   opening  there is no socket so far
---   busy     it serves request_
---   free     it waits for a request, and nothing may come
---   gone     it is closed, or the socket belongs to another protocol
---
--- One thing that the parser finds is handled in one tick, and what goes on
--- with the next is queued before a listener is called: one that raises holds
--- nothing up.

local class = require "orrery.runtime.class"
local ClientResponse = require "orrery.http.client_response"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local native = require "orrery.http.native"
local net = require "orrery.net"
local options = require "orrery.runtime.options"
local ResponseBody = require "orrery.http.response_body"
local scheduler = require "orrery.runtime.scheduler"

local PROBE_AFTER = 1000 -- ms of idleness until the kernel probes (as in Node)
local EAGAIN = core.errnos.EAGAIN

--- @class ClientConnection
--- @field socket Socket? nil while opening
--- @field reused_ boolean it has served a request before this one
--- @field agent_ Agent
--- @field origin_ Origin as the agent has it
--- @field state_ "opening"|"busy"|"free"|"gone"
--- @field connecting_ Task? while opening: the user's function
--- @field listeners_ Entry[] those on the socket
--- @field lifetime_ Deadline? until which it may be free
--- @field has_timeout_ boolean? the socket has had one
--- @field failure_ Error? of the socket
--- @field ended_ boolean? nothing more comes from the socket
--- @field stalled_ boolean the socket is paused, since nobody wants the body
--- @field pull_due_ boolean? `pull` is queued
---   and while it is busy:
--- @field request_ ClientRequest
--- @field parser_ userdata
--- @field answered_ boolean a byte has come
--- @field last_bytes_ string? what came last
--- @field interim_ boolean the message that comes is a 1xx
--- @field response_ ClientResponse?
--- @field body_ ResponseBody? of the response
--- @field complete_ boolean the response has come
--- @field keeps_ boolean? the server leaves the connection open after it
local ClientConnection = class "orrery.ClientConnection"

ClientConnection.state_, ClientConnection.reused_ = "opening", false
ClientConnection.stalled_ = false

-- Ending ----------------------------------------------------------------------

--- Closes. What becomes of the request is the caller's affair.
function ClientConnection:close()
  if self.state_ == "gone" then return end
  self.state_ = "gone"
  if self.connecting_ then self.connecting_:cancel("nobody waits for it") end
  if self.lifetime_ then self.lifetime_:stop() end
  if self.socket then self.socket:destroy() end
  self.agent_:gone_(self)
end

--- Closes, and ends the request, if there is one.
--- @param err Error
function ClientConnection:abandon_(err)
  if self.request_ then self.request_:destroy(err) end
  self:close()
end

--- Closes because of an error, and ends the request by it; or has it repeated,
--- if the server may have closed the connection before it could see the
--- request.
local function fail(self, err)
  local request, response = self.request_, self.response_
  if not response and self.reused_ and not self.answered_
    and request:is_repeatable_() then
    self.agent_:again_(self.origin_, request)
    return self:close()
  end
  self:close()
  if response then
    response:abort_(err)
    request:over_()
  else
    request:fail_(err)
  end
end

--- Ends what comes amid a response, or instead of it.
local function cut_off(self)
  fail(self, self.failure_ or errors.new("ECONNRESET",
    self.response_ and "the connection ended before the response did"
      or "the connection ended before the response came"))
end

--- Ends a response that breaks the rules.
local function on_error(self, reason, status)
  local too_large = status == 431 or status == 413
  fail(self, errors.new(too_large and "EMSGSIZE" or "EPROTO",
    "the server's response: " .. reason, { raw_packet = self.last_bytes_ }))
end

--- Gives the connection back to the agent once the response has come and the
--- request has left, or closes it if it cannot serve another one.
function ClientConnection:settle_()
  local request = self.request_
  if self.state_ ~= "busy" or not self.complete_ then return end
  if self.keeps_ and not (request:has_left_() or self.ended_) then return end
  local kept_for = self.response_:kept_for_()
  local keeps = self.keeps_ and request:keeps_alive_() and not self.ended_
    and self.parser_:rest() == ""
  self.request_, self.parser_, self.response_, self.body_ = nil, nil, nil, nil
  self.last_bytes_ = nil
  self.state_ = "free"
  if keeps then
    self.agent_:take_back_(self, kept_for)
  else
    self:close()
  end
  request:over_()
end

--- Leaves the socket to another protocol.
local function leave(self)
  for _, entry in ipairs(self.listeners_) do entry() end
  if self.has_timeout_ then self.socket:set_timeout(0) end
  self.state_ = "gone"
  self.agent_:gone_(self)
end

-- What comes ------------------------------------------------------------------

local pull

--- Has the next thing that the parser finds handled in a tick of its own.
local function go_on(self)
  if self.pull_due_ then return end
  self.pull_due_ = true
  loop.soon(pull, self)
end

--- Lets the socket read if more is wanted, and no longer if not.
local function hold_up(self, stalled)
  if self.stalled_ == stalled then return end
  self.stalled_ = stalled
  if stalled then self.socket:pause() else self.socket:resume() end
end

--- Takes in the head of a message that comes before the response.
local function on_interim(self, head)
  self.interim_ = true
  loop.soon(self.request_.inform_, self.request_, {
    status_code = head.status_code,
    status_message = head.status_message,
    http_version = head.http_version,
    headers = native.headers(head.raw_headers),
    raw_headers = head.raw_headers,
  })
  go_on(self)
end

--- Hands the socket over, with what has come of the other protocol, if the
--- request has asked for that and somebody listens.
local function on_other_protocol(self, head)
  local request, socket = self.request_, self.socket
  local event = request:other_protocol_(head.status_code)
  if not event then
    return fail(self, errors.new("EPROTO", ("the server's response is %d %s, "
      .. "and there is no listener of 'upgrade' or 'connect' for that")
      :format(head.status_code, head.status_message)))
  end
  if event == "connect" then self.parser_:skip_body() end
  self.parser_:next() -- the end of the message
  local rest = self.parser_:rest()
  leave(self)
  local response = ClientResponse.new_(request, socket, head)
  response.complete = true
  loop.soon(function() request:emit(event, response, socket, rest) end)
  loop.soon(request.over_, request)
  loop.soon(function()
    if not socket.paused_ then socket:start_reading_() end
  end)
end

--- Takes in the head of the response.
local function on_response(self, head)
  local request = self.request_
  self.keeps_ = head.keep_alive
  if request.method == "HEAD" then self.keeps_ = self.parser_:skip_body() end
  self.body_ = ResponseBody.new(self)
  self.response_ = ClientResponse.new_(request, self.socket, head, self.body_)
  loop.soon(request.answer_, request, self.response_)
  loop.soon(self.response_.begin_, self.response_)
  go_on(self)
end

local function on_head(self, head)
  local status = head.status_code
  if status == 101
    or self.request_.method == "CONNECT" and status // 100 == 2 then
    return on_other_protocol(self, head)
  elseif status < 200 then
    return on_interim(self, head)
  end
  on_response(self, head)
end

local function on_body(self, chunk)
  go_on(self)
  self.body_:take_(chunk)
end

local function on_message_end(self, raw_trailers)
  if self.interim_ then
    self.interim_ = false
    return go_on(self)
  end
  self.complete_ = true
  self.response_:complete_(raw_trailers)
  hold_up(self, false)
  self:settle_()
end

local handlers = { head = on_head, body = on_body, ["end"] = on_message_end,
  error = on_error }

--- Handles the next thing that has come, if it is wanted.
function pull(self)
  self.pull_due_ = false
  if self.state_ ~= "busy" or self.complete_ then return end
  if self.body_ and not self.body_:is_wanted_() then
    return hold_up(self, true)
  end
  local what, a, b = self.parser_:next()
  if what then return handlers[what](self, a, b) end
  if not self.ended_ then return hold_up(self, false) end
  what, a = self.parser_:finish()
  if what == "end" then return on_message_end(self, a) end
  cut_off(self)
end

--- Goes on with a body that is wanted again.
function ClientConnection:go_on_()
  if self.state_ == "busy" then go_on(self) end
end

--- Ends the request, since its response is not wanted any more.
function ClientConnection:drop_()
  if self.state_ == "busy" then self.request_:destroy() end
end

-- From the socket -------------------------------------------------------------

local function on_data(self, chunk)
  if self.state_ ~= "busy" then return self:close() end -- nobody has asked
  self.answered_, self.last_bytes_ = true, chunk
  local ok, errno = self.parser_:feed(chunk)
  if not ok then return fail(self, errors.system(errno, "read")) end
  if not self.pull_due_ then pull(self) end
end

--- Takes in the end of what the socket brings, by whatever.
local function on_socket_end(self)
  if self.state_ == "free" then return self:close() end
  if self.state_ ~= "busy" or self.ended_ then return end
  self.ended_ = true
  if self.complete_ then return self:settle_() end
  go_on(self)
end

--- Notes an error. If the socket can be read still, it may bring a response,
--- which says more.
local function on_socket_error(self, err)
  self.failure_ = self.failure_ or err
  if self.state_ == "busy" and self.socket.write_error_ then
    self.request_:cannot_write_(err)
  end
end

local function on_timeout(self)
  if self.state_ ~= "busy" then return end
  local request, response = self.request_, self.response_
  loop.soon(request.emit, request, "timeout")
  if response then loop.soon(response.emit, response, "timeout") end
end

local function on_drain(self)
  if self.state_ == "busy" then self.request_:drained_() end
end

local events = { data = on_data, ["end"] = on_socket_end, close = on_socket_end,
  error = on_socket_error, timeout = on_timeout, drain = on_drain }

-- Beginning -------------------------------------------------------------------

--- Takes in the socket for the request that it was opened for.
local function attach(self, socket)
  if self.state_ == "gone" then return socket:destroy() end
  self.socket, self.listeners_ = socket, {}
  for event, handler in next, events do
    table.insert(self.listeners_,
      socket:on(event, function(value) handler(self, value) end))
  end
  self:begin_(self.request_)
  if socket.closed or socket.ended and socket.size_ == 0 then
    on_socket_end(self) -- it will not tell again
  end
end

local function check_socket(value)
  if type(value) ~= "table" or not (value.is_socket_ and value.set_timeout) then
    return "a socket, or nil and an error"
  end
end

--- Takes in what the user's function has given.
local function connected(self, socket, err)
  self.connecting_ = nil
  if socket == nil and self.state_ ~= "gone" then
    return fail(self, errors.is(err) and err or errors.new("ECANCELED",
      "create_connection has given no connection"))
  elseif socket ~= nil then
    options.argument("create_connection", "its result", socket, check_socket)
    attach(self, socket)
  end
end

--- Has the user's function connect, in a task of its own.
local function connect_by(self, create_connection, target)
  local connecting = scheduler.go(function()
    connected(self, create_connection(target))
  end)
  self.connecting_ = connecting
  function connecting.on_end_()
    self.connecting_ = nil
    if connecting.status == "done" or self.state_ ~= "opening" then return end
    fail(self, errors.new("ECANCELED", "create_connection has raised an error"))
  end
end

local function nothing() end

--- Opens a connection for a request.
--- @param agent Agent
--- @param origin Origin
--- @param request ClientRequest
--- @return ClientConnection
function ClientConnection.open(agent, origin, request)
  local plan = request.plan_
  local self = setmetatable({ agent_ = agent, origin_ = origin,
    request_ = request }, ClientConnection)
  request:take_connection_(self)
  local target = { no_delay = true }
  if plan.socket_path then
    target.path = plan.socket_path
  else
    target.host, target.port, target.family = plan.host, plan.port, plan.family
    target.local_address = plan.local_address
  end
  if plan.create_connection then
    connect_by(self, plan.create_connection, target)
    return self
  end
  local socket = net.connect(target, nothing)
  if agent.keep_alive then socket:set_keep_alive(true, PROBE_AFTER) end
  attach(self, socket)
  return self
end

--- Begins to serve a request.
--- @param request ClientRequest
function ClientConnection:begin_(request)
  if self.lifetime_ then self.lifetime_:stop() end
  self.reused_ = self.state_ == "free"
  self.state_, self.request_ = "busy", request
  self.parser_ = native.parser("response", request.plan_.max_head)
  self.answered_, self.interim_, self.complete_ = false, false, false
  self.lifetime_, self.keeps_ = nil, nil
  if self.reused_ then
    self.socket:ref()
    request:take_connection_(self)
  end
  self:set_timeout_(request.timeout_ or self.agent_.timeout or 0)
  request:begin_()
end

--- Writes bytes of the request.
--- @param data string
--- @param cb function?
--- @return boolean go_on as `Stream:write` gives it
function ClientConnection:write_(data, cb)
  return self.socket:write(data, cb)
end

--- Has the socket emit `timeout`.
--- @param ms integer 0: no longer
function ClientConnection:set_timeout_(ms)
  if ms == 0 and not self.has_timeout_ then return end
  self.has_timeout_ = ms > 0
  self.socket:set_timeout(ms)
end

-- Being free ------------------------------------------------------------------

--- Waits for another request, without keeping the loop alive.
--- @param ms integer? at most so long
function ClientConnection:rest_(ms)
  self:set_timeout_(0)
  self.socket:unref()
  if not ms then return end
  self.lifetime_ = clock.after(ms, function() self:close() end)
  self.lifetime_:set_ref(false)
end

--- Tells whether a free connection can serve a request, as far as can be known:
--- nothing has been heard from the server, not even by the kernel alone.
--- @return boolean
function ClientConnection:is_usable_()
  local socket = self.socket
  if socket.closed or socket.ended or socket.finishing_ or socket.write_error_
    or not socket.writable or socket.queued_ > 0 or socket.size_ > 0 then
    return false
  end
  local number = socket:fileno()
  if not number then return false end
  local _, errno = core.fd(number):read_now()
  return errno == EAGAIN
end

return ClientConnection
