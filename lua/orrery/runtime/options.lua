--- Checks arguments and option tables, before anything is created. Misuse is
--- raised at the caller's line and names the argument, the value and the way
--- out.

local shared = require "orrery.core".shared

local options = {}

-- How debug.getinfo names the sources of this library's modules: `require`
-- passes each module its file. (package.path may have changed since.) There is
-- one root for each copy of the library in this Lua state.
local OWN = "@"
  .. ((select(2, ...) or ""):match("^(.*/)[^/]*/") or "preloaded/")
shared.roots = shared.roots or {}
shared.roots[OWN] = true

local UINT32 = 0xffffffff

--- Returns a bad value as messages show it: on one line, and cut if it is long.
--- @param value any
--- @return string
local function show(value)
  if type(value) ~= "string" then return tostring(value) end
  local short = #value > 40 and value:sub(1, 37) .. "..." or value
  return (("%q"):format(short):gsub("\\\n", "\\n"))
end
options.show = show

--- Returns a bad value as messages end with it: with its type, which is all
--- there is to say of nil, and of what Lua itself only has an address for.
--- @param value any
--- @return string
local function got(value)
  local kind, text = type(value), show(value)
  if value == nil or text:sub(1, #kind + 1) == kind .. ":" then return kind end
  return kind .. " " .. text
end
options.got = got

--- Returns the number of single-letter edits between two words.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal
    diagonal, row[0] = row[0], i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
      diagonal, row[j] = row[j], best
    end
  end
  return row[#b]
end

--- Returns the key of a table that is spelled most like `name`, for "did you
--- mean".
--- @param name string
--- @param names table
--- @return string? nearest nil if the table is empty
function options.nearest(name, names)
  local best, least
  for candidate in pairs(names) do
    local d = distance(name, candidate)
    if not least or d < least or (d == least and candidate < best) then
      best, least = candidate, d
    end
  end
  return best
end

--- Tells whether a chunk is one of this library's modules, loaded from bytecode
--- or from source.
--- @param source string as debug.getinfo has it
--- @return boolean
function options.is_own(source)
  if source:sub(1, 9) == "=[orrery." then return true end
  for root in next, shared.roots do
    if source:sub(1, #root) == root then return true end
  end
  return false
end
local is_own = options.is_own

--- Raises at the innermost line on the stack that is not this library's: the
--- user's, who misuses a public function.
--- @param format string as string.format's
function options.raise(format, ...)
  local level = 2
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or is_own(info.source)) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  error(format:format(...), info and level or 0)
end

--- Checks of one value: each returns nil if the value is good, else a text that
--- says what was expected.
local checks = {}
options.checks = checks

function checks.string(value)
  if type(value) ~= "string" then return "a string" end
  if value:find("\0", 1, true) then return "a string without NUL bytes" end
end

function checks.bytes(value)
  if type(value) ~= "string" then return "a string" end
end

function checks.boolean(value)
  if type(value) ~= "boolean" then return "a boolean" end
end

function checks.callback(value)
  if type(value) ~= "function" then return "a function" end
end

function checks.any() end

--- Returns a check for integers from `low` to `high`.
local function integer(low, high, text)
  text = text or ("an integer from %d to %d"):format(low, high)
  return function(value)
    if math.type(value) ~= "integer" or value < low or value > high then
      return text
    end
  end
end
options.integer = integer

checks.ms = integer(0, math.maxinteger, "an integer of milliseconds, 0 or more")
checks.id = integer(0, UINT32 - 1, "an integer from 0 to 4294967294")

function checks.size(value)
  if value == math.huge then return end
  if math.type(value) ~= "integer" or value < 0 then
    return "an integer of bytes, 0 or more, or math.huge"
  end
end

--- Returns the first place of a list that is nil though others follow; nil if
--- there is none.
local function hole_of(value)
  local last = #value -- may be before the hole
  for key in next, value do
    if math.type(key) == "integer" and key > last then last = key end
  end
  for i = 1, last do
    if value[i] == nil then return i end
  end
end

--- Returns a check for lists whose items pass `check`; `text` is what it says
--- of others.
local function list(check, text)
  return function(value)
    if type(value) ~= "table" then return text end
    local hole = hole_of(value)
    if hole then
      return ("%s without a hole (item %d is nil)"):format(text, hole)
    end
    for i = 1, #value do
      if check(value[i]) then return text end
    end
  end
end
options.list = list

local none = setmetatable({}, {
  __newindex = function() error("read-only") end,
})

--- Checks a table of options: raises unless each is known and passes its check.
--- Only the table's own fields count, not what a metatable would add.
--- @param where string the public function's name, for the message
--- @param given table? nil is an empty one
--- @param schema table<string, function> checks by option
--- @return table options to be read only: it may be the caller's own table
function options.check(where, given, schema)
  if given == nil then return none end
  if type(given) ~= "table" then
    options.raise("%s: options must be a table, got %s", where, got(given))
  end
  for name, value in next, given do
    local check = schema[name]
    if not check then
      options.raise("%s: unknown option %s; did you mean '%s'?",
        where, show(name), options.nearest(tostring(name), schema))
    end
    local expected = check(value)
    if expected then
      options.raise("%s: option '%s' must be %s, got %s", where, name,
        expected, got(value))
    end
  end
  return getmetatable(given) and options.copy(given) or given
end

--- Returns a copy of a table's own fields.
--- @param given table
--- @return table
function options.copy(given)
  local copy = {}
  for name, value in next, given do copy[name] = value end
  return copy
end

--- Raises unless what a stream is to write is a string, and the callback a
--- function or nil.
--- @param what string the method's name
function options.check_write(what, data, cb)
  local good = cb == nil or type(cb) == "function"
  if good and type(data) == "string" then return end -- nearly always
  options.argument(what, "the data", data, checks.bytes)
  if cb ~= nil then
    options.argument(what, "the callback", cb, checks.callback)
  end
end

--- Raises unless an argument passes a check.
--- @param where string the public function's name
--- @param name string what the argument is called in messages: "the time"
--- @param value any
--- @param check function one of `options.checks`, or like them
function options.argument(where, name, value, check)
  local expected = check(value)
  if expected then
    options.raise("%s: %s must be %s, got %s", where, name, expected,
      got(value))
  end
end

return options
