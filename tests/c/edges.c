// The edges of a process's life, and of the memory it may have: one mode a run.
//
//     edges MODE [number]
//
// A mode that lives through prints "done". One that finds something wrong prints "FAIL mode: line: what" and ends with status
// 1. The misuse modes must not come back from their last call at all.
#include "check.h"
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;
extern void *__dso_handle;
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);

static int number;   // argv[2]
static bool mode_is(const char *name) { return !strcmp(running, name); }

// ---------------------------------------------------------------- blocks that know what they hold

// A block carries its size and a pattern made from it, so that whoever frees it can tell that nobody wrote over it. The middle of
// a large block is left alone: only its ends are worth the page faults.
struct block { size_t size; unsigned char byte[]; };

static size_t checked_part(size_t size) { return size - sizeof(struct block) < 2048 ? size - sizeof(struct block) : 512; }

static struct block *sign(struct block *b, size_t size) {
    size_t n = checked_part(size), rest = size - sizeof *b;
    b->size = size;
    memset(b->byte, (int)(size * 31 % 251), n);
    memset(b->byte + rest - n, (int)(size * 31 % 251), n);
    return b;
}

static void verify(const struct block *b) {
    size_t n = checked_part(b->size), rest = b->size - sizeof *b;
    unsigned char want = b->size * 31 % 251;
    for (size_t i = 0; i < n; i++) EXPECT(b->byte[i] == want && b->byte[rest - n + i] == want);
}

static struct block *try_take(size_t size) {
    struct block *b = malloc(size);
    return b ? sign(b, size) : NULL;
}

static struct block *take(size_t size) {
    struct block *b = try_take(size);
    EXPECT(b != NULL);
    EXPECT(((uintptr_t)b & 15) == 0);
    return b;
}

static void give(struct block *b) {
    if (!b) return;
    verify(b);
    free(b);
}

// Mostly small, at times past the mapping threshold.
static size_t some_size(uint64_t *seed) {
    uint64_t r = random_step(seed);
    size_t most = r % 100 == 0 ? 300 * K : r % 10 == 0 ? 20 * K : 600;
    return sizeof(struct block) + random_step(seed) % most;
}

static void take_and_give(int count, uint64_t seed) {
    struct block *v[16] = {0};
    for (int i = 0; i < count; i++) {
        size_t at = random_step(&seed) % LEN(v);
        give(v[at]);
        v[at] = take(some_size(&seed));
    }
    for (size_t i = 0; i < LEN(v); i++) give(v[i]);
}

static _Atomic(bool) stop;
// What other threads, or a child of fork, may find and free.
static _Atomic(struct block *) shelf[256];

static void *keep_allocating(void *seed_at) {
    uint64_t seed = 1 + (uintptr_t)seed_at;
    for (int i = 0; !stop; i++) {
        give(atomic_exchange(&shelf[random_step(&seed) % LEN(shelf)], take(some_size(&seed))));
        take_and_give(8, seed);
        if (i % 8 == 0) sched_yield();
    }
    return NULL;
}

static void clear_the_shelf(void) {
    for (size_t i = 0; i < LEN(shelf); i++) give(atomic_exchange(&shelf[i], NULL));
}

static void start(pthread_t *thread, size_t count, void *(*run)(void *)) {
    for (size_t i = 0; i < count; i++) EXPECT(!pthread_create(&thread[i], NULL, run, (void *)(i * 7919)));
}

static void join(pthread_t *thread, size_t count) {
    for (size_t i = 0; i < count; i++) EXPECT(!pthread_join(thread[i], NULL));
}

static void expect_exit(pid_t child, int code) {
    int status;
    EXPECT(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) failed(__LINE__, "a child hung");
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

// ---------------------------------------------------------------- before main, after main

static struct block *early[4][20];

static void take_early(int stage) {
    uint64_t seed = 77 + stage;
    for (size_t i = 0; i < LEN(early[stage]); i++) early[stage][i] = take(some_size(&seed));
    early[stage][0] = take(200 * K);
}

static void give_early(int stage, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) give(early[stage][i]), early[stage][i] = NULL;
}

static void at_exit(void) {
    give_early(0, 5, 10), give_early(1, 5, 10), give_early(2, 5, 10);
    take_early(3);
}

static void lifetime(void) {
    give_early(0, 0, 5), give_early(1, 0, 5);
    take_early(2);
    EXPECT(!atexit(at_exit));
}

// ---------------------------------------------------------------- the end of a thread

