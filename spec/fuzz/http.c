/* http.c - fuzzes the parser of HTTP. What it finds in bytes must not depend on
   how they are cut, lie in them, and have nothing in it that others read
   differently. Some inputs go to the userdata that Lua has of it, while memory
   may be short. */
#include "http/http.h"
#include "http/message.h"
#include "values.h"

#include <ctype.h>
#include <string.h>

int luaopen_orrery_http(lua_State *L);

enum { MOST = 64 * 1024 }; /* bytes of an input's messages */

/* What an input's first byte says. */
enum { RESPONSES = 1, SKIPS = 2, NO_UPGRADES = 4, SMALL = 8, IN_LUA = 16 };

struct test {
  unsigned options, seed;
  const uint8_t *bytes;
  size_t size;
  struct orr_http_fields fields;
};

/* What was found, for comparison: bytes of a body are one, however many pieces
   they have come in. */
struct story {
  char *text;
  size_t length, capacity;
  bool in_body;
};

static void tell(struct story *story, const void *bytes, size_t length) {
  if (length > story->capacity - story->length) {
    story->capacity = 2 * story->capacity + length;
    story->text = realloc(story->text, story->capacity);
    CHECK(story->text != NULL);
  }
  if (length > 0)
    memcpy(story->text + story->length, bytes, length);
  story->length += length;
}

static void tell_word(struct story *story, const char *word) {
  tell(story, word, strlen(word) + 1);
}

/* Gives the length of the next piece: all, one byte, or by a random number. */
static size_t next_piece(unsigned *seed, size_t left) {
  if (*seed == 0 || left == 0)
    return left;
  if (*seed == 1)
    return 1;
  *seed = *seed * 1103515245 + 12345;
  size_t piece = (*seed >> 16) % 24 + 1;
  return piece < left ? piece : left;
}

static bool is_token(const char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (!isalnum((unsigned char)bytes[i]) &&
        (bytes[i] == '\0' || strchr("!#$%&'*+-.^_`|~", bytes[i]) == NULL))
      return false;
  return length > 0;
}

static bool is_text(const char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (iscntrl((unsigned char)bytes[i]) && bytes[i] != '\t')
      return false;
  return true;
}

/* Returns how many fields have a name, which is given in small letters. */
static int count_named(const struct orr_http_fields *fields, const char *base,
                       const char *name) {
  int count = 0;
  for (size_t i = 0; i < fields->count; i++) {
    const struct orr_http_field *field = &fields->list[i];
    size_t n = 0;
    while (n < field->name_length && name[n] != '\0' &&
           tolower((unsigned char)base[field->name + n]) == name[n])
      n++;
    count += n == field->name_length && name[n] == '\0';
  }
  return count;
}

static void tell_fields(struct story *story,
                        const struct orr_http_fields *fields,
                        const struct orr_http_found *found) {
  for (size_t i = 0; i < fields->count; i++) {
    const struct orr_http_field *field = &fields->list[i];
    const char *name = found->data + field->name;
    const char *value = found->data + field->value;
    CHECK(field->name + field->name_length < found->length);
    CHECK(field->value + field->value_length <= found->length);
    CHECK(is_token(name, field->name_length));
    CHECK(is_text(value, field->value_length));
    tell(story, name, field->name_length);
    tell_word(story, ":");
    tell(story, value, field->value_length);
    tell_word(story, "");
  }
}

static void check_framing(const struct orr_http_parser *parser,
                          const struct orr_http_found *found) {
  const struct orr_http_fields *fields = parser->fields;
  int hosts = count_named(fields, found->data, "host");
  int lengths = count_named(fields, found->data, "content-length");
  int codings = count_named(fields, found->data, "transfer-encoding");
  CHECK(lengths + codings <= 1);
  CHECK(codings == 0 || parser->llhttp.http_minor == 1);
  CHECK(lengths == 0 || parser->llhttp.content_length < UINT64_C(1) << 53);
  if (parser->llhttp.type == HTTP_REQUEST)
    CHECK(hosts == 1 || (hosts == 0 && parser->llhttp.http_minor == 0));
}

static void tell_head(struct story *story, const struct orr_http_parser *parser,
                      const struct orr_http_found *found) {
  CHECK(found->length <= parser->max_head);
  CHECK(memcmp(found->data + found->length - 4, "\r\n\r\n", 4) == 0);
  CHECK(found->url.at + found->url.length <= found->length);
  CHECK(is_text(found->data + found->url.at, found->url.length));
  if (parser->llhttp.type == HTTP_REQUEST) {
    CHECK(is_token(found->data + found->method.at, found->method.length));
    CHECK(found->url.length > 0);
    CHECK(memchr(found->data + found->url.at, ' ', found->url.length) == NULL);
  }
  check_framing(parser, found);
  tell_word(story, orr_http_keeps_alive(parser) ? "head" : "last head");
  tell(story, found->data, found->length);
  tell_fields(story, parser->fields, found);
}

static void tell_event(struct story *story, struct orr_http_parser *parser,
                       enum orr_http_event event,
                       const struct orr_http_found *found) {
  if (event == ORR_HTTP_HEAD) {
    tell_head(story, parser, found);
  } else if (event == ORR_HTTP_BODY) {
    CHECK(found->length > 0);
    if (!story->in_body)
      tell_word(story, "body");
    tell(story, found->data, found->length);
  } else if (event == ORR_HTTP_END) {
    tell_word(story, "end");
    CHECK(count_named(parser->fields, found->data, "content-length") == 0);
    CHECK(count_named(parser->fields, found->data, "host") == 0);
    tell_fields(story, parser->fields, found);
  } else if (event == ORR_HTTP_ERROR) {
    CHECK(found->status >= 400 && found->status <= 505);
    tell_word(story, found->reason);
  }
  story->in_body = event == ORR_HTTP_BODY;
}

