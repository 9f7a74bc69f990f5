// The C contract of malloc and its relatives, as a table of named checks.
//
//     contract [--glibc] [name...]     run all checks, or those named
//     contract --list                  print the names
//
// Each check runs in a child process of its own, so that it meets a fresh heap and may turn any parameter. It prints
// "ok name" or "FAIL name: why"; the exit status is the number of failures. The contract is the newest one: with
// --glibc, a check of something newer than glibc 2.36 prints "skip name" (the column `since`), so that the table can
// be tried on the C library itself.
#include "check.h"
#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

// mallinfo is as deprecated as it is used.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

// The parameters have numbers of their own where the header names none.
enum { NLBLKS = 2, GRAIN = 3, KEEP = 4, CHECK_ACTION = -5, NO_SUCH_PARAMETER = 12345 };

// ---------------------------------------------------------------- what a check is made of

// A call that must fail with NULL and this errno.
#define REFUSED(call, code) \
    do { errno = 0; void *got_ = (call); EXPECT(got_ == NULL); EXPECT(errno == (code)); } while (0)

// Keeps the compiler from knowing a size and warning that no object is so large.
static size_t huge(size_t n) { volatile size_t v = n; return v; }
// Keeps it from knowing a pointer: some checks look at memory after free.
static void *same(void *p) { void *volatile v = p; return v; }

static bool aligned(const void *p, size_t alignment) { return ((uintptr_t)p & (alignment - 1)) == 0; }

static bool all(const void *p, int byte, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (((const unsigned char *)p)[i] != (unsigned char)byte) return false;
    return true;
}

static void *filled(void *p, int byte, size_t n) { return p ? memset(p, byte, n) : p; }

static size_t mapped_count(void) { return mallinfo2().hblks; }
static size_t live(void) { struct mallinfo2 m = mallinfo2(); return m.uordblks + m.hblkhd; }
static char *the_break(void) { return sbrk(0); }

// What `print` writes to the given descriptor.
static char *captured(int fd, void (*print)(void)) {
    static char text[1 << 20];
    int saved = dup(fd), file = memfd_create("captured", 0);
    EXPECT(saved >= 0 && file >= 0);
    EXPECT(dup2(file, fd) == fd);
    print();
    EXPECT(dup2(saved, fd) == fd);
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    EXPECT(n >= 0);
    text[n] = 0;
    close(file);
    close(saved);
    return text;
}

// ---------------------------------------------------------------- malloc and free

static void malloc_aligns_every_size_to_16(void) {
    for (size_t n = 0; n <= 5000; n++) {
        char *p = malloc(n);
        EXPECT(p && aligned(p, 16) && malloc_usable_size(p) >= n);
        memset(p, 0x5c, malloc_usable_size(p));
        if (n % 3) free(p);
    }
}

static void malloc_of_nothing_gives_unique_minimum_blocks(void) {
    void *seen[64];
    for (size_t i = 0; i < LEN(seen); i++) {
        seen[i] = malloc(0);
        EXPECT(seen[i] != NULL);
        EXPECT(malloc_usable_size(seen[i]) == 24);
        for (size_t j = 0; j < i; j++) EXPECT(seen[i] != seen[j]);
    }
    for (size_t i = 0; i < LEN(seen); i++) free(seen[i]);
}

static void malloc_beyond_ptrdiff_max_is_refused(void) {
    size_t sizes[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX - 8, SIZE_MAX};
    for (size_t i = 0; i < LEN(sizes); i++) REFUSED(malloc(huge(sizes[i])), ENOMEM);
    void *p = malloc(100);
    EXPECT(p != NULL);
    free(p);
}

static void free_of_null_does_nothing(void) {
    errno = 77;
    free(NULL);
    EXPECT(errno == 77);
}

static void free_keeps_errno(void) {
    size_t sizes[] = {1, 100, 1000, 10 * K, 100 * K, 200 * K, M, 40 * M};
    for (size_t i = 0; i < LEN(sizes); i++) {
        void *p = malloc(sizes[i]), *q = memalign(4096, sizes[i]), *r = calloc(1, sizes[i]);
        EXPECT(p && q && r);
        errno = 1234;
        free(p);
        EXPECT(errno == 1234);
        free(q);
        EXPECT(errno == 1234);
        free(r);
        EXPECT(errno == 1234);
    }
    // Also when the free gives a large top back to the system.
    static void *v[200];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = filled(malloc(100 * K), 1, 100 * K)));
    errno = 1234;
    for (size_t i = LEN(v); i-- > 0;) free(v[i]);
    EXPECT(errno == 1234);
}

static void every_usable_byte_is_the_callers(void) {
    static unsigned char *v[2000];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < LEN(v); i++) {
            size_t n = i * (round ? 131 : 1);
            v[i] = i % 5 ? malloc(n) : memalign(64, n);
            EXPECT(v[i] && malloc_usable_size(v[i]) >= n);
            memset(v[i], (int)i, malloc_usable_size(v[i]));
        }
        for (size_t i = 0; i < LEN(v); i++) {
            EXPECT(all(v[i], (int)i, 0, malloc_usable_size(v[i])));
            free(v[i]);
        }
    }
}

static void usable_size_of_null_is_zero(void) { EXPECT(malloc_usable_size(NULL) == 0); }

static void usable_size_stays_close_to_the_request(void) {
    for (size_t n = 1; n < 300 * K; n = n * 5 / 4 + 1) {
        void *p = malloc(n);
        EXPECT(p && malloc_usable_size(p) >= n && malloc_usable_size(p) < n + 4096 + 32);
        free(p);
    }
}

// ---------------------------------------------------------------- calloc

static void calloc_refuses_an_overflow(void) {
    REFUSED(calloc(huge(SIZE_MAX), 2), ENOMEM);
    REFUSED(calloc(2, huge(SIZE_MAX)), ENOMEM);
    REFUSED(calloc(huge((size_t)1 << 32), huge((size_t)1 << 32)), ENOMEM);
    REFUSED(calloc(huge(SIZE_MAX / 3 + 1), 3), ENOMEM);
    REFUSED(calloc(1, huge((size_t)PTRDIFF_MAX + 1)), ENOMEM);
}

static void calloc_of_nothing_gives_unique_blocks(void) {
    void *a = calloc(0, 10), *b = calloc(10, 0), *c = calloc(0, 0), *d = calloc(0, huge(SIZE_MAX));
    EXPECT(a && b && c && d);
    EXPECT(a != b && a != c && a != d && b != c && b != d && c != d);
    free(a), free(b), free(c), free(d);
}

