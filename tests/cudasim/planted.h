/*
 * planted.h - tests that a mistake is reported: each planted fault runs in a process of its own, which has to end badly
 * and to say what is wrong. `test NAME` runs one, to see its report.
 *
 * Races with the host are seen by ThreadSanitizer only, so they are skipped in other builds; sound programs must end
 * well in all.
 */
#ifndef CUDASIM_PLANTED_H
#define CUDASIM_PLANTED_H

enum planted_kind {
    FAULT,   /* reported by the stand-in, which aborts */
    SEGMENT, /* memory touched that is not to be touched */
    LEAK,    /* found at exit */
    RACE, /* between streams: reported at the call; by ThreadSanitizer, with the check of orders off, where it is there
           */
    HOST_RACE, /* with the host: ThreadSanitizer's report */
    SOUND      /* nothing is reported */
};

struct planted {
    const char *name;
    void (*run)(void);
    enum planted_kind kind;
    const char *says[2]; /* what stderr must contain; NULL: anything */
};
#define PLANT(name, kind, ...)                                                                                         \
    {                                                                                                                  \
#name, name, kind,                                                                                             \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

/* The whole of a test program; `set_up` is called before each fault, in its process. */
int planted_main(int argc, char **argv, const char *suite, const struct planted *list, int count, void (*set_up)(void));

#endif
