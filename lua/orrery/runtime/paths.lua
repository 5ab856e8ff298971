--- Makes those entries of package.path and package.cpath absolute that find
--- this library, when this module is loaded: what is loaded later is then found
--- from any folder. Other entries stay as they are. Is the folder of our
--- modules, "/…/orrery/".

-- The core comes before luv, which takes fds 0 to 2 if they are closed.
require "orrery.core"

local cwd = require "luv".cwd()

--- Returns a path as an absolute one; as it is if it is one already, or there
--- is no current folder.
local function absolute(path)
  if path:sub(1, 1) == "/" or not cwd then return path end
  return cwd .. "/" .. path:gsub("^%./", "")
end

--- Returns a search path in which each relative entry that finds one of the
--- modules is absolute.
local function mend(path, ...)
  local modules = { ... }
  return (path:gsub("[^;]+", function(entry)
    for _, module in ipairs(modules) do
      if package.searchpath(module, entry) then return absolute(entry) end
    end
  end))
end

local own = select(2, ...)
local folder = absolute(own:match("^(.*/)[^/]*/[^/]*$") or "")
package.path = mend(package.path, "orrery", "orrery.runtime.paths")
package.cpath = mend(package.cpath, "orrery.core")

-- runtime/options knows our modules by their folder, and may have been loaded
-- from it by the relative path.
local shared = require "orrery.core".shared
shared.roots = shared.roots or {}
shared.roots["@" .. folder] = true

return folder