static void calloc_clears_memory_that_was_used(void) {
    size_t sizes[] = {1, 8, 24, 25, 100, 1000, 1032, 1040, 5000, 65000, 131000, 140000, 200000, M};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < LEN(sizes); i++) {
            size_t n = sizes[i];
            void *v[12];
            for (size_t j = 0; j < LEN(v); j++) EXPECT((v[j] = filled(malloc(n), 0xff, n)));
            for (size_t j = 0; j < LEN(v); j++) free(v[j]);
            for (size_t j = 0; j < LEN(v); j++) {
                EXPECT((v[j] = calloc(n, 1)));
                EXPECT(all(v[j], 0, 0, n));
                memset(v[j], 0xff, n);
            }
            for (size_t j = LEN(v); j-- > 0;) free(v[j]);
        }
}

static void calloc_clears_a_top_that_was_used(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    static void *v[40];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = filled(malloc(100 * K), 0xff, 100 * K)));
    for (size_t i = LEN(v); i-- > 0;) free(v[i]);
    for (size_t i = 0; i < LEN(v); i++) {
        EXPECT((v[i] = calloc(10, 10 * K)));
        EXPECT(all(v[i], 0, 0, 100 * K));
    }
}

// ---------------------------------------------------------------- realloc

static void realloc_of_null_is_malloc(void) {
    char *p = realloc(NULL, 100);
    EXPECT(p && aligned(p, 16) && malloc_usable_size(p) >= 100);
    char *q = realloc(NULL, 0);
    EXPECT(q && q != p);
    free(p), free(q);
}

static void realloc_to_nothing_frees(void) {
    size_t sizes[] = {10, 2000, 100 * K, 500 * K};
    for (size_t i = 0; i < LEN(sizes); i++) {
        size_t before = live();
        for (int round = 0; round < 100; round++) {
            void *p = malloc(sizes[i]);
            EXPECT(p != NULL);
            errno = 4321;
            EXPECT(realloc(p, huge(0)) == NULL);
            EXPECT(errno == 4321);
        }
        // A few small blocks may wait in a cache of the thread and still count.
        EXPECT(live() <= before + 64 * K);
    }
}

static void realloc_keeps_the_block_when_refused(void) {
    size_t sizes[] = {10, 2000, 100 * K, 500 * K};
    for (size_t i = 0; i < LEN(sizes); i++) {
        unsigned char *p = filled(malloc(sizes[i]), 0x77, sizes[i]);
        EXPECT(p != NULL);
        REFUSED(realloc(p, huge((size_t)PTRDIFF_MAX + 1)), ENOMEM);
        REFUSED(realloc(p, huge(SIZE_MAX)), ENOMEM);
        REFUSED(realloc(p, huge((size_t)PTRDIFF_MAX - 64 * K)), ENOMEM);
        EXPECT(all(p, 0x77, 0, sizes[i]));
        EXPECT(malloc_usable_size(p) >= sizes[i]);
        p = realloc(p, sizes[i] + 50000);
        EXPECT(p && all(p, 0x77, 0, sizes[i]));
        free(p);
    }
}

// Grows a block of `size` to its usable size, the last bytes one by one.
static void expect_to_stay(size_t size) {
    void *p = malloc(size), *next = malloc(size);
    EXPECT(p && next);
    size_t usable = malloc_usable_size(p);
    for (size_t n = usable < 40 ? 1 : usable - 40; n <= usable; n++)
        if (n >= size) EXPECT(realloc(p, n) == p);
    EXPECT(malloc_usable_size(p) == usable);
    free(p), free(next);
}

static void realloc_up_to_the_usable_size_stays(void) {
    size_t sizes[] = {0, 1, 24, 25, 100, 1000, 1032, 5000, 70000, 131000};
    for (size_t i = 0; i < LEN(sizes); i++) expect_to_stay(sizes[i]);
}

static void realloc_up_to_the_usable_size_stays_when_mapped(void) {
    size_t sizes[] = {200000, 200696, 3 * M, 3 * M + 10};
    for (size_t i = 0; i < LEN(sizes); i++) expect_to_stay(sizes[i]);
}

static void realloc_keeps_contents_through_any_chain(void) {
    uint64_t seed = 88172645463325252ull;
    static struct { unsigned char *p; size_t n; } v[16];
    for (int step = 0; step < 6000; step++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        size_t i = seed % LEN(v);
        // Sizes of every order, so that chains cross 128 KiB both ways.
        size_t n = 1 + (seed >> 32) % ((size_t)16 << (seed >> 8) % 16);
        size_t kept = v[i].n < n ? v[i].n : n;
        unsigned char *p = realloc(v[i].p, n);
        EXPECT(p && aligned(p, 16));
        EXPECT(all(p, (int)i + 1, 0, kept));
        v[i].p = memset(p, (int)i + 1, n);
        v[i].n = n;
    }
    for (size_t i = 0; i < LEN(v); i++) EXPECT(all(v[i].p, (int)i + 1, 0, v[i].n));
}

static void realloc_keeps_contents_across_the_mapping_threshold(void) {
    for (size_t small = 1; small <= 64 * K; small = small * 3 + 5) {
        unsigned char *p = filled(malloc(small), 0x21, small), *fence = malloc(100);
        EXPECT(p && fence);
        EXPECT((p = realloc(p, 300 * K)) && all(p, 0x21, 0, small));
        memset(p, 0x22, 300 * K);
        EXPECT((p = realloc(p, 3 * M)) && all(p, 0x22, 0, 300 * K));
        EXPECT((p = realloc(p, 200 * K)) && all(p, 0x22, 0, 200 * K));
        EXPECT((p = realloc(p, small)) && all(p, 0x22, 0, small));
        free(p), free(fence);
    }
}

static void realloc_accepts_aligned_blocks(void) {
    for (size_t al = 32; al <= 64 * K; al *= 2)
        for (size_t n = 10; n <= 400 * K; n *= 20) {
            unsigned char *p = filled(memalign(al, n), 0x31, n);
            EXPECT(p && aligned(p, al));
            EXPECT((p = realloc(p, 2 * n + 100)) && all(p, 0x31, 0, n));
            EXPECT((p = realloc(p, n / 2 + 1)) && all(p, 0x31, 0, n / 2 + 1));
            free(p);
        }
}

static void reallocarray_refuses_an_overflow(void) {
    unsigned char *p = filled(malloc(100), 0x41, 100);
    EXPECT(p != NULL);
    REFUSED(reallocarray(p, huge(SIZE_MAX / 2 + 1), 2), ENOMEM);
    REFUSED(reallocarray(p, huge((size_t)1 << 32), huge((size_t)1 << 32)), ENOMEM);
    REFUSED(reallocarray(p, 1, huge((size_t)PTRDIFF_MAX + 1)), ENOMEM);
    EXPECT(all(p, 0x41, 0, 100));
    free(p);
}

