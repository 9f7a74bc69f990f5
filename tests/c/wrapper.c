// A program that puts itself before malloc, as tracers and accounting tools do: its own malloc, calloc, realloc, memalign and free
// count the calls and pass them on by the C library's second names. What it passes on must never come back to it, and each call of
// the program is counted once: also where realloc has nothing to resize, and where reallocarray does what realloc does.
#include "check.h"
#include <malloc.h>
#include <pthread.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static _Thread_local unsigned mallocs, callocs, reallocs, memaligns, frees, inside;

#define PASS_ON(count, call) do { \
        EXPECT(inside == 0); \
        inside = 1, count++; \
        call; \
        inside = 0; \
    } while (0)

void *malloc(size_t n) { void *p; PASS_ON(mallocs, p = __libc_malloc(n)); return p; }
void *calloc(size_t n, size_t each) { void *p; PASS_ON(callocs, p = __libc_calloc(n, each)); return p; }
void *realloc(void *old, size_t n) { void *p; PASS_ON(reallocs, p = __libc_realloc(old, n)); return p; }
void *memalign(size_t a, size_t n) { void *p; PASS_ON(memaligns, p = __libc_memalign(a, n)); return p; }
void free(void *old) { PASS_ON(frees, __libc_free(old)); }

static void *use(void *who) {
    mallocs = callocs = reallocs = memaligns = frees = 0;
    for (size_t n = 1; n <= M; n *= 4) {
        unsigned char *a = malloc(n), *b = calloc(n, 1), *c = realloc(NULL, n), *d = memalign(256, n);
        EXPECT(a && b && c && d && b[0] == 0 && b[n - 1] == 0 && (uintptr_t)d % 256 == 0);
        memset(a, 1, n), memset(c, 3, n), memset(d, 4, n);
        c = realloc(c, 3 * n);
        EXPECT(c && c[0] == 3 && c[n - 1] == 3 && a[n - 1] == 1 && d[n - 1] == 4);
        EXPECT(realloc(c, 0) == NULL);
        free(a), free(b), free(d), free(NULL);
    }
    say("%s: %u malloc, %u calloc, %u realloc, %u memalign, %u free\n", (char *)who, mallocs, callocs, reallocs, memaligns, frees);
    return NULL;
}

int main(void) {
    running = "wrapper";
    use("main");
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, use, "thread") == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    // reallocarray is not ours to pass on: whoever serves it does so without the wrapper's realloc.
    unsigned before = reallocs + mallocs;
    void *array = reallocarray(NULL, 10, 100);
    EXPECT(array != NULL);
    say("reallocarray: %u more\n", reallocs + mallocs - before);
    return 0;
}
