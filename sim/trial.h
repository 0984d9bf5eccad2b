/*
 * trial.h - a candidate of the planner: its plan, its costs, its memory, and what simulation says of it.
 */
#ifndef SIM_TRIAL_H
#define SIM_TRIAL_H

#include "sim/cost.h"
#include "sim/planner.h"

/* What candidates are tried for; all borrowed. */
struct sim_trial {
    const struct sp_experiment *experiment;
    const struct sp_network *network;
    const struct sim_memory_model *memory;
    const struct sim_source *source;
    struct sp_error *err;
    bool least; /* costs are those for bounds */
};

/* Plan and costs of a candidate for so many minibatches. `cost` may be NULL. The caller frees both, also after a
 * failure. */
sp_status sim_trial_prepare(const struct sim_trial *trial, const struct sim_candidate *candidate, int64_t minibatches,
                            struct sp_plan **plan, struct sim_cost **cost);

/* peak_bytes, by the plan alone. */
sp_status sim_trial_weigh(const struct sim_trial *trial, struct sim_candidate *candidate);

/* Minibatches in which nearly all plans come to their steady state, and those that take long to: buffers may fill
 * slowly before a device waits. Where it comes, the rest is jumped over. */
enum { SIM_TRIAL_LONG = 4096 + 512, SIM_TRIAL_LONGER = 32768 + 4096 };

/* bottleneck_s, minibatch_s, error and time_s, by simulation of so many minibatches. */
sp_status sim_trial_simulate(const struct sim_trial *trial, struct sim_candidate *candidate, int64_t minibatches);

/* Minibatches of the whole training that the experiment asks for. */
int64_t sim_trial_minibatches(const struct sp_experiment *experiment);

#endif
