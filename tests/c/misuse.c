// Misuse of malloc: one bug a process, and what becomes of it.
//
//     misuse list          a line a case: number, name, expected outcome, expected outcome of a hardened build
//     misuse NUMBER        one case
//
// A case prepares a heap, makes one mistake, and then goes on as a program would: it takes and frees blocks of that size and of
// others, gives memory back, and ends a thread. Who is not stopped on the way ends with
//
//     0   nothing came of it, or nothing was noticed
//     3   the mistake can be exploited: two blocks overlap, or a block lies where the attacker wanted it
//
// so an allocator that says nothing and hands out one block twice is told from one that shrugs the mistake off.
#include "check.h"
#include <dlfcn.h>
#include <malloc.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

typedef unsigned char byte;
static void *opaque(void *p) { void *volatile v = p; return v; }

// ---------------------------------------------------------------- blocks that are held

static struct { byte *at; size_t len; } held[4000];
static size_t holding;
static byte target[512] __attribute__((aligned(64)));   // where an attacker would like to get a block

static void exploited(const char *how) {
    say("exploitable: %s\n", how);
    _exit(3);
}

static void *hold(void *p, size_t len) {
    EXPECT(p != NULL && holding < LEN(held));
    byte *b = p;
    if (b + len > target && b < target + sizeof target) exploited("a block at the chosen address");
    for (size_t i = 0; i < holding; i++)
        if (held[i].len && b < held[i].at + held[i].len && held[i].at < b + len) exploited("two blocks overlap");
    held[holding].at = b;
    held[holding++].len = len;
    return p;
}

static void *take(size_t len) { return hold(memset(malloc(len), 0x5a, len), len); }

static void let_go(void *p) {
    for (size_t i = 0; i < holding; i++) if (held[i].at == p) held[i].len = 0;
}

static void give(void *p) {
    let_go(p);
    free(opaque(p));
}

// A freed block that the rest of the case still has a pointer to.
static byte *freed(size_t len) {
    void *p = take(len);
    give(p);
    return opaque(p);
}

static void *run_thread(void *work) {
    ((void (*)(void))work)();
    return NULL;
}

static void in_a_thread(void (*work)(void)) {
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, run_thread, (void *)work));
    EXPECT(!pthread_join(thread, NULL));
}

// What an ordinary program does next.
static void go_on(size_t len) {
    void *same[150], *other[40];
    size_t count = len > 64 * K ? 12 : LEN(same);
    for (size_t i = 0; i < count; i++) same[i] = take(len);
    for (size_t i = 0; i < LEN(other); i++) other[i] = take(16 + i * i * 13 % 6000);
    for (size_t i = 0; i < count; i++) give(same[i]);
    for (size_t i = 0; i < LEN(other); i++) give(other[i]);
    malloc_trim(0);
    for (size_t i = 0; i < count; i++) same[i] = take(len);
    void *large = take(60000);
    for (size_t i = 0; i < count; i++) give(same[i]);
    give(large);
    malloc_trim(0);
    // In the end it frees what it has.
    for (size_t i = holding; i-- > 0;) if (held[i].len) give(held[i].at);
    malloc_trim(0);
}

static size_t used;         // the size that go_on continues with
static byte *a, *b, *c, *d;  // blocks of a case

// The head says how long a chunk is, and so where the next block is.
static byte *behind(byte *p) { return opaque(p + (*(uint64_t *)(p - 8) & 0xfffffffffff0)); }

static int by_address(const void *one, const void *other) {
    const byte *p = *(byte *const *)one, *q = *(byte *const *)other;
    return p < q ? -1 : p > q;
}

// a, b and c lie side by side, with a block in use before and behind them; d is the highest of all.
static void row(size_t len) {
    byte *all[120];
    used = len;
    for (size_t i = 0; i < LEN(all); i++) all[i] = take(len);
    qsort(all, LEN(all), sizeof *all, by_address);
    d = all[LEN(all) - 1];
    for (size_t i = 60; i + 5 < LEN(all); i++) {
        if (behind(all[i]) != all[i + 1] || behind(all[i + 1]) != all[i + 2]) continue;
        if (behind(all[i + 2]) != all[i + 3] || behind(all[i + 3]) != all[i + 4]) continue;
        a = all[i + 1];
        b = all[i + 2];
        c = all[i + 3];
        return;
    }
    failed(__LINE__, "no blocks side by side");
}

