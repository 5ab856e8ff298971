--- Measures what reading a child's output costs with luv alone. Parameters and
--- figure as in read.c:
---
---     read_luv.lua BYTES PROGRAM [ARG...]

local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local total, pipe = 0, uv.new_pipe(false)
local begun = meter.cpu()
local handle
handle = assert(uv.spawn(arg[2], {
  args = { table.unpack(arg, 3) },
  stdio = { nil, pipe },
}, function() handle:close() end))
pipe:read_start(function(err, chunk)
  assert(not err, err)
  if chunk then
    total = total + #chunk
  else
    pipe:close()
  end
end)
uv.run()
assert(total == tonumber(arg[1]), "bytes are missing")
print(("cpu_ms_per_gib %.3f"):format((meter.cpu() - begun) / 1e3
  / (total / (1 << 30))))
