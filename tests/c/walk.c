// Small programs whose memory is watched from outside: their system calls by strace, their mappings by /proc/self/maps.
//
//     walk steps       one thread; each step is announced by a write of "step NAME" to stderr
//     walk thread      a thread arena grows and shrinks, announced in the same way
//     walk three       main and two threads hold blocks; prints where they lie, then /proc/self/maps
//     walk resident    a thread fills several heaps and frees them; prints the resident KiB it leaves
//
// Nothing here calls malloc but the steps themselves.
#include "check.h"
#include <pthread.h>

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

static void steps(void) {
    step("malloc 30k");
    char *a = touched(30 * K);
    step("malloc 20k");
    char *b = touched(20 * K);
    step("malloc 200k");
    char *c = touched(200 * K);
    step("free 30k");
    free(a);
    step("malloc 10k");
    char *d = touched(10 * K);
    step("free 20k");
    free(b);
    step("free 200k");
    free(c);
    step("end");
    // Where things lay: the 20k behind the 30k, the 10k in the hole of the 30k, the 200k elsewhere.
    say("20k at %+td, 10k at %+td from the 30k\n", b - a, d - a);
}

static void *grow_and_shrink(void *unused) {
    (void)unused;
    static void *v[3];
    step("first");
    void *first = touched(4 * K);
    step("malloc 3 x 100k");
    for (size_t i = 0; i < LEN(v); i++) v[i] = touched(100 * K);
    step("free 3 x 100k");
    for (size_t i = LEN(v); i-- > 0;) free(v[i]);
    step("end");
    free(first);
    return NULL;
}

static pthread_barrier_t barrier;

static void *hold(void *first) {
    for (int i = 0; i < 100; i++) {
        void *p = touched(4 * K);
        if (!i) *(void **)first = p;
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void three(void) {
    pthread_t thread[2];
    void *first[3] = {touched(4 * K)};
    EXPECT(!pthread_barrier_init(&barrier, NULL, 3));
    for (int i = 0; i < 2; i++) EXPECT(!pthread_create(&thread[i], NULL, hold, &first[i + 1]));
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) say("block %p\n", first[i]);
    char *maps = proc_text("/proc/self/maps");
    size_t len = strlen(maps);
    EXPECT(write(1, maps, len) == (ssize_t)len);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) EXPECT(!pthread_join(thread[i], NULL));
}

static void *fill_heaps(void *unused) {
    (void)unused;
    static void *v[3000];
    free(touched(60 * K));
    size_t before = resident();
    for (size_t i = 0; i < LEN(v); i++) v[i] = touched(60 * K);
    size_t full = resident();
    EXPECT(full >= before + LEN(v) * 60 * K);
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
    size_t after = resident();
    say("%zu KiB left\n", after > before ? (after - before) / K : 0);
    return NULL;
}

static void in_a_thread(void *(*run)(void *)) {
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, run, NULL));
    EXPECT(!pthread_join(thread, NULL));
}

int main(int argc, char **argv) {
    running = argc > 1 ? argv[1] : "?";
    if (!strcmp(running, "steps")) steps();
    else if (!strcmp(running, "thread")) in_a_thread(grow_and_shrink);
    else if (!strcmp(running, "three")) three();
    else if (!strcmp(running, "resident")) in_a_thread(fill_heaps);
    else failed(__LINE__, "no such mode");
    return 0;
}
