--- The main task and the loop around it.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local main = {}

local before_exit = loop.guard(function() loop.before_exit() end)

--- Runs the loop until nothing is left; listeners of `before_exit` may give it
--- more to do.
local function run_loop()
  repeat
    uv.run()
    before_exit()
  until not uv.loop_alive()
end

--- Runs fn(...) as the main task until nothing is left.
--- @param fn function
--- @param ... any fn's arguments
--- @return Task
--- @return string? stuck it still waits: where, and that this can never end
function main.run(fn, ...)
  loop.own()
  core.ending.own()
  local t = scheduler.go(fn, ...)
  loop.owns_process = true
  run_loop()
  if t.status == "running" then
    return t, require "orrery.runtime.stuck".describe(t)
  end
  return t
end

--- Runs fn(...) as the main task until nothing is left. For plain lua5.4; the
--- CLI does so with a script. Uncaught errors end the process meanwhile; errors
--- in luv's own callbacks are uncaught errors from then on. Raises if the task
--- waits for what can no longer come.
--- @param fn function
--- @param ... any fn's arguments
--- @return any ... fn's results; nil, err if it failed or was cancelled
function main.main(fn, ...)
  if loop.running() then options.raise("main: the loop is running already") end
  options.argument("main", "fn", fn, options.checks.callback)
  local t, stuck = main.run(fn, ...)
  loop.owns_process = false
  if stuck then error("main: " .. stuck, 0) end
  if t.status == "done" then
    return table.unpack(t.results_, 1, t.results_.n)
  end
  return nil, t.err_ or t.cancelled_
end

return main
