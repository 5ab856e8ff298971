--- Loaded once by busted. Requires luv and the core first, and wraps every
--- test: one that leaves an fd, a child, a zombie, a handle or a callback of a
--- send behind fails.

local uv = require "luv"
local busted = require "busted"

warn("@on") -- errors in finalizers are printed

local helper = {}

local core = require "orrery.core"
local clock = require "orrery.runtime.clock"
local loop = require "orrery.runtime.loop"
local task = require "orrery.task"
local keeper = require "orrery.child_process.keeper"
local run = require "orrery.child_process.run"
local spawn = require "orrery.child_process.spawn".spawn

-- The sanitizer's library is for our own processes, not for sh and cat.
local preload = os.getenv("LD_PRELOAD")
if preload then uv.os_unsetenv("LD_PRELOAD") end

helper.interpreter = os.getenv("LUA") or "lua5.4"
helper.is_root = uv.getuid() == 0
helper.forced = os.getenv("ORRERY_FORCE")

local BUILD = os.getenv("ORRERY_BUILD") or "build"
local here = uv.cwd()
helper.orrery = here .. "/bin/orrery"

-- Names another luv, if the specs are to run on one (docs/platforms.md).
local outer_cpath = (os.getenv("LUA_CPATH") or ""):gsub(";*$", ";")

--- The environment that lets a plain lua5.4 find this tree's modules.
function helper.env(more)
  local env = {
    LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(here, here),
    LUA_CPATH = ("%s%s/%s/?.so;;"):format(outer_cpath, here, BUILD),
    LD_PRELOAD = preload,
  }
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

--- Makes the collector begin its next cycle at once, and hurry. Returns the
--- mode that it had.
function helper.collect_eagerly()
  if _VERSION == "Lua 5.4" then
    return collectgarbage("incremental", 50, 1000)
  end
  local mode = collectgarbage("incremental")
  collectgarbage("param", "pause", 50)
  collectgarbage("param", "stepmul", 1000)
  return mode
end

--- Runs the CLI to its end. [w]
function helper.cli(args, opts)
  opts = opts or {}
  opts.env_extend = helper.env(opts.env_extend)
  return assert(run.run(helper.orrery, args, opts))
end

--- Runs a script given as text by the CLI to its end; `process` and `orrery`
--- are there for it. [w]
function helper.script(code, opts)
  return helper.cli({ "-e", "local orrery = require 'orrery' "
    .. "local process = orrery.process " .. code }, opts)
end

--- The environment of a program in which luv leaks what is its own: the request
--- of a connect that is under way at the end, the handle of a poll that it
--- refuses. Nothing but the leaks of that program goes unseen.
helper.without_leak_check = { ASAN_OPTIONS = "detect_leaks=0" }

--- Runs a Lua program with plain lua5.4 to its end; behind the words of another
--- command, if `opts.behind` has them. [w]
function helper.lua(code, opts)
  opts = opts or {}
  opts.env_extend = helper.env(opts.env_extend)
  local argv = opts.behind or {}
  opts.behind = nil
  table.move({ helper.interpreter, "-e", code }, 1, 3, #argv + 1, argv)
  return assert(run.run(argv, opts))
end

--- helper.lua for another user, who may not be able to read this tree: from a
--- copy of the modules that everybody can read. [w]
function helper.lua_as(code, opts)
  local dir = run.sh("mktemp -d", { trim = true }).stdout
  local copy = ("cp -r lua '%s' && mkdir '%s/build' && "
    .. "cp -r '%s/orrery' '%s/build' && chmod -R a+rX '%s'")
  assert(run.sh(copy:format(dir, dir, BUILD, dir, dir)).ok)
  opts.cwd = "/"
  opts.env_extend = {
    LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(dir, dir),
    LUA_CPATH = outer_cpath .. dir .. "/build/?.so;;",
  }
  local result = helper.lua(code, opts)
  run.sh(("rm -rf '%s'"):format(dir))
  return result
end

--- Forks a script given as text, for which `process` and `orrery` are there.
--- @return Child
function helper.fork(code, opts, args)
  local path = helper.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local orrery = require 'orrery' ",
    "local process = orrery.process ", code)
  file:close()
  opts = opts or {}
  opts.env_extend = opts.env_extend or { LD_PRELOAD = preload }
  local child = require "orrery.child_process.fork".fork(path, args, opts)
  child:once("close", function() os.remove(path) end)
  return child
end

--- A process that holds the other end of a channel, and runs a Lua program that
--- has it as `peer`, an orrery.fd, and no more of Orrery than the core.
--- @return Child
function helper.raw_peer(code, opts)
  opts = opts or {}
  opts.stdio = { "ignore", "inherit", "inherit", "ipc" }
  opts.env_extend = helper.env()
  return spawn(helper.interpreter, { "-e",
    "local core = require 'orrery.core' "
    .. "local peer = core.adopt(3) " .. code }, opts)
end

--- Waits until a child is closed. [w]
function helper.await_close(child)
  if not child.is_closed_ then child:wait_for("close", 20000) end
end

