--- Counts what operations take, prints a table, and with --check holds it
--- against bench/bounds.txt. count.sh runs this and tells more.

package.path = "./?.lua;" .. package.path

local bounds = require "bench.count.bounds"
local trace = require "bench.count.trace"

local BOUNDS = "bench/bounds.txt"
local ATTEMPTS = 3 -- at a figure that is above its bound; the least counts

local COLUMNS = { "calls", "child_calls", "instructions", "allocations",
  "faults", "bytecode" }
local HEADS = { "system calls", "of the child", "VM instr.", "allocations",
  "child's faults", "bytecode" }

--- @class Operation
--- @field [1] string its name in operations.lua
--- @field [2] integer how often it is performed, and then twice as often
--- @field [3] string the figures that tell something, of COLUMNS
local OPERATIONS = {
  { "startup", 3, "calls instructions allocations faults bytecode" },
  { "spawn_event", 20, "calls child_calls instructions allocations" },
  { "spawn_task", 20, "calls child_calls instructions allocations" },
  { "exec", 20, "calls child_calls instructions allocations" },
  { "sh", 20, "calls child_calls instructions allocations" },
  { "fork", 4, "calls child_calls instructions allocations faults" },
  { "message", 50, "calls child_calls instructions allocations" },
  { "handle", 20, "calls child_calls instructions allocations" },
}

local lua = arg[-1]
local trouble -- why strace cannot trace here

local function give_up(format, ...)
  io.stderr:write("count: ", format:format(...), "\n")
  os.exit(2)
end

--- Returns the figures that a program prints.
local function printed(command)
  local pipe <close> = assert(io.popen(command))
  local figures = {}
  for name, number in pipe:read("a"):gmatch("(%g+) (%-?[%d.]+)\n") do
    figures[name] = tonumber(number)
  end
  if not next(figures) then give_up("failed: %s", command) end
  return figures
end

--- Traces a command line. Returns no calls if strace cannot trace here.
local function traced(command)
  local calls, problem = trace.run(command)
  if not calls then trouble = problem end
  return calls or { names = {} }
end

local function operation_command(name, count)
  return ("bin/orrery bench/count/operations.lua %s %d"):format(name, count)
end

--- Returns the system calls of one operation, by who makes them and by name.
local function system_calls(name, count)
  if name == "startup" then return traced("bin/orrery -e ''").names end
  local once = traced(operation_command(name, count)).names
  local twice = traced(operation_command(name, 2 * count)).names
  local names = {}
  for call, times in pairs(twice) do
    local each = (times - (once[call] or 0)) / count
    if each ~= 0 then names[call] = each end
  end
  return names
end

local function sum(names, whose)
  local total = 0
  for call, times in pairs(names) do
    if call:find("^" .. whose .. " ") then total = total + times end
  end
  return total
end

--- Counts an operation. A figure is false if it could not be counted.
--- @return table<string, number|false> figures
--- @return table<string, number> names of system calls
local function count(operation)
  local name, times, wanted = table.unpack(operation)
  local all = printed(operation_command(name, times) .. " figures")
  if name == "startup" then
    local own = printed(lua .. " bench/count/startup.lua")
    own.faults, all = all.faults, own
  end
  local names = system_calls(name, times)
  all.calls = not trouble and sum(names, "own")
  all.child_calls = not trouble and sum(names, "child")
  local figures = {}
  for figure in wanted:gmatch("%S+") do figures[figure] = all[figure] end
  return figures, names
end

local function print_row(name, cells)
  local line = { ("%-12s"):format(name) }
  for i, cell in ipairs(cells) do
    line[#line + 1] = ("%" .. #HEADS[i] .. "s"):format(cell)
  end
  print(table.concat(line, "  "))
end

local function print_figures(name, figures)
  local cells = {}
  for i, column in ipairs(COLUMNS) do
    local value = figures[column]
    cells[i] = value and ("%.1f"):format(value) or value == false and "?" or ""
  end
  print_row(name, cells)
end

--- Prints by name the system calls of one operation.
local function print_calls(names)
  local list = {}
  for call, times in pairs(names) do
    if not call:find("^other") then
      list[#list + 1] = ("  %-28s %g"):format(call, times)
    end
  end
  table.sort(list)
  for _, line in ipairs(list) do print(line) end
end

--- Counts an operation, again if it is above a bound, since the kernel decides
--- what comes in one turn of the loop. Prints its row and returns the problems.
local function check(operation, all)
  local name = operation[1]
  local figures = count(operation)
  for _ = 2, ATTEMPTS do
    if trouble or #bounds.check(all, name, figures) == 0 then break end
    for figure, value in pairs(count(operation)) do
      figures[figure] = value and math.min(figures[figure], value)
    end
  end
  print_figures(name, figures)
  return bounds.check(all, name, figures)
end

--- Returns the operations that the command line names, or all, and whether it
--- says --check.
local function asked()
  local by_name, list, checks = {}, {}, false
  for _, one in ipairs(OPERATIONS) do by_name[one[1]] = one end
  for _, word in ipairs(arg) do
    checks = checks or word == "--check"
    if word ~= "--check" then
      list[#list + 1] = by_name[word] or give_up("no operation %q", word)
    end
  end
  return list[1] and list or OPERATIONS, checks, list[1] ~= nil
end

local operations, checks, in_detail = asked()
local all, problems = bounds.read(io.lines(BOUNDS)), {}
print_row("", HEADS)
for _, operation in ipairs(operations) do
  if checks then
    table.move(check(operation, all), 1, 99, #problems + 1, problems)
  else
    local figures, names = count(operation)
    print_figures(operation[1], figures)
    if in_detail then print_calls(names) end
  end
end
if trouble then
  io.stderr:write("count: strace cannot trace here: ", trouble, "\n")
end
for _, problem in ipairs(problems) do
  io.stderr:write("count: ", problem, "\n")
end
os.exit(#problems == 0)
