--- Who may use whom in lua/orrery: the law of docs/architecture.md, as data.
---
--- A module uses what stands in its own room, all of `runtime`, and of the
--- other rooms below its own the public module and the doors. It never uses
--- what is above it. What does not keep to this is written here, with its
--- reason.

local source = require "spec.fixture.source"

--- The rooms, from the ground up. A file directly in lua/orrery is the public
--- module of its room; what lies in the folder of its name is private.
local FLOORS = {
  "inspect", "json", "runtime", "events", "task", "stream", "net", "dgram",
  "http", "channel", "process", "child_process", "cluster", "init", "cli",
}

--- Private modules that the rooms above theirs may use.
local DOORS = {
  ["channel.messaging"] = true,
  ["channel.words"] = true,
  ["child_process.fork"] = true,
  ["child_process.keeper"] = true,
  ["child_process.options"] = true,
  ["net.address"] = true,
  ["net.binding"] = true,
  ["net.datagram"] = true,
  ["net.elsewhere"] = true,
  ["net.listener"] = true,
  ["net.socket_file"] = true,
  ["stream.pipe_reader"] = true,
  ["stream.pty"] = true,
  ["stream.reading"] = true,
  ["stream.writing"] = true,
}

--- The one module that uses what is above it.
local EXCEPTIONS = {
  ["task.scope"] = {
    uses = "child_process",
    why = "a scope starts children; it loads what starts them at the first one",
  },
}

--- Modules that compute the name of what they require. Each name that is
--- written in one of them counts as used.
local COMPUTED = {
  process = "its functions, by their table",
  init = "what it has, by its table of parts",
  ["channel.messaging"] =
    "the wire of its own room, by the serialization's name",
}

local floor = {}
for i, room in ipairs(FLOORS) do floor[room] = i end

local function room_of(module) return (module:match("^[^.]+")) end

--- Returns why module `own` may not use module `other`, or nil.
local function fault(own, other)
  local from, to = room_of(own), room_of(other)
  if from == to then return nil end
  if EXCEPTIONS[own] and EXCEPTIONS[own].uses == other then return nil end
  if not floor[to] or floor[to] > floor[from] then return "goes up to" end
  if to ~= "runtime" and other ~= to and not DOORS[other] then
    return "looks into"
  end
end

--- Tells whether the token at `i` is what a require is given (2 with a
--- parenthesis), or the key of `package.loaded`.
local function is_use(tokens, i)
  local function name(back)
    local token = tokens[i - back]
    return token and token.text
  end
  return name(1) == "require" or (name(2) == "require" and name(1) == "(")
    or (name(2) == "loaded" and name(1) == "[")
end

--- Returns the module of a tree that a token names, or nil.
local function module_named(tree, token)
  if token.kind ~= "string" then return nil end
  local name = token.text == "orrery" and "init"
    or token.text:match("^orrery%.(.*)$")
  return tree[name] and name
end

--- Adds to `faults` what one module does against the law.
local function check_module(tree, own, faults)
  local function report(line, why, what)
    faults[#faults + 1] = ("%s:%d %s %s"):format(own, line, why, what)
  end
  if not floor[room_of(own)] then return report(1, "stands on", "no floor") end
  local tokens = source.tokens(tree[own])
  for i, token in ipairs(tokens) do
    local used = is_use(tokens, i)
    local other = (used or COMPUTED[own]) and module_named(tree, token)
    local why = other and fault(own, other)
    if why then report(token.line, why, other) end
    if used and token.kind ~= "string" and token.text ~= "("
      and not COMPUTED[own] then
      report(token.line, "uses", "what it computes")
    end
  end
end

--- Returns what a tree does against the law, one line each.
--- @param tree table<string, string> module ("net.socket") → source
--- @return string
local function faults_of(tree)
  local faults = {}
  for own in pairs(tree) do check_module(tree, own, faults) end
  table.sort(faults)
  return table.concat(faults, "\n")
end

local function our_tree()
  local tree = {}
  for _, path in ipairs(source.files("lua/orrery", ".lua")) do
    local name = path:match("^lua/orrery/(.*)%.lua$"):gsub("/", ".")
    tree[name] = source.read(path)
  end
  return tree
end

describe("the rooms of lua/orrery", function()
  it("use what stands below them, by its door", function()
    assert.equal("", faults_of(our_tree()))
  end)

  it("have one exception at most, and no door or exception in vain", function()
    local tree, count = our_tree(), 0
    for own, exception in pairs(EXCEPTIONS) do
      count = count + 1
      local use = '"orrery.' .. exception.uses .. '"'
      assert.is_truthy(tree[own]:find(use, 1, true))
    end
    assert.is_true(count <= 1)
    for door in pairs(DOORS) do
      local used = false
      for own, text in pairs(tree) do
        used = used or room_of(own) ~= room_of(door)
          and text:find('"orrery.' .. door .. '"', 1, true)
      end
      assert.is_truthy(used, door)
    end
    for own in pairs(COMPUTED) do assert.is_string(tree[own]) end
  end)
end)

describe("the checker of rooms", function()
  it("finds what goes up, looks in, computes, or stands nowhere", function()
    local tree = {
      ["runtime.loop"] = "local function f()\n return require 'orrery.net' end",
      ["runtime.main"] = 'return package.loaded["orrery.process"]',
      ["stream"] =
        'require("orrery.runtime.loop")\nrequire [[orrery.net.socket]]',
      ["net"] = 'local x = require "orrery.stream.private".y\nrequire "orrery"',
      ["net.socket"] = "local name = ...\nreturn require(name)",
      ["net.address"] = "pcall(require, name)",
      ["stream.private"] = "", ["process"] = "", ["init"] = "",
      ["attic.box"] = "",
    }

    assert.equal(table.concat({
      "attic.box:1 stands on no floor",
      "net.address:1 uses what it computes",
      "net.socket:2 uses what it computes",
      "net:1 looks into stream.private",
      "net:2 goes up to init",
      "runtime.loop:2 goes up to net",
      "runtime.main:1 goes up to process",
      "stream:2 goes up to net.socket",
    }, "\n"), faults_of(tree))
  end)

  it("takes what the law allows, and no comment or text for a use", function()
    assert.equal("", faults_of {
      ["runtime.loop"] = "-- as require 'orrery.net' does\n--[[ orrery.net ]]",
      ["net"] = [[require "orrery.runtime.loop" require "orrery.net.socket"
        local say = "orrery.process" local child = 'require "orrery.process"']],
      ["net.socket"] = 'require "orrery.stream"',
      ["stream"] = "",
      ["process"] = 'return require "orrery.channel.messaging"',
      ["channel.messaging"] = "return require(wires[name])",
      ["task.scope"] = 'require "orrery.child_process"', ["child_process"] = "",
    })
  end)
end)
