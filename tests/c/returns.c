// Memory that goes back by itself: programs that use much, free it, and say how much stays resident afterwards.
//   returns pins SECONDS        a thread fills heaps with blocks of 60 KiB, pins each with a small block, frees the rest
//   returns vectors SECONDS     eight threads fill the heap with small blocks; sixteen of all stay
//   returns pool SECONDS        forty threads build and drop small blocks of all sizes, and sleep from then on
//   returns sawtooth ROUNDS     grow to 64 MiB in small and mixed blocks, free all, again and again
//   returns small-pages         how many blocks lie where huge pages may be, before and after memory between blocks goes back
//   returns leave MILLISECONDS  the main thread frees much and ends; another goes on for so long; says so at the exit
// After the free the program makes one small request every STEP milliseconds; 0: one at the end only; -1: none at all.
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static long resident_kb(void) {
    static char text[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY);
    ssize_t len = read(file, text, sizeof text - 1);
    close(file);
    text[len > 0 ? len : 0] = 0;
    char *found = strstr(text, "Rss:");
    return found ? atol(found + 4) : -1;
}

static void nap(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, 0);
}

static unsigned long long state = 88172645463325252ull;
static unsigned draw(unsigned bound) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)((state >> 32) * bound >> 32);
}

static void *volatile sink;
static void one_request(void) {
    sink = malloc(40);
    free(sink);
}

static void wait_with_requests(long ms, long step) {
    if (step <= 0) {
        nap(ms);
        if (step == 0) one_request();
        return;
    }
    for (long past = 0; past < ms; past += step) {
        nap(step);
        one_request();
    }
}

enum { BLOCKS = 3000 };
static void *blocks[BLOCKS], *pins[64];
static int pinned;

static void *fill_and_free(void *unused) {
    unsigned long last = 0;
    for (int at = 0; at < BLOCKS; at++) {
        blocks[at] = malloc(61440);
        memset(blocks[at], 1, 61440);
        unsigned long heap = (unsigned long)blocks[at] >> 26;
        if (last && heap != last && pinned < 64) pins[pinned++] = malloc(3000);
        last = heap;
    }
    pins[pinned++] = malloc(3000);
    for (int at = 0; at < BLOCKS; at++) free(blocks[at]);
    return unused;
}

enum { THREADS = 8 };
static int vectors;
static void *hold[THREADS][2];
static pthread_barrier_t full;

static void *fill_vectors(void *argument) {
    int me = (int)(long)argument;
    unsigned long long seed = 0x9E3779B97F4A7C15ull * (me + 1);
    void **all = malloc(vectors * sizeof *all);
    for (int at = 0; at < vectors; at++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        size_t len = 32 + (seed >> 40) % 960;
        all[at] = malloc(len);
        memset(all[at], 2, len);
    }
    pthread_barrier_wait(&full);
    for (int at = 0; at < vectors; at++)
        if (at == vectors / 3) hold[me][0] = all[at];
        else if (at == vectors - 1) hold[me][1] = all[at];
        else free(all[at]);
    free(all);
    return 0;
}

enum { POOL = 40, POOL_BLOCKS = 3000 };
static pthread_barrier_t idle, end;

