/* ending.c - the table core.ending: how this process ends by a signal, and what
   it leaves of its terminal. */
#include "engine/ending.h"
#include "binding.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>

/* Tells whether a signal handler is of a library. One of the program itself is
   taken for lua5.4's, which raises "interrupted!" amid a script. */
static bool is_foreign(void (*handler)(int)) {
  Dl_info program, other;
  void *entry = (void *)(uintptr_t)getauxval(AT_ENTRY);
  void *address = (void *)(uintptr_t)handler;
  return dladdr(entry, &program) == 0 || dladdr(address, &other) == 0 ||
         program.dli_fbase != other.dli_fbase;
}

/* own(): takes SIGINT, SIGTERM and SIGHUP over for this process. */
static int l_own(lua_State *L) {
  (void)L;
  orr_ending_own(is_foreign);
  return 0;
}

static int check_signal(lua_State *L, int arg) {
  lua_Integer signal = luaL_checkinteger(L, arg);
  luaL_argcheck(L, signal > 0 && signal <= 64, arg, "not a signal");
  return (int)signal;
}

/* own_again(signal): takes one of the three over again, after another handler
   for it has gone. Does nothing if own() has not taken it. */
static int l_own_again(lua_State *L) {
  orr_ending_own_again(check_signal(L, 1));
  return 0;
}

/* fd() -> the fd that is readable once a signal is noted; nil, errno (EMFILE;
   ECANCELED: the signals are not ours). */
static int l_fd(lua_State *L) {
  int fd = orr_ending_fd();
  if (fd < 0)
    return orr_fail(L, -fd);
  lua_pushinteger(L, fd);
  return 1;
}

/* noted() -> the number of the signal that was noted; nil: none. */
static int l_noted(lua_State *L) {
  bool from_terminal;
  int signal = orr_ending_noted(&from_terminal);
  if (signal == 0)
    return 0;
  lua_pushinteger(L, signal);
  return 1;
}

/* keep_terminal(): remembers the state of the terminal, which is put back when
   this process ends. */
static int l_keep_terminal(lua_State *L) {
  (void)L;
  orr_ending_keep_terminal();
  return 0;
}

/* hold_for(seconds): there is something to do before this process ends by a
   signal, which takes that long at most; 0: nothing any more. */
static int l_hold_for(lua_State *L) {
  lua_Integer seconds = luaL_checkinteger(L, 1);
  luaL_argcheck(L, seconds >= 0 && seconds <= INT32_MAX / 2, 1, "out of range");
  orr_ending_hold_for((int)seconds);
  return 0;
}

/* note(signal): acts as if the signal had come. */
static int l_note(lua_State *L) {
  orr_ending_note(check_signal(L, 1));
  return 0;
}

/* pass_on(): sends the signal that was noted to each child that is to die with
   this process, unless it has it from the terminal. */
static int l_pass_on(lua_State *L) {
  bool from_terminal;
  int signal = orr_ending_noted(&from_terminal);
  if (signal != 0)
    orr_signal_held(L, signal == SIGPIPE ? SIGTERM : signal, from_terminal);
  return 0;
}

/* finish(): kills each child that is to die with this process, and ends it by
   the signal that was noted. Returns only if there is none. */
static int l_finish(lua_State *L) {
  bool from_terminal;
  int signal = orr_ending_noted(&from_terminal);
  if (signal == 0)
    return 0;
  orr_signal_held(L, SIGKILL, false);
  orr_end_by(signal);
}

void orr_open_ending(lua_State *L) {
  static const luaL_Reg functions[] = {{"own", l_own},
                                       {"own_again", l_own_again},
                                       {"fd", l_fd},
                                       {"noted", l_noted},
                                       {"pass_on", l_pass_on},
                                       {"hold_for", l_hold_for},
                                       {"note", l_note},
                                       {"finish", l_finish},
                                       {"keep_terminal", l_keep_terminal},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "ending");
}
