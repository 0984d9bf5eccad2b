/*
 * liveness.h - offsets for things that are alive at different times.
 */
#ifndef SP_LIVENESS_H
#define SP_LIVENESS_H

#include <stddef.h>

struct sp_interval {
    int first, last; /* steps at which it is alive, inclusive */
    size_t bytes;
    size_t offset; /* the result */
};

/* Gives each interval an offset (a multiple of SP_MEMORY_ALIGN) so that two overlap only if never alive together.
 * Largest first, each at the lowest place that is free for all its life. Returns the bytes needed for all. */
size_t sp_liveness_assign(struct sp_interval *intervals, int count);

#endif
