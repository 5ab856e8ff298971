/* errnos.h - errno names (ENOENT ...) of this system. */
#ifndef ORR_ERRNOS_H
#define ORR_ERRNOS_H

struct orr_errno {
  const char *name;
  int number;
};

/* Every errno that the engine or luv may report; ends with a NULL name. */
extern const struct orr_errno orr_errnos[];

#endif
