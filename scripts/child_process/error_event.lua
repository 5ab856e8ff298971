-- A child that cannot start has no pid, and emits `error`; nothing is raised.
-- Prints for each of two why, at which stage of the start, and on what: a
-- program that is not there, and a folder to start in that is not there.

local orrery = require "orrery"

local function on_error(err) print(err.code, err.stage, err.path) end

orrery.spawn("no-such-program"):on("error", on_error)
orrery.spawn("pwd", { cwd = "/no/such/folder" }):on("error", on_error)
