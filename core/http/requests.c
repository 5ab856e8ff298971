/* requests.c - what is done with each request that a connection brings: in
   which order they are given to Lua and answered, and what becomes of those
   that are no good. */
#include "http.h"
#include "userdata.h"

/* Adds an exchange to those that are to be answered. */
static void append(struct orr_connection *c, struct orr_exchange *x) {
  if (c->last != NULL)
    c->last->next = x;
  else
    c->first = x;
  c->last = x;
  c->pipelined++;
  x->listed = true;
}

/* Has what a response has waited with, since it was not its turn, be sent. */
static void move_out(struct orr_connection *c, struct orr_exchange *x) {
  orr_buffer_append(orr_connection_out(c), x->out.data, x->out.length);
  orr_buffer_free(&x->out);
}

/* Takes those that are answered off the list. If one is the last of the
   connection, those behind it are dropped. */
static void advance(struct orr_connection *c, lua_State *L) {
  struct orr_exchange *x;
  while ((x = c->first) != NULL && x->finished) {
    c->first = x->next;
    x->next = NULL;
    c->pipelined--;
    if (x->closes) {
      c->ending = true;
      /* The client may be sending: the rest of this request, or another one,
         for it was not its wish that this is the last. */
      c->refused = c->refused || !x->complete || x->keeps_alive;
      c->dropped = c->first;
      if (c->incoming != x)
        c->incoming = NULL; /* it is dropped */
      c->first = NULL;
      c->pipelined = 0;
    }
    if (c->first == NULL)
      c->last = NULL;
    else
      move_out(c, c->first);
    if (x->seen_response) {
      struct orr_exchange **end = &c->unsent;
      while (*end != NULL)
        end = &(*end)->next;
      *end = x;
    } else {
      x->listed = false;
      if (x->complete || x != c->incoming)
        orr_exchange_over(x, L);
    }
  }
}

void orr_exchange_finished(struct orr_exchange *x, lua_State *L) {
  struct orr_connection *c = x->at;
  x->finished = true;
  if (c == NULL)
    return;
  if (!x->complete && !x->wanted) {
    x->discards = true;
    orr_buffer_free(&x->body);
  }
  advance(c, L);
  orr_connection_touch(c, L);
}

/* Giving requests to Lua -------------------------------------------------- */

/* Gives Lua the request and the response: to on_request, or as the event
   `name`. */
static void call(struct orr_connection *c, lua_State *L, struct orr_exchange *x,
                 const char *name) {
  int top = lua_gettop(L);
  x->told = true;
  if (name == NULL && orr_server_push(L, c->server, ORR_ON_REQUEST)) {
    orr_exchange_push(L, x);
    lua_call(L, 2, 0);
  } else if (name != NULL) {
    luaL_checkstack(L, 8, name);
    orr_exchange_push(L, x);
    orr_server_tell(L, c->server, name, 2);
  }
  lua_settop(L, top);
}

/* Tells the client to go on, if it waits for that and Lua does not want to
   judge its request first. */
static void answer_expectation(struct orr_connection *c,
                               struct orr_exchange *x) {
  x->expects_continue =
      x->expects_continue && !x->complete && x->body.length == 0;
  if (x->expects_continue && !c->server->checks_continue)
    orr_exchange_go_on(x);
}

/* Gives Lua a request that it has not been told of, unless another protocol
   follows it: that is for orr_connection_hand_over. */
static void give(struct orr_connection *c, lua_State *L,
                 struct orr_exchange *x) {
  if (x->is_connect && !c->server->connects) {
    orr_exchange_refuse(x, 405, "CONNECT is not for this server");
    orr_exchange_finished(x, L);
  } else if (!x->is_connect && !x->upgrades) {
    answer_expectation(c, x);
    call(c, L, x, x->expects_continue ? "check_continue" : NULL);
  }
}

void orr_connection_hand_over(struct orr_connection *c, lua_State *L) {
  struct orr_exchange *x = c->first;
  if (c->fd < 0 || x == NULL || x->told || !x->complete || x->finished ||
      orr_connection_queued(c) > 0)
    return;
  luaL_checkstack(L, 8, "upgrade");
  x->told = true;
  if (!orr_exchange_push_live(L, x, false))
    return;
  orr_exchange_leave_body(x, L, -1);
  lua_pushlstring(L, (const char *)c->in.data, c->in.length);
  lua_pushinteger(L, orr_connection_detach(c, L));
  orr_server_give(L, c->server, x->is_connect ? "connect" : "upgrade", 3);
}

void orr_connection_deliver(struct orr_connection *c, lua_State *L) {
  struct orr_exchange *x = c->incoming;
  if (x == NULL)
    return;
  if (!x->told) {
    give(c, L, x);
  } else if (x->has_news && x->wanted) {
    x->has_news = false;
    if (orr_exchange_push_live(L, x, false))
      orr_server_tell(L, c->server, "body", 1);
  }
}

/* Taking them in ---------------------------------------------------------- */

