--- How long files and functions may be: what one can read at a time.
---
--- Columns and cyclomatic complexity are luacheck's: see .luacheckrc.

local helper = require "spec.helper"
local orrery = require "orrery"
local source = require "spec.fixture.source"

local MAX_FILE, MAX_FUNCTION = 500, 40 -- lines

local function count_lines(text)
  local _, count = text:gsub("\n", "")
  return count
end

--- Returns the functions in luac's listing that are too long, one line each.
--- @param listing string "function <lua/orrery/x.lua:10,20> (…" and so on
--- @return string
local function long_functions(listing)
  local found = {}
  for place, from, to in listing:gmatch("function <([^\n]-):(%d+),(%d+)>") do
    local lines = to - from + 1
    if lines > MAX_FUNCTION then
      found[#found + 1] = ("%s:%d has %d lines"):format(place, from, lines)
    end
  end
  return table.concat(found, "\n")
end

--- Returns the functions of a C text, as clang-format writes them, that are too
--- long: each has its name at the left edge and ends by a brace there.
--- @param path string
--- @param text string
--- @return string
local function long_c_functions(path, text)
  local found, n, first = {}, 0, 1
  for line in text:gmatch("([^\n]*)\n") do
    n = n + 1
    if line:find("^[%a_][^=]*%(") then first = n end
    local lines = n - first + 1
    if line == "}" and lines > MAX_FUNCTION then
      found[#found + 1] = ("%s:%d has %d lines"):format(path, first, lines)
    end
  end
  return table.concat(found, "\n")
end

--- Returns the paths of the sources in some folders.
local function sources(folders, endings)
  local list = {}
  for _, folder in ipairs(folders) do
    for _, ending in ipairs(endings) do
      table.move(source.files(folder, ending), 1, 10000, #list + 1, list)
    end
  end
  return list
end

describe("a file", function()
  it("has no more than 500 lines", function()
    local found = {}
    for _, path in ipairs(sources({ "lua", "core", "spec", "bench" },
      { ".lua", ".c", ".h" })) do
      local lines = count_lines(source.read(path))
      if lines > MAX_FILE then found[#found + 1] = path .. " has " .. lines end
    end

    assert.equal("", table.concat(found, "\n"))
  end)
end)

describe("a function", function()
  it("has no more than 40 lines in Lua", function()
    helper.run(function()
      -- One by one: luac 5.4.4 crashes on many.
      local listing = orrery.sh(
        "find lua -name '*.lua' -exec luac5.4 -l -p {} \\;").stdout

      assert.matches("function <lua/orrery/runtime/loop.lua:", listing)
      assert.equal("", long_functions(listing))
    end)
  end)

  it("has no more than 40 lines in C", function()
    local found = {}
    for _, path in ipairs(sources({ "core" }, { ".c", ".h" })) do
      local text = long_c_functions(path, source.read(path))
      if text ~= "" then found[#found + 1] = text end
    end

    assert.equal("", table.concat(found, "\n"))
  end)
end)

describe("the checker of lengths", function()
  it("finds a Lua function of 41 lines, wherever it stands", function()
    assert.equal("a.lua:3 has 41 lines", long_functions [[
main <a.lua:0,0> (80 instructions at 0x1)
function <a.lua:3,43> (10 instructions at 0x2)
function <b.lua:3,42> (10 instructions at 0x3)
]])
  end)

  it("finds a C function of 41 lines, and no table of that size", function()
    local body = ("  call();\n"):rep(38)

    assert.equal("x.c:3 has 41 lines", long_c_functions("x.c",
      "int a;\n\nstatic int f(int a,\n             int b) {\n" .. body
      .. "}\n\nstatic void g(void) {\n" .. body .. "}\n"
      .. "static const int t[] = {\n" .. body .. body .. "};\n"))
  end)
end)
