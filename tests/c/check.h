// What the C programs of these tests share: a way to fail with a line, and readings of the process that never call malloc.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define K 1024ul
#define M (1024ul * 1024)
#define LEN(a) (sizeof(a) / sizeof *(a))

// What runs now, for the line of a failure.
static const char *running = "?";

// One line on stdout, without stdio's buffers, which malloc would serve.
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (write(1, line, len) != len) _exit(99);
}

__attribute__((noreturn)) static inline void failed(int line, const char *what) {
    say("FAIL %s: line %d: %s (errno %d)\n", running, line, what, errno);
    _exit(1);
}

#define EXPECT(condition) do { if (!(condition)) failed(__LINE__, #condition); } while (0)

// A file of /proc/self, whole.
static inline char *proc_text(const char *path) {
    static char text[1 << 16];
    size_t len = 0;
    ssize_t n;
    int f = open(path, O_RDONLY);
    EXPECT(f >= 0);
    while ((n = read(f, text + len, sizeof text - 1 - len)) > 0) len += n;
    EXPECT(n == 0);
    close(f);
    text[len] = 0;
    return text;
}

// Resident bytes; the sum over all mappings is exact, where the counters of /proc/self/statm lag behind.
static inline size_t resident(void) {
    char *rss = strstr(proc_text("/proc/self/smaps_rollup"), "Rss:");
    EXPECT(rss != NULL);
    return strtoul(rss + 4, NULL, 10) * K;
}

// A number of /proc/self/status that is given in kB, as bytes.
static inline size_t status_bytes(const char *key) {
    char *line = strstr(proc_text("/proc/self/status"), key);
    EXPECT(line != NULL);
    return strtoul(line + strlen(key) + 1, NULL, 10) * K;
}

static inline uint64_t random_step(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 11;
}
