// Threads, forks and signals in numbers, and what the abort path needs: one mode a run.
//
//     lives MODE [number]
//
// "done" on stdout, or "FAIL mode: line: what" and status 1. The abort modes must end in an abort.
#include "check.h"
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

extern char **environ;
static int number;

static void *opaque(void *p) { void *volatile v = p; return v; }

static void some_blocks(uint64_t seed, int count) {
    void *held[24] = {0};
    for (int i = 0; i < count; i++) {
        int at = random_step(&seed) % LEN(held);
        free(held[at]);
        size_t len = 1 + random_step(&seed) % (i % 50 ? 700 : 90000);
        EXPECT((held[at] = malloc(len)) != NULL);
        memset(held[at], i, len < 200 ? len : 200);
    }
    for (size_t i = 0; i < LEN(held); i++) free(held[i]);
}

// ---------------------------------------------------------------- threads in numbers

static void *live_shortly(void *at) {
    some_blocks((uintptr_t)at + 1, 30);
    return malloc(100);
}

static void threads_one_by_one(size_t count) {
    for (size_t i = 0; i < count; i++) {
        pthread_t thread;
        void *left;
        EXPECT(!pthread_create(&thread, NULL, live_shortly, (void *)i));
        EXPECT(!pthread_join(thread, &left));
        free(left);
    }
}

// Resident memory grows by no more than a MiB however many threads come and go.
static void many_short_threads(void) {
    threads_one_by_one(500);
    size_t before = resident();
    threads_one_by_one(number);
    EXPECT(resident() <= before + M);
}

static void *do_nothing(void *at) { return at; }
// A detached thread has its stack until it has ended, which on a busy machine takes its time.
static void await_all_ends(void) {
    while (status_bytes("Threads:") != K) usleep(1000);
}

// Their stacks are too long for the C library to keep: an ending thread frees what belonged to another's, after its own
// destructors. Each of these frees gave the thread a cache that nobody took back.
static void idle_detached_threads(void) {
    pthread_attr_t detached;
    EXPECT(!pthread_attr_init(&detached));
    EXPECT(!pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED));
    EXPECT(!pthread_attr_setstacksize(&detached, 16 * M));
    size_t before = 0;
    for (int i = 0; i < 500 + number; i++) {
        if (i == 500) {
            await_all_ends();
            before = resident();
        }
        pthread_t thread;
        while (pthread_create(&thread, &detached, do_nothing, NULL)) usleep(100);
    }
    await_all_ends();
    EXPECT(resident() <= before + M);
}

// Of threads that share an arena no two write to one cache line when each has a single short block. Batches that were cut to a part
// of a small arena had one block each, so that two of them lay in a line.
static pthread_barrier_t all_there;
static void *hold_a_short_block(void *slot) {
    *(char **)slot = malloc(8);
    pthread_barrier_wait(&all_there);
    return NULL;
}
static void short_blocks_apart(void) {
    pthread_t thread[8];
    char *block[LEN(thread)];
    EXPECT(!pthread_barrier_init(&all_there, NULL, LEN(thread)));
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_create(&thread[i], NULL, hold_a_short_block, &block[i]));
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_join(thread[i], NULL));
    for (size_t i = 0; i < LEN(thread); i++)
        for (size_t j = 0; j < i; j++) EXPECT((uintptr_t)block[i] / 64 != (uintptr_t)block[j] / 64);
}

static pthread_key_t keys[4], late;
static void allocate_again(void *value) {
    free(value);
    free(malloc(500));
    // One more round of destructors, which frees what is set here.
    static _Thread_local int calls;
    if (calls++ == 0) pthread_setspecific(late, malloc(40));
}
static void *live_with_destructors(void *at) {
    for (int i = 0; i < 4; i++) pthread_setspecific(keys[i], malloc(64 + i));
    some_blocks((uintptr_t)at + 1, 20);
    return NULL;
}
static void destructors(size_t count) {
    for (size_t i = 0; i < count; i += 4) {
        pthread_t thread[4];
        for (int j = 0; j < 4; j++) EXPECT(!pthread_create(&thread[j], NULL, live_with_destructors, (void *)(i + j)));
        for (int j = 0; j < 4; j++) EXPECT(!pthread_join(thread[j], NULL));
    }
}
static void many_destructors(void) {
    for (int i = 0; i < 4; i++) EXPECT(!pthread_key_create(&keys[i], allocate_again));
    EXPECT(!pthread_key_create(&late, free));
    destructors(400);
    malloc_trim(0);
    size_t before = resident();
    destructors(number);
    malloc_trim(0);
    EXPECT(resident() <= before + 256 * K);
}

