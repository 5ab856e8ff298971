/* sys.c - what libc does for other programs: the entry point, and memory. */
#include "sys.h"

#include "keeper.h"

#include <linux/mman.h>
#include <linux/sched.h>

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rdi\n"
        "  and $-16, %rsp\n"
        "  call begin\n");

/* The new process has what it runs on its stack. */
__asm__(".globl sys_clone\n"
        "sys_clone:\n"
        "  lea -16(%rsi), %rsi\n"
        "  mov %rdx, (%rsi)\n"
        "  mov %rcx, 8(%rsi)\n"
        "  xor %edx, %edx\n"
        "  xor %r10d, %r10d\n"
        "  xor %r8d, %r8d\n"
        "  mov $56, %eax\n" /* __NR_clone */
        "  syscall\n"
        "  test %rax, %rax\n"
        "  jz 1f\n"
        "  ret\n"
        "1: xor %ebp, %ebp\n"
        "  pop %rax\n"
        "  pop %rdi\n"
        "  call *%rax\n"
        "  ud2\n");
#else
__asm__(".globl _start\n"
        "_start:\n"
        "  mov x29, #0\n"
        "  mov x30, #0\n"
        "  mov x0, sp\n"
        "  bl begin\n");

__asm__(".globl sys_clone\n"
        "sys_clone:\n"
        "  stp x2, x3, [x1, #-16]!\n"
        "  mov x2, #0\n"
        "  mov x3, #0\n"
        "  mov x4, #0\n"
        "  mov x8, #220\n" /* __NR_clone */
        "  svc #0\n"
        "  cbz x0, 1f\n"
        "  ret\n"
        "1: mov x29, #0\n"
        "  ldp x1, x0, [sp], #16\n"
        "  blr x1\n"
        "  brk #1\n");
#endif

/* Called with what the kernel leaves on the stack: argc, argv, NULL, envp. */
_Noreturn void begin(long *stack);
_Noreturn void begin(long *stack) {
  char **argv = (char **)(stack + 1);
  keeper_main((int)stack[0], argv, argv + stack[0] + 1);
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
  char *t = to;
  const char *f = from;
  for (size_t i = 0; i < n; i++) {
    t[i] = f[i];
    __asm__ volatile("" : : : "memory"); /* or it becomes a call of itself */
  }
  return to;
}

void *memset(void *to, int byte, size_t n) {
  char *t = to;
  for (size_t i = 0; i < n; i++) {
    t[i] = (char)byte;
    __asm__ volatile("" : : : "memory");
  }
  return to;
}

int memcmp(const void *a, const void *b, size_t n) {
  const unsigned char *x = a, *y = b;
  for (size_t i = 0; i < n; i++)
    if (x[i] != y[i])
      return x[i] - y[i];
  return 0;
}

size_t strlen(const char *s) {
  size_t n = 0;
  while (s[n] != '\0') {
    n++;
    __asm__ volatile("");
  }
  return n;
}

static int64_t hurry_until; /* 0: it goes with the others */

void sys_hurry(int ms) {
  const int priority = ms > 0 ? 1 : 0;
  if (ms == 0 && hurry_until == 0)
    return;
  hurry_until = ms > 0 ? sys_now() + ms : 0;
  SYS(__NR_sched_setscheduler, 0, ms > 0 ? SCHED_RR : SCHED_NORMAL, &priority);
}

void sys_check_hurry(void) {
  if (hurry_until != 0 && sys_now() >= hurry_until)
    sys_hurry(0);
}

bool vector_grow(struct vector *v, size_t bytes) {
  if (bytes <= v->size)
    return true;
  size_t size = v->size > 0 ? v->size * 2 : 4096;
  while (size < bytes)
    size *= 2;
  long at = v->data == NULL
                ? SYS(__NR_mmap, NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                : SYS(__NR_mremap, v->data, v->size, size, MREMAP_MAYMOVE);
  if (at < 0 && at > -4096)
    return false;
  v->data = (void *)at;
  v->size = size;
  return true;
}

void vector_free(struct vector *v) {
  if (v->data != NULL)
    SYS(__NR_munmap, v->data, v->size);
  v->data = NULL;
  v->size = 0;
}
