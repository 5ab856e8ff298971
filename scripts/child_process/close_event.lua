-- `close` comes when a child has ended and all its output has been read, with
-- the exit code, or with nil and the signal that ended it. Prints "all of it"
-- and "close 0 nil" for the first child, "close nil SIGINT" for the second.

local orrery = require "orrery"

local function on_close(code, signal) print("close", code, signal) end

local echo = orrery.spawn("echo", { "all of it" })
echo.stdout:on("data", function(chunk) io.write(chunk) end)
echo:on("close", on_close)
echo:wait_for("close")

local sleeper = orrery.spawn("sleep", { "1000" })
sleeper:on("close", on_close)
sleeper:kill("SIGINT")
