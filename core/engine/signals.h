/* signals.h - signal names and numbers of this system. */
#ifndef ORR_SIGNALS_H
#define ORR_SIGNALS_H

struct orr_signal {
  const char *name;
  int number;
};

/* Every signal that has a name here; ends with a NULL name. */
extern const struct orr_signal orr_signals[];

/* The name of signal `number`, or NULL where it has none (real-time). */
const char *orr_signal_name(int number);

#endif
