--- UDP and Unix datagram sockets, as Node's dgram.

return require "orrery.net.datagram"
