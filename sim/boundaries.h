/*
 * boundaries.h - where a network may be cut, and what it costs there.
 */
#ifndef SIM_BOUNDARIES_H
#define SIM_BOUNDARIES_H

#include "sim/partition.h"
#include "sim/trial.h"

/* States as in sim/partition.h, with their costs for minibatches in M parts. */
struct sim_boundaries {
    int state_count;
    double *forward_s, *backward_s, *update_s, *link_s, *bus_s, *block_s; /* bus_s, block_s: NULL where there is none */
    double forward_stage_s, backward_stage_s, update_stage_s;
    double *parameters;            /* sums */
    double *held, *version, *slot; /* as in sim_partition_memory, in plain float32 */
    uint64_t *sets;
    int words;
    bool prefixes_only; /* a graph with too many boundaries */
    /* Of a machine that all devices share: how much longer work takes at least beside each other device, and how many
     * devices run at once. */
    double slowdown, room; /* room: 0: all */
    bool shares_machine;   /* devices may slow each other */
};

/* `memory`: bytes are wanted; else they are zero. */
sp_status sim_boundaries_init(const struct sim_trial *trial, int M, bool memory, struct sim_boundaries *out);
/* Seconds of a minibatch that no partition can do without, as devices at work slow each other. */
double sim_boundaries_least_s(const struct sim_boundaries *boundaries, int stages, int devices);
void sim_boundaries_fini(struct sim_boundaries *boundaries);

/* Sets the candidate's cuts to `states`; for a graph also the order of its nodes in which the stages are ranges. */
void sim_boundaries_cut(const struct sim_boundaries *boundaries, const struct sp_network *network, const int *states,
                        int stages, struct sim_candidate *candidate);

/* The problem of the least bottleneck, without limits, for a training of so many minibatches: filling and draining the
 * pipeline belongs to it. INFINITY: only the steady state counts. It borrows the boundaries. */
struct sim_partition_problem sim_boundaries_problem(const struct sim_boundaries *boundaries,
                                                    const struct sp_schedule *schedule, int M, bool split,
                                                    double minibatches);

#endif
