--- Warnings of this process: the event `warning`, and a line on stderr.

local class = require "orrery.runtime.class"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local self_process = require "orrery.core".process()

local warnings = {}

--- @class Warning
--- @field name string the type: "Warning", "DeprecationWarning" …
--- @field message string
--- @field code string? such as "DEP0001"
--- @field detail string?
local Warning = class "orrery.Warning"

function Warning:__tostring()
  local code = self.code and ("[%s] "):format(self.code) or ""
  local detail = self.detail and "\n" .. self.detail or ""
  return ("%s%s: %s%s"):format(code, self.name, self.message, detail)
end

local schema = {
  type = options.checks.string,
  code = options.checks.string,
  detail = options.checks.string,
}

--- Emits `warning`, and writes the warning to stderr if the process is ours to
--- speak for, as under the CLI.
local function emit(warning)
  if loop.owns_process then
    io.stderr:write(("(orrery:%d) %s\n"):format(self_process:pid(),
      tostring(warning)))
  end
  require "orrery.process".emit("warning", warning)
end

--- Emits the event `warning` of the process module in the next tick, with a
--- table {name, message, code, detail}. Under the CLI, and in orrery.main, the
--- warning is a line on stderr as well, also if there are listeners (as in
--- Node).
--- @param message string
--- @param kind string|{type: string?, code: string?, detail: string?}|nil the
---   warning's name, "Warning" if nil; or options
--- @param code string?
function warnings.emit_warning(message, kind, code)
  options.argument("emit_warning", "the message", message,
    options.checks.string)
  local opts = kind
  if type(kind) ~= "table" then opts = { type = kind, code = code } end
  opts = options.check("emit_warning", opts, schema)
  loop.soon(emit, setmetatable({ name = opts.type or "Warning",
    message = message, code = opts.code, detail = opts.detail }, Warning))
end

return warnings
