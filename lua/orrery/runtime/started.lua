--- Where and when this process started: what a later change of the folder, or a
--- new interpreter in the place of this one, must not change. The CLI loads
--- this before the script, and `orrery.process` when it is loaded.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"

--- @class Started
--- @field cwd string? the folder; nil if it had been removed
--- @field exec_path string? the interpreter; nil without /proc
--- @field time integer monotonic, in ns
return { cwd = uv.cwd(), exec_path = uv.exepath(),
  time = core.process():hrtime() }