static void reallocarray_is_realloc_otherwise(void) {
    unsigned char *p = reallocarray(NULL, 10, 10);
    EXPECT(p && malloc_usable_size(p) >= 100);
    memset(p, 0x42, 100);
    EXPECT((p = reallocarray(p, 1000, 1000)) && all(p, 0x42, 0, 100) && malloc_usable_size(p) >= 1000000);
    errno = 4321;
    EXPECT(reallocarray(p, huge(0), 100) == NULL);
    EXPECT(errno == 4321);
}

// ---------------------------------------------------------------- alignment

static void every_power_of_two_up_to_1_mib_is_kept(void) {
    size_t sizes[] = {0, 1, 24, 100, 4096, 70000, 200000};
    for (size_t al = 1; al <= M; al *= 2)
        for (size_t i = 0; i < LEN(sizes); i++) {
            void *a = memalign(al, sizes[i]), *b = aligned_alloc(al, sizes[i]), *c = NULL;
            EXPECT(a && aligned(a, al) && aligned(a, 16) && malloc_usable_size(a) >= sizes[i]);
            EXPECT(b && aligned(b, al) && aligned(b, 16) && malloc_usable_size(b) >= sizes[i]);
            if (al >= sizeof(void *)) {
                EXPECT(posix_memalign(&c, al, sizes[i]) == 0);
                EXPECT(c && aligned(c, al) && aligned(c, 16) && malloc_usable_size(c) >= sizes[i]);
                memset(c, 3, malloc_usable_size(c));
            }
            memset(a, 1, malloc_usable_size(a));
            memset(b, 2, malloc_usable_size(b));
            EXPECT(all(a, 1, 0, malloc_usable_size(a)));
            EXPECT(all(b, 2, 0, malloc_usable_size(b)));
            free(a), free(c), free(b);
        }
}

// An alignment past the mapping threshold puts even a block of nothing into a mapping: it must not begin at the mapping's end.
static void nothing_at_a_large_alignment_is_a_whole_block(void) {
    for (size_t al = 64 * K; al <= 64 * M; al *= 2)
        for (size_t n = 0; n < 3; n++) {
            void *p = memalign(al, n);
            EXPECT(p && aligned(p, al) && malloc_usable_size(p) >= 16);
            memset(p, 1, malloc_usable_size(p));
            EXPECT((p = realloc(p, 100)) && all(p, 1, 0, 16));
            free(p);
        }
}

static void memalign_rounds_an_odd_alignment_up(void) {
    for (int i = 0; i < 20; i++) {
        void *p = memalign(48, 100), *q = memalign(65, 1), *r = memalign(1025, 5000);
        EXPECT(p && aligned(p, 64));
        EXPECT(q && aligned(q, 128));
        EXPECT(r && aligned(r, 2048));
        void *s = memalign(0, 10), *t = memalign(3, 10);
        EXPECT(s && aligned(s, 16) && t && aligned(t, 16));
    }
}

static void memalign_refuses_an_alignment_beyond_half_the_space(void) {
    REFUSED(memalign(huge(SIZE_MAX / 2 + 2), 16), EINVAL);
    REFUSED(memalign(huge(SIZE_MAX), 16), EINVAL);
}

static void memalign_refuses_a_size_beyond_ptrdiff_max(void) {
    REFUSED(memalign(64, huge((size_t)PTRDIFF_MAX + 1)), ENOMEM);
    REFUSED(memalign(M, huge(SIZE_MAX)), ENOMEM);
    REFUSED(memalign(M, huge((size_t)PTRDIFF_MAX - 100)), ENOMEM);
}

static void memalign_refuses_an_alignment_beyond_ptrdiff_max(void) {
    REFUSED(memalign(huge((size_t)PTRDIFF_MAX + 1), 16), ENOMEM);
    REFUSED(memalign(huge((size_t)PTRDIFF_MAX + 1), huge((size_t)PTRDIFF_MAX)), ENOMEM);
    void *p = (void *)0x123;
    EXPECT(posix_memalign(&p, huge((size_t)PTRDIFF_MAX + 1), 1) == ENOMEM);
    EXPECT(p == (void *)0x123);
}

static void memalign_refuses_the_largest_alignment_it_accepts(void) {
    REFUSED(memalign(huge((size_t)1 << 62), 16), ENOMEM);
    REFUSED(memalign(huge((size_t)1 << 62), huge((size_t)PTRDIFF_MAX)), ENOMEM);
}

static void aligned_alloc_needs_no_multiple_of_the_alignment(void) {
    void *p = aligned_alloc(64, 100), *q = aligned_alloc(4096, 1);
    EXPECT(p && aligned(p, 64) && q && aligned(q, 4096));
    free(p), free(q);
}

static void aligned_alloc_refuses_other_than_powers_of_two(void) {
    size_t bad[] = {0, 3, 48, 65, 100, SIZE_MAX, SIZE_MAX / 2 + 2};
    for (size_t i = 0; i < LEN(bad); i++) REFUSED(aligned_alloc(huge(bad[i]), 64), EINVAL);
}

static void aligned_alloc_refuses_a_size_beyond_ptrdiff_max(void) {
    REFUSED(aligned_alloc(64, huge((size_t)PTRDIFF_MAX + 1)), ENOMEM);
    REFUSED(aligned_alloc(4096, huge(SIZE_MAX)), ENOMEM);
}

static void posix_memalign_refuses_bad_alignments_and_leaves_the_pointer(void) {
    size_t bad[] = {0, 1, 2, 4, 7, 9, 24, 40, 48, 100, SIZE_MAX, SIZE_MAX / 2 + 2};
    for (size_t i = 0; i < LEN(bad); i++) {
        void *p = (void *)0x123;
        EXPECT(posix_memalign(&p, huge(bad[i]), 100) == EINVAL);
        EXPECT(p == (void *)0x123);
    }
}

static void posix_memalign_refuses_huge_sizes_and_leaves_the_pointer(void) {
    size_t sizes[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX};
    for (size_t i = 0; i < LEN(sizes); i++) {
        void *p = (void *)0x123;
        EXPECT(posix_memalign(&p, 64, huge(sizes[i])) == ENOMEM);
        EXPECT(p == (void *)0x123);
    }
}

static void posix_memalign_of_nothing_gives_a_block(void) {
    void *p = NULL, *q = NULL;
    EXPECT(posix_memalign(&p, 8, 0) == 0 && p);
    EXPECT(posix_memalign(&q, 256, 0) == 0 && q && q != p && aligned(q, 256));
    free(p), free(q);
}

