--- worker:ready(), and cluster.scale, which waits for it.

local fixture = require "spec.fixture.cluster"

local says = fixture.says

--- For a primary: the ids of its workers, as "1 2 3".
local IDS = [[
  local function ids()
    local list = {}
    for id in pairs(cluster.workers) do list[#list + 1] = id end
    table.sort(list)
    return table.concat(list, " ")
  end ]]

describe("cluster.scale", function()
  it("starts workers, and waits until they are there", says({
    "true 1 2 3", "true", "true 1 2 3 4 5", "listening listening" }, IDS .. [[
      local count, port = 0, nil
      cluster.on("listening", function(_, address)
        count, port = count + 1, address.port
      end)
      say(cluster.scale(3), ids())
      await(function() return count == 3 end)
      say(("123"):find(ask(port)) ~= nil)
      say(cluster.scale(5), ids()) -- now it is known where they listen
      say(cluster.workers[4].state, cluster.workers[5].state)
      down()]], "serve()"))

  it("has the youngest leave, and waits until they are gone", says({
    "true 1 2", "exit 4 0 nil", "exit 3 0 nil", "true", "true none",
    "true none" }, IDS .. [[
      cluster.scale(4)
      local exits, after = {}, true
      cluster.on("exit", function(worker, code, signal)
        exits[#exits + 1] = ("exit %d %s %s"):format(worker.id, code, signal)
        after = after and worker.exited_after_disconnect
      end)
      say(cluster.scale(2), ids())
      table.sort(exits, function(a, b) return a > b end)
      for _, line in ipairs(exits) do say(line) end
      say(after)
      say(cluster.scale(0), ids() == "" and "none")
      say(cluster.scale(0), ids() == "" and "none")]], "serve()"))

  it("is nil, err with the workers as before if new ones cannot start", says({
    "true 1 2", "nil true 1 2", "1 or 2" }, IDS .. [[
      local port
      cluster.on("listening", function(_, address) port = address.port end)
      say(cluster.scale(2), ids())
      cluster.setup_primary { args = { "fail" } }
      local ok, err = cluster.scale(4)
      say(ok, err ~= nil and err.code ~= nil, ids())
      local answer = ask(port)
      say((answer == "1" or answer == "2") and "1 or 2" or answer)
      down()]], [[
      if ... == "fail" then process.exit(3) end
      serve()]]))

  it("loses no connection while workers come and go", says({ "true" }, [[
    local port
    cluster.on("listening", function(_, address) port = address.port end)
    cluster.scale(2)
    local over, bad, count = false, 0, 0
    local asking = {}
    for i = 1, 8 do
      asking[i] = orrery.go(function()
        while not over do
          if not tonumber((get(port))) then bad = bad + 1 end
          count = count + 1
        end
      end)
    end
    for _, size in ipairs { 4, 1, 3 } do assert(cluster.scale(size)) end
    over = true
    for _, one in ipairs(asking) do one:join() end
    say(bad == 0 and count > 0 or bad)
    down()]], "serve_http()"))
end)

describe("worker:ready", function()
  it("says that a worker which does not listen is there", says({
    "true 1 2" }, IDS .. [[
      say(cluster.scale(2), ids())
      down()]], "cluster.worker:ready()"))

  it("changes nothing where the worker listens, or is ready, already", says({
    "true 1" }, IDS .. [[
      say(cluster.scale(1), ids())
      down()]], [[
      serve()
      cluster.worker:ready()
      cluster.worker:ready()]]))
end)
