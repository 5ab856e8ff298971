--- Questions and answers, a part of Channel (see channel.lua): requests of this
--- side, which wait for a reply, and those of the other side, which a handler
--- answers, each in a task of its own.
---
--- Of a channel's fields it owns `requests`, `last_id`, `handler` and
--- `serving`.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local MOST_SERVED = 4096 -- requests that are being handled at once
local MOST_RESULTS = 250 -- of one request
local LAST_ID = 0xffffffff -- u32 on the wire

local null = core.null

--- @class Channel
local requests = {}

-- Asking ---------------------------------------------------------------------

--- Returns an id that no open request has.
--- @return integer
local function new_id(self)
  repeat
    self.last_id_ = self.last_id_ % LAST_ID + 1
  until not self.requests_[self.last_id_]
  return self.last_id_
end

--- Fails a request that cannot be sent any more, unless it has ended.
local function fail(self, id, err)
  local wake = self.requests_[id]
  if not wake then return end
  self.requests_[id] = nil
  self:update_ref_()
  wake(nil, err)
end

--- Sends a request and waits for its reply. Raises if `value` cannot be sent.
--- [w]
--- @param value any
--- @param t integer? ms
--- @return any ... the handler's results; nil, err: see messaging's `request`
function requests:request_(value, t)
  local err = self:refusal_()
  if err then return nil, err end
  scheduler.checkpoint("request", t)
  local id = new_id(self)
  local ok, queued, errno = pcall(self.wire_.request, self, id, value,
    function(problem) if problem then fail(self, id, problem) end end)
  if not ok then options.raise("%s", queued) end
  if not queued then return nil, self:queue_error_(errno) end
  return scheduler.wait(function(wake)
    if not next(self.requests_) then self.took_ = false end
    self.requests_[id] = wake
    self:update_ref_()
    self:resume_() -- the answer may be behind what fills the inbox
    self:queued_(queued)
    return function()
      self.requests_[id] = nil
      self:update_ref_()
    end
  end, t, "request")
end

--- Fails all requests that wait for a reply.
--- @param err Error
function requests:fail_requests_(err)
  local open = self.requests_
  self.requests_ = {}
  for _, wake in pairs(open) do wake(nil, err) end
end

--- Fails all requests with ENOBUFS: the inbox is full, so that a reply behind
--- it is not going to be read.
function requests:give_up_requests_()
  self:fail_requests_(errors.new("ENOBUFS", ("request: the answer is behind %d "
    .. "messages that nobody takes: listen for 'message', or receive")
    :format(self.waiting_)))
  self:update_ref_()
end

--- Returns what a failed reply says went wrong. A peer may send anything.
--- @return Error
local function error_of(value)
  local text = type(value) == "table" and value.message
  local code = type(value) == "table" and value.code
  return errors.new(type(code) == "string" and code or "ERR_REQUEST",
    type(text) == "string" and text or "the handler failed")
end

--- Hands a reply to the request that waits for it. Does nothing if none does
--- any more: its time was over.
--- @param id any as the peer sent it
--- @param failed boolean
--- @param value any a list of results, in which null is nil; of a failed one,
---   {message=, code=}
function requests:answer_(id, failed, value)
  local wake = self.requests_[id]
  if not wake then return end
  self.requests_[id] = nil
  self:update_ref_()
  if failed then return wake(nil, error_of(value)) end
  local results, n = {}, type(value) == "table" and #value or 0
  if n > MOST_RESULTS then
    return wake(nil, errors.new("EPROTO", "request: too many results"))
  end
  for i = 1, n do
    if value[i] ~= null then results[i] = value[i] end
  end
  wake(table.unpack(results, 1, n))
end

-- Answering ------------------------------------------------------------------

--- Returns an error of a handler as it travels.
--- @return {message: string, code: any}
local function describe_error(err)
  if type(err) == "table" and err.message then
    return { message = tostring(err.message), code = err.code }
  end
  return { message = tostring(err) }
end

--- Sends results or an error back; results that cannot be sent are an error.
--- Does nothing if the channel takes no more.
local function reply(self, id, failed, value)
  if self:refusal_() then return end
  local ok, queued, errno = pcall(self.wire_.reply, self, id, failed, value)
  if ok and queued then return self:queued_(queued) end
  local text = ok and core.strerror(errno) or queued
  queued = self.wire_.reply(self, id, true,
    { message = "the results cannot be sent: " .. text })
  if queued then self:queued_(queued) end
end

--- Returns results from the first on as a list in which null stands for nil.
local function dense(results, first)
  local list = core.array {}
  for i = first, results.n do
    local value = results[i]
    if value == nil then value = null end
    list[i - first + 1] = value
  end
  return list
end

--- Runs as a task: answers one request.
local function run_handler(self, id, fn, value)
  local results = table.pack(pcall(fn, value))
  self.serving_ = self.serving_ - 1
  if not results[1] then
    reply(self, id, true, describe_error(results[2]))
  elseif results.n > MOST_RESULTS then
    reply(self, id, true, { message = ("the handler returned %d results, and "
      .. "%d are all that travel"):format(results.n - 1, MOST_RESULTS) })
  else
    reply(self, id, false, dense(results, 2))
  end
end

--- Starts to answer a request that has come: by ENOSYS if there is no handler,
--- by EAGAIN if too many requests are being handled.
--- @param id integer
--- @param value any
function requests:serve_(id, value)
  if not self.handler_ then
    return reply(self, id, true, { code = "ENOSYS",
      message = "request: the other side has no handler" })
  elseif self.serving_ >= MOST_SERVED then
    return reply(self, id, true, { code = "EAGAIN",
      message = "request: too many requests are being handled" })
  end
  self.serving_ = self.serving_ + 1
  scheduler.go(run_handler, self, id, self.handler_, value)
end

return requests
