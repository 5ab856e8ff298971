--- process.title: the command line of this process, as ps(1) and top(1) show
--- it.

local options = require "orrery.runtime.options"

local title = {}

local set_title = require "orrery.core".image().set_title
local current -- what was set; nil: nothing yet

--- Returns the command line of this process, its words joined by blanks; "" if
--- there is no /proc.
local function command_line()
  local file <close> = io.open("/proc/self/cmdline", "rb")
  local words = file and file:read("a") or ""
  return (words:gsub("%z$", ""):gsub("%z", " "))
end

--- Returns the title: what was set, or the command line.
--- @return string
function title.get()
  current = current or command_line()
  return current
end

--- Sets the title, of any length. The first 15 bytes are the name of the thread
--- too, `comm` for ps. A kernel without PR_SET_MM_MAP (it belongs to checkpoint
--- and restore) shows as many bytes as the command line had.
--- @param text string without NUL bytes
function title.set(text)
  options.argument("process.title", "the title", text, options.checks.string)
  set_title(text)
  current = text
end

return title
