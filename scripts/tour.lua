-- A tour: checks each source file of this project with a real tool, a few at a
-- time, beside one command that fails and one that hangs and is stopped.
-- Prints a table: how each ended, its wall time, CPU time and peak memory.

local orrery = require "orrery"
local uv = require "luv"

local process = orrery.process
local root = process.script_dir .. "/.."
-- Tools at the same time, and ms for the one that hangs.
local LIMIT = tonumber(process.env.TOUR_LIMIT) or 3
local PATIENCE = tonumber(process.env.TOUR_PATIENCE) or 1500

--- Returns the files of a folder, and of those in it, that end in `suffix`,
--- sorted.
local function files(folder, suffix, list)
  list = list or {}
  local scan = assert(uv.fs_scandir(root .. "/" .. folder))
  for name, kind in uv.fs_scandir_next, scan do
    local path = folder .. "/" .. name
    if kind == "directory" then
      files(path, suffix, list)
    elseif name:sub(-#suffix) == suffix then
      list[#list + 1] = path
    end
  end
  table.sort(list)
  return list
end

--- Returns all jobs: one for each file, one that fails, and one that hangs.
local function jobs()
  local list = {}
  local function add(name, command, timeout)
    list[#list + 1] = { name = name, command = command, timeout = timeout }
  end
  add("a command that fails", { "cat", "/does/not/exist" })
  add("a command that hangs", { "sleep", "1000" }, PATIENCE)
  for _, file in ipairs(files("core", ".c")) do
    add("cc " .. file, { "cc", "-std=c11", "-D_GNU_SOURCE", "-Icore",
      "-I/usr/include/lua5.4", "-fsyntax-only", file })
  end
  for _, file in ipairs(files("lua/orrery", ".lua")) do
    add("luacheck " .. file, { "luacheck", "--quiet", file })
  end
  return list
end

--- Writes peak memory, after a "<" if only a bound is known (max_rss_exact).
local function megabytes(usage)
  return ("%s%.1f MB"):format(usage.max_rss_exact and "" or "<",
    usage.max_rss / 1e6)
end

local function row(job, result)
  if not result.usage then
    return { job.name, "could not start: " .. result.message }
  end
  local ended = result.signal or ("exit " .. result.code)
  if result.timed_out then ended = ended .. ", timed out" end
  return { job.name, ended, ("%.0f ms"):format(result.duration),
    ("%.0f ms"):format((result.usage.user + result.usage.system) / 1000),
    megabytes(result.usage) }
end

--- Prints columns as wide as their widest entry, the first two to the left.
local function print_table(rows)
  local widths = {}
  for _, cells in ipairs(rows) do
    for i, cell in ipairs(cells) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, cells in ipairs(rows) do
    local line = {}
    for i, cell in ipairs(cells) do
      line[i] = ("%" .. (i <= 2 and "-" or "") .. widths[i] .. "s"):format(cell)
    end
    print((table.concat(line, "  "):gsub("%s+$", "")))
  end
end

--- Shows how far we are in a line that is overwritten, if stdout is a terminal.
local function progress(done, total, name)
  if not process.stdout.is_tty then return end
  process.stdout:write(("\r\27[K[%d/%d] %s"):format(done, total, name or ""))
  if not name then process.stdout:write("\r\27[K") end
end

local list, started, done = jobs(), 0, 0
local rows = { { "what", "ended", "wall", "CPU", "memory" } }

--- Runs one job after the other until none is left.
local function worker()
  while started < #list do
    started = started + 1
    local place, job = started, list[started]
    progress(done, #list, job.name)
    local result, err = orrery.run(job.command,
      { cwd = root, timeout = job.timeout })
    done = done + 1
    rows[place + 1] = row(job, result or err)
  end
end

local before = process.hrtime_ns()
local workers = {}
for i = 1, LIMIT do workers[i] = worker end
orrery.all(workers)
progress(done, #list)

print_table(rows)
print(("%d tools, %d at a time, in %.1f s"):format(#list, LIMIT,
  (process.hrtime_ns() - before) / 1e9))