static void valloc_gives_whole_page_alignment(void) {
    size_t page = sysconf(_SC_PAGESIZE);
    for (size_t n = 0; n < 3 * page; n += 511) {
        void *p = valloc(n);
        EXPECT(p && aligned(p, page) && malloc_usable_size(p) >= n);
        memset(p, 1, malloc_usable_size(p));
        if (n % 2) free(p);
    }
    REFUSED(valloc(huge((size_t)PTRDIFF_MAX + 1)), ENOMEM);
    REFUSED(valloc(huge(SIZE_MAX)), ENOMEM);
}

static void pvalloc_rounds_up_to_whole_pages(void) {
    size_t page = sysconf(_SC_PAGESIZE);
    for (size_t n = 1; n < 3 * page; n += 511) {
        void *p = pvalloc(n);
        EXPECT(p && aligned(p, page) && malloc_usable_size(p) >= (n + page - 1) / page * page);
        memset(p, 1, malloc_usable_size(p));
        if (n % 2) free(p);
    }
    void *p = pvalloc(0);
    EXPECT(p && aligned(p, page));
    free(p);
}

static void pvalloc_refuses_an_overflow_of_the_rounding(void) {
    REFUSED(pvalloc(huge(SIZE_MAX)), ENOMEM);
    REFUSED(pvalloc(huge(SIZE_MAX - 4094)), ENOMEM);
    REFUSED(pvalloc(huge((size_t)PTRDIFF_MAX)), ENOMEM);
}

// ---------------------------------------------------------------- sized free, old names

typedef void *one_size(size_t);
typedef void *two_sizes(size_t, size_t);
typedef void *resize(void *, size_t);
typedef void release(void *);

static void *symbol(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) failed(__LINE__, name);
    return found;
}

// Whether `name` stands in the same object as malloc itself.
static bool beside_malloc(const char *name) {
    Dl_info of_malloc, of_name;
    EXPECT(dladdr(symbol("malloc"), &of_malloc) && dladdr(symbol(name), &of_name));
    return of_malloc.dli_fbase == of_name.dli_fbase;
}

static void sized_frees_are_free(void) {
    void (*free_sized)(void *, size_t) = symbol("free_sized");
    void (*free_aligned_sized)(void *, size_t, size_t) = symbol("free_aligned_sized");
    EXPECT(beside_malloc("free_sized") && beside_malloc("free_aligned_sized"));
    size_t before = live();
    for (size_t n = 1; n < 400 * K; n = n * 3 / 2 + 1) {
        void *p = malloc(n), *q = aligned_alloc(128, n);
        EXPECT(p && q);
        errno = 1234;
        free_sized(p, n);
        free_aligned_sized(q, 128, n);
        EXPECT(errno == 1234);
    }
    free_sized(NULL, 10);
    free_aligned_sized(NULL, 64, 10);
    EXPECT(live() <= before + 256 * K);
}

static void old_names_serve_the_same_heap(void) {
    const char *names[] = {"__libc_malloc", "__libc_calloc",  "__libc_realloc", "__libc_free",   "__libc_memalign",
                           "__libc_valloc", "__libc_pvalloc", "__libc_mallopt", "__libc_mallinfo"};
    for (size_t i = 0; i < LEN(names); i++) {
        symbol(names[i]);
        if (!beside_malloc(names[i])) failed(__LINE__, names[i]);
    }
    one_size *old_malloc = symbol("__libc_malloc"), *old_valloc = symbol("__libc_valloc");
    one_size *old_pvalloc = symbol("__libc_pvalloc");
    two_sizes *old_calloc = symbol("__libc_calloc"), *old_memalign = symbol("__libc_memalign");
    resize *old_realloc = symbol("__libc_realloc");
    release *old_free = symbol("__libc_free");

    size_t before = live();
    unsigned char *p = filled(old_malloc(300 * K), 1, 300 * K);
    EXPECT(p && live() >= before + 300 * K && malloc_usable_size(p) >= 300 * K);
    EXPECT((p = realloc(p, 600 * K)) && all(p, 1, 0, 300 * K));
    EXPECT((p = old_realloc(p, 100 * K)) && all(p, 1, 0, 100 * K));
    free(p);
    EXPECT((p = malloc(100 * K)) != NULL);
    old_free(p);
    EXPECT((p = old_calloc(10, 10)) && all(p, 0, 0, 100));
    free(p);
    EXPECT((p = old_memalign(512, 10)) && aligned(p, 512));
    free(p);
    EXPECT((p = old_valloc(10)) && aligned(p, sysconf(_SC_PAGESIZE)));
    free(p);
    EXPECT((p = old_pvalloc(10)) && aligned(p, sysconf(_SC_PAGESIZE)) && malloc_usable_size(p) >= 4096);
    free(p);
    EXPECT(((int (*)(int, int))symbol("__libc_mallopt"))(M_TRIM_THRESHOLD, (int)M) == 1);
    struct mallinfo (*old_mallinfo)(void) = symbol("__libc_mallinfo");
    EXPECT(old_mallinfo().arena > 0);
}

static void cfree_is_free(void) {
    // A name for old programs: glibc hides it from a search without a version.
    release *old = dlsym(RTLD_DEFAULT, "cfree");
    if (!old) old = dlvsym(RTLD_DEFAULT, "cfree", "GLIBC_2.2.5");
    EXPECT(old != NULL);
    size_t before = live();
    void *p = malloc(300 * K);
    EXPECT(p && live() > before);
    errno = 1234;
    old(p);
    old(NULL);
    EXPECT(errno == 1234);
    // What the first malloc of a thread sets up may stay.
    EXPECT(live() < before + 100 * K);
}

// ---------------------------------------------------------------- mallopt

static void mallopt_answers_1(void) {
    struct { int parameter, value; } calls[] = {
        {NO_SUCH_PARAMETER, 1}, {-100, 0}, {0, 0}, {NLBLKS, 5}, {GRAIN, 5}, {KEEP, 5}, {CHECK_ACTION, 3},
        {M_MXFAST, 0}, {M_MXFAST, 64}, {M_PERTURB, 0}, {M_PERTURB, 255}, {M_PERTURB, 0},
        {M_TRIM_THRESHOLD, 0}, {M_TRIM_THRESHOLD, -1}, {M_TOP_PAD, 0}, {M_TOP_PAD, 4096},
        {M_MMAP_THRESHOLD, 0}, {M_MMAP_THRESHOLD, (int)(64 * M)}, {M_MMAP_MAX, 0}, {M_MMAP_MAX, 65536},
        {M_ARENA_TEST, 0}, {M_ARENA_TEST, -5}, {M_ARENA_TEST, 4}, {M_ARENA_MAX, 0}, {M_ARENA_MAX, -5}, {M_ARENA_MAX, 4},
    };
    for (size_t i = 0; i < LEN(calls); i++) EXPECT(mallopt(calls[i].parameter, calls[i].value) == 1);
    void *p = malloc(100), *q = malloc(300 * K);
    EXPECT(p && q);
    free(p), free(q);
}

