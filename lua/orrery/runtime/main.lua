--- The main task and the loop around it.

local uv = require "luv"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local main = {}

--- Where a task waits: the innermost line that is not ours.
local function waiting_line(t)
  for level = 0, 200 do
    local info = debug.getinfo(t.thread, level, "Sl")
    if not info then break end
    if info.currentline > 0 and not options.is_own(info.source) then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
  return "?"
end

--- `before_exit`, for which somebody can only listen by the process module.
local emit_before_exit = loop.guard(function()
  local process = package.loaded["orrery.process"]
  if process then process.emit("before_exit", process.exit_code or 0) end
end)

--- Runs the loop until nothing is left; `before_exit` may give it more.
local function run_loop()
  repeat
    uv.run()
    emit_before_exit()
  until not uv.loop_alive()
end

--- fn(...) as the main task, until nothing is left.
--- @return Task
--- @return string? stuck what it still waits for
function main.run(fn, ...)
  loop.own()
  local t = scheduler.go(fn, ...)
  run_loop()
  if t.status == "running" then
    return t, ("the main task waits at %s for what can no longer come")
      :format(waiting_line(t))
  end
  return t
end

--- Runs fn(...) as the main task until nothing is left. For plain lua5.4; the
--- CLI does so with a script. Also makes luv's own callbacks fail as ours do.
--- @param fn function
--- @return any ... fn's results
function main.main(fn, ...)
  if loop.running() then options.raise("main: the loop is running already") end
  local t, stuck = main.run(fn, ...)
  if stuck then error("main: " .. stuck, 0) end
  if t.status == "done" then
    return table.unpack(t.results, 1, t.results.n)
  end
  return nil, t.err or t.cancelled
end

return main
