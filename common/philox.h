/*
 * philox.h - Philox4x32-10 and the blocks made of it, for the host and for GPUs: what common/random.h declares.
 */
#ifndef SP_PHILOX_H
#define SP_PHILOX_H

#include "common/host_device.h"

#include <stdint.h>

SP_HD static inline void sp_philox_round(uint32_t c[4], const uint32_t k[2])
{
    uint64_t first = (uint64_t)0xD2511F53u * c[0], second = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(second >> 32) ^ c1 ^ k[0];
    c[1] = (uint32_t)second;
    c[2] = (uint32_t)(first >> 32) ^ c3 ^ k[1];
    c[3] = (uint32_t)first;
}

SP_HD static inline void sp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 4; i++)
        out[i] = counter[i];
    for (int round = 0; round < 10; round++) {
        sp_philox_round(out, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

/* Four words of the block (a, b) under key (seed, purpose). */
SP_HD static inline void sp_philox_block(uint64_t seed, uint32_t purpose, uint64_t a, uint32_t b, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)a, (uint32_t)(a >> 32), b, purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    sp_philox(counter, key, out);
}

#endif
