-- Listeners of `exit` run last of all, whichever way the program ends, and get
-- its exit code. They can tidy up, but nothing that they start comes about.
-- Prints "working", then "leaving with 0".

local orrery = require "orrery"
local process = orrery.process

process.on("exit", function(code)
  print("leaving with " .. code)
  orrery.after(0, function() print "never" end)
end)
print "working"
process.exit()
