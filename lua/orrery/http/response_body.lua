--- The body of a response behind the interface of a luv stream handle, so that
--- a response is a stream as any other. The connection gives it the bytes, as
--- long as they are wanted.

local class = require "orrery.runtime.class"
local loop = require "orrery.runtime.loop"

--- @class ResponseBody its methods are those of luv's handles, and what a
---   ClientConnection calls
--- @field connection_ ClientConnection
--- @field on_read_ function? the callback, while it is to read
--- @field over_ boolean? the end has come, or what it was cut off by
--- @field failure_ Error? this
--- @field closing_ boolean?
local ResponseBody = class "orrery.ResponseBody"

--- Makes the body of a response.
--- @param connection ClientConnection
--- @return ResponseBody
function ResponseBody.new(connection)
  return setmetatable({ connection_ = connection }, ResponseBody)
end

local function tell_end(self)
  if self.on_read_ then self.on_read_(self.failure_, nil) end
end

--- Gives what comes to a callback, as long as it is not stopped.
--- @param on_read fun(failure: Error?, chunk: string?) neither at the end
function ResponseBody:read_start(on_read)
  self.on_read_ = on_read
  if self.over_ then return loop.soon(tell_end, self) end
  self.connection_:go_on_()
end

function ResponseBody:read_stop() self.on_read_ = nil end

function ResponseBody:fileno() return nil end

function ResponseBody:is_closing() return self.closing_ == true end

--- Closes. A body whose end has not come takes its connection along.
--- @param fn function? called in a later tick
function ResponseBody:close(fn)
  self.closing_, self.on_read_ = true, nil
  if not self.over_ then self.connection_:drop_() end
  if fn then loop.soon(fn) end
end

--- Lets the connection keep the loop alive, which is the default.
function ResponseBody:ref()
  if not self.over_ then self.connection_.socket:ref() end
end

--- Lets the loop end although the body has not come.
function ResponseBody:unref()
  if not self.over_ then self.connection_.socket:unref() end
end

--- Tells whether bytes are to come.
--- @return boolean
function ResponseBody:is_wanted_() return self.on_read_ ~= nil end

--- Takes bytes, which must be wanted.
--- @param chunk string
function ResponseBody:take_(chunk) self.on_read_(nil, chunk) end

--- Notes the end, once.
--- @param failure Error? what the body was cut off by
function ResponseBody:end_(failure)
  if self.over_ then return end
  self.over_, self.failure_ = true, failure
  tell_end(self)
end

return ResponseBody
