--- Numbers as other programs read them, in arguments and in the environment.
--- Lua's own text of a float is for people: 1024.0, and 14 digits.

local number_text = {}

local MOST_DIGITS = 17 -- tell any two floats apart
local WHOLE = 1e21 -- from here on digits are mostly made up; JavaScript's bound

--- Returns the shortest text from which tonumber gets the same float.
local function shortest(number)
  for digits = 1, MOST_DIGITS do
    local text = ("%." .. digits .. "g"):format(number)
    if tonumber(text) == number then return text end
  end
  return ("%.17g"):format(number) -- nan, inf
end

--- Returns a number as text: without a point if its value is integral, else
--- with as few digits as tell it from all others.
--- @param number number
--- @return string
function number_text.of(number)
  local integer = math.tointeger(number)
  if integer then return ("%d"):format(integer) end
  if number % 1 == 0 and math.abs(number) < WHOLE then
    return ("%.0f"):format(number)
  end
  return shortest(number)
end

return number_text
