// A program that asks for memory in every way there is, and lives with a refusal of any of it.
//
//     faults             all of it
//     faults nothing     ends at once: what the loader does before any program
//
// It runs under a tracer that refuses the n-th system call of a kind. A request may come back empty; then the program goes on
// without that block. Whatever it has must keep its contents, and when it is done it asks for everything once more and must
// get it, for by then nothing is refused any more. "done" on stdout, or a line that says what was wrong and status 1.
#include "check.h"
#include <malloc.h>
#include <pthread.h>

typedef struct { unsigned char *at; size_t len, seed; } Block;
enum { BLOCKS = 160 };

static void fill(Block *b) {
    for (size_t i = 0; i < b->len; i += b->len < 4096 ? 1 : 509) b->at[i] = (i + b->seed) * 167 >> 3;
}
static void verify(const Block *b) {
    for (size_t i = 0; i < b->len; i += b->len < 4096 ? 1 : 509)
        if (b->at[i] != (unsigned char)((i + b->seed) * 167 >> 3)) failed(__LINE__, "a block lost its contents");
}
static void give(Block *b) {
    if (!b->at) return;
    verify(b);
    int before = errno = 77;
    free(b->at);
    EXPECT(errno == before);
    b->at = NULL;
}

static size_t some_len(uint64_t *seed) {
    static const size_t most[] = {100, 1000, 9000, 70000, 300000};
    return 1 + random_step(seed) % most[random_step(seed) % LEN(most)];
}

static void *ask(uint64_t *seed, size_t len) {
    void *p = NULL;
    switch (random_step(seed) % 4) {
    case 0: return malloc(len);
    case 1:
        p = calloc(1, len);
        for (size_t i = 0; p && i < len; i++) EXPECT(!((char *)p)[i]);
        return p;
    case 2: return aligned_alloc(256, len);
    default: return posix_memalign(&p, 4096, len) ? NULL : p;
    }
}

static void resize(Block *b, uint64_t *seed) {
    size_t len = some_len(seed), kept = len < b->len ? len : b->len;
    errno = 0;
    unsigned char *p = realloc(b->at, len);
    if (!p) {
        EXPECT(errno == ENOMEM);
        verify(b);
        return;
    }
    for (size_t i = 0; i < kept; i += b->len < 4096 ? 1 : 509) EXPECT(p[i] == (unsigned char)((i + b->seed) * 167 >> 3));
    b->at = p;
    b->len = len;
    fill(b);
}

static void *live(void *at) {
    uint64_t seed = 88172645463325252ull + (uintptr_t)at * 7919;
    Block block[BLOCKS] = {0};
    for (int round = 0; round < 600; round++) {
        Block *b = &block[random_step(&seed) % BLOCKS];
        if (b->at && random_step(&seed) % 3 == 0) {
            resize(b, &seed);
            continue;
        }
        give(b);
        size_t len = some_len(&seed);
        errno = 0;
        b->at = ask(&seed, len);
        if (!b->at) continue;
        *b = (Block){b->at, len, random_step(&seed)};
        fill(b);
        if (round % 200 == 199) malloc_trim(0);
    }
    for (int i = 0; i < BLOCKS; i++) give(&block[i]);
    return NULL;
}

// A main arena that grows far, and shrinks.
static void grow_and_shrink(size_t count, size_t len, bool must) {
    void **list = NULL;
    for (size_t i = 0; i < count; i++) {
        void **p = malloc(len);
        if (must) EXPECT(p != NULL);
        if (!p) continue;
        memset(p, 0x77, len);
        p[0] = list;
        list = p;
    }
    while (list) {
        void **next = list[0];
        EXPECT(((unsigned char *)list)[len - 1] == 0x77);
        free(list);
        list = next;
    }
}

static void everything(bool must) {
    pthread_t thread[3];
    int started = 0;
    for (; started < 3; started++) {
        if (pthread_create(&thread[started], NULL, live, (void *)(uintptr_t)(started + 1))) break;
    }
    live((void *)9);
    for (int i = 0; i < started; i++) EXPECT(!pthread_join(thread[i], NULL));
    if (must) EXPECT(started == 3);
    grow_and_shrink(2000, 3000, must);
    grow_and_shrink(20, 900000, must);
    malloc_trim(0);
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return 0;
    running = "faults";
    // Mappings of their own for the larger blocks throughout: the threshold would move up after the first.
    mallopt(M_MMAP_THRESHOLD, 128 * K);
    everything(false);
    everything(false);
    // Only one call was refused, and that was before.
    everything(true);
    say("done\n");
    return 0;
}
