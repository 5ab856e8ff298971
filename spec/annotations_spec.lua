--- Each public function says in front of it what it does, what each parameter
--- is, and what it returns: `--- @param` and `--- @return`.
---
--- Public is what a user gets at by `require "orrery"` without a name that ends
--- in `_`. The functions are found at run time, their texts by debug.getinfo.

local helper = require "spec.helper"
local native = require "orrery.http.native"
local orrery = require "orrery"
local source = require "spec.fixture.source"

local OPENS = { ["function"] = true, ["do"] = true, ["if"] = true,
  ["repeat"] = true }
local CLOSES = { ["end"] = true, ["until"] = true }
local NO_VALUE = { ["end"] = true, ["else"] = true, ["elseif"] = true,
  ["until"] = true, [";"] = true }

--- Tells whether a function returns a value anywhere, but in functions in it.
--- @param text string from its `function` to its `end`
local function returns_value(text)
  local open, functions = {}, 0 -- the blocks that are open; functions of them
  local tokens = source.tokens(text)
  for i, token in ipairs(tokens) do
    local word = token.kind == "name" and token.text
    if OPENS[word] then
      open[#open + 1] = word
      if word == "function" then functions = functions + 1 end
    elseif CLOSES[word] then
      if table.remove(open) == "function" then functions = functions - 1 end
    elseif word == "return" and functions == 1
      and not NO_VALUE[tokens[i + 1].text] then
      return true
    end
  end
  return false
end

--- Returns the lines of comment above line `first` of a file, as one text.
local function comment_above(lines, first)
  local from = first
  while from > 1 and lines[from - 1]:find("^%s*%-%-%-") do from = from - 1 end
  return table.concat(lines, "\n", from, first - 1)
end

--- Returns the names of a function's parameters, but for `self`.
local function parameters(fn)
  local info, names = debug.getinfo(fn, "u"), {}
  for i = 1, info.nparams do
    local name = debug.getlocal(fn, i)
    if name ~= "self" then names[#names + 1] = name end
  end
  if info.isvararg then names[#names + 1] = "..." end
  return names
end

--- Returns what the comment above a function lacks: a list of texts.
--- @param fn function
--- @param lines string[] those of its file
local function lacking(fn, lines)
  local info = debug.getinfo(fn, "S")
  local comment = comment_above(lines, info.linedefined)
  local list = {}
  if not comment:find("^%s*%-%-%- [^@]") then list[1] = "what it does" end
  for _, name in ipairs(parameters(fn)) do
    local param = "%-%-%- @param " .. name:gsub("%.", "%%.") .. "%f[^%w_.]"
    if not comment:find(param) then list[#list + 1] = "@param " .. name end
  end
  local text = table.concat(lines, "\n", info.linedefined,
    info.lastlinedefined)
  if returns_value(text) and not comment:find("%-%-%- @return %S") then
    list[#list + 1] = "@return"
  end
  return list
end

local function split(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  return lines
end

local files = {} -- the lines of each, by path

--- Returns the path and the lines of the file that a function is written in.
local function file_of(fn)
  local path = debug.getinfo(fn, "S").source:match("^@(.*)$")
  files[path] = files[path] or split(source.read(path))
  return path, files[path]
end

--- Returns the function that a function of the process module passes calls to.
local function unwrapped(fn)
  for i = 1, 10 do
    local name, value = debug.getupvalue(fn, i)
    if (name == "fn" or name == "method") and type(value) == "function" then
      return unwrapped(value)
    end
  end
  return fn
end

--- Adds a line to `faults` for each function of a table whose comment lacks
--- something.
local function check(where, functions, faults)
  for name, fn in pairs(functions) do
    if type(name) == "string" and not name:find("^__") and not name:find("_$")
      and type(fn) == "function" and debug.getinfo(fn, "S").what ~= "C" then
      if functions == orrery.process then fn = unwrapped(fn) end
      local path, lines = file_of(fn)
      local list = lacking(fn, lines)
      if #list > 0 then
        faults[#faults + 1] = ("%s:%d %s%s lacks %s"):format(path,
          debug.getinfo(fn, "S").linedefined, where, name,
          table.concat(list, ", "))
      end
    end
  end
end

--- Returns the methods of an object's class.
local function class_of(object)
  local meta = getmetatable(object)
  return type(meta.__index) == "table" and meta.__index or meta
end

local MODULES = { "child_process", "dgram", "events", "http", "net", "process",
  "stream", "task" }

--- Returns an object, or the methods, of each public class of http. [w]
local function http_objects()
  local accepted
  local server = orrery.http.create_server(function(req, res)
    accepted = req.socket
    res:finish()
  end)
  server:listen(0, "127.0.0.1")
  local request = orrery.http.get { host = "127.0.0.1",
    port = server:address().port, agent = false }
  local response = request:await_response()
  response:read_all()
  server:close()
  return { ["request:"] = request, ["response:"] = response,
    ["agent:"] = request.agent, ["server:"] = server, ["socket:"] = accepted }
end

--- Makes an object of each public class. [w]
local function objects()
  local child = helper.fork("process.disconnect()", { stdio = "pty" })
  local accepted
  local server = orrery.net.create_server(function(s) accepted = s end)
  server:listen(0, "127.0.0.1")
  local socket = orrery.net.connect(server:address().port, "127.0.0.1")
  helper.eventually(function() return accepted end)
  local timer = orrery.after(1000, print)
  local scope
  orrery.scope(function(s) scope = s end)
  local made = {
    ["child:"] = child, ["channel:"] = child.channel, ["pty:"] = child.pty,
    ["server:"] = server,
    ["socket:"] = socket, ["timer:"] = timer, ["scope:"] = scope,
    ["stream:"] = orrery.stream.open("/dev/null", "r"),
    ["task:"] = orrery.go(print), ["emitter:"] = orrery.events.new(),
    ["process.stdout:"] = orrery.process.stdout,
    ["udp:"] = orrery.dgram.create_socket("udp4"),
  }
  return made, function()
    child.pty:destroy()
    helper.await_close(child)
    timer:stop()
    for _, one in ipairs { socket, accepted } do one:destroy() end
    made["stream:"]:destroy()
    made["udp:"]:close()
    server:close()
  end
end

describe("a public function", function()
  it("says what it does, takes and returns", function()
    helper.run(function()
      local faults = {}
      check("", { inspect = orrery.inspect, main = orrery.main }, faults)
      for _, name in ipairs(MODULES) do
        check(name .. ".", orrery[name], faults)
      end
      local made, close = objects()
      for name, object in pairs(made) do
        check(name, class_of(object), faults)
      end
      close()
      for name, object in pairs(http_objects()) do
        check(name, class_of(object), faults)
      end
      check("request:", native.request.methods, faults)
      check("response:", native.response.methods, faults)

      table.sort(faults)
      assert.equal("", table.concat(faults, "\n"))
    end)
  end)
end)

describe("a public method in C", function()
  it("says above it what it does, by the name that users call it by", function()
    local text = source.read "core/http/request.c"
      .. source.read "core/http/response.c"
    for _, class in ipairs { "request", "response" } do
      for name, fn in pairs(native[class].methods) do
        local is_c = type(fn) == "function"
          and debug.getinfo(fn, "S").what == "C"
        local above = ("/* %s:%s("):format(class, name)
        assert(not is_c or text:find(above, 1, true), above)
      end
    end
  end)
end)

describe("the checker of annotations", function()
  local function lacks(text)
    local fn = assert(load(text, "=text"))()
    return table.concat(lacking(fn, split(text)), ", ")
  end

  it("finds what is missing", function()
    assert.equal("what it does, @param a, @param ..., @return",
      lacks "local function f(a, ...)\n  return a, ...\nend\nreturn f")
    assert.equal("@param ab", lacks [[
--- Does it.
--- @param a integer
local function f(ab) end
return f]])
    assert.equal("@return", lacks [[
--- Does it.
local function f()
  for _ = 1, 2 do
    if f then return 1 else print(f) end
  end
end
return f]])
  end)

  it("takes what is complete, and no return of another function", function()
    assert.equal("", lacks [[
--- Does it, at
--- length.
--- @param a integer bytes
--- @return integer? n
--- @return Error? err
local function f(a) return a end
return f]])
    assert.equal("", lacks [[
--- Does it.
local function f()
  local function inner() return 1 end
  if not inner() then return end
  repeat local done = true until done
  while false do print "return 1" end
  return
end
return f]])
  end)
end)
