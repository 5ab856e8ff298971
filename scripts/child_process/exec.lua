-- Two command lines that a shell runs, with their output collected: what the
-- first one has printed is the second one's input. Prints the arguments of the
-- first one in capitals, the last one first.

local orrery = require "orrery"

local options = { cwd = orrery.process.script_dir .. "/programs" }

local second = orrery.exec("orrery shout.lua | sort -r", options,
  function(err, stdout)
    if err then return print("second: " .. err.message) end
    io.write(stdout)
  end)
orrery.exec("orrery arguments.lua a b c", options, function(err, stdout)
  if err then print("first: " .. err.message) end
  second.stdin:finish(stdout)
end)
