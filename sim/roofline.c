#include "sim/roofline.h"

#include "common/alloc.h"

#include <gsl/gsl_blas.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_multifit_nlinear.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>

#include <math.h>
#include <stdlib.h>

/* What is fitted, all as logarithms or exponents. */
enum { PEAK, POSITIONS, INPUTS, OUTPUTS, BANDWIDTH, LAUNCH, UNKNOWNS };

/* Every fourth shape is held out. */
enum { FOLDS = 4 };

/* The points of one kind and pass. */
struct kind_fit {
    const struct sim_roofline_point **points;
    int count;
    double expected[UNKNOWNS]; /* before anything was measured */
};

/* How far from `expected` an unknown may well be; seconds may well be off by NOISE. */
static const double deviation[UNKNOWNS] = {2, 0.4, 0.4, 0.4, 1, 1};
static const double NOISE = 0.1;

static bool is_dense(enum sp_layer_type type)
{
    return type == SP_LAYER_CONVOLUTION || type == SP_LAYER_FULLY_CONNECTED;
}

struct sim_layer_work sim_layer_work(const struct sp_network *network, int layer, int batch, bool backward)
{
    const struct sp_layer *l = &network->layers[layer];
    double in = (double)sp_shape_elements(l->in), out = (double)sp_shape_elements(l->out);
    double parameters = (double)(l->parameters[0] + l->parameters[1]), window = l->settings.kernel;
    bool wants_input = l->inputs[0] != 0;
    double tensors = in * l->input_count + out;
    struct sim_layer_work w = {.type = l->type, .backward = backward};
    window = window > 0 ? window * window : 1;
    if (backward) /* the gradients beside the values; a dense layer reads its output's gradient twice */
        tensors = is_dense(l->type) ? in + (wants_input ? in + 2 * out : out) : 2 * in * l->input_count + out;
    w.bytes = 4 * (batch * tensors + parameters * (backward && wants_input ? 2 : 1));
    w.outputs = l->out.c;
    if (is_dense(l->type)) {
        double flops =
            backward ? l->backward_weight_flops + (wants_input ? l->backward_input_flops : 0) : l->forward_flops;
        w.work = batch * flops;
        w.positions = (double)batch * l->out.h * l->out.w;
        w.inputs = l->type == SP_LAYER_CONVOLUTION ? window * l->in.c : in;
    } else {
        w.work = w.bytes;
        w.positions = w.bytes / 1000;
        w.inputs = window;
    }
    return w;
}

static double log_rate(const double *u, const struct sim_layer_work *w)
{
    return u[PEAK] + u[POSITIONS] * log(w->positions / 1000) + u[INPUTS] * log(w->inputs / 100) +
           u[OUTPUTS] * log(w->outputs / 32);
}

static double seconds_of(const double *u, const struct sim_layer_work *w)
{
    double computing = w->work / exp(log_rate(u, w)), moving = is_dense(w->type) ? w->bytes / exp(u[BANDWIDTH]) : 0,
           longer = fmax(computing, moving);
    return exp(u[LAUNCH]) + longer * pow(pow(computing / longer, 4) + pow(moving / longer, 4), 0.25);
}

const struct sim_roofline_row *sim_roofline_find(const struct sim_roofline *fit, enum sp_layer_type type, bool backward)
{
    for (int r = 0; r < fit->count; r++)
        if (fit->rows[r].type == type && fit->rows[r].backward == backward)
            return &fit->rows[r];
    return NULL;
}

static void unknowns_of(const struct sim_roofline_row *row, double u[UNKNOWNS])
{
    u[PEAK] = log(row->peak);
    u[POSITIONS] = row->positions;
    u[INPUTS] = row->inputs;
    u[OUTPUTS] = row->outputs;
    u[BANDWIDTH] = log(row->bandwidth_bytes_per_s);
    u[LAUNCH] = log(row->launch_s);
}

double sim_roofline_seconds(const struct sim_roofline_row *row, const struct sim_layer_work *work)
{
    double u[UNKNOWNS];
    unknowns_of(row, u);
    return seconds_of(u, work);
}

