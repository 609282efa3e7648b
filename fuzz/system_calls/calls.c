// Calls every system call with arguments that are half sensible. Never run it outside a sandbox: it calls reboot(2) too.
//
//     calls SEED SECONDS
//
// The first process makes workers one after another, each with a seed of its own; a worker makes some hundreds of calls
// and may die of them. Ends with 0 and the line `done`.

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 400, ARENA = 1 << 16, PAGE = 4096, LAST_NUMBER = 470, PATIENCE_MS = 300 };

static __thread uint64_t state;
static unsigned char *arena; // readable and writable, then a page that is neither
static unsigned char *constants; // read only

static uint64_t next(void) { // splitmix64
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t limit) { return next() % limit; }

static const char *const paths[] = {
    "/tmp/a", "/tmp/b", "/tmp/dir", "/tmp/dir/x", "/tmp/link", "/tmp", "/", ".", "..", "", "/proc/self/maps", "/proc/self/fd",
    "/proc/self/mem", "/proc/1/stat", "/proc/self/status", "/proc/sys/kernel/osrelease", "/dev/null", "/dev/zero", "/dev/full",
    "/dev/ptmx", "/dev/urandom", "/dev/shm/s", "/etc/passwd", "/usr/bin/python3", "/nowhere", "/proc/self/exe", "/sys",
};

static const uint64_t lengths[] = {0, 1, 2, 4, 7, 8, 16, 24, 32, 64, 128, 255, 4095, 4096, 4097, 65536, 1 << 20, 1u << 31,
                                   0xffffffffu, 1ull << 32, 1ull << 47, INT64_MAX, UINT64_MAX, UINT64_MAX - 4095};

static const uint64_t addresses[] = {0, 1, 0x1000, 0x7ffffffff000u, 0x7fffffffffffu, 0x800000000000u, 0xffff800000000000u,
                                     0xffffffff81000000u, 0xffffffffff600000u, UINT64_MAX, UINT64_MAX - 7};

// A pointer to something that some call may take for its structure.
static uint64_t structure(void) {
    unsigned char *at = arena + 8 * below(ARENA / 8 - 64);
    switch (below(4)) {
    case 0: // small words: counts, descriptors, flags, times
        for (int i = 0; i < 16; i++) ((uint64_t *)at)[i] = below(20);
        break;
    case 1: // words that point to more of the same
        for (int i = 0; i < 16; i++) ((uint64_t *)at)[i] = i % 2 ? below(64) : (uint64_t)(arena + 8 * below(ARENA / 8 - 64));
        break;
    case 2:
        for (int i = 0; i < 32; i++) ((uint32_t *)at)[i] = (uint32_t)below(12);
        break;
    default:
        for (int i = 0; i < 16; i++) ((uint64_t *)at)[i] = next();
    }
    return (uint64_t)at;
}

static uint64_t path(void) {
    if (below(20) == 0) { // longer than PATH_MAX
        memset(arena, 'a', 5000);
        arena[5000] = 0;
        return (uint64_t)arena;
    }
    return (uint64_t)paths[below(sizeof paths / sizeof *paths)];
}

static uint64_t argument(void) {
    switch (below(14)) {
    case 0: return below(10);
    case 1: case 2: return below(40);                                // a descriptor
    case 3: case 4: return structure();
    case 5: case 6: return path();
    case 7: return lengths[below(sizeof lengths / sizeof *lengths)];
    case 8: return addresses[below(sizeof addresses / sizeof *addresses)];
    case 9: return (uint64_t)(arena + ARENA - below(16));            // runs into the page that is not there
    case 10: return (uint64_t)(constants + below(PAGE));
    case 11: return below(4) ? 1ull << below(64) : next();           // a flag, or many
    case 12: return (uint64_t)-(int64_t)below(200);                  // AT_FDCWD, -1, ...
    default: return (uint64_t)(below(2) ? getpid() : (int)below(5)); // a process
    }
}

static uint64_t number(void) {
    switch (below(40)) {
    case 0: return below(LAST_NUMBER) | 0x40000000; // the x32 table
    case 1: return next();
    case 2: return (uint64_t)-(int64_t)below(1000);
    case 3: return 500 + below(600);
    default: {
        uint64_t n = below(LAST_NUMBER);
        // Ends of the process are rare, or nothing else would happen.
        return (n == SYS_exit || n == SYS_exit_group) && below(8) ? SYS_getppid : n;
    }
    }
}

static uint64_t call(uint64_t n, const uint64_t *a) {
    register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    uint64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void other_entry(void) {
    if (below(2)) {
        uint64_t eax = below(400);
        __asm__ volatile("int $0x80" : "+a"(eax) : "b"(argument()), "c"(argument()), "d"(argument()) : "memory");
    } else {
        ((long (*)(void *))(0xffffffffff600000u + 0x400 * below(4)))(NULL);
    }
}

static void wake(int signal) { (void)signal; }

static void *calls(void *seed) {
    state = (uint64_t)seed;
    for (int i = 0; i < CALLS; i++) {
        uint64_t arguments[6];
        for (int k = 0; k < 6; k++) arguments[k] = argument();
        if (below(500) == 0) other_entry();
        call(number(), arguments);
    }
    return NULL;
}

static void worker(uint64_t seed) {
    state = seed;
    // The first process is as mortal as any other one: workers may not send it signals.
    if (setgid(1000) || setuid(1000)) _exit(1);
    struct sigaction action = {.sa_handler = wake};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval every = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &every, NULL); // nothing waits for ever
    int ends[2];
    if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || socket(AF_INET, SOCK_STREAM, 0) < 0) _exit(1);
    open("/tmp/a", O_RDWR | O_CREAT, 0600);
    mkdir("/tmp/dir", 0700);
    pthread_t thread;
    if (below(2) == 0) pthread_create(&thread, NULL, calls, (void *)(seed ^ 0x5555));
    calls((void *)seed);
    _exit(0);
}

static uint64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int main(int count, char **words) {
    if (count != 3 || getpid() != 1) {
        fputs("run it as the first process of a sandbox: calls SEED SECONDS\n", stderr);
        return 2;
    }
    uint64_t seed = strtoull(words[1], NULL, 10), end = milliseconds() + 1000 * strtoull(words[2], NULL, 10), workers = 0;
    int out = fcntl(1, F_DUPFD_CLOEXEC, 900);
    constants = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    arena = mmap(NULL, ARENA + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(arena + ARENA, PAGE, PROT_NONE);
    for (; milliseconds() < end; workers++) {
        pid_t child = fork();
        if (child == 0) worker(seed * 1000003 + workers);
        uint64_t limit = milliseconds() + PATIENCE_MS;
        while (child > 0 && milliseconds() < limit && waitpid(child, NULL, WNOHANG) == 0) usleep(1000);
        // It and whatever it made; the first process itself is spared.
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0) {
        }
        if (workers % 50 == 0) {
            int ignored = system("rm -rf /tmp/* /dev/shm/*");
            (void)ignored;
        }
    }
    dprintf(out, "\ndone seed %lu: %lu workers\n", seed, workers);
    return 0;
}
