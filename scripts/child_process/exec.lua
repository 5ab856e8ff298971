-- Two command lines that a shell runs, with their output collected: what the
-- first one has printed is the second one's input. Prints the arguments of the
-- first one in capitals, the last one first.

local orrery = require "orrery"
local process = orrery.process

local options = {
  cwd = process.script_dir .. "/programs",
  env_extend = {
    LUA = process.exec_path,
    ORRERY = process.script_dir .. "/../../bin/orrery",
  },
}

local second = orrery.exec('"$LUA" "$ORRERY" shout.lua | sort -r', options,
  function(err, stdout)
    if err then return print("second: " .. err.message) end
    io.write(stdout)
  end)
orrery.exec('"$LUA" "$ORRERY" arguments.lua a b c', options,
  function(err, stdout)
    if err then print("first: " .. err.message) end
    second.stdin:finish(stdout)
  end)
