/* server.h - what the files of an HTTP server share: the server, its
   connections, and on each the exchanges of a request and its response.

   A connection is an fd in the poller's set and this struct; it is served in
   the poller's wait: one read, one run of the parser, the handlers, one write
   for all that they have answered. Of an exchange there are two userdata, its
   request and its response; what else Lua wants (an emitter, a stream, a table
   of headers) exists once it is asked for.

   An exchange lies in the userdata of its request, so that it costs no memory
   of its own. Until it is over, the server's table of those that are live keeps
   it from being collected; then all is freed that is not Lua's. */
#ifndef ORR_HTTP_SERVER_H
#define ORR_HTTP_SERVER_H

#include "engine/buffer.h"
#include "engine/load.h"
#include "engine/poll.h"
#include "message.h"

#include <lauxlib.h>
#include <lua.h>
#include <time.h>

#define ORR_HTTP_SERVER "orrery.http_server"
#define ORR_HTTP_REQUEST "orrery.http_request"
#define ORR_HTTP_RESPONSE "orrery.http_response"

/* Deadlines ---------------------------------------------------------------- */

/* What the deadlines of a connection are for. Each kind has one length, so the
   first of its list is the first that is due. */
enum {
  ORR_HEAD,
  ORR_REQUEST,
  ORR_IDLE,
  ORR_LINGER,
  ORR_MOVE, /* until it is tried again to give the connection away */
  ORR_DEADLINES
};

struct orr_deadline {
  struct orr_deadline *next, *prev; /* NULL: it does not run */
  int64_t at;                       /* ms */
  int kind;
};

struct orr_deadlines {
  struct orr_deadline first; /* the ring's anchor */
  int64_t length;            /* ms; 0: they never run */
};

struct orr_http_server;

/* Opens the timer and adds it to the set. 0 or -errno. */
int orr_deadlines_open(struct orr_http_server *server);
void orr_deadlines_close(struct orr_http_server *server);

/* Has a deadline run anew, for a length of its kind. */
void orr_deadline_start(struct orr_http_server *server, int kind,
                        struct orr_deadline *deadline);
void orr_deadline_stop(struct orr_deadline *deadline);

/* Server ------------------------------------------------------------------- */

/* What a server has in Lua: on_request(request, response) is called with each
   request, on_event(name, …) with what happens later; the table of the
   exchanges that are under way; the poller, and the server itself, which must
   last. */
enum { ORR_ON_REQUEST, ORR_ON_EVENT, ORR_LIVE, ORR_POLL, ORR_SELF, ORR_VALUES };

enum {
  ORR_READ = 64 << 10,      /* bytes of one read */
  ORR_HIGH_WATER = 64 << 10 /* bytes that wait: write says false, reads stop */
};

struct orr_connection;

struct orr_http_server {
  struct orr_watch timer; /* of `timer_fd` */
  struct orr_poll *poll;  /* NULL: closed */
  /* In a worker of a cluster: what takes connections for this server; where it
     counts what it has, which lasts; and, once it is to leave, what takes those
     that are idle. Elsewhere it counts for itself. */
  struct orr_taker taker;
  struct orr_load *load, own_load;
  struct orr_giver *giver; /* NULL: idle connections are ended */
  uint32_t service;        /* of those that are given away */
  int refs[ORR_VALUES];    /* in the registry; as long as it is open */
  int timer_fd;            /* owned; -1: closed */
  int detached;            /* owned, until Lua has it; -1: none */
  int64_t armed;           /* when it fires, ms; 0: never */
  struct orr_deadlines deadlines[ORR_DEADLINES];
  /* What is done when one of a kind is over. */
  void (*late)(struct orr_connection *connection, lua_State *L, int kind);