// One more block, between two that stay in use.
static byte *amid(size_t len) {
    byte *all[40];
    for (size_t i = 0; i < LEN(all); i++) all[i] = take(len);
    qsort(all, LEN(all), sizeof *all, by_address);
    for (size_t i = 1; i + 1 < LEN(all); i++)
        if (behind(all[i - 1]) == all[i] && behind(all[i]) == all[i + 1]) return all[i];
    failed(__LINE__, "no blocks side by side");
}

static uint64_t *word(byte *p, long index) { return (uint64_t *)p + index; }

// ---------------------------------------------------------------- double frees

static void twice(long len) { byte *p = freed(used = len); free(p); }

static void twice_after_one(long len) {
    byte *p = take(used = len), *q = take(len);
    give(p); give(q);
    free(opaque(p));
}

static void twice_after_many(long len) {
    void *q[20];
    used = len;
    for (int i = 0; i < 20; i++) q[i] = take(len);
    byte *p = take(len);
    take(len);
    give(p);
    for (int i = 0; i < 20; i++) give(q[i]);
    free(opaque(p));
}

static void free_a(void) { free(opaque(a)); }
static void take_and_free_a(void) { a = malloc(used); free(opaque(a)); }

static void twice_in_thread(long len) { row(len); give(a); in_a_thread(free_a); }
static void twice_by_thread(long len) {
    a = take(used = len);
    let_go(a);
    in_a_thread(free_a);
    free(opaque(a));
}
static void twice_of_thread(long len) { used = len; in_a_thread(take_and_free_a); free(opaque(a)); }
static void twice_in_two_threads(long len) {
    a = take(used = len);
    let_go(a);
    in_a_thread(free_a);
    in_a_thread(free_a);
}

static void twice_after_trim(long len) {
    row(len);
    give(b);
    malloc_trim(0);
    free(opaque(b));
}

static void twice_joined_before(long len) {
    row(len);
    give(a); malloc_trim(0);
    give(b); malloc_trim(0);
    free(opaque(b));
}

static void twice_joined_behind(long len) {
    row(len);
    give(c); malloc_trim(0);
    give(b); malloc_trim(0);
    free(opaque(b));
}

static void twice_first_of_joined(long len) {
    row(len);
    give(b); give(c); malloc_trim(0);
    free(opaque(c));
}

static void twice_into_top(long len) {
    row(len);
    give(d); malloc_trim(K);
    free(opaque(d));
}

static void twice_after_the_end_is_cut(long count) {
    void *p[64];
    for (int i = 0; i < count; i++) p[i] = take(used = 100 * K);
    for (int i = 0; i < count; i++) give(p[i]);
    free(opaque(p[count - 1]));
}

static void *thread_heap(void *at) {
    void *p[100];
    for (int i = 0; i < 100; i++) p[i] = malloc(100 * K);
    for (int i = 0; i < 100; i++) free(p[i]);
    *(void **)at = p[99];
    return NULL;
}

static void twice_of_a_thread_whose_heap_shrank(long len) {
    pthread_t thread;
    void *p;
    used = len;
    EXPECT(!pthread_create(&thread, NULL, thread_heap, &p) && !pthread_join(thread, NULL));
    free(opaque(p));
}

// The last destructor of a thread runs behind the allocator's own: the thread has no cache any more.
static pthread_key_t last;
static void (*in_the_end)(void);
static void last_destructor(void *round) {
    if ((uintptr_t)round == PTHREAD_DESTRUCTOR_ITERATIONS) in_the_end();
    else pthread_setspecific(last, (char *)round + 1);
}
static void come_to_an_end(void) {
    free(opaque(malloc(100)));
    pthread_setspecific(last, (void *)1);
}
static void without_a_cache(long len, void (*work)(void)) {
    row(len);
    give(b);
    in_the_end = work;
    EXPECT(!pthread_key_create(&last, last_destructor));
    in_a_thread(come_to_an_end);
}
static void free_b(void) { free(opaque(b)); }
static void realloc_b(void) { hold(realloc(opaque(b), used + 100), used + 100); }
static void twice_without_a_cache(long len) { without_a_cache(len, free_b); }
static void free_then_realloc_without_a_cache(long len) { without_a_cache(len, realloc_b); }

static void realloc_to_nothing_then_free(long len) {
    byte *p = take(used = len);
    let_go(p);
    EXPECT(realloc(opaque(p), 0) == NULL);
    free(opaque(p));
}

