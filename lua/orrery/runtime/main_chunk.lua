--- How the main chunk of plain lua5.4 waits: it is no task, so it runs the loop
--- itself. Loaded by its first wait; under the CLI there is none.

local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local main_chunk = {}

--- Runs the loop until it is woken. Raises if the loop is empty before that.
--- See `scheduler.wait`, which checks that the caller may wait.
--- @param start fun(wake: fun(...): boolean): function?
--- @param ms integer?
--- @param what string
--- @return any ...
--- @return Error? err (ETIMEDOUT)
function main_chunk.wait(start, ms, what)
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

return main_chunk
