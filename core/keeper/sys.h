/* sys.h - system calls for a program without libc, on x86-64 and ARM64.

   Each returns what the kernel does: a result, or -errno. */
#ifndef ORR_KEEPER_SYS_H
#define ORR_KEEPER_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/time_types.h>

#ifndef AT_FDCWD
#define AT_FDCWD -100
#endif

/* The flags of open that differ between architectures come with fcntl.h. */
#include <asm/fcntl.h>

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e,
                        long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long rc;
  __asm__ volatile("syscall"
                   : "=a"(rc)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return rc;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e,
                        long f) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
}
#else
#error "the keeper knows x86-64 and ARM64 only"
#endif

#ifdef __clang_analyzer__
/* It does not see that the kernel writes to what it is given. */
long analyzed_call(long n, ...);
#define SYS(n, ...) analyzed_call(n, __VA_ARGS__)
#else
#define SYS(n, ...) SYS_(n, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_(n, a, b, c, d, e, f, ...)                                         \
  sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#endif

static inline long sys_open(const char *path, int flags) {
  return SYS(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}
static inline long sys_close(int fd) {
  return SYS(__NR_close, fd);
}
static inline long sys_read(int fd, void *data, size_t size) {
  return SYS(__NR_read, fd, data, size);
}
static inline long sys_write(int fd, const void *data, size_t size) {
  return SYS(__NR_write, fd, data, size);
}
static inline _Noreturn void sys_exit(int code) {
  for (;;)
    SYS(__NR_exit_group, code);
}

/* Starts a process that shares this one's memory, and runs run(data) on a stack
   whose end is given; run does not return. Returns its pid, or -errno. */
long sys_clone(unsigned long flags, void *stack_end, void (*run)(void *),
               void *data);

/* Returns the monotonic time in ms. */
static inline int64_t sys_now(void) {
  struct __kernel_timespec t = {0, 0};
  SYS(__NR_clock_gettime, 1, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Gives this process priority over all others for so many ms, if it has the
   right to: many processes that fork would otherwise get nearly all of the CPU.
   0 takes the priority back. */
void sys_hurry(int ms);

/* Takes the priority back once its time is over. Has to be called now and then
   until it is, because a process with it keeps all others from running. */
void sys_check_hurry(void);

/* What the compiler may call by itself. */
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#endif