static void free_then_realloc(long len) { byte *p = freed(used = len); hold(realloc(p, len + 100), len + 100); }
static void free_then_realloc_shorter(long len) { byte *p = freed(used = len); hold(realloc(p, len / 2), len / 2); }
static void free_then_realloc_same(long len) { byte *p = freed(used = len); hold(realloc(p, len), len); }
static void free_then_realloc_to_nothing(long len) { byte *p = freed(used = len); hold(realloc(p, 0), 1); }
static void free_then_reallocarray(long len) { byte *p = freed(used = len); hold(reallocarray(p, 2, len), 2 * len); }

static void moved_then_free(long len) {
    row(len);
    byte *p = a;
    let_go(p);
    byte *q = hold(realloc(opaque(p), len * 5), len * 5);
    if (p != q) free(opaque(p)); else exploited("the block did not move: the case is wrong");
}

static void trim_between(long len) {
    row(len);
    give(b);
    malloc_trim(0);
    hold(realloc(opaque(b), len + 200), len + 200);
}

static void aligned_twice(long alignment) {
    byte *p = memalign(alignment, used = 200);
    take(200);
    free(opaque(p));
    free(opaque(p));
}
static void aligned_large_twice(long alignment) {
    byte *p = memalign(alignment, used = 20000);
    take(20000);
    free(opaque(p));
    free(opaque(p));
}
static void aligned_mapped_twice(long alignment) {
    byte *p = aligned_alloc(alignment, used = 400000);
    free(opaque(p));
    free(opaque(p));
}
static void posix_twice(long alignment) {
    void *p;
    EXPECT(!posix_memalign(&p, alignment, used = 300));
    free(opaque(p));
    free(opaque(p));
}
static void calloc_twice(long len) {
    void *p = calloc(1, used = len);
    free(opaque(p));
    free(opaque(p));
}
static void valloc_twice(long len) {
    void *p = valloc(used = len);
    free(opaque(p));
    free(opaque(p));
}

static void twice_overwritten(long len, long words) {
    byte *p = freed(used = len);
    memset(p, 0x41, words * 8);
    free(p);
}
// Freed and then asked for again, a length has come back, and the next buffer of it that is freed is kept by the thread.
static void come_back(size_t len) { freed(len); take(len); }
static void resized_twice(long len) {
    byte *p = take(used = len);
    let_go(p);
    p = hold(realloc(opaque(p), len + 1), len + 1);
    give(p);
    free(opaque(p));
}
static void kept_twice(long len) { byte *p = take(used = len); come_back(len); give(p); free(opaque(p)); }
static void kept_overwritten(long len, long index) {
    byte *p = take(used = len);
    come_back(len);
    give(p);
    *word(p, index) = 0x4141414141414141;
}

static void twice_zeroed(long len, long words) {
    byte *p = freed(used = len);
    memset(p, 0, words * 8);
    free(p);
}
static void twice_overwritten_after_one(long len, long words) {
    byte *p = take(used = len), *q = take(len);
    give(p);
    memset(opaque(p), 0x41, words * 8);
    give(q);
    free(opaque(p));
}
static void twice_overwritten_in_thread(long len, long words) {
    row(len);
    give(a);
    memset(opaque(a), 0x41, words * 8);
    in_a_thread(free_a);
}
static void twice_overwritten_in_arena(long len, long words) {
    row(len);
    give(b);
    malloc_trim(0);
    memset(opaque(b), 0x41, words * 8);
    free(opaque(b));
}

