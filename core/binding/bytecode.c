/* bytecode.c - modules from bytecode, which loads ten times faster than their
   source: a searcher for package.searchers.

   The bytecode of all modules is one file beside the core, modules.luac, that
   lua/orrery/cli/bytecode.lua writes. It is mapped: what is not asked for is
   not read, and no fd is needed later. Like the core's own file, it is only
   ever replaced, never written into, so what is mapped stays as it is. */
#include "binding.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The file: a header, the entries, the chunks, in this machine's byte order. */
struct header {
  char magic[52]; /* padded with zeros */
  uint32_t count; /* of entries */
  uint64_t size;  /* of the file */
};

struct entry {
  char name[32];                /* "cli", padded with zeros */
  int64_t size, seconds, nanos; /* of the source, and its mtime */
  uint32_t offset, length;      /* of the chunk */
};

_Static_assert(sizeof(struct header) == 64 && sizeof(struct entry) == 64,
               "bytecode.lua packs them so");

static const char magic[sizeof((struct header *)0)->magic] =
    "orrery's modules, compiled\n";

/* The userdata orrery.bytecode: the mapped file. */
struct bytecode {
  const struct header *file; /* NULL: there is none, or it is of no use */
  size_t size;
  struct timespec written, mapped; /* when, by the clock of files */
};

/* Returns whether it is a file of ours, whole, with room for its entries. */
static bool fits(const struct header *file, size_t size) {
  return memcmp(file->magic, magic, sizeof magic) == 0 && file->size == size &&
         file->count < size / sizeof(struct entry);
}

static void release(struct bytecode *self) {
  if (self->file != NULL)
    munmap((void *)(uintptr_t)self->file, self->size);
  self->file = NULL;
}

/* Maps the file. self->file stays NULL if there is none or it is of no use. */
static void map(struct bytecode *self, const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
      (size_t)st.st_size >= sizeof(struct header)) {
    self->size = (size_t)st.st_size;
    self->written = st.st_mtim;
    clock_gettime(CLOCK_REALTIME_COARSE, &self->mapped);
    void *file = mmap(NULL, self->size, PROT_READ, MAP_PRIVATE, fd, 0);
    self->file = file != MAP_FAILED ? file : NULL;
  }
  close(fd);
  if (self->file != NULL && !fits(self->file, self->size))
    release(self);
}

/* Returns the entry of a module, or NULL if it has none or its chunk lies
   outside the file. */
static const struct entry *find(const struct bytecode *self, const char *name) {
  if (self->file == NULL)
    return NULL;
  const struct entry *entry = (const struct entry *)(self->file + 1);
  for (uint32_t i = 0; i < self->file->count; i++, entry++)
    if (strncmp(entry->name, name, sizeof entry->name) == 0)
      return entry->offset <= self->size &&
                     entry->length <= self->size - entry->offset
                 ? entry
                 : NULL;
  return NULL;
}

/* In place of the time of a source that was to be copied without it. */
enum { COPIED = -1 };

static bool is_later(const struct timespec *a, const struct timespec *b) {
  return a->tv_sec > b->tv_sec ||
         (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* Returns whether the source was the one that the bytecode was made from when
   this process started: it has the same size and time or, if that was not
   known, is not newer than the bytecode's file. A source that was put there or
   removed since then is that of another version, as by an upgrade in place: it
   would not fit what is loaded already, as the bytecode does. */
static bool up_to_date(const struct bytecode *self, const struct entry *entry,
                       const char *source) {
  struct stat st;
  if (stat(source, &st) != 0 || is_later(&st.st_ctim, &self->mapped))
    return true;
  if (st.st_size != entry->size)
    return false;
  if (entry->seconds == COPIED)
    return st.st_mtim.tv_sec <= self->written.tv_sec;
  return st.st_mtim.tv_sec == entry->seconds &&
         st.st_mtim.tv_nsec == entry->nanos;
}

/* Returns the name by which the file knows a module of ours: "init" for
   "orrery", "cli.main" for "orrery.cli.main"; NULL if the module is not
   ours. */
static const char *file_of(const char *module) {
  static const char prefix[] = "orrery.";
  if (strcmp(module, "orrery") == 0)
    return "init";
  if (strncmp(module, prefix, sizeof prefix - 1) != 0)
    return NULL;
  return module + sizeof prefix - 1;
}

/* searcher(module) -> the loader, the path of the source. Returns nothing if
   the module is to be found in another way: it is not ours, its source has
   changed, or the bytecode is not for this Lua. */
static int l_search(lua_State *L) {
  const struct bytecode *self = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = file_of(luaL_checkstring(L, 1));
  const struct entry *entry = name != NULL ? find(self, name) : NULL;
  if (entry == NULL)
    return 0;
  const char *path = luaL_gsub(L, name, ".", "/");
  const char *source = lua_pushfstring(
      L, "%s%s.lua", lua_tostring(L, lua_upvalueindex(2)), path);
  if (!up_to_date(self, entry, source) ||
      luaL_loadbufferx(L, (const char *)self->file + entry->offset,
                       entry->length, source, "b") != LUA_OK)
    return 0;
  lua_insert(L, -2);
  return 2;
}

/* core.bytecode(folder) -> a searcher for package.searchers, of the modules
   whose sources are in `folder`, a path that ends in "/". It finds nothing if
   there is no bytecode. */
static int l_bytecode(lua_State *L) {
  orr_check_cstring(L, 1);
  const char *core = lua_tostring(L, lua_upvalueindex(1));
  const char *slash = strrchr(core, '/');
  struct bytecode *self = lua_newuserdatauv(L, sizeof *self, 0);
  *self = (struct bytecode){.file = NULL};
  luaL_setmetatable(L, ORR_BYTECODE);
  if (slash != NULL) {
    lua_pushlstring(L, core, (size_t)(slash + 1 - core));
    lua_pushliteral(L, "modules.luac");
    lua_concat(L, 2);
    map(self, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, l_search, 2);
  return 1;
}

/* Unmaps the file. Functions that were loaded from it are copies. */
static int m_gc(lua_State *L) {
  release(luaL_checkudata(L, 1, ORR_BYTECODE));
  return 0;
}

void orr_open_bytecode(lua_State *L, const char *core) {
  static const luaL_Reg methods[] = {{NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc}, {NULL, NULL}};
  orr_class(L, ORR_BYTECODE, methods, meta);
  lua_pushstring(L, core);
  lua_pushcclosure(L, l_bytecode, 1);
  lua_setfield(L, -2, "bytecode");
}
