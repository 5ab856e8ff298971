/* title.h - the command line of this process as others see it. Engine: no
   Lua. */
#ifndef ORR_TITLE_H
#define ORR_TITLE_H

#include <stdbool.h>
#include <stddef.h>

/* What the kernel shows as the command line. It is never unmapped, but for
   another one: it has to last as long as the process. */
struct orr_title {
  char *text;  /* NULL: that of the start */
  size_t size; /* whole pages */
};

/* Shows `text`, which ends with its only NUL byte, as the command line of this
   process, and its first 15 bytes as the name of this thread. Where the kernel
   refuses to look elsewhere (PR_SET_MM_MAP of prctl(2), Linux 3.18), or
   `anywhere` is false, it overwrites the command line that there is, with as
   much of the text as fits. Returns 0, or -errno if not even that can be. */
int orr_title_set(struct orr_title *title, const char *text, size_t length,
                  bool anywhere);

#endif
