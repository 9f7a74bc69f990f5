// Allocates 1 MiB in all, in blocks of 16 bytes to 2 KiB, writes to all of them and frees every third: a small process.
#include <stdlib.h>
#include <string.h>

enum { GOAL = 1 << 20, BLOCKS = 4096 };

static char *blocks[BLOCKS];

int main(void) {
    size_t total = 0, count = 0;
    while (total < GOAL && count < BLOCKS) {
        size_t bytes = count % 8 ? 16 + count * 7919 % 496 : 512 + count * 104729 % 1536;
        blocks[count] = malloc(bytes);
        if (blocks[count] == NULL)
            abort();
        memset(blocks[count], 1, bytes);
        total += bytes;
        count++;
    }
    for (size_t i = 0; i < count; i += 3)
        free(blocks[i]);
    return 0;
}
