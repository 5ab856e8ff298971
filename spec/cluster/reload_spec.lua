--- cluster.reload: new workers in the place of the old ones, or none at all.

local fixture = require "spec.fixture.cluster"

local says = fixture.says

--- For a primary: ids and pids of its workers, and what else all tests need.
local PRIMARY = [[
  local port
  cluster.on("listening", function(_, address) port = address.port end)
  local function ids()
    local list = {}
    for id in pairs(cluster.workers) do list[#list + 1] = id end
    table.sort(list)
    return table.concat(list, " ")
  end
  local function pids()
    local list = {}
    for id, worker in pairs(cluster.workers) do
      list[#list + 1] = worker.process.pid
    end
    table.sort(list)
    return table.concat(list, " ")
  end
  --- Begins to ask in so many tasks, and returns what ends that and gives how
  --- many of the answers were none, and how many there were.
  local function begin_to_ask(count)
    local over, bad, all, asking = false, 0, 0, {}
    for i = 1, count do
      asking[i] = orrery.go(function()
        while not over do
          if not tonumber((get(port))) then bad = bad + 1 end
          all = all + 1
        end
      end)
    end
    return function()
      over = true
      for _, one in ipairs(asking) do one:join() end
      return bad, all
    end
  end ]]

describe("cluster.reload", function()
  it("replaces all workers, of which no client notices", says({
    "true 3 4", "true", "0 true", "true true", "0 0" }, PRIMARY .. [[
      up(2)
      local before = pids()
      local first, second = cluster.workers[1], cluster.workers[2]
      local finish = begin_to_ask(8)
      say(cluster.reload(), ids())
      local bad, all = finish()
      say(pids() ~= before)
      say(bad, all > 0)
      say(first.exited_after_disconnect, second.exited_after_disconnect)
      say(first.process.exit_code, second.process.exit_code)
      down()]], "serve_http()"))

  it("asks no old worker to leave before all new ones are ready", says({
    "true", "3 false" }, PRIMARY .. [[
      up(3)
      local listening, early = 0, false
      cluster.on("listening", function() listening = listening + 1 end)
      for _, worker in pairs(cluster.workers) do
        worker:on("disconnect", function()
          early = early or listening < 3
        end)
      end
      say(cluster.reload { surge = 3 })
      say(listening, early)
      down()]], "serve_http()"))

  it("starts one at a time, or as many as surge says", says({
    "1", "2" }, PRIMARY .. [[
      local starting, most = 0, 0
      up(4)
      cluster.on("fork", function()
        starting = starting + 1
        most = math.max(most, starting)
      end)
      cluster.on("listening", function() starting = starting - 1 end)
      assert(cluster.reload())
      say(most)
      starting, most = 0, 0
      assert(cluster.reload { surge = 2 })
      say(most)
      down()]], "serve_http()"))

  it("leaves the old ones where a new one ends, whenever", says({
    "nil true", "true 1 2", "nil true", "true 1 2", "0 true",
    "true true" }, PRIMARY .. [[
      up(2)
      local before = pids()
      local finish = begin_to_ask(4)
      for _, word in ipairs { "exit", "second" } do
        cluster.setup_primary { args = { word } }
        local ok, err = cluster.reload()
        say(ok, err ~= nil and err.code ~= nil)
        await(function() return ids() == "1 2" end)
        say(pids() == before, ids())
      end
      local bad, all = finish()
      say(bad, all > 0)
      cluster.setup_primary { args = {} }
      say(cluster.reload(), pids() ~= before)
      down()]], [[
      local word, id = (...), cluster.worker.id
      if word == "exit" or word == "second" and id > 4 then process.exit(3) end
      serve_http()]]))

  it("leaves the old ones where a script is broken", says({
    "nil true", "true 1" }, PRIMARY .. [[
      up(1)
      local before, path = pids(), os.tmpname()
      local file = io.open(path, "w")
      file:write "this is no Lua"
      file:close()
      cluster.setup_primary { exec = path, stdio =
        { "ignore", "ignore", "ignore", "ipc" } }
      local ok, err = cluster.reload()
      say(ok, err ~= nil and err.code ~= nil)
      say(pids() == before, ask(port))
      os.remove(path)
      down()]], "serve()"))

  it("leaves the old ones where a new one is not ready in time", says({
    "nil true", "true 1 2", "true" }, PRIMARY .. [[
      up(2)
      local before = pids()
      cluster.setup_primary { args = { "idle" } }
      local ok, err = cluster.reload { ready_timeout = 300 }
      say(ok, err ~= nil and err.code ~= nil)
      await(function() return ids() == "1 2" end)
      say(pids() == before, ids())
      say(tonumber((get(port))) ~= nil)
      down()]], "if ... ~= 'idle' then serve_http() end"))

  it("takes a new one that listens nowhere, if it says that it is ready", says({
    "true 2" }, PRIMARY .. [[
      up(1)
      cluster.setup_primary { args = { "idle" } }
      say(cluster.reload(), ids())
      down()]], [[
      if ... == "idle" then cluster.worker:ready() else serve() end]]))

  it("waits for another that is under way", says({
    "true true", "true" }, PRIMARY .. [[
      up(2)
      local seen, first = {}, nil
      cluster.on("fork", function(worker) seen[worker.id] = true end)
      first = orrery.go(cluster.reload)
      local second = orrery.go(cluster.reload)
      say(first:join(), second:join())
      say(ids() == "5 6" and seen[3] and seen[6] or ids())
      down()]], "serve_http()"))

  it("counts on a worker that dies meanwhile, old or new", says({
    "true 2" }, PRIMARY .. [[
      local _, workers = up(2)
      local killed
      cluster.on("listening", function()
        if killed then return end
        killed = true
        workers[1]:kill "SIGKILL"
      end)
      local ok = cluster.reload()
      local count = 0
      for _ in pairs(cluster.workers) do count = count + 1 end
      say(ok, count)
      down()]], "serve_http()"))

  it("closes what is left of the old ones at drain_timeout", says({
    "1", "true 2", "closed" }, PRIMARY .. [[
      local at, workers = up(1)
      local answers, sockets = hold(at, 1)
      say(answers[1])
      say(cluster.reload { drain_timeout = 100 }, ids())
      local text, err = sockets[1]:read_all(10000)
      say((text or err.code == "ECONNRESET") and "closed" or err)
      assert(workers[1]:is_dead())
      down()]], "serve_open()"))

  it("is true where there is nothing to replace", says({ "true nil" }, [[
    local ok = cluster.reload()
    say(ok, next(cluster.workers))]]))

  it("takes options and settings as they are by then", says({
    "new 2" }, PRIMARY .. [[
      local at = up(1)
      cluster.setup_primary { args = { "new" } }
      cluster.reload()
      say((get(at)))
      down()]], [[
      local word = (...) or "old"
      serve_http(function(_, res)
        res:finish(word .. " " .. cluster.worker.id)
      end)]]))
end)

for _, policy in ipairs { "least", "rr", "shared", "reuseport" } do
  describe("cluster.reload by the policy " .. policy, function()
    it("fails no request of clients that never repeat", says({
      "0 true", "0 0", "true" }, PRIMARY .. [[
        cluster.scheduling_policy = "]] .. policy .. [["
        up(2)
        local before = pids()
        local finish = begin_to_ask(6)
        local kept, over, bad, told = {}, false, 0, 0
        for i = 1, 6 do
          kept[i] = orrery.go(function()
            local one = client(port)
            while not over do
              local body, head = one:get()
              if not body then
                bad = bad + 1
                return
              end
              if head:lower():find("connection: close", 1, true) then
                told = told + 1
                return one:close()
              end
              orrery.sleep(i)
            end
            one:close()
          end)
        end
        for _ = 1, 3 do assert(cluster.reload()) end
        over = true
        for _, one in ipairs(kept) do one:join() end
        local failed, all = finish()
        say(failed, all > 0)
        say(bad, told)
        say(pids() ~= before)
        down()]], "serve_http()"))
  end)
end
