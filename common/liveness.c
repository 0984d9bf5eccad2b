#include "common/liveness.h"
#include "common/alloc.h"
#include "common/memory.h"

#include <stdlib.h>

/* The lowest offset at which `one` collides with none of the placed. Grows past one blocker at a time. */
static size_t lowest_free(const struct sp_interval *one, struct sp_interval *const *placed, int count)
{
    size_t offset = 0;
    bool moved = true;
    while (moved) {
        moved = false;
        for (int p = 0; p < count; p++) {
            const struct sp_interval *other = placed[p];
            bool together = one->first <= other->last && other->first <= one->last;
            if (together && offset < other->offset + other->bytes && other->offset < offset + one->bytes) {
                offset = sp_memory_align(other->offset + other->bytes);
                moved = true;
            }
        }
    }
    return offset;
}

/* Larger first; of equals the one that stands first, so that the result is the same everywhere. */
static int by_size(const void *a, const void *b)
{
    const struct sp_interval *x = *(struct sp_interval *const *)a, *y = *(struct sp_interval *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

size_t sp_liveness_assign(struct sp_interval *intervals, int count)
{
    struct sp_interval **order = sp_calloc((size_t)count + 1, sizeof *order);
    for (int i = 0; i < count; i++)
        order[i] = &intervals[i];
    qsort(order, (size_t)count, sizeof *order, by_size);
    size_t end = 0;
    for (int i = 0; i < count; i++) {
        order[i]->offset = lowest_free(order[i], order, i);
        if (order[i]->bytes > 0 && order[i]->offset + order[i]->bytes > end)
            end = order[i]->offset + order[i]->bytes;
    }
    free(order);
    return sp_memory_align(end);
}