static void *cancelled(void *at) {
    (void)at;
    for (uint64_t seed = 5;; seed++) {
        some_blocks(seed, 20);
        pthread_testcancel();
    }
    return NULL;
}
static void *cancelled_at_once(void *at) {
    // Asynchronous cancellation is for code that allocates nothing; around it malloc must go on.
    (void)at;
    free(malloc(1000));
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;) sched_yield();
    return NULL;
}
static void cancellation(void) {
    for (int i = 0; i < number; i++) {
        pthread_t thread[2];
        EXPECT(!pthread_create(&thread[0], NULL, cancelled, NULL) && !pthread_create(&thread[1], NULL, cancelled_at_once, NULL));
        some_blocks(i, 100);
        for (int j = 0; j < 2; j++) EXPECT(!pthread_cancel(thread[j]) && !pthread_join(thread[j], NULL));
    }
}

static void *on_a_small_stack(void *at) {
    some_blocks((uintptr_t)at + 3, 400);
    malloc_trim(0);
    free(realloc(realloc(malloc(10), 100000), 500000));
    return NULL;
}
static void small_stack(void) {
    // The C library's least is 16 KiB; its own frames take some of that.
    pthread_attr_t attr;
    EXPECT(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, number * K));
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        EXPECT(!pthread_create(&thread, &attr, on_a_small_stack, (void *)(uintptr_t)i) && !pthread_join(thread, NULL));
    }
}

// The longest stack that a request takes: a thread that has been idle leaves its cache to the requests of others, which read in
// /proc whether it sleeps, and keep what they take on their stack.
static void *idle(void *at) {
    void *held[2000];
    for (size_t i = 0; i < LEN(held); i++) held[i] = malloc(1 + i % 900);
    for (size_t i = 0; i < LEN(held); i++) free(held[i]);
    pause();
    return at;
}
static char painted[64 * K] __attribute__((aligned(16)));
static ucontext_t outside, inside;
static void requests_for_a_while(void) {
    for (int i = 0; i < 150; i++) {
        some_blocks(i + 1, 400);
        usleep(10000);
    }
}
static void stack_of_requests(void) {
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        EXPECT(!pthread_create(&thread, NULL, idle, NULL));
    }
    memset(painted, 0x55, sizeof painted);
    EXPECT(!getcontext(&inside));
    inside.uc_stack = (stack_t){.ss_sp = painted, .ss_size = sizeof painted};
    inside.uc_link = &outside;
    makecontext(&inside, requests_for_a_while, 0);
    EXPECT(!swapcontext(&outside, &inside));
    size_t untouched = 0;
    while (untouched < sizeof painted && painted[untouched] == 0x55) untouched++;
    size_t deep = sizeof painted - untouched;
    // Those of this file take some 200 bytes, and the loader, when it binds a function, 1,600.
    if (deep > 6 * K) failed(__LINE__, "more than 6 KiB of stack");
}

// ---------------------------------------------------------------- forks

