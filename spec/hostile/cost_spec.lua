--- What a hostile child may cost its parent, in memory and in time, by messages
--- that its channel takes for whole.

local collisions = require "spec.fixture.collisions"
local helper = require "spec.helper"
local orrery = require "orrery"

local run, raw_peer = helper.run, helper.raw_peer
local TIME = 60000 -- ms, for what takes some under a sanitizer

--- Starts a peer that writes what `code` makes into `text`, and returns the
--- error with which its channel ends. [w]
local function play(code, serialization)
  local child <close> = raw_peer(code .. [[
    local at = 1
    while at and at <= #text do
      local n = peer:write(text, at)
      at = n and at + n
    end
    core.poll({peer:fileno()}, {}, 60000)]], { serialization = serialization })
  local err = child:wait_for("disconnect", TIME)
  child:kill()
  helper.await_close(child)
  return err
end

describe("a hostile child", function()
  it("fault C4: fills no memory by empty tables", function()
    run(function()
      for _, item in ipairs { "\x90", "\x91\x80", "\x81\1\x80" } do
        local err = play(([[
          local item, size = %q, 3000000
          local n = size // #item
          local text = string.pack("<I4BBI2>BI4", 5 + n * #item, 0, 0, 0,
            0xdd, n) .. item:rep(n)]]):format(item), "msgpack")
        assert.equal("EPROTO", err.code)
        assert.matches("it would take too much memory", err.message)
      end
    end, TIME)
  end)

  it("fault C4: fills no memory by empty tables of JSON", function()
    run(function()
      for _, item in ipairs { "[],", "{},", "[{}],", '{"":[]},' } do
        local err = play(([[
          local text = "[" .. (%q):rep(900000) .. "1]\n"
          ]]):format(item), "json")
        assert.equal("EPROTO", err.code)
        assert.matches("it would take too much memory", err.message)
      end
    end, TIME)
  end)

  --- What a peer writes that knows our seed: its strings all have one hash.
  local KNOWING = [[
    local list = require "spec.fixture.collisions".strings(%d, 40000)
    local text]]

  local ways = {
    msgpack = { keys = [[
      for i, key in ipairs(list) do list[i] = core.pack(key) .. "\1" end
      text = "\xdf" .. string.pack(">I4", #list) .. table.concat(list)
      text = string.pack("<I4BBI2", #text, 0, 0, 0) .. text]],
    values = [[
      text = core.pack(list)
      text = string.pack("<I4BBI2", #text, 0, 0, 0) .. text]] },
    json = { keys = [[
      text = '{"' .. table.concat(list, '":1,"') .. '":1}\n']],
    values = [[
      text = '["' .. table.concat(list, '","') .. '"]\n']] },
  }

  for serialization, codes in pairs(ways) do
    for what, code in pairs(codes) do
      it(("fault C5: holds nobody up by %s that collide (%s)"):format(what,
        serialization), function()
        local seed = collisions.seed()
        if not seed then return pending "this Lua hides its seed" end
        run(function()
          local err = play(KNOWING:format(seed) .. " " .. code, serialization)
          assert.equal("EPROTO", err.code)
          assert.matches("its strings collide", err.message)
        end, TIME)
      end)
    end
  end

  it("is not suspected where the clock of CPU time is coarse", function()
    if helper.env().LD_PRELOAD then return end -- the sanitizer's
    run(function()
      local clock = helper.tmpname()
      assert.equal("", orrery.run("cc", { "-shared", "-fPIC", "-D_GNU_SOURCE",
        "-o", clock, "spec/fixture/coarse.c" }).stderr)
      local env = helper.env()
      env.LD_PRELOAD = clock
      local result = orrery.run(helper.orrery, { "-e", [[
        local json = require "orrery".json
        local list = {}
        for i = 1, 60000 do list[i] = {id = i, name = "n" .. i} end
        local text = json.encode(list)
        for _ = 1, 10 do assert(json.decode(text)) end
        print "ok"]] }, { env_extend = env, timeout = TIME })
      os.remove(clock)

      assert.same({ "ok\n", "" }, { result.stdout, result.stderr })
    end, TIME)
  end)
end)
