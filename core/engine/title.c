/* title.c - the command line of this process as others see it. */
#include "title.h"

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Fields of /proc/self/stat, counted from 1 as in proc(5). */
enum {
  STATE = 3,
  START_CODE = 26,
  END_CODE = 27,
  START_STACK = 28,
  START_DATA = 45,
  END_DATA = 46,
  START_BRK = 47,
  ARG_START = 48,
  ARG_END = 49,
  ENV_START = 50,
  ENV_END = 51,
  FIELDS
};

/* Reads the fields that are numbers. 0 or -errno. */
static int read_stat(uint64_t fields[FIELDS]) {
  char text[4096];
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  ssize_t n = orr_read(fd, text, sizeof text - 1);
  close(fd);
  if (n < 0)
    return (int)n;
  text[n] = '\0';
  /* The name of the thread, in parentheses, may have any of them in it. */
  char *at = strrchr(text, ')');
  for (int i = STATE; at != NULL && i < FIELDS; i++) {
    at = strchr(at + 1, ' ');
    if (at != NULL)
      fields[i] = strtoull(at, NULL, 10);
  }
  return at == NULL ? -EINVAL : 0;
}

/* Has the kernel show the bytes at `text`, of which the last is NUL. 0 or
   -errno. */
static int show(const uint64_t f[FIELDS], const char *text, size_t size) {
  struct prctl_mm_map map;
  memset(&map, 0, sizeof map);
  map.start_code = f[START_CODE];
  map.end_code = f[END_CODE];
  map.start_data = f[START_DATA];
  map.end_data = f[END_DATA];
  map.start_brk = f[START_BRK];
  map.brk = (uint64_t)syscall(SYS_brk, NULL);
  map.start_stack = f[START_STACK];
  map.arg_start = (uint64_t)(uintptr_t)text;
  map.arg_end = map.arg_start + size;
  map.env_start = f[ENV_START];
  map.env_end = f[ENV_END];
  map.exe_fd = UINT32_MAX; /* it stays */
  return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) < 0 ? -errno : 0;
}

/* Overwrites the command line that the kernel shows now. 0 or -errno. */
static int overwrite(const uint64_t f[FIELDS], const char *text,
                     size_t length) {
  if (f[ARG_START] == 0 || f[ARG_END] <= f[ARG_START])
    return -EPERM;                            /* the kernel does not tell us */
  char *to = (char *)(uintptr_t)f[ARG_START]; // NOLINT
  size_t size = f[ARG_END] - f[ARG_START];
  if (length > size - 1)
    length = size - 1;
  memcpy(to, text, length);
  memset(to + length, 0, size - length);
  return 0;
}

/* Returns memory for a title: that of the last one if it has as many pages, or
   else new memory; NULL: there is none. */
static char *take(const struct orr_title *title, size_t size) {
  if (title->text != NULL && title->size == size)
    return title->text;
  char *text = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return text == MAP_FAILED ? NULL : text;
}

int orr_title_set(struct orr_title *title, const char *text, size_t length,
                  bool anywhere) {
  uint64_t fields[FIELDS] = {0};
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t size = (length / page + 1) * page;
  prctl(PR_SET_NAME, text, 0, 0, 0); /* which takes 15 bytes of it */
  int rc = read_stat(fields);
  if (rc < 0)
    return rc;
  if (!anywhere)
    return overwrite(fields, text, length);
  char *copy = take(title, size);
  if (copy == NULL)
    return -ENOMEM;
  memcpy(copy, text, length + 1);
  rc = show(fields, copy, length + 1);
  if (copy == title->text)
    return rc;
  if (rc < 0) {
    munmap(copy, size);
    return overwrite(fields, text, length);
  }
  if (title->text != NULL)
    munmap(title->text, title->size);
  title->text = copy;
  title->size = size;
  return 0;
}
