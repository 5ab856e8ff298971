local helper = require "spec.helper"
local orrery = require "orrery"
local Callback = require "orrery.channel.callback"

local run, fork, await_close = helper.run, helper.fork, helper.await_close

local KILLS = tonumber(os.getenv "ORRERY_KILLS") or 150 -- of each side

--- Talks for ever: messages of all sizes, some with a handle, both ways.
local TALK = [[
  local null = orrery.stream.open("/dev/null")
  local n = 0
  local function talk()
    for _ = 1, 20 do
      n = n + 1
      local handle = n % 7 == 0 and null or nil
      if not process.send({n, ("x"):rep(n * 977 % 50000)}, handle) then
        return
      end
    end
    process.next_tick(talk)
  end
  process.on("drain", talk)
  process.on("message", function(m, h) if h then h:destroy() end end)
  talk()]]

local seed = tonumber(os.getenv "ORRERY_SEED") or os.time()

--- Counts by power of two, as text: where in the stream the kills fell.
local function histogram(offsets)
  local bins, lines = {}, {}
  for _, offset in ipairs(offsets) do
    local bin = offset == 0 and 0 or math.floor(math.log(offset, 2))
    bins[bin] = (bins[bin] or 0) + 1
  end
  for bin = 0, 40 do
    if bins[bin] then lines[#lines + 1] = ("2^%d:%d"):format(bin, bins[bin]) end
  end
  return table.concat(lines, " ")
end

--- Sends to a child as fast as it takes it, each with a callback.
local function talk_to(child, null)
  local n = 0
  local function talk()
    for _ = 1, 20 do
      n = n + 1
      local handle = n % 5 == 0 and null or nil
      if not child:send({ n, ("y"):rep(n * 1337 % 60000) }, handle, nil,
        function() end) then return end
    end
    orrery.process.next_tick(talk)
  end
  child:on("drain", talk)
  talk()
end

describe("kill -9 #chaos", function()
  it("of the child at any moment leaves no fd, zombie or "
    .. "callback behind", function()
    math.randomseed(seed)
    local offsets = {}
    run(function()
      local null = orrery.stream.open("/dev/null")
      for _ = 1, KILLS do
        local child = fork(TALK)
        local received = 0
        child:on("message", function(m, handle)
          received = received + #m[2]
          if handle then handle:destroy() end
        end)
        talk_to(child, null)
        orrery.sleep(math.random(0, 12))
        local _, sent = child.channel_.core_end_:totals()
        offsets[#offsets + 1] = sent + received
        child:kill("SIGKILL")
        await_close(child)
        assert.equal("SIGKILL", child.signal_code)
      end
      null:destroy()
    end, 120000)

    io.stderr:write(("\nkills of children, seed %d, bytes: %s\n"):format(seed,
      histogram(offsets)))
    assert.equal(Callback.counts.given, Callback.counts.called)
  end)

  it("of the parent at any moment ends the child, too", function()
    math.randomseed(seed + 1)
    local counts = {}
    run(function()
      local script = helper.tmpname()
      local file = assert(io.open(script, "w"))
      file:write("local orrery = require 'orrery' ",
        "local process = orrery.process ", TALK)
      file:close()
      for _ = 1, KILLS do
        local parent = fork([[
          local child = orrery.fork((...), {},
            { stdio = { "ignore", "inherit", "inherit", "ipc" } })
          local n = 0
          child:on("message", function(m, h)
            if h then h:destroy() end
            child:send(m)
            n = n + #m[2]
            process.send(n)
          end)]], { stdio = { "ignore", "pipe", "inherit", "ipc" } },
            { script })
        local bytes = 0
        parent:on("message", function(m) bytes = m end)
        if math.random(4) > 1 then parent:wait_for("message", 5000) end
        orrery.sleep(math.random(0, 12))
        parent:kill("SIGKILL")
        -- The child has the pipe as well: its end tells of both.
        assert.equal("", parent.stdout:read_all(10000))
        await_close(parent)
        counts[#counts + 1] = bytes
      end
      os.remove(script)
    end, 180000)

    io.stderr:write(
      ("\nkills of parents, seed %d, bytes: %s\n"):format(seed + 1,
      histogram(counts)))
  end)
end)
