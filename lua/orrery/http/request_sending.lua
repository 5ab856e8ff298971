--- The sending half of class ClientRequest, a part of it: the head, how the
--- body is framed, and what waits until there is a connection. What is said in
--- one go leaves by one system call.
---
--- Its state; `pipe` asks for what has a name of class Stream's:
---   headers_            the fields, which can be set until the head is fixed
---   headers_sent        whether it is fixed
---   head_               its text, from then on
---   framing_ left_      "none", "length" (and so many bytes are left of it) or
---                       "chunked": how the body is framed, from then on
---   trailers_           HeaderFields behind a chunked body
---   outbox_ outbox_size_  bytes of the body that have not been handed to the
---                       socket: {text, cb} each
---   tail_               what ends the body, from `finish` on
---   head_out_ tail_out_ whether the connection has these
---   held_ patience_     whether the body waits for `continue`, and how long
---   streamed_           whether bytes were written before `finish`
---   finishing_ on_finish_  whether `finish` was called; its callbacks
---   writable            false once all is with the kernel
---   write_error_        why no more can be sent
---   need_drain_         whether `write` has said false, and `drain` is due

local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local HeaderFields = require "orrery.http.header_fields"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local stream = require "orrery.stream"

local HIGH_WATER = 65536 -- bytes that wait: write says false
local CONTINUE_WAIT = 1000 -- ms for `continue`, which old servers do not send

--- @class ClientRequest
local Sending = { writable = true, outbox_size_ = 0, headers_sent = false }

local function set(...)
  local names = {}
  for _, name in ipairs { ... } do names[name] = true end
  return names
end

-- Methods by what RFC 9110 says of them.
local without_body = set("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT")
local never_with_body = set("TRACE", "CONNECT")
local idempotent = set("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")

-- The head --------------------------------------------------------------------

local function check_not_sent(self, where)
  if self.headers_sent then
    options.raise("%s: the request's head has left already", where)
  end
end

--- Sets a header field, in place of what it had. Raises if the name or the
--- value is not good, and once the head is sent.
--- @param name string in any case
--- @param value string|number|(string|number)[] a list is a line each
--- @return ClientRequest self
function Sending:set_header(name, value)
  check_not_sent(self, "set_header")
  self.headers_:set("set_header", name, value)
  return self
end

--- Returns what a header field was set to.
--- @param name string in any case
--- @return string|string[]|nil value nil: it is not set
function Sending:get_header(name)
  options.argument("get_header", "the header's name", name,
    HeaderFields.check_token)
  local value = self.headers_:get(name)
  return type(value) == "table" and { table.unpack(value) } or value
end

--- Removes a header field, also one that would be sent by default. Raises once
--- the head is sent.
--- @param name string in any case
--- @return ClientRequest self
function Sending:remove_header(name)
  check_not_sent(self, "remove_header")
  options.argument("remove_header", "the header's name", name,
    HeaderFields.check_token)
  self.headers_:remove(name)
  return self
end

--- Adds fields that are sent behind the body, which goes in chunks then. Raises
--- if they are not good, and if it is too late for them.
--- @param trailers table as the option `headers`
--- @return ClientRequest self
function Sending:add_trailers(trailers)
  options.argument("add_trailers", "the argument", trailers, function(value)
    if type(value) ~= "table" then return "a table" end
  end)
  if self.finishing_ or self.headers_sent and self.framing_ ~= "chunked" then
    options.raise("add_trailers: the request is finished, or has a body that "
      .. "is not chunked")
  end
  self.trailers_ = self.trailers_ or HeaderFields.new()
  self.trailers_:set_all("add_trailers", trailers)
  return self
end

--- Fixes the head. If its fields do not say how the body is framed, it is as
--- the caller says.
--- @param framing "none"|"length"|"chunked"
--- @param size integer? bytes, of "length"
local function fix_head(self, framing, size)
  local headers = self.headers_
  local declared = headers:get("content-length")
  if headers:get("transfer-encoding") then
    framing = "chunked"
  elseif declared then
    framing, size = "length", math.tointeger(tonumber(declared))
  elseif framing == "chunked" then
    headers:set("request", "Transfer-Encoding", "chunked")
  elseif framing == "length" then
    headers:set("request", "Content-Length", size)
  end
  self.framing_, self.left_ = framing, framing == "length" and size or nil
  self.headers_sent = true
  self.head_ = ("%s %s HTTP/1.1\r\n%s\r\n"):format(self.method, self.path,
    headers:lines())
end

--- Tells whether the connection may serve others afterwards.
--- @return boolean
function Sending:keeps_alive_()
  return not (self.headers_:has_word("connection", "close")
    or self.write_error_)
end

-- To the connection -----------------------------------------------------------