  struct orr_http_fields fields; /* of the head that was parsed last */
  struct orr_connection *connections, *dirty, *serving;
  struct orr_connection *spares; /* that are over, and will be others */
  unsigned count;                /* of connections */
  uint64_t last_number;          /* of a connection */
  bool scheduled; /* Lua is going to have the dirty ones settled */
  bool closing;   /* each connection ends with its answer */
  /* Whether somebody listens to these events. */
  bool upgrades, connects, checks_continue, hears_errors, hears_connections;
  uint32_t max_head, max_requests, max_pipelined;
  char keep_alive[64]; /* the headers that announce it; "": none */
  /* The headers that the responses of the second `date_at` end with; the first
     of them is Date. */
  char tail[128];
  size_t tail_length, date_length;
  time_t date_at;
  struct orr_buffer out; /* what the one that is served is going to send */
  char in[ORR_READ];
};

/* Pushes the value `which` of the server; returns false, and pushes nothing, if
   it is closed. What Lua may close and drop while it is told of something has
   itself (ORR_SELF) on the stack meanwhile. */
bool orr_server_push(lua_State *L, struct orr_http_server *server, int which);

/* Tells Lua of the connection that was taken in last, if somebody listens. */
void orr_server_announce(lua_State *L, struct orr_http_server *server);

/* Calls on_event(name, …) with the `count` values on top of the stack. */
void orr_server_tell(lua_State *L, struct orr_http_server *server,
                     const char *name, int count);

/* Does so with the fd that was detached last, whose number is among the values:
   it is Lua's from when it is called. */
void orr_server_give(lua_State *L, struct orr_http_server *server,
                     const char *name, int count);

/* Has Lua call server:settle() if there is something to be settled, unless it
   is going to: in this turn, but not at once. */
void orr_server_schedule(lua_State *L, struct orr_http_server *server);

void orr_open_http_server(lua_State *L);
void orr_open_http_request(lua_State *L);
void orr_open_http_response(lua_State *L);

/* Connections -------------------------------------------------------------- */

/* Connections stay in memory as long as their server is open, so that a request
   that is over can still tell whether its connection is: by `number`. */
struct orr_connection {
  struct orr_watch watch;
  uint64_t number; /* of the server's connections; another one's is another */
  struct orr_http_server *server;
  struct orr_connection *next, *prev, *next_dirty;
  struct orr_deadline deadline, request_deadline;
  struct orr_http_parser parser;
  struct orr_exchange *first, *last; /* those that are not answered, in order */
  struct orr_exchange *unsent; /* answered, and Lua waits for that to be sent */
  struct orr_exchange *incoming; /* whose body is being received */
  struct orr_exchange *dropped;  /* behind the last one that is answered */
  struct orr_buffer in;          /* read, and not parsed so far */
  struct orr_buffer out;         /* to be sent, from `sent` on */
  size_t sent;
  int fd;             /* owned; -1: it is over */
  uint32_t events;    /* what it is watched for */
  uint32_t requests;  /* that it has brought so far */
  uint32_t pipelined; /* exchanges from `first` to `last` */
  uint32_t lingered;  /* bytes that were read after the end */
  bool dirty;         /* in the server's list */
  bool held;          /* the parser may have found more than was taken in */
  bool leaves;        /* is to end if it is between two requests */
  bool moves;         /* is to be given away then */
  bool known;         /* Lua has an object of it: see "gone" */
  bool at_end;        /* the peer has finished sending */
  bool ending;        /* takes no more requests; ends when all is sent */
  bool refused;       /* the peer may still be sending what nobody reads */
  bool lingering;     /* has ended, and reads on so that no RST is sent */
};

/* Takes in a connected socket. 0, or -errno: the fd is still the caller's. */
int orr_connection_new(struct orr_http_server *server, int fd);

/* Takes in a connected socket that another process has accepted, and what has
   come from it by now. Closes it if there is no memory. Never raises. */
void orr_connection_take(struct orr_http_server *server, lua_State *L, int fd);

/* Ends it at once: what is queued is lost, and what is under way aborted, which
   Lua is told unless L is NULL. It may be the one that is being served. */
void orr_connection_cut(struct orr_connection *connection, lua_State *L);

