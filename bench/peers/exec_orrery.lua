--- Measures what exec("echo hi") costs with Orrery, one after the other; "sh"
--- is the same in a task. COUNT and figures as in exec.c:
---
---     exec_orrery.lua exec|sh COUNT

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local styles = {}

--- Makes each start in the callback of the one before.
function styles.exec(n)
  local finished = orrery.events.new()
  local function start()
    if n == 0 then return finished:emit("finished") end
    n = n - 1
    orrery.exec("echo hi", function(err, stdout)
      assert(not err and stdout == "hi\n", err)
      start()
    end)
  end
  start()
  finished:wait_for("finished")
end

function styles.sh(n)
  for _ = 1, n do
    assert(orrery.sh("echo hi").stdout == "hi\n")
  end
end

meter.measure(tonumber(arg[2]), styles[arg[1]])
