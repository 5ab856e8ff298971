--- Lists of arguments for other programs.

local number_text = require "orrery.runtime.number_text"
local options = require "orrery.runtime.options"

local argv = {}

--- Returns the place of the last item of a list, which may have holes. Raises
--- if it has other keys than integers.
local function last_of(where, args)
  local last = #args -- may be before a hole
  for key in next, args do
    if math.type(key) ~= "integer" then
      options.raise("%s: the list of arguments has the key %s; options "
        .. "go in a table of their own, after it", where, options.show(key))
    end
    if key > last then last = key end
  end
  return last
end

--- Returns the command and its arguments as one list; numbers become strings.
--- Raises unless `args`, from `first` on, is a list of strings without a hole.
function argv.of(where, command, args, first)
  if args == nil then return { command } end
  if type(args) ~= "table" then
    options.raise("%s: the arguments must be a list of strings, got %s",
      where, options.got(args))
  end
  local words = { command }
  for i = first, last_of(where, args) do
    local arg = args[i]
    if type(arg) == "number" then arg = number_text.of(arg) end
    if arg == nil then
      options.raise("%s: the list of arguments has a hole: argument %d is nil",
        where, i - first + 1)
    elseif type(arg) ~= "string" or arg:find("\0", 1, true) then
      options.argument(where, ("argument %d"):format(i - first + 1), arg,
        options.checks.string)
    end
    words[i - first + 2] = arg
  end
  return words
end

return argv
