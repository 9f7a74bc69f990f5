// A signal handler that forks in the middle of the main thread's first request: in the child, where that request goes on, a new
// thread must not get the main thread's cache. The moment is one at which the library calls out.
#include "check.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

static pid_t child = -1;
static bool has_forked;

int pthread_setspecific(pthread_key_t key, const void *value) {
    static int (*real)(pthread_key_t, const void *);
    if (!real) real = (int (*)(pthread_key_t, const void *))dlsym(RTLD_NEXT, "pthread_setspecific");
    if (!has_forked) {
        has_forked = true;
        child = fork();
    }
    return real(key, value);
}

static void *take(void *unused) {
    (void)unused;
    return malloc(40);
}

int main(void) {
    running = "first-request";
    void *first = malloc(40);
    EXPECT(first && has_forked && child >= 0);
    void *freed = malloc(40);
    free(freed);
    pthread_t thread;
    void *taken;
    EXPECT(!pthread_create(&thread, NULL, take, NULL) && !pthread_join(thread, &taken));
    EXPECT(taken && taken != freed);
    EXPECT(malloc(40) == freed);
    if (child == 0) _exit(7);
    int status;
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    say("done\n");
    return 0;
}
