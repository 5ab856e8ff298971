/* channel.c - opens and closes channels: see channel.h for the format. What is
   sent and what is received is the business of channel_send.c and
   channel_receive.c. */
#include "channel.h"

#include "channel_halves.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void orr_channel_open(struct orr_channel *channel, int fd,
                      enum orr_framing framing, size_t max_message) {
  memset(channel, 0, sizeof *channel);
  channel->fd = fd;
  channel->framing = framing;
  channel->max_message =
      max_message < UINT32_MAX - 64 ? max_message : UINT32_MAX - 64;
  channel->pending_fd = channel->given = -1;
}

void orr_channel_hang_up(const struct orr_channel *channel) {
  if (channel->fd >= 0)
    shutdown(channel->fd, SHUT_RDWR);
}

void orr_channel_close(struct orr_channel *channel) {
  if (channel->fd >= 0)
    close(channel->fd);
  channel->fd = -1;
  orr_channel_drop_input(channel);
  orr_channel_drop_output(channel);
}
