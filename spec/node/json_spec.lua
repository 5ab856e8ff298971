local helper = require "spec.helper"
local json = require "orrery.json"
local orrery = require "orrery"
local show = require "spec.fixture.values".show

local encode, decode, run = json.encode, json.decode, helper.run
local null = decode("null")
local has_node = os.execute("node --version >/dev/null 2>&1")

local function list(t)
  return setmetatable(t or {}, getmetatable(decode("[]")))
end

--- Runs a JavaScript program on lines and gives its lines. [w]
local function node(program, lines)
  local result = assert(orrery.run("node", { "-e", [[
    const lines =
      require('fs').readFileSync(0, 'utf8').split('\n').slice(0, -1);
  ]] .. program }, { input = table.concat(lines, "\n") .. "\n", check = true }))
  local out = {}
  for line in result.stdout:gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

describe("Node", function()
  it("reads what we write", function()
    if not has_node then return pending("needs node") end
    local cases, lines = {
      { { 1, 2.0, -0.0, 1e21, 0.1, 5e-324 }, "[1, 2, -0, 1e21, 0.1, 5e-324]" },
      { { a = list(), b = {}, c = null }, "({a: [], b: {}, c: null})" },
      { { 0 / 0, math.huge }, "[null, null]" },
      { "\"\\\0\1\x1f\x7f\u{2028}\u{10ffff}",
        [["\"\\\0\x01\x1f\x7f\u2028\u{10ffff}"]] },
      { { ["\0"] = 1, [""] = 2, ["__proto__"] = 3 },
        [[({"\0": 1, "": 2, ["__proto__"]: 3})]] },
      { { [1.5] = 1, [1e21] = 2, [-1] = 3, [math.huge] = 4, [1e-7] = 5,
        [123456789012] = 6 },
        "({[1.5]: 1, [1e21]: 2, [-1]: 3, [Infinity]: 4, [1e-7]: 5, "
          .. "[123456789012]: 6})" },
      { math.maxinteger, "9223372036854775807" }, { false, "false" },
      { null, "null" },
      { { [2 ^ 70] = 1, [2.5e-5] = 2, [2.0 ^ 63] = 3 },
        "({[2 ** 70]: 1, [2.5e-5]: 2, [2 ** 63]: 3})" },
    }, {}
    for i, case in ipairs(cases) do
      lines[2 * i - 1], lines[2 * i] = encode(case[1]), case[2]
    end

    run(function()
      assert.same({ #cases .. " checked" }, node([[
        for (let i = 0; i < lines.length; i += 2)
          require('assert').deepStrictEqual(JSON.parse(lines[i]),
            eval(lines[i + 1]));
        console.log(lines.length / 2 + ' checked');
      ]], lines))
    end)
  end)

  it("writes what we read", function()
    if not has_node then return pending("needs node") end
    local cases = {
      { "[2**53 + 2, 2**63, 2**64, -(2**64), 1e20, 1e21, 1.5, -0, 5e-324, "
        .. "1.7976931348623157e308]",
        { 2 ^ 53 + 2 | 0, 2.0 ^ 63, 2.0 ^ 64, -2.0 ^ 64, 1e20, 1e21, 1.5, 0,
          5e-324,
          1.7976931348623157e308 } },
      { [=[["\ud800", "\udfffx", "\ud83d\ude00", "\0\b\x7f\u2028", "é"]]=],
        { "\u{fffd}", "\u{fffd}x", "\u{1f600}", "\0\b\x7f\u{2028}", "é" } },
      { [[({"a\0b": "\0", "\ud800": 2**64})]],
        { ["a\0b"] = "\0", ["\u{fffd}"] = 2.0 ^ 64 } },
      { "[[], {}, [[]], [undefined], {a: undefined}]",
        { list(), {}, { list() }, { null }, {} } },
      { "[NaN, Infinity]", { null, null } }, { "null", null }, { "'x'", "x" },
      { "true", true },
      { "({hello: 'é', d: new Date(0), b: Buffer.from('ab')})",
        { hello = "é", d = "1970-01-01T00:00:00.000Z",
          b = { type = "Buffer", data = { 97, 98 } } } },
    }
    local lines = {}
    for i, case in ipairs(cases) do lines[i] = case[1] end

    run(function()
      local texts = node(
        "for (const l of lines) console.log(JSON.stringify(eval(l)));", lines)
      for i, case in ipairs(cases) do
        assert.equal(show(case[2]), show(assert(decode(texts[i]))))
      end
    end)
  end)

  it("writes numbers as we do", function()
    if not has_node then return pending("needs node") end
    local lines = {}
    for i = 1, 3000 do
      local bits = i % 3 == 0 and math.random(0) & 0xfffffffffffff
        or math.random(0)
      local value = string.unpack("d", string.pack("j", bits))
      if i % 3 == 1 then value = math.random(0) / 10.0 ^ math.random(0, 40) end
      lines[i] = encode(value == value and math.abs(value) < math.huge and value
        or i / 7)
    end

    run(function()
      local texts =
        node("for (const l of lines) console.log(JSON.stringify(+l));", lines)
      for i, line in ipairs(lines) do
        assert.equal(texts[i], (line:gsub("%.0$", "")))
      end
    end)
  end)

  it("writes a big message that it has read", function()
    if not has_node then return pending("needs node") end
    local value = {}
    for i = 1, 2000 do
      value[i] = { id = i, name = "worker " .. i, tags = { "é", i + 0.5 } }
    end

    run(function()
      local texts = node("console.log(JSON.stringify(JSON.parse(lines[0])));",
        { encode(value) })
      assert.equal(show(value), show(decode(texts[1])))
    end)
  end)
end)
