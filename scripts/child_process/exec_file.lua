-- Two programs without a shell, so that arguments are just that: what the first
-- one has printed goes into the second one, which writes it into a file.
-- Prints the file: the argument with all its special characters.

local orrery = require "orrery"
local process = orrery.process

local cli = process.script_dir .. "/../../bin/orrery"
local options = { cwd = process.script_dir .. "/programs" }
local path = os.tmpname()

local second = orrery.exec_file(process.exec_path, { cli, "save.lua", path },
  options,
  function(err)
    if err then print("second: " .. err.message) end
    for line in io.lines(path) do print(line) end
    os.remove(path)
  end)
orrery.exec_file(process.exec_path,
  { cli, "arguments.lua", "$HOME; rm -rf *" }, options,
  function(err, stdout)
    if err then print("first: " .. err.message) end
    second.stdin:finish(stdout)
  end)
