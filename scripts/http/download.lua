-- A download that never lies in memory as a whole: the response is piped to a
-- file, as fast as that takes it. Prints the size, or why it failed.

local orrery = require "orrery"
local http = orrery.http

local server = http.create_server(function(_, res)
  for _ = 1, 64 do res:write_wait(("x"):rep(65536)) end
  res:finish()
end)
assert(server:listen(0, "127.0.0.1"))

local path = os.tmpname()
local request = http.get("http://127.0.0.1:" .. server:address().port)
local response, err = request:await_response(5000)
if not response then
  print("no response: " .. tostring(err))
elseif response.status_code ~= 200 then
  print("refused: " .. response.status_message)
  response:destroy()
else
  local file = assert(orrery.stream.open(path, "w"))
  response:pipe(file)
  file:wait_for("close")
  print(response.complete and file.bytes_written .. " bytes" or "cut off")
end

os.remove(path)
server:close()
