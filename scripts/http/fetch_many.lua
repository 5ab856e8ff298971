-- Twenty pages at once over four connections: the agent has further requests
-- wait for one. Prints what each page was, in order, and the agent's counts.

local orrery = require "orrery"
local http = orrery.http

local server = http.create_server(function(req, res)
  orrery.sleep(5) -- as if it had to look it up
  res:finish("page " .. req.url)
end)
assert(server:listen(0, "127.0.0.1"))
local url = "http://127.0.0.1:" .. server:address().port

local agent <close> = http.agent {max_sockets = 4}
local fetches = {}
for i = 1, 20 do
  fetches[i] = function()
    local answer = assert(http.fetch(url .. "/" .. i,
      {agent = agent, timeout = 10000}))
    return answer.body
  end
end
for _, body in ipairs(orrery.all(fetches)) do print(body) end
print(agent)

agent:destroy()
server:close()
