--- Where this process was when it started: what a later change of the folder,
--- or a new interpreter in the place of this one, must not change. The CLI
--- loads this before the script, and `orrery.process` when it is loaded.

local uv = require "orrery.runtime.luv"

--- @class Started
--- @field cwd string? the folder; nil if it had been removed
--- @field exec_path string? the interpreter; nil without /proc
return { cwd = uv.cwd(), exec_path = uv.exepath() }