--- Returns a callback for the last of what was written that calls those of all;
--- nil if there are none.
local function joined(cbs)
  if not cbs[2] then return cbs[1] end
  return function(err)
    for _, cb in ipairs(cbs) do loop.soon(cb, err) end
  end
end

--- Returns what is to be called once all of the request has been written. A
--- failure is told when the request ends: it may be repeated.
local function last_callback(self, connection)
  return function(err)
    if self.connection_ ~= connection or not self.writable then return end
    if err then return self:cannot_write_(err) end
    self.writable = false
    self:tell_finished_()
    loop.soon(connection.settle_, connection)
    self:emit("finish")
  end
end

--- Hands to the socket what may leave now.
--- @return boolean go_on as `Stream:write` gives it
local function flush(self)
  local connection, pieces, cbs = self.connection_, {}, {}
  if not (self.headers_sent and connection and connection.socket) then
    return self.outbox_size_ < HIGH_WATER
  end
  if not self.head_out_ then pieces[1], self.head_out_ = self.head_, true end
  if not self.held_ then
    for _, one in ipairs(self.outbox_) do
      pieces[#pieces + 1], cbs[#cbs + 1] = one.text, one.cb
    end
    self.outbox_, self.outbox_size_ = {}, 0
    if self.tail_ and not self.tail_out_ then
      self.tail_out_ = true
      pieces[#pieces + 1] = self.tail_
      cbs[#cbs + 1] = last_callback(self, connection)
    end
  end
  local more = self.outbox_size_ < HIGH_WATER
  if not (pieces[1] or cbs[1]) then return more end
  return connection:write_(table.concat(pieces), joined(cbs)) and more
end

--- Sends the body that waits for `continue`.
local function let_go(self)
  if not self.held_ then return end
  self.held_ = false
  if self.patience_ then self.patience_:stop() end
  if flush(self) then self:drained_() end
end
Sending.let_go_ = let_go

--- Leaves out the body that waits for `continue`: the response has come, and
--- the server may not expect it any more.
function Sending:leave_out_body_()
  if not self.held_ then return end
  self.patience_:stop()
  self:cannot_write_(errors.new("ECANCELED",
    "the response has come before the body was sent"))
end

--- Begins to send over the connection that the request has.
function Sending:begin_sending_()
  if self.closed or not self.connection_ then return end
  if self.headers_:has_word("expect", "100-continue") then
    if not self.headers_sent then fix_head(self, "chunked") end
    self.held_ = true
    self.patience_ = clock.after(CONTINUE_WAIT, function() let_go(self) end)
  end
  if flush(self) then self:drained_() end
end

--- Forgets what was sent over a connection that is gone.
function Sending:rewind_()
  self.head_out_, self.tail_out_, self.write_error_ = nil, nil, nil
  if self.patience_ then self.patience_:stop() end
end

--- Tells whether the request may be sent once more: it changes nothing more by
--- that (RFC 9110, 9.2.2), and all of it is here.
--- @return boolean
function Sending:can_be_sent_again_()
  return idempotent[self.method] and self.finishing_ and not self.streamed_
    or false
end

--- Tells whether nothing more will be sent.
--- @return boolean
function Sending:has_left_()
  return not self.writable or self.write_error_ ~= nil
end

--- Emits `drain` if it is due.
function Sending:drained_()
  if not self.need_drain_ then return end
  self.need_drain_ = false
  loop.soon(self.emit, self, "drain")
end

--- Notes that no more can be sent. Tells `pipe`.
--- @param err Error
function Sending:cannot_write_(err)
  if self.write_error_ then return end
  self.write_error_, self.need_drain_ = err, false
  self:emit("unwritable_")
  if self.connection_ then self.connection_:settle_() end
end

--- Calls the callbacks of `finish`.
--- @param err Error?
function Sending:tell_finished_(err)
  local cbs = self.on_finish_
  self.on_finish_ = {}
  for _, cb in ipairs(cbs) do loop.soon(cb, err) end
end

--- Ends sending with the request: what has not left fails.
--- @param err Error? why
function Sending:end_sending_(err)
  err = err or self.write_error_
    or errors.new("ECANCELED", "the request has ended")
  if self.patience_ then self.patience_:stop() end
  for _, one in ipairs(self.outbox_) do
    if one.cb then loop.soon(one.cb, err) end
  end
  self.outbox_, self.outbox_size_, self.tail_ = {}, 0, nil
  if self.writable then self:tell_finished_(err) end
  self.write_error_ = self.write_error_ or self.writable and err or nil
end

-- Writing ---------------------------------------------------------------------

--- Raises if data is for a body that there cannot be.
local function check_has_body(self, where, data)
  if data == "" then return end
  if never_with_body[self.method] then
    options.raise("%s: a %s request has no body", where, self.method)
  elseif self.framing_ == "none" then
    options.raise("%s: the head has left and has no Content-Length or "
      .. "Transfer-Encoding: set one of them before", where)
  end
end

--- Returns bytes of the body as they are sent.
local function framed(self, data)
  if self.framing_ == "chunked" then
    return ("%x\r\n%s\r\n"):format(#data, data)
  end
  if self.left_ then self.left_ = self.left_ - #data end
  return data
end

--- Ends a request whose body is not as long as its head says: the server would
--- take the next request for the rest of it, or the other way round.
local function end_by_length(self, size)
  local err = errors.new("ERR_HTTP_CONTENT_LENGTH_MISMATCH",
    ("the request's body has %d bytes %s than its Content-Length"):format(
      math.abs(size - self.left_), size > self.left_ and "more" or "less"))
  self:destroy(err)
  return err
end

--- Refuses a write: tells the callback and the `error` listeners, if any.
local function refuse(self, err, cb)
  if cb then loop.soon(cb, err) end
  if self:listener_count("error") > 0 and not self.closed then
    loop.soon(self.emit, self, "error", err)
  end
  return false
end

--- Writes bytes of the body, without waiting. Unless Content-Length is set, it
--- is sent in chunks. Raises if there can be no body: in TRACE and CONNECT, and
--- once the head has left without one.
--- @param data string
--- @param cb fun(err: Error?)? called once all of it is with the kernel, or
---   never will be (EPIPE, ECONNRESET, ECANCELED, ERR_STREAM_WRITE_AFTER_END,
---   ERR_HTTP_CONTENT_LENGTH_MISMATCH, or what has ended the request)
--- @return boolean go_on false: 64 KiB or more wait, and a patient writer waits
---   for `drain`; or the write failed
function Sending:write(data, cb)
  options.check_write("write", data, cb)
  check_has_body(self, "write", data)
  if self.write_error_ then return refuse(self, self.write_error_, cb) end
  if self.finishing_ or not self.writable then
    return refuse(self, errors.new("ERR_STREAM_WRITE_AFTER_END",
      "write after finish"), cb)
  elseif data == "" then -- an empty chunk would end the body
    if cb then loop.soon(cb) end
    return true
  end
  self.streamed_ = true
  if not self.headers_sent then fix_head(self, "chunked") end
  if self.left_ and #data > self.left_ then
    local err = end_by_length(self, #data)
    if cb then loop.soon(cb, err) end
    return false
  end
  local text = framed(self, data)
  table.insert(self.outbox_, { text = text, cb = cb })
  self.outbox_size_ = self.outbox_size_ + #text
  local more = flush(self)
  self.need_drain_ = not more and not self.write_error_
  return more
end

--- Writes as `write` does, and waits until the kernel has all of it. [w]
--- @param data string
--- @param t integer? ms; what waits then goes on waiting
--- @return true? ok
--- @return Error? err (ETIMEDOUT, or as the callback of `write` gets)
Sending.write_wait = stream.Stream.write_wait

--- Fixes the head of a request if these bytes are all that it has.
local function fix_whole_head(self, data)
  if self.headers_sent then return end
  local framing = "length"
  if self.trailers_ then
    framing = "chunked"
  elseif data == "" and without_body[self.method] then
    framing = "none"
  end
  fix_head(self, framing, #data)
end

--- Returns what ends the body, with the bytes that come last.
local function tail_of(self, data)
  if self.framing_ ~= "chunked" then return framed(self, data) end
  local last = data == "" and "" or framed(self, data)
  local trailers = self.trailers_ and self.trailers_:lines() or ""
  return last .. "0\r\n" .. trailers .. "\r\n"
end

--- Ends the request: no more of it follows. If nothing was written before, its
--- head has the Content-Length. `finish` is emitted when all is with the
--- kernel. Raises if `data` is for a body that there cannot be, see `write`.
--- @param data string? written first
--- @param cb fun(err: Error?)? called then, or if it fails (as that of `write`)
function Sending:finish(data, cb)
  if type(data) == "function" then data, cb = nil, data end
  data = data or ""
  options.check_write("finish", data, cb)
  if not self:has_left_() then check_has_body(self, "finish", data) end
  if cb then table.insert(self.on_finish_, cb) end
  if self:has_left_() then self:tell_finished_(self.write_error_) end
  if self:has_left_() or self.finishing_ then return end
  fix_whole_head(self, data)
  self.finishing_ = true
  if self.left_ and #data ~= self.left_ then
    end_by_length(self, #data)
    return
  end
  self.tail_ = tail_of(self, data)
  flush(self)
end

--- Sends the head now, before there is any of the body. Does nothing if it has
--- left.
function Sending:flush_headers()
  if self.closed then return end
  if not self.headers_sent then
    fix_head(self, without_body[self.method] and "none" or "chunked")
  end
  flush(self)
end

return Sending
