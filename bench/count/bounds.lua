--- The bounds of bench/bounds.txt, and what is held against them.

local bounds = {}

--- Reads lines "OPERATION FIGURE BOUND"; "#" begins a comment.
--- @param lines fun(): string?
--- @return table<string, number> bounds by "OPERATION FIGURE"
function bounds.read(lines)
  local out = {}
  for line in lines do
    local name, bound = line:gsub("#.*", ""):match("^(%S+%s+%S+)%s+(%S+)%s*$")
    if name then
      out[name:gsub("%s+", " ")] = assert(tonumber(bound), line)
    else
      assert(not line:find("^%s*[^#%s]"), "not a bound: " .. line)
    end
  end
  return out
end

--- Holds what was counted of one operation against the bounds.
--- @param all table<string, number> by "OPERATION FIGURE"
--- @param operation string
--- @param figures table<string, number|false> false: it could not be counted
--- @return string[] problems a line for each figure that is above its bound,
---   has none, or could not be counted; an empty list if all is well
function bounds.check(all, operation, figures)
  local problems = {}
  for figure, value in pairs(figures) do
    local name = operation .. " " .. figure
    local bound = all[name]
    if not value then
      problems[#problems + 1] = name .. ": not counted"
    elseif not bound then
      problems[#problems + 1] = ("%s: %.2f, and no bound"):format(name, value)
    elseif value > bound then
      problems[#problems + 1] = ("%s: %.2f, the bound is %g"):format(name,
        value, bound)
    end
  end
  table.sort(problems)
  return problems
end

return bounds
