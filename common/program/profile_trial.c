/*
 * One trial of `profile`: the experiment with another minibatch, cuts and schedule, trained a little.
 */
#include "common/alloc.h"
#include "common/program/profile.h"
#include "exec/probe.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_fit.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVALUATIONS = 4, ATTEMPTS = 3, LEAST = 3, MOST = 24 };

/* Other programs that keep more than this of a core busy disturb. */
static const double DISTURBED = 0.1;
static const double INTERRUPTED = 3;

void samples_add(struct samples *samples, double value)
{
    *(double *)sp_grow((void **)&samples->values, samples->count, sizeof value) = value;
    samples->count++;
}

void samples_fini(struct samples *samples)
{
    free(samples->values);
    *samples = (struct samples){0};
}

void samples_clear(struct samples *samples)
{
    samples_fini(samples);
}

double samples_quantile(const struct samples *samples, double share)
{
    size_t count = (size_t)samples->count;
    if (count == 0)
        return 0;
    double *sorted = sp_alloc(count * sizeof *sorted);
    memcpy(sorted, samples->values, count * sizeof *sorted);
    gsl_sort(sorted, 1, count);
    double value = gsl_stats_quantile_from_sorted_data(sorted, 1, count, share);
    free(sorted);
    return value;
}

double samples_median(const struct samples *samples)
{
    return samples_quantile(samples, 0.5);
}

double samples_mean(const struct samples *samples)
{
    double middle = samples_median(samples), sum = 0;
    int count = 0;
    for (int s = 0; s < samples->count; s++)
        if (samples->values[s] <= INTERRUPTED * middle) {
            sum += samples->values[s];
            count++;
        }
    return count > 0 ? sum / count : 0;
}

double samples_spread(const struct samples *samples)
{
    struct samples distances = {0};
    double middle = samples_median(samples);
    for (int s = 0; s < samples->count; s++)
        samples_add(&distances, fabs(samples->values[s] - middle));
    double spread = middle > 0 ? samples_median(&distances) / middle : 0;
    samples_fini(&distances);
    return spread;
}

double samples_deviation(const struct samples *samples)
{
    return 1.4826 * samples_spread(samples);
}

void profile_line(const double *x, const double *y, int count, double steepest, double *constant, double *slope)
{
    double c00, c01, c11, residual;
    size_t n = (size_t)count;
    *constant = *slope = 0;
    if (n == 0)
        return;
    if (gsl_stats_max(x, 1, n) > gsl_stats_min(x, 1, n)) {
        gsl_fit_linear(x, 1, y, 1, n, constant, slope, &c00, &c01, &c11, &residual);
        if (*constant < 0)
            gsl_fit_mul(x, 1, y, 1, n, slope, &c11, &residual);
    }
    *slope = fmin(fmax(0, *slope), steepest);
    *constant = fmax(0, gsl_stats_mean(y, 1, n) - *slope * gsl_stats_mean(x, 1, n));
}

int profile_minibatches(double step_s)
{
    double wanted = step_s > 0 ? 0.4 / step_s : LEAST;
    return wanted < LEAST ? LEAST : wanted > MOST ? MOST : (int)wanted;
}

/* The experiment as the trial wants it; strings are borrowed. */
static void adapt(const struct profiling *p, const struct profile_trial *trial, struct sp_phase_spec *turns,
                  struct sp_experiment *e)
{
    const struct sp_network *network = p->setup->network;
    int all = trial->minibatches + trial->warm;
    for (int t = 0; t < 2 * trial->turns; t++)
        turns[t] = (struct sp_phase_spec){.schedule = t % 2 == 0 ? "stale" : "sequential", .iterations = all};
    if (trial->evaluate || !p->has_data) {
        e->data.set = "synthetic";
        e->data.shape = network->shapes[0];
        e->data.classes = network->classes;
        e->data.samples = (int64_t)6 * EVALUATIONS * trial->batch;
    }
    e->train.batch = trial->batch;
    e->train.iterations = all;
    e->train.evaluate_every = trial->evaluate ? all : -1;
    e->train.stage_lr_count = 0;
    e->train.lr_schedule = "constant";
    e->train.warmup = 0;
    e->train.lr = 1e-4;
    e->phases = turns;
    e->phase_count = 2 * trial->turns;
    e->pipeline.cuts = (int *)trial->cuts;
    e->pipeline.cut_count = trial->cut_count;
    e->pipeline.base.schedule = trial->pipelined ? "stale" : "sequential";
    e->pipeline.base.weights = NULL;
    e->pipeline.base.microbatches = 1;
    e->pipeline.placement = trial->one_device ? "one" : "colocated";
    e->devices.count = 0;
    e->sim.trace = (int64_t)all * 2 * PROFILE_TURNS * (trial->cut_count + 1) * 8;
}

