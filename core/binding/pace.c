/* pace.c - compares the time that values take with that of ordinary ones: see
   pace.h. What the machine, a sanitizer or an emulator makes slow is as slow
   for those.

   The collector is slow at times as well, and so is a list that grows, without
   anybody's fault. So the time of slow stretches is added up, and may be as
   much as collecting the heap some times takes: honest messages were found to
   stay at a third of that, in either mode of the collector. */
#include "pace.h"

#include <stdio.h>
#include <time.h>

enum {
  MOST = 20,             /* times the ordinary time: more is slow */
  SUSPECT = 1000 * 1000, /* ns: what takes less is taken for ordinary */
  LEAST = 1000,          /* ns: nothing ordinary takes less ... */
  USUAL = 200 * 1000,    /* ... and this is what it takes if we cannot tell */
  SLOW = 2000,           /* ordinary stretches that slow ones may last */
  HEAP = 40,             /* KiB of the heap that allow one more */
};

/* Returns this thread's CPU time in ns: waiting for a processor is nobody's
   fault. */
static int64_t cpu_time(void) {
  struct timespec now = {0};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Returns how long ORR_PACE_VALUES ordinary values take now, in ns: a map of
   short strings. Where this clock goes by steps of 10 ms (gVisor), it cannot
   tell, and then it shall not make what is ordinary seem slow. */
static double time_ordinary(lua_State *L) {
  char key[] = "ordinary 000";
  int64_t start = cpu_time();
  lua_createtable(L, 0, ORR_PACE_VALUES / 2);
  for (int i = 0; i < ORR_PACE_VALUES / 2; i++) { /* a pair is two values */
    snprintf(key, sizeof key, "ordinary %03x", (unsigned)i & 0xfff);
    lua_pushstring(L, key);
    lua_pushinteger(L, i);
    lua_rawset(L, -3);
  }
  lua_pop(L, 1);
  int64_t took = cpu_time() - start;
  return (double)(took < LEAST ? USUAL : took);
}

/* Ends a stretch of `values`, if one was begun, and begins the next. */
static bool end_stretch(lua_State *L, struct orr_pace *pace, int64_t values) {
  int64_t took = pace->read > 0 ? cpu_time() - pace->read : 0;
  if (took > SUSPECT * values / ORR_PACE_VALUES) {
    double ordinary = time_ordinary(L), stretches = (double)took / ordinary;
    if (stretches > MOST * (double)values / ORR_PACE_VALUES)
      pace->slow += stretches;
  }
  pace->left = ORR_PACE_VALUES;
  pace->read = cpu_time();
  int heap = lua_gc(L, LUA_GCCOUNT);
  return pace->slow <= SLOW + (double)heap / HEAP;
}

bool orr_keeps_pace(lua_State *L, struct orr_pace *pace) {
  pace->left--;
  return pace->left > 0 || end_stretch(L, pace, ORR_PACE_VALUES - pace->left);
}
