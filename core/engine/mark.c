/* mark.c - the mark of a family. */
#include "mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* Bytes of outer ids, about 600: what has more makes no program fail to start,
   for the kernel takes variables of 128 KiB. */
enum { MOST = 16384 };

static const char name[] = ORR_MARK_NAME;

void orr_mark_id(const struct orr_marks *marks, uint32_t number,
                 char id[ORR_MARK_SIZE]) {
  snprintf(id, ORR_MARK_SIZE, "%" PRIx64 ".%" PRIx32, marks->base, number);
}

/* Makes ids that no other engine has. */
static void begin(struct orr_marks *marks) {
  struct timespec now;
  if (marks->base != 0)
    return;
  if (getrandom(&marks->base, sizeof marks->base, GRND_NONBLOCK) < 0 ||
      marks->base == 0) {
    clock_gettime(CLOCK_REALTIME, &now);
    marks->base = (uint64_t)getpid() << 40 ^ (uint64_t)now.tv_sec << 20 ^
                  (uint64_t)now.tv_nsec;
  }
}

/* Returns as many of the ids, from the last one back, as have room. */
static const char *innermost(const char *ids) {
  size_t size = strlen(ids);
  if (size <= MOST)
    return ids;
  const char *colon = strchr(ids + size - MOST, ':');
  return colon != NULL ? colon + 1 : "";
}

/* Writes the variable: the families that `outer` names, and a new one. Returns
   it, or NULL. */
static const char *variable(struct orr_marks *marks, const char *outer,
                            uint32_t number) {
  outer = innermost(outer);
  size_t before = strlen(outer);
  size_t size = sizeof name + before + 1 + ORR_MARK_SIZE;
  if (size > marks->text_room) {
    char *text = realloc(marks->text, size);
    if (text == NULL)
      return NULL;
    marks->text = text;
    marks->text_room = size;
  }
  char *at = marks->text;
  memcpy(at, name, sizeof name - 1);
  at += sizeof name - 1;
  memcpy(at, outer, before);
  at += before;
  if (before > 0)
    *at++ = ':';
  orr_mark_id(marks, number, at);
  return marks->text;
}

static size_t count_of(const char **envp) {
  size_t n = 0;
  while (envp[n] != NULL)
    n++;
  return n;
}

const char **orr_mark(struct orr_marks *marks, const char **envp,
                      uint32_t *number) {
  size_t n = count_of(envp), at = n;
  const char *outer = "";
  begin(marks);
  if (n + 2 > marks->room) {
    const char **more = realloc((void *)marks->variables, // NOLINT
                                (n + 2) * sizeof *more);
    if (more == NULL)
      return envp;
    marks->variables = more;
    marks->room = n + 2;
  }
  for (size_t i = 0; i < n; i++) {
    marks->variables[i] = envp[i];
    if (envp[i][0] == name[0] && strncmp(envp[i], name, sizeof name - 1) == 0) {
      at = i;
      outer = envp[i] + sizeof name - 1;
    }
  }
  const char *mark = variable(marks, outer, marks->count + 1);
  if (mark == NULL)
    return envp;
  *number = ++marks->count;
  marks->variables[at] = mark;
  marks->variables[at == n ? n + 1 : n] = NULL;
  return marks->variables;
}

void orr_marks_free(struct orr_marks *marks) {
  free((void *)marks->variables); // NOLINT
  free(marks->text);
  memset(marks, 0, sizeof *marks);
}

uint64_t orr_start_ticks(void) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 100 + (uint64_t)now.tv_nsec / 10000000;
}
