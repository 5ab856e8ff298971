--- Makes those entries of package.path and package.cpath absolute that find
--- this library, when this module is loaded: what is loaded later is then found
--- from any folder. Other entries stay as they are.

-- The core comes before luv, which takes fds 0 to 2 if they are closed.
require "orrery.core"

local cwd = require "luv".cwd()

--- Returns a search path in which each relative entry that finds one of the
--- modules is absolute.
local function absolute(path, ...)
  local modules = { ... }
  return (path:gsub("[^;]+", function(entry)
    if entry:sub(1, 1) == "/" then return nil end
    for _, module in ipairs(modules) do
      if package.searchpath(module, entry) then
        return cwd .. "/" .. entry:gsub("^%./", "")
      end
    end
  end))
end

if cwd then
  package.path = absolute(package.path, "orrery", "orrery.runtime.paths")
  package.cpath = absolute(package.cpath, "orrery.core")
end
return true
