/* jobs.h - requests of the engine, while they are done. */
#ifndef ORR_KEEPER_JOBS_H
#define ORR_KEEPER_JOBS_H

#include "family.h"
#include "group.h"

struct jobs {
  int socket; /* to the engine; -1: it has gone */
  int epoll;
  int kept;              /* the pid of the root of all families, or 0 */
  int program;           /* that is kept, until it is reaped; or 0 */
  struct vector list;    /* of struct job */
  struct vector looking; /* of struct family *: who look in this step */
  int places, active;
  bool asked;           /* there are requests, which the next step takes */
  struct groups groups; /* that were adopted */
  bool childless;       /* nobody is kept any more */
  int reaped;           /* how many have been, in all */
  bool emptied;         /* an end of the kept family has left nobody alive */
};

/* What events of the epoll set carry that are of no member. */
enum { TAG_GROUP = 0xfffffffd, TAG_SOCKET, TAG_CHILD };

/* Makes the epoll set, with the socket in it. Ends the program if it cannot. */
void jobs_begin(struct jobs *jobs, int socket, int kept);

/* Adds an fd to the epoll set, whose events carry `tag`. */
void jobs_watch(struct jobs *jobs, int fd, uint32_t tag);

/* Begins a request that comes from nobody; its reply goes nowhere. */
void jobs_start(struct jobs *jobs, const struct request *r);

/* Waits until there are events or something is due, and takes the events.
   Returns whether TAG_CHILD was among them. */
bool jobs_wait(struct jobs *jobs);

/* Takes requests, and does what is due. Who has ended by then is to be reaped
   before: nobody is told that a zombie had a signal. */
void jobs_step(struct jobs *jobs);

/* Sends a message to the engine, if it is there. */
void jobs_send(struct jobs *jobs, const void *data, size_t size);

#endif
