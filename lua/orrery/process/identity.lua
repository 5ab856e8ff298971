--- Who and where this process is, by name: each function computes a property of
--- the process module, which keeps it.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local started = require "orrery.runtime.started"

local identity = {}

local ARCHITECTURES = { x86_64 = "x64", aarch64 = "arm64" } -- Node's names

local function directory(path)
  return path:match("^(.*)/[^/]*$") or "."
end

--- Returns a path of the command line as it was at the start; the path as it is
--- if that folder was not there any more.
local function absolute(path)
  if path:sub(1, 1) == "/" or not started.cwd then return path end
  return started.cwd .. "/" .. (path:gsub("^%./", ""))
end

function identity.pid() return core.process():pid() end

function identity.argv() return rawget(_G, "arg") or {} end

--- Computes the interpreter's words before the script.
function identity.exec_argv()
  local list, words = {}, rawget(_G, "arg") or {}
  local first = 0
  while words[first - 1] do first = first - 1 end
  for i = first + 1, -1 do list[#list + 1] = words[i] end
  return list
end

function identity.exec_path() return started.exec_path end

function identity.platform() return "linux" end

function identity.arch()
  local machine = uv.os_uname().machine
  return ARCHITECTURES[machine] or machine
end

function identity.version() return "v" .. require "orrery.runtime.version" end

function identity.versions()
  return {
    orrery = require "orrery.runtime.version",
    lua = _VERSION:match("[%d.]+"),
    libuv = uv.version_string(),
  }
end

--- Computes the absolute path of the script; nil if there is none.
--- @param process table the process module
function identity.script(process)
  local script = process.argv[0]
  return script and absolute(script)
end

--- Computes the folder of the script, or the one that this process
--- was started in if there is none.
--- @param process table the process module
function identity.script_dir(process)
  local script = process.script
  if not script then return started.cwd end
  local dir = directory(script)
  return uv.fs_realpath(dir ~= "" and dir or "/") or dir
end

return identity
