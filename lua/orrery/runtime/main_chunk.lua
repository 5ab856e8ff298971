--- How the main chunk of plain lua5.4 waits: it is no task, so it runs the loop
--- itself. Not loaded under the CLI, where the script is a task.

local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local main_chunk = {}

--- Ends a run of the loop, also one that an error of a hook has left, as
--- lua5.4's for SIGINT.
local leave = setmetatable({}, {
  __close = function() loop.raise_in_wait = nil end,
})

--- Runs the loop until woken() is true, or an error is uncaught meanwhile.
--- @param woken fun(): boolean
--- @return "woken"|"failed"|"empty" how it ended; empty: nothing keeps the loop
--- @return any err what was uncaught
local function run(woken)
  local failed, failure = false, nil
  loop.raise_in_wait = function(err)
    if failed then return false end
    failed, failure = true, err
    loop.interrupt()
    return true
  end
  local _ <close> = leave
  local function is_over() return failed or woken() end
  local going_on = true
  while going_on and not is_over() do going_on = loop.turn(is_over) end
  if failed then return "failed", failure end
  return woken() and "woken" or "empty"
end

--- Runs the loop until it is woken. Raises an error that is uncaught before it
--- returns, and if the loop is empty. See `scheduler.wait`, which checks that
--- the caller may wait.
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
  local _ <close> = setmetatable({}, { __close = function()
    if timer then timer:stop() end
    if undo and not value then undo() end
  end })
  local how, failure = run(function() return value ~= nil end)
  if how == "failed" then error(failure, 0) end
  if how == "empty" then
    options.raise("%s: waits for what can no longer come: the loop is empty",
      what)
  end
  return table.unpack(value, 1, value.n)
end

return main_chunk
