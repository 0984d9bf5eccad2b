/*
 * What fits into memory, without a search. In a line a stage holds the less the later it begins, so of all ways to
 * reach a state the one whose last stage begins latest tells whether there is any. Sums of bytes are whole numbers, so
 * the least limit that something fits into is found by halving.
 */
#include "common/alloc.h"
#include "sim/partition.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double sim_partition_bytes(const struct sim_partition_problem *p, int from, int to, int stage)
{
    const struct sim_partition_memory *m = p->memory;
    return m->held[to] - m->held[from] + (m->versions[stage] - 1) * (m->version[to] - m->version[from]) +
           (m->slot != NULL ? m->in_flight[stage] * (m->slot[to] - m->slot[from]) : 0);
}

/* begin[stage * state_count + state]: where the stage begins latest that ends there; -1: none does. */
static bool line_fits(const struct sim_partition_problem *p, int stages, double limit, int *begin)
{
    for (int i = 0; i < stages; i++) {
        int *here = begin + (int64_t)i * p->state_count, from = i == 0 ? 0 : -1;
        const int *before = here - p->state_count;
        for (int to = 0; to < p->state_count; to++) {
            here[to] = from >= 0 && from < to && sim_partition_bytes(p, from, to, i) <= limit ? from : -1;
            if (i > 0 && before[to] >= 0)
                from = to;
        }
    }
    return begin[(int64_t)stages * p->state_count - 1] >= 0;
}

/* The bytes of the fullest stage of what fits. */
static double trace_line(const struct sim_partition_problem *p, int stages, const int *begin, int *states)
{
    double most = 0;
    int to = p->state_count - 1;
    for (int i = stages - 1; i >= 0; i--) {
        int from = begin[(int64_t)i * p->state_count + to];
        most = fmax(most, sim_partition_bytes(p, from, to, i));
        if (i > 0)
            states[i - 1] = from;
        to = from;
    }
    return most;
}

static bool leanest_of_line(const struct sim_partition_problem *p, int stages, double limit, int *states, double *bytes)
{
    int *begin = sp_calloc((size_t)stages * (size_t)p->state_count, sizeof *begin);
    bool found = line_fits(p, stages, limit, begin);
    double too_little = -1;
    if (found)
        *bytes = trace_line(p, stages, begin, states);
    while (found && *bytes - too_little > 1) {
        double half = floor((too_little + *bytes) / 2);
        if (line_fits(p, stages, half, begin))
            *bytes = trace_line(p, stages, begin, states);
        else
            too_little = half;
    }
    free(begin);
    return found;
}

bool sim_partition_fits(const struct sim_partition_problem *problem, int stages)
{
    if (problem->sets != NULL)
        return true;
    int *begin = sp_calloc((size_t)stages * (size_t)problem->state_count, sizeof *begin);
    bool fits = line_fits(problem, stages, problem->memory_limit, begin);
    free(begin);
    return fits;
}

bool sim_partition_leanest(const struct sim_partition_problem *problem, int stages, double limit, int *states,
                           double *bytes)
{
    if (problem->sets == NULL)
        return leanest_of_line(problem, stages, limit, states, bytes);
    struct sim_partition_problem by_memory = *problem;
    by_memory.by_memory = true;
    struct sim_rest *rest = sim_rest_create(&by_memory, stages);
    struct sim_cuts *cuts = sim_cuts_create(rest, stages);
    bool found = sim_cuts_bound(cuts) <= limit && sim_cuts_next(cuts, states, bytes);
    sim_cuts_destroy(&cuts);
    sim_rest_destroy(&rest);
    return found;
}