static pthread_key_t keys[PTHREAD_KEYS_MAX + 40];
static size_t key_count;
static _Atomic(size_t) key_calls, thread_local_calls;

// A value of a key is a block with the key and the round in it.
struct value { struct block *block; size_t key; int round; };

static struct value *new_value(size_t key, int round) {
    struct value *v = malloc(sizeof *v);
    EXPECT(v != NULL);
    *v = (struct value){take(64 + key % 500), key, round};
    return v;
}

static void key_destructor(void *value) {
    struct value *v = value;
    key_calls++;
    give(v->block);
    if (v->round < PTHREAD_DESTRUCTOR_ITERATIONS) EXPECT(!pthread_setspecific(keys[v->key], new_value(v->key, v->round + 1)));
    free(v);
}

static void make_keys(size_t count) {
    while (count-- && !pthread_key_create(&keys[key_count], key_destructor)) key_count++;
}

static void thread_local_destructor(void *block) {
    thread_local_calls++;
    give(block);
    take_and_give(20, 3);
}

static void *end_with_destructors(void *at) {
    struct block *first = take(100);
    for (size_t i = 0; i < key_count; i++) EXPECT(!pthread_setspecific(keys[i], new_value(i, 1)));
    for (size_t i = 0; i < 5; i++) EXPECT(!__cxa_thread_atexit_impl(thread_local_destructor, take(100 + i), &__dso_handle));
    give(first);
    give(atomic_exchange(&shelf[(uintptr_t)at % LEN(shelf)], take(3000)));
    return NULL;
}

static void thread_exit(void) {
    // `number` keys stand since before the first malloc; these come after it.
    give(take(100));
    size_t before = key_count;
    EXPECT(before > 0);
    make_keys(40);
    EXPECT(key_count == before + 40 || number >= PTHREAD_KEYS_MAX);
    pthread_t thread[8];
    for (int round = 0; round < 5; round++) {
        start(thread, LEN(thread), end_with_destructors);
        join(thread, LEN(thread));
    }
    clear_the_shelf();
    EXPECT(thread_local_calls == 5 * LEN(thread) * 5);
    EXPECT(key_calls == 5 * LEN(thread) * key_count * PTHREAD_DESTRUCTOR_ITERATIONS);
}

static void *live_shortly(void *at) {
    uint64_t seed = 99 + (uintptr_t)at;
    struct block *v[100];
    for (size_t i = 0; i < LEN(v); i++) v[i] = take(sizeof(struct block) + random_step(&seed) % 8000);
    for (size_t i = 0; i < LEN(v); i++) give(v[i]);
    give(atomic_exchange(&shelf[random_step(&seed) % LEN(shelf)], take(700)));
    return NULL;
}

static void short_threads(void) {
    pthread_t thread[4];
    size_t settled = 0;
    for (int i = 0; i < 2200; i += LEN(thread)) {
        if (i == 200) settled = resident();
        start(thread, LEN(thread), live_shortly);
        join(thread, LEN(thread));
    }
    size_t end = resident();
    if (end > settled + 8 * M) say("resident: %zu KiB, then %zu KiB\n", settled / K, end / K);
    EXPECT(end <= settled + 8 * M);
    clear_the_shelf();
}

// A queue of one producer and one consumer.
static struct queue { _Atomic(struct block *) slot[128]; } queues[3];
enum { HANDED_OVER = 100000 };

static void *produce(void *at) {
    size_t q = (uintptr_t)at / 7919;
    uint64_t seed = 5 + q;
    for (size_t i = 0; i < HANDED_OVER; i++) {
        struct block *b = take(some_size(&seed));
        while (queues[q].slot[i % LEN(queues[q].slot)]) sched_yield();
        queues[q].slot[i % LEN(queues[q].slot)] = b;
    }
    return NULL;
}

static void *consume(void *at) {
    size_t q = (uintptr_t)at / 7919;
    for (size_t i = 0; i < HANDED_OVER; i++) {
        struct block *b;
        while (!(b = atomic_exchange(&queues[q].slot[i % LEN(queues[q].slot)], NULL))) sched_yield();
        give(b);
    }
    return NULL;
}

static void handover(void) {
    pthread_t producer[LEN(queues)], consumer[LEN(queues)];
    start(producer, LEN(producer), produce);
    start(consumer, LEN(consumer), consume);
    // Meanwhile threads are born and die, and what they leave is freed by others.
    pthread_t thread[4];
    for (int i = 0; i < 100; i++) {
        start(thread, LEN(thread), live_shortly);
        join(thread, LEN(thread));
    }
    join(producer, LEN(producer));
    join(consumer, LEN(consumer));
    clear_the_shelf();
}

