/* channel_halves.h - what channel.c, which opens and closes, knows of the two
   halves of a channel: channel_send.c and channel_receive.c, which know nothing
   of each other. Engine: no Lua. */
#ifndef ORR_CHANNEL_HALVES_H
#define ORR_CHANNEL_HALVES_H

#include "channel.h"

enum { ORR_KEPT = 256 * 1024 }; /* bytes of an idle buffer that are kept */

/* Frees what is queued, sent or not. */
void orr_channel_drop_output(struct orr_channel *channel);

/* Frees what has been received, and closes the fds that were not taken. */
void orr_channel_drop_input(struct orr_channel *channel);

#endif
