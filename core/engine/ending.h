/* ending.h - how a process that this library owns (the CLI, a forked child, the
   program around orrery.main) ends: by a signal, and what it leaves of its
   terminal. Engine: no Lua.

   SIGINT, SIGTERM and SIGHUP end the process as they would without us, and at
   once, if no child is to die with it. While there are such children, the first
   signal is only noted, and makes an fd readable: the one who polls that passes
   the signal on and gives the children some time; when the last of them has
   ended, or the time is over, the process ends by the signal. A second signal
   of the same kind ends it at once, whatever it is doing, and so does a second
   SIGINT after one of another kind.

   A signal handler can know nothing but static variables. So this file of the
   engine has some, and it serves one owner in a process. */
#ifndef ORR_ENDING_H
#define ORR_ENDING_H

#include <stdbool.h>

/* Takes the three signals over, except those that are ignored, which stay so
   for this process and its children, and those whose handler is `foreign`. Does
   nothing when called again. */
void orr_ending_own(bool (*foreign)(void (*handler)(int)));

/* Takes a signal over again that orr_ending_own took, if it has its default
   now: another handler for it has come and gone. */
void orr_ending_own_again(int signal);

/* Tells whether a signal was found ignored by orr_ending_own. */
bool orr_ending_ignores(int signal);

/* Returns the fd that is readable once a signal is noted, which stays ours;
   -errno (EMFILE; ECANCELED: the signals are not owned). */
int orr_ending_fd(void);

/* Counts the children that are to die with this process: +1 or -1. Ends the
   process if it was the last one and a signal is noted. */
void orr_ending_hold(int change);

/* Says that there is something to do before this process ends by a signal,
   which takes up to `patience` seconds: a signal is only noted then, also
   without children, and a second one changes nothing in that time unless it is
   SIGINT. 0: there is nothing any more, which ends the process if it was all
   that held it. */
void orr_ending_hold_for(int patience);

/* Acts as if `signal` had come: SIGPIPE, for an output without a reader, or one
   that another handler has taken. Does nothing if the signals are not owned. */
void orr_ending_note(int signal);

/* Returns the signal that was noted, or 0; *from_terminal tells whether the
   whole foreground process group has it. */
int orr_ending_noted(bool *from_terminal);

/* Remembers the state of the terminal that is stdin, stdout or stderr, if one
   of them is; not if stdout is a pipe or socket, whose reader may have put the
   terminal into a state of its own by the time that we end. */
void orr_ending_keep_terminal(void);

/* Puts the terminal back into the state that was remembered, if one was: a
   child may have died before it could. A terminal that another process group
   works with is left alone. May be called by a signal handler. */
void orr_ending_restore_terminal(void);

/* Ends the process by `signal`, so that its parent sees it; the terminal is put
   back before. Does not return; may be called by a signal handler. */
_Noreturn void orr_end_by(int signal);

#endif
