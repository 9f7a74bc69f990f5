// A program that uses the whole of malloc.h, and obstack.h on top of it, and says what it sees: errno, alignment, lengths,
// contents, counts. No address and no size that the contract leaves open, so that every malloc has to say the same.
#include "check.h"
#include <limits.h>
#include <malloc.h>
#include <obstack.h>
#include <sys/mman.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

static size_t huge(size_t n) { volatile size_t v = n; return v; }
// Keeps the compiler from following a pointer: a refused realloc leaves the block, which it does not know.
static void *same(void *p) { void *volatile v = p; return v; }
static const char *yes(bool b) { return b ? "yes" : "no"; }
static bool at(const void *p, size_t alignment) { return p && ((uintptr_t)p & (alignment - 1)) == 0; }

static const char *error(void) {
    switch (errno) {
    case 0: return "0";
    case ENOMEM: return "ENOMEM";
    case EINVAL: return "EINVAL";
    default: return "another";
    }
}

static void refused(const char *what, void *p) {
    say("%s: null %s, errno %s\n", what, yes(!p), error());
    errno = 0;
}

static bool all(const unsigned char *p, int byte, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != (unsigned char)byte) return false;
    return true;
}

static void small_blocks(void) {
    for (size_t n = 0; n <= 1032; n += n < 64 ? 1 : 61) {
        unsigned char *p = malloc(n);
        say("malloc %zu: usable %zu, at 16 %s\n", n, malloc_usable_size(p), yes(at(p, 16)));
        memset(p, 7, malloc_usable_size(p));
        free(p);
    }
    for (size_t n = 1; n <= 64 * M; n = n * 3 + 1) {
        unsigned char *p = malloc(n), *q = calloc(n, 1);
        say("%zu: ample %s, zero %s\n", n, yes(malloc_usable_size(p) >= n), yes(all(q, 0, n)));
        free(p), free(q);
    }
}

static void refusals(void) {
    errno = 0;
    size_t sizes[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX};
    unsigned char *kept = malloc(100);
    memset(kept, 9, 100);
    for (size_t i = 0; i < LEN(sizes); i++) {
        size_t n = huge(sizes[i]);
        void *out = (void *)1;
        refused("malloc", malloc(n));
        refused("calloc", calloc(n, 1));
        refused("calloc by two", calloc(n, 2));
        refused("realloc", realloc(same(kept), n));
        refused("reallocarray", reallocarray(same(kept), n, 1));
        refused("reallocarray by two", reallocarray(same(kept), n, 2));
        refused("memalign", memalign(64, n));
        refused("aligned_alloc", aligned_alloc(64, n));
        refused("valloc", valloc(n));
        refused("pvalloc", pvalloc(n));
        say("posix_memalign: %d, pointer kept %s\n", posix_memalign(&out, 64, n), yes(out == (void *)1));
        errno = 0;
    }
    refused("memalign beyond half", memalign(huge(SIZE_MAX), 1));
    say("the block is kept: %s\n", yes(all(kept, 9, 100)));
    errno = 0;
    say("realloc to nothing: null %s", yes(!realloc(same(kept), huge(0))));
    say(", errno %s\n", error());
    for (size_t al = 0; al < 40; al++) {
        void *p = (void *)1;
        int answer = posix_memalign(&p, al, 10);
        say("posix_memalign %zu: %d, %s\n", al, answer, answer ? "kept" : yes(at(p, al)));
        if (!answer) free(p);
    }
}

static void alignments(void) {
    for (size_t al = 1; al <= 4 * M; al *= 2) {
        void *a = memalign(al, 100), *b = aligned_alloc(al, 100000), *c = NULL;
        int answer = posix_memalign(&c, al < 8 ? 8 : al, 300000);
        say("at %zu: %s %s %s %d\n", al, yes(at(a, al)), yes(at(b, al)), yes(at(c, al)), answer);
        a = realloc(a, 5000), b = realloc(b, 200), c = realloc(c, 1);
        say("moved: %s\n", yes(a && b && c));
        free(a), free(b), free(c);
    }
    void *v = valloc(1), *w = pvalloc(1), *x = pvalloc(4097), *y = valloc(0), *z = pvalloc(0);
    say("pages: %s %s %s %s %s", yes(at(v, 4096)), yes(at(w, 4096)), yes(at(x, 4096)), yes(at(y, 4096)), yes(at(z, 4096)));
    say(", whole %s %s\n", yes(malloc_usable_size(w) >= 4096), yes(malloc_usable_size(x) >= 8192));
    free(v), free(w), free(x), free(y), free(z);
    void *odd = memalign(48, 10);
    say("48 becomes 64: %s\n", yes(at(odd, 64)));
    free(odd);
}

static void reallocs(void) {
    size_t chain[] = {1, 24, 25, 1000, 5000, 100000, 150000, 3000000, 200000, 50000, 700, 3};
    unsigned char *p = NULL;
    size_t before = 0;
    for (size_t i = 0; i < LEN(chain); i++) {
        p = realloc(p, chain[i]);
        size_t kept = before < chain[i] ? before : chain[i];
        say("to %zu: kept %s, at 16 %s\n", chain[i], yes(p && all(p, 5, kept)), yes(at(p, 16)));
        memset(p, 5, chain[i]);
        before = chain[i];
    }
    unsigned char *next = malloc(100), *shorter = realloc(p, 2);
    say("shorter stays: %s\n", yes(shorter == same(p)));
    free(next), free(shorter);
    p = malloc(100000), next = malloc(100);
    shorter = realloc(p, 60000);
    say("shorter stays: %s\n", yes(shorter == same(p)));
    free(shorter), free(next);
    free(NULL);
    say("usable size of null: %zu\n", malloc_usable_size(NULL));
}

