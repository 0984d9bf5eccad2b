/*
 * partition.h - the best ways to cut a line, or a graph, of layers into stages, by dynamic programming.
 *
 * A state is what lies before a cut: state 0 nothing, the last one everything. In a line state j is the first j groups;
 * in a graph it is any set of nodes closed under predecessors, and a stage is the difference of two nested states. The
 * bottleneck of a partition is its slowest resource: a stage's device, or the link across a cut, which works beside
 * them.
 */
#ifndef SIM_PARTITION_H
#define SIM_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

/* Arrays are indexed by state, in an order in which a state comes after those it contains. Seconds are per minibatch.
 */
struct sim_partition_problem {
    int state_count;
    const double *forward_s, *backward_s;     /* sums over all that lies in the state */
    double forward_stage_s, backward_stage_s; /* of every stage beside these */
    const double *link_s;                     /* busy time of the link when the cut is here */
    const double *block_s;                    /* what a cut here adds to the stages on both sides; NULL: nothing */
    bool split;           /* forward and backward on devices of their own, but for the last stage (2K+1 devices) */
    const uint64_t *sets; /* [state * words]: nodes as bits; NULL: a line */
    int words;
};

struct sim_partition {
    double bottleneck_s;
    int *states; /* the stage_count - 1 cuts */
};

/* The `limit` best partitions into each number of stages, best first. */
struct sim_partitions {
    int stage_count;           /* most stages asked for */
    struct sim_partition **of; /* [stages][rank] */
    int *count;                /* [stages] */
};

/* Finds them for 1 .. stage_count stages: O(states^2 * stages * limit) at worst, mostly far less. Stages are never
 * empty. Equal bottlenecks: the one with the smaller sum of squared stage times among those found first. */
void sim_partition_solve(const struct sim_partition_problem *problem, int stage_count, int limit,
                         struct sim_partitions *out);
void sim_partitions_fini(struct sim_partitions *partitions);

#endif
