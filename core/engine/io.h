/* io.h - system calls that a signal can interrupt, and integers as they stand
   in frames. Engine: no Lua.

   Each of these calls is made again when a signal has interrupted it. It
   returns what the system call returns, or -errno, which is never -EINTR. They
   do nothing else, so that a child may use them before its exec. */
#ifndef ORR_IO_H
#define ORR_IO_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3 /* glibc has it since 2.36 */
#endif

ssize_t orr_read(int fd, void *data, size_t size);
ssize_t orr_write(int fd, const void *data, size_t size);

/* Send what the socket takes at once; -EAGAIN: nothing. A peer that has gone is
   -EPIPE, and no signal. */
ssize_t orr_send(int socket, const void *data, size_t size);
ssize_t orr_sendmsg(int socket, const struct msghdr *message);

/* Read and write what can be read and written at once, also if the file blocks,
   as one that other processes share may have to; -EAGAIN: nothing. Of a file
   that is no socket, another process may take what poll(2) has told of, and
   then they wait after all. A pipe that is writable takes PIPE_BUF bytes. */
ssize_t orr_read_now(int fd, void *data, size_t size);
ssize_t orr_write_now(int fd, const void *data, size_t size);

/* Receives what is there; -EAGAIN: nothing is. Fds that come along are
   CLOEXEC. */
ssize_t orr_recvmsg(int socket, struct msghdr *message);

/* Returns the fd of the next connection, CLOEXEC and non-blocking, and fills in
   its peer's address, for which there are *size bytes; -EAGAIN: none waits. One
   that its peer has given up meanwhile is passed over. */
int orr_accept(int socket, struct sockaddr *peer, socklen_t *size);

/* waitid(2) of the kernel, which unlike libc's also gives the resource usage of
   the child; `info` and `usage` may be NULL. 0 or -errno. */
int orr_waitid(idtype_t type, id_t id, siginfo_t *info, int options,
               struct rusage *usage);

/* Reaps a child with wait4(2), for its status is of no interest, and waitid may
   be refused. */
void orr_wait4(pid_t pid);

/* Copies memory of this process, which has the pid `self`, that may be a mapped
   file's, of which there may be less now: 0 or -EFAULT. If the kernel does not
   copy (a sandbox forbids it; the pid is that of before a fork), the copy is
   made here, and then less is SIGBUS. */
int orr_copy(pid_t self, void *to, const void *from, size_t size);

/* Reads 4 bytes as an integer, the lowest first. */
static inline uint32_t orr_get_u32le(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
         (uint32_t)at[3] << 24;
}

/* Writes an integer into 4 bytes, the lowest first. */
static inline void orr_put_u32le(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++)
    at[i] = (uint8_t)(value >> (8 * i));
}

#endif
