#include "common/random.h"

#include <math.h>

static void philox_round(uint32_t c[4], const uint32_t k[2])
{
    uint64_t first = (uint64_t)0xD2511F53u * c[0], second = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t out[4] = {(uint32_t)(second >> 32) ^ c[1] ^ k[0], (uint32_t)second, (uint32_t)(first >> 32) ^ c[3] ^ k[1],
                       (uint32_t)first};
    for (int i = 0; i < 4; i++)
        c[i] = out[i];
}

void sp_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 4; i++)
        out[i] = counter[i];
    for (int round = 0; round < 10; round++) {
        philox_round(out, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

void sp_random_block(uint64_t seed, enum sp_purpose purpose, uint64_t a, uint32_t b, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)a, (uint32_t)(a >> 32), b, (uint32_t)purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    sp_philox4x32_10(counter, key, out);
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
