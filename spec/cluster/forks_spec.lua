--- What cluster.fork takes, and what the functions of a cluster refuse.

local fixture = require "spec.fixture.cluster"

local says = fixture.says

describe("cluster.fork", function()
  it("ours does better 29: has options for one worker alone", says({
    "one x / nil", "two nil nil true", "0 nil" }, [[
      local here = process.cwd()
      local function show(worker)
        local m = worker:wait_for("message", 10000)
        say(m.word, m.arg, m.cwd ~= here and m.cwd or nil, m.same)
      end
      show(fork({ WORD = "one" }, { args = { "x" }, cwd = "/" }))
      show(fork({ WORD = "two" }))
      say(#cluster.settings.args, cluster.settings.cwd)
      down()]], [[
      local cwd = process.cwd()
      process.send { word = process.env.WORD, arg = (...),
        cwd = cwd, same = cwd ~= "/" or nil }]]))

  it("ours does better 29: has those of spawn, too", says({
    "out", "5 100" }, [[
      local worker = fork(nil, { silent = true, nice = 5,
        rlimits = { nofile = 100 } })
      local m = worker:wait_for("message", 10000)
      worker:disconnect()
      say((worker.process.stdout:read_all():gsub("\n", "")))
      worker.process.stderr:destroy()
      say(m[1], m[2])
      await_none()]], [[
      print "out"
      local nice, limit
      local file = io.open "/proc/self/stat"
      nice = file:read("a"):match("%) " .. ("%S+ "):rep(16) .. "(%S+)")
      file:close()
      for line in io.lines "/proc/self/limits" do
        limit = line:match "^Max open files%s+(%d+)" or limit
      end
      process.send { nice, limit }]]))

  it("ours does better 29: has another script for one worker", says({
    "another 1", "2" }, [[
      local path = os.tmpname()
      local file = io.open(path, "w")
      file:write("local o = require 'orrery' ",
        "o.process.send('another ' .. o.cluster.worker.id)")
      file:close()
      say((fork(nil, { exec = path }):wait_for("message", 10000)))
      say((fork():wait_for("message", 10000)))
      down()
      os.remove(path)]], "process.send(cluster.worker.id)"))

  it("does not change what it is given", says({ "1 1 nil" }, [[
    local env, options = { A = "a" }, { args = { "x" } }
    fork(env, options)
    local function count(t)
      local n = 0
      for _ in pairs(t) do n = n + 1 end
      return n
    end
    say(count(env), count(options), env.B)
    down()]]))

  it("is a worker that ends if its program cannot start", says({
    "error ENOENT", "none" }, [[
      local worker = fork(nil, { exec_path = "/no/such/program" })
      worker:on("error", function(err) say("error", err.code) end)
      await_none()
      say(next(cluster.workers) or "none")]]))
end)

-- Misuse ----------------------------------------------------------------------

--- For a primary: says whether a message has these words.
local SAYS = [[
  local function check(text, ...)
    for _, words in ipairs { ... } do
      if not text:find(words, 1, true) then
        return say("not in it:", words, ":", text)
      end
    end
    say "good"
  end ]]

describe("a cluster's function", function()
  it("raises for unknown options, and names the nearest", says({
    "good", "good", "good", "good", "nil" }, SAYS .. [[
      check(raised(cluster.fork, {}, { slient = true }), "slient", "silent")
      check(raised(cluster.setup_primary, { exe = "x" }), "exe", "exec")
      check(raised(cluster.reload, { ready_timout = 5 }), "ready_timout",
        "ready_timeout")
      check(raised(cluster.fork, {}, { polcy = "rr" }), "polcy")
      say(next(cluster.workers))]]))

  it("raises for what it cannot take, and starts nothing", says({
    "good", "good", "good", "good", "good", "good", "good", "good", "good",
    "good", "good", "nil" }, SAYS .. [[
      local setup = cluster.setup_primary
      check(raised(cluster.fork, 5), "environment")
      check(raised(cluster.fork, { A = {} }), "A")
      check(raised(cluster.fork, {}, 5), "options must be a table")
      check(raised(setup, 5), "must be a table")
      check(raised(setup, { credit = 0 }), "credit")
      check(raised(setup, { stall = -1 }), "stall")
      check(raised(setup, { move = 1 }), "move")
      check(raised(setup, { serialization = "advanced" }), "serialization",
        "msgpack")
      check(raised(cluster.scale, -1), "scale")
      check(raised(cluster.reload, { surge = 0 }), "surge")
      check(raised(cluster.disconnect, 5), "callback")
      say(next(cluster.workers))]]))

  it("raises in a worker, and names is_primary", says({
    "good", "good", "good", "good", "good", "good" }, [[
      fork():wait_for("message", 10000)
      down()]], SAYS .. [[
      for _, name in ipairs { "fork", "setup_primary", "setup_master",
        "disconnect", "scale", "reload" } do
        check(raised(cluster[name], name == "scale" and 1 or nil),
          "is_primary")
      end
      process.send "done"]]))

  it("may be called with a colon", says({ "worker 1: none", "1", "done" }, [[
    say(cluster:fork())
    local worker = cluster.workers[1]
    cluster:on("exit", function(w) say(w.id) end)
    worker:wait_for("online", 10000)
    cluster:disconnect()
    await_exit(worker)
    say "done"]]))

  it("checks the deadline of a worker", says({
    "good", "good" }, SAYS .. [[
      local worker = fork()
      check(raised(worker.disconnect, worker, -1), "disconnect", "deadline")
      check(raised(worker.disconnect, worker, "soon"), "deadline")
      down()]]))
end)
