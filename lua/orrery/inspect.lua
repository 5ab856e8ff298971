--- Values as readable Lua text, for people: sorted keys, cycles marked. No
--- metamethod but __tostring is called, and one that raises ends nothing.

local null = require "orrery.core".null

local WIDTH = 72 -- columns that a table may fill on one line
local MOST_DEPTH = 20 -- of tables within tables; those within are {…}
local MOST_VALUES = 100000 -- in all; then comes …
local LUA_DIGITS, MOST_DIGITS = 14, 17 -- of a float; 17 tell any two apart

local words = {}
for word in ("and break do else elseif end false for function goto if in local "
  .. "nil not or repeat return then true until while"):gmatch("%a+") do
  words[word] = true
end

--- Returns a key as it is written in front of a value.
local function key_text(key, inner)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") and not words[key] then
    return key
  end
  return "[" .. inner(key) .. "]"
end

--- Returns the text of a value that says itself what it is.
local function own_text(value)
  local ok, text = pcall(tostring, value)
  if ok then return text end
  return ("<%s whose __tostring raises %s>"):format(type(value),
    type(text) == "string" and text or "a " .. type(text))
end

--- Returns a number as Lua reads it again: Lua's own text of a float may lack
--- digits.
local function number_of(value)
  local text = tostring(value)
  if math.type(value) == "integer" or tonumber(text) == value then
    return text
  end
  for digits = LUA_DIGITS + 1, MOST_DIGITS do
    text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then break end
  end
  return text:find("^-?%d+$") and text .. ".0" or text
end

--- Returns the keys of a table but the integers from 1 to `skip`: numbers
--- first, then strings, then the rest, each in its own order.
local function sorted_keys(value, skip)
  local rank = { number = 1, string = 2 }
  local keys, texts = {}, {}
  for key in next, value do
    if not (math.type(key) == "integer" and key >= 1 and key <= skip) then
      keys[#keys + 1] = key
      if not rank[type(key)] then texts[key] = own_text(key) end
    end
  end
  table.sort(keys, function(a, b)
    local ra, rb = rank[type(a)] or 3, rank[type(b)] or 3
    if ra ~= rb then return ra < rb end
    if ra == 3 then return texts[a] < texts[b] end
    return a < b
  end)
  return keys
end

--- Returns a table's text from its items': on one line if they fit.
local function join(items, depth)
  local indent = ("  "):rep(depth)
  local line = "{" .. table.concat(items, ", ") .. "}"
  if #line + #indent <= WIDTH and not line:find("\n") then return line end
  local inner = indent .. "  "
  return "{\n" .. inner .. table.concat(items, ",\n" .. inner) .. "\n" .. indent
    .. "}"
end

local table_text

--- Returns a value's text.
--- @param value any
--- @param depth integer how many tables it is within
--- @param state {open: table<table, true>, left: integer} those tables, and how
---   many values may still be written
local function text_of(value, depth, state)
  state.left = state.left - 1
  local kind = type(value)
  if kind == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif kind == "number" then
    return number_of(value)
  elseif rawequal(value, null) then
    return "null"
  end
  local meta = debug.getmetatable(value)
  if kind ~= "table" or meta and rawget(meta, "__tostring") then
    return own_text(value)
  elseif state.open[value] then
    return "<cycle>"
  end
  return depth < MOST_DEPTH and table_text(value, depth, state) or "{…}"
end

--- Writes the items of a table into a list.
--- @return boolean all false: no more values may be written
local function add_items(items, value, inner, state)
  local length = rawlen(value)
  for i = 1, length do
    if state.left <= 0 then return false end
    items[i] = inner(rawget(value, i))
  end
  for _, key in ipairs(sorted_keys(value, length)) do
    if state.left <= 0 then return false end
    items[#items + 1] = key_text(key, inner) .. " = "
      .. inner(rawget(value, key))
  end
  return true
end

--- Returns a table's text; arguments as text_of's.
function table_text(value, depth, state)
  local items = {}
  state.open[value] = true
  local function inner(v) return text_of(v, depth + 1, state) end
  if not add_items(items, value, inner, state) then items[#items + 1] = "…" end
  state.open[value] = nil
  return join(items, depth)
end

--- Returns a value as Lua text that a person can read. A table within itself is
--- <cycle>, one that is 20 deep {…}, and of what has more than 100,000 values
--- the rest is …; an object with __tostring is its own text.
--- @param value any
--- @return string text
local function inspect(value)
  return text_of(value, 0, { open = {}, left = MOST_VALUES })
end

return inspect
