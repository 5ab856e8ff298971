--- Servers of HTTP whose clients behave as badly as peers do: see
--- spec/fixture/http_chaos.py. With the sanitizers, `make asan` runs it, too.
---
---     HTTP_CHAOS=20000 busted --run=all spec/chaos/http_spec.lua

local helper = require "spec.helper"
local orrery = require "orrery"

local COUNT = tonumber(os.getenv("HTTP_CHAOS")) or 1500 -- connections

local BIG = ("x"):rep(200000)

--- Answers as the clients expect it.
local function answer(req, res)
  local number = req.url:match("%d+$")
  if req.url == "/echo" then
    res:finish(req:read_all() or "")
  elseif req.url == "/big" then
    res:finish(BIG)
  else
    if req.url:find("later", 1, true) then orrery.sleep(1) end
    res:finish(number)
  end
end

describe("an HTTP server #chaos", function()
  it("answers those who live, whatever the others do", function()
    helper.run(function()
      local seed = os.time() % 100000
      local server = orrery.http.create_server(answer)
      assert(server:listen(0, "127.0.0.1"))
      local result = assert(orrery.run("python3",
        { "spec/fixture/http_chaos.py", server:address().port, seed, COUNT },
        { env_extend = { LD_PRELOAD = false } }))
      assert.equal("", result.stderr, "seed " .. seed)
      assert.is_true(tonumber(result.stdout) > COUNT, "seed " .. seed)

      assert(server:close())

      assert.equal(0, server.connections)
    end, 300000)
  end)
end)