static void mallopt_takes_any_mxfast(void) {
    EXPECT(mallopt(M_MXFAST, 161) == 1);
    EXPECT(mallopt(M_MXFAST, -1) == 1);
}

static void big_requests_have_mappings_of_their_own(void) {
    size_t count = mapped_count(), bytes = mallinfo2().hblkhd;
    void *p = malloc(200 * K);
    EXPECT(p && mapped_count() == count + 1 && mallinfo2().hblkhd >= bytes + 200 * K);
    void *q = calloc(3, M);
    EXPECT(q && mapped_count() == count + 2 && mallinfo2().hblkhd >= bytes + 200 * K + 3 * M);
    free(p);
    EXPECT(mapped_count() == count + 1);
    free(q);
    EXPECT(mapped_count() == count && mallinfo2().hblkhd == bytes);
}

static void a_freed_mapping_raises_the_threshold(void) {
    size_t count = mapped_count();
    void *p = malloc(3 * M);
    EXPECT(p && mapped_count() == count + 1);
    free(p);
    EXPECT((p = malloc(2 * M)) && mapped_count() == count);
    void *q = malloc(4 * M);
    EXPECT(q && mapped_count() == count + 1);
    free(p), free(q);
}

static void a_set_parameter_holds_the_threshold(void) {
    int parameters[][2] = {{M_MMAP_THRESHOLD, 128 * K}, {M_TRIM_THRESHOLD, 128 * K}, {M_TOP_PAD, 0}, {M_MMAP_MAX, 1000}};
    for (size_t i = 0; i < LEN(parameters); i++) {
        pid_t child = fork();
        EXPECT(child >= 0);
        if (!child) {
            EXPECT(mallopt(parameters[i][0], parameters[i][1]) == 1);
            size_t count = mapped_count();
            free(malloc(3 * M));
            void *p = malloc(2 * M);
            EXPECT(p && mapped_count() == count + 1);
            _exit(0);
        }
        int status;
        EXPECT(waitpid(child, &status, 0) == child);
        if (status) _exit(1);
    }
}

static void mmap_threshold_decides_what_is_mapped(void) {
    EXPECT(mallopt(M_MMAP_THRESHOLD, (int)M) == 1);
    size_t count = mapped_count();
    void *p = malloc(200 * K), *q = malloc(900 * K);
    EXPECT(p && q && mapped_count() == count);
    void *r = malloc(2 * M);
    EXPECT(r && mapped_count() == count + 1);
    free(r);
    EXPECT(mapped_count() == count);
    free(p), free(q);
    // Lowered: blocks that no longer fit in the heap's top are mapped.
    EXPECT(mallopt(M_MMAP_THRESHOLD, (int)(32 * K)) == 1);
    malloc_trim(0);
    static void *v[40];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = malloc(100 * K)));
    EXPECT(mapped_count() >= count + 20);
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
    EXPECT(mapped_count() == count);
}

static void mmap_max_0_keeps_big_blocks_in_the_heap(void) {
    EXPECT(mallopt(M_MMAP_MAX, 0) == 1);
    size_t count = mapped_count(), arena = mallinfo2().arena;
    char *p = malloc(3 * M);
    EXPECT(p && mapped_count() == count && mallinfo2().arena >= arena + 3 * M);
    memset(p, 1, 3 * M);
    free(p);
}

static void mmap_max_bounds_the_number_of_mappings(void) {
    EXPECT(mallopt(M_MMAP_MAX, 3) == 1);
    static void *v[10];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = malloc(300 * K)));
    EXPECT(mapped_count() == 3);
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
    EXPECT(mapped_count() == 0);
}

// Grows the heap by blocks of 100 KiB and frees them, last first.
static void grow_and_shrink(size_t blocks, char **grown, char **shrunk) {
    static void *v[1000];
    EXPECT(blocks <= LEN(v));
    for (size_t i = 0; i < blocks; i++) EXPECT((v[i] = filled(malloc(100 * K), 1, 100 * K)));
    *grown = the_break();
    for (size_t i = blocks; i-- > 0;) free(v[i]);
    *shrunk = the_break();
}

static void a_free_top_goes_back_to_the_system(void) {
    void *first = malloc(100);
    EXPECT(first != NULL);
    char *start = the_break(), *grown, *shrunk;
    grow_and_shrink(200, &grown, &shrunk);
    EXPECT(grown >= start + 19 * M);
    EXPECT(shrunk <= start + 2 * M);
}

static void trim_threshold_minus_1_keeps_the_top(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    char *grown, *shrunk;
    grow_and_shrink(200, &grown, &shrunk);
    EXPECT(shrunk == grown);
}

static void trim_threshold_decides_when_the_top_goes_back(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, (int)(8 * M)) == 1);
    void *first = malloc(100);
    EXPECT(first != NULL);
    char *start = the_break(), *grown, *shrunk;
    grow_and_shrink(50, &grown, &shrunk);
    EXPECT(grown >= start + 4 * M && shrunk == grown);
    grow_and_shrink(300, &grown, &shrunk);
    EXPECT(grown >= start + 29 * M && shrunk <= start + 9 * M);
}

static void top_pad_is_added_to_every_growth(void) {
    EXPECT(mallopt(M_TOP_PAD, (int)(4 * M)) == 1);
    EXPECT(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    char *start = the_break();
    for (int i = 0; i < 5; i++) EXPECT(malloc(100 * K) != NULL);
    EXPECT(the_break() >= start + 4 * M);
    EXPECT(the_break() <= start + 12 * M);
    // And it is what later requests are served from.
    char *padded = the_break();
    for (int i = 0; i < 20; i++) EXPECT(malloc(100 * K) != NULL);
    EXPECT(the_break() == padded);
}

static void top_pad_0_grows_by_what_is_needed(void) {
    EXPECT(mallopt(M_TOP_PAD, 0) == 1);
    malloc_trim(0);
    EXPECT(malloc(100 * K) != NULL);
    char *before = the_break();
    EXPECT(malloc(100 * K) != NULL);
    EXPECT(the_break() <= before + 200 * K);
}

static pthread_barrier_t barrier;
static void *allocate_at_once(void *unused) {
    (void)unused;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 200; i++) {
        char *p = malloc(2000);
        EXPECT(p != NULL);
        memset(p, 1, 2000);
        // Where the threads may have only one arena, that is the one on the break.
        EXPECT(p < (char *)the_break());
    }
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void arena_max_1_puts_every_thread_on_the_break(void) {
    EXPECT(mallopt(M_ARENA_MAX, 1) == 1);
    pthread_t thread[4];
    pthread_barrier_init(&barrier, NULL, LEN(thread));
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_create(&thread[i], NULL, allocate_at_once, NULL));
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_join(thread[i], NULL));
}

