--- Many processes behind one port, as Node's cluster: a primary forks workers,
--- which listen where it does. The same module is either side: `is_primary`
--- says which; a script that is the program of both asks that first.

local identity = require "orrery.cluster.identity"

if identity.id then return require "orrery.cluster.member" end
return require "orrery.cluster.primary"
