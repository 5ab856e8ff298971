--- The file that a Unix socket makes where it is bound, and that is removed
--- with it; unless it has become another socket's, which has taken the path
--- over meanwhile.

local uv = require "orrery.runtime.luv"

local socket_file = {}

--- Notes the file at a path where a socket has just been bound.
--- @param path string
--- @return {path: string, ino: integer?, dev: integer?} file
function socket_file.at(path)
  local stat = uv.fs_stat(path) or {}
  return {
    path = uv.fs_realpath(path) or path, -- the process may chdir
    ino = stat.ino,
    dev = stat.dev,
  }
end

--- Removes the file, if it still is the one that was noted.
--- @param file table as `at` gives it
function socket_file.remove(file)
  local stat = uv.fs_stat(file.path)
  if stat and stat.ino == file.ino and stat.dev == file.dev then
    uv.fs_unlink(file.path)
  end
end

return socket_file
