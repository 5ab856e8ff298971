--- What was measured, as text: a table for each row, the goals of all rows, and
--- the page docs/benchmarks.md. Measures nothing and runs nothing.

local harness = require "bench.harness"

local report = {}

local HEAD = [[
# Benchmarks

Written by `make bench`, which measures every row, or by `make bench ROW=spawn`,
which measures one and replaces its section here: do not edit this page.

The contenders of a row run round robin, each as a program of its own; what is
held against another is the ratio of their medians. A row compares only what was
measured in the same run: figures of two machines, or of two moods of one, say
nothing about each other. What does not depend on the machine (system calls, VM
instructions, allocations, page faults) is counted by `bench/count.sh`.
]]

--- Returns the table of one figure of all contenders of a row, line by line.
local function figure_table(row, figure, lines)
  local list = row.contenders
  local reference = row.reference == nil and "C" or row.reference
  local base = reference and harness.median(list, reference, figure)
  lines[#lines + 1] = ("%-26s %9s %9s %9s   %s"):format(figure, "min", "median",
    "max", reference and "x " .. reference or "")
  for _, one in ipairs(list) do
    local samples = harness.samples(list, one.name, figure)
    if samples then
      local median = harness.median(list, one.name, figure)
      lines[#lines + 1] = ("%-26s %9.1f %9.1f %9.1f   %s"):format(one.name,
        samples[1], median, samples[#samples],
        base and ("%.2f"):format(median / base) or "")
    elseif one.missing then
      lines[#lines + 1] = ("%-26s skipped: %s"):format(one.name, one.missing)
    end
  end
  lines[#lines + 1] = ""
end

--- Returns what a goal is about: a number, or nil if it was not measured, and
--- its name.
local function subject(row, goal)
  local figure = goal.figure or row.figures[1]
  local of = harness.median(row.contenders, goal.of, figure)
  if not goal.over then return of, goal.of end
  local over = harness.median(row.contenders, goal.over, figure)
  if goal.difference then
    return of and over and of - over, goal.of .. " - " .. goal.over
  end
  return of and over and of / over, goal.of .. " / " .. goal.over
end

--- Returns the line that tells whether a goal is reached.
local function verdict(row, goal)
  local value, name = subject(row, goal)
  local bound = goal.most and ("<= %g"):format(goal.most)
    or (">= %g"):format(goal.least)
  local shown, word = "-", "skipped"
  if value then
    local held = value <= (goal.most or math.huge)
      and value >= (goal.least or -math.huge)
    shown, word = ("%.2f"):format(value), held and "holds" or "MISSED"
  end
  return ("%-22s %-29s %7s %-7s %s"):format(goal.title or row.title, name,
    shown, bound, word)
end

--- Returns the tables of a row's figures.
--- @param row Row measured
--- @return string text ends in an empty line
function report.figures(row)
  local lines = {}
  for _, figure in ipairs(row.figures) do figure_table(row, figure, lines) end
  return table.concat(lines, "\n") .. "\n"
end

--- Returns a line for each goal of some rows, below a line of titles.
--- @param rows Row[] measured
--- @return string
function report.goals(rows)
  local lines = {
    ("%-22s %-29s %7s %s"):format("goal", "medians", "", "wanted"),
  }
  for _, row in ipairs(rows) do
    for _, goal in ipairs(row.goals) do
      lines[#lines + 1] = verdict(row, goal)
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Returns a row's section of the page, without its heading.
--- @param row Row measured
--- @param about string when, on what, and with what it was measured
--- @return string
function report.section(row, about)
  return ("%s.\n\n```text\n%s%s\n%s```\n"):format(
    row.text:gsub("^%l", string.upper), report.figures(row),
    report.goals { row }, about)
end

--- Takes a page apart into its sections.
local function sections_of(page)
  local sections = {}
  for title, body in page:gmatch "\n## ([^\n]*)\n\n([^`]*```text\n.-```\n)" do
    sections[title] = body
  end
  return sections
end

--- Returns the page with new sections in the place of the old ones. Sections of
--- rows that were not measured stay as they are, rows that no longer exist go.
--- @param page string the page so far; an empty string if there is none
--- @param rows Row[] all rows there are, in the order of the page
--- @param new table<string, string> sections by title
--- @return string page
function report.page(page, rows, new)
  local old, parts = sections_of(page), { HEAD }
  for _, row in ipairs(rows) do
    local body = new[row.title] or old[row.title]
    if body then
      parts[#parts + 1] = ("## %s\n\n%s"):format(row.title, body)
    end
  end
  return table.concat(parts, "\n")
end

return report