static _Atomic(bool) stop;
static void *busy(void *at) {
    for (uint64_t seed = (uintptr_t)at + 1; !stop; seed++) some_blocks(seed, 50);
    return NULL;
}
static pthread_t crowd[4];
static void start_crowd(void) {
    for (size_t i = 0; i < LEN(crowd); i++) EXPECT(!pthread_create(&crowd[i], NULL, busy, (void *)(i * 31)));
}
static void end_crowd(void) {
    stop = true;
    for (size_t i = 0; i < LEN(crowd); i++) EXPECT(!pthread_join(crowd[i], NULL));
}
static void expect_end(pid_t child) {
    int status;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        say("FAIL %s: a child ended with status %#x\n", running, status);
        _exit(1);
    }
}
static void be_a_child(int depth) {
    alarm(20);
    some_blocks(depth + 77, 200);
    threads_one_by_one(2);
    // The child's child, and so on down: each waits for its own.
    for (; depth > 0; depth--) {
        pid_t child = fork();
        if (child != 0) {
            expect_end(child);
            break;
        }
        some_blocks(depth, 100);
    }
    malloc_trim(0);
    _exit(0);
}
static void *forks(void *at) {
    for (int i = 0; i < number; i++) {
        pid_t child = fork();
        if (child == 0) be_a_child(i % 3);
        expect_end(child);
        some_blocks((uintptr_t)at, 50);
    }
    return NULL;
}
// Several threads fork at the same time, and the children fork again.
static void concurrent_forks(void) {
    start_crowd();
    pthread_t forking[3];
    for (size_t i = 0; i < LEN(forking); i++) EXPECT(!pthread_create(&forking[i], NULL, forks, (void *)(i + 1)));
    for (size_t i = 0; i < LEN(forking); i++) EXPECT(!pthread_join(forking[i], NULL));
    end_crowd();
}

static void *slot_in_handler;
static void in_handler(void) {
    free(slot_in_handler);
    slot_in_handler = malloc(3000);
    free(malloc(100));
    free(malloc(300000));
}
// Registered before anything else has run, so before the allocator's own.
static void register_early(int argc, char **argv, char **env) {
    (void)argc; (void)argv; (void)env;
    pthread_atfork(in_handler, in_handler, in_handler);
}
__attribute__((section(".preinit_array"), used)) static void (*early)(int, char **, char **) = register_early;
static void handlers_in_preinit(void) {
    pthread_atfork(in_handler, in_handler, in_handler);
    start_crowd();
    for (int i = 0; i < number; i++) {
        pid_t child = fork();
        if (child == 0) be_a_child(1);
        expect_end(child);
    }
    end_crowd();
}

// The program's handlers come before its first request, and wait for a lock under which another thread allocates: they have to
// run before the allocator's locks are taken.
static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;
static void lock_own(void) { pthread_mutex_lock(&own_lock); }
static void unlock_own(void) { pthread_mutex_unlock(&own_lock); }
static void *allocate_under_own_lock(void *at) {
    for (;;) {
        void *held[200];
        lock_own();
        for (size_t i = 0; i < LEN(held); i++) held[i] = malloc(20000);
        for (size_t i = 0; i < LEN(held); i++) free(held[i]);
        unlock_own();
        usleep(10);
    }
    return at;
}
static void fork_often(void) {
    for (int i = 0; i < number; i++) {
        pid_t child = fork();
        EXPECT(child >= 0);
        if (!child) _exit(0);
        EXPECT(waitpid(child, NULL, 0) == child);
    }
}
static void handlers_before_all_requests(void) {
    EXPECT(!pthread_atfork(lock_own, unlock_own, unlock_own));
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, allocate_under_own_lock, NULL));
    fork_often();
}

// A fork waits for the list of streams, fflush(NULL) has it and waits for a stream, and whoever reads from that waits for memory.
static void *read_lines(void *at) {
    FILE *lines = tmpfile();
    EXPECT(lines != NULL);
    for (int i = 0; i < 50000; i++) fputc('x', lines);
    fputc('\n', lines);
    for (;;) {
        char *line = NULL;
        size_t len = 0;
        rewind(lines);
        EXPECT(getline(&line, &len, lines) == 50001);
        free(line);
        usleep(10);
    }
    return at;
}
static void *flush_all_streams(void *at) {
    for (;;) {
        fflush(NULL);
        usleep(10);
    }
    return at;
}
static void forks_among_streams(void) {
    pthread_t thread;
    for (int i = 0; i < 3; i++) EXPECT(!pthread_create(&thread, NULL, read_lines, NULL));
    EXPECT(!pthread_create(&thread, NULL, flush_all_streams, NULL));
    fork_often();
    // Without another look at the streams, which never rest.
    say("done\n");
    _exit(0);
}

