-- How exec tells that a command did not go well: by its exit code, by the
-- signal that ended it at its timeout, or by a name if it wrote too much. What
-- it wrote is there in each case. Prints a line for each.

local orrery = require "orrery"

local function report(err, stdout, stderr)
  print(err.code, err.signal, err.killed, #stdout, #stderr, err.cmd)
end

orrery.exec("echo reason >&2; exit 3", function(...)
  report(...)
  orrery.exec("exec sleep 1000", { timeout = 50, kill_signal = "SIGINT" },
    function(...)
      report(...)
      orrery.exec("exec yes", { max_buffer = 1000 }, report)
    end)
end)
