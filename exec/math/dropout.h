/*
 * dropout.h - which elements dropout keeps: by word `index % 4` of the Philox block `index / 4` of (sequence, layer).
 */
#ifndef EXEC_MATH_DROPOUT_H
#define EXEC_MATH_DROPOUT_H

#include "exec/math/math.h"

SP_HD static inline int exec_dropout_keeps(unsigned int word, float rate)
{
    return (float)(word >> 8) * 0x1p-24f >= rate;
}

#endif
