// A signal handler begins with a fresh floating-point state, and what was interrupted gets its own back. Prints the same on Linux and in
// a sandbox.
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct state {
  unsigned mxcsr;
  unsigned short control, status, tags;
  unsigned long xmm[2], direction;
};

static struct state seen[4];
static volatile int depth;
static sigjmp_buf out;

static void look(struct state *into) {
  struct { unsigned short control, pad0, status, pad1, tags, pad2; unsigned rest[4]; } environment;
  asm volatile("movups %%xmm5, %0; stmxcsr %1; fnstenv %2; fldenv %2; pushfq; pop %3"
               : "=m"(into->xmm), "=m"(into->mxcsr), "=m"(environment), "=r"(into->direction));
  into->control = environment.control;
  into->status = environment.status;
  into->tags = environment.tags;
  into->direction &= 0x400;
}

static void tell(const char *name, const struct state *s) {
  printf("%s: mxcsr %#x control %#x status %#x tags %#x xmm5 %#lx %#lx direction %lu\n", name, s->mxcsr, s->control, s->status, s->tags,
         s->xmm[0], s->xmm[1], s->direction);
}

// Another state than the fresh one, told apart by `mark`.
static inline __attribute__((always_inline)) void spoil(unsigned long mark) {
  unsigned mxcsr = 0x9fc0;
  unsigned short control = 0x027f;
  unsigned long xmm[2] = {mark, ~mark};
  asm volatile("ldmxcsr %0; fldcw %1; fld1; movups %2, %%xmm5" : : "m"(mxcsr), "m"(control), "m"(xmm) : "xmm5");
}

// kill(getpid(), signal) with nothing of the C library between.
static inline __attribute__((always_inline)) void deliver(long pid, long signal) {
  long result = SYS_kill;
  asm volatile("syscall" : "+a"(result) : "D"(pid), "S"(signal) : "rcx", "r11", "memory");
}

static void inner(int number) { look(&seen[1]); (void)number; }

static void outer(int number) {
  look(&seen[0]);
  spoil(0x1111);
  deliver(getpid(), SIGUSR2);
  look(&seen[2]);
  (void)number;
}

static void forking(int number) {
  spoil(0x2222);
  long child = syscall(SYS_fork);
  if (child == 0) {
    look(&seen[0]);
    return;  // By sigreturn to the interrupted code, in the child.
  }
  waitpid((pid_t)child, 0, 0);
  (void)number;
}

static void leaping(int number) { siglongjmp(out, number); }

int main(void) {
  setvbuf(stdout, 0, _IONBF, 0);
  signal(SIGUSR1, outer);
  signal(SIGUSR2, inner);
  long pid = getpid();
  spoil(0xdeadbeef);
  asm volatile("std");
  deliver(pid, SIGUSR1);
  asm volatile("cld");
  look(&seen[3]);
  asm volatile("fninit");
  unsigned mxcsr = 0x1f80;
  asm volatile("ldmxcsr %0" : : "m"(mxcsr));
  tell("handler", &seen[0]);
  tell("handler in it", &seen[1]);
  tell("after that", &seen[2]);
  tell("after both", &seen[3]);
  signal(SIGUSR1, forking);
  spoil(0x3333);
  deliver(pid, SIGUSR1);
  look(&seen[3]);
  asm volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
  if (getpid() != pid) {
    tell("forked in a handler", &seen[0]);
    tell("and returned", &seen[3]);
    return 0;
  }
  tell("the parent", &seen[3]);
  signal(SIGUSR1, leaping);
  if (sigsetjmp(out, 1) == 0) {
    spoil(0x4444);
    deliver(pid, SIGUSR1);
  }
  look(&seen[0]);
  seen[0].xmm[0] = seen[0].xmm[1] = 0;
  tell("leapt out", &seen[0]);
}
