local options = require "orrery.runtime.options"
local orrery = require "orrery"

describe("options", function()
  it("name the nearest word", function()
    assert.equal("timeout",
      options.nearest("tiemout", { timeout = 1, uid = 1, cwd = 1 }))
  end)

  it("fault A13: refuse a list with a hole, and name it", function()
    for name, value in pairs { exec_argv = { "-W", nil, "-i" },
      cpu_affinity = { [2] = 1 } } do
      local _, err = pcall(orrery.fork, "x.lua", {}, { [name] = value })

      assert.matches("'" .. name .. "' must be a list of .* without a hole "
        .. "%(item %d is nil%)", err)
    end
  end)

  it("raise at the user's line, however deep, through pcall and "
    .. "tail calls", function()
    local function line() return debug.getinfo(2, "l").currentline end
    local function tail() return orrery.spawn("ls", {}, 5) end

    local here = line()
    for i, misuse in ipairs {
      function() pcall(error) orrery.spawn("ls", {}, 5) end,
      function() assert(orrery.run("true", nil, { tiemout = 1 })) end,
      function() orrery.all(5) end,
    } do
      local _, err = pcall(misuse)
      assert.matches("options_spec%.lua:" .. here + 1 + i .. ":", err)
    end
    for _, call in ipairs {
      function() return pcall(orrery.spawn, "ls", {}, 5) end,
      function() return pcall(tail) end } do
      local _, err = call()
      assert.matches(
        "^spec/runtime/options_spec.lua:%d+: spawn: options must be", err)
    end
  end)
end)
