local HeaderFields = require "orrery.http.header_fields"

local function fields(headers)
  local list = HeaderFields.new()
  list:set_all("spec", headers)
  return list
end

describe("header fields", function()
  it("are written in order, and a table's by name", function()
    assert.equal("b: 1\r\nA: 2\r\nA: 3\r\n",
      fields({ "b", 1, "A", 2, "a", 3 }):lines())
    assert.equal("A: 1\r\nB: 2\r\nc: 3\r\n",
      fields({ c = 3, A = 1, B = 2 }):lines())
    assert.equal("", fields({}):lines())
  end)

  it("keep their place when they are set anew", function()
    local list = fields { "a", 1, "b", 2 }
    list:remove("A")
    list:set("spec", "c", 3)
    list:set("spec", "A", { 4, 5 })
    assert.equal("A: 4\r\nA: 5\r\nb: 2\r\nc: 3\r\n", list:lines())
    for _ = 1, 100 do
      list:remove("b")
      list:set("spec", "B", 6)
    end
    assert.equal(3, #list.fields_)
  end)

  it("have numbers as other programs read them", function()
    assert.equal("a: 1024\r\nb: 0.1\r\n",
      fields({ a = 1024.0, b = 0.1 }):lines())
  end)

  it("take all bytes that a field may have, and no others", function()
    for byte = 0, 255 do
      local char = string.char(byte)
      local ok = pcall(fields, { a = "x" .. char })
      assert.equal(byte == 9 or byte >= 32 and byte ~= 127, ok, byte)
      ok = pcall(fields, { ["x" .. char] = "a" })
      assert.equal(char:find("[%w!#$%%&'*+.^_`|~-]") ~= nil, ok, byte)
    end
  end)

  it("tell their words", function()
    local list = fields { connection = { "Keep-Alive, x", "Close" } }
    for word, expected in pairs { close = true, x = true,
      ["keep-alive"] = true, keep = false, [""] = false } do
      assert.equal(expected, list:has_word("Connection", word))
    end
    assert.is_false(list:has_word("other", "x"))
  end)
end)
