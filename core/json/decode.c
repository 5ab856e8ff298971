/* decode.c - JSON text to Lua values: jansson parses, and its tree becomes
   tables. The text may be hostile. The tree belongs to a userdata, and is freed
   branch by branch while the tables are made. */
#include "binding/pace.h"
#include "binding/values.h"
#include "json.h"

#include <jansson.h>
#include <limits.h>
#include <locale.h>
#include <string.h>

#define TREE "orrery.json.tree"

enum { FLAGS = JSON_DECODE_ANY | JSON_ALLOW_NUL };

/* Bytes of memory that jansson's tree and Lua's tables may take together, for
   each of the text: records take 10 to 20, a list of digits 24, `[],[]` 60. Any
   text may take LEAST_BUDGET, and none more than MOST_BUDGET: a bound of the
   text's length alone would let 256 MiB become 20 GB. */
enum {
  BUDGET_FACTOR = 32,
  LEAST_BUDGET = 128 * 1024 * 1024,
  MOST_BUDGET = 512 * 1024 * 1024
};

/* What they take for each of these, about, and for half a string beside its
   bytes. */
enum {
  LIST_COST = 128,
  OBJECT_COST = 224,
  PAIR_COST = 96,
  ITEM_COST = 48,
  QUOTE_COST = 48 /* charged at its end */
};

struct tree {
  json_t *root;
  char nul[4]; /* see struct orr_json_mended */
  struct orr_pace pace;
  bool late; /* it did not keep it */
};

/* Frees the tree of a `decode` that raised. */
static int m_gc(lua_State *L) {
  struct tree *tree = luaL_checkudata(L, 1, TREE);
  json_decref(tree->root);
  tree->root = NULL;
  return 0;
}

/* Pushes and returns an empty tree. */
static struct tree *new_tree(lua_State *L) {
  struct tree *tree = lua_newuserdatauv(L, sizeof *tree, 0);
  tree->root = NULL;
  luaL_setmetatable(L, TREE);
  return tree;
}

/* Pushes and returns the tree that decode has as an upvalue, empty. It is not
   empty if an error of Lua came between, or if this is a finalizer's call amid
   another: decode then gets a new one, and the old one is left to the
   collector. */
static struct tree *push_tree(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  struct tree *tree = lua_touserdata(L, -1);
  if (tree->root == NULL)
    return tree;
  tree = new_tree(L);
  lua_copy(L, -1, lua_upvalueindex(1));
  return tree;
}

/* Parses with jansson; NULL: see `error`. In the C locale, whatever the
   program's is: jansson knows decimal points other than a dot, and aborts over
   those of several bytes. */
static json_t *load(const char *text, size_t length, json_error_t *error) {
  locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  locale_t before = uselocale(plain);
  json_t *root = json_loadb(text, length, FLAGS, error);
  uselocale(before);
  freelocale(plain);
  return root;
}

/* Parses into `tree`, if need be after mending the text. Returns whether it
   could; if not, see `error`. Calls nothing of Lua, which could raise. */
static bool parse(struct tree *tree, const char *text, size_t length,
                  json_error_t *error) {
  tree->nul[0] = '\0';
  tree->pace = (struct orr_pace)ORR_PACE;
  tree->late = false;
  tree->root = load(text, length, error);
  if (tree->root != NULL)
    return true;
  struct orr_json_mended mended = orr_json_mend(text, length);
  if (mended.text == NULL)
    return false;
  memcpy(tree->nul, mended.nul, sizeof tree->nul);
  tree->root = load(mended.text, mended.length, error);
  free(mended.text);
  return tree->root != NULL;
}

/* Pushes the string with NUL bytes for what the tree has in their place. */
static void push_mended(lua_State *L, const struct tree *tree, const char *text,
                        size_t length) {
  const char *end = text + length, *found;
  size_t n = strlen(tree->nul);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  while ((found = memmem(text, (size_t)(end - text), tree->nul, n)) != NULL) {
    luaL_addlstring(&buffer, text, (size_t)(found - text));
    luaL_addchar(&buffer, '\0');
    text = found + n;
  }
  luaL_addlstring(&buffer, text, (size_t)(end - text));
  luaL_pushresult(&buffer);
}

static void push_string(lua_State *L, struct tree *tree, const char *text,
                        size_t length) {
  orr_pace_bytes(&tree->pace, length);
  if (tree->nul[0] == '\0')
    lua_pushlstring(L, text, length);
  else
    push_mended(L, tree, text, length);
}

/* Counts a value or a key. Returns false if they take too much time. */
static bool keep_pace(lua_State *L, struct tree *tree) {
  tree->late = !orr_keeps_pace(L, &tree->pace);
  return !tree->late;
}

/* Pushes a value that is inside of `depth` others. Returns false if they are
   too many, or take too much time; then there may be more on the stack. */
static bool push_value(lua_State *L, struct tree *tree, json_t *value,
                       int depth);

/* Returns a hint for a table's size: an int that a hostile text cannot
   overflow. */
static int size_hint(size_t size) {
  return size < INT_MAX ? (int)size : INT_MAX;
}

/* Pushes an array as a list. What is pushed is freed in the tree, so that text,
   tree and tables are never there whole at the same time. */
