// The least that a process can do with a malloc: what it costs to start one.
#include <stdlib.h>

int main(void) {
    void *volatile block = malloc(1);
    free(block);
    return 0;
}