static void vforks(void) {
    start_crowd();
    char *args[] = {"true", NULL};
    for (int i = 0; i < number; i++) {
        pid_t child = vfork();
        if (child == 0) {
            execve("/bin/true", args, environ);
            _exit(9);
        }
        expect_end(child);
        EXPECT(!posix_spawn(&child, "/bin/true", NULL, NULL, args, environ));
        expect_end(child);
        EXPECT(!system("true"));
    }
    end_crowd();
}

// ---------------------------------------------------------------- copies that no handler was told of

// Blocks that the crowd has made and anybody may free: of every arena, and of every size.
static _Atomic(char *) handed[256];
static void hand_over(uint64_t *seed, int count) {
    while (count--) {
        size_t len = 1 + random_step(seed) % (random_step(seed) % 20 ? 900 : 60000);
        char *block = malloc(len);
        EXPECT(block != NULL);
        *block = (char)len;
        free(atomic_exchange(&handed[random_step(seed) % LEN(handed)], block));
    }
}
static void *busy_handing_over(void *at) {
    for (uint64_t seed = (uintptr_t)at + 1; !stop;) {
        some_blocks(random_step(&seed) + 1, 50);
        hand_over(&seed, 50);
        if (random_step(&seed) % 64 == 0) malloc_trim(0);
    }
    return NULL;
}
static void *live_in_copy(void *at) {
    some_blocks((uintptr_t)at + 5, 300);
    return malloc(100);
}
static pid_t raw_clone(int i) {
    // The C library and its handlers hear of neither.
    return i % 2 ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : (pid_t)syscall(SYS_fork);
}
// During a fork the C library's locks are held as well: then a copy makes neither threads nor forks.
static bool during_forks;
__attribute__((noreturn)) static void be_a_copy(int i, int depth) {
    alarm(30);
    uint64_t seed = i + 1;
    if (i % 3 == 0 && !during_forks) {
        // Its own threads meet the held locks first, while this one holds others.
        pthread_t thread[3];
        void *left;
        for (size_t j = 0; j < LEN(thread); j++) EXPECT(!pthread_create(&thread[j], NULL, live_in_copy, (void *)(i + j)));
        some_blocks(i + 77, 200);
        for (size_t j = 0; j < LEN(thread); j++) {
            EXPECT(!pthread_join(thread[j], &left));
            free(left);
        }
    }
    for (size_t at = 0; at < LEN(handed); at++) {
        char *block = handed[at];
        if (!block) continue;
        char was = *block;
        if (at % 3 == 0) {
            EXPECT((block = realloc(block, 1 + random_step(&seed) % 5000)) && *block == was);
            atomic_store(&handed[at], block);
        } else if (at % 3 == 1) {
            free(block);
            atomic_store(&handed[at], NULL);
        }
    }
    for (int j = 0; j < 10; j++) some_blocks(i * 31 + j, 200);
    hand_over(&seed, 300);
    void *p;
    EXPECT(!posix_memalign(&p, 256, 20000));
    free(p);
    if (i % 5 == 0) EXPECT(mallinfo2().uordblks > 0);
    if (i % 5 == 1) malloc_trim(0);
    // Copies of the copy, with and without the handlers.
    if (depth > 0) {
        pid_t child = i % 4 < 2 || during_forks ? raw_clone(i) : fork();
        if (child == 0) be_a_copy(i + 1, depth - 1);
        expect_end(child);
        some_blocks(i + 13, 200);
    }
    _exit(0);
}
static void start_handing_over(void) {
    for (size_t i = 0; i < LEN(crowd); i++) EXPECT(!pthread_create(&crowd[i], NULL, busy_handing_over, (void *)(i * 31)));
}
static void raw_clones(void) {
    start_handing_over();
    uint64_t seed = 99;
    for (int i = 0; i < number; i++) {
        hand_over(&seed, 20);
        pid_t child = raw_clone(i);
        if (child == 0) be_a_copy(i, i % 3);
        expect_end(child);
    }
    end_crowd();
}