static void perturb_fills_what_comes_and_what_goes(void) {
    EXPECT(mallopt(M_PERTURB, 0x5a) == 1);
    unsigned char *p = malloc(5000), *fence = malloc(100), *q = malloc(20000), *last = malloc(100);
    EXPECT(p && fence && q && last);
    EXPECT(all(p, 0xa5, 0, 5000) && all(q, 0xa5, 0, 20000));
    void *gone = same(p);
    free(p);
    // The ends of a free block hold the allocator's own words.
    EXPECT(all(gone, 0x5a, 64, 4900));
    unsigned char *c = calloc(1, 5000);
    EXPECT(c && all(c, 0, 0, 5000));
    EXPECT(mallopt(M_PERTURB, 0) == 1);
    free(q), free(fence), free(last), free(c);
}

// ---------------------------------------------------------------- reports

static void trim_gives_the_top_back_and_says_so(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    char *grown, *shrunk;
    grow_and_shrink(100, &grown, &shrunk);
    EXPECT(shrunk == grown);
    EXPECT(malloc_trim(M) == 1);
    char *padded = the_break();
    EXPECT(padded <= grown - 8 * M);
    EXPECT(malloc_trim(0) == 1);
    EXPECT(the_break() <= padded - 512 * K);
}

static void trim_gives_inner_pages_back(void) {
    static void *v[4000];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = filled(malloc(5000), 0x6b, 5000)));
    for (size_t i = 0; i < LEN(v); i++)
        if (i % 40) free(v[i]);
    size_t before = resident();
    int released = malloc_trim(0);
    size_t after = resident();
    // An allocator that has given the pages back already has nothing left to release.
    EXPECT(after <= 8 * M);
    EXPECT(released == 1 || before <= after + M);
    for (size_t i = 0; i < LEN(v); i += 40) EXPECT(all(v[i], 0x6b, 0, 5000));
    for (size_t i = 0; i < LEN(v); i += 40) free(v[i]);
}

static void *hold_some(void *unused) {
    (void)unused;
    void *v[300];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = malloc(i * 37 % 9000)));
    for (size_t i = 0; i < LEN(v); i += 2) free(v[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (size_t i = 1; i < LEN(v); i += 2) free(v[i]);
    return NULL;
}

static void books_balance(int line) {
    struct mallinfo2 m = mallinfo2();
    if (m.arena != m.uordblks + m.fordblks) failed(line, "arena == uordblks + fordblks");
    if (m.keepcost > m.fordblks) failed(line, "keepcost <= fordblks");
    if (m.usmblks != 0) failed(line, "usmblks == 0");
    if (m.ordblks < 1) failed(line, "ordblks >= 1");
    struct mallinfo t = mallinfo();
    if ((size_t)t.arena != m.arena || (size_t)t.hblks != m.hblks || (size_t)t.hblkhd != m.hblkhd)
        failed(line, "mallinfo agrees with mallinfo2");
    if ((size_t)t.uordblks != m.uordblks || (size_t)t.fordblks != m.fordblks || (size_t)t.keepcost != m.keepcost)
        failed(line, "mallinfo agrees with mallinfo2");
}

static void mallinfo_balances(void) {
    static void *v[500];
    books_balance(__LINE__);
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = malloc(i * 97 % 30000)));
    books_balance(__LINE__);
    for (size_t i = 0; i < LEN(v); i += 3) free(v[i]), v[i] = NULL;
    books_balance(__LINE__);
    pthread_t thread[3];
    pthread_barrier_init(&barrier, NULL, LEN(thread) + 1);
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_create(&thread[i], NULL, hold_some, NULL));
    pthread_barrier_wait(&barrier);
    books_balance(__LINE__);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < LEN(thread); i++) EXPECT(!pthread_join(thread[i], NULL));
    books_balance(__LINE__);
    for (size_t i = 0; i < LEN(v); i++) free(v[i]);
    books_balance(__LINE__);
    malloc_trim(0);
    books_balance(__LINE__);
}

static void mallinfo_follows_a_block(void) {
    void *first = malloc(1);
    struct mallinfo2 a = mallinfo2();
    void *p = malloc(100 * K);
    struct mallinfo2 b = mallinfo2();
    EXPECT(first && p);
    EXPECT(b.uordblks >= a.uordblks + 100 * K && b.uordblks <= a.uordblks + 101 * K);
    free(p);
    struct mallinfo2 c = mallinfo2();
    EXPECT(c.uordblks == a.uordblks);
    free(first);
}

static bool has_line(const char *text, const char *start) {
    size_t n = strlen(start);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, start, n)) return true;
    }
    return false;
}

static void stats_tell_on_stderr(void) {
    free(malloc(300 * K));
    void *p = malloc(1000);
    char *text = captured(2, malloc_stats);
    EXPECT(has_line(text, "Arena 0:"));
    EXPECT(has_line(text, "system bytes "));
    EXPECT(has_line(text, "in use bytes "));
    EXPECT(has_line(text, "Total (incl. mmap):"));
    EXPECT(has_line(text, "max mmap regions ="));
    size_t len = strlen(text);
    EXPECT(len && text[len - 1] == '\n');
    text[len - 1] = 0;
    char *last = strrchr(text, '\n');
    EXPECT(last && !strncmp(last + 1, "max mmap bytes ", 15));
    char *equals = strchr(last, '=');
    EXPECT(equals && strtoul(equals + 1, NULL, 10) >= 300 * K);
    free(p);
}

static int info_option, info_answer;
static void print_info(void) {
    static char buffer[BUFSIZ];
    FILE *f = fdopen(dup(1), "w");
    EXPECT(f != NULL);
    setvbuf(f, buffer, _IOFBF, sizeof buffer);
    info_answer = malloc_info(info_option, f);
    fclose(f);
}

static void info_refuses_an_option(void) {
    info_option = 1;
    errno = 0;
    char *text = captured(1, print_info);
    EXPECT(info_answer == EINVAL);
    EXPECT(!*text);
}

