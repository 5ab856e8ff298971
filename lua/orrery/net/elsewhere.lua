--- Where servers and datagram sockets listen that do not have a socket of their
--- own: in a worker of a cluster its primary has them. The cluster fills in
--- `road`; nobody else is asked.

local elsewhere = {}

--- What is asked: listen(server, target, ip, on_error, done) and bind(socket,
--- place, ip, done), whose done(err, …) gets a listener and the kind of its
--- sockets, or the orrery.fd of a bound socket.
--- opened(server) is told of what listens here all the same.
--- @type {listen: function, bind: function, opened: function}?
elsewhere.road = nil

--- Tells whether a target is to be listened on elsewhere: not what is said to
--- be this process's alone, and no socket that it has.
--- @param target {exclusive: boolean?, reuse_port: boolean?, from: userdata?}
--- @return boolean
function elsewhere.wants(target)
  return elsewhere.road ~= nil
    and not (target.exclusive or target.reuse_port or target.from)
end

return elsewhere
