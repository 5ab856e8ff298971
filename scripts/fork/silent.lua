-- With `silent` a child's output comes here, and does not go where ours goes.
-- What the first child prints is sent to the second, which saves it in a file.
-- Prints how the first one ended, and the file: its arguments.

local orrery = require "orrery"

local programs = orrery.process.script_dir .. "/programs/"
local path = os.tmpname()
local first = orrery.fork(programs .. "arguments.lua", { "a", "b c" },
  { silent = true })
local second = orrery.fork(programs .. "save.lua", { path })

first.stdout:on("data", function(chunk) second:send(chunk) end)
first:on("exit", function(code) print("the first ended with", code) end)
first:on("close", function() second:disconnect() end)
second:on("close", function()
  io.write(io.open(path):read("a"))
  os.remove(path)
end)
for _, child in ipairs { first, second } do
  child:on("error", function(err) print("could not start: " .. err.message) end)
end