// One walk over an XML text: tags nest and close, attributes are quoted, there is one root. Counts elements by name.
static struct { char name[16]; int count; } elements[32];
static void count_element(const char *name, size_t len) {
    size_t i = 0;
    while (i < LEN(elements) && elements[i].count && (strlen(elements[i].name) != len || memcmp(elements[i].name, name, len))) i++;
    EXPECT(i < LEN(elements) && len < sizeof elements[i].name);
    memcpy(elements[i].name, name, len);
    elements[i].count++;
}
static int elements_named(const char *name) {
    for (size_t i = 0; i < LEN(elements); i++)
        if (!strcmp(elements[i].name, name)) return elements[i].count;
    return 0;
}
static void expect_well_formed(const char *s) {
    const char *open[16];
    size_t open_len[16], depth = 0, roots = 0;
    while (*s) {
        if (*s != '<') {
            EXPECT(*s != '>' && (depth || strchr(" \n\t\r", *s)));
            s++;
            continue;
        }
        s++;
        bool closing = *s == '/';
        s += closing;
        const char *name = s;
        while (*s && !strchr(" \n\t/>", *s)) s++;
        size_t len = s - name;
        EXPECT(len > 0);
        if (closing) {
            EXPECT(depth && open_len[depth - 1] == len && !memcmp(open[depth - 1], name, len));
            depth--;
            EXPECT(*s++ == '>');
            continue;
        }
        count_element(name, len);
        EXPECT(depth || roots++ == 0);
        while (*s && *s != '>' && *s != '/') {
            if (strchr(" \n\t", *s)) { s++; continue; }
            while (*s && !strchr("=>/ ", *s)) s++;
            EXPECT(s[0] == '=' && s[1] == '"');
            s = strchr(s + 2, '"');
            EXPECT(s != NULL);
            s++;
        }
        bool empty = *s == '/';
        s += empty;
        EXPECT(*s++ == '>');
        if (!empty) {
            EXPECT(depth < LEN(open));
            open[depth] = name, open_len[depth] = len;
            depth++;
        }
    }
    EXPECT(depth == 0 && roots == 1);
}

static void info_writes_well_formed_xml(void) {
    static void *v[200];
    for (size_t i = 0; i < LEN(v); i++) EXPECT((v[i] = malloc(i * 97 % 30000 + 1)));
    for (size_t i = 0; i < LEN(v); i += 2) free(v[i]);
    void *mapped = malloc(M);
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    EXPECT(!pthread_create(&thread, NULL, hold_some, NULL));
    pthread_barrier_wait(&barrier);
    info_option = 0;
    char *text = captured(1, print_info);
    pthread_barrier_wait(&barrier);
    EXPECT(!pthread_join(thread, NULL));
    EXPECT(info_answer == 0);
    EXPECT(!strncmp(text, "<malloc version=\"1\">", 20));
    expect_well_formed(text);
    EXPECT(elements_named("malloc") == 1);
    EXPECT(elements_named("heap") >= 1 && strstr(text, "<heap nr=\"0\">"));
    EXPECT(elements_named("sizes") == elements_named("heap"));
    EXPECT(strstr(text, "<system type=\"current\"") && strstr(text, "<system type=\"max\""));
    EXPECT(strstr(text, "<aspace type=\"total\"") && strstr(text, "<aspace type=\"mprotect\""));
    EXPECT(strstr(text, "<total type=\"rest\"") && strstr(text, "<total type=\"mmap\""));
    free(mapped);
}

// An aligned block that is freed and asked for again comes from the cache, which did not look at alignments once.
static void a_freed_aligned_block_serves_the_next(void) {
    for (size_t al = 32; al <= 4096; al *= 2)
        for (size_t n = 40; n <= 1000; n += 320) {
            void *p = memalign(al, n), *fence = malloc(24);
            EXPECT(p && fence);
            free(p);
            void *q = memalign(al, n), *r = memalign(al, n);
            EXPECT(q == p && aligned(r, al) && r != q);
            free(q), free(r), free(fence);
        }
}

static atomic_int reached;
static void *tell_while_cancelled(void *unused) {
    (void)unused;
    pthread_cancel(pthread_self());
    malloc_stats();
    reached = 1;
    pthread_testcancel();
    reached = 2;
    return NULL;
}
static void tell_in_a_thread(void) {
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, tell_while_cancelled, NULL));
    EXPECT(!pthread_join(thread, NULL));
}
static void stats_is_no_cancellation_point(void) {
    char *text = captured(2, tell_in_a_thread);
    EXPECT(reached == 1);
    EXPECT(has_line(text, "max mmap bytes "));
}

// Whatever value a parameter is given, memory is to be had, and what was written stays.
static void no_value_of_a_parameter_breaks_anything(void) {
    int numbers[] = {M_MXFAST, NLBLKS, GRAIN, KEEP, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, CHECK_ACTION,
                     M_PERTURB, M_ARENA_TEST, M_ARENA_MAX, NO_SUCH_PARAMETER};
    int values[] = {0, 1, -1, 100, INT_MAX, INT_MIN, 4096};
    static unsigned char *v[60];
    for (size_t i = 0; i < LEN(numbers); i++)
        for (size_t j = 0; j < LEN(values); j++) {
            mallopt(numbers[i], values[j]);
            for (size_t k = 0; k < LEN(v); k++) EXPECT((v[k] = filled(malloc(k * k * 200), (int)k, k * k * 200)));
            for (size_t k = 0; k < LEN(v); k++) {
                EXPECT(all(v[k], (int)k, 0, k * k * 200));
                free(v[k]);
            }
            // A pad as large as the address space would stay with the next value.
            mallopt(M_TOP_PAD, 0);
        }
}

static void mallinfo_counts_mappings_to_the_page(void) {
    free(malloc(10));
    EXPECT(mallopt(M_MMAP_THRESHOLD, 128 * K) == 1);
    struct mallinfo2 a = mallinfo2();
    void *p = malloc(200000), *q = memalign(M, 300000);
    struct mallinfo2 b = mallinfo2();
    EXPECT(p && q);
    EXPECT(b.hblks == a.hblks + 2 && b.uordblks == a.uordblks && b.arena == a.arena);
    EXPECT((b.hblkhd - a.hblkhd) % 4096 == 0 && b.hblkhd - a.hblkhd >= 500000);
    p = realloc(p, 3 * M);
    struct mallinfo2 c = mallinfo2();
    EXPECT(p && c.hblks == b.hblks && c.hblkhd >= b.hblkhd + 3 * M - 204800 && c.hblkhd <= b.hblkhd + 3 * M);
    free(p), free(q);
    struct mallinfo2 d = mallinfo2();
    EXPECT(d.hblks == a.hblks && d.hblkhd == a.hblkhd);
    EXPECT(d.smblks == 0 && d.fsmblks == 0 && d.usmblks == 0);
}

// ---------------------------------------------------------------- the table

enum { ALWAYS = 0 };   // since: the version of glibc that first kept this promise, 2.37 being 237

