/*
 * schedule.h - orders of work, one file under common/schedules and one row of sp_schedules each.
 *
 * A schedule says, for one stage, which compute step comes k-th and in which tick of an ideal machine (every
 * forward and backward one tick) it falls. The order within a stage is the program; ticks decide only how several
 * stages on one device are merged, and since a step's inputs always come from earlier ticks (or from the step before
 * in the same tick and stage), no merge can deadlock. Updates, messages, weight versions, phases and evaluation are
 * added by the cursor, the same for all.
 */
#ifndef SP_SCHEDULE_H
#define SP_SCHEDULE_H

#include "common/plan.h"

struct sp_step {
    enum sp_instr_kind kind; /* FORWARD or BACKWARD */
    int64_t q;               /* microbatch within the phase */
    int64_t tick;
};

/* The situation of one stage in one phase. */
struct sp_order {
    int P;           /* stages */
    int stage;       /* i, 0-based */
    int M;           /* microbatches of a minibatch */
    int64_t q_count; /* microbatches of the phase: M * minibatches */
};

enum { SP_WAITS_ALL = -1 };

struct sp_schedule {
    const char *name;
    const char *help; /* one line */

    /* The k-th compute step of the stage, k = 0 .. 2 * q_count - 1. O(1). F of each q before its B; both in order of q.
     */
    struct sp_step (*step)(const struct sp_order *order, int64_t k);

    /* Microbatches between F and the end of B at once, at most: the stash. Closed form. */
    int64_t (*in_flight)(const struct sp_order *order);

    /* Where the order repeats itself: for k in [*from, *to) step k + 2M is step k, one minibatch and a fixed number of
     * ticks later. */
    void (*steady)(const struct sp_order *order, int64_t *from, int64_t *to);

    bool flushes; /* a minibatch's microbatches follow each other, and all are through before the next one's first */

    /* In each minibatch a stage is idle at least while so many microbatches are in the stages before it, and so many in
     * those behind it (forward and backward): a bound for planning. SP_WAITS_ALL: all of the minibatch. */
    int waits_before, waits_behind;

    bool stashes_by_default; /* weights policy when the user gives none: stash (PipeDream) or latest */
};

/* NULL-terminated. */
extern const struct sp_schedule *const sp_schedules[];

/* The schedule of that name or NULL. */
const struct sp_schedule *sp_schedule_find(const char *name);

#endif