static sp_status train(struct profiling *p, const struct profile_trial *trial, struct program_result *result,
                       struct sp_error *err)
{
    struct sp_experiment experiment = *p->setup->experiment;
    struct sp_phase_spec turns[2 * PROFILE_TURNS];
    struct sp_mark *marks = sp_calloc((size_t)trial->cut_count + 1, sizeof *marks);
    struct program quiet = *p->program;
    struct program_setup setup = {.experiment = &experiment, .network = p->setup->network};
    adapt(p, trial, turns, &experiment);
    experiment.pipeline.cut_marks = marks;
    quiet.quiet = true;
    quiet.layer_spans = (int64_t)(trial->minibatches + trial->warm + EVALUATIONS) * 2 * PROFILE_TURNS * 2 * p->layers;
    sp_status status = program_setup_plan(&setup, SP_PLAN_TRAIN, err);
    if (status == SP_OK)
        status = program_train(&quiet, &setup, NULL, false, result, err);
    setup.experiment = NULL; /* borrowed, both */
    setup.network = NULL;
    program_setup_fini(&setup);
    free(marks);
    return status;
}

static void probe(struct profiling *p)
{
    struct exec_speed speed = exec_probe_speed();
    samples_add(&p->arithmetic, speed.flops);
    samples_add(&p->copying, speed.bytes_per_s);
}

static void show(struct profiling *p, const struct profile_trial *trial)
{
    bool terminal = isatty(STDERR_FILENO);
    p->trial++;
    if (p->program->quiet)
        return;
    fprintf(stderr, "%sprofile: %d of %d: %s, minibatches of %d%s", terminal ? "\r" : "", p->trial, p->trials,
            trial->what, trial->batch, terminal ? "\033[K" : "\n");
    if (terminal && p->trial == p->trials)
        fputc('\n', stderr);
}

/* One attempt: waits for the machine to be quiet, while there is patience left. */
static sp_status attempt(struct profiling *p, const struct profile_trial *trial, struct program_result *result,
                         double *load, struct sp_error *err)
{
    *result = (struct program_result){0};
    if (p->patience_s > 0)
        p->patience_s -= exec_wait_quiet(DISTURBED, p->patience_s);
    probe(p);
    struct exec_load_mark mark = exec_load_mark();
    SP_TRY(train(p, trial, result, err));
    *load = exec_load_since(&mark);
    if (*load > DISTURBED)
        p->patience_s -= exec_load_mark().at_s - mark.at_s;
    probe(p);
    return SP_OK;
}

sp_status profile_run(struct profiling *p, const struct profile_trial *trial, struct program_result *result,
                      struct sp_error *err)
{
    double load = INFINITY;
    show(p, trial);
    *result = (struct program_result){0};
    for (int a = 0; a < ATTEMPTS && load > DISTURBED && (a == 0 || p->patience_s > 0); a++) {
        struct program_result other;
        double other_load;
        sp_status status = attempt(p, trial, &other, &other_load, err);
        if (status == SP_OK && other_load < load) {
            program_result_fini(result);
            *result = other;
            load = other_load;
        } else {
            program_result_fini(&other);
            SP_TRY(status);
        }
    }
    p->profile->load = fmax(p->profile->load, load);
    return SP_OK;
}

void profile_take_layers(const struct sp_trace *layers, int warm, struct pass_samples *passes)
{
    for (int d = 0; d < layers->device_count; d++)
        for (int64_t s = 0; s < layers->lanes[d].count; s++) {
            const struct sp_span *span = &layers->lanes[d].spans[s];
            bool evaluation = span->kind == SP_SPAN_EVALUATE;
            enum sp_pass pass = evaluation                       ? SP_PASS_EVALUATE
                                : span->kind == SP_SPAN_BACKWARD ? SP_PASS_BACKWARD
                                                                 : SP_PASS_FORWARD;
            if (span->minibatch >= (evaluation ? 1 : warm))
                samples_add(&passes[span->stage * SP_PASS_COUNT + pass].now, span->end_s - span->start_s);
        }
}

void profile_end_trial(struct profiling *p, struct pass_samples *passes)
{
    for (int k = 0; k < p->layers * SP_PASS_COUNT; k++) {
        samples_add(&passes[k].rounds, samples_mean(&passes[k].now));
        samples_clear(&passes[k].now);
    }
}

/*
 * A run lies around the mean of R rounds by their deviation times sqrt(1 + 1 / R), and as that deviation is known from
 * few trials only, Student's distribution stands for the normal one. Trials of one round are seconds apart, and the
 * machine's states last from milliseconds to seconds: every other one counts as a degree of freedom.
 */
double profile_run_deviation(const struct size_samples *sizes, int size_count, const struct samples *halves)
{
    double squares = 0;
    int free_count = 0, rounds = 0;
    for (int s = 0; s < size_count; s++) {
        const struct samples *step = &sizes[s].step.rounds;
        double mean = 0;
        rounds = step->count;
        for (int r = 0; r < rounds; r++)
            mean += log(step->values[r]) / rounds;
        for (int r = 0; r < rounds; r++)
            squares += pow(log(step->values[r]) - mean, 2);
        free_count += rounds - 1;
    }
    int freedom = (free_count + 1) / 2;
    if (free_count < 1) { /* one round: halves of a trial differ by twice a half's variance */
        for (int h = 0; h < halves->count; h++)
            squares += pow(halves->values[h], 2) / 2;
        free_count = freedom = halves->count;
    }
    if (free_count < 1)
        return 0;
    double student = gsl_cdf_tdist_Pinv(0.95, freedom) / gsl_cdf_ugaussian_Pinv(0.95);
    return sqrt(squares / free_count * (1 + 1.0 / (rounds > 1 ? rounds : 1))) * student;
}
