-- How long this program has been running, in seconds: prints it before and
-- after a tenth of a second.

local orrery = require "orrery"

print(("%.1f s"):format(orrery.process.uptime()))
orrery.sleep(100)
print(("%.1f s"):format(orrery.process.uptime()))
