-- `exit` comes when the child itself has ended. Its output may go on, for
-- others can hold it open: here a child of the child. Prints "exit 3", then
-- what that one wrote, then "close 3".

local orrery = require "orrery"

local child = orrery.spawn("sh",
  { "-c", "{ sleep 0.2; echo still writing; } & exit 3" })
child.stdout:on("data", function(chunk) io.write(chunk) end)
child:on("exit", function(code) print("exit", code) end)
child:on("close", function(code) print("close", code) end)
