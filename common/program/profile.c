/*
 * `profile`: measures a network on this machine by training it a little, and writes a cost file.
 *
 * Each weight layer is made a stage of its own, all on one device, so that the trace of a real run times every layer as
 * the executor runs it: three minibatch sizes in turn, three times. The uncut network, run between, says what the sum
 * of layers misses at each size; layers are scaled by that. A pipeline on two devices, cut where it balances, says how
 * they slow each other.
 */
#include "common/alloc.h"
#include "common/program/program.h"
#include "common/schedule.h"
#include "sim/profile_file.h"

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZES = 3, ROUNDS = 3, WARM = 4, MINIBATCHES = 16, LEAST_BATCH = 4 };

/* Times of one kind of work of one stage. */
struct samples {
    double *values;
    int count;
};

struct stage_samples {
    struct samples forward, backward, update;
};

static void add(struct samples *samples, double value)
{
    *(double *)sp_grow((void **)&samples->values, samples->count, sizeof value) = value;
    samples->count++;
}

static double median(struct samples *samples)
{
    if (samples->count == 0)
        return 0;
    gsl_sort(samples->values, 1, (size_t)samples->count);
    return gsl_stats_median_from_sorted_data(samples->values, 1, (size_t)samples->count);
}

/* The median distance from the median, relative. */
static double spread(struct samples *samples)
{
    double middle = median(samples), result;
    struct samples distances = {0};
    for (int s = 0; s < samples->count; s++)
        add(&distances, fabs(samples->values[s] - middle));
    result = middle > 0 ? median(&distances) / middle : 0;
    free(distances.values);
    return result;
}

static void stages_free(struct stage_samples *stages, int count)
{
    for (int i = 0; i < count; i++) {
        free(stages[i].forward.values);
        free(stages[i].backward.values);
        free(stages[i].update.values);
    }
    free(stages);
}

static void collect(const struct sp_trace *trace, struct stage_samples *stages)
{
    for (int l = 0; l < trace->device_count; l++)
        for (int64_t s = 0; s < trace->lanes[l].count; s++) {
            const struct sp_span *span = &trace->lanes[l].spans[s];
            if (span->minibatch < WARM)
                continue;
            double seconds = span->end_s - span->start_s;
            if (span->kind == SP_SPAN_FORWARD)
                add(&stages[span->stage].forward, seconds);
            else if (span->kind == SP_SPAN_BACKWARD)
                add(&stages[span->stage].backward, seconds);
            else if (span->kind == SP_SPAN_UPDATE)
                add(&stages[span->stage].update, seconds);
        }
}

/* Trains the experiment for a few minibatches with other cuts, schedule and minibatch, and adds to the samples. */
static sp_status run(const struct program *program, const struct program_setup *from, int batch, const int *cuts,
                     int cut_count, const char *schedule, bool one_device, struct stage_samples *stages,
                     struct sp_error *err)
{
    struct sp_experiment trial = *from->experiment;
    struct sp_mark *marks = sp_calloc((size_t)cut_count + 1, sizeof *marks);
    struct program quiet = *program;
    struct program_setup setup = {.experiment = &trial, .network = from->network};
    struct program_result result = {0};
    quiet.quiet = true;
    trial.train.batch = batch;
    trial.train.iterations = WARM + MINIBATCHES;
    trial.train.evaluate_every = -1;
    trial.train.stage_lr_count = 0;
    trial.train.lr_schedule = "constant";
    trial.train.warmup = 0;
    trial.train.lr = 1e-4;
    trial.phase_count = 0;
    trial.pipeline.cuts = (int *)cuts;
    trial.pipeline.cut_count = cut_count;
    trial.pipeline.cut_marks = marks;
    trial.pipeline.base.schedule = (char *)schedule;
    trial.pipeline.base.weights = NULL;
    trial.pipeline.base.microbatches = 1;
    trial.pipeline.placement = one_device ? "one" : "colocated";
    trial.devices.count = 0;
    trial.sim.trace = (int64_t)(WARM + MINIBATCHES) * (cut_count + 1) * 8;
    sp_status status = program_setup_plan(&setup, SP_PLAN_TRAIN, err);
    if (status == SP_OK)
        status = program_train(&quiet, &setup, NULL, false, &result, err);
    if (status == SP_OK)
        collect(result.trace, stages);
    program_result_fini(&result);
    setup.experiment = NULL; /* borrowed, both */
    setup.network = NULL;
    program_setup_fini(&setup);
    free(marks);
    return status;
}

static void say(const struct program *program, const char *text)
{
    if (!program->quiet)
        fprintf(stderr, "profile: %s\n", text);
}

/* Scales the L layers of one size so that they add up to what the network took as one stage. */
static void scale(struct sim_profile_entry *entries, int L, struct stage_samples *whole)
{
    double forward = 0, backward = 0;
    for (int l = 0; l < L; l++) {
        forward += entries[l].forward_s;
        backward += entries[l].backward_s;
    }
    for (int l = 0; l < L; l++) {
        entries[l].forward_s *= median(&whole->forward) / forward;
        entries[l].backward_s *= median(&whole->backward) / backward;
    }
}

