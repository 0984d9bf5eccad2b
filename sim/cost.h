/*
 * cost.h - how long things take: a cost source turns plan and constants into seconds.
 *
 * A source is one file under sim/costs and one row of sim_cost_kinds. It fills a table once; the event engine only
 * looks up.
 */
#ifndef SIM_COST_H
#define SIM_COST_H

#include "common/experiment.h"
#include "common/memory.h"
#include "common/plan.h"

/* Seconds of one microbatch of a stage in a phase. */
struct sim_stage_cost {
    double forward_s, backward_s, update_s, evaluate_s;
};

/* A channel's message occupies resource `bus` for `busy_s`, and arrives `latency_s` after that. A copy that blocks
 * holds up sender and receiver for `device_s` each. */
struct sim_channel_cost {
    double latency_s, busy_s, device_s; /* of a full minibatch's message; the latter two are divided by M, except for
                                           weights */
    int bus;                            /* messages of one bus follow each other; -1: none, it only takes time */
};

struct sim_cost {
    int stage_count, phase_count, channel_count, bus_count;
    struct sim_stage_cost *stages;     /* [phase * stage_count + stage] */
    struct sim_channel_cost *channels; /* [channel] */
    double handoff_s;                  /* time a device spends to post or take a message */
    char **bus_names;
    char *note; /* what the user should know of these costs (extrapolated, say); NULL: nothing */
};

struct sim_cost_kind {
    const char *name; /* "analytic", "table", "profile", "import" */
    const char *help;
    sp_status (*fill)(const struct sp_experiment *experiment, const struct sp_plan *plan,
                      const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);
};
extern const struct sim_cost_kind sim_cost_kinds[]; /* ended by name NULL */

/* By experiment->cost.model. The caller owns *out. */
sp_status sim_cost_create(const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, struct sim_cost **out, struct sp_error *err);
struct sim_cost *sim_cost_alloc(const struct sp_plan *plan); /* zeroed, for tests that fill it by hand */
void sim_cost_destroy(struct sim_cost **cost);

#endif
