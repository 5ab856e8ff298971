require "spec.helper"
local chunks = require "orrery.runtime.chunks"

describe("chunks.add", function()
  it("fault B8: keeps few of them, whatever their sizes, in order", function()
    for _, size in ipairs { 1, 7, 1000, 4095 } do
      local list, all = {}, {}
      for i = 1, 200000 // size do
        local chunk = string.char(i % 256):rep(size)
        all[i] = chunk
        chunks.add(list, chunk)
      end

      assert.equal(table.concat(all), table.concat(list))
      assert.is_true(#list <= 200000 / 4096 + 13, #list .. " chunks")
    end
  end)

  it("leaves long ones as they are", function()
    local list, long = {}, ("x"):rep(65536)
    for _, chunk in ipairs { long, "a", long, "b", "c" } do
      chunks.add(list, chunk)
    end

    assert.same({ long, "a", long, "bc" }, list)
  end)
end)
