/* names.h - the names of this system's errnos and signals. Engine: no Lua. */
#ifndef ORR_NAMES_H
#define ORR_NAMES_H

struct orr_name {
  const char *name; /* NULL ends a table */
  int number;
};

/* Every errno that the engine or luv may report, by its first name. */
extern const struct orr_name orr_errnos[];

/* Every signal that has a name here. Of a signal with two names, the usual one
   comes first: SIGABRT before SIGIOT. */
extern const struct orr_name orr_signals[];

/* Returns the first name of `number` in a table, or NULL if it has none there,
   as real-time signals have. */
const char *orr_name_of(const struct orr_name *names, int number);

#endif
