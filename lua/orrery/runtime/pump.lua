--- Waiting outside any task, in the main chunk of plain lua5.4: runs the loop
--- until what is waited for has come. Loaded by the first such wait; the CLI
--- runs its script as a task, and has none.

local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local pump = {}

--- Waits as `scheduler.wait` does. Raises if the loop runs empty before.
--- @param start fun(wake: fun(...): boolean): function?
--- @param ms integer? at most so long
--- @param what string the waiting function's name, for messages
--- @return any ... what wake was given; nil, err if the time is up
--- @return Error? err (ETIMEDOUT)
function pump.wait(start, ms, what)
  local value, timer
  local function wake(...)
    if value then return false end
    value = table.pack(...)
    loop.interrupt()
    return true
  end
  local undo = start(wake)
  if ms and not value then
    timer = clock.after(ms, function()
      if undo then undo() end
      wake(nil, errors.timeout(ms))
    end)
  end
  local function woken() return value ~= nil end
  while not value do
    if not loop.turn(woken) and not value then
      if undo then undo() end
      options.raise("%s: waits for what can no longer come: the loop is empty",
        what)
    end
  end
  if timer then timer:stop() end
  return table.unpack(value, 1, value.n)
end

return pump
