local is_closing = require "orrery.runtime.unwinding".is_closing

--- Returns what is_closing says of a running coroutine from its body,
--- which calls ask().
local function asked(body)
  local answer
  coroutine.wrap(function()
    body(function() answer = is_closing(coroutine.running()) end)
  end)()
  return answer
end

local function closing(ask)
  return setmetatable({}, { __close = function() ask() end })
end

describe("is_closing", function()
  it("sees a handler of a block that is left normally", function()
    assert.is_true(asked(function(ask)
      local _ <close> = closing(ask)
    end))
  end)

  it("sees a handler that an error calls, below pcall and xpcall", function()
    for _, call in ipairs { pcall, function(fn) xpcall(fn, tostring) end } do
      assert.is_true(asked(function(ask)
        call(function()
          local _ <close> = closing(ask)
          error("unwinds", 0)
        end)
      end))
    end
  end)

  it("sees it from functions that the handler calls", function()
    assert.is_true(asked(function(ask)
      local _ <close> = closing(function() pcall(pcall, ask) end)
    end))
  end)

  it("is false in pcall, in a vararg function, and after a handler", function()
    assert.is_false(asked(function(ask) pcall(ask) end))
    assert.is_false(asked(function(ask)
      pcall(function(...) ask(...) end, 1, 2)
    end))
    assert.is_false(asked(function(ask)
      pcall(function()
        local _ <close> = closing(function() end)
        error("unwinds", 0)
      end)
      ask()
    end))
  end)

  it("asks a coroutine that is suspended", function()
    local thread = coroutine.create(function()
      local _ <close> = closing(coroutine.yield)
      coroutine.yield()
    end)
    coroutine.resume(thread)
    assert.is_false(is_closing(thread))
    coroutine.resume(thread)
    assert.is_true(is_closing(thread))
  end)
end)