static void *use_little_stack(void *at) {
    uint64_t seed = 11 + (uintptr_t)at;
    for (int i = 0; i < 50; i++) {
        struct block *a = take(some_size(&seed)), *b = take(300 * K), *c = memalign(4096, 5000);
        give(a), give(b);
        EXPECT(c != NULL);
        sign(c, 5000);
        EXPECT((c = realloc(c, 10000)) != NULL);
        sign(c, 10000);
        give(atomic_exchange(&shelf[random_step(&seed) % LEN(shelf)], c));
    }
    return NULL;
}

static void small_stacks(void) {
    pthread_attr_t attr;
    EXPECT(!pthread_attr_init(&attr));
    EXPECT(!pthread_attr_setstacksize(&attr, sysconf(_SC_THREAD_STACK_MIN) + 8 * K));
    for (int round = 0; round < 10; round++) {
        pthread_t thread[4];
        for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_create(&thread[i], &attr, use_little_stack, (void *)(i * 7919)));
        join(thread, LEN(thread));
    }
    clear_the_shelf();
}

// ---------------------------------------------------------------- fork, and other ways to make a process

// Handlers of three registrations: before the allocator's own (.preinit_array runs ahead of every constructor), in a
// constructor, and in main. Each allocates and frees on all three sides of fork.
static struct block *handed[3];
static _Atomic(int) handler_calls;

static void prepare(int who) {
    handler_calls++;
    take_and_give(4, who + 1);
    give(handed[who]);
    handed[who] = take(1000 + who);
}
static void after(int who) {
    handler_calls++;
    give(handed[who]);
    handed[who] = NULL;
    take_and_give(4, who + 7);
}
static void prepare0(void) { prepare(0); }
static void prepare1(void) { prepare(1); }
static void prepare2(void) { prepare(2); }
static void after0(void) { after(0); }
static void after1(void) { after(1); }
static void after2(void) { after(2); }

static void fork_handlers(void) {
    EXPECT(!pthread_atfork(prepare2, after2, after2));
    pthread_t thread[4];
    start(thread, LEN(thread), keep_allocating);
    for (int i = 0; i < 150; i++) {
        pid_t child = fork();
        EXPECT(child >= 0);
        if (!child) {
            alarm(20);
            EXPECT(handler_calls == i * 6 + 6);
            take_and_give(50, i + 1);
            _exit(0);
        }
        expect_exit(child, 0);
    }
    EXPECT(handler_calls == 150 * 6);
    stop = true;
    join(thread, LEN(thread));
    clear_the_shelf();
}

static void *take_in_a_child(void *seed) {
    take_and_give(50, (uintptr_t)seed + 1);
    return NULL;
}

static void live_as_a_child(int i) {
    alarm(30);
    take_and_give(50, i + 1);
    clear_the_shelf();
    struct block *big = take(500 * K);
    give(big);
    // The child of a process with threads may have threads too.
    if (i % 16 == 0) {
        pthread_t thread[2];
        start(thread, LEN(thread), take_in_a_child);
        join(thread, LEN(thread));
    }
    if (i % 8 == 0) exit(0);
    _exit(0);
}

static void fork_threads(void) {
    pthread_t thread[8];
    start(thread, LEN(thread), keep_allocating);
    pid_t children[4] = {0};
    for (int i = 0; i < number; i++) {
        pid_t *child = &children[i % LEN(children)];
        if (*child) expect_exit(*child, 0);
        *child = fork();
        EXPECT(*child >= 0);
        if (!*child) live_as_a_child(i);
    }
    for (size_t i = 0; i < LEN(children); i++)
        if (children[i]) expect_exit(children[i], 0);
    stop = true;
    join(thread, LEN(thread));
    clear_the_shelf();
}

static volatile sig_atomic_t inside, interrupted_inside;
static _Atomic(int) handler_forks;

static void set_alarm(void) {
    struct itimerval soon = {.it_value.tv_usec = 150 + handler_forks * 37 % 200};
    EXPECT(!setitimer(ITIMER_REAL, &soon, NULL));
}

// Interrupts malloc or free wherever it is. A child may allocate when it was not inside; one that was may only leave.
static void fork_at_signal(int signal) {
    (void)signal;
    int saved = errno;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (!child) {
        alarm(20);
        if (!inside) take_and_give(10, 1);
        _exit(0);
    }
    expect_exit(child, 0);
    handler_forks++;
    interrupted_inside += inside;
    set_alarm();
    errno = saved;
}

