--- Changing the workers of a cluster while it serves: another number of them,
--- or new ones in place of all.

local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local READY, DRAIN, OVERTIME = 10000, 10000, 5000 -- ms
local GRACE = 1000 -- ms from SIGTERM to SIGKILL, of new workers

local NEWS = { "online", "listening", "ready_", "exit", "error" }

local rolling = {}

local checks = options.checks

local reload_options = {
  ready_timeout = checks.ms,
  drain_timeout = checks.ms,
  surge = options.integer(1, 4096),
}

local turns = {} -- functions that wake those who wait for their turn
local busy = false

--- Runs fn as the only change of the cluster at a time. [w]
local function alone(what, fn)
  if busy then
    scheduler.wait(function(wake)
      local turn = wake
      table.insert(turns, turn)
      return function()
        for i, other in ipairs(turns) do
          if other == turn then return table.remove(turns, i) end
        end
      end
    end, nil, what)
  end
  busy = true
  local results = table.pack(pcall(fn))
  busy = false
  local following = table.remove(turns, 1)
  if following then following(true) end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- Returns the workers that are to stay, the oldest first.
local function staying(cluster)
  local list = {}
  for _, worker in pairs(cluster.workers) do
    if not worker.leaving_ then list[#list + 1] = worker end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

-- Ready ----------------------------------------------------------------------

--- Tells whether a worker serves: it listens where its predecessor does, or has
--- said so. Who has none has listened to what its script asks for, if it does.
local function is_ready(worker, keys)
  if worker.ready_ then return true end
  for key in pairs(keys) do
    if not worker.keys_[key] then return false end
  end
  return next(keys) ~= nil or worker.settled_ or worker.state == "listening"
end

--- Waits until something happens to one of the workers, or the time is over.
--- [w]
local function await_news(workers, ms)
  if ms <= 0 then return end
  local entries, timer = {}, nil
  local function leave()
    timer:stop()
    for _, entry in ipairs(entries) do entry() end
  end
  scheduler.wait(function(wake)
    for _, worker in ipairs(workers) do
      for _, event in ipairs(NEWS) do
        entries[#entries + 1] = worker:on(event, function() wake(true) end)
      end
    end
    timer = clock.after(ms, function() wake(true) end)
    return leave
  end, nil, "cluster")
  leave()
end

--- Tells of a new worker that has failed.
local function failure(worker, ms)
  local how = ms and ("was not ready within %d ms"):format(ms)
    or "ended before it was ready"
  return errors.new(ms and "ETIMEDOUT" or "ERR_CLUSTER_RELOAD",
    ("worker %d %s: the others serve on"):format(worker.id, how),
    { worker = worker })
end

--- Starts workers one after the other, at most `surge` of them not yet ready at
--- a time, and waits until all are. Returns true; nil, err. All that were
--- started are in `all`. [w]
local function start_until_ready(all, starts, surge, ms)
  local pending, at = {}, 1
  while at <= #starts or #pending > 0 do
    while at <= #starts and #pending < surge do
      local worker = starts[at]()
      worker.due_, worker.is_new_ = clock.now() + ms, true
      all[#all + 1], pending[#pending + 1] = worker, worker
      at = at + 1
    end
    local due = math.maxinteger
    for i = #pending, 1, -1 do
      local worker = pending[i]
      if worker.state == "dead" then return nil, failure(worker) end
      if is_ready(worker, worker.wanted_) then
        worker.is_new_ = false
        table.remove(pending, i)
      elseif clock.now() >= worker.due_ then
        return nil, failure(worker, ms)
      else
        due = math.min(due, worker.due_)
      end
    end
    if #pending > 0 then await_news(pending, due - clock.now()) end
  end
  for _, worker in ipairs(all) do
    if worker.state == "dead" then return nil, failure(worker) end
  end
  return true
end

--- The same; all are killed if the task is cancelled meanwhile. Returns the
--- list; nil, err, and the list. [w]
local function start_all(...)
  local all = {}
  local finished, ok, err = pcall(start_until_ready, all, ...)
  if finished then return ok and all, err, all end
  for _, worker in ipairs(all) do
    worker.leaving_ = true
    worker.process:kill_tree("SIGKILL")
  end
  error(ok, 0)
end

--- Waits until a worker has ended, which is killed if it takes too long. [w]
local function await_end(worker, ms)
  if worker.state == "dead" then return end
  if worker:wait_for("exit", ms) == nil and worker.state ~= "dead" then
    worker.process:kill("SIGKILL")
    worker:wait_for("exit", OVERTIME)
  end
end

--- Has workers leave, and waits until they have. [w]
local function end_all(list, drain)
  for _, worker in ipairs(list) do worker:disconnect(drain) end
  for _, worker in ipairs(list) do await_end(worker, drain + OVERTIME) end
end

--- Stops new workers that are not to stay: one that serves already leaves, with
--- its connections. [w]
local function stop_new(list, drain)
  local serving = {}
  for _, worker in ipairs(list) do
    if next(worker.services_) then
      serving[#serving + 1] = worker
    else
      worker.leaving_ = true
      worker.process:stop { grace = GRACE }
    end
  end
  end_all(serving, drain)
end

-- Reload ---------------------------------------------------------------------

--- Starts a new worker for each, as it was started, and has the old ones leave
--- once all new ones are ready. If one of those ends before, or is not ready in
--- time, all new ones are stopped, and the old ones serve on. A second call
--- waits for the first. [w]
--- @param cluster Cluster
--- @param opts {ready_timeout: integer?, drain_timeout: integer?, surge:
---   integer?}? ms (10000) that a new one may take to be ready; ms (10000) that
---   an old one has for what is in progress; how many start at a time (1)
--- @return true? ok once the old ones have ended
--- @return Error? err (ETIMEDOUT; ERR_CLUSTER_RELOAD: one ended), `worker`
function rolling.reload(cluster, opts)
  opts = options.check("cluster.reload", opts, reload_options)
  return alone("cluster.reload", function()
    local old, starts = staying(cluster), {}
    for i, worker in ipairs(old) do
      starts[i] = function()
        local new = cluster:start_(worker.env_, worker.own_, worker.slot_)
        new.wanted_ = options.copy(worker.keys_)
        return new
      end
    end
    local new, err, begun = start_all(starts, opts.surge or 1,
      opts.ready_timeout or READY)
    if not new then
      stop_new(begun, opts.drain_timeout or DRAIN)
      for _, worker in ipairs(old) do
        cluster.slots_[worker.slot_] = worker
      end
      return nil, err
    end
    end_all(old, opts.drain_timeout or DRAIN)
    return true
  end)
end

-- Scale ----------------------------------------------------------------------

--- Returns the addresses that all of the workers listen on.
local function common_keys(list)
  local keys = list[1] and options.copy(list[1].keys_) or {}
  for _, worker in ipairs(list) do
    for key in pairs(keys) do
      if not worker.keys_[key] then keys[key] = nil end
    end
  end
  return keys
end

--- Starts or ends workers until there are so many; the youngest leave first.
--- Waits until new ones are ready, and others have ended. [w]
--- @param cluster Cluster
--- @param count integer 0 or more
--- @return true? ok
--- @return Error? err as reload's; there are as many as before then
function rolling.scale(cluster, count)
  options.argument("cluster.scale", "the count", count,
    options.integer(0, 65536))
  return alone("cluster.scale", function()
    local list = staying(cluster)
    local keys, starts = common_keys(list), {}
    for i = #list + 1, count do
      starts[i - #list] = function()
        local new = cluster.fork()
        new.wanted_ = keys
        return new
      end
    end
    local new, err, begun = start_all(starts, #starts, READY)
    if not new then
      stop_new(begun, DRAIN)
      return nil, err
    end
    local leaving = {}
    for i = #list, count + 1, -1 do leaving[#leaving + 1] = list[i] end
    end_all(leaving, DRAIN)
    return true
  end)
end

return rolling
