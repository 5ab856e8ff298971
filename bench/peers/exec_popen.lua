--- Measures what exec("echo hi") costs with what plain Lua has, io.popen, which
--- blocks. COUNT and figures as in exec.c:
---
---     exec_popen.lua COUNT

local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

meter.measure(tonumber(arg[1]), function(n)
  for _ = 1, n do
    local pipe = assert(io.popen("echo hi"))
    assert(pipe:read("a") == "hi\n")
    assert(pipe:close())
  end
end)
