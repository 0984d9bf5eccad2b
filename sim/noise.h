/*
 * noise.h - how long an instruction takes this time.
 *
 * A factor depends on the key, on whose work of which minibatch it is, and on nothing else: not on the order in which
 * things happen.
 */
#ifndef SIM_NOISE_H
#define SIM_NOISE_H

#include "sim/cost.h"

/* Which of many runs this is. Runs of another `repeat` or `stream` are independent. */
struct sim_noise_key {
    uint64_t seed;
    int64_t repeat;
    int stream; /* 0: the plan, 1: its baseline */
};

struct sim_noise_state {
    const struct sim_noise *noise;
    int64_t rows;
    uint64_t key;
    double run; /* the factor of all work in this run */
};

/* Whether anything varies. */
bool sim_noise_is_known(const struct sim_cost *cost);

/* `cost` is borrowed. */
void sim_noise_init(struct sim_noise_state *state, const struct sim_cost *cost, const struct sim_noise_key *key);

/* Factor of the work of a row, as in sim_cost_row. */
double sim_noise_work(const struct sim_noise_state *state, int64_t row, const struct sp_instr *instr);

/* Factors of a message: its way, and both devices' handling. */
struct sim_noise_message {
    double way, post, take;
};
struct sim_noise_message sim_noise_message(const struct sim_noise_state *state, const struct sp_instr *instr);

#endif
