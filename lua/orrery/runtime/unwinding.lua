--- Tells how a coroutine's stack is being left, from what debug.getinfo shows
--- of it. Lua has no other way to ask.

local unwinding = {}

--- Where pcall and xpcall have the function that they have called, among their
--- temporaries.
local called_slot = { [pcall] = 2, [xpcall] = 4 }

--- Tells whether a `__close` handler is running on a stack. When a block is
--- left normally, the handler is called as the metamethod "close". While an
--- error unwinds, it is called from the pcall or xpcall that catches the error,
--- which has the function that it had called in its slot still, while another
--- one runs on top of it. (A vararg function stands in the slot while it runs,
--- too.)
--- @param thread thread suspended, or the running one
--- @return boolean
function unwinding.is_closing(thread)
  local level, inner = 0, nil -- the function that runs on top of the level
  while true do
    local info = debug.getinfo(thread, level, "nf")
    if not info then return false end
    if info.namewhat == "metamethod" and info.name == "close" then
      return true
    end
    local slot = called_slot[info.func]
    if slot then
      local name, called = debug.getlocal(thread, level, slot)
      if name and called ~= inner then return true end
    end
    inner = info.func
    level = level + 1
  end
end

return unwinding