/* Residuals: of every point, and of every unknown from what was expected of it. */
static int residuals(const gsl_vector *x, void *self, gsl_vector *f)
{
    const struct kind_fit *fit = self;
    double u[UNKNOWNS];
    for (int k = 0; k < UNKNOWNS; k++) {
        u[k] = gsl_vector_get(x, (size_t)k);
        gsl_vector_set(f, (size_t)(fit->count + k), (u[k] - fit->expected[k]) / deviation[k]);
    }
    for (int p = 0; p < fit->count; p++)
        gsl_vector_set(f, (size_t)p, log(seconds_of(u, &fit->points[p]->work) / fit->points[p]->seconds) / NOISE);
    return GSL_SUCCESS;
}

/* False: there is no fit. One that has stopped getting better is as good as it gets. */
static bool solve(struct kind_fit *kind, double u[UNKNOWNS])
{
    gsl_multifit_nlinear_parameters parameters = gsl_multifit_nlinear_default_parameters();
    size_t n = (size_t)kind->count + UNKNOWNS;
    gsl_multifit_nlinear_workspace *work =
        gsl_multifit_nlinear_alloc(gsl_multifit_nlinear_trust, &parameters, n, UNKNOWNS);
    gsl_multifit_nlinear_fdf system = {.f = residuals, .n = n, .p = UNKNOWNS, .params = kind};
    gsl_vector_view start = gsl_vector_view_array(kind->expected, UNKNOWNS);
    int why, status = work != NULL ? gsl_multifit_nlinear_init(&start.vector, &system, work) : GSL_ENOMEM;
    if (status == GSL_SUCCESS)
        status = gsl_multifit_nlinear_driver(200, 1e-8, 1e-8, 0, NULL, NULL, &why, work);
    bool fits =
        (status == GSL_SUCCESS || status == GSL_EMAXITER || status == GSL_ENOPROG) && isfinite(gsl_blas_dnrm2(work->f));
    for (int k = 0; k < UNKNOWNS && fits; k++) {
        u[k] = gsl_vector_get(work->x, (size_t)k);
        fits = isfinite(u[k]);
    }
    gsl_multifit_nlinear_free(work);
    return fits;
}

static double quantile(double *values, int count, double share)
{
    gsl_sort(values, 1, (size_t)count);
    return gsl_stats_quantile_from_sorted_data(values, 1, (size_t)count, share);
}

static double error_at(const double *u, const struct sim_roofline_point *point)
{
    return fabs(seconds_of(u, &point->work) / point->seconds - 1);
}

static bool is_of(const struct sim_roofline_point *point, enum sp_layer_type type, bool backward)
{
    return point->work.type == type && point->work.backward == backward && point->seconds > 0;
}

static bool same_shape(const struct sim_layer_work *a, const struct sim_layer_work *b)
{
    double per_a = a->work / a->positions, per_b = b->work / b->positions;
    return a->inputs == b->inputs && a->outputs == b->outputs && fabs(per_a - per_b) < 1e-9 * per_a;
}

/* Shapes of one kind, numbered in order of appearance; the caller frees. */
static int *shapes_of(const struct kind_fit *kind)
{
    int *shapes = sp_calloc((size_t)kind->count, sizeof *shapes), next = 0;
    for (int p = 0; p < kind->count; p++) {
        int q = 0;
        while (q < p && !same_shape(&kind->points[q]->work, &kind->points[p]->work))
            q++;
        shapes[p] = q < p ? shapes[q] : next++;
    }
    return shapes;
}

/* Errors of what was held out, and the seconds that each stands for. */
struct held {
    double *errors, *seconds;
    int count;
};

/* The error below which `share` of the seconds lies: what takes no time may be as wrong as it likes. */
static double held_quantile(const struct held *held, double share)
{
    size_t *order = sp_calloc((size_t)held->count + 1, sizeof *order), at = 0;
    double all = 0, sum = 0;
    for (int h = 0; h < held->count; h++)
        all += held->seconds[h];
    gsl_sort_index(order, held->errors, 1, (size_t)held->count);
    for (int h = 0; h < held->count && sum < share * all; h++) {
        at = order[h];
        sum += held->seconds[at];
    }
    free(order);
    return held->count > 0 ? held->errors[at] : 0;
}