static bool push_array(lua_State *L, struct tree *tree, json_t *array,
                       int depth) {
  size_t n = json_array_size(array);
  lua_createtable(L, size_hint(n), 0);
  if (n == 0)
    orr_mark_list(L);
  for (size_t i = 0; i < n; i++) {
    if (!push_value(L, tree, json_array_get(array, i), depth))
      return false;
    json_array_set_new(array, i, json_null());
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return true;
}

static bool push_object(lua_State *L, struct tree *tree, json_t *object,
                        int depth) {
  lua_createtable(L, 0, size_hint(json_object_size(object)));
  void *at = json_object_iter(object);
  for (; at != NULL; at = json_object_iter_next(object, at)) {
    const char *key = json_object_iter_key(at);
    push_string(L, tree, key, strlen(key)); /* jansson refuses NUL in keys */
    if (!keep_pace(L, tree) ||
        !push_value(L, tree, json_object_iter_value(at), depth))
      return false;
    json_object_iter_set_new(object, at, json_null());
    lua_rawset(L, -3);
  }
  return true;
}

static bool push_value(lua_State *L, struct tree *tree, json_t *value,
                       int depth) {
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (!keep_pace(L, tree))
    return false;
  switch (json_typeof(value)) {
  case JSON_OBJECT:
    return depth < ORR_MAX_DEPTH && push_object(L, tree, value, depth + 1);
  case JSON_ARRAY:
    return depth < ORR_MAX_DEPTH && push_array(L, tree, value, depth + 1);
  case JSON_STRING:
    push_string(L, tree, json_string_value(value), json_string_length(value));
    return true;
  case JSON_INTEGER:
    lua_pushinteger(L, json_integer_value(value));
    return true;
  case JSON_REAL:
    lua_pushnumber(L, json_real_value(value));
    return true;
  case JSON_TRUE:
  case JSON_FALSE:
    lua_pushboolean(L, json_is_true(value));
    return true;
  case JSON_NULL:
    break;
  }
  orr_push_null(L);
  return true;
}

static int fail_depth(lua_State *L) {
  luaL_pushfail(L);
  lua_pushfstring(L, "JSON of more than %d levels", ORR_MAX_DEPTH);
  return 2;
}

static int fail_late(lua_State *L) {
  luaL_pushfail(L);
  lua_pushliteral(L,
                  "invalid JSON: it takes too much time: its strings collide");
  return 2;
}

/* Pushes nil, message. jansson quotes the text, which may contain commands for
   a terminal: they are made harmless. */
static int fail(lua_State *L, json_error_t *error) {
  enum json_error_code code = json_error_code(error);
  if (code == json_error_stack_overflow)
    return fail_depth(L);
  for (char *c = error->text; *c != '\0'; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      *c = '?';
  luaL_pushfail(L);
  lua_pushfstring(L, "invalid JSON at byte %d: %s", error->position,
                  error->text);
  return 2;
}

/* Returns what a character of the text, outside of strings, tells to take. */
static size_t cost_of(char c) {
  switch (c) {
  case '[':
    return LIST_COST;
  case '{':
    return OBJECT_COST;
  case ':':
    return PAIR_COST;
  case ',':
    return ITEM_COST;
  case '"':
    return QUOTE_COST;
  default:
    return 0;
  }
}

/* Returns how many bytes of memory the values of the text would take. */
static size_t measure(const char *text, size_t length) {
  size_t cost = 0;
  bool quoted = false;
  for (size_t i = 0; i < length; i++) {
    if (quoted && text[i] == '\\')
      i++;
    else if (text[i] == '"')
      quoted = !quoted;
    if (!quoted)
      cost += cost_of(text[i]);
  }
  return cost;
}

/* Returns whether the values of the text would take more memory than they
   may. */
static bool takes_too_much(const char *text, size_t length) {
  size_t budget = length * BUDGET_FACTOR;
  if (length <= LEAST_BUDGET / OBJECT_COST)
    return false;
  if (budget < LEAST_BUDGET)
    budget = LEAST_BUDGET;
  if (budget > MOST_BUDGET)
    budget = MOST_BUDGET;
  return measure(text, length) > budget;
}

/* json.decode(string) -> value; nil, message: it is no JSON, too deep, or would
   take too much memory or time. Raises if memory is short. */
static int l_decode(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  size_t length;
  const char *text = lua_tolstring(L, 1, &length);
  const char *nul = memchr(text, '\0', length);
  if (nul != NULL) { /* jansson takes it for a blank after a number */
    luaL_pushfail(L);
    lua_pushfstring(L, "invalid JSON at byte %d: NUL byte",
                    (int)(nul - text) + 1);
    return 2;
  }
  if (takes_too_much(text, length)) {
    luaL_pushfail(L);
    lua_pushliteral(L, "invalid JSON: it would take too much memory");
    return 2;
  }
  struct tree *tree = push_tree(L);
  json_error_t error;
  if (!parse(tree, text, length, &error))
    return fail(L, &error);
  bool pushed = push_value(L, tree, tree->root, 0);
  json_decref(tree->root);
  tree->root = NULL;
  if (pushed)
    return 1;
  return tree->late ? fail_late(L) : fail_depth(L);
}

void orr_json_open_decode(lua_State *L) {
  luaL_newmetatable(L, TREE);
  lua_pushcfunction(L, m_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  new_tree(L);
  lua_pushcclosure(L, l_decode, 1);
  lua_setfield(L, -2, "decode");
}