// Some threads fork with the handlers, others without: a copy may find every lock held for somebody else's fork.
static void *copies(void *at) {
    for (int i = 0; i < number; i++) {
        bool is_raw = ((uintptr_t)at + i) % 2;
        pid_t child = is_raw ? raw_clone(i / 2) : fork();
        if (child == 0) {
            if (is_raw) be_a_copy(i, 1);
            be_a_child(1);
        }
        expect_end(child);
    }
    return NULL;
}
static void raw_clones_among_forks(void) {
    during_forks = true;
    start_handing_over();
    pthread_t copying[4];
    for (size_t i = 0; i < LEN(copying); i++) EXPECT(!pthread_create(&copying[i], NULL, copies, (void *)i));
    for (size_t i = 0; i < LEN(copying); i++) EXPECT(!pthread_join(copying[i], NULL));
    end_crowd();
}

// A child that shares the memory is no copy: what it takes is taken, and what it frees is freed.
static char *of_the_child;
static int share(void *at) {
    for (int j = 0; j < 5; j++) some_blocks((uintptr_t)at + j, 200);
    free(of_the_child);
    of_the_child = memset(malloc(3000), 7, 3000);
    return 0;
}
static size_t bytes_in_arenas(void) { return mallinfo2().arena; }
static void shared_memory(void) {
    static char stack[1 << 18] __attribute__((aligned(16)));
    start_handing_over();
    size_t least = 0;
    for (int i = 0; i < number; i++) {
        // Its thread waits meanwhile: both have one thread pointer, and so one cache.
        pid_t child = clone(share, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)(uintptr_t)i);
        expect_end(child);
        EXPECT(of_the_child[2999] == 7);
        some_blocks(i, 100);
        if (i == 0) least = bytes_in_arenas();
    }
    end_crowd();
    // No arena has been given up.
    EXPECT(bytes_in_arenas() >= least / 4 && bytes_in_arenas() < 64 * M);
}

// ---------------------------------------------------------------- signals

static _Atomic(long) ticks;
static void tick(int signal) { (void)signal; ticks++; }
static void signal_storm(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 200}, {0, 200}};
    EXPECT(!sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &every, NULL));
    start_crowd();
    // Whole seconds: the one that begins with the first block may be over in a moment.
    time_t end = time(NULL) + number + 1;
    for (uint64_t seed = 1; time(NULL) < end; seed++) some_blocks(seed, 500);
    end_crowd();
    memset(&every, 0, sizeof every);
    setitimer(ITIMER_REAL, &every, NULL);
    EXPECT(ticks > 100);
}

static void *alternate_stack(void *at) {
    (void)at;
    // The handler's stack is a block of the heap.
    stack_t mine = {.ss_sp = malloc(64 * K), .ss_size = 64 * K};
    EXPECT(!sigaltstack(&mine, NULL));
    for (int i = 0; i < 200; i++) {
        pthread_kill(pthread_self(), SIGUSR1);
        some_blocks(i, 20);
    }
    mine.ss_flags = SS_DISABLE;
    EXPECT(!sigaltstack(&mine, NULL));
    free(mine.ss_sp);
    return NULL;
}
static void sigaltstacks(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_ONSTACK};
    EXPECT(!sigaction(SIGUSR1, &action, NULL));
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) EXPECT(!pthread_create(&thread[i], NULL, alternate_stack, NULL));
    for (int i = 0; i < 4; i++) EXPECT(!pthread_join(thread[i], NULL));
    EXPECT(ticks == 800);
}

// ---------------------------------------------------------------- memory

static void many_mappings(void) {
    // More blocks of more than the threshold than the system lets a process have mappings.
    enum { COUNT = 80000 };
    static void *block[COUNT];
    for (int i = 0; i < COUNT; i++) {
        EXPECT((block[i] = malloc(135 * K)) != NULL);
        *(int *)block[i] = i;
    }
    for (int i = 0; i < COUNT; i++) {
        EXPECT(*(int *)block[i] == i);
        free(block[i]);
    }
    some_blocks(1, 1000);
}

// What the process is charged for falls when its heaps shrink: VmData is this process's exact part of Committed_AS.
static void *hold_and_drop(void *at) {
    enum { COUNT = 4000 };
    static void *held[COUNT];
    (void)at;
    size_t before = status_bytes("VmData:");
    for (int i = 0; i < COUNT; i++) held[i] = memset(malloc(16 * K), 1, 16 * K);
    EXPECT(status_bytes("VmData:") >= before + 62 * M);
    for (int i = 0; i < COUNT; i++) free(held[i]);
    malloc_trim(0);
    EXPECT(status_bytes("VmData:") <= before + 2 * M);
    return NULL;
}
static void commit_charge(void) {
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, hold_and_drop, NULL) && !pthread_join(thread, NULL));
    hold_and_drop(NULL);
}