/* Holds every fourth shape out, beginning with the second, fits the rest, and adds the errors there. */
static void hold_out(const struct kind_fit *all, struct held *out)
{
    struct kind_fit part = *all;
    double u[UNKNOWNS];
    bool *held = sp_calloc((size_t)all->count, sizeof *held);
    int *shapes = shapes_of(all);
    part.points = sp_calloc((size_t)all->count, sizeof *part.points);
    part.count = 0;
    for (int p = 0; p < all->count; p++) {
        held[p] = shapes[p] % FOLDS == 1;
        if (!held[p])
            part.points[part.count++] = all->points[p];
    }
    bool fits = part.count < all->count && solve(&part, u);
    for (int p = 0; p < all->count; p++)
        if (held[p]) { /* without a fit nothing is right */
            *(double *)sp_grow((void **)&out->errors, out->count, sizeof(double)) =
                fits ? error_at(u, all->points[p]) : 1;
            *(double *)sp_grow((void **)&out->seconds, out->count, sizeof(double)) = all->points[p]->seconds;
            out->count++;
        }
    free(part.points);
    free(shapes);
    free(held);
}

/* Adds a kind's row, unless it cannot be fitted. */
static void add_row(const struct kind_fit *kind, enum sp_layer_type type, bool backward, struct sim_roofline *out)
{
    double u[UNKNOWNS], *errors;
    struct sim_roofline_row row = {.type = type, .backward = backward, .points = kind->count, .least = INFINITY};
    struct kind_fit copy = *kind;
    if (!solve(&copy, u))
        return;
    errors = sp_calloc((size_t)kind->count, sizeof *errors);
    for (int p = 0; p < kind->count; p++) {
        errors[p] = error_at(u, kind->points[p]);
        row.least = fmin(row.least, kind->points[p]->work.work);
        row.most = fmax(row.most, kind->points[p]->work.work);
    }
    row.peak = exp(u[PEAK]);
    row.positions = u[POSITIONS];
    row.inputs = u[INPUTS];
    row.outputs = u[OUTPUTS];
    row.bandwidth_bytes_per_s = exp(u[BANDWIDTH]);
    row.launch_s = exp(u[LAUNCH]);
    row.residual = quantile(errors, kind->count, 0.5);
    free(errors);
    *(struct sim_roofline_row *)sp_grow((void **)&out->rows, out->count, sizeof *out->rows) = row;
    out->count++;
}

void sim_roofline_fit(const struct sim_roofline_point *points, int count, double flops, double bytes_per_s,
                      struct sim_roofline *out)
{
    struct held held = {0};
    struct kind_fit kind = {.points = sp_calloc((size_t)count + 1, sizeof *kind.points)};
    *out = (struct sim_roofline){0};
    for (int k = 0; k < 2 * SP_LAYER_TYPE_COUNT; k++) {
        enum sp_layer_type type = (enum sp_layer_type)(k / 2);
        double before[UNKNOWNS] = {[PEAK] = log(is_dense(type) ? flops / 2 : bytes_per_s),
                                   [BANDWIDTH] = log(bytes_per_s),
                                   [LAUNCH] = log(3e-6)};
        kind.count = 0;
        for (int u = 0; u < UNKNOWNS; u++)
            kind.expected[u] = before[u];
        for (int p = 0; p < count; p++)
            if (is_of(&points[p], type, k % 2))
                kind.points[kind.count++] = &points[p];
        if (kind.count == 0)
            continue;
        hold_out(&kind, &held);
        add_row(&kind, type, k % 2, out);
    }
    out->held_points = held.count;
    out->held_median = held_quantile(&held, 0.5);
    out->held_ninth = held_quantile(&held, 0.9);
    free(held.errors);
    free(held.seconds);
    free(kind.points);
}

void sim_roofline_fini(struct sim_roofline *fit)
{
    free(fit->rows);
    *fit = (struct sim_roofline){0};
}