/* Makes a spare of a connection that is over, unless it is served or dirty. */
void orr_connection_free(struct orr_connection *connection);

/* Has it end if it is between two requests, after a last look at what has come:
   that is due when the turn ends. */
void orr_connection_end_idle(struct orr_connection *connection, lua_State *L);

/* Has it be given away if it is between two requests, and Lua has no object of
   it; due when the turn ends. Returns whether it will, as it looks now. */
bool orr_connection_move_idle(struct orr_connection *connection, lua_State *L);

/* Does what is due after any change: parses, sends, ends, and has the socket
   watched for what is wanted. Frees it if it is over. Returns what lua_pcall
   does: if Lua raises, the connection is cut, and the error on the stack. */
int orr_connection_settle(struct orr_connection *connection, lua_State *L);

/* Has that done at the end of the turn, or of what is served now. */
void orr_connection_touch(struct orr_connection *connection, lua_State *L);

/* Does what it means that a deadline is over. */
void orr_connection_late(struct orr_connection *connection, lua_State *L,
                         int kind);

/* Gives up all but its fd, which is the server's, as `detached`, until it is
   given to Lua or what serves the connection ends. Returns it. */
int orr_connection_detach(struct orr_connection *connection, lua_State *L);

/* Gives Lua the connection itself, if the request that is the next to be
   answered is one after which another protocol follows. */
void orr_connection_hand_over(struct orr_connection *connection, lua_State *L);

/* requests.c: Takes in what the parser has found. Returns whether it is to go
   on. */
bool orr_connection_found(struct orr_connection *connection, lua_State *L,
                          enum orr_http_event event,
                          const struct orr_http_found *found);

/* Gives Lua what it has not been told of so far: a request, or some of its
   body. */
void orr_connection_deliver(struct orr_connection *connection, lua_State *L);

/* Answers a request that cannot be taken, and takes no more. */
void orr_connection_refuse(struct orr_connection *connection, lua_State *L,
                           int status, const char *reason);

/* Let go of an exchange, or a list of them, that is cut off, and tell Lua
   unless L is NULL. */
void orr_exchange_abandon(struct orr_exchange *exchange, lua_State *L);
void orr_exchanges_abandon(struct orr_exchange *first, lua_State *L);

/* Sends what is queued. Cuts the connection if it cannot be. */
void orr_connection_send(struct orr_connection *connection, lua_State *L);

/* Sends what the socket takes. 0 or -errno. */
int orr_connection_flush(struct orr_connection *connection);

/* Keeps what is queued until the socket is ready, when it is sent. 0 or
   -ENOMEM. */
int orr_connection_keep(struct orr_connection *connection);

/* Returns where to append what the connection is to send. */
struct orr_buffer *orr_connection_out(struct orr_connection *connection);

/* Returns how many bytes wait to be sent. */
size_t orr_connection_queued(const struct orr_connection *connection);

/* Exchanges ---------------------------------------------------------------- */

enum orr_framing { ORR_NO_BODY, ORR_LENGTH, ORR_CHUNKED, ORR_UNTIL_END };

struct orr_exchange {
  struct orr_exchange *next;     /* the younger one */
  struct orr_connection *at;     /* NULL: it is over, or has been cut off */
  struct orr_connection *origin; /* may be another one by now: see `number` */
  uint64_t origin_number;
  struct orr_http_server *server; /* closed, perhaps, but not collected */

  /* The request: its fields, and the bytes of the head, which lie behind. */
  const struct orr_http_field *fields;
  const char *bytes;
  uint32_t count; /* of fields; offsets and lengths are in the bytes */
  uint32_t method, method_length, url, url_length;
  uint32_t number; /* of its connection's requests, from 1 */
  uint8_t http_minor;
  bool keeps_alive, is_head, is_connect, upgrades, expects_continue;
  int live;      /* its place in the table of those that are; 0: it is not */
  bool over;     /* nothing more is to be done with it */
  bool counted;  /* among the requests in progress of the server's load */
  bool listed;   /* in one of its connection's lists */
  bool told;     /* Lua has the request */
  bool complete; /* all of it has been received */
  bool aborted;  /* the client, or we, cut it off */
  bool discards; /* nobody reads the body any more */
  bool wanted;   /* Lua is to be told when some of the body has come */
  bool has_news; /* some has */
  bool seen_request, seen_response; /* Lua has put something into them */
  struct orr_buffer body;           /* received, and not taken */

