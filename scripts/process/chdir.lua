-- The working directory: prints it, goes one up, and prints it again; then
-- tries a folder that is not there and prints why that failed.

local process = require "orrery".process

print("here", process.cwd())
assert(process.chdir "..")
print("above", process.cwd())
local _, err = process.chdir "/does/not/exist"
print(err.code, err.path)
