-- The arguments of a script: argv[0] is the script, argv[1] the first argument.
--   orrery scripts/process/argv.lua a b
-- prints a line for each, with its number.

local process = require "orrery".process

for i = 0, #process.argv do
  print(i, process.argv[i])
end
