--- UDP sockets, as Node's dgram: `dgram.create_socket`, class `dgram.Socket`.
--- They lie beside the stream sockets, with which they have much in common.

return require "orrery.net.datagram"
