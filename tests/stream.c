#include "tests/stream.h"
#include "common/alloc.h"
#include "common/random.h"

#include <stdlib.h>

int64_t stream_sample(const struct exec_loader_config *config, int64_t position)
{
    int64_t n = config->set->samples[EXEC_TRAIN], at = position % n;
    int64_t *order = sp_alloc((size_t)n * sizeof *order);
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t other = (int64_t)sp_random_below(config->seed, SP_RANDOM_SHUFFLE, (uint64_t)(position / n), (uint32_t)i,
                                                 (uint64_t)i + 1);
        int64_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    int64_t sample = order[at];
    free(order);
    return sample;
}
