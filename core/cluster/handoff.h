/* handoff.h - the socket between the primary of a cluster and a worker, over
   which go connections, both ways, and listening sockets. One message is a
   kind, an id and some fds, and is received as a whole or not at all, so that
   each fd has one owner. Engine: no Lua. */
#ifndef ORR_CLUSTER_HANDOFF_H
#define ORR_CLUSTER_HANDOFF_H

#include <stdint.h>

enum { ORR_MOST_HANDED = 16 }; /* fds of one message */

enum orr_handed {
  ORR_CONNECTIONS, /* the id is a service's */
  ORR_LISTENING,   /* one socket; the id is that of who asked for it */
  ORR_PROBE        /* no fds: who takes it has moved */
};

struct orr_hand_off {
  uint32_t kind, id;
  int fds[ORR_MOST_HANDED];
  int count;
};

/* Makes the two ends of such a socket. 0 or -errno. */
int orr_hand_off_open(int ends[2]);

/* Sends a message; the fds are still the caller's. 0, or -errno: -EAGAIN, for
   the socket is full; -ETOOMANYREFS, for the user has too many fds under way;
   -EPIPE, for the other side has shut it. */
int orr_hand_off_send(int socket, const struct orr_hand_off *message);

/* Receives a message, whose fds are the caller's. 1; 0: there is none;
   -EMFILE: there are too few fds for it, and it stays there; -EPROTO: what was
   there is no such message, and is dropped; -EPIPE: the end. `scarce`: fds may
   be short, so that a message is looked at before it is taken. */
int orr_hand_off_receive(int socket, struct orr_hand_off *message,
                         _Bool scarce);

/* Closes the fds of a message. */
void orr_hand_off_close(struct orr_hand_off *message);

#endif
