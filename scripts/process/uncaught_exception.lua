-- An error that is not caught goes to uncaught_exception; the program goes on.
-- Prints what was caught and then "still here".

local orrery = require "orrery"

orrery.process.on("uncaught_exception", function(err, origin)
  print("caught in a " .. origin, err)
end)
orrery.after(10, function() print "still here" end)
orrery.go(function() error "nobody expects this" end)
