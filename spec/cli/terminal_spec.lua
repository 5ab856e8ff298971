--- In which state the CLI leaves its terminal.

local helper = require "spec.helper"
local terminal = require "spec.fixture.terminal"

local run = helper.run

--- Runs lines of sh on a terminal, where $ORRERY runs code. Returns what they
--- print. [w]
--- @param options string of sh
--- @param lines string
--- @param argument string $1
local function on_terminal(options, lines, argument)
  local orrery = table.concat(terminal.orrery(), " ") .. " -e"
  local _, text = terminal.run({ "sh", options, lines, "sh", argument }, nil,
    { ORRERY = orrery })
  return text
end

-- Runs $1 by the CLI; tells how that ended, and whether the terminal is as it
-- was.
local LINES = [[
  before=$(stty -g)
  $ORRERY "$1" 2>/dev/null
  echo "ended $?"
  [ "$(stty -g)" = "$before" ] && echo "as it was"]]

-- A child that makes the terminal raw, and dies before it can put it back.
local RAW = [[local orrery = require "orrery"
  orrery.run("sh", {"-c", "stty raw -echo; kill -9 $$"}, {stdio = "inherit"})
  local process = orrery.process
  ]]

local ENDINGS = {
  [""] = 0,
  ["process.exit(3)"] = 3,
  ["error 'x'"] = 1,
  ["orrery.events.new():wait_for 'never'"] = 13,
  ["os.exit(4)"] = 4,
  ["process.abort()"] = 134,
  ["process.kill(process.pid, 'SIGINT') while true do end"] = 130,
  ["process.kill(process.pid, 'SIGHUP') while true do end"] = 129,
  ["process.kill(process.pid, 'SIGTERM') while true do end"] = 143,
  ["orrery.core.lost_reader()"] = 141,
  [ [[local child = orrery.spawn("sh", {"-c", "trap 'exit' TERM; echo; "
      .. "while :; do sleep 0.01; done"}, {die_with_parent = true})
    child.stdout:read()
    process.kill(process.pid, "SIGTERM")
    child:wait() orrery.sleep(9000)]] ] = 143,
}

-- A child that has taken the terminal for a process group of its own, which is
-- gone when we end: who sets the terminal from another group is stopped.
ENDINGS[ [[orrery.run("python3", {"-c", "import os, signal\n"
    .. "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
    .. "os.setpgrp()\nos.tcsetpgrp(0, os.getpid())\n"
    .. "os.system('stty raw -echo')\nos.kill(os.getpid(), 9)"},
  {stdio = "inherit"}) process.exit(5)]] ] = 5

describe("the terminal", function()
  for code, status in pairs(ENDINGS) do
    it("fault B5: is put back, whatever the end: " .. code:match "^[^\n]*",
      function()
        run(function()
          local text = on_terminal("-c", LINES, RAW .. code)

          assert.matches(("ended %d\nas it was"):format(status), text)
        end, 60000)
      end)
  end

  it("is left alone in the background, and nobody is stopped by it", function()
    run(function()
      local fifo = os.tmpname()
      local text = on_terminal("-mc", [[
        rm "$1"; mkfifo "$1"
        $ORRERY "io.open('$1'):read()" &
        stty -echo
        echo >"$1"
        wait $!
        echo "ended $?"
        stty -a | grep -o -e '-echo ']], fifo)
      os.remove(fifo)

      assert.matches("ended 0\n%-echo ", text)
    end, 60000)
  end)

  it("is left to a pager that reads our output", function()
    run(function()
      local fifo = os.tmpname()
      local text = on_terminal("-c", [[
        rm "$1"; mkfifo "$1"
        $ORRERY "print 'up' io.stdout:flush() io.open('$1'):read()" | {
          read up
          stty -echo <&2
          echo >"$1"
          cat
          stty -a <&2 | grep -o -e '-echo '
        }]], fifo)
      os.remove(fifo)

      assert.matches("%-echo ", text)
    end, 60000)
  end)
end)
