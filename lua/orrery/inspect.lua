--- Values as readable Lua text, for people: sorted keys, cycles marked.

local null = require "orrery.core".null

local WIDTH = 72 -- columns that a table may fill on one line

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

--- Returns the keys of a table but the integers from 1 to `skip`: numbers
--- first, then strings, then the rest, each in its own order.
local function sorted_keys(value, skip)
  local rank = { number = 1, string = 2 }
  local keys = {}
  for key in next, value do
    if not (math.type(key) == "integer" and key >= 1 and key <= skip) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, function(a, b)
    local ra, rb = rank[type(a)] or 3, rank[type(b)] or 3
    if ra ~= rb then return ra < rb end
    if ra == 3 then return tostring(a) < tostring(b) end
    return a < b
  end)
  return keys
end

--- Returns a table's text from its items': on one line if they fit.
local function join(items, indent)
  local line = "{" .. table.concat(items, ", ") .. "}"
  if #line + #indent <= WIDTH and not line:find("\n") then return line end
  local inner = indent .. "  "
  return "{\n" .. inner .. table.concat(items, ",\n" .. inner) .. "\n" .. indent
    .. "}"
end

--- Returns a value's text. `open` has the tables that it is within.
local function text_of(value, indent, open)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  end
  if value == null then return "null" end
  if type(value) ~= "table" then return tostring(value) end
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__tostring then return tostring(value) end
  if open[value] then return "<cycle>" end
  open[value] = true
  local function inner(v) return text_of(v, indent .. "  ", open) end
  local items = {}
  for i = 1, #value do items[i] = inner(rawget(value, i)) end
  for _, key in ipairs(sorted_keys(value, #items)) do
    items[#items + 1] = key_text(key, inner) .. " = "
      .. inner(rawget(value, key))
  end
  open[value] = nil
  return join(items, indent)
end

--- Returns a value as Lua text that a person can read. A table within itself is
--- <cycle>; an object with __tostring is its own text.
--- @param value any
--- @return string text
local function inspect(value)
  return text_of(value, "", {})
end

return inspect
