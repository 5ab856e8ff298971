-- A list says for fds 0, 1, 2 … where each goes: input and output are pipes to
-- here, and errors go where this program's own go.
-- Prints what the child wrote to stdout; what it wrote to stderr is on stderr.

local orrery = require "orrery"

local child = orrery.spawn("sh", { "-c", "cat; echo trouble >&2" },
  { stdio = { "pipe", "pipe", orrery.process.stderr } })
child.stdout:on("data", function(chunk) print("received", chunk) end)
child.stdin:finish("hello")
