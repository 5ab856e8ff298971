-- Says where it runs and with which argument. Started by the scripts above.

local process = require "orrery".process

print("working directory: " .. process.cwd())
print("argument: " .. (process.argv[1] or "none"))