  /* The response. */
  uint16_t status;
  bool fixed;    /* the head may not be changed any more */
  bool head_out; /* it has been rendered */
  bool finished;
  bool closes; /* the connection ends with it */
  bool needs_drain, waits_flush;
  enum orr_framing framing;
  uint64_t left;             /* ORR_LENGTH: bytes of the body to come */
  struct orr_buffer reason;  /* the status message; empty: the standard one */
  struct orr_buffer headers; /* see response_headers.c */
  struct orr_buffer trailer_lines;
  struct orr_buffer information; /* the answer before the answer */
  struct orr_buffer out;         /* what waits for those before it */
};

/* Makes an exchange of the head that was found, or one without a request
   (NULL). It is live from then on. */
struct orr_exchange *orr_exchange_new(lua_State *L,
                                      struct orr_connection *connection,
                                      const struct orr_http_found *found);

/* Pushes the request, and the response, which is made: once for each. */
void orr_exchange_push(lua_State *L, struct orr_exchange *exchange);

/* Pushes the request, or the response, of one that is live; false, and nothing,
   if it is not. */
bool orr_exchange_push_live(lua_State *L, struct orr_exchange *exchange,
                            bool response);

/* Returns its connection, which may have others under way by now; NULL: that is
   over. For exchanges of a request. */
struct orr_connection *orr_exchange_origin(const struct orr_exchange *exchange);

/* Gives the request, whose index this is, what has come of the body and was not
   read: the exchange is going to be over. */
void orr_exchange_leave_body(struct orr_exchange *exchange, lua_State *L,
                             int request);

/* Takes it from the requests in progress. Again, it does nothing. */
void orr_exchange_uncount(struct orr_exchange *exchange);

/* Ends an exchange: lets go of it, and frees what is not Lua's. L may be NULL:
   the state is closing. */
void orr_exchange_over(struct orr_exchange *exchange, lua_State *L);

/* Returns where to append what it is to send; NULL: its client has gone. */
struct orr_buffer *orr_exchange_out(struct orr_exchange *exchange);

/* Renders the head of the response, once. `length` is the body's if it is known
   already, else -1. 0 or -ENOMEM. */
int orr_exchange_render(struct orr_exchange *exchange, int64_t length);

/* Tells whether the user has asked for a chunked body, and it may be one. */
bool orr_exchange_is_coded(const struct orr_exchange *exchange);

/* Notes that the response is complete. */
void orr_exchange_finished(struct orr_exchange *exchange, lua_State *L);

/* Tells the client to go on with its body. 0 or -ENOMEM. */
int orr_exchange_go_on(struct orr_exchange *exchange);

/* Answers a request that cannot be taken, or that has not come in time. */
int orr_exchange_refuse(struct orr_exchange *exchange, int status,
                        const char *reason);

/* Headers of a response ---------------------------------------------------- */

/* Sets, adds to, gets and removes headers as "name\0value\0" records. */
int orr_headers_add(struct orr_buffer *headers, const char *name,
                    size_t name_length, const char *value, size_t length);
void orr_headers_remove(struct orr_buffer *headers, const char *name,
                        size_t length);

/* Returns the next record of that name after `from` (NULL: the first), its
   value and the value's length; NULL: there is none. name NULL: any. */
const char *orr_headers_next(const struct orr_buffer *headers, const char *from,
                             const char *name, size_t name_length,
                             const char **value, size_t *length);

/* Returns the standard text of a status; "Unknown" if it has none. */
const char *orr_status_text(int status);

#endif