static void fork_in_handler(void) {
    struct sigaction action = {.sa_handler = fork_at_signal, .sa_flags = SA_RESTART};
    EXPECT(!sigaction(SIGALRM, &action, NULL));
    set_alarm();
    static void *v[64];
    uint64_t seed = 3;
    while (handler_forks < number) {
        size_t at = random_step(&seed) % LEN(v), size = some_size(&seed);
        inside = 1;
        free(v[at]);
        v[at] = malloc(size);
        for (int i = 0; i < 20; i++) {
            void *p = malloc(100 + i), *q = malloc(5000 + size);
            free(p), free(q);
        }
        inside = 0;
        EXPECT(v[at] != NULL);
        // About as long outside as inside.
        for (int i = 0; i < 1000; i++) random_step(&seed);
    }
    struct itimerval never = {0};
    EXPECT(!setitimer(ITIMER_REAL, &never, NULL));
    EXPECT(interrupted_inside > number / 20 && interrupted_inside < number - number / 20);
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
}

static void spawn(void) {
    pthread_t thread[4];
    start(thread, LEN(thread), keep_allocating);
    char *const args[] = {"sh", "-c", "exit 3", NULL};
    for (int i = 0; i < 10; i++) {
        pid_t child = vfork();
        EXPECT(child >= 0);
        if (!child) {
            execv("/bin/sh", args);
            _exit(127);
        }
        expect_exit(child, 3);
        EXPECT(!posix_spawn(&child, "/bin/sh", NULL, NULL, args, environ));
        expect_exit(child, 3);
        EXPECT(system("exit 4") == 4 << 8);
        FILE *pipe = popen("echo heard", "r");
        char word[16] = "";
        EXPECT(pipe && fgets(word, sizeof word, pipe) && !strcmp(word, "heard\n"));
        EXPECT(pclose(pipe) == 0);
    }
    stop = true;
    join(thread, LEN(thread));
    clear_the_shelf();
}

static void allocate_at_exit(void) { take_and_give(50, 9); }

static void exit_with_threads(void) {
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        EXPECT(child >= 0);
        if (!child) {
            alarm(30);
            EXPECT(!atexit(allocate_at_exit));
            pthread_t thread[4];
            start(thread, LEN(thread), keep_allocating);
            usleep(i * 200);
            exit(0);
        }
        expect_exit(child, 0);
    }
}

// ---------------------------------------------------------------- when memory is refused

static void set_limit(int resource, size_t bytes) {
    struct rlimit limit;
    EXPECT(!getrlimit(resource, &limit));
    limit.rlim_cur = bytes;
    EXPECT(!setrlimit(resource, &limit));
}

// Blocks of one size until there are no more, in a list.
struct link { struct link *next; };

static size_t take_all(struct link **list, size_t size) {
    size_t count = 0;
    for (;;) {
        errno = 0;
        struct link *l = malloc(size);
        if (!l) break;
        l->next = *list;
        *list = l;
        EXPECT(++count * size < 1024 * M);
    }
    EXPECT(errno == ENOMEM);
    return count;
}

static void give_all(struct link **list) {
    while (*list) {
        struct link *next = (*list)->next;
        free(*list);
        *list = next;
    }
}

// Runs out three times, with blocks of three sizes; what was freed is there again.
static void run_out_and_recover(size_t room) {
    size_t sizes[] = {1000, 30000, 300000};
    struct block *held = take(5000);
    for (size_t i = 0; i < LEN(sizes); i++) {
        struct link *list = NULL;
        size_t count = take_all(&list, sizes[i]);
        EXPECT(count * sizes[i] > room / 2);
        errno = 0;
        EXPECT(calloc(room, 2) == NULL && errno == ENOMEM);
        errno = 0;
        EXPECT(realloc(held, 2 * room) == NULL && errno == ENOMEM);
        verify(held);
        void *p = held;
        EXPECT(posix_memalign(&p, 64, 2 * room) == ENOMEM && p == held);
        give_all(&list);
        EXPECT(take_all(&list, sizes[i]) > count / 2);
        give_all(&list);
    }
    give(held);
    take_and_give(500, 4);
}

static void address_limit(void) {
    set_limit(RLIMIT_AS, status_bytes("VmSize:") + 64 * M);
    run_out_and_recover(64 * M);
}

