local helper = require "spec.helper"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local owning = require "orrery.runtime.owning"
local uv = require "luv"

local run = helper.run

local Owner = class("Owner", nil, owning)

--- Returns an object that owns a luv handle over one end of a pair of sockets,
--- and the number of its fd.
local function owner()
  local ours, theirs = core.socketpair()
  theirs:close()
  local fd = ours:fileno()
  local handle = uv.new_pipe(false)
  assert(handle:open(ours:take()))
  return setmetatable({ handle_ = handle }, Owner), fd
end

--- Releases an object and waits until it has been told.
local function release(object)
  local told
  object:release_(function(self) told = self end)
  assert.is_nil(told)
  helper.eventually(function() return told == object end)
end

describe("owning", function()
  it("lets the handle keep the loop alive, or not", function()
    run(function()
      local object = owner()
      assert.equal(object, object:unref())
      assert.is_false(object.handle_:has_ref())
      assert.is_false(object.referenced_)
      assert.equal(object, object:ref())
      assert.is_true(object.handle_:has_ref())
      release(object)
    end)
  end)

  it("closes a handle, an fd, or nothing, and tells later", function()
    run(function()
      local object, fd = owner()
      release(object)
      assert.is_nil(object.handle_)
      assert.is_nil(helper.fds()[fd])

      local reading, writing = core.pipe()
      writing:close()
      object.fd_ = reading
      release(object)
      assert.is_nil(reading:fileno())

      release(object)
    end)
  end)

  it("keeps what is closed meanwhile until the last unpin", function()
    run(function()
      local object, first = owner()
      object:pin_()
      object:pin_()
      release(object)
      local other, second = owner()
      object.handle_ = other.handle_
      release(object)
      object:unpin_()
      assert.is_truthy(helper.fds()[first] and helper.fds()[second])

      object:unpin_()
      helper.eventually(function()
        return not (helper.fds()[first] or helper.fds()[second])
      end)
    end)
  end)

  it("pins and unpins what stays open", function()
    run(function()
      local object, fd = owner()
      object:pin_()
      object:unpin_()
      assert.is_truthy(helper.fds()[fd])
      release(object)
    end)
  end)
end)
