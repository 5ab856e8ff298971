local helper = require "spec.helper"
local json = require "orrery.json"
local orrery = require "orrery"
local show = require "spec.fixture.values".show

local encode, decode, run = json.encode, json.decode, helper.run
local null = decode("null")

local function list(t)
  return setmetatable(t or {}, getmetatable(decode("[]")))
end

describe("orrery.json", function()
  it("fault E9: is there, and loaded when it is asked for", function()
    run(function()
      assert.equal('nil\t[1,"é"]\n', helper.lua([[
        local orrery = require "orrery"
        print(package.loaded["orrery.json"], orrery.json.encode {1, "é"})]])
        .stdout)
    end)
  end)

  it("fault E9: names the package that it lacks", function()
    run(function()
      local dir = orrery.sh("mktemp -d", { trim = true }).stdout
      assert(orrery.sh(([[mkdir '%s/orrery' &&
        sed 's/libjansson\.so/libjansson.no/' '%s' >'%s/orrery/json.so']])
        :format(dir, package.searchpath("orrery.json", package.cpath), dir)).ok)
      local code = ([[
        local orrery, here = require "orrery", package.cpath
        for _, path in ipairs { "%s/?.so", "" } do
          package.cpath = path
          print(select(2, pcall(function() return orrery.json end)))
        end
        package.cpath = here
        print(orrery.json.encode(1))]]):format(dir)
      local lines = helper.lua(code).stdout
      orrery.sh(("rm -r '%s'"):format(dir))

      assert.matches("^orrery%.json needs libjansson: install it %(Debian: "
        .. "libjansson4%): [^\n]*\n" .. "orrery%.json was not built, "
        .. "[^\n]*libjansson%-dev[^\n]*\n1\n$", lines)
    end)
  end)

  local seed = tonumber(os.getenv("ORRERY_SEED")) or os.time()
  local random = math.random

  local function random_string()
    local codes = {}
    for i = 1, random(0, 12) do
      local code = random(0, ({ 0x7f, 0x7ff, 0xffff, 0x10ffff })[random(4)])
      codes[i] = code >= 0xd800 and code <= 0xdfff and 0xfffd or code
    end
    return utf8.char(table.unpack(codes))
  end

  local function random_float()
    local value = string.unpack("d", string.pack("j", random(0)))
    return value == value and math.abs(value) < math.huge and value or random()
  end

  local scalars = {
    random_string, random_float,
    function() return random(0) end,
    function() return random(-100, 100) end,
    function() return random(-100, 100) / 8 end,
    function() return random() < 0.5 end,
    function() return null end,
  }

  local function random_value(depth)
    local kind = random(depth > 0 and #scalars + 2 or #scalars)
    if kind <= #scalars then return scalars[kind]() end
    local t, is_list, n = {}, kind == #scalars + 1, random(0, 6)
    for i = 1, n do
      t[is_list and i or random_string()] = random_value(depth - 1)
    end
    return is_list and n == 0 and list(t) or t
  end

  it("gives 1,000 random values back as they were", function()
    math.randomseed(seed)
    for i = 1, 1000 do
      local value = random_value(6)
      local text = encode(value)
      local what = ("ORRERY_SEED=%d, value %d: %s"):format(seed, i, text)
      local again, err = decode(text)
      assert.is_nil(err, what)
      assert.equal(show(value), show(again), what)
    end
  end)

  it("survives 5,000 messages with random damage", function()
    math.randomseed(seed)
    local tokens = { "[", "]", "{", "}", '"', ",", ":", "\\u0000", "\\ud800",
      "\\", "e", "-", ".",
      "18446744073709552000", "null", "\xef\xb7\x90", "\xff", "\0", " " }
    for i = 1, 5000 do
      local text = encode(random_value(4))
      local from = random(1, #text)
      local damaged = text:sub(1, from) .. tokens[random(#tokens)]
        .. text:sub(from + random(0, 3))
      local value, err = decode(damaged)
      assert.is_true(value ~= nil or type(err) == "string",
        ("ORRERY_SEED=%d, message %d: %q"):format(seed, i, damaged))
    end
  end)

  it("may be opened twice, and its parts are the same", function()
    local open =
      assert(package.loadlib(package.searchpath("orrery.json", package.cpath),
      "luaopen_orrery_json"))
    local other = open()

    assert.equal("[[],null]", other.encode(decode("[[],null]")))
    assert.equal("[[],null]", encode(other.decode("[[],null]")))
  end)

  it("has a dot for a decimal point in any locale there is", function()
    run(function()
      local dir = orrery.sh("mktemp -d", { trim = true }).stdout
      -- a point of one byte and of two
      for _, name in ipairs { "de_DE", "ps_AF" } do
        orrery.sh(("localedef -i %s -f UTF-8 '%s/%s'"):format(name, dir, name))
        assert.equal("[0.5,1e+100,2.5]\n", helper.lua(([[
          os.setlocale("%s", "numeric")
          local json = require "orrery.json"
          print(json.encode(json.decode(json.encode { 0.5, 1e100, 2.5 })))
        ]]):format(name), { env_extend = { LOCPATH = dir } }).stdout)
      end
      orrery.sh(("rm -rf '%s'"):format(dir))
    end, 60000)
  end)

  it("alone loads jansson", function()
    run(function()
      assert.equal("false\ntrue\n", helper.lua([[
        require "orrery"
        local function loaded()
          local maps = io.open("/proc/self/maps"):read("a")
          return maps:find("libjansson", 1, true) ~= nil
        end
        print(loaded())
        require "orrery.json"
        print(loaded())
      ]]).stdout)
    end)
  end)
end)
