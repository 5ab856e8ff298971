--- The scripts of scripts/cluster: what they print, and that the flagship ends
--- by itself and by Ctrl-C, with all of its workers.

local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

local function script(name, opts)
  opts = opts or {}
  opts.env_extend = { LD_PRELOAD = false }
  return helper.cli({ "scripts/cluster/" .. name }, opts)
end

--- Returns the lines of a text, sorted: several processes print.
local function sorted(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  table.sort(lines)
  return table.concat(lines, "\n")
end

--- What each script prints, sorted, as a pattern.
local patterns = {
  ["worker_id.lua"] = "I am the primary of worker #1\nI am worker #1",
  ["workers.lua"] = "1\t%d+\tworker 1: %a+\n2\t%d+\tworker 2: %a+\n"
    .. "3\t%d+\tworker 3: %a+\nnil",
  ["server.lua"] = "hello\nthis runs in the primary\nthis runs in the worker",
  ["fork_event.lua"] = "worker 1 has been started\nworker 2 has been started",
  ["online_event.lua"] = "worker 1 has reported\nworker 2 has reported",
  ["listening_event.lua"] = "worker 1 has reported\n"
    .. "worker 1 listens on 127%.0%.0%.1:(%d+)\nworker 2 has reported\n"
    .. "worker 2 listens on 127%.0%.0%.1:%1",
  ["idle.lua"] = "worker 1 has computed 500000500000\n"
    .. "worker 1 has computed 500000500000\n"
    .. "worker 2 has computed 500000500000\n"
    .. "worker 2 has computed 500000500000",
  ["silent.lua"] = "asked for /cakes\nasked for /tea",
  ["worker_online.lua"] = "this runs in the primary\nthis runs in the worker\n"
    .. "worker 1 has reported",
  ["send.lua"] = "the primary got age\t9\nthe worker got name\tzfpx",
  ["socket.lua"] = "answered by the primary\nanswered by the primary\n"
    .. "answered by the worker\nanswered by the worker\n"
    .. "the worker has answered one\nthe worker has answered one",
  ["kill.lua"] = "nil\tSIGKILL\tfalse\nnil\tSIGTERM\tfalse",
  ["exit_event.lua"] = "worker 1 left as it was asked to\n"
    .. "worker 2 is lost: SIGKILL\nworker 3 is lost: exit code 3",
  ["disconnect.lua"] = "ECONNREFUSED\nthe answer\nthe worker has disconnected\n"
    .. "the worker has ended\t0\ttrue",
}

describe("scripts/cluster", function()
  for name, pattern in pairs(patterns) do
    it(name .. " prints what it says", function()
      run(function()
        local result = script(name)

        assert.matches("^" .. pattern .. "$", sorted(result.stdout))
        assert.same({ "", 0 }, { result.stderr, result.code })
      end)
    end)
  end

  it("setup_primary.lua has another script for its workers", function()
    run(function()
      local result = script "setup_primary.lua"

      assert.matches('exec = "%S+/scripts/cluster/programs/subtask.lua"',
        result.stdout)
      assert.matches("\nok\n", result.stdout)
      assert.same({ "", 0 }, { result.stderr, result.code })
    end)
  end)
end)

--- Reads the row of a part of the flagship: answers, failed and closed.
local function row(text, name)
  local answers, failed, closed =
    text:match("\n" .. name .. " +(%d+) +(%d+) +(%d+) ")
  return { tonumber(failed), tonumber(closed) }, tonumber(answers)
end

describe("scripts/cluster/http_cluster.lua", function()
  it("loses nothing but what a killed worker was at", function()
    run(function()
      local result = script "http_cluster.lua"

      assert.same({ "", 0 }, { result.stderr, result.code })
      for _, name in ipairs { "load", "stop", "reload" } do
        local lost, answers = row(result.stdout, name)
        assert.same({ 0, 0 }, lost, name)
        assert.is_true(answers > 0)
      end
      local lost, answers = row(result.stdout, "kill")
      assert.is_true(lost[1] <= 32 and lost[2] <= 32 and answers > 0)
      assert.matches("\nanswers by worker: worker 1: %d+, ", result.stdout)
      assert.is_nil(result.stdout:find("\27", 1, true))
      assert.is_true(result.duration < 10000)
    end, 30000)
  end)

  it("shows its progress on a terminal, and ends by Ctrl-C", function()
    run(function()
      local child = orrery.spawn(helper.orrery,
        { "scripts/cluster/http_cluster.lua" },
        { stdio = { "pty", "pty", "pty" },
          env_extend = helper.env { LD_PRELOAD = false } })
      local text = ""
      repeat
        text = text .. child.stdout:read()
      until text:find("load: %d+ answers, 0 failed, 0%.[1-9] s")
      child.stdin:write("\3")

      assert.matches("the workers leave", child.stdout:read_all())
      assert.same({ 130, "SIGINT" }, { child:wait() })
      helper.await_close(child)
    end)
  end)
end)
