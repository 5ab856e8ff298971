/* mark.h - the mark of a family: a variable in the environment of all its
   members, by which they are found that have left it in every other way.
   Engine: no Lua. */
#ifndef ORR_MARK_H
#define ORR_MARK_H

#include <stddef.h>
#include <stdint.h>

#define ORR_MARK_NAME "ORRERY_FAMILY="

enum { ORR_MARK_SIZE = 48 }; /* of an id, with its NUL */

/* Makes ids, and environments that carry them; those are good until the next
   one is made. All zeros to begin with. */
struct orr_marks {
  uint64_t base; /* random, one for each engine */
  uint32_t count;
  const char **variables; /* owned */
  size_t room;
  char *text; /* owned: the variable */
  size_t text_room;
};

/* Writes the id of a family, by its number. */
void orr_mark_id(const struct orr_marks *marks, uint32_t number,
                 char id[ORR_MARK_SIZE]);

/* Returns the environment `envp` with the mark of a new family, whose number is
   then in *number. Families that it is inside of stay in the variable; of very
   many, the innermost. If there is no memory, returns `envp` itself. */
const char **orr_mark(struct orr_marks *marks, const char **envp,
                      uint32_t *number);

/* Frees what it owns. */
void orr_marks_free(struct orr_marks *marks);

/* Returns the time that processes started now have as their start in
   /proc/PID/stat, in clock ticks since boot; a little less, never more. */
uint64_t orr_start_ticks(void);

#endif