/* All layers at all sizes; entries in order of size and layer. */
static sp_status measure_layers(const struct program *program, const struct program_setup *setup,
                                struct sim_profile *profile, struct sp_error *err)
{
    int L = setup->network->weight_layer_count, sizes[SIZES], count = 0;
    int *cuts = sp_calloc((size_t)L, sizeof *cuts);
    struct stage_samples *stages = sp_calloc((size_t)(L * SIZES), sizeof *stages);
    struct stage_samples *whole = sp_calloc(SIZES, sizeof *whole);
    sp_status status = SP_OK;
    for (int c = 0; c + 1 < L; c++)
        cuts[c] = c + 1;
    for (int b = setup->experiment->train.batch; count < SIZES && (b >= LEAST_BATCH || count == 0); b /= 2)
        sizes[count++] = b;
    for (int r = 0; r < ROUNDS && status == SP_OK; r++)
        for (int s = 0; s < count && status == SP_OK; s++) {
            char text[96];
            snprintf(text, sizeof text, "every layer, minibatches of %d, round %d of %d", sizes[s], r + 1, ROUNDS);
            say(program, text);
            status = run(program, setup, sizes[s], cuts, L - 1, "sequential", true, stages + s * L, err);
            if (status == SP_OK)
                status = run(program, setup, sizes[s], NULL, 0, "sequential", true, &whole[s], err);
        }
    profile->count = status == SP_OK ? count * L : 0;
    profile->entries = sp_calloc((size_t)(count * L), sizeof *profile->entries);
    for (int e = 0; e < profile->count; e++) {
        struct stage_samples *stage = &stages[e];
        double forward = spread(&stage->forward), backward = spread(&stage->backward);
        profile->entries[e] = (struct sim_profile_entry){.batch = sizes[e / L],
                                                         .group = e % L + 1,
                                                         .forward_s = median(&stage->forward),
                                                         .backward_s = median(&stage->backward),
                                                         .update_s = median(&stage->update),
                                                         .spread = fmax(forward, backward)};
    }
    for (int s = 0; s < count && profile->count > 0; s++)
        scale(profile->entries + s * L, L, &whole[s]);
    stages_free(whole, SIZES);
    stages_free(stages, L * SIZES);
    free(cuts);
    return status;
}

/* Sums of the experiment's own minibatch over layers [from, to). */
static void sum_of(const struct sim_profile *profile, int from, int to, double *forward_s, double *backward_s)
{
    *forward_s = *backward_s = 0;
    for (int g = from; g < to; g++) {
        *forward_s += profile->entries[g].forward_s;
        *backward_s += profile->entries[g].backward_s;
    }
}

/* The cut that balances best, by what the layers took. */
static int balance(const struct sim_profile *profile, int L)
{
    int best = 1;
    double best_s = INFINITY, f, b;
    for (int cut = 1; cut < L; cut++) {
        sum_of(profile, 0, cut, &f, &b);
        double first = f + b;
        sum_of(profile, cut, L, &f, &b);
        if (fmax(first, f + b) < best_s) {
            best_s = fmax(first, f + b);
            best = cut;
        }
    }
    return best;
}

static sp_status measure_contention(const struct program *program, const struct program_setup *setup,
                                    struct sim_profile *profile, struct sp_error *err)
{
    int L = setup->network->weight_layer_count;
    double forward, backward;
    profile->contention_forward = profile->contention_backward = 1;
    if (L < 2 || profile->cores < 2)
        return SP_OK;
    struct stage_samples *both = sp_calloc(2, sizeof *both);
    int cut = balance(profile, L);
    sum_of(profile, 0, L, &forward, &backward);
    sp_status status = SP_OK;
    for (int r = 0; r < ROUNDS && status == SP_OK; r++) {
        say(program, "two devices side by side");
        status = run(program, setup, setup->experiment->train.batch, &cut, 1, "stale", false, both, err);
    }
    if (status == SP_OK) {
        profile->contention_forward = (median(&both[0].forward) + median(&both[1].forward)) / forward;
        profile->contention_backward = (median(&both[0].backward) + median(&both[1].backward)) / backward;
    }
    stages_free(both, 2);
    return status;
}

static void print_profile(const struct sim_profile *profile, const char *path)
{
    double worst = 0, forward, backward;
    int L = 0;
    for (int e = 0; e < profile->count; e++) {
        worst = fmax(worst, profile->entries[e].spread);
        L = profile->entries[e].group > L ? profile->entries[e].group : L;
    }
    sum_of(profile, 0, L, &forward, &backward);
    printf("%s on %s, %d cores\n", profile->network, profile->cpu, profile->cores);
    printf("  minibatch %d: forward %.3f ms, backward %.3f ms; largest spread of a layer %.1f %%\n",
           profile->entries[0].batch, 1e3 * forward, 1e3 * backward, 100 * worst);
    printf("  beside another device: %.3f and %.3f times as long\n", profile->contention_forward,
           profile->contention_backward);
    if (worst > 0.1)
        printf("  the spread is large: the machine was busy, or its clock changed; measure again when it is quiet\n");
    printf("written to %s; use it with cost: {model: profile, file: %s}\n", path, path);
}

sp_status program_profile(const struct program *program, struct sp_error *err)
{
    struct program_setup setup;
    struct sim_profile profile = {0};
    sp_status status = program_setup_init(&setup, program, SP_PLAN_TRAIN, err);
    char *path = NULL;
    if (status == SP_OK) {
        const struct sp_experiment *e = setup.experiment;
        path = program->out != NULL ? sp_strdup(program->out) : sp_format("%s.profile.yaml", setup.network->name);
        sim_profile_machine(&profile);
        profile.backend = sp_strdup(e->devices.backend);
        profile.convolution = sp_strdup(e->devices.convolution);
        profile.threads = e->devices.threads;
        profile.network = sp_strdup(setup.network->name);
        status = measure_layers(program, &setup, &profile, err);
    }
    if (status == SP_OK)
        status = measure_contention(program, &setup, &profile, err);
    if (status == SP_OK)
        status = sim_profile_write(&profile, path, err);
    if (status == SP_OK)
        print_profile(&profile, path);
    free(path);
    sim_profile_fini(&profile);
    program_setup_fini(&setup);
    return status;
}
