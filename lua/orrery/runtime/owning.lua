--- A part of each class whose objects own one luv handle, or an object with the
--- interface of one: streams, sockets, servers, datagram sockets. It tells the
--- handle whether to keep the loop alive, closes it, and keeps it open while
--- its fd is being sent to another process.
---
--- The fields of such an object that are read and set here (nil if there is no
--- such thing):
---   handle_      the luv handle, while the object is open
---   fd_          an orrery.fd that is owned as long as there is no handle
---   referenced_  what `ref` and `unref` said last
---   pins_        how many times the fd is on its way to other processes
---   pinned_      handles and fds of an object that was closed meanwhile

local core = require "orrery.core"
local loop = require "orrery.runtime.loop"

local Owning = { referenced_ = true }

--- Lets the object keep the loop alive while it is open, which is the default.
--- @return table self
function Owning:ref()
  self.referenced_ = true
  if self.handle_ then self.handle_:ref() end
  return self
end

--- Lets the loop end although the object is open.
--- @return table self
function Owning:unref()
  self.referenced_ = false
  if self.handle_ then self.handle_:unref() end
  return self
end

--- Keeps the number of the fd valid until `unpin_`, since the fd is being sent
--- to another process. An object that is closed meanwhile is closed for its
--- user; only the fd stays open. Each `pin_` needs an `unpin_` of its own.
function Owning:pin_()
  self.pins_ = (self.pins_ or 0) + 1
end

--- Takes back one `pin_`. The last one closes what was to be closed meanwhile.
function Owning:unpin_()
  self.pins_ = self.pins_ > 1 and self.pins_ - 1 or nil
  local pinned = self.pinned_
  if self.pins_ or not pinned then return end
  self.pinned_ = nil
  for _, one in ipairs(pinned) do
    if core.is_fd(one) then one:close() else loop.close(one) end
  end
end

--- Keeps what was to be closed until the last `unpin_`: a list, for a server
--- may have been closed and opened again.
local function keep(self, handle, fd)
  if handle then handle:unref() end
  self.pinned_ = self.pinned_ or {}
  table.insert(self.pinned_, handle or fd)
end

--- Gives up the handle, or the fd that has none yet, and closes it unless it is
--- pinned. Then calls fn(self), in a later tick, also if there was nothing to
--- close. The object's reading and watching must have been stopped.
--- @param fn fun(self: table)
function Owning:release_(fn)
  local handle, fd = self.handle_, self.fd_
  self.handle_, self.fd_ = nil, nil
  if self.pins_ then
    keep(self, handle, fd)
  elseif handle then
    return loop.close(handle, function() fn(self) end)
  elseif fd then
    fd:close()
  end
  loop.soon(fn, self)
end

return Owning