static void errno_through_free(void) {
    size_t sizes[] = {1, 1000, 100000, 1000000, 50000000};
    for (size_t i = 0; i < LEN(sizes); i++) {
        void *p = malloc(sizes[i]);
        errno = 4242;
        free(p);
        say("free %zu: errno kept %s\n", sizes[i], yes(errno == 4242));
    }
    errno = 0;
}

static void counts(void) {
    void *first = malloc(10);
    struct mallinfo2 a = mallinfo2();
    void *p = malloc(200000), *q = malloc(500000);
    struct mallinfo2 b = mallinfo2();
    say("mapped: %zu more, %zu bytes more\n", b.hblks - a.hblks, b.hblkhd - a.hblkhd);
    say("the heap: %s\n", yes(a.arena == b.arena && a.uordblks == b.uordblks));
    void *r = malloc(60000);
    struct mallinfo2 c = mallinfo2();
    say("in use: %s\n", yes(c.uordblks >= b.uordblks + 60000 && c.uordblks <= b.uordblks + 61000));
    say("sum: %s, top within free: %s\n", yes(c.arena == c.uordblks + c.fordblks), yes(c.keepcost <= c.fordblks));
    say("unused fields: %zu\n", c.usmblks);
    struct mallinfo old = mallinfo();
    say("as int: %s\n", yes((size_t)old.arena == c.arena && (size_t)old.uordblks == c.uordblks && (size_t)old.hblkhd == c.hblkhd));
    free(r), free(q), free(p);
    struct mallinfo2 d = mallinfo2();
    say("back: %s\n", yes(d.hblks == a.hblks && d.hblkhd == a.hblkhd && d.uordblks == a.uordblks));
    free(first);
}

static void parameters(void) {
    int numbers[] = {M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_CHECK_ACTION, M_PERTURB, M_ARENA_TEST,
                     M_ARENA_MAX, M_MXFAST, M_NLBLKS, M_GRAIN, M_KEEP, 77, -77};
    for (size_t i = 0; i < LEN(numbers); i++) {
        // Values that leave the rest of the program as it is.
        int value = numbers[i] == M_TRIM_THRESHOLD || numbers[i] == M_TOP_PAD || numbers[i] == M_MMAP_THRESHOLD ? 131072
                  : numbers[i] == M_MMAP_MAX ? 65536 : numbers[i] == M_PERTURB ? 0 : 8;
        say("mallopt %d: %d\n", numbers[i], mallopt(numbers[i], value));
    }
    say("arena limits below one: %d %d\n", mallopt(M_ARENA_MAX, 0), mallopt(M_ARENA_TEST, -1));
    mallopt(M_MMAP_THRESHOLD, 1000000);
    struct mallinfo2 a = mallinfo2();
    void *p = malloc(500000), *q = malloc(2000000);
    struct mallinfo2 b = mallinfo2();
    say("threshold: %zu mapped\n", b.hblks - a.hblks);
    free(p), free(q);
    mallopt(M_MMAP_MAX, 0);
    p = malloc(3000000);
    say("none: %zu mapped\n", mallinfo2().hblks - a.hblks);
    free(p);
    mallopt(M_MMAP_MAX, 65536), mallopt(M_MMAP_THRESHOLD, 131072);
}

static void trim(void) {
    static void *v[100];
    for (size_t i = 0; i < LEN(v); i++) v[i] = memset(malloc(50000), 1, 50000);
    for (size_t i = 0; i + 1 < LEN(v); i++) free(v[i]);
    say("trim: %d\n", malloc_trim(0));
    unsigned char *p = v[LEN(v) - 1];
    say("what was in use: %s\n", yes(all(p, 1, 50000)));
    free(p);
}

// The words of each line, without numbers.
static void labels(const char *text) {
    for (const char *c = text; *c; c++)
        if (*c == '\n' || (*c != ' ' && (*c < '0' || *c > '9'))) say("%c", *c);
}

static void reports(void) {
    static char text[1 << 16];
    int saved = dup(2), file = memfd_create("stats", 0);
    dup2(file, 2);
    malloc_stats();
    dup2(saved, 2);
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    labels(text);
    FILE *f = fmemopen(text, sizeof text, "w");
    int bad = malloc_info(1, f), good = malloc_info(0, f);
    fclose(f);
    say("malloc_info: %d %d, %.20s, %s\n", bad, good, text, yes(strstr(text, "</malloc>") != NULL));
    say("parts: %s %s %s %s\n", yes(strstr(text, "<heap nr=\"0\">")), yes(strstr(text, "<sizes>")),
        yes(strstr(text, "<system type=\"current\" size=\"")), yes(strstr(text, "<aspace type=\"total\" size=\"")));
}

static void obstacks(void) {
    struct obstack stack;
    obstack_init(&stack);
    void *base = obstack_alloc(&stack, 0);
    for (int i = 0; i < 5000; i++) {
        unsigned char *p = obstack_alloc(&stack, i % 300 + 1);
        memset(p, i, i % 300 + 1);
    }
    for (int i = 0; i < 1000; i++) obstack_1grow(&stack, 'a' + i % 26);
    obstack_1grow(&stack, 0);
    char *word = obstack_finish(&stack);
    say("obstack: %zu %.26s\n", strlen(word), word);
    say("object: %d\n", obstack_printf(&stack, "%d-%s", 42, "x"));
    obstack_free(&stack, base);
    obstack_free(&stack, NULL);
}

int main(void) {
    running = "whole";
    // First, while no free memory lies about that glibc would rather use than a mapping.
    parameters(), counts();
    small_blocks(), refusals(), alignments(), reallocs(), errno_through_free();
    trim(), reports(), obstacks();
    return 0;
}
