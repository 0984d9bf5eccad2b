/*
 * round.h - what the libraries' loops share: results blended into what is there, TF32, workspaces.
 */
#ifndef CUDASIM_ROUND_H
#define CUDASIM_ROUND_H

#include <stdint.h>
#include <string.h>

/* alpha * value + beta * *old; beta 0: the old value is not read, and may be NaN. */
static inline float cudasim_blend(float alpha, double value, float beta, const float *old)
{
    return (float)(beta == 0 ? alpha * value : alpha * value + (double)beta * *old);
}

/* To the nearest number with 10 bits of mantissa, ties away from zero. */
static inline float cudasim_tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) != 0x7f800000u)
        bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* A workspace holds nothing that lasts. */
static inline void cudasim_overwrite(void *workspace, size_t bytes)
{
    if (bytes > 0)
        memset(workspace, 0xfe, bytes);
}

#endif
