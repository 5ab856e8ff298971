--- The program that `fork` starts an interpreter with: takes the search paths
--- over from ORRERY_FORK and runs the script, as `orrery` does.

local jit = rawget(_G, "jit") -- of LuaJIT, which says that it is Lua 5.1
if _VERSION < "Lua 5.4" then
  io.stderr:write("orrery: fork needs Lua 5.4 or later, this is ",
    jit and jit.version or _VERSION, "\n")
  os.exit(1)
end

collectgarbage("stop") -- until the script runs: nothing of what is loaded goes
local paths = os.getenv("ORRERY_FORK") or ""
local path, cpath = paths:match("^([^\n]*)\n(.*)$")
if not path then error("orrery.forked is for orrery.fork to run", 0) end

-- The core, which opens fds 0 to 2 if they are closed, comes before luv. Both
-- are no Lua files, for which all of `path` would be searched.
package.path, package.cpath = "", cpath
local core = require "orrery.core"
require "luv".os_unsetenv("ORRERY_FORK")
package.path = path
table.insert(package.searchers, 2, core.bytecode(arg[0]:match("^(.*/)[^/]*/")))
require "orrery.cli.main".main(arg)
