--- Another program in the place of this one, in the same process.

local argv = require "orrery.runtime.argv"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local variables = require "orrery.runtime.variables"

local image = {}

local execve = require "orrery.core".image().execve

--- Replaces this program by another one, as execve(2) does: the pid stays, and
--- so do fds 0 to 2, the folder, the mask of files and the children. All else
--- that Orrery has opened is closed, the channel to the parent as well. What C
--- has buffered is written before; no `exit` is emitted. The new program has
--- the default of SIGPIPE, and the limit of open files that we started with.
--- @param file string a path; it is not looked for in PATH
--- @param args (string|number)[]? without argv[0], which is `file`
--- @param env table<string, string|number|boolean>? ours if nil
--- @return nil
--- @return Error err (ENOENT, EACCES, ENOEXEC, E2BIG)
function image.execve(file, args, env)
  options.argument("execve", "the file", file, options.checks.string)
  if env ~= nil and type(env) ~= "table" then
    options.raise("execve: the environment must be a table, got %s",
      options.got(env))
  end
  local _, errno = execve(file, argv.of("execve", file, args, 1),
    variables.list("execve", { env = env }))
  return nil, errors.system(errno, "execve", { path = file })
end

return image
