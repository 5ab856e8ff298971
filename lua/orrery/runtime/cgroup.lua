--- Finds the control groups (cgroups(7)) that this process is in, by the two
--- files that tell it: which group of each hierarchy, and where those are
--- mounted.

local cgroup = {}

--- Calls fn(line) for the lines of a file, until it returns something, which is
--- returned; nil if there is no such file.
local function find_line(path, fn)
  local file <close> = io.open(path, "rb")
  if not file then return nil end
  for line in file:lines() do
    local found = fn(line)
    if found then return found end
  end
end

--- Tells whether a list "a,b,c" has a word.
local function has_word(list, word)
  return (("," .. list .. ","):find("," .. word .. ",", 1, true)) ~= nil
end

--- Undoes how mountinfo writes blanks and the like: as a backslash and three
--- octal digits.
local function unescape(path)
  return (path:gsub("\\(%d%d%d)", function(digits)
    return string.char(tonumber(digits, 8))
  end))
end

--- Returns the mount of version 2, or of the version 1 hierarchy that has a
--- controller: its root inside the hierarchy, and its folder.
local function mount_of(controller)
  return find_line("/proc/self/mountinfo", function(line)
    local root, dir, kind, super = line:match(
      "^%d+ %d+ %S+ (%S+) (%S+) .- %- (%S+) %S+ (%S+)$")
    local wanted = kind == "cgroup2" and not controller
      or kind == "cgroup" and controller and has_word(super, controller)
    return wanted and { root = unescape(root), dir = unescape(dir) } or nil
  end)
end

--- Returns the name of our group in that hierarchy, from its root.
local function group_of(controller)
  return find_line("/proc/self/cgroup", function(line)
    local id, controllers, name = line:match("^(%d+):([^:]*):(.*)$")
    local wanted = not controller and id == "0" and controllers == ""
      or controller and controllers and has_word(controllers, controller)
    return wanted and name or nil
  end)
end

--- Returns the folder of the group that this process is in.
--- @param controller string? of version 1: "memory"; nil is version 2
--- @return string? dir nil if it cannot be seen: there is no such hierarchy, or
---   the group lies outside of what is mounted
--- @return string? top the folder of the hierarchy, which `dir` begins with
function cgroup.own(controller)
  local mount, name = mount_of(controller), group_of(controller)
  if not mount or not name then return nil end
  local root = mount.root == "/" and "" or mount.root
  local below = name == "/" and "" or name
  if (below .. "/"):sub(1, #root + 1) ~= root .. "/" then return nil end
  return mount.dir .. below:sub(#root + 1), mount.dir
end

return cgroup
