local native = require "orrery.http.native"

local headers = native.headers

describe("http.headers", function()
  it("has names in small letters", function()
    assert.same({ host = "a", ["x-\xc4_y"] = "B" },
      headers { "HoSt", "a", "X-\xc4_Y", "B" })
    assert.same({}, headers {})
  end)

  it("joins values of one name by commas, those of cookie by semicolons",
    function()
    assert.same({ ["x-a"] = "1, 2, , 3", cookie = "a=1; b=2; c=3", y = "z" },
      headers { "X-A", "1", "Cookie", "a=1", "x-a", "2", "cookie", "b=2",
        "y", "z", "X-a", "", "COOKIE", "c=3", "x-A", "3" })
  end)

  it("has a list for set-cookie, also of one", function()
    assert.same({ ["set-cookie"] = { "a" } }, headers { "Set-Cookie", "a" })
    assert.same({ ["set-cookie"] = { "a", "b", "c" } },
      headers { "Set-Cookie", "a", "set-cookie", "b", "SET-COOKIE", "c" })
  end)

  it("takes the first of what makes sense once", function()
    for _, name in ipairs {
      "age", "authorization", "content-length", "content-type", "etag",
      "expires", "from", "host", "if-modified-since", "if-unmodified-since",
      "last-modified", "location", "max-forwards", "proxy-authorization",
      "referer", "retry-after", "server", "user-agent",
    } do
      assert.same({ [name] = "1" },
        headers { name, "1", name:upper(), "2", name, "3" })
    end
  end)

  it("joins many in a time that grows with their number", function()
    local raw = {}
    for i = 1, 40000 do raw[2 * i - 1], raw[2 * i] = "a", "b" end

    assert.equal(("b, "):rep(39999) .. "b", headers(raw).a)
  end)

  it("raises for what is no list of names and values", function()
    for _, raw in ipairs { { "a", 1 }, { 1, "a" }, { "a", {} }, { {}, "a" } } do
      assert.error_matches(function() headers(raw) end,
        "not a list of names and values")
    end
    assert.error_matches(function() headers("a") end, "table expected")
  end)
end)
