// Valid operations, as many as asked for, and the resident memory over them.
//
//     soak OPERATIONS
//
// Two threads take, resize and free blocks of sizes that real programs use, and hand a part of them to each other. Each block
// carries its address and its length. An allocator that stops a valid program dies here; one that loses memory grows: resident
// memory at the end is compared with that at half time.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

enum { SLOTS = 20000, SHARED = 512 };
typedef struct { void *self; size_t len; } Block;
static _Atomic(Block *) shared[SHARED];
static size_t each;
static pthread_barrier_t half_time;
static size_t resident_at_half;

static size_t some_len(uint64_t *seed) {
    uint64_t r = random_step(seed);
    size_t most = r % 2048 == 0 ? 200000 : r % 128 == 0 ? 9000 : r % 16 == 0 ? 1200 : 200;
    return sizeof(Block) + (r >> 16) % most;
}
static Block *signed_block(Block *b, size_t len) {
    EXPECT(b != NULL);
    *b = (Block){b, len};
    ((char *)b)[len - 1] = len > sizeof *b ? (char)len : ((char *)b)[len - 1];
    return b;
}
static void verify(Block *b) {
    EXPECT(b->self == b && (b->len == sizeof *b || ((char *)b)[b->len - 1] == (char)b->len));
}
static Block *take(uint64_t *seed) {
    size_t len = some_len(seed);
    Block *b = *seed % 8 == 0 ? calloc(1, len) : *seed % 64 == 1 ? aligned_alloc(64, len) : malloc(len);
    return signed_block(b, len);
}
static void give(Block *b) {
    if (!b) return;
    verify(b);
    free(b);
}
static void *work(void *at) {
    uint64_t seed = 0x9E3779B97F4A7C15 + (uintptr_t)at;
    Block **slot = calloc(SLOTS, sizeof *slot);
    // A round takes one block and gives one back.
    for (size_t done = 0; done < each; done += 2) {
        if (done == each / 2 / 2 * 2) {
            if (pthread_barrier_wait(&half_time) == PTHREAD_BARRIER_SERIAL_THREAD) resident_at_half = resident();
            pthread_barrier_wait(&half_time);
        }
        size_t i = random_step(&seed) % SLOTS;
        if (seed % 32 == 0) {
            give(atomic_exchange(&shared[random_step(&seed) % SHARED], take(&seed)));
        } else if (slot[i] && seed % 16 == 1) {
            verify(slot[i]);
            size_t len = some_len(&seed);
            Block *b = realloc(slot[i], len);
            EXPECT(b != NULL && (b->self == slot[i] || b->self == b));
            slot[i] = signed_block(b, len);
        } else {
            give(slot[i]);
            slot[i] = take(&seed);
        }
    }
    // At half time all slots are full as well, or this would not be comparable.
    pthread_barrier_wait(&half_time);
    if (at == NULL) {
        size_t now = resident();
        say("%zu KiB resident at half time, %zu at the end\n", resident_at_half / K, now / K);
        EXPECT(each < 40000000 || now <= resident_at_half + resident_at_half / 100);
    }
    pthread_barrier_wait(&half_time);
    for (int i = 0; i < SLOTS; i++) give(slot[i]);
    free(slot);
    return NULL;
}
int main(int argc, char **argv) {
    running = "soak";
    EXPECT(argc == 2 && !pthread_barrier_init(&half_time, NULL, 2));
    each = strtoul(argv[1], NULL, 10) / 2;
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, work, (void *)1));
    work(NULL);
    EXPECT(!pthread_join(thread, NULL));
    for (int i = 0; i < SHARED; i++) give(shared[i]);
    say("done\n");
    return 0;
}