// All memory is taken in blocks of two sizes, and freed. A realloc that needs another length has to get some of it.
static void realloc_of_cached(void) {
    set_limit(RLIMIT_AS, status_bytes("VmSize:") + 4 * M);
    for (int round = 0; round < 4; round++) {
        void *small = malloc(32);
        struct link *list = NULL, *rest = NULL;
        take_all(&list, 4104);
        take_all(&rest, sizeof *rest);
        give_all(&rest);
        give_all(&list);
        void *longer = realloc(small, round % 2 ? 56 : 3000);
        EXPECT(longer != NULL);
        free(longer);
    }
}

static void *hold_in_a_thread(void *at) {
    struct block *v[100];
    for (size_t i = 0; i < LEN(v); i++) v[i] = take(4096);
    for (size_t i = 0; i < LEN(v); i++) give(v[i]);
    take_and_give(200, 1 + (uintptr_t)at);
    return NULL;
}

static void address_limit_threads(void) {
    // Room for threads and blocks, none for a heap of 64 MiB.
    set_limit(RLIMIT_AS, status_bytes("VmSize:") + 40 * M);
    pthread_attr_t attr;
    EXPECT(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, 128 * K));
    for (int round = 0; round < 5; round++) {
        pthread_t thread[4];
        for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_create(&thread[i], &attr, hold_in_a_thread, (void *)i));
        join(thread, LEN(thread));
    }
}

static void data_limit(void) {
    // The break and private mappings alike count as data: both are refused.
    set_limit(RLIMIT_DATA, status_bytes("VmData:") + 32 * M);
    run_out_and_recover(32 * M);
    struct link *list = NULL;
    take_all(&list, 2000);
    set_limit(RLIMIT_DATA, RLIM_INFINITY);
    for (int i = 0; i < 40000; i++) {
        struct link *l = malloc(2000);
        EXPECT(l != NULL);
        l->next = list;
        list = l;
    }
    give_all(&list);
}

// ---------------------------------------------------------------- the break belongs to others too

static void blocked_break(void) {
    struct block *first = take(100);
    uintptr_t page = ((uintptr_t)sbrk(0) + 4095) & ~4095ul;
    void *fence = mmap((void *)page, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    EXPECT(fence == (void *)page);
    static struct block *v[200000];
    for (size_t i = 0; i < LEN(v); i++) v[i] = take(900 + i % 200);
    // Every other one first, so that they cannot simply be peeled off.
    for (size_t i = 0; i < LEN(v); i += 2) give(v[i]);
    for (size_t i = 0; i < LEN(v); i += 2) v[i] = take(800 + i % 200);
    for (size_t i = 0; i < LEN(v); i++) give(v[i]);
    EXPECT(!munmap(fence, 4096));
    give(first);
    take_and_give(2000, 6);
}

static void foreign_break(void) {
    enum { ROUNDS = 40 };
    static struct block *v[ROUNDS][300];
    static struct { unsigned char *at; size_t len; } foreign[ROUNDS];
    uint64_t seed = 12;
    for (int r = 0; r < ROUNDS; r++) {
        for (size_t i = 0; i < LEN(v[r]); i++) v[r][i] = take(sizeof(struct block) + random_step(&seed) % 3000);
        // Any length: the break need not stay on a page, nor on a word.
        foreign[r].len = 1 + random_step(&seed) % 20000;
        foreign[r].at = sbrk(foreign[r].len);
        EXPECT(foreign[r].at != (void *)-1);
        memset(foreign[r].at, 0xe0 + r % 16, foreign[r].len);
        if (r % 3 == 0) {
            // Borrowed and returned at once.
            void *own = sbrk(10000);
            EXPECT(own != (void *)-1);
            memset(own, 1, 10000);
            EXPECT(sbrk(-10000) != (void *)-1);
        }
        if (r % 4 == 3)
            for (size_t i = 0; i < LEN(v[r]); i++) give(v[r - 2][i]), v[r - 2][i] = NULL;
    }
    for (int r = ROUNDS; r-- > 0;)
        for (size_t i = 0; i < LEN(v[r]); i++) give(v[r][i]);
    malloc_trim(0);
    take_and_give(1000, 8);
    for (int r = 0; r < ROUNDS; r++)
        for (size_t i = 0; i < foreign[r].len; i++) EXPECT(foreign[r].at[i] == 0xe0 + r % 16);
}

// ---------------------------------------------------------------- misuse

// A pointer the compiler knows nothing of.
static void *opaque(void *p) { void *volatile v = p; return v; }

static void *prepared(size_t size) {
    set_limit(RLIMIT_CORE, 0);
    // Neighbours on both sides, so that nothing merges by luck.
    void *p, *before = calloc(1, size), *after;
    p = calloc(1, size);
    after = calloc(1, size);
    EXPECT(before && p && after);
    return p;
}

static void double_free(void) {
    void *p = prepared(number);
    free(p);
    free(opaque(p));
}

static void double_free_after_others(void) {
    static void *v[200];
    void *p = prepared(number);
    for (size_t i = 0; i < LEN(v); i++) v[i] = calloc(1, number);
    free(p);
    for (size_t i = 0; i < LEN(v); i += 2) free(v[i]);
    free(opaque(p));
}

static void interior(void) { free(opaque((char *)prepared(number) + number / 32 * 16)); }

static void misaligned(void) { free(opaque((char *)prepared(5000) + number)); }

static void stack_address(void) {
    prepared(100);
    _Alignas(16) char local[256] = {0};
    free(opaque(local + 64));
}

static void static_address(void) {
    prepared(100);
    static _Alignas(16) char global[256];
    free(opaque(global + 64));
}

static void foreign_mapping(void) {
    prepared(100);
    char *page = mmap(NULL, 16 * K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    free(opaque(page + number));
}

static void realloc_of_freed(void) {
    void *p = prepared(number);
    free(p);
    EXPECT(realloc(opaque(p), 2 * number) != NULL);
}

static void overrun(void) {
    prepared(number);
    char *v[16], *from = NULL, *to = NULL;
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = malloc(number)) != NULL);
    for (size_t i = 0; i < LEN(v) && !to; i++)
        for (size_t j = 0; j < LEN(v); j++)
            if (v[j] > v[i] && v[j] - v[i] < number + number / 16 + 64) from = v[i], to = v[j];
    EXPECT(to != NULL);
    // Past the end of one block, over the head of the next one, up to its first byte.
    memset(opaque(from), 'A', to - from);
    free(to);
}

