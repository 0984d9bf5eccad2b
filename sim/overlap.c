#include "sim/overlap.h"

#include "common/alloc.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { C = SIM_CLASS_COUNT };

/* How far logarithms of factors may well lie apart: classes from the mean of all, pairs from the mean of their class.
 */
static const double DEVIATION = 0.1;

/* A pass that took this many times its median was interrupted. */
static const double INTERRUPTED = 3;

void sim_overlaps_add(struct sim_overlaps *overlaps, const struct sim_activity *a, int a_count,
                      const struct sim_activity *b, int b_count)
{
    int first = 0;
    for (int i = 0; i < a_count; i++) {
        struct sim_overlap seen = {
            .item = overlaps->items + a[i].item, .kind = a[i].kind, .seconds = a[i].end_s - a[i].start_s};
        while (first < b_count && b[first].end_s <= a[i].start_s)
            first++;
        for (int j = first; j < b_count && b[j].start_s < a[i].end_s; j++)
            seen.beside[b[j].kind] += fmin(a[i].end_s, b[j].end_s) - fmax(a[i].start_s, b[j].start_s);
        if (seen.seconds <= 0)
            continue;
        for (int c = 0; c < C; c++)
            seen.beside[c] /= seen.seconds;
        *(struct sim_overlap *)sp_grow((void **)&overlaps->list, overlaps->count, sizeof seen) = seen;
        overlaps->count++;
    }
}

void sim_overlaps_close_run(struct sim_overlaps *overlaps, int items)
{
    overlaps->items += items;
}

void sim_overlaps_fini(struct sim_overlaps *overlaps)
{
    free(overlaps->list);
    *overlaps = (struct sim_overlaps){0};
}

/* An observation with its item's mean taken away: log seconds y, shares x. */
struct row {
    double weight, y, x[C];
};

struct rows {
    struct row *list;
    int count;
};

static double median(double *values, int count)
{
    gsl_sort(values, 1, (size_t)count);
    return gsl_stats_median_from_sorted_data(values, 1, (size_t)count);
}

static int by_item(const void *a, const void *b)
{
    const struct sim_overlap *p = *(struct sim_overlap *const *)a, *q = *(struct sim_overlap *const *)b;
    return p->item != q->item ? (p->item > q->item) - (p->item < q->item) : (p > q) - (p < q);
}

/*
 * A pass of length s alone takes d = s / (1 - sum of share * e / (1 + e)), whose logarithm is no line in the shares. By
 * this factor it differs from log s + sum of share * log(1 + e), when the excesses are `e`.
 */
static double bend(const struct sim_overlap *seen, const double e[C])
{
    double done = 1, line = 0;
    for (int c = 0; c < C; c++) {
        done -= seen->beside[c] * e[c] / (1 + e[c]);
        line += seen->beside[c] * log1p(e[c]);
    }
    return line > 1e-6 ? -log(done) / line : 1;
}

/* Adds one item's observations to its class, whose excesses are about `e`. */
static void add_item(const struct sim_overlap *const *seen, int count, const double e[C], struct rows *rows)
{
    double *seconds = sp_calloc((size_t)count, sizeof *seconds), mean_y = 0, mean_x[C] = {0};
    int kept = 0;
    for (int i = 0; i < count; i++)
        seconds[i] = seen[i]->seconds;
    double middle = median(seconds, count);
    free(seconds);
    for (int i = 0; i < count; i++)
        if (seen[i]->seconds < INTERRUPTED * middle) {
            kept++;
            mean_y += log(seen[i]->seconds);
            for (int c = 0; c < C; c++)
                mean_x[c] += seen[i]->beside[c] * bend(seen[i], e);
        }
    for (int i = 0; i < count; i++)
        if (seen[i]->seconds < INTERRUPTED * middle) {
            struct row row = {.weight = middle, .y = log(seen[i]->seconds) - mean_y / kept};
            for (int c = 0; c < C; c++)
                row.x[c] = seen[i]->beside[c] * bend(seen[i], e) - mean_x[c] / kept;
            *(struct row *)sp_grow((void **)&rows->list, rows->count, sizeof row) = row;
            rows->count++;
        }
}