// ---------------------------------------------------------------- a plugin

static void plugins(void) {
    // The library itself, and another that allocates in its constructor, loaded and unloaded while threads allocate.
    start_crowd();
    for (int i = 0; i < number; i++) {
        void *self = dlopen(getenv("LIVES_LIBRARY"), RTLD_NOW);
        void *other = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
        void *third = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
        EXPECT(self && other && third);
        void *(*take)(size_t) = (void *(*)(size_t))dlsym(self, "malloc");
        EXPECT(take != NULL);
        free(take(100));
        EXPECT(!dlclose(other) && !dlclose(third) && !dlclose(self));
    }
    end_crowd();
}

// ---------------------------------------------------------------- the way to the end

static void double_free(void) {
    void *p = malloc(100);
    free(opaque(p));
    free(opaque(p));
}
static void abort_without_stderr(void) { close(2); double_free(); }
static void abort_in_signal(int signal) { (void)signal; double_free(); }
static void abort_in_handler(void) {
    struct sigaction action = {.sa_handler = abort_in_signal};
    EXPECT(!sigaction(SIGUSR1, &action, NULL));
    raise(SIGUSR1);
}
static void *abort_in_thread(void *at) { (void)at; double_free(); return NULL; }
static void abort_on_small_stack(void) {
    pthread_attr_t attr;
    pthread_t thread;
    EXPECT(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, 16 * K));
    EXPECT(!pthread_create(&thread, &attr, abort_in_thread, NULL));
    pthread_join(thread, NULL);
}
static void ignore(int signal) { (void)signal; }
static void abort_cannot_be_caught(void) {
    signal(SIGABRT, ignore);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    double_free();
}
static void abort_among_threads(void) {
    start_crowd();
    double_free();
}
// An arena's lock is held when a corrupted free chunk is found. The trim takes it out of the quarantine of a hardened build.
static void abort_under_lock(void) {
    char *p[4];
    for (int i = 0; i < 4; i++) p[i] = malloc(20000);
    free(p[1]);
    malloc_trim(0);
    memset(opaque(p[1]), 0x41, 64);
    for (int i = 0; i < 50; i++) opaque(malloc(20000));
}

static const struct { const char *name; void (*run)(void); } modes[] = {
    {"many-short-threads", many_short_threads}, {"idle-detached-threads", idle_detached_threads},
    {"short-blocks-apart", short_blocks_apart},
    {"handlers-before-all-requests", handlers_before_all_requests}, {"forks-among-streams", forks_among_streams},
    {"many-destructors", many_destructors}, {"cancellation", cancellation},
    {"small-stack", small_stack}, {"stack-of-requests", stack_of_requests},
    {"concurrent-forks", concurrent_forks}, {"handlers-in-preinit", handlers_in_preinit},
    {"vforks", vforks}, {"raw-clones", raw_clones}, {"raw-clones-among-forks", raw_clones_among_forks},
    {"shared-memory", shared_memory}, {"signal-storm", signal_storm}, {"sigaltstacks", sigaltstacks},
    {"many-mappings", many_mappings}, {"commit-charge", commit_charge}, {"plugins", plugins},
    {"abort-without-stderr", abort_without_stderr}, {"abort-in-handler", abort_in_handler},
    {"abort-on-small-stack", abort_on_small_stack}, {"abort-cannot-be-caught", abort_cannot_be_caught},
    {"abort-among-threads", abort_among_threads}, {"abort-under-lock", abort_under_lock},
};

int main(int argc, char **argv) {
    EXPECT(argc >= 2);
    running = argv[1];
    number = argc > 2 ? atoi(argv[2]) : 0;
    for (size_t i = 0; i < LEN(modes); i++)
        if (!strcmp(modes[i].name, argv[1])) {
            modes[i].run();
            say("done\n");
            return 0;
        }
    failed(__LINE__, "no such mode");
}
