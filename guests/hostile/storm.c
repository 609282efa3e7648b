// storm SECONDS: 32 threads that fault, call and send signals to each other as fast as they can.
// Prints "stormed" and ends with 0 when each thread got through every kind of trouble.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 32, KINDS = 16, PAGE = 4096, SHARED = 64 * PAGE };

static pthread_t threads[THREADS];
static atomic_int started, stop, signals;
static atomic_int done[THREADS][KINDS];
static char *shared;
static _Thread_local sigjmp_buf back;
static _Thread_local volatile int expecting;

static void on_fault(int number) {
    if (!expecting) {
        dprintf(2, "signal %d that nobody asked for\n", number);
        _exit(1);
    }
    expecting = 0;
    siglongjmp(back, 1);
}

static void on_signal(int number) {
    (void)number;
    atomic_fetch_add(&signals, 1);
}

static void trouble(int kind, uint64_t random, char *own) {
    switch (kind) {
    case 0: *(volatile char *)(random % PAGE) = 1; break;
    case 1: (void)*(volatile char *)(0xffffff8000000000 + random % 0x200000); break;
    case 2: ((void (*)(void))(0x800000000000 | random % PAGE))(); break;
    case 3: __asm__ volatile("ud2"); break;
    case 4: __asm__ volatile("int3"); break;
    case 5: __asm__ volatile("xor %%edx, %%edx; div %%edx" ::: "rax", "rdx"); break;
    case 6: __asm__ volatile("hlt"); break;
    // A stack that is neither aligned nor canonical.
    case 7: __asm__ volatile("movabs $0x800000000003, %%rsp; push %%rax; ud2" ::: "memory"); break;
    // One step over a call.
    case 8:
        __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; mov $39, %%eax; syscall; nop; nop" ::
                             : "rax", "rcx", "r11", "memory");
        break;
    case 9:
        mprotect(own, PAGE, PROT_READ);
        *(volatile char *)own = 1;
        break;
    // A forged code segment.
    case 10: __asm__ volatile("push $0x10; push $0; lretq" ::: "memory"); break;
    default: abort();
    }
}

static void work(int kind, uint64_t random) {
    switch (kind) {
    case 11: syscall(SYS_getpid); break;
    case 12: {
        char *pages = mmap(0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) abort();
        pages[random % (16 * PAGE)] = 1;
        munmap(pages, 16 * PAGE);
        break;
    }
    case 13:
        shared[random % SHARED] = 1;
        madvise(shared, SHARED, MADV_DONTNEED);
        break;
    case 14: pthread_kill(threads[random % THREADS], SIGUSR1); break;
    case 15:
        // A fork costs as much as all else together.
        if (random % 64 == 0) {
            pid_t child = fork();
            if (child == 0) _exit(7);
            int status = 0;
            while (child > 0 && waitpid(child, &status, 0) < 0) {
            }
            if (child > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 7)) abort();
        }
        break;
    }
}

static void *storm(void *number) {
    atomic_int *counts = done[(intptr_t)number];
    stack_t stack = {.ss_size = 64 << 10};
    stack.ss_sp = mmap(0, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaltstack(&stack, 0);
    char *own = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile uint64_t state = 88172645463325252 + (intptr_t)number;
    atomic_fetch_add(&started, 1);
    while (atomic_load(&started) < THREADS) sched_yield();
    // Every kind once, whatever the time, and then as it comes.
    for (volatile int round = 0; round < KINDS || !atomic_load(&stop); round++) {
        uint64_t random = state;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        state = random;
        volatile int kind = round < KINDS ? round : (int)((random >> 32) % KINDS);
        if (kind > 10) {
            work(kind, random);
        } else if (!sigsetjmp(back, 1)) {
            expecting = 1;
            trouble(kind, random, own);
            dprintf(2, "kind %d went unpunished\n", kind);
            _exit(1);
        }
        atomic_fetch_add(&counts[kind], 1);
    }
    return 0;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 1;
    shared = mmap(0, SHARED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction fault = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
    for (int i = 0; i < 5; i++) sigaction(faults[i], &fault, 0);
    struct sigaction other = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigaction(SIGUSR1, &other, 0);
    for (intptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], 0, storm, (void *)i)) abort();
    struct timespec left = {.tv_sec = seconds};
    while (nanosleep(&left, &left) < 0) {
    }
    atomic_store(&stop, 1);
    long all = 0;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], 0);
    for (int i = 0; i < THREADS; i++)
        for (int kind = 0; kind < KINDS; kind++) {
            if (!done[i][kind]) return 2;
            all += done[i][kind];
        }
    fprintf(stderr, "%ld troubles, %d signals\n", all, (int)signals);
    puts("stormed");
    return signals ? 0 : 3;
}