static void twice_through_depot(long len) {
    static void *p[400];
    used = len;
    for (int i = 0; i < 400; i++) p[i] = take(len);
    for (int i = 0; i < 400; i++) give(p[i]);
    free(opaque(p[10]));
}
static void twice_through_depot_overwritten(long len) {
    static void *p[400];
    used = len;
    for (int i = 0; i < 400; i++) p[i] = take(len);
    for (int i = 0; i < 400; i++) give(p[i]);
    memset(opaque(p[10]), 0x41, 16);
    free(opaque(p[10]));
}
static void twice_after_reuse(long len) {
    byte *p = freed(used = len);
    byte *q = take(len);
    if (p != q) return;
    free(p);
}
static void cfree_then_free(long len) {
    void (*cfree_)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    byte *p = take(used = len);
    let_go(p);
    if (cfree_) cfree_(opaque(p)); else free(opaque(p));
    free(opaque(p));
}
static void (*sized(void))(void *, size_t) { return (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized"); }
static void (*aligned_sized(void))(void *, size_t, size_t) {
    return (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
}
static void sized_twice(long len) {
    byte *p = take(used = len);
    let_go(p);
    if (!sized()) { free(opaque(p)); free(opaque(p)); return; }
    sized()(opaque(p), len);
    sized()(opaque(p), len);
}

// ---------------------------------------------------------------- frees of what is no block

static void interior(long len, long offset) { free((byte *)take(used = len) + offset); }
static void before_the_block(long len) { free((byte *)take(used = len) - 16); }
static void behind_the_block(long len) { row(len); free(a + malloc_usable_size(a) - malloc_usable_size(a) % 16); }

static void stack_address(long offset) {
    byte local[256] __attribute__((aligned(16)));
    memset(opaque(local), 0, sizeof local);
    free(opaque(local + offset));
    memset(opaque(local), 0, sizeof local);
}
static void stack_forged(long size) {
    uint64_t local[64] __attribute__((aligned(16))) = {0};
    uint64_t *p = opaque(local);
    p[1] = size | 1;
    p[1 + size / 8] = size | 1;
    free(opaque(p + 2));
}
static void thread_local_address(long offset) {
    static _Thread_local byte local[128] __attribute__((aligned(16)));
    free(opaque(local + offset));
}
static byte global[256] __attribute__((aligned(16)));
static void global_address(long offset) { free(opaque(global + offset)); }
static void target_forged(long size) {
    uint64_t *p = (uint64_t *)target;
    p[1] = size | 1;
    p[1 + size / 8] = 0x1001;
    used = size - 8;
    free(opaque(target + 16));
}
static void text_address(long offset) { free((byte *)(((uintptr_t)stack_address + 15) & -16ul) + offset); }
static void string_constant(long offset) {
    static const char text[64] __attribute__((aligned(16))) = "text";
    free(opaque((byte *)text + offset));
}
static void *map(size_t len) {
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(p != MAP_FAILED);
    return p;
}
static void foreign_mapping(long offset) { free((byte *)map(64 * K) + offset); }
static void foreign_forged(long size) {
    uint64_t *p = map(1 << 20);
    p[1] = size | 2;
    free(p + 2);
}
static void unmapped(long offset) {
    byte *p = map(64 * K);
    munmap(p, 64 * K);
    free(p + offset);
}
static void no_access(long offset) {
    byte *p = map(64 * K);
    mprotect(p, 64 * K, PROT_NONE);
    free(p + offset);
}
static void wild(long address) { free((void *)address); }
static void head_copied_inside(long len) {
    byte *p = take(used = len);
    *word(p, 3) = *word(p, -1);
    free(opaque(p + 32));
}
static void head_copied_to_target(long len) {
    byte *p = take(used = len);
    memcpy(target + 8, p - 8, 8);
    free(opaque(target + 16));
}
static void head_copied_onto_neighbour(long len) {
    row(len);
    *word(b, -1) = *word(a, -1);
    give(b);
}
static void fake_heap(long with_header) {
    // 64 MiB aligned memory of the program's own, with a header that looks like a heap's, and a chunk that says it lies in one.
    byte *p = mmap(NULL, 192 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    byte *heap = (byte *)(((uintptr_t)p + (64 << 20)) & -(64ul << 20));
    if (with_header) for (int i = 0; i < 8; i++) word(heap, 0)[i] = (uintptr_t)target;
    *word(heap, 129) = 0x65 | 4;
    *word(heap, 129 + 12) = 0x65 | 4;
    free(heap + 1040);
}
static void *one_of_a_thread(void *at) {
    *(void **)at = malloc(60 * K);
    return NULL;
}
static void thread_heap_header(long offset) {
    // The front of a thread's heap is overwritten: where its header lies. One block of it is still in use.
    void *mine;
    pthread_t thread;
    EXPECT(!pthread_create(&thread, NULL, one_of_a_thread, &mine) && !pthread_join(thread, NULL));
    byte *heap = (byte *)((uintptr_t)mine & -(64ul << 20));
    memset(heap + offset, 0x41, 8);
    free(mine);
}

// ---------------------------------------------------------------- overflows

static void overflow(byte *from, byte with, long len) {
    byte *end = opaque(from + malloc_usable_size(from));
    // One time in 256 the very byte lies there, for what lies there depends on a secret: nothing would be overwritten.
    if (end[0] == with) with ^= 0x80;
    memset(end, with, len);
}

static void into_used(long len, long bytes) { row(len); overflow(a, 0x41, bytes); give(behind(a)); }
static void into_used_own_freed(long len, long bytes) { row(len); overflow(a, 0x41, bytes); give(a); }
static void kept_overflow(long len, long bytes) { row(len); come_back(len); overflow(a, 0x41, bytes); give(a); }
static void into_used_by_zero(long len, long bytes) { row(len); overflow(a, 0, bytes); give(behind(a)); give(a); }
static void into_used_none_freed(long len, long bytes) { row(len); overflow(a, 0x41, bytes); }
static void into_used_realloc(long len, long bytes) {
    row(len);
    overflow(a, 0x41, bytes);
    let_go(a);
    hold(realloc(opaque(a), len * 4), len * 4);
}
static void into_cached(long len, long bytes) { row(len); give(b); overflow(a, 0x41, bytes); }
static void into_cached_own_freed(long len, long bytes) { row(len); give(b); overflow(a, 0x41, bytes); give(a); }
static void into_free(long len, long bytes) { row(len); give(b); malloc_trim(0); overflow(a, 0x41, bytes); }
static void into_free_own_freed(long len, long bytes) { row(len); give(b); malloc_trim(0); overflow(a, 0x41, bytes); give(a); }
static void into_free_behind_freed(long len, long bytes) { row(len); give(b); malloc_trim(0); overflow(a, 0x41, bytes); give(c); malloc_trim(0); }
// Zeroes behind a free chunk are no fence at the end of the run, when the block before that chunk is freed.
static void zero_behind_free(long len) { row(len); give(b); malloc_trim(0); *word(c, -1) = 0; give(a); malloc_trim(0); }
static void zero_behind_long_free(void) {
    // So much is free in a thread's heap that its end would be cut off, from the zeroes on.
    byte *p[9];
    for (size_t i = 0; i < LEN(p); i++) p[i] = take(used = 100 * K);
    for (size_t i = 0; i + 1 < LEN(p); i++) if (behind(p[i]) != p[i + 1]) failed(__LINE__, "no blocks side by side");
    for (size_t i = 1; i < 6; i++) give(p[i]);
    *word(p[6], -1) = 0;
    give(p[0]);
}
static void zero_behind_free_of_a_thread(long len) { (void)len; in_a_thread(zero_behind_long_free); }
static void into_top(long len, long bytes) { row(len); malloc_trim(K); overflow(d, 0x41, bytes); }
static void into_top_own_freed(long len, long bytes) { row(len); malloc_trim(K); overflow(d, 0x41, bytes); give(d); }
static void by_a_lot(long len) { row(len); overflow(a, 0x41, 3 * len); give(a); give(b); give(c); }
static void into_slack(long len) {
    byte *p = take(used = len);
    memset(opaque(p + len), 0x41, malloc_usable_size(p) - len);
    give(p);
}
static void mapped_overflow(long bytes) {
    // Two mapped blocks: the one mapped later usually lies right below.
    byte *p = take(used = 300000), *q = take(300000);
    byte *low = p < q ? p : q, *high = p < q ? q : p;
    if (behind(low) != high) failed(__LINE__, "no mappings side by side");
    overflow(low, 0x41, bytes);
    give(high);
    give(low);
}
static void poison_null(long len) {
    // The neighbour's head ends in a byte that only says that the block before is in use.
    row(len);
    *word(b, -2) = len + 8;
    *(b - 8) &= ~1;
    give(b);
    malloc_trim(0);
}

// ---------------------------------------------------------------- underflows

// What is written differs from what was there: a seal may hold any byte.
static void change(byte *p, long bytes) {
    byte *at = opaque(p);
    for (long i = 0; i < bytes; i++) at[i] ^= 0x41;
}

static void underflow(long len, long bytes) { row(len); change(b - bytes, bytes); give(b); }
static void underflow_realloc(long len, long bytes) {
    row(len);
    change(b - bytes, bytes);
    let_go(b);
    hold(realloc(opaque(b), len * 3), len * 3);
}
static void underflow_into_free(long len) {
    row(len);
    give(a); malloc_trim(0);
    memset(opaque(b - 16), 0x41, 8);
    give(b);
    malloc_trim(0);
}
static void underflow_mapped(long bytes) { byte *p = take(used = 300000); change(p - bytes, bytes); give(p); }

// ---------------------------------------------------------------- heads

static void flip(long len, long bit) { row(len); *word(b, -1) ^= 1ul << bit; give(b); }
static void flip_of_freed(long len, long bit) { row(len); give(b); malloc_trim(0); *word(b, -1) ^= 1ul << bit; }
static void head_is(long len, long value) { row(len); *word(b, -1) = value; give(b); }
static void longer(long len, long by) { row(len); *word(b, -1) += by; give(b); }
static void head_of_mapped_is(long value) { byte *p = take(used = 300000); *word(p, -1) = value; give(p); }
static void flip_of_mapped(long bit) { byte *p = take(used = 300000); *word(p, -1) ^= 1ul << bit; give(p); }
static void lead_of_mapped_is(long value) { byte *p = take(used = 300000); *word(p, -2) = value; give(p); }
static void top_is(long value) {
    row(20000);
    malloc_trim(K);
    *word(behind(d), -1) = value;
    used = 3000;
}
static void top_bit(long bit) {
    row(20000);
    malloc_trim(K);
    *word(behind(d), -1) ^= 1ul << bit;
}

// ---------------------------------------------------------------- links, and writes after free

static void cached_word(long len, long index, uint64_t value) { row(len); give(b); *word(opaque(b), index) = value; }
static void cached_link(long len, long value) { cached_word(len, 0, value); }
static void cached_link_to_target(long len) { cached_word(len, 0, (uintptr_t)target); }
static void cached_link_to_block(long len) { row(len); give(b); *word(opaque(b), 0) = (uintptr_t)c; }
static void cached_link_low_byte(long len) { row(len); give(a); give(b); *(byte *)opaque(b) ^= 0x40; }
static void cached_mark(long len, long value) { cached_word(len, 1, value); }
static void after_free_cached(long len, long offset) { row(len); give(a); give(b); *(byte *)opaque(b + offset) ^= 0x41; }
static void after_free_binned(long len, long offset) {
    row(len);
    give(b);
    malloc_trim(0);
    *word(opaque(b + offset), 0) ^= 0x4141414141414141;
}
static void footer_after_free(long len) {
    row(len);
    give(b); malloc_trim(0);
    *word(behind(b), -2) ^= 0x10;
}
static void binned_word(long len, long index) {
    row(len);
    give(b); malloc_trim(0);
    *word(opaque(b), index) = (uintptr_t)target;
}
static void both_links_to_target(long len) {
    row(len);
    give(b); malloc_trim(0);
    *word(opaque(b), 0) = *word(opaque(b), 1) = (uintptr_t)target;
}
static void links_of_two(long len, long index) {
    // Two free chunks of a size; a link of the first is overwritten with the other's address and a distance.
    byte *p[4];
    used = len;
    for (size_t i = 0; i < LEN(p); i++) p[i] = amid(len);
    for (size_t i = 0; i < LEN(p); i++) give(p[i]);
    malloc_trim(0);
    *word(opaque(p[1]), index) = (uintptr_t)p[2] + 32;
}
// What a later look at the same chunks would tell as well shall not be taken for what was told at once.
static void end_here(void) {
    say("went on\n");
    _exit(0);
}
static void self_linked(long len) {
    // A chunk that is not the first of its list says that it is alone.
    byte *others[4];
    row(len);
    for (size_t i = 0; i < LEN(others); i++) others[i] = amid(len);
    for (size_t i = 0; i < LEN(others); i++) give(others[i]);
    malloc_trim(0);
    give(b);
    malloc_trim(0);
    *word(opaque(b), 0) = *word(opaque(b), 1) = (uintptr_t)b - 16;
    give(a);
    malloc_trim(0);
    end_here();
}
static void prev_of_first(long len) {
    // The only chunk of a list says that another is the last, and then one more is freed.
    row(len);
    byte *other = amid(len);
    give(b);
    malloc_trim(0);
    *word(opaque(b), 1) = (uintptr_t)d - 16;
    give(other);
    malloc_trim(0);
    end_here();
}
static void unsorted_place(long len) {
    // A chunk that nobody has sorted yet says that it is a node of a tree.
    row(len);
    give(b);
    *word(opaque(b), 4) = (uintptr_t)d - 16;
    used = len * 2;
}
static void footer_to_another(long len) {
    // The size before a block leads to a free chunk, but not to the one before it.
    row(len);
    give(a); give(c);
    malloc_trim(0);
    byte *next = behind(c);
    *word(next, -2) = next - a;
    give(next);
    malloc_trim(0);
}
static void fence_is(long value) {
    // A mapping in the way of the break ends the run there with a fence. Then the way is free again.
    used = 3000;
    take(3000);
    byte *end = sbrk(0);
    EXPECT(mmap(end, 64 * K, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == end);
    for (int i = 0; i < 400; i++) take(3000);
    EXPECT(sbrk(0) == end && !munmap(end, 64 * K));
    // The fence is the last chunk of 32 bytes, wherever the run ends; its head is its second word.
    *word(opaque(end), -3) = value;
    // A heap of the main arena has to be full before the break is tried again.
    for (int i = 0; i < 800; i++) take(100 * K);
}
static void break_moved_down(long pages) {
    used = 1000;
    row(20000);
    EXPECT(sbrk(-pages * 4096) != (void *)-1);
    for (int i = 0; i < 60; i++) malloc(60000);
}
static void tree_words(long index) {
    // Large free chunks of many sizes, sorted into a tree by a request that none of them can serve.
    void *p[20];
    used = 3000;
    for (int i = 0; i < 20; i++) p[i] = take(i % 2 ? 3000 : 9000 + 400 * i);
    for (int i = 0; i < 20; i += 2) give(p[i]);
    malloc_trim(0);
    void *q = take(100000);
    for (int i = 0; i < 20; i += 2) *word(opaque(p[i]), index) = (uintptr_t)target;
    void *t[20];
    for (int i = 0; i < 20; i += 2) t[i] = take(9000 + 400 * i);
    for (int i = 0; i < 20; i += 2) give(t[i]);
    give(q);
}
static void depot_words(long index) {
    static void *p[400];
    used = 200;
    for (int i = 0; i < 400; i++) p[i] = take(200);
    for (int i = 0; i < 400; i++) give(p[i]);
    for (int i = 0; i < 250; i++) *word(opaque(p[i]), index) = (uintptr_t)target;
}

// ---------------------------------------------------------------- sizes that are not right, and questions about garbage

static void sized_wrong(long len, long claimed) {
    byte *p = take(used = len);
    let_go(p);
    if (sized()) sized()(opaque(p), claimed); else free(opaque(p));
}
static void aligned_sized_wrong(long alignment, long claimed) {
    byte *p = aligned_alloc(64, used = 1024);
    if (aligned_sized()) aligned_sized()(opaque(p), alignment, claimed); else free(opaque(p));
}
static void realloc_interior(long len, long offset) { hold(realloc((byte *)take(used = len) + offset, len * 2), len * 2); }
static void realloc_stack(long offset) {
    byte local[256] __attribute__((aligned(16))) = {0};
    hold(realloc(opaque(local + offset), 500), 500);
}
static void realloc_wild(long address) { void *p = realloc((void *)address, 100); (void)opaque(p); }
static void realloc_flipped(long len, long bit) {
    row(len);
    *word(b, -1) ^= 1ul << bit;
    let_go(b);
    hold(realloc(opaque(b), len * 2), len * 2);
}
static void usable_interior(long len) { opaque((void *)malloc_usable_size((byte *)take(used = len) + 16)); }
static void usable_stack(long offset) {
    byte local[256] __attribute__((aligned(16))) = {0};
    opaque((void *)malloc_usable_size(opaque(local + offset)));
}
static void usable_wild(long address) { opaque((void *)malloc_usable_size((void *)address)); }
static void usable_freed(long len) { opaque((void *)malloc_usable_size(freed(used = len))); }
static void usable_freed_in_arena(long len) {
    row(len);
    give(b);
    malloc_trim(0);
    opaque((void *)malloc_usable_size(opaque(b)));
}

#include "misuse_cases.h"

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "list")) {
        for (size_t i = 0; i < LEN(cases); i++)
            say("%zu\t%s\t%s\t%s\n", i, cases[i].name, cases[i].expected, cases[i].hardened);
        return 0;
    }
    EXPECT(argc == 2);
    size_t number = strtoul(argv[1], NULL, 10);
    EXPECT(number < LEN(cases));
    running = cases[number].name;
    used = 100;
    ((void (*)(long, long))cases[number].run)(cases[number].first, cases[number].second);
    go_on(used);
    say("went on\n");
    return 0;
}