// ---------------------------------------------------------------- the table

static const struct mode { const char *name; void (*run)(void); } modes[] = {
    {"lifetime", lifetime},
    {"thread-exit", thread_exit},
    {"short-threads", short_threads},
    {"handover", handover},
    {"small-stacks", small_stacks},
    {"fork-handlers", fork_handlers},
    {"fork-threads", fork_threads},
    {"fork-in-handler", fork_in_handler},
    {"spawn", spawn},
    {"exit-with-threads", exit_with_threads},
    {"address-limit", address_limit},
    {"address-limit-threads", address_limit_threads},
    {"realloc-of-cached", realloc_of_cached},
    {"data-limit", data_limit},
    {"blocked-break", blocked_break},
    {"foreign-break", foreign_break},
    {"double-free", double_free},
    {"double-free-after-others", double_free_after_others},
    {"interior", interior},
    {"misaligned", misaligned},
    {"stack-address", stack_address},
    {"static-address", static_address},
    {"foreign-mapping", foreign_mapping},
    {"realloc-of-freed", realloc_of_freed},
    {"overrun", overrun},
};

// The very first code of the program, ahead of the constructors of all libraries.
static void before_all(int argc, char **argv, char **envp) {
    (void)envp;
    if (argc < 2) return;
    running = argv[1];
    number = argc > 2 ? atoi(argv[2]) : 0;
    if (mode_is("lifetime")) take_early(0);
    if (mode_is("thread-exit")) make_keys(number);
    if (mode_is("fork-handlers")) EXPECT(!pthread_atfork(prepare0, after0, after0));
}
__attribute__((section(".preinit_array"), used)) static void (*const first_code)(int, char **, char **) = before_all;

__attribute__((constructor(101))) static void construct(void) {
    if (mode_is("lifetime")) take_early(1);
    if (mode_is("fork-handlers")) EXPECT(!pthread_atfork(prepare1, after1, after1));
}

__attribute__((destructor(101))) static void destruct(void) {
    if (!mode_is("lifetime")) return;
    for (int stage = 0; stage < 4; stage++) give_early(stage, 0, LEN(early[stage]));
    take_and_give(100, 13);
    say("done\n");
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < LEN(modes); i++)
        if (!strcmp(modes[i].name, argv[1])) {
            modes[i].run();
            if (!mode_is("lifetime")) say("done\n");
            return 0;
        }
    failed(__LINE__, "no such mode");
}
