--- Who may use whom in core/: the keeper, a program of its own, knows system
--- calls only, the engine libc and nothing of Lua, the binding Lua, the engine
--- and what the keeper is told, and no file needs one that needs it.

local helper = require "spec.helper"
local orrery = require "orrery"
local source = require "spec.fixture.source"

--- The folders of core/, from the ground up: each may include those before it.
--- Of core/http and core/cluster, a part is engine.
local FLOORS = { keeper = 1, engine = 2, binding = 3, json = 4, http = 5,
  cluster = 6, ["http/message"] = 2, ["http/guard"] = 2, ["http/run"] = 2,
  ["cluster/handoff"] = 2, ["cluster/dispatch"] = 2, ["cluster/slot"] = 2,
  ["cluster/choose"] = 2 }

--- Headers that the engine does without.
local LUA = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true,
  ["uv.h"] = true, ["jansson.h"] = true }

local BUILD = os.getenv("ORRERY_BUILD") or "build"

local function folder_of(path) return (path:match("^[^/]+")) end

local function floor_of(path)
  return FLOORS[path:match("^[^.]+")] or FLOORS[folder_of(path)]
end

--- Returns the files of a tree that a file includes, and what else it includes.
--- @param tree table<string, string> "engine/launch.c" → source
local function included(tree, path)
  local ours, others = {}, {}
  local include = '\n%s*#%s*include%s*[<"]([^">]+)[">]'
  for name in ("\n" .. tree[path]):gmatch(include) do
    local beside = folder_of(path) .. "/" .. name
    local found = tree[beside] and beside or tree[name] and name
    table.insert(found and ours or others, found or name)
  end
  return ours, others
end

--- Adds a line to `faults` for each circle of a graph, named by the way round
--- it.
--- @param graph table<string, string[]> what each uses
local function find_circles(graph, faults)
  local done, way = {}, {}
  local function visit(name)
    for i, earlier in ipairs(way) do
      if earlier == name then
        faults[#faults + 1] = table.concat(way, " → ", i) .. " → " .. name
        return
      end
    end
    if done[name] then return end
    way[#way + 1] = name
    for _, used in ipairs(graph[name] or {}) do visit(used) end
    way[#way] = nil
    done[name] = true
  end
  local names = {}
  for name in pairs(graph) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do visit(name) end
end

--- Returns what the includes of a tree do against the law, one line each.
local function include_faults(tree)
  local faults, graph = {}, {}
  for path in pairs(tree) do
    local ours, others = included(tree, path)
    graph[path] = ours
    for _, name in ipairs(others) do
      if floor_of(path) == FLOORS.engine and LUA[name] then
        faults[#faults + 1] = path .. " includes " .. name
      end
    end
    for _, other in ipairs(ours) do
      if floor_of(other) > floor_of(path) then
        faults[#faults + 1] = path .. " includes " .. other
      end
    end
  end
  table.sort(faults)
  find_circles(graph, faults)
  return table.concat(faults, "\n")
end

--- Returns which object uses symbols of which, by what `nm` prints of all.
--- @param text string "build/obj/engine/io.o: 00 T orr_read" and so on
--- @return table<string, string[]>
local function object_graph(text)
  local home, used = {}, {}
  local line = "([^\n:]+)%.o:[^\n]* (%a) ([%w_]+)"
  for path, kind, symbol in text:gmatch(line) do
    local object = path:match("[^/]+/[^/]+$")
    if kind == "U" then
      used[#used + 1] = { object, symbol }
    elseif kind:find("[TDBRC]") then
      home[symbol] = object
    end
  end
  local graph, seen = {}, {}
  for _, use in ipairs(used) do
    local from, to = use[1], home[use[2]]
    local pair = to and from .. " " .. to
    graph[from] = graph[from] or {}
    if to and to ~= from and not seen[pair] then
      seen[pair] = true
      table.insert(graph[from], to)
    end
  end
  return graph
end

local function our_tree()
  local tree = {}
  for _, ending in ipairs { ".c", ".h" } do
    for _, path in ipairs(source.files("core", ending)) do
      tree[path:match("^core/(.*)$")] = source.read(path)
    end
  end
  return tree
end

describe("the files of core", function()
  it("include what lies below them, and the engine nothing of Lua", function()
    assert.equal("", include_faults(our_tree()))
  end)

  it("use each other in no circle", function()
    helper.run(function()
      local objects, faults = {}, {}
      for _, path in ipairs(source.files("core", ".c")) do
        local object = path:gsub("^core", BUILD .. "/obj"):gsub("c$", "o")
        objects[#objects + 1] = object
      end
      local text = orrery.run("nm", { "-A", table.unpack(objects) }).stdout
      local graph = object_graph(text)
      find_circles(graph, faults)

      assert.equal("", table.concat(faults, "\n"))
      assert.matches("engine/launch_child",
        table.concat(graph["engine/launch"], " "))
    end)
  end)
end)

describe("the checker of core", function()
  it("finds Lua in the engine, what goes up, and circles", function()
    assert.equal(table.concat({
      "engine/a.c includes binding/x.h", "engine/a.c includes lua.h",
      "http/guard.c includes http/parser.h", "http/guard.c includes lua.h",
      "engine/c.h → engine/b.h → engine/c.h",
    }, "\n"), include_faults {
      ["engine/a.c"] =
        '/* head */\n#include "binding/x.h"\n# include <lua.h>\n',
      ["engine/b.h"] = '#include "c.h"\n#include <stdint.h>',
      ["engine/c.h"] = '#include "engine/b.h"',
      ["http/guard.c"] = '#include "parser.h"\n#include <lua.h>\n',
      ["http/parser.h"] = '#include <lua.h>\n#include "binding/x.h"',
      ["binding/x.h"] = "#include <lua.h>\n",
      ["binding/x.c"] = '#include "x.h"\n#include "engine/c.h"',
    })
  end)

  it("finds circles of objects by their symbols", function()
    local faults = {}
    find_circles(object_graph [[
build/obj/engine/a.o:0000000000000000 T orr_a
build/obj/engine/a.o:                 U orr_b
build/obj/engine/b.o:0000000000000010 T orr_b
build/obj/engine/b.o:                 U orr_a
build/obj/engine/b.o:                 U memcpy
build/obj/engine/c.o:                 U orr_a
]], faults)

    assert.same({ "engine/a → engine/b → engine/a" }, faults)
  end)
end)
