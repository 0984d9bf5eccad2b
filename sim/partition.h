/*
 * partition.h - the ways to cut a line, or a graph, of layers into stages, best first.
 *
 * A state is what lies before a cut: state 0 nothing, the last one everything. In a line state j is the first j groups;
 * in a graph it is any set of nodes closed under predecessors, and a stage is the difference of two nested states. The
 * bottleneck of a partition is its slowest resource: a stage's device, the link across a cut, which works beside
 * them, or the one link that all cuts share.
 *
 * Dynamic programming says for every state what the rest needs at least (sim_rest); with that, a best-first search
 * gives partitions one after the other in the order of their bottlenecks, each when it is asked for, and all if asked
 * for long enough. What one stage alone forbids (memory), or one cut (stale weights), is never entered.
 */
#ifndef SIM_PARTITION_H
#define SIM_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

/* What each stage holds, in bytes, at least: held + (versions - 1) * version + in_flight * slot. Sums over all that
 * lies in the state, slot may be NULL; versions and in_flight by stage. */
struct sim_partition_memory {
    const double *held, *version, *slot;
    const int *versions, *in_flight;
};

/* Arrays are indexed by state, in an order in which a state comes after those it contains. Seconds are per minibatch.
 */
struct sim_partition_problem {
    int state_count;
    const double *forward_s, *backward_s;     /* sums over all that lies in the state; updates are part of backward */
    double forward_stage_s, backward_stage_s; /* of every stage beside these */
    const double *update_s;                   /* the part of backward_s that keeps no other stage; NULL: none */
    double update_stage_s;                    /* and of backward_stage_s */
    /* Shares of the work of all stages before it, and behind it, that a stage waits for in each minibatch, while its
     * own update keeps nobody else in this share of all minibatches. */
    double waits_before, waits_behind, spared_updates;
    const double *link_s;  /* busy time of the link when the cut is here */
    const double *bus_s;   /* and of what all cuts share; NULL: nothing */
    const double *block_s; /* what a cut here adds to the stages on both sides; NULL: nothing */
    bool split;            /* forward and backward on devices of their own, but for the last stage (2K+1 devices) */
    const uint64_t *sets;  /* [state * words]: nodes as bits; NULL: a line */
    int words;
    /* For one number of stages only. */
    const struct sim_partition_memory *memory; /* NULL: not looked at */
    double memory_limit;                       /* of a stage; with `by_memory`: none */
    bool by_memory;                            /* the bottleneck is the fullest stage's bytes, not a time */
    const double *parameters;                  /* sums; NULL: not limited */
    int stale_stages;                          /* the first so many together have at most ... */
    double stale_limit;                        /* ... so many parameters */
};

/* What is still to come at least, for each state and number of stages. Holds for all numbers of stages up to
 * `stage_count`; where the problem has limits, by_memory included, only for that number. O(states^2 * stages) at worst,
 * mostly far less. `problem` is borrowed. */
struct sim_rest;
struct sim_rest *sim_rest_create(const struct sim_partition_problem *problem, int stage_count);
void sim_rest_destroy(struct sim_rest **rest);

/* The partitions into a number of stages, none of them empty. `rest` is borrowed, also for several at once. */
struct sim_cuts;
struct sim_cuts *sim_cuts_create(const struct sim_rest *rest, int stages);
void sim_cuts_destroy(struct sim_cuts **cuts);

/* No partition that is still to come has a smaller bottleneck; INFINITY: none is. */
double sim_cuts_bound(const struct sim_cuts *cuts);

/* The next partition: its stages - 1 cuts into states, and its bottleneck. Among equals, balanced ones are looked for
 * first. False when there are no more, or when the search has become too large: then the bound is finite. */
bool sim_cuts_next(struct sim_cuts *cuts, int *states, double *bottleneck);

/* What the stage between two states holds at least. */
double sim_partition_bytes(const struct sim_partition_problem *problem, int from, int to, int stage);

/* Whether any partition is within memory_limit, where that is quickly told: true for graphs. O(states * stages). */
bool sim_partition_fits(const struct sim_partition_problem *problem, int stages);

/* The partition whose fullest stage holds the least, and how much. False where all hold more than `limit`. */
bool sim_partition_leanest(const struct sim_partition_problem *problem, int stages, double limit, int *states,
                           double *bytes);

#endif
