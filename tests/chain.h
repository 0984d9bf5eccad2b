/*
 * chain.h - tests of the simulator: a network of equal small layers, pipelines over it, and the order of each stage's
 * steps written out from the schedules' definitions, by a hand that knows neither plans nor events.
 */
#ifndef TEST_CHAIN_H
#define TEST_CHAIN_H

#include "common/plan.h"
#include "sim/simulate.h"

enum { CHAIN_LAYERS = 9, CHAIN_STEPS = 256 };

/* `count` fully connected layers of one neuron, in layers[count] and shapes[count + 1], which the network keeps. */
struct sp_network chain_of(struct sp_layer *layers, struct sp_shape *shapes, int count);

/* One of CHAIN_LAYERS. */
const struct sp_network *chain_network(void);

/* 0 .. n-1, the same in each run. */
int chain_below(int n);

/* P stages of at least one layer, one phase, a device a stage; a minibatch has M samples. */
struct sp_plan *chain_plan(const char *schedule, int P, int M, int64_t minibatches);

/* Every stage of every phase takes so long. */
struct sim_cost *chain_cost(const struct sp_plan *plan, double forward_s, double backward_s);

/* Simulates; keeps spans. */
struct sim_result chain_run(const struct sp_plan *plan, const struct sim_cost *cost);

void chain_assert_near(double found, double expected);

/* The steps of a stage: microbatch q forward or backward. */
struct chain_steps {
    int count;
    bool backward[CHAIN_STEPS];
    int q[CHAIN_STEPS];
    int at[2][CHAIN_STEPS]; /* position of F and B of q */
};

/* Those of stage i of P under a schedule, for `count` microbatches, M a minibatch. */
void chain_order(const char *schedule, int P, int M, int count, int i, struct chain_steps *out);

#endif
