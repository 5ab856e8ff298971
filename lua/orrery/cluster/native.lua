--- What of clusters is done in C, in a library of its own, which is loaded by
--- processes that are of one, and by no others.

local path = package.searchpath("orrery.cluster", package.cpath)
if not path then error("orrery.cluster was not built: build again", 0) end
local open, problem = package.loadlib(path, "luaopen_orrery_cluster")
if not open then error("orrery.cluster cannot be loaded: " .. problem, 0) end

--- Which worker gets a connection; see core/cluster/primary.c.
--- @class ClusterPrimary
--- @field set fun(self, credit: integer, stall: integer)
--- @field add fun(self, id: integer): integer?, integer the fds for a worker
--- @field remove fun(self, id: integer)
--- @field load fun(self, id: integer): integer, integer, integer, boolean
--- @field send_listening fun(self, id: integer, request: integer, fd: integer)
--- @field open fun(self, service: integer, fd: integer, policy: string)
--- @field shut fun(self, service: integer)
--- @field join fun(self, id: integer, service: integer)
--- @field leave fun(self, id: integer, service: integer)

--- A worker's end; see core/cluster/worker.c.
--- @class ClusterWorker
--- @field serve fun(self, service: integer, taker: function|userdata)
--- @field leave fun(self, service: integer)
--- @field count fun(self, by: integer)
--- @field load fun(self): userdata, userdata
--- @field limit fun(self, most: integer?)
--- @field go_on fun(self)

--- @class ClusterNative
--- @field primary fun(set, ask: function, on_broken: function): ClusterPrimary?
--- @field worker fun(socket: integer, page: integer, set, on_socket: function):
---   ClusterWorker?

--- @type ClusterNative
return open("orrery.cluster", path)
