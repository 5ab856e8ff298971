-- Two children: what the first one writes is handed to the second. Prints the
-- first one's working directory and argument, in capitals.

local orrery = require "orrery"
local process = orrery.process

local cli = process.script_dir .. "/../../bin/orrery"
local programs = process.script_dir .. "/programs/"
local first = orrery.spawn(process.exec_path,
  { cli, programs .. "where.lua", "a" }, { cwd = "/" })
local second = orrery.spawn(process.exec_path, { cli, programs .. "shout.lua" },
  { stdio = { "pipe", "inherit", "inherit" } })

first.stdout:on("data", function(chunk) second.stdin:write(chunk) end)
first:on("close", function() second.stdin:finish() end)
for name, child in pairs { first = first, second = second } do
  child:on("error", function(err)
    print(name .. " could not start: " .. err.message)
  end)
end
