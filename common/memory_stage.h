/*
 * memory_stage.h - the memory plan's part for one stage. Internal to common/memory*.c.
 */
#ifndef SP_MEMORY_STAGE_H
#define SP_MEMORY_STAGE_H

#include "common/memory.h"

static inline size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Room behind what is used already: its offset. */
static inline size_t take(size_t *used, size_t bytes)
{
    size_t offset = *used;
    *used += sp_memory_align(bytes);
    return offset;
}

static inline bool contains(const int *tensors, int count, int tensor)
{
    for (int i = 0; i < count; i++)
        if (tensors[i] == tensor)
            return true;
    return false;
}

/* Fills *out, which is all zero. maker[tensor]: the stage that makes it. Stages before this one are filled already and
 * lie before *out in one array. */
void sp_memory_lay_out_stage(const struct sp_plan *plan, const struct sp_footprint *footprint, int phase, int stage,
                             const int *maker, struct sp_stage_memory *out);

#endif
