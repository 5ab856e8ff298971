/* life.c - how connections come to their end, and what becomes of the exchanges
   that they have then; and that they are looked after when something about them
   has changed. */
#include "server.h"

#include <unistd.h>

enum { LISTS = 4 }; /* in which a connection has exchanges */

/* Tells those of Lua's objects that somebody listens to that an exchange has
   been cut off. */
static void tell_cut(struct orr_exchange *x, lua_State *L) {
  x->aborted = !(x->finished && x->complete);
  if (x->aborted && x->seen_request && orr_exchange_push_live(L, x, false))
    orr_server_tell(L, x->server, "aborted", 1);
  if (x->seen_response && orr_exchange_push_live(L, x, true))
    orr_server_tell(L, x->server, "cut", 1);
}

static int l_tell_cut(lua_State *L) {
  tell_cut(lua_touserdata(L, 1), L);
  return 0;
}

void orr_exchange_abandon(struct orr_exchange *x, lua_State *L) {
  if (x->over)
    return; /* it was in two lists */
  x->at = NULL;
  if (L != NULL && x->told && lua_checkstack(L, 8)) {
    lua_pushcfunction(L, l_tell_cut);
    lua_pushlightuserdata(L, x);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
      lua_pop(L, 1); /* for want of memory: it is let go of all the same */
  }
  orr_exchange_over(x, L);
}

/* Takes from all of a list what must not be used any more: Lua, which is told
   next, may do anything, and may raise. */
static void forget_connection(struct orr_exchange *x) {
  for (; x != NULL; x = x->next) {
    x->at = NULL;
    orr_exchange_uncount(x);
  }
}

void orr_exchanges_abandon(struct orr_exchange *first, lua_State *L) {
  forget_connection(first);
  while (first != NULL) {
    struct orr_exchange *x = first;
    first = x->next;
    x->next = NULL;
    orr_exchange_abandon(x, L);
  }
}

void orr_connection_free(struct orr_connection *c) {
  if (c->fd >= 0 || c->dirty || c->server->serving == c)
    return;
  orr_buffer_free(&c->in);
  orr_buffer_free(&c->out);
  c->number = 0;
  c->next = c->server->spares;
  c->server->spares = c;
}

static void leave(struct orr_connection *c) {
  struct orr_http_server *server = c->server;
  orr_poll_remove_watch(server->poll, c->fd, &c->watch);
  c->fd = -1;
  orr_deadline_stop(&c->deadline);
  orr_deadline_stop(&c->request_deadline);
  if (c->next != NULL)
    c->next->prev = c->prev;
  if (c->prev != NULL)
    c->prev->next = c->next;
  else
    server->connections = c->next;
  server->count--;
  orr_load_add(&server->load->connections, -1);
  if (server->serving == c)
    server->out.length = 0;
}

/* Tells Lua that a connection has gone, if it has an object of it, and that
   none is left. */
static void tell_gone(struct orr_http_server *server, lua_State *L,
                      struct orr_connection *known) {
  if (L == NULL)
    return;
  if (known != NULL) {
    lua_pushlightuserdata(L, known);
    orr_server_tell(L, server, "gone", 1);
    known->known = false; /* it may be used again */
  }
  if (server->count == 0)
    orr_server_tell(L, server, "drained", 0);
}

void orr_connection_cut(struct orr_connection *c, lua_State *L) {
  if (c->fd < 0)
    return;
  struct orr_http_server *server = c->server;
  struct orr_exchange *lists[LISTS] = {c->unsent, c->first, c->dropped,
                                       c->incoming};
  int fd = c->fd;
  if (c->incoming != NULL)
    c->incoming->next = NULL; /* it is the last of its list */
  leave(c);
  close(fd);
  struct orr_connection *known = c->known ? c : NULL;
  c->first = c->last = c->unsent = c->incoming = c->dropped = NULL;
  orr_connection_free(c);
  for (size_t i = 0; i < LISTS; i++)
    forget_connection(lists[i]);
  for (size_t i = 0; i < LISTS; i++)
    orr_exchanges_abandon(lists[i], L);
  tell_gone(server, L, known);
}

int orr_connection_detach(struct orr_connection *c, lua_State *L) {
  struct orr_exchange *lists[LISTS] = {c->unsent, c->first, c->dropped,
                                       c->incoming};
  struct orr_http_server *server = c->server;
  struct orr_connection *known = c->known ? c : NULL;
  int fd = server->detached = c->fd;
  leave(c);
  c->first = c->last = c->unsent = c->incoming = c->dropped = NULL;
  for (size_t i = 0; i < LISTS; i++)
    for (struct orr_exchange *x = lists[i], *next; x != NULL; x = next) {
      next = x->next;
      orr_exchange_over(x, L);
    }
  orr_connection_free(c);
  tell_gone(server, L, known);
  return fd;
}

void orr_connection_send(struct orr_connection *c, lua_State *L) {
  if (orr_connection_flush(c) < 0)
    orr_connection_cut(c, L);
}

void orr_connection_touch(struct orr_connection *c, lua_State *L) {
  struct orr_http_server *server = c->server;
  if (c->fd < 0 || server->serving == c)
    return;
  if (!c->dirty) {
    c->dirty = true;
    c->next_dirty = server->dirty;
    server->dirty = c;
  }
  orr_server_schedule(L, server);
}
