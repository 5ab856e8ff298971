local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local run = helper.run

describe("stdout", function()
  it("is synchronous and leaves the flags of its file alone", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        for i = 1, 300 do
          io.write(("x"):rep(500))
          process.stdout:write(("y"):rep(500))
        end
        local info = io.open("/proc/self/fdinfo/1"):read("a")
        local flags = tonumber(info:match("flags:%s+(%d+)"), 8)
        process.stderr:write(tostring(flags & tonumber("4000", 8)))]] },
        { env_extend = helper.env() })
      local text = child.stdout:read_all()
      local flags = child.stderr:read_all()
      child:wait()

      assert.equal(300000, #text)
      assert.equal("0", flags)
    end)
  end)

  it("waits where somebody made it non-blocking", function()
    run(function()
      local reading, writing = orrery.core.pipe()
      local pipe = uv.new_pipe(false)
      pipe:open(writing:take()) -- luv sets O_NONBLOCK
      local child = orrery.spawn(helper.orrery, { "-e",
        'require "orrery".process.stdout:write(("x"):rep(1000000))' },
        { env_extend = helper.env(), stdio = { "ignore", pipe, "inherit" } })
      pipe:close()
      local reader = require "orrery.stream".new(reading, "pipe", "r")

      assert.equal(1000000, #reader:read_all())
      assert.equal(0, child:wait())
    end)
  end)
end)
