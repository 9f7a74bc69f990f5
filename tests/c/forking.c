// A program of the kind that is hard on an allocator: four threads fill tables of strings, and while they allocate, main forks
// children that read, copy and free those tables and start threads of their own. Its output depends on none of the timing.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { WORKERS = 4, ROUNDS = 40, STRINGS = 400, SLOTS = 512 };

struct entry { struct entry *next; size_t count; char text[]; };
static struct entry *tables[WORKERS][SLOTS];
static pthread_barrier_t filled, reaped;
static _Atomic(int) children_done;

static size_t hash(const char *text) {
    size_t h = 5381;
    while (*text) h = h * 33 + (unsigned char)*text++;
    return h;
}

static void insert(struct entry **table, const char *text) {
    struct entry **at = &table[hash(text) % SLOTS];
    for (struct entry *e = *at; e; e = e->next)
        if (!strcmp(e->text, text)) { e->count++; return; }
    struct entry *e = malloc(sizeof *e + strlen(text) + 1);
    EXPECT(e != NULL);
    *e = (struct entry){.next = *at, .count = 1};
    strcpy(e->text, text);
    *at = e;
}

static size_t drop_some(struct entry **table, size_t modulus) {
    size_t dropped = 0;
    for (size_t s = 0; s < SLOTS; s++)
        for (struct entry **at = &table[s]; *at;) {
            struct entry *e = *at;
            if (hash(e->text) % modulus) { at = &e->next; continue; }
            *at = e->next;
            free(e);
            dropped++;
        }
    return dropped;
}

static size_t digest(struct entry **table) {
    size_t sum = 0;
    for (size_t s = 0; s < SLOTS; s++)
        for (struct entry *e = table[s]; e; e = e->next) sum += hash(e->text) * e->count;
    return sum;
}

static void make_text(char *text, uint64_t *seed) {
    size_t len = 3 + random_step(seed) % 60;
    for (size_t i = 0; i < len; i++) text[i] = 'a' + random_step(seed) % (i < 3 ? 5 : 26);
    text[len] = 0;
}

static void *work(void *number) {
    size_t me = (size_t)number;
    uint64_t seed = me + 1;
    for (int round = 0; round < ROUNDS; round++) {
        char text[64];
        for (int i = 0; i < STRINGS; i++) make_text(text, &seed), insert(tables[me], text);
        if (round % 5 == 4) drop_some(tables[me], 3);
        pthread_barrier_wait(&filled);
        // The tables rest while main forks; malloc does not.
        for (size_t i = 0; children_done <= round; i++) {
            void *p = malloc(i % 3000), *q = malloc(i % 7 ? 40 : 150000), *r = realloc(p, i % 5000 + 1);
            free(q), free(r);
        }
        pthread_barrier_wait(&reaped);
    }
    return NULL;
}

// A thread of a child copies a table of the parent into a new one.
static void *copy(void *number) {
    static struct entry *copies[WORKERS][SLOTS];
    size_t me = (size_t)number;
    for (size_t s = 0; s < SLOTS; s++)
        for (struct entry *e = tables[me][s]; e; e = e->next)
            for (size_t i = 0; i < e->count; i++) insert(copies[me], e->text);
    EXPECT(digest(copies[me]) == digest(tables[me]));
    drop_some(tables[me], 1);
    return (void *)digest(copies[me]);
}

static void live_as_a_child(int out) {
    alarm(60);
    size_t sum = 0;
    pthread_t thread[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) EXPECT(!pthread_create(&thread[i], NULL, copy, (void *)i));
    for (size_t i = 0; i < WORKERS; i++) {
        void *found;
        EXPECT(!pthread_join(thread[i], &found));
        sum = sum * 31 + (size_t)found;
    }
    EXPECT(write(out, &sum, sizeof sum) == sizeof sum);
    exit(0);
}

int main(void) {
    running = "forking";
    EXPECT(!pthread_barrier_init(&filled, NULL, WORKERS + 1) && !pthread_barrier_init(&reaped, NULL, WORKERS + 1));
    pthread_t thread[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) EXPECT(!pthread_create(&thread[i], NULL, work, (void *)i));
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&filled);
        int ends[2], status;
        size_t sum;
        EXPECT(!pipe(ends));
        pid_t child = fork();
        EXPECT(child >= 0);
        if (!child) live_as_a_child(ends[1]);
        close(ends[1]);
        EXPECT(read(ends[0], &sum, sizeof sum) == sizeof sum);
        close(ends[0]);
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
        say("round %d: child found %zx\n", round, sum);
        children_done = round + 1;
        pthread_barrier_wait(&reaped);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        EXPECT(!pthread_join(thread[i], NULL));
        size_t sum = digest(tables[i]);
        say("worker %zu: %zx in %zu strings\n", i, sum, drop_some(tables[i], 1));
    }
    return 0;
}
