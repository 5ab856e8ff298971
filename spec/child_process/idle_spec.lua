--- What children cost that nothing is asked of: no work, neither here nor in
--- their keepers, and no copy of our memory when they are started.

local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run
local WINDOW = 2000 -- ms in which nobody may wake up

--- Returns the first capture of each match in the files of /proc, as a list.
local function read(path, pattern)
  local list = {}
  local file <close> = io.open("/proc/" .. path)
  for found in (file and file:read("a") or ""):gmatch(pattern) do
    list[#list + 1] = found
  end
  return list
end

--- Counts how often the threads of a process and of its children have run.
local function runs_of(pid)
  local count = 0
  local threads = orrery.sh(("echo /proc/%d/task/*; for child in $(cat "
    .. "/proc/%d/task/*/children); do echo /proc/$child/task/*; done")
    :format(pid, pid)).stdout
  for path in threads:gmatch("/proc/(%S+)") do
    for _, n in ipairs(read(path .. "/status", "ctxt_switches:%s+(%d+)")) do
      count = count + tonumber(n)
    end
  end
  return count, select(2, threads:gsub("task", "")) -- and how many there are
end

describe("an idle engine #spawn", function()
  it("does not wake up for children, keepers, a channel and a server",
    function()
    run(function()
      local child = helper.fork([[
        for i = 1, 99 do
          orrery.spawn("sleep", {"1000"}, {stdio = i % 2 == 0 and "ignore"
            or {"ignore", "pipe", "ignore"}, die_with_parent = true,
            contain = i % 10 == 0 and "keeper" or nil})
        end
        local script = os.tmpname()
        local file <close> = io.open(script, "w")
        file:write "local p = require 'orrery'.process p.on('message', print)"
        file:close()
        orrery.fork(script):on("close", function() os.remove(script) end)
        orrery.net.create_server():listen(0, "127.0.0.1")
        process.on("message", function() process.exit() end)
        process.send "ready"]])
      assert.equal("ready", child:receive(20000))
      local before, now, threads = nil, runs_of(child.pid)
      while before ~= now do -- until all have come to rest
        orrery.sleep(200)
        before, now, threads = now, runs_of(child.pid)
      end
      orrery.sleep(WINDOW)

      assert.is_true(threads > 100)
      assert.equal(now, (runs_of(child.pid)))
      child:kill()
      child:wait()
      helper.await_close(child)
    end, 60000)
  end)

  it("ours does better 8: starts children without a copy of its memory, "
    .. "however large", function()
    if helper.forced then return end -- no_clone_vm copies
    run(function()
      local result = helper.script [[
        local list, starts = {}, 10
        for i = 1, 4 * 1024 * 1024 do list[i] = i end
        local pages = #list * 16 // 4096
        local function faults()
          return process.resource_usage().minor_page_fault
        end
        local function write() for i = 1, #list, 128 do list[i] = i end end
        write()
        local before = faults()
        for _ = 1, starts do
          orrery.spawn("true", {}, {stdio = "ignore"}):wait()
          write() -- each page that fork had shared would be copied now
        end
        print((faults() - before) / (starts * pages))]]

      assert.is_true(tonumber(result.stdout) < 0.1, result.stdout)
    end, 60000)
  end)
end)
