-- A program without a shell, so that its arguments are just that. Prints the
-- argument with all its special characters, and how a failure looks.

local orrery = require "orrery"

orrery.exec_file("echo", { "$HOME; rm -rf *" }, function(err, stdout)
  assert(not err)
  io.write(stdout)
  orrery.exec_file("ls", { "/does/not/exist" }, function(failure)
    print(failure.code, failure.cmd)
  end)
end)
