// One small workload for each parameter, whose effect is watched from outside: by strace, by where blocks lie, by bytes.
//
//     parameters MODE      see the table at the end
//
// What is to be watched stands between the lines "step begin" and "step end" on stderr.
#include "check.h"
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

static void step(const char *name) {
    char line[64];
    int len = snprintf(line, sizeof line, "step %s\n", name);
    if (write(2, line, len) != len) _exit(1);
}

static void *touched(size_t size) {
    void *p = malloc(size);
    EXPECT(p != NULL);
    return memset(p, 1, size);
}

// Three big blocks at a time.
static void big(void) {
    void *v[3];
    free(touched(100));
    step("begin");
    for (size_t i = 0; i < LEN(v); i++) v[i] = touched(200 * K);
    step("end");
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
}

// The first growth, then as much again as two thirds of a default pad.
static void grow(void) {
    step("begin");
    touched(1000);
    touched(90 * K);
    step("end");
}

// A long top, freed from the end.
static void top(void) {
    static void *v[20];
    for (size_t i = 0; i < LEN(v); i++) v[i] = touched(60 * K);
    step("begin");
    for (size_t i = LEN(v); i-- > 0;) free(v[i]);
    step("end");
}

static pthread_barrier_t barrier;

static void *hold(void *place) {
    *(void **)place = touched(100);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

// Six threads at once: how many areas of 64 MiB their blocks lie in, and how many blocks on the break.
static void threads(void) {
    enum { N = 6 };
    pthread_t thread[N];
    void *block[N] = {0};
    touched(100);
    EXPECT(!pthread_barrier_init(&barrier, NULL, N + 1));
    for (int i = 0; i < N; i++) EXPECT(!pthread_create(&thread[i], NULL, hold, &block[i]));
    pthread_barrier_wait(&barrier);
    char *heap = strstr(proc_text("/proc/self/maps"), "[heap]");
    uintptr_t low = 0, high = 0;
    if (heap) {
        while (heap[-1] != '\n') heap--;
        low = strtoul(heap, &heap, 16), high = strtoul(heap + 1, NULL, 16);
    }
    size_t areas = 0, on_break = 0;
    for (int i = 0; i < N; i++) {
        uintptr_t p = (uintptr_t)block[i];
        if (low <= p && p < high) { on_break++; continue; }
        bool is_new = true;
        for (int j = 0; j < i; j++) is_new &= (uintptr_t)block[j] >> 26 != p >> 26;
        areas += is_new;
    }
    say("%zu areas, %zu on the break\n", areas, on_break);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < N; i++) EXPECT(!pthread_join(thread[i], NULL));
}

// Whether two neighbours of `size` become one chunk when both are freed: not while they are cached.
static bool joins(size_t size) {
    char *a = malloc(size), *b = malloc(size), *fence = malloc(size);
    EXPECT(a && b && fence);
    if (a > b) { char *t = a; a = b; b = t; }
    free(a), free(b);
    // A little less than both: the size of a request may be rounded up by a sixteenth.
    char *both = malloc(2 * size - size / 8);
    bool joined = both == a;
    free(both), free(fence);
    return joined;
}

// Which sizes are kept apart in the cache.
static void cache(void) {
    free(malloc(20000));
    say("40: %s, 1000: %s, 5000: %s\n", joins(40) ? "joined" : "cached", joins(1000) ? "joined" : "cached",
        joins(5000) ? "joined" : "cached");
}

// How many of 400 blocks of 100 bytes that one thread has freed another gets: not those that the first keeps.
static char *freed[400];

static void *take_over(void *count) {
    for (size_t i = 0; i < LEN(freed); i++) {
        char *p = malloc(100);
        EXPECT(p != NULL);
        for (size_t j = 0; j < LEN(freed); j++) *(size_t *)count += freed[j] == p;
    }
    return NULL;
}

static void cached_count(void) {
    size_t count = 0;
    pthread_t thread;
    for (size_t i = 0; i < LEN(freed); i++) EXPECT((freed[i] = malloc(100)));
    for (size_t i = 0; i < LEN(freed); i++) free(freed[i]);
    EXPECT(!pthread_create(&thread, NULL, take_over, &count));
    EXPECT(!pthread_join(thread, NULL));
    say("%zu taken over\n", count);
}

static bool all(const unsigned char *p, int byte, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (p[i] != (unsigned char)byte) return false;
    return true;
}

static void *same(void *p) { void *volatile v = p; return v; }

// What lies in new memory, in cached and uncached freed memory, and in memory that is to be zero.
static void bytes(void) {
    size_t sizes[] = {100, 5000, 60000};
    for (size_t i = 0; i < LEN(sizes); i++) {
        size_t n = sizes[i];
        unsigned char *p = malloc(n), *fence = malloc(100);
        EXPECT(p && fence);
        say("%zu: new %02x", n, p[n / 2]);
        EXPECT(all(p, p[n / 2], 64, n));
        memset(p, 0x11, n);
        free(p);
        unsigned char *stale = same(p);
        say(", freed %02x", stale[n / 2]);
        EXPECT(all(stale, stale[n / 2], 96, n - 16));
        unsigned char *q = malloc(n);
        say(", again %02x", q[n / 2]);
        free(q);
        unsigned char *z = calloc(1, n);
        say(", zeroed %02x\n", z[n / 2]);
        EXPECT(all(z, 0, 0, n));
        free(z), free(fence);
    }
}

// Everything at once, for parameters that change nothing.
static void mixed(void) {
    step("begin");
    big(), top(), grow();
    for (size_t n = 1; n < 300 * K; n = n * 2 + 7) free(touched(n));
    step("end");
}

// Big memory of each kind, so that huge pages have a place: a block, the break, a heap.
static void *fill_heap(void *unused) {
    (void)unused;
    for (int i = 0; i < 60; i++) touched(100 * K);
    return NULL;
}

static void huge(void) {
    free(touched(100));
    step("begin");
    char *p = touched(8 * M);
    for (int i = 0; i < 60; i++) touched(100 * K);
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, fill_heap, NULL));
    EXPECT(!pthread_join(thread, NULL));
    char *rollup = proc_text("/proc/self/smaps_rollup"), *line = strstr(rollup, "AnonHugePages:");
    say("%lu KiB in transparent huge pages\n", line ? strtoul(line + 14, NULL, 10) : 0);
    p = realloc(p, 20 * M);
    EXPECT(p && all((unsigned char *)p, 1, 0, 8 * M));
    p = realloc(p, 5 * M);
    EXPECT(p && all((unsigned char *)p, 1, 0, 5 * M));
    memset(p, 2, malloc_usable_size(p));
    free(p);
    step("end");
}

int main(int argc, char **argv) {
    static const struct { const char *mode; void (*run)(void); } table[] = {
        {"big", big}, {"grow", grow}, {"top", top}, {"threads", threads}, {"cache", cache},
        {"count", cached_count}, {"bytes", bytes}, {"mixed", mixed}, {"huge", huge},
    };
    running = argc > 1 ? argv[1] : "?";
    for (size_t i = 0; i < LEN(table); i++)
        if (!strcmp(running, table[i].mode)) return table[i].run(), 0;
    failed(__LINE__, "no such mode");
}