--- Runs fn as a task on the loop, at most `ms`, and raises what it raises.
function helper.run(fn, ms)
  local t = task.go(fn)
  local ok, err = t:join(ms or 20000)
  if t.status == "running" then
    local trace = t.thread_ and debug.traceback(t.thread_) or ""
    t:cancel("the test's time is over")
    error("still waiting after the test's time\n" .. trace, 2)
  end
  return ok, err
end

--- Calls check() between turns of the loop until it is true, at most `ms`.
function helper.eventually(check, ms)
  local last = clock.now() + (ms or 15000)
  while not check() do
    if clock.now() > last then error("did not come true", 2) end
    task.sleep(1)
  end
end

--- Records what an emitter emits: a list of names, with `n` arguments each.
function helper.record(emitter, names)
  local log = {}
  for _, name in ipairs(names) do
    emitter:on(name, function(...) log[#log + 1] = { name, ... } end)
  end
  return log
end

function helper.names(log)
  local names = {}
  for i, entry in ipairs(log) do names[i] = entry[1] end
  return table.concat(names, " ")
end

--- A path for a file of the test's own; removed with `os.remove`.
function helper.tmpname()
  return os.tmpname()
end

-- Leaks -----------------------------------------------------------------------

--- The open fds of this process with what they are, but for the listing's own.
function helper.fds()
  local fds = {}
  local scan = uv.fs_scandir("/proc/self/fd")
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    fds[tonumber(name)] = uv.fs_readlink("/proc/self/fd/" .. name)
  end
  return fds
end

--- The parent and the state letter of a process; nil when there is none.
local function stat_of(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  if not file then return nil end
  local state, parent = (file:read("a") or ""):match("%) (%a) (%d+)")
  file:close()
  return tonumber(parent), state
end

--- Waits until a process has ended, reaped or not. [w]
function helper.await_end(pid)
  helper.eventually(function()
    local _, state = stat_of(pid)
    return state == nil or state == "Z"
  end)
end

--- The children of this process: pid → state letter.
function helper.children()
  local list, own = {}, uv.os_getpid()
  local scan = uv.fs_scandir("/proc")
  while true do
    local name = uv.fs_scandir_next(scan)
    if not name then return list end
    local pid = tonumber(name)
    local parent, state = stat_of(pid or "self")
    if pid and parent == own then list[pid] = state end
  end
end

local function handles()
  local list = {}
  uv.walk(function(handle)
    if not handle:is_closing() then list[tostring(handle)] = true end
  end)
  return list
end

--- Waits until what was begun is done that needs nobody's attention: the end
--- of families, and of their keepers.
local function await_keepers()
  local timer = uv.new_timer()
  timer:start(10000, 0, function() end)
  while keeper.are_leaving() and timer:is_active() do uv.run("once") end
  loop.close(timer)
end

--- Lets closing handles close and drops what only the collector holds.
local function settle()
  if keeper.are_leaving() then await_keepers() end
  for _ = 1, 3 do
    loop.turn(function() return true end)
    uv.run("nowait")
    collectgarbage()
  end
  uv.run("nowait")
end

local function added(before, after)
  local list = {}
  for key, what in pairs(after) do
    if before[key] == nil then
      list[#list + 1] = what == true and key or ("%s (%s)"):format(key, what)
    end
  end
  return list
end

--- What is there now: to be compared with later.
function helper.snapshot()
  settle()
  return { fd = helper.fds(), handle = handles() }
end

local function kill_stray(pid)
  core.process():kill(pid, 9)
  while core.reap() do end
end

--- What has been left behind since `before`, as a text; nil if nothing.
function helper.leaks(before)
  settle()
  local found = {}
  local function report(what, list)
    if #list > 0 then
      found[#found + 1] = ("%s: %s"):format(what, table.concat(list, ", "))
    end
  end
  report("fd", added(before.fd, helper.fds()))
  report("handle", added(before.handle, handles()))
  for pid, state in pairs(helper.children()) do
    report(state == "Z" and "zombie" or "child", { tostring(pid) })
    kill_stray(pid)
  end
  local counts = require "orrery.channel.callback".counts
  if counts.given ~= counts.called then
    report("callbacks of send that were not called",
      { tostring(counts.given - counts.called) })
    counts.given = counts.called
  end
  if uv.loop_alive() then report("loop", { "something keeps it alive" }) end
  return #found > 0 and table.concat(found, "; ") or nil
end

-- What lives as long as the process exists before the first test: the reaper's
-- fds, the timer, the prepare handle.
spawn("true", {}, { stdio = "ignore" }):wait()
task.sleep(1)
local polled <close> = core.socketpair()
require "orrery.runtime.poller".watch(polled:fileno(), print):close()
assert(keeper.open())
loop.close(uv.new_pipe(false)) -- libuv keeps an fd in reserve from then on

--- A test's function with the check behind it. What the test itself raises
--- comes first.
local function watched(fn)
  return function(...)
    local before = helper.snapshot()
    local results = table.pack(pcall(fn, ...))
    local leaks = helper.leaks(before)
    if not results[1] then error(results[2], 0) end
    if leaks then error("the test left something behind: " .. leaks, 0) end
    return table.unpack(results, 2, results.n)
  end
end
helper.watched = watched

busted.subscribe({ "test", "start" }, function(element)
  element.run = watched(element.run)
  return nil, true
end)

package.loaded["spec.helper"] = helper
return helper
