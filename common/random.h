/*
 * random.h - counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
 * 3").
 *
 * A number depends on (seed, purpose, a, b) only, never on which thread asked first.
 */
#ifndef SP_RANDOM_H
#define SP_RANDOM_H

#include <stdint.h>

enum sp_purpose {
    SP_RANDOM_INIT,    /* a: layer, b: element / 4 */
    SP_RANDOM_SHUFFLE, /* a: epoch, b: position */
    SP_RANDOM_DROPOUT, /* a: microbatch (minibatch * M + microbatch) and layer, b: element / 4 */
    SP_RANDOM_DATA,    /* synthetic data. a: sample, b: element / 4 */
    SP_RANDOM_AUGMENT, /* a: position in the stream of samples */
    SP_RANDOM_NOISE,   /* simulated durations. a: minibatch and microbatch, b: whose work; or a: repeat, b: stream */
    SP_RANDOM_TEST     /* tests and fuzzing */
};

/* Four words of the block (a, b) under key (seed, purpose). */
void sp_random_block(uint64_t seed, enum sp_purpose purpose, uint64_t a, uint32_t b, uint32_t out[4]);

/* The raw generator, for checking against published vectors. */
void sp_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A word as a number in [0, 1), and two words as two independent standard normal numbers (Box-Muller). */
float sp_random_unit(uint32_t word);
void sp_random_normal(uint32_t u, uint32_t v, float out[2]);

/* A number in [0, n), n > 0, by rejection-free multiplication of 64 bits; bias below n / 2^64. */
uint64_t sp_random_below(uint64_t seed, enum sp_purpose purpose, uint64_t a, uint32_t b, uint64_t n);

#endif