static void *build_drop_and_sleep(void *argument) {
    static __thread void *all[POOL_BLOCKS];
    unsigned long long seed = 0x9E3779B97F4A7C15ull * ((long)argument + 1);
    for (int at = 0; at < POOL_BLOCKS; at++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        size_t len = 16 + (seed >> 40) % (16 << (seed >> 20) % 9);
        all[at] = malloc(len);
        memset(all[at], 2, len);
    }
    for (int at = 0; at < POOL_BLOCKS; at++) free(all[at]);
    pthread_barrier_wait(&idle);
    pthread_barrier_wait(&end);
    return argument;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void saw(int rounds) {
    static void *all[400000];
    for (int round = 0; round < rounds; round++) {
        int count = 0;
        for (size_t bytes = 0; bytes < 64u << 20 && count < 400000;) {
            size_t len = draw(10) ? 16 + draw(400) : 1000 + draw(20000);
            all[count] = malloc(len);
            memset(all[count++], 3, len);
            bytes += len;
        }
        while (count) free(all[--count]);
    }
}

enum { ROUNDS = 2, MIXED = 400 };
static void *mixed[2][ROUNDS][MIXED];

// Blocks of 60 KB, each followed by a small one.
static void *fill_mixed(void *to) {
    void **block = to;
    for (int at = 0; at < MIXED; at++) memset(block[at] = malloc(at % 2 ? 3000 : 60000), 4, 3000);
    return to;
}

// The blocks of a round that lie where the system may put huge pages.
static int under_huge_pages(void *blocks[MIXED]) {
    static char text[1 << 20];
    size_t len = 0;
    int file = open("/proc/self/smaps", O_RDONLY), count = 0;
    for (ssize_t n; (n = read(file, text + len, sizeof text - 1 - len)) > 0; len += n) ;
    close(file);
    text[len] = 0;
    unsigned long from = 0, to = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
        unsigned long first, end;
        if (sscanf(line, "%lx-%lx ", &first, &end) == 2) from = first, to = end;
        if (strncmp(line, "VmFlags:", 8)) continue;
        for (int at = 0; at < MIXED && !strstr(line, " nh"); at++)
            count += (unsigned long)blocks[at] >= from && (unsigned long)blocks[at] < to;
    }
    return count;
}

static void small_pages(void) {
    pthread_t thread;
    for (int round = 0; round < ROUNDS; round++) {
        fill_mixed(mixed[0][round]);
        pthread_create(&thread, 0, fill_mixed, mixed[1][round]);
        pthread_join(thread, 0);
        printf("round %d: %d %d\n", round, under_huge_pages(mixed[0][round]), under_huge_pages(mixed[1][round]));
        for (int at = 0; at < MIXED; at += 2) free(mixed[0][round][at]), free(mixed[1][round][at]);
        malloc_trim(0);
    }
    printf("end: %d %d\n", under_huge_pages(mixed[0][0]), under_huge_pages(mixed[1][0]));
}

static void leaving(void) {
    printf("exit\n");
}

static void *stay(void *milliseconds) {
    nap((long)milliseconds);
    return milliseconds;
}

static void leave(long milliseconds) {
    pthread_t other;
    atexit(leaving);
    fill_and_free(0);
    pthread_create(&other, 0, stay, (void *)milliseconds);
    pthread_detach(other);
    pthread_exit(0);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    long amount = argc > 2 ? atol(argv[2]) : 1, step = argc > 3 ? atol(argv[3]) : 0;
    long before = resident_kb();
    if (!strcmp(mode, "pins")) {
        pthread_t thread;
        pthread_create(&thread, 0, fill_and_free, 0);
        pthread_join(thread, 0);
        long freed = resident_kb();
        wait_with_requests(amount * 1000, step);
        printf("freed %ld later %ld\n", freed - before, resident_kb() - before);
    } else if (!strcmp(mode, "vectors")) {
        vectors = getenv("VECTORS") ? atoi(getenv("VECTORS")) : 200000;
        pthread_t threads[THREADS];
        pthread_barrier_init(&full, 0, THREADS);
        for (long at = 0; at < THREADS; at++) pthread_create(&threads[at], 0, fill_vectors, (void *)at);
        for (int at = 0; at < THREADS; at++) pthread_join(threads[at], 0);
        long freed = resident_kb();
        wait_with_requests(amount * 1000, step);
        printf("freed %ld later %ld\n", freed - before, resident_kb() - before);
    } else if (!strcmp(mode, "pool")) {
        pthread_t thread;
        pthread_barrier_init(&idle, 0, POOL + 1);
        pthread_barrier_init(&end, 0, POOL + 1);
        for (long at = 0; at < POOL; at++) pthread_create(&thread, 0, build_drop_and_sleep, (void *)at);
        pthread_barrier_wait(&idle);
        long freed = resident_kb();
        wait_with_requests(amount * 1000, step);
        printf("freed %ld later %ld\n", freed - before, resident_kb() - before);
    } else if (!strcmp(mode, "small-pages")) {
        small_pages();
    } else if (!strcmp(mode, "leave")) {
        leave(amount);
    } else if (!strcmp(mode, "sawtooth")) {
        saw((int)amount);
        printf("cpu %.3f\n", cpu_seconds());
    } else {
        return 2;
    }
    return 0;
}
