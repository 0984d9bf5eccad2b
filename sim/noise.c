#include "sim/noise.h"
#include "common/random.h"

#include <gsl/gsl_cdf.h>

#include <math.h>

/* Lognormal, of mean 1 and the given relative standard deviation; by inversion, so that one word decides. */
static double factor(double deviation, uint32_t word)
{
    if (deviation <= 0)
        return 1;
    double variance = log1p(deviation * deviation), u = ((double)word + 0.5) * 0x1p-32;
    return gsl_cdf_lognormal_Pinv(u, -variance / 2, sqrt(variance));
}

bool sim_noise_is_known(const struct sim_cost *cost)
{
    const struct sim_noise *noise = &cost->noise;
    int64_t rows = (int64_t)cost->phase_count * cost->stage_count * SIM_WORK_COUNT;
    for (int64_t r = 0; noise->work != NULL && r < rows; r++)
        if (noise->work[r] > 0)
            return true;
    return noise->message > 0 || noise->handoff > 0 || noise->run > 0;
}

void sim_noise_init(struct sim_noise_state *state, const struct sim_cost *cost, const struct sim_noise_key *key)
{
    uint32_t w[4];
    sp_random_block(key->seed, SP_RANDOM_NOISE, (uint64_t)key->repeat, (uint32_t)key->stream, w);
    *state = (struct sim_noise_state){.noise = &cost->noise,
                                      .rows = (int64_t)cost->phase_count * cost->stage_count * SIM_WORK_COUNT,
                                      .key = (uint64_t)w[0] << 32 | w[1],
                                      .run = factor(cost->noise.run, w[2])};
}

/* Four words for one instruction of a row; messages have rows of their own behind those of work. */
static void words(const struct sim_noise_state *state, int64_t row, const struct sp_instr *instr, uint32_t w[4])
{
    uint64_t which = (uint64_t)instr->minibatch << 16 ^ (uint64_t)instr->microbatch;
    sp_random_block(state->key, SP_RANDOM_NOISE, which, (uint32_t)row, w);
}

double sim_noise_work(const struct sim_noise_state *state, int64_t row, const struct sp_instr *instr)
{
    uint32_t w[4];
    if (state->noise->work == NULL || state->noise->work[row] <= 0)
        return state->run;
    words(state, row, instr, w);
    return state->run * factor(state->noise->work[row], w[0]);
}

struct sim_noise_message sim_noise_message(const struct sim_noise_state *state, const struct sp_instr *instr)
{
    uint32_t w[4];
    if (state->noise->message <= 0 && state->noise->handoff <= 0)
        return (struct sim_noise_message){1, 1, 1};
    words(state, state->rows + instr->channel, instr, w);
    return (struct sim_noise_message){factor(state->noise->message, w[0]), factor(state->noise->handoff, w[1]),
                                      factor(state->noise->handoff, w[2])};
}
