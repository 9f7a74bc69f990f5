/* Something for a C compiler to chew on: macros that unfold into many functions, structures, switches and tables. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE(n)                                                                                          \
    struct shape##n { int kind; double at[n % 7 + 1]; struct shape##n *next; };                           \
    static double measure##n(const struct shape##n *s) {                                                  \
        double sum = 0;                                                                                   \
        for (int i = 0; i <= n % 7; i++) sum += sqrt(s->at[i] * (n + i)) + (s->kind == i ? n : i);        \
        switch (s->kind) { case 0: return sum; case 1: return sum * 2; case 2: return sum - n; default: return sum / (n + 1); } \
    }                                                                                                     \
    static double chain##n(int count) {                                                                   \
        struct shape##n *list = 0; double sum = 0;                                                        \
        for (int i = 0; i < count; i++) {                                                                 \
            struct shape##n *s = calloc(1, sizeof *s);                                                    \
            s->kind = i % 5; for (int j = 0; j <= n % 7; j++) s->at[j] = i + j; s->next = list; list = s; \
        }                                                                                                 \
        while (list) { struct shape##n *s = list; sum += measure##n(s); list = s->next; free(s); }        \
        return sum;                                                                                       \
    }
#define TEN(m, n) m(n##0) m(n##1) m(n##2) m(n##3) m(n##4) m(n##5) m(n##6) m(n##7) m(n##8) m(n##9)
#define NAME(n) chain##n,
TEN(SHAPE, 1) TEN(SHAPE, 2) TEN(SHAPE, 3) TEN(SHAPE, 4) TEN(SHAPE, 5) TEN(SHAPE, 6)
static double (*const table[])(int) = {TEN(NAME, 1) TEN(NAME, 2) TEN(NAME, 3) TEN(NAME, 4) TEN(NAME, 5) TEN(NAME, 6)};

int main(void) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) printf("%zu %.6f\n", i, table[i](100 + (int)i));
    return 0;
}
