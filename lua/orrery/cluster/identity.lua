--- Whether this process is a worker: its primary says so in an environment
--- variable, which is taken out again, for it is not for our own children.

local core = require "orrery.core"
local uv = require "orrery.runtime.luv"

local shared = core.shared
if shared.cluster_identity then return shared.cluster_identity end

local NAME = "ORRERY_WORKER"

--- @class ClusterIdentity
--- @field id integer? of this worker; nil in a primary
--- @field socket integer? the number of the fd of its hand-off socket
--- @field page integer? and of its page
local identity = {}
shared.cluster_identity = identity

local id, socket, page = (os.getenv(NAME) or ""):match("^(%d+):(%d+):(%d+)$")
identity.id = math.tointeger(tonumber(id))
identity.socket = math.tointeger(tonumber(socket))
identity.page = math.tointeger(tonumber(page))
uv.os_unsetenv(NAME)

--- Returns the variable for a worker.
--- @param worker integer its id
--- @param socket_fd integer the worker's
--- @param page_fd integer
--- @return string name
--- @return string value
function identity.variable(worker, socket_fd, page_fd)
  return NAME, ("%d:%d:%d"):format(worker, socket_fd, page_fd)
end

return identity
