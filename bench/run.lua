--- Measures Orrery beside its peers, in one run: `make bench`, or, from the
--- project's root after `make build bench-programs`,
---
---     lua5.4 bench/run.lua [ROW...]
---
--- Prints a table for each row and the goals, and writes docs/benchmarks.md.
--- A missed goal is no failure: machines are noisy.

package.path = "./?.lua;" .. package.path

local machine = require "bench.machine"
local report = require "bench.report"
local rows = require "bench.rows"

local PAGE = "docs/benchmarks.md"

local function give_up(format, ...)
  io.stderr:write("bench: ", format:format(...), "\n")
  os.exit(2)
end

--- Returns the rows that the command line names, or all.
local function chosen()
  local wanted, known, list, ids = {}, {}, {}, {}
  for _, row in ipairs(rows) do
    known[row.id], ids[#ids + 1] = true, row.id
  end
  for _, id in ipairs(arg) do
    if not known[id] then
      give_up("no row %q; there are %s", id, table.concat(ids, " "))
    end
    wanted[id] = true
  end
  for _, row in ipairs(rows) do
    if #arg == 0 or wanted[row.id] then list[#list + 1] = row end
  end
  return list
end

--- Measures a row and prints it. Returns its section of the page.
local function run(row, where)
  local load = machine.load()
  print(("%s: %s"):format(row.title, row.text))
  require "bench.harness".measure(row)
  print(report.figures(row))
  return report.section(row, ("%d rounds, %s, load %.1f to %.1f\n%s"):format(
    row.rounds_run, os.date "%Y-%m-%d", load, machine.load(), where))
end

--- Writes the sections into the page, which is replaced as a whole.
local function write_page(sections)
  local old = io.open(PAGE)
  local page = old and old:read("a") or ""
  if old then old:close() end
  local file <close> = assert(io.open(PAGE .. ".new", "w"))
  assert(file:write(report.page(page, rows, sections)))
  assert(file:close())
  assert(os.rename(PAGE .. ".new", PAGE))
end

if not io.open("build/orrery/core.so") then
  give_up "run me from the project's root after make build bench-programs"
end
io.stdout:setvbuf("line")
local asked, sections = chosen(), {}
local where = ("%s\n%s\n"):format(machine.describe(), machine.versions())
print(where)
for _, row in ipairs(asked) do
  sections[row.title] = run(row, where)
  write_page(sections)
end
print(report.goals(asked))
