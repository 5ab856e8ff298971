--- The states of a channel's two directions, and which event leads where: the
--- tables that `Channel:go_` looks up. This file requires nothing.
---
--- An event that has no cell in a state changes nothing there. Whether the
--- channel is closed is a boolean of its own: it may be in any state by then.
local states = {}

--- What may still be sent.
---   open      messages are taken, and go out
---   broken    the peer takes no more; what it has sent is read up to its end
---   leaving   `disconnect` was called: no message is taken any more, what is
---             queued goes out, and what has come is being delivered
---   left      that is delivered; closed as soon as all is out or cannot go out
---
---   fail       a flush has failed for good. A channel that leaves need not
---              remember that: its next flush fails as well.
---   leave      `disconnect` was called
---   delivered  what had come by then has been delivered
states.sending = {
  open = { fail = "broken", leave = "leaving" },
  broken = { leave = "leaving" },
  leaving = { delivered = "left" },
  left = {},
}

--- What may still be read.
---   reading   what comes is read
---   paused    the inbox is full: nothing is read
---   gone      the peer has hung up: the rest is read, full as the inbox may be
---   ended     the rest has been read; closed in the next tick
---
---   full, room   of the inbox
---   gone         the poll tells that the peer has hung up
---   eof          the socket gave its end, or an error
states.receiving = {
  reading = { full = "paused", gone = "gone", eof = "ended" },
  paused = { room = "reading", gone = "gone", eof = "ended" },
  gone = { eof = "ended" },
  ended = {},
}

return states
