#include "common/random.h"
#include "common/philox.h"

#include <math.h>

void sp_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    sp_philox(counter, key, out);
}

void sp_random_block(uint64_t seed, enum sp_purpose purpose, uint64_t a, uint32_t b, uint32_t out[4])
{
    sp_philox_block(seed, (uint32_t)purpose, a, b, out);
}

float sp_random_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

void sp_random_normal(uint32_t u, uint32_t v, float out[2])
{
    double radius = sqrt(-2 * log(((double)u + 1) * 0x1p-32)), angle = 2 * M_PI * ((double)v * 0x1p-32);
    out[0] = (float)(radius * cos(angle));
    out[1] = (float)(radius * sin(angle));
}

uint64_t sp_random_below(uint64_t seed, enum sp_purpose purpose, uint64_t a, uint32_t b, uint64_t n)
{
    uint32_t w[4];
    sp_random_block(seed, purpose, a, b, w);
    uint64_t word = (uint64_t)w[0] << 32 | w[1];
    return (uint64_t)(((unsigned __int128)word * n) >> 64);
}
