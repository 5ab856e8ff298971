/* fds.h - files to send, and proof that none of them leaks. */
#ifndef ORR_FUZZ_FDS_H
#define ORR_FUZZ_FDS_H

#include <stdbool.h>
#include <stddef.h>

enum { FILES = 4, MOST_HELD = 8192, MOST_FDS = 253 };

/* Opens the files that are sent, once: each one is told by its inode. */
void open_files(void);

/* Returns our fd of the file `index`. */
int file_number(int index);

/* Returns whether `fd` is an open copy of the file `index`; -1: of any of
   them. */
bool is_file(int fd, int index);

/* Sends what the socket takes at once, with so many of the files. */
void send_with_files(int socket, const void *data, size_t size, int count);

/* Returns how many fds this process has open. */
int count_fds(void);

/* Keeps an fd that was delivered; fails the test if it is kept already. */
void hold_fd(int fd);

/* held_fds returns how many are kept, close_held closes them. */
int held_fds(void);
void close_held(void);

/* Leaves room for `free` fds more; -1: as many as before. */
void limit_fds(int free);

#endif
