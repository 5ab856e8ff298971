local Queue = require "orrery.http.queue"

local function items(queue)
  local list = {}
  queue:append_to(list)
  return table.concat(list)
end

describe("a queue", function()
  it("gives back what was put in, first or last", function()
    local queue = Queue.new()
    assert.is_nil(queue:shift())
    queue:push("b")
    queue:push("c")
    queue:push_front("a")
    assert.same({ "a", "c", 3, "abc" },
      { queue.first, queue.last, queue.count, items(queue) })
    assert.equal("a", queue:shift())
    assert.equal("bc", items(queue))
  end)

  it("can be taken from anywhere", function()
    for _, order in ipairs { "abcd", "dcba", "bcad", "cbda" } do
      local queue = Queue.new()
      for item in ("abcd"):gmatch(".") do queue:push(item) end
      local left = "abcd"
      for item in order:gmatch(".") do
        assert.is_true(queue:has(item))
        assert.is_true(queue:remove(item))
        assert.is_false(queue:remove(item))
        assert.is_false(queue:has(item))
        left = left:gsub(item, "")
        assert.same({ left, #left }, { items(queue), queue.count })
      end
      assert.same({}, { queue.first, queue.last, next(queue.after_),
        next(queue.before_) })
      queue:push_front("x")
      assert.equal("x", items(queue))
    end
  end)
end)
