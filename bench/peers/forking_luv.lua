--- Measures the least that a Lua child on luv can be: it requires luv and sends
--- one line back. Figures as in forking.lua:
---
---     forking_luv.lua COUNT

local uv = require "luv"

if arg[1] == "child" then
  local pipe = uv.new_pipe(false)
  pipe:open(3)
  pipe:read_start(function(_, chunk)
    if chunk then pipe:write(chunk) else pipe:close() end
  end)
  uv.run()
  return
end

local forking = dofile(arg[0]:match("^.*/") .. "forking.lua")

local function start(answered)
  local pipe, on_exit = uv.new_pipe(false), nil
  local process, pid
  process, pid = assert(uv.spawn(arg[-1], {
    args = { arg[0], "child" },
    stdio = { 0, 1, 2, pipe },
  }, function()
    process:close()
    if on_exit then on_exit() end
  end))
  pipe:write "hello\n"
  pipe:read_start(function(err, chunk)
    assert(not err and chunk == "hello\n", err)
    pipe:read_stop()
    answered(pid, function(exited)
      on_exit = exited
      pipe:close()
    end)
  end)
end

forking.run(tonumber(arg[1]), start)
uv.run()
