-- Below an init orphans are reaped, which nobody waits for:
--     orrery --init scripts/process/init.lua
-- Prints to whom a process comes whose parent has ended, and that it leaves no
-- zombie. As pid 1 of a container `orrery` does the same without --init.

local orrery = require "orrery"
local process = orrery.process

local function ask(what, pid)
  return orrery.run("ps", { "-o", what .. "=", "-p", pid }).stdout:match "%S+"
end

-- The shell ends at once, and leaves its child alone.
local orphan = orrery.sh("(exec sleep 1000) >/dev/null & echo $!",
  { trim = true }).stdout

print("the script's parent: " .. ask("comm", process.ppid))
print("the orphan's parent: " .. ask("comm", ask("ppid", orphan)))

process.kill(tonumber(orphan))
while process.kill(tonumber(orphan), 0) do -- a zombie would be there for ever
  orrery.sleep(10)
end
print "the orphan: reaped"
