/* bytecode.c - modules from bytecode, which loads ten times faster than their
   source: a searcher for package.searchers.

   The bytecode of all modules is one file beside the core, modules.luac, that
   lua/orrery/cli/bytecode.lua writes. It is mapped: what is not asked for is
   not read, and no fd is needed later. We only ever replace it, but others may
   cut or change it in place. So nothing is read where it is mapped, which would
   be SIGBUS, but copied; and what is copied has a sum. */
#include "binding.h"
#include "engine/io.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The file: a header, the entries, the chunks, in this machine's byte order. */
struct header {
  char magic[44]; /* padded with zeros */
  uint32_t count; /* of entries */
  uint64_t size;  /* of the file */
  uint64_t sum;   /* of the entries */
};

struct entry {
  char name[32];                /* "cli", padded with zeros */
  int64_t size, seconds, nanos; /* of the source, and its mtime */
  uint32_t offset, length;      /* of the chunk */
  uint64_t sum;                 /* of the chunk */
};

_Static_assert(sizeof(struct header) == 64 && sizeof(struct entry) == 72,
               "bytecode.lua packs them so");

static const char magic[sizeof((struct header *)0)->magic] =
    "orrery's modules, compiled, with sums\n";

/* The userdata orrery.bytecode: the mapped file. */
struct bytecode {
  const char *file; /* mapped; NULL: there is none, or it is of no use */
  pid_t pid;        /* of this process when it was mapped */
  size_t size;
  struct timespec written, mapped; /* when, by the clock of files */
  uint32_t count;
  struct entry *entries; /* owned */
  char *chunk;           /* owned; has room for the longest */
};

static void release(struct bytecode *self) {
  if (self->file != NULL)
    munmap((void *)(uintptr_t)self->file, self->size);
  free(self->entries);
  free(self->chunk);
  self->file = NULL;
  self->entries = NULL;
  self->chunk = NULL;
}

/* Returns a sum of bytes in which a change of any is seen; the last word is
   padded with zeros. bytecode.lua computes the same. */
static uint64_t sum_of(const void *data, size_t size) {
  uint64_t sum = size;
  for (size_t at = 0; at < size; at += sizeof sum) {
    uint64_t word = 0;
    memcpy(&word, (const char *)data + at,
           size - at < sizeof word ? size - at : sizeof word);
    sum = (sum ^ word) * 0x9e3779b97f4a7c15U;
    sum ^= sum >> 32;
  }
  return sum;
}

/* Copies a part of the file that has this sum. Returns whether it could. */
static bool copy(const struct bytecode *self, void *to, size_t offset,
                 size_t size, uint64_t sum) {
  return offset <= self->size && size <= self->size - offset &&
         orr_copy(self->pid, to, self->file + offset, size) == 0 &&
         sum_of(to, size) == sum;
}

/* Reads the entries, and makes room for the longest chunk. Returns whether it
   is a file of ours, whole. */
static bool read_entries(struct bytecode *self) {
  struct header header;
  size_t longest = 1;
  if (orr_copy(self->pid, &header, self->file, sizeof header) < 0 ||
      memcmp(header.magic, magic, sizeof magic) != 0 ||
      header.size != self->size ||
      header.count >= self->size / sizeof(struct entry))
    return false;
  size_t size = header.count * sizeof(struct entry);
  self->entries = malloc(size + 1);
  if (self->entries == NULL ||
      !copy(self, self->entries, sizeof header, size, header.sum))
    return false;
  self->count = header.count;
  for (uint32_t i = 0; i < self->count; i++)
    if (self->entries[i].length > longest)
      longest = self->entries[i].length;
  self->chunk = malloc(longest);
  return self->chunk != NULL;
}

/* Maps the file. self->file stays NULL if there is none or it is of no use. */
static void map(struct bytecode *self, const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
      (size_t)st.st_size >= sizeof(struct header)) {
    self->pid = getpid();
    self->size = (size_t)st.st_size;
    self->written = st.st_mtim;
    clock_gettime(CLOCK_REALTIME_COARSE, &self->mapped);
    void *file = mmap(NULL, self->size, PROT_READ, MAP_PRIVATE, fd, 0);
    self->file = file != MAP_FAILED ? file : NULL;
  }
  close(fd);
  if (self->file != NULL && !read_entries(self))
    release(self);
}

/* Returns the entry of a module, or NULL. */
static const struct entry *find(const struct bytecode *self, const char *name) {
  if (self->file == NULL)
    return NULL;
  const struct entry *entry = self->entries;
  for (uint32_t i = 0; i < self->count; i++, entry++)
    if (strncmp(entry->name, name, sizeof entry->name) == 0)
      return entry;
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
   the module is to be found in another way: it is not ours, its source or its
   bytecode has changed, or the bytecode is not for this Lua. */
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
      !copy(self, self->chunk, entry->offset, entry->length, entry->sum) ||
      luaL_loadbufferx(L, self->chunk, entry->length, source, "b") != LUA_OK)
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

/* Unmaps the file. Functions that were loaded from it stay. */
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
