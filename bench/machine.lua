--- The machine that a figure was measured on, and the versions of what was.

local harness = require "bench.harness"
local contenders = require "bench.contenders"

local machine = {}

local function read(path)
  local file <close> = io.open(path)
  return file and file:read("a") or ""
end

local function mib_of(name)
  local kib = read("/proc/meminfo"):match(name .. ":%s*(%d+)")
  return kib and tonumber(kib) // 1024
end

--- Returns how much memory a program could still have.
--- @return integer? MiB nil if the kernel does not tell
function machine.available_memory()
  return mib_of "MemAvailable"
end

--- Returns the place where cgroup v2 is mounted.
--- @return string? path nil if this user may make no cgroup there, or if the
---   kernel cannot kill one at once
function machine.cgroup()
  local path = read("/proc/self/mountinfo")
    :match("%d+ %d+ [%d:]+ %g+ (%g+)[^\n]* %- cgroup2 ")
  if path and harness.output(("d=%s/bench.$$; mkdir $d && ls $d/cgroup.kill; "
    .. "rmdir $d"):format(path)) ~= "" then
    return path
  end
end

--- Returns how many processes wanted a core in the last minute, on average.
--- @return number load 0 if the kernel does not tell
function machine.load()
  return tonumber(read("/proc/loadavg"):match("^%S+")) or 0
end

--- Returns CPU, cores, memory and kernel in one line.
--- @return string
function machine.describe()
  local cpu = read("/proc/cpuinfo"):match("model name%s*:%s*([^\n]+)")
    or harness.output "uname -m"
  return ("%s, %s cores, %.0f GiB, Linux %s"):format(cpu,
    harness.output "nproc", (mib_of "MemTotal" or 0) / 1024,
    harness.output "uname -r")
end

--- Returns the first thing in a program's words that looks like a version; nil
--- if there is no such program.
local function version(program, option)
  local text = program and harness.output(program .. " " .. option)
  return text and text:match("%d+%.[%w.+-]*%w")
end

--- Returns the versions of all that takes part and is there, at most two
--- lines: "cc 12.2.0, lua 5.4.4 …".
--- @return string
function machine.versions()
  local has, uv = pcall(require, "luv")
  local is = contenders.programs
  local parts = {}
  for _, one in ipairs {
    { "cc", version(os.getenv("CC") or "cc", "-dumpfullversion") },
    { "go", version(os.getenv("GO") or "go", "version") },
    { "lua", version(is.lua, "-v") },
    { "luv", version("dpkg-query", "-W -f '${Version}' lua-luv") },
    { "libuv", has and uv.version_string() },
    { "node", version(is.node, "--version") },
    { "bun", version(is.bun, "--version") },
    { "python", version(is.python, "--version") },
  } do
    if one[2] then parts[#parts + 1] = one[1] .. " " .. one[2] end
  end
  return (table.concat(parts, ", "):gsub(", node", ",\nnode"))
end

return machine
