-- The working directory, where relative paths begin: prints it.

local process = require "orrery".process

print(process.cwd())
