// Valid operations, as many as asked for, and the resident memory over them.
//
//     soak OPERATIONS
//
// Two threads take, resize and free blocks of sizes that real programs use, and hand a part of them to each other. Each block
// carries its address and its length. An allocator that stops a valid program dies here; one that loses memory grows.
//
// What is live goes up and down at random, by half a MiB of some 9: a few blocks of up to 200 kB make most of that. So one
// reading of resident memory against another tells nothing about 1 %. In each quarter of the run it is read 64 times, and from
// each reading goes what is live at that moment; what is left, the cost of holding a block, is what may not drift.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

enum { SLOTS = 20000, SHARED = 512, QUARTERS = 4, READINGS = 64 };
typedef struct { void *self; size_t len; } Block;
static _Atomic(Block *) shared[SHARED];
static size_t each;
static pthread_barrier_t reading;
static _Atomic(size_t) live;
// Sums over the readings of a quarter, in KiB.
static double resident_sum[QUARTERS], live_sum[QUARTERS];

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
static Block *take(uint64_t *seed, size_t *mine) {
    size_t len = some_len(seed);
    Block *b = *seed % 8 == 0 ? calloc(1, len) : *seed % 64 == 1 ? aligned_alloc(64, len) : malloc(len);
    *mine += len;
    return signed_block(b, len);
}
static void give(Block *b, size_t *mine) {
    if (!b) return;
    verify(b);
    *mine -= b->len;
    free(b);
}
static void read_memory(size_t number, bool reads, size_t *mine) {
    live += *mine;
    *mine = 0;
    pthread_barrier_wait(&reading);
    if (reads) {
        resident_sum[number / READINGS] += (double)resident() / K;
        live_sum[number / READINGS] += (double)live / K;
    }
    pthread_barrier_wait(&reading);
}
static void *work(void *at) {
    uint64_t seed = 0x9E3779B97F4A7C15 + (uintptr_t)at;
    Block **slot = calloc(SLOTS, sizeof *slot);
    // What this thread has taken less what it has given back, since the last reading; wraps.
    size_t mine = 0, readings = 0;
    // A round takes one block and gives one back.
    for (size_t done = 0; done < each; done += 2) {
        if (done >= (readings + 1) * (each / (QUARTERS * READINGS)) && readings + 1 < QUARTERS * READINGS)
            read_memory(readings++, at == NULL, &mine);
        size_t i = random_step(&seed) % SLOTS;
        if (seed % 32 == 0) {
            Block *b = take(&seed, &mine);
            give(atomic_exchange(&shared[random_step(&seed) % SHARED], b), &mine);
        } else if (slot[i] && seed % 16 == 1) {
            verify(slot[i]);
            size_t len = some_len(&seed);
            mine += len - slot[i]->len;
            Block *b = realloc(slot[i], len);
            EXPECT(b != NULL && (b->self == slot[i] || b->self == b));
            slot[i] = signed_block(b, len);
        } else {
            give(slot[i], &mine);
            slot[i] = take(&seed, &mine);
        }
    }
    while (readings < QUARTERS * READINGS) read_memory(readings++, at == NULL, &mine);
    for (int i = 0; i < SLOTS; i++) give(slot[i], &mine);
    free(slot);
    return NULL;
}
int main(int argc, char **argv) {
    running = "soak";
    EXPECT(argc == 2 && !pthread_barrier_init(&reading, NULL, 2));
    each = strtoul(argv[1], NULL, 10) / 2;
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, work, (void *)1));
    work(NULL);
    EXPECT(!pthread_join(thread, NULL));
    size_t mine = 0;
    for (int i = 0; i < SHARED; i++) give(shared[i], &mine);
    double over[QUARTERS], whole[QUARTERS];
    for (int i = 0; i < QUARTERS; i++) {
        whole[i] = resident_sum[i] / READINGS;
        over[i] = (resident_sum[i] - live_sum[i]) / READINGS;
        say("quarter %d: %.0f KiB resident, %.0f live, %.0f more\n", i + 1, whole[i], live_sum[i] / READINGS, over[i]);
    }
    // The drift of the second half, of the resident memory that a quarter has, at equal live bytes.
    double drift = (over[3] - over[2]) / whole[2] * 100;
    say("drift in the second half: %.2f %%\n", drift);
    // It goes up and down by itself: docs/testing.md has the figures of runs of all lengths.
    EXPECT(each < 40000000 || drift < (each < 2000000000 ? 4 : 1));
    say("done\n");
    return 0;
}
