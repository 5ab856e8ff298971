--- Shows whether memory stays flat with luv alone: uv.spawn of `true`, with
--- pipes for stdout and stderr, one after the other. Parameters and figures as
--- meter.flat has them:
---
---     flat_luv.lua FIRST LAST

local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

--- Calls done() at the third end: of stdout, of stderr, and of the program.
local function start(done)
  local out, err, left = uv.new_pipe(false), uv.new_pipe(false), 3
  local function ended(handle)
    handle:close()
    left = left - 1
    if left == 0 then done() end
  end
  local process
  process = assert(uv.spawn("true", { stdio = { nil, out, err } },
    function() ended(process) end))
  for _, pipe in ipairs { out, err } do
    pipe:read_start(function(_, chunk)
      if not chunk then ended(pipe) end
    end)
  end
end

meter.flat(tonumber(arg[1]), tonumber(arg[2]), function(n)
  local function next_one()
    if n == 0 then return end
    n = n - 1
    start(next_one)
  end
  next_one()
  uv.run()
end)