static void sort_out(const struct sim_overlaps *overlaps, double slowdown[C][C], struct rows rows[C])
{
    const struct sim_overlap **order = sp_calloc((size_t)overlaps->count + 1, sizeof *order);
    for (int i = 0; i < overlaps->count; i++)
        order[i] = &overlaps->list[i];
    qsort(order, (size_t)overlaps->count, sizeof *order, by_item);
    for (int from = 0, end; from < overlaps->count; from = end) {
        for (end = from + 1; end < overlaps->count && order[end]->item == order[from]->item;)
            end++;
        add_item(order + from, end - from, slowdown[order[from]->kind], &rows[order[from]->kind]);
    }
    free(order);
    for (int c = 0; c < C; c++) { /* weights of mean 1, so that variances are those of a pass */
        double sum = 0;
        for (int r = 0; r < rows[c].count; r++)
            sum += rows[c].list[r].weight;
        for (int r = 0; r < rows[c].count; r++)
            rows[c].list[r].weight *= rows[c].count / sum;
    }
}

static double any(const struct row *row)
{
    double sum = 0;
    for (int c = 0; c < C; c++)
        sum += row->x[c];
    return sum;
}

static double variance(const struct rows *rows, double slope)
{
    double sum = 0;
    for (int r = 0; r < rows->count; r++)
        sum += rows->list[r].weight * pow(rows->list[r].y - slope * any(&rows->list[r]), 2);
    return rows->count > 0 ? sum / rows->count : 0;
}

/* One factor for whatever is beside, drawn towards `expected`. */
static double slope_of(const struct rows *rows, int count, double expected, double strength)
{
    double xx = strength, xy = strength * expected;
    for (int c = 0; c < count; c++)
        for (int r = 0; r < rows[c].count; r++) {
            const struct row *row = &rows[c].list[r];
            xx += row->weight * any(row) * any(row);
            xy += row->weight * any(row) * row->y;
        }
    return xx > 0 ? xy / xx : 0;
}

/* Factors of one class beside each, drawn towards `expected`. */
static void slopes_of(const struct rows *rows, double expected, double strength, double out[C])
{
    gsl_matrix *xx = gsl_matrix_calloc(C, C);
    gsl_vector *xy = gsl_vector_calloc(C), *solution = gsl_vector_calloc(C);
    for (int c = 0; c < C; c++)
        gsl_matrix_set(xx, (size_t)c, (size_t)c, strength);
    for (int r = 0; r < rows->count; r++) {
        const struct row *row = &rows->list[r];
        double rest = row->y - expected * any(row);
        for (size_t c = 0; c < C; c++) {
            *gsl_vector_ptr(xy, c) += row->weight * row->x[c] * rest;
            for (size_t d = 0; d < C; d++)
                *gsl_matrix_ptr(xx, c, d) += row->weight * row->x[c] * row->x[d];
        }
    }
    bool solved =
        gsl_linalg_cholesky_decomp1(xx) == GSL_SUCCESS && gsl_linalg_cholesky_solve(xx, xy, solution) == GSL_SUCCESS;
    for (int c = 0; c < C; c++)
        out[c] = expected + (solved ? gsl_vector_get(solution, (size_t)c) : 0);
    gsl_matrix_free(xx);
    gsl_vector_free(xy);
    gsl_vector_free(solution);
}

/* One step: from excesses that are about right to better ones. */
static void improve(const struct sim_overlaps *overlaps, double slowdown[C][C])
{
    struct rows rows[C] = {{0}};
    sort_out(overlaps, slowdown, rows);
    double all = slope_of(rows, C, 0, 1e-9);
    for (int a = 0; a < C; a++) {
        double pair[C], strength = variance(&rows[a], all) / (DEVIATION * DEVIATION) + 1e-9;
        double expected = slope_of(&rows[a], 1, all, strength);
        slopes_of(&rows[a], expected, strength, pair);
        for (int b = 0; b < C; b++)
            slowdown[a][b] = fmax(0, expm1(pair[b]));
        free(rows[a].list);
    }
}

void sim_overlaps_fit(const struct sim_overlaps *overlaps, double slowdown[SIM_CLASS_COUNT][SIM_CLASS_COUNT])
{
    enum { STEPS = 4 };
    memset(slowdown, 0, sizeof(double[C][C]));
    for (int s = 0; s < STEPS; s++)
        improve(overlaps, slowdown);
}
