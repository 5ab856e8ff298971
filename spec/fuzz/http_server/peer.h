/* peer.h - the clients of the fuzz target http_server: they send what the input
   says, and check what they are answered. */
#ifndef ORR_FUZZ_PEER_H
#define ORR_FUZZ_PEER_H

#include "../fuzz.h"
#include "engine/buffer.h"
#include "http/message.h"

/* The header that tells answers by number, in the order of their requests; an
   'h' behind the number: the answer is to HEAD. */
#define MARK "N"

struct peer {
  int fd; /* -1: it is not connected */
  struct orr_http_parser parser;
  struct orr_http_fields fields;
  struct orr_buffer in; /* received, and not parsed so far */
  unsigned long mark;   /* of the answer that came last */
  bool last, over;      /* this answer is the last one; it has come */
  bool blind;           /* what comes is not looked at any more */
};

/* Makes it one that is connected by a socket, which it owns. */
void peer_connect(struct peer *peer, int fd);

/* Closes it. What it has not read makes that a reset. */
void peer_close(struct peer *peer);

/* Sends a part of a request that is often met, or bytes of the input. */
void peer_send_piece(struct peer *peer, struct input *input);
void peer_send_bytes(struct peer *peer, struct input *input);

/* Reads what has come, and checks that these are answers in order. Returns
   whether there was something. */
bool peer_read(struct peer *peer);

#endif