static void take_head(struct orr_connection *c, lua_State *L,
                      const struct orr_http_found *found) {
  struct orr_exchange *x = orr_exchange_new(L, c, found);
  orr_deadline_stop(&c->deadline);
  x->number = ++c->requests;
  append(c, x);
  c->incoming = x;
  if (x->upgrades && !c->server->upgrades) {
    orr_http_no_upgrade(&c->parser);
    x->upgrades = false;
  }
}

static bool take_body(struct orr_exchange *x,
                      const struct orr_http_found *found) {
  if (x->discards)
    return true;
  x->has_news = true;
  return orr_buffer_append(&x->body, found->data, found->length) == 0;
}

/* Makes trailers the request's own. */
static void take_trailers(struct orr_connection *c, lua_State *L,
                          struct orr_exchange *x,
                          const struct orr_http_found *found) {
  const struct orr_http_fields *fields = c->parser.fields;
  if (fields->count == 0)
    return;
  luaL_checkstack(L, 8, "trailers");
  int top = lua_gettop(L);
  if (!orr_exchange_push_live(L, x, false))
    return;
  orr_push_fields(L, top + 1);
  orr_http_push_headers(L, found->data, fields->list, fields->count);
  lua_setfield(L, -2, "trailers");
  orr_push_raw_headers(L, found->data, fields->list, fields->count);
  lua_setfield(L, -2, "raw_trailers");
  lua_settop(L, top);
}

/* Takes in the end of a request. Only then is one given to Lua that has come as
   a whole. Returns whether there may be another. */
static bool take_end(struct orr_connection *c, lua_State *L,
                     const struct orr_http_found *found) {
  struct orr_exchange *x = c->incoming;
  take_trailers(c, L, x, found);
  x->complete = x->has_news = true;
  orr_deadline_stop(&c->request_deadline);
  c->ending =
      c->ending || !x->keeps_alive ||
      (c->server->max_requests > 0 && c->requests >= c->server->max_requests);
  orr_connection_deliver(c, L);
  if (c->fd < 0)
    return false;
  c->incoming = NULL;
  if (!x->listed) {
    if (orr_exchange_push_live(L, x, false)) {
      orr_exchange_leave_body(x, L, -1);
      lua_pop(L, 1);
    }
    orr_exchange_over(x, L);
  }
  return !c->ending;
}

bool orr_connection_found(struct orr_connection *c, lua_State *L,
                          enum orr_http_event event,
                          const struct orr_http_found *found) {
  bool ok = true;
  switch (event) {
  case ORR_HTTP_MORE:
    return false;
  case ORR_HTTP_HEAD:
    take_head(c, L, found);
    return true;
  case ORR_HTTP_BODY:
    ok = take_body(c->incoming, found);
    break;
  case ORR_HTTP_END:
    return take_end(c, L, found);
  case ORR_HTTP_ERROR:
    orr_connection_refuse(c, L, found->status, found->reason);
    return false;
  }
  if (!ok)
    orr_connection_cut(c, L);
  return ok;
}

/* Refusing them ----------------------------------------------------------- */

/* Takes the last exchange off the list: the one that is being received. */
static void remove_last(struct orr_connection *c) {
  struct orr_exchange *last = c->last;
  if (c->first == last) {
    c->first = c->last = NULL;
  } else {
    c->last = c->first;
    while (c->last->next != last)
      c->last = c->last->next;
    c->last->next = NULL;
  }
  last->listed = false;
  c->pipelined--;
}

/* Answers, behind all that is to be answered before. */
static void answer(struct orr_connection *c, lua_State *L, int status,
                   const char *reason) {
  struct orr_exchange *x = orr_exchange_new(L, c, NULL);
  append(c, x);
  x->complete = true;
  orr_exchange_refuse(x, status, reason);
  orr_exchange_finished(x, L);
  c->ending = true;
}

/* Gives up the rest of a request that is answered already: another answer would
   be taken for that to the next one. */
static void drop_rest(struct orr_connection *c, lua_State *L,
                      struct orr_exchange *x) {
  c->incoming = NULL;
  c->ending = true;
  x->aborted = true;
  if (!x->listed) /* else it is told of when its answer has been sent */
    orr_exchange_abandon(x, L);
}

void orr_connection_refuse(struct orr_connection *c, lua_State *L, int status,
                           const char *reason) {
  struct orr_exchange *x = c->incoming;
  c->refused = true;
  bool alone = x == NULL && c->first == NULL && c->server->hears_errors;
  if (alone)
    orr_connection_send(c, L); /* the answers that were given before */
  if (c->fd < 0)
    return;
  if (alone && orr_connection_queued(c) == 0) {
    lua_pushstring(L, reason);
    lua_pushinteger(L, status);
    lua_pushinteger(L, orr_connection_detach(c, L));
    orr_server_give(L, c->server, "client_error", 3);
    return;
  }
  if (x != NULL && x->head_out && !x->finished) {
    orr_connection_send(c, L); /* its answer cannot be taken back */
    orr_connection_cut(c, L);
    return;
  }
  if (x != NULL && x->finished) {
    drop_rest(c, L, x);
    return;
  }
  if (x != NULL) {
    c->incoming = NULL;
    remove_last(c);
    orr_exchange_abandon(x, L);
  }
  if (c->fd >= 0)
    answer(c, L, status, reason);
}
