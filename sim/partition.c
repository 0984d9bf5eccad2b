#include "sim/partition.h"
#include "common/alloc.h"

#include <math.h>
#include <stdlib.h>

/* One of the best ways to come to a state with a number of stages. */
struct way {
    double bottleneck_s, squares;
    int from, rank; /* the state before the last stage, and which of its ways */
};

struct table {
    const struct sim_partition_problem *problem;
    int limit;
    struct way *ways; /* [(stages * state_count + state) * limit] */
    int *count;       /* [stages * state_count + state] */
};

static bool contains(const struct sim_partition_problem *p, int large, int small)
{
    if (p->sets == NULL)
        return small < large;
    const uint64_t *l = p->sets + (int64_t)large * p->words, *s = p->sets + (int64_t)small * p->words;
    for (int w = 0; w < p->words; w++)
        if ((s[w] & ~l[w]) != 0)
            return false;
    return small != large;
}

/* Seconds of the busiest device of the stage between two states. */
static double stage_s(const struct sim_partition_problem *p, int from, int to)
{
    double forward = p->forward_s[to] - p->forward_s[from] + p->forward_stage_s;
    double backward = p->backward_s[to] - p->backward_s[from] + p->backward_stage_s;
    double blocked =
        p->block_s != NULL ? (from > 0 ? p->block_s[from] : 0) + (to < p->state_count - 1 ? p->block_s[to] : 0) : 0;
    return blocked + (p->split && to < p->state_count - 1 ? fmax(forward, backward) : forward + backward);
}

static bool better(const struct way *a, const struct way *b)
{
    return a->bottleneck_s < b->bottleneck_s || (a->bottleneck_s == b->bottleneck_s && a->squares < b->squares);
}

/* Keeps a way among the best of its cell, in order. */
static void keep(struct table *table, int64_t cell, const struct way *way)
{
    struct way *ways = table->ways + cell * table->limit;
    int *count = &table->count[cell];
    if (*count == table->limit && !better(way, &ways[*count - 1]))
        return;
    int at = *count < table->limit ? (*count)++ : *count - 1;
    while (at > 0 && better(way, &ways[at - 1])) {
        ways[at] = ways[at - 1];
        at--;
    }
    ways[at] = *way;
}

/* All ways to state `to` in `stages` stages. In a line the last stage only grows as it begins earlier, so the search
 * ends when that stage alone is worse than all that is kept. */
static void fill_cell(struct table *table, int stages, int to)
{
    const struct sim_partition_problem *p = table->problem;
    bool grows = p->sets == NULL && p->block_s == NULL;
    int64_t cell = (int64_t)stages * p->state_count + to;
    const struct way *worst = table->ways + cell * table->limit + table->limit - 1;
    for (int from = to - 1; from >= 0; from--) {
        double last = stage_s(p, from, to);
        bool full = table->count[cell] == table->limit;
        if (full && last > worst->bottleneck_s) {
            if (grows)
                break;
            continue;
        }
        int64_t before = (int64_t)(stages - 1) * p->state_count + from;
        if (table->count[before] == 0 || !contains(p, to, from))
            continue;
        double floor_s = from > 0 ? fmax(last, p->link_s[from]) : last;
        for (int r = 0; r < table->count[before]; r++) {
            const struct way *first = table->ways + before * table->limit + r;
            struct way way = {fmax(first->bottleneck_s, floor_s), first->squares + last * last, from, r};
            if (table->count[cell] == table->limit && way.bottleneck_s > worst->bottleneck_s)
                break;
            keep(table, cell, &way);
        }
    }
}

static void extract(const struct table *table, int stages, int rank, struct sim_partition *out)
{
    int states = table->problem->state_count, state = states - 1;
    out->states = sp_calloc((size_t)stages, sizeof *out->states);
    for (int s = stages; s >= 1; s--) {
        const struct way *way = table->ways + ((int64_t)s * states + state) * table->limit + rank;
        if (s == stages)
            out->bottleneck_s = way->bottleneck_s;
        state = way->from;
        rank = way->rank;
        if (s > 1)
            out->states[s - 2] = state;
    }
}

void sim_partition_solve(const struct sim_partition_problem *problem, int stage_count, int limit,
                         struct sim_partitions *out)
{
    int64_t cells = (int64_t)(stage_count + 1) * problem->state_count;
    struct table table = {problem, limit, sp_calloc((size_t)(cells * limit), sizeof(struct way)),
                          sp_calloc((size_t)cells, sizeof(int))};
    table.count[0] = 1; /* nothing, in no stages */
    for (int s = 1; s <= stage_count; s++)
        for (int to = 1; to < problem->state_count; to++)
            fill_cell(&table, s, to);
    out->stage_count = stage_count;
    out->of = sp_calloc((size_t)stage_count + 1, sizeof *out->of);
    out->count = sp_calloc((size_t)stage_count + 1, sizeof *out->count);
    for (int s = 1; s <= stage_count; s++) {
        out->count[s] = table.count[(int64_t)s * problem->state_count + problem->state_count - 1];
        out->of[s] = sp_calloc((size_t)out->count[s] + 1, sizeof *out->of[s]);
        for (int r = 0; r < out->count[s]; r++)
            extract(&table, s, r, &out->of[s][r]);
    }
    free(table.ways);
    free(table.count);
}

void sim_partitions_fini(struct sim_partitions *partitions)
{
    for (int s = 1; s <= partitions->stage_count; s++) {
        for (int r = 0; r < partitions->count[s]; r++)
            free(partitions->of[s][r].states);
        free(partitions->of[s]);
    }
    free(partitions->of);
    free(partitions->count);
    *partitions = (struct sim_partitions){0};
}