/* Asks for what comes next in bytes that have nothing behind them. Returns how
   many were used. */
static size_t tell_next(struct story *story, struct orr_http_parser *parser,
                        const uint8_t *bytes, size_t length,
                        enum orr_http_event *event) {
  struct orr_http_found found;
  char *copy = malloc(length > 0 ? length : 1);
  CHECK(copy != NULL);
  if (length > 0)
    memcpy(copy, bytes, length);
  *event = orr_http_next(parser, length > 0 ? copy : NULL, length, &found);
  CHECK(found.used <= length);
  if (*event != ORR_HTTP_MORE)
    tell_event(story, parser, *event, &found);
  free(copy);
  return found.used;
}

static void tell_finish(struct story *story, struct orr_http_parser *parser) {
  struct orr_http_found found;
  enum orr_http_event event = orr_http_finish(parser, &found);
  story->in_body = false;
  tell_event(story, parser, event, &found);
  event = orr_http_finish(parser, &found);
  CHECK(event == ORR_HTTP_MORE || event == ORR_HTTP_ERROR);
}

/* Gives a parser the input in pieces, and tells what it finds. */
static struct story read_pieces(struct test *test, unsigned seed) {
  struct story story = {0};
  struct orr_http_parser parser;
  enum orr_http_event event;
  size_t used = 0, given = 0;
  orr_http_init(&parser,
                test->options & RESPONSES ? HTTP_RESPONSE : HTTP_REQUEST,
                &test->fields, test->options & SMALL ? 64 : 16 * 1024);
  for (size_t steps = 0;; steps++) {
    CHECK(steps <= 8 * test->size + 8);
    used +=
        tell_next(&story, &parser, test->bytes + used, given - used, &event);
    if (event == ORR_HTTP_HEAD && test->options & SKIPS)
      orr_http_skip_body(&parser);
    if (event == ORR_HTTP_HEAD && test->options & NO_UPGRADES)
      orr_http_no_upgrade(&parser);
    if (event == ORR_HTTP_ERROR ||
        (event == ORR_HTTP_MORE && given == test->size))
      break;
    if (event == ORR_HTTP_MORE)
      given += next_piece(&seed, test->size - given);
  }
  if (event == ORR_HTTP_MORE)
    tell_finish(&story, &parser);
  return story;
}

static void check_same(struct test *test, const struct story *whole,
                       unsigned seed) {
  struct story story = read_pieces(test, seed);
  CHECK(story.length == whole->length);
  CHECK(story.length == 0 ||
        memcmp(story.text, whole->text, whole->length) == 0);
  free(story.text);
}

static void run_pieces(struct test *test) {
  struct story whole = read_pieces(test, 0);
  check_same(test, &whole, 1);
  for (unsigned i = 0; i < 4; i++)
    check_same(test, &whole, 2 + test->seed + 256 * i);
  free(whole.text);
  orr_http_fields_free(&test->fields);
}

/* Calls a method of the parser at 2 with the values above `top`, which it
   replaces by its results. */
static void call(lua_State *L, const char *method, int top) {
  int arguments = lua_gettop(L) - top;
  lua_getfield(L, 2, method);
  lua_insert(L, top + 1);
  lua_pushvalue(L, 2);
  lua_insert(L, top + 2);
  lua_call(L, arguments + 1, LUA_MULTRET);
}

/* Asks the parser for all there is, and the module for tables of headers. */
static void take_all(lua_State *L, size_t most) {
  for (size_t steps = 0; steps <= 8 * most + 8; steps++) {
    lua_settop(L, 2);
    call(L, "next", 2);
    if (lua_isnil(L, 3) || strcmp(lua_tostring(L, 3), "error") == 0)
      return;
    if (!lua_istable(L, 4))
      continue;
    lua_getfield(L, 1, "headers");
    if (lua_getfield(L, 4, "raw_headers") != LUA_TTABLE) {
      lua_pop(L, 1);
      lua_pushvalue(L, 4); /* trailers */
    }
    lua_call(L, 1, 1);
    CHECK(lua_istable(L, -1));
  }
  CHECK(false);
}

static int run_in_lua(lua_State *L) {
  struct test *test = lua_touserdata(L, 1);
  lua_settop(L, 0);
  luaL_requiref(L, "orrery.http", luaopen_orrery_http, 0);
  lua_getfield(L, 1, "parser");
  lua_pushstring(L, test->options & RESPONSES ? "response" : "request");
  lua_pushinteger(L, test->options & SMALL ? 64 : 16 * 1024);
  lua_call(L, 2, 1);
  unsigned seed = 2 + test->seed;
  size_t piece;
  for (size_t at = 0; at < test->size; at += piece) {
    piece = next_piece(&seed, test->size - at);
    lua_settop(L, 2);
    lua_pushlstring(L, (const char *)test->bytes + at, piece);
    call(L, "feed", 2);
    take_all(L, test->size);
  }
  lua_settop(L, 2);
  call(L, "finish", 2);
  lua_settop(L, 2);
  call(L, "rest", 2);
  CHECK(lua_type(L, 3) == LUA_TSTRING);
  return 0;
}

/* The second byte says how the bytes are cut, and in Lua after how many
   allocations all others fail; 0: none does. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  struct test test = {.options = next_byte(&input), .seed = next_byte(&input)};
  test.size = next_bytes(&input, MOST, &test.bytes);
  if (!(test.options & IN_LUA)) {
    run_pieces(&test);
    return 0;
  }
  struct memory memory;
  lua_State *L = open_state(&memory);
  run_in_state(L, &memory, run_in_lua, &test, (long)test.seed);
  lua_close(L);
  CHECK(memory.used == 0);
  return 0;
}
