// Grows by 64 MiB in blocks of 16 bytes to 16 KiB, writes to every page of each, frees half of them in between and takes
// them again: what a process pays in page faults for a heap of that size.
#include <stdio.h>
#include <stdlib.h>

enum { BLOCKS = 1 << 15, GOAL = 64 << 20 };

static char *blocks[BLOCKS];
static size_t sizes[BLOCKS];

static char *take(size_t bytes) {
    char *block = malloc(bytes);
    if (block == NULL)
        abort();
    for (size_t at = 0; at < bytes; at += 4096)
        block[at] = (char)at;
    return block;
}

int main(void) {
    size_t total = 0, count = 0;
    while (total < GOAL && count < BLOCKS) {
        sizes[count] = count % 4 ? 16 + count * 7919 % 1024 : 1024 + count * 104729 % 15360;
        total += sizes[count];
        blocks[count] = take(sizes[count]);
        count++;
        if (count % 1024 == 0) {
            for (size_t i = count - 1024; i < count; i += 2)
                free(blocks[i]);
            for (size_t i = count - 1024; i < count; i += 2)
                blocks[i] = take(sizes[i]);
        }
    }
    printf("%zu blocks, %zu bytes\n", count, total);
    return 0;
}
