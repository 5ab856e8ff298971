-- Gives a program a terminal and plays its user: answers the question that the
-- program asks there, and makes the window larger. Prints the question, that
-- the word has come, unseen, and the size before and after.

local orrery = require "orrery"

local child = orrery.spawn("sh", { "-c", [[
  stty -echo; printf 'Password: ' >/dev/tty; read -r word </dev/tty
  echo "$word" | wc -c; stty size
  trap 'stty size; exit' WINCH
  echo waiting; while :; do sleep 0.1; done]] },
  { stdio = { pty = true, rows = 24, cols = 80 } })
local question = child.pty:read_exactly(#"Password: ")
child.pty:write "secret\n"
print(question)
for line in child.pty:lines { ends = "any" } do
  print(line)
  if line == "waiting" then child.pty:resize(40, 132) end
end
print("exit", child:wait())
