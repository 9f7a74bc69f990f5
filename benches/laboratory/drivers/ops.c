// Single operations of malloc.h, to be counted by callgrind under any preloaded malloc.
//
//     ops --list             the operations, one a line: name, tab, what it is
//     ops OPERATION COUNT    does it COUNT times (at most 20,000)
//
// Callgrind collects inside the functions whose names begin with measured_ and nowhere else. So one half of a pair is
// counted alone: the malloc without the free that must follow it. What the function itself adds is the same for every
// malloc, about five instructions.
//
// All of it stays below 8 MiB: valgrind's data segment is that small, and a heap that outgrows it costs differently.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 20000, SMALL = 64, BUFFER = 65536 };

static void *blocks[BLOCKS];

// A barrier behind each call, so that it is no jump: a jump would leave the measured function before the work begins.
#define BARRIER() __asm__ volatile("" ::: "memory")
#define MEASURED static __attribute__((noinline, noclone))

MEASURED void *measured_malloc(size_t bytes) {
    void *block = malloc(bytes);
    BARRIER();
    return block;
}

MEASURED void *measured_calloc(size_t bytes) {
    void *block = calloc(1, bytes);
    BARRIER();
    return block;
}

MEASURED void *measured_realloc(void *block, size_t bytes) {
    block = realloc(block, bytes);
    BARRIER();
    return block;
}

MEASURED void measured_free(void *block) {
    free(block);
    BARRIER();
}

// Sizes that do not repeat in step with anything: 16 to 511 bytes.
static size_t mixed(size_t i) {
    return 16 + i * 7919 % 496;
}

static void take_all(void) {
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(SMALL);
}

static void malloc_hit(size_t count) {
    for (size_t i = 0; i < count; i++)
        free(measured_malloc(SMALL));
}

static void free_hit(size_t count) {
    for (size_t i = 0; i < count; i++)
        measured_free(malloc(SMALL));
}

static void calloc_hit(size_t count) {
    for (size_t i = 0; i < count; i++)
        free(measured_calloc(SMALL));
}

static void malloc_again(size_t count) {
    take_all();
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    for (size_t i = 0; i < count; i++)
        blocks[i] = measured_malloc(SMALL);
}

static void free_burst(size_t count) {
    take_all();
    for (size_t i = 0; i < count; i++)
        measured_free(blocks[i]);
}

// More than a thread keeps for itself, and less than what goes to an arena: taken all and given back all, in turns.
enum { TURN = 1000 };

static void malloc_turns(size_t count) {
    for (size_t done = 0; done < count; done += TURN) {
        for (size_t i = 0; i < TURN; i++)
            blocks[i] = measured_malloc(SMALL);
        for (size_t i = 0; i < TURN; i++)
            free(blocks[i]);
    }
}

static void free_turns(size_t count) {
    for (size_t done = 0; done < count; done += TURN) {
        for (size_t i = 0; i < TURN; i++)
            blocks[i] = malloc(SMALL);
        for (size_t i = 0; i < TURN; i++)
            measured_free(blocks[i]);
    }
}

static void malloc_fresh(size_t count) {
    for (size_t i = 0; i < count; i++)
        blocks[i] = measured_malloc(mixed(i));
}

static void free_scattered(size_t count) {
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(mixed(i));
    for (size_t i = 0; i < count; i++)
        measured_free(blocks[i * 7919 % BLOCKS]); // 7919 is prime: each index comes once
}

static void *free_of_another(void *count) {
    for (size_t i = 0; i < *(size_t *)count; i++)
        measured_free(blocks[i]);
    return NULL;
}

static void free_remote(size_t count) {
    pthread_t other;
    take_all();
    if (pthread_create(&other, NULL, free_of_another, &count) != 0)
        abort();
    pthread_join(other, NULL);
}

static void realloc_within(size_t count) {
    void *block = malloc(100);
    for (size_t i = 0; i < count; i++)
        block = measured_realloc(block, i % 2 ? 100 : 104);
    free(block);
}

static void realloc_grow(size_t count) {
    void *block = malloc(4096);
    for (size_t i = 1; i <= count; i++)
        block = measured_realloc(block, 4096 + 16 * i);
    free(block);
}

static void malloc_buffer(size_t count) {
    for (size_t i = 0; i < count; i++)
        free(measured_malloc(BUFFER));
}

static void free_buffer(size_t count) {
    for (size_t i = 0; i < count; i++)
        measured_free(malloc(BUFFER));
}

/* Of more lengths than an allocator remembers: none is the one that was freed just before. */
static size_t long_one(size_t i) {
    return BUFFER + i % 64 * 256;
}

static void malloc_long(size_t count) {
    for (size_t i = 0; i < count; i++)
        free(measured_malloc(long_one(i)));
}

static void free_long(size_t count) {
    for (size_t i = 0; i < count; i++)
        measured_free(malloc(long_one(i)));
}

static const struct {
    const char *name, *what;
    void (*perform)(size_t count);
} operations[] = {
    {"malloc_hit", "64 bytes, just after a block of that size was freed", malloc_hit},
    {"free_hit", "a 64 byte block that was just allocated", free_hit},
    {"calloc_hit", "64 zeroed bytes, just after a block of that size was freed", calloc_hit},
    {"malloc_again", "64 bytes, after 20,000 such blocks were freed", malloc_again},
    {"free_burst", "one of 20,000 blocks of 64 bytes, in order of address", free_burst},
    {"malloc_turns", "one of 1,000 blocks of 64 bytes that are taken and freed in turns", malloc_turns},
    {"free_turns", "the same, freed", free_turns},
    {"malloc_fresh", "16 to 511 bytes, nothing was freed before", malloc_fresh},
    {"free_scattered", "one of 20,000 blocks of 16 to 511 bytes, in scattered order", free_scattered},
    {"free_remote", "a 64 byte block of another thread", free_remote},
    {"realloc_within", "100 to 104 bytes and back", realloc_within},
    {"realloc_grow", "16 bytes more each time, nothing behind the block", realloc_grow},
    {"malloc_buffer", "64 KiB, just after a block of that size was freed", malloc_buffer},
    {"free_buffer", "a 64 KiB block that was just allocated", free_buffer},
    {"malloc_long", "64 to 80 KiB, 64 lengths in turn, each freed before the next", malloc_long},
    {"free_long", "the same, freed", free_long},
};

enum { OPERATIONS = sizeof operations / sizeof operations[0] };

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (int i = 0; i < OPERATIONS; i++)
            printf("%s\t%s\n", operations[i].name, operations[i].what);
        return 0;
    }
    for (int i = 0; argc == 3 && i < OPERATIONS; i++) {
        char *end;
        unsigned long count = strtoul(argv[2], &end, 10);
        if (strcmp(argv[1], operations[i].name) != 0 || *end != 0 || count > BLOCKS)
            continue;
        for (int j = 0; j < 64; j++)
            free(malloc(SMALL));
        operations[i].perform(count);
        return 0;
    }
    fprintf(stderr, "usage: ops --list | ops OPERATION COUNT (at most %d)\n", BLOCKS);
    return 2;
}
