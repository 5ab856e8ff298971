/* http.c - opens the library that lua/orrery/http/native.lua loads. It is not
   part of the core: llhttp is there for processes that speak HTTP, and for no
   others. */
#include "http.h"
#include "server.h"

/* All else is hidden if the build can hide it. */
__attribute__((visibility("default"))) int luaopen_orrery_http(lua_State *L);

/* luaopen_orrery_http() -> the module: parser and headers for clients, server,
   and the classes of its requests and responses. */
int luaopen_orrery_http(lua_State *L) {
  lua_createtable(L, 0, 5);
  orr_http_open_parser(L);
  orr_http_open_headers(L);
  orr_open_http_server(L);
  orr_open_http_request(L);
  orr_open_http_response(L);
  return 1;
}
