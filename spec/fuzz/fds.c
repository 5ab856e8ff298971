/* fds.c - files to send, and proof that none of them leaks: see fds.h. */
#include "fds.h"
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int files[FILES];
static ino_t inodes[FILES];
static bool held[MOST_HELD];
static int held_count, held_end;
static struct rlimit whole;

void open_files(void) {
  if (inodes[0] != 0)
    return;
  for (int i = 0; i < FILES; i++) {
    int ends[2];
    struct stat status;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    close(ends[1]);
    files[i] = ends[0];
    CHECK(fstat(files[i], &status) == 0);
    inodes[i] = status.st_ino;
  }
  CHECK(getrlimit(RLIMIT_NOFILE, &whole) == 0);
}

int file_number(int index) {
  return files[index];
}

bool is_file(int fd, int index) {
  struct stat status;
  if (fstat(fd, &status) < 0)
    return false;
  for (int i = 0; i < FILES; i++)
    if ((index < 0 || index == i) && inodes[i] == status.st_ino)
      return true;
  return false;
}

void send_with_files(int socket, const void *data, size_t size, int count) {
  union {
    char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
    struct cmsghdr align;
  } control = {{0}};
  struct iovec bytes = {(void *)data, size};
  struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    for (int i = 0; i < count; i++) {
      int number = file_number(i % FILES);
      memcpy(CMSG_DATA(header) + (size_t)i * sizeof(int), &number, sizeof(int));
    }
  }
  sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int count_fds(void) {
  DIR *dir = opendir("/proc/self/fd");
  int count = -3; /* ".", ".." and the listing's own */
  CHECK(dir != NULL);
  while (readdir(dir) != NULL)
    count++;
  closedir(dir);
  return count;
}

void hold_fd(int fd) {
  CHECK(fd >= 0 && fd < MOST_HELD && !held[fd]);
  held[fd] = true;
  held_count++;
  if (fd >= held_end)
    held_end = fd + 1;
}

int held_fds(void) {
  return held_count;
}

void close_held(void) {
  for (int fd = 0; fd < held_end; fd++) {
    if (held[fd])
      CHECK(close(fd) == 0);
    held[fd] = false;
  }
  held_count = held_end = 0;
}

void limit_fds(int free) {
  struct rlimit limit = whole;
  if (free >= 0) {
    int lowest = fcntl(files[0], F_DUPFD, 0);
    CHECK(lowest >= 0);
    close(lowest);
    limit.rlim_cur = (rlim_t)lowest + (rlim_t)free;
  }
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}
