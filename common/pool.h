/*
 * pool.h - tasks in child processes: one that crashes takes no other with it, and nothing of it is left behind.
 *
 * A child answers a task with a text. Children die with their parent. The caller must have one thread only.
 */
#ifndef SP_POOL_H
#define SP_POOL_H

#include "common/error.h"

#include <signal.h>

struct sp_pool_config {
    int children; /* at work at once */
    bool fresh;   /* every task gets a new child; else a child does one after another */
    void *self;
    int (*next)(void *self);             /* the next task, 0 or more; -1: there is none */
    char *(*work)(void *self, int task); /* in the child; what it returns, from malloc, is the answer */
    /* In the parent: an answer, or NULL and the reason why there is none (the child died). */
    sp_status (*done)(void *self, int task, const char *answer, const char *reason, struct sp_error *err);
    /* In the parent, after all answers that had come were handed to `done`, and at least five times a second. */
    sp_status (*pause)(void *self, struct sp_error *err);
    const volatile sig_atomic_t *stop; /* not 0: no further task, children are killed */
};

/* Runs all tasks. SP_E_INTERRUPTED: `stop` was set. A failure of `done` or `pause` ends it too. */
sp_status sp_pool_run(const struct sp_pool_config *config, struct sp_error *err);

/* Processors this process may use. */
int sp_pool_processors(void);

#endif
