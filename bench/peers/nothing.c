/*
** nothing.c - a program without libc, so that what is measured is the start
** and not the program. It ends at once; with an argument it sleeps until it is
** killed, or until its parent is gone.
*/
#include <linux/prctl.h>
#include <sys/syscall.h>

enum { KILL = 9 };

__asm__(".globl _start\n"
        "_start:\n"
#if defined(__x86_64__)
        "mov %rsp, %rdi\n"
        "and $-16, %rsp\n"
        "call run\n"
#elif defined(__aarch64__)
        "mov x0, sp\n"
        "bl run\n"
#else
#error "nothing.c knows x86-64 and aarch64 only"
#endif
);

#if defined(__x86_64__)
static long call(long number, long a, long b) {
  register long c __asm__("r10") = 0;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(0L), "r"(c)
                   : "rcx", "r11", "memory");
  return result;
}
#else
static long call(long number, long a, long b) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
                   : "memory");
  return x0;
}
#endif

/* `stack` is as the kernel left it: argc first. */
_Noreturn void run(const long *stack);

_Noreturn void run(const long *stack) {
  if (stack[0] > 1) {
    call(SYS_prctl, PR_SET_PDEATHSIG, KILL);
    for (;;)
      call(SYS_ppoll, 0, 0);
  }
  for (;;)
    call(SYS_exit_group, 0, 0);
}
