/* keeper.h - orrery-keeper: a small program that keeps families of processes,
   ends them, and serves as init. It is built without libc and takes a few KiB
   of memory, because there may be one for each child of an engine. The engine
   talks to it by a socket; see messages.h. */
#ifndef ORR_KEEPER_H
#define ORR_KEEPER_H

#include "messages.h"
#include "sys.h"

/* Memory that grows, in whole pages. */
struct vector {
  void *data;
  size_t size;
};

/* Makes room for so many bytes; false: there is none. */
bool vector_grow(struct vector *v, size_t bytes);
void vector_free(struct vector *v);

/* The duties. None of them returns. */
_Noreturn void keeper_main(int argc, char **argv, char **envp);
_Noreturn void keep(int socket, int pid, bool die);
_Noreturn void serve(int socket);
_Noreturn void init(const char *file, char **argv, char **envp);

#endif