#define CHECK(name, since) {#name, name, since}
static const struct check {
    const char *name;
    void (*run)(void);
    int since;
} table[] = {
    CHECK(malloc_aligns_every_size_to_16, ALWAYS),
    CHECK(malloc_of_nothing_gives_unique_minimum_blocks, ALWAYS),
    CHECK(malloc_beyond_ptrdiff_max_is_refused, ALWAYS),
    CHECK(free_of_null_does_nothing, ALWAYS),
    CHECK(free_keeps_errno, 233),
    CHECK(every_usable_byte_is_the_callers, ALWAYS),
    CHECK(usable_size_of_null_is_zero, ALWAYS),
    CHECK(usable_size_stays_close_to_the_request, ALWAYS),
    CHECK(calloc_refuses_an_overflow, ALWAYS),
    CHECK(calloc_of_nothing_gives_unique_blocks, ALWAYS),
    CHECK(calloc_clears_memory_that_was_used, ALWAYS),
    CHECK(calloc_clears_a_top_that_was_used, ALWAYS),
    CHECK(realloc_of_null_is_malloc, ALWAYS),
    CHECK(realloc_to_nothing_frees, ALWAYS),
    CHECK(realloc_keeps_the_block_when_refused, ALWAYS),
    CHECK(realloc_up_to_the_usable_size_stays, ALWAYS),
    CHECK(realloc_up_to_the_usable_size_stays_when_mapped, 237),
    CHECK(realloc_keeps_contents_through_any_chain, ALWAYS),
    CHECK(realloc_keeps_contents_across_the_mapping_threshold, ALWAYS),
    CHECK(realloc_accepts_aligned_blocks, ALWAYS),
    CHECK(reallocarray_refuses_an_overflow, ALWAYS),
    CHECK(reallocarray_is_realloc_otherwise, ALWAYS),
    CHECK(every_power_of_two_up_to_1_mib_is_kept, ALWAYS),
    CHECK(nothing_at_a_large_alignment_is_a_whole_block, ALWAYS),
    CHECK(memalign_rounds_an_odd_alignment_up, ALWAYS),
    CHECK(memalign_refuses_an_alignment_beyond_half_the_space, ALWAYS),
    CHECK(memalign_refuses_a_size_beyond_ptrdiff_max, ALWAYS),
    CHECK(memalign_refuses_an_alignment_beyond_ptrdiff_max, 243),
    CHECK(memalign_refuses_the_largest_alignment_it_accepts, 243),
    CHECK(aligned_alloc_needs_no_multiple_of_the_alignment, ALWAYS),
    CHECK(aligned_alloc_refuses_other_than_powers_of_two, 238),
    CHECK(aligned_alloc_refuses_a_size_beyond_ptrdiff_max, ALWAYS),
    CHECK(posix_memalign_refuses_bad_alignments_and_leaves_the_pointer, ALWAYS),
    CHECK(posix_memalign_refuses_huge_sizes_and_leaves_the_pointer, ALWAYS),
    CHECK(posix_memalign_of_nothing_gives_a_block, ALWAYS),
    CHECK(valloc_gives_whole_page_alignment, ALWAYS),
    CHECK(pvalloc_rounds_up_to_whole_pages, ALWAYS),
    CHECK(pvalloc_refuses_an_overflow_of_the_rounding, ALWAYS),
    CHECK(sized_frees_are_free, 243),
    CHECK(old_names_serve_the_same_heap, ALWAYS),
    CHECK(cfree_is_free, ALWAYS),
    CHECK(mallopt_answers_1, ALWAYS),
    CHECK(mallopt_takes_any_mxfast, 243),
    CHECK(big_requests_have_mappings_of_their_own, ALWAYS),
    CHECK(a_freed_mapping_raises_the_threshold, ALWAYS),
    CHECK(a_set_parameter_holds_the_threshold, ALWAYS),
    CHECK(mmap_threshold_decides_what_is_mapped, ALWAYS),
    CHECK(mmap_max_0_keeps_big_blocks_in_the_heap, ALWAYS),
    CHECK(mmap_max_bounds_the_number_of_mappings, ALWAYS),
    CHECK(a_free_top_goes_back_to_the_system, ALWAYS),
    CHECK(trim_threshold_minus_1_keeps_the_top, ALWAYS),
    CHECK(trim_threshold_decides_when_the_top_goes_back, ALWAYS),
    CHECK(top_pad_is_added_to_every_growth, ALWAYS),
    CHECK(top_pad_0_grows_by_what_is_needed, ALWAYS),
    CHECK(arena_max_1_puts_every_thread_on_the_break, ALWAYS),
    CHECK(perturb_fills_what_comes_and_what_goes, ALWAYS),
    CHECK(trim_gives_the_top_back_and_says_so, ALWAYS),
    CHECK(trim_gives_inner_pages_back, ALWAYS),
    CHECK(mallinfo_balances, ALWAYS),
    CHECK(mallinfo_follows_a_block, ALWAYS),
    CHECK(stats_tell_on_stderr, ALWAYS),
    CHECK(info_refuses_an_option, ALWAYS),
    CHECK(info_writes_well_formed_xml, ALWAYS),
    CHECK(a_freed_aligned_block_serves_the_next, 238),
    CHECK(stats_is_no_cancellation_point, ALWAYS),
    CHECK(no_value_of_a_parameter_breaks_anything, ALWAYS),
    CHECK(mallinfo_counts_mappings_to_the_page, ALWAYS),
};

// Runs one check in a child; 1 if it failed.
static int passed_by_child(const struct check *check) {
    running = check->name;
    pid_t child = fork();
    if (!child) {
        alarm(60);
        check->run();
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        say("FAIL %s: no child\n", check->name);
        return 1;
    }
    if (WIFSIGNALED(status)) say("FAIL %s: killed by signal %d\n", check->name, WTERMSIG(status));
    else if (!status) say("ok %s\n", check->name);
    return status != 0;
}

int main(int argc, char **argv) {
    bool glibc = false, list = false;
    int named = 0, failures = 0;
    for (int i = 1; i < argc; i++) {
        glibc |= !strcmp(argv[i], "--glibc");
        list |= !strcmp(argv[i], "--list");
        named += argv[i][0] != '-';
    }
    for (size_t t = 0; t < LEN(table); t++) {
        bool wanted = !named;
        for (int i = 1; i < argc; i++) wanted |= !strcmp(argv[i], table[t].name);
        if (!wanted) continue;
        if (list) say("%s\n", table[t].name);
        else if (glibc && table[t].since > 236) say("skip %s\n", table[t].name);
        else failures += passed_by_child(&table[t]);
    }
    return failures;
}
