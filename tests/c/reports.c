// malloc_info and malloc_stats while threads allocate: writes a hundred documents to files in the current folder.
#include "check.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_bool is_over;

static void *use(void *seed_of_thread) {
    uint64_t seed = (uintptr_t)seed_of_thread;
    static _Thread_local void *v[500];
    while (!is_over) {
        size_t i = random_step(&seed) % LEN(v);
        size_t n = random_step(&seed) % ((size_t)16 << random_step(&seed) % 15);
        free(v[i]);
        v[i] = malloc(n);
        EXPECT(v[i] != NULL);
    }
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
    return NULL;
}

int main(void) {
    running = "reports";
    pthread_t thread[3];
    void *mapped = malloc(40 * M);
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_create(&thread[i], NULL, use, (void *)(i * 7919 + 17)));
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.xml", i);
        FILE *f = fopen(name, "w");
        EXPECT(f && !malloc_info(0, f) && !fclose(f));
        malloc_stats();
    }
    is_over = true;
    free(mapped);
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_join(thread[i], NULL));
    return 0;
}
