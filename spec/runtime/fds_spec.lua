local core = require "orrery.core"
local fds = require "orrery.runtime.fds"
local stream = require "orrery.stream"
local uv = require "luv"

--- Calls fn(name, value, kind) with each sort of object that has an fd.
local function each_object(fn)
  local reading <close>, writing = core.pipe()
  local writer <close> = stream.new(writing, "pipe", "w")
  local pipe = uv.new_pipe(false)
  fn("orrery.fd", reading, "fd")
  fn("stream", writer, nil)
  fn("luv pipe", pipe, "pipe")
  pipe:close()
  uv.run()
end

local strict = setmetatable({}, {
  __index = function(_, name) error("no field " .. name) end,
})

describe("fds", function()
  it("tells objects with an fd from all other values", function()
    each_object(function(name, object)
      assert.is_true(fds.has(object), name)
    end)

    for _, other in ipairs { 5, "x", {}, strict, core.null, io.stdout } do
      assert.is_false(fds.has(other), tostring(other))
    end
  end)

  it("gives the number, or nil for what has none or is closed", function()
    local reading, writing = core.pipe()
    local number = reading:fileno()
    assert.equal(number, fds.number(reading))
    reading:close()
    writing:close()

    assert.equal(5, fds.number(5))
    for _, bad in ipairs { reading, -1, 1.5, "1", {}, strict } do
      assert.is_nil(fds.number(bad), tostring(bad))
    end
  end)

  it("gives the kind of orrery.fd and of luv's handles", function()
    each_object(function(name, object, kind)
      assert.equal(kind, fds.kind(object), name)
    end)

    local timer = uv.new_timer()
    for _, other in ipairs { timer, io.stdout, core.null, 5, {} } do
      assert.is_nil(fds.kind(other), tostring(other))
    end
    timer:close()
  end)
end)
