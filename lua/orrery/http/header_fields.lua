--- The header fields of a message that is being made: set by name, in any case,
--- and written in the order in which they were set first. Nothing gets in that
--- could end a line, or that leaves open where the body ends: misuse raises at
--- the user's line.

local class = require "orrery.runtime.class"
local number_text = require "orrery.runtime.number_text"
local options = require "orrery.runtime.options"

local TOKEN = "^[!#$%%&'*+%-.^_`|~0-9A-Za-z]+$" -- RFC 9110, 5.6.2
local CONTROL = "[\0-\8\10-\31\127]"

--- @class HeaderFields
--- @field fields_ {name: string, value: string|string[]|nil}[] in order; a
---   field without a value was removed
--- @field by_name_ table<string, table> the same, by names in lower case
local HeaderFields = class "orrery.HeaderFields"

--- Makes a list without fields.
--- @return HeaderFields
function HeaderFields.new()
  return setmetatable({ fields_ = {}, by_name_ = {} }, HeaderFields)
end

--- Checks a token, as the checks of `options.checks` do.
function HeaderFields.check_token(value)
  if type(value) ~= "string" or not value:find(TOKEN) then
    return "a token (letters, digits and !#$%&'*+-.^_`|~)"
  end
end

-- Checks ----------------------------------------------------------------------

--- Returns one value as text. Raises unless it is good.
local function text_of(where, name, value)
  if math.type(value) then return number_text.of(value) end
  if type(value) ~= "string" then
    options.raise("%s: header '%s' must be a string, a number or a list of "
      .. "these, got %s", where, name, options.got(value))
  elseif value:find(CONTROL) then
    options.raise("%s: header '%s' must have no line ends or other control "
      .. "characters, got %s", where, name, options.show(value))
  end
  return value
end

--- Returns a value as it is kept. Raises unless it is good.
local function checked(where, name, value)
  if type(value) ~= "table" then return text_of(where, name, value) end
  local texts = {}
  for i = 1, #value do texts[i] = text_of(where, name, value[i]) end
  return texts
end

--- Fields of which there is one: each says what its value must be, or nil if it
--- is good. Another field, if named, excludes it.
local single = {
  host = { check = function() end },
  ["content-length"] = {
    check = function(value)
      if not (value:find("^%d+$") and math.tointeger(tonumber(value))) then
        return "a number of bytes"
      end
    end,
    excludes = "transfer-encoding",
  },
  ["transfer-encoding"] = {
    check = function(value)
      if not (value:lower():find("^chunked%s*$")
        or value:lower():find(",%s*chunked%s*$")) then
        return "a list that ends in 'chunked'"
      end
    end,
    excludes = "content-length",
  },
}

--- Raises unless a field of which there is one can have this value.
local function check_single(self, where, name, value)
  local rule = single[name:lower()]
  if not rule then return end
  if type(value) == "table" then
    options.raise("%s: header '%s' must have one value", where, name)
  end
  local expected = rule.check(value)
  if expected then
    options.raise("%s: header '%s' must be %s, got %s", where, name, expected,
      options.show(value))
  elseif rule.excludes and self:get(rule.excludes) then
    options.raise("%s: header '%s' cannot go with '%s': remove that first",
      where, name, rule.excludes)
  end
end

-- Setting ---------------------------------------------------------------------

--- Sets a field, in place of what it had. Raises unless both are good.
--- @param where string the public function's name, for messages
--- @param name string
--- @param value string|number|(string|number)[] a list is a line each
function HeaderFields:set(where, name, value)
  options.argument(where, "the header's name", name, HeaderFields.check_token)
  value = checked(where, name, value)
  check_single(self, where, name, value)
  local field = self.by_name_[name:lower()]
  if not field then
    field = {}
    self.by_name_[name:lower()] = field
    self.fields_[#self.fields_ + 1] = field
  end
  field.name, field.value = name, value
end

--- Sets the fields of a table, which has no order: by their names.
local function set_by_name(self, where, headers)
  local names = {}
  for name in next, headers do
    options.argument(where, "the header's name", name,
      HeaderFields.check_token)
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do self:set(where, name, headers[name]) end
end

--- Calls visit(name, value) for each of a list of pairs, or of a flat list.
local function each_pair(where, list, visit)
  if type(list[1]) ~= "table" then
    if #list % 2 == 1 then
      options.raise("%s: the list of headers must have a value for each name",
        where)
    end
    for i = 1, #list, 2 do visit(list[i], list[i + 1]) end
    return
  end
  for i, pair in ipairs(list) do
    if type(pair) ~= "table" then
      options.raise("%s: header %d must be a pair {name, value}, got %s", where,
        i, options.got(pair))
    end
    visit(pair[1], pair[2])
  end
end

--- Sets the fields of a list, in its order. A name that comes again adds a
--- line.
local function set_in_order(self, where, list)
  local names, values = {}, {} -- the values by names in lower case
  each_pair(where, list, function(name, value)
    options.argument(where, "the header's name", name,
      HeaderFields.check_token)
    local lower = name:lower()
    if not values[lower] then
      names[#names + 1], values[lower] = name, {}
    end
    local all = values[lower]
    if type(value) ~= "table" then value = { value } end
    table.move(value, 1, #value, #all + 1, all)
  end)
  for _, name in ipairs(names) do
    local all = values[name:lower()]
    if #all > 1 then self:set(where, name, all)
    else self:set(where, name, all[1]) end
  end
end

--- Sets many fields. Raises unless all are good.
--- @param where string the public function's name, for messages
--- @param headers table by name; or a list of pairs {name, value}; or a flat
---   list name, value, name, value, …, as `raw_headers` is
function HeaderFields:set_all(where, headers)
  local set = headers[1] == nil and set_by_name or set_in_order
  set(self, where, headers)
end

--- Removes a field; does nothing if there is none.
--- @param name string
function HeaderFields:remove(name)
  local field = self.by_name_[name:lower()]
  if field then field.value = nil end
end

--- Returns the value of a field.
--- @param name string
--- @return string|string[]|nil value numbers are strings; nil: there is none
function HeaderFields:get(name)
  local field = self.by_name_[name:lower()]
  return field and field.value
end

--- Tells whether a field that is a list of words has one of them.
--- @param name string
--- @param word string in lower case
--- @return boolean
function HeaderFields:has_word(name, word)
  local value = self:get(name) or ""
  if type(value) == "table" then value = table.concat(value, ",") end
  for one in value:lower():gmatch("[^%s,]+") do
    if one == word then return true end
  end
  return false
end

--- Returns the fields as a head has them, a line each.
--- @return string
function HeaderFields:lines()
  local lines = {}
  for _, field in ipairs(self.fields_) do
    local value = field.value
    if type(value) == "string" then
      lines[#lines + 1] = field.name .. ": " .. value .. "\r\n"
    elseif value then
      for _, one in ipairs(value) do
        lines[#lines + 1] = field.name .. ": " .. one .. "\r\n"
      end
    end
  end
  return table.concat(lines)
end

return HeaderFields
