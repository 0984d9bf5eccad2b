/*
 * shortcut.h - the residual addition y = x + z, where z may have fewer channels (the others get nothing) and be larger
 * by a stride (every stride-th pixel is added).
 */
#ifndef EXEC_MATH_SHORTCUT_H
#define EXEC_MATH_SHORTCUT_H

#include "exec/math/math.h"

#include <stddef.h>

/* Shapes (C, H, W) of y and of z, and the stride. */
struct exec_shortcut {
    int C, H, W, c, h, w, stride;
};

/* Element of z that is added to element i of y, both counted through all samples; -1: none. */
SP_HD static inline long long exec_shortcut_from(struct exec_shortcut s, long long i)
{
    long long q = i % s.W, p = i / s.W % s.H, c = i / s.W / s.H % s.C, n = i / s.W / s.H / s.C;
    return c < s.c ? ((n * s.c + c) * s.h + p * s.stride) * s.w + q * s.stride : -1;
}

/* Element of y to which element i of z is added; -1: none. */
SP_HD static inline long long exec_shortcut_to(struct exec_shortcut s, long long i)
{
    long long q = i % s.w, p = i / s.w % s.h, c = i / s.w / s.h % s.c, n = i / s.w / s.h / s.c;
    if (q % s.stride != 0 || p % s.stride != 0 || q / s.stride >= s.W || p / s.stride >= s.H || c >= s.C)
        return -1;
    return ((n * s.C + c) * s.H + p / s.stride) * s.W + q / s.stride;
}

#endif
