/*
 * `profile`: measures a network on this machine by training it a little, and writes a cost file.
 *
 * Rounds, each of them all of this, so that the machine's drift meets everything alike: the uncut network at five
 * minibatch sizes, with every layer timed in the trace; then what stages and devices add (profile_stages.c). Runs are
 * sums, and on a shared core a pass takes now this long and now 1.7 times as long, so all that is added up is a mean:
 * a round's value is that of its repeats, the file's that of the rounds, without what was interrupted.
 */
#include "common/program/profile.h"
#include "common/alloc.h"
#include "exec/data/data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 8, FEWER_ROUNDS = 3, LEAST_BATCH = 4, TRIALS_OF_STAGES = 6 };

/* How long it waits in all for other programs to end, trials that they disturbed included. */
static const double PATIENCE_S = 20;

/* How long all rounds may take together, if that makes no fewer than the least. */
static const double ROUNDS_S = 28;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* How the halves of a trial's steps differ. */
static void take_halves(struct profiling *p, const struct samples *steps)
{
    int half = steps->count / 2;
    struct samples first = {steps->values, half}, second = {steps->values + steps->count - half, half};
    if (half > 0)
        samples_add(&p->halves, log(samples_mean(&second) / samples_mean(&first)));
}

/* Steps of the uncut network, and what F has beside its layers. */
static void take_steps(struct profiling *p, struct size_samples *size, const struct program_result *result)
{
    const struct sp_lane *stages = &result->trace->lanes[0], *layers = &result->layers->lanes[0];
    double step_s = 0;
    int64_t l = 0;
    for (int64_t s = 0; s < stages->count; s++) {
        const struct sp_span *span = &stages->spans[s];
        double seconds = span->end_s - span->start_s, rest_s = seconds;
        for (; l < layers->count && layers->spans[l].end_s <= span->end_s; l++)
            if (layers->spans[l].start_s >= span->start_s)
                rest_s -= layers->spans[l].end_s - layers->spans[l].start_s;
        if (span->minibatch < PROFILE_WARM || span->kind == SP_SPAN_EVALUATE || span->kind == SP_SPAN_WAIT)
            continue;
        step_s = span->kind == SP_SPAN_FORWARD ? seconds : step_s + seconds;
        if (span->kind == SP_SPAN_FORWARD)
            samples_add(&size->input.now, rest_s);
        if (span->kind == SP_SPAN_UPDATE)
            samples_add(&size->step.now, step_s);
    }
    take_halves(p, &size->step.now);
    samples_add(&size->input.rounds, fmax(0, samples_mean(&size->input.now)));
    samples_add(&size->step.rounds, samples_mean(&size->step.now));
    samples_clear(&size->input.now);
    samples_clear(&size->step.now);
}

/* How much longer the first minibatch took. */
static void take_first(struct profiling *p, struct size_samples *size, const struct program_result *result)
{
    const struct sp_lane *stages = &result->trace->lanes[0];
    double first_s = 0;
    for (int64_t s = 0; s < stages->count; s++)
        if (stages->spans[s].minibatch == 0 && stages->spans[s].kind <= SP_SPAN_BACKWARD)
            first_s += stages->spans[s].end_s - stages->spans[s].start_s;
    *(double *)sp_grow((void **)&p->memory_bytes, p->first_count, sizeof(double)) =
        (double)result->summary.devices[0].peak_bytes;
    *(double *)sp_grow((void **)&p->first_s, p->first_count, sizeof(double)) =
        fmax(0, first_s - size->step.rounds.values[size->step.rounds.count - 1]);
    p->first_count++;
}

static sp_status measure_size(struct profiling *p, struct size_samples *size, struct sp_error *err)
{
    struct profile_trial trial = {.what = "every layer",
                                  .batch = size->batch,
                                  .minibatches = profile_minibatches(samples_mean(&size->step.rounds)),
                                  .warm = PROFILE_WARM,
                                  .one_device = true,
                                  .evaluate = true};
    struct program_result result = {0};
    SP_TRY(profile_run(p, &trial, &result, err));
    profile_take_layers(result.layers, trial.warm, size->passes);
    profile_end_trial(p, size->passes);
    take_steps(p, size, &result);
    take_first(p, size, &result);
    program_result_fini(&result);
    return SP_OK;
}

static sp_status measure(struct profiling *p, struct profile_stages *stages, struct sp_error *err)
{
    double start_s = now_s();
    p->rounds = p->program->quick ? 1 : ROUNDS;
    p->trials = p->rounds * (p->size_count + TRIALS_OF_STAGES);
    for (; p->round < p->rounds; p->round++) {
        for (int s = 0; s < p->size_count; s++)
            SP_TRY(measure_size(p, &p->sizes[s], err));
        SP_TRY(profile_stages_round(p, stages, err));
        if (p->round == 0 && !p->program->quick) {
            double rounds = ROUNDS_S / (now_s() - start_s);
            p->rounds = rounds < FEWER_ROUNDS ? FEWER_ROUNDS : rounds > ROUNDS ? ROUNDS : (int)rounds;
            p->trials = p->rounds * p->trial;
        }
    }
    return SP_OK;
}

/* Seconds of a loader's thread for one sample of the experiment's own data; 0 where they are not there. */
static double measure_loading(const struct program_setup *setup)
{
    enum { BATCHES = 24 };
    struct exec_dataset *data = NULL;
    struct exec_loader *loader = NULL;
    struct sp_error err = {0};
    struct exec_batch batch;
    int size = setup->experiment->train.batch;
    double start_s = 0, end_s = 0;
    if (program_open_data(setup, &data, &err) == SP_OK &&
        exec_loader_create(
            &(struct exec_loader_config){.set = data,
                                         .split = EXEC_TRAIN,
                                         .batch = size,
                                         .end = BATCHES + 1,
                                         .shuffle = true,
                                         .augment = strcmp(setup->experiment->data.augment, "crop-flip") == 0,
                                         .seed = 1,
                                         .ahead = 2},
            &loader, &err) == SP_OK) {
        for (int64_t b = 0; b <= BATCHES; b++) {
            exec_loader_acquire(loader, b, &batch);
            exec_loader_release(loader, b);
            exec_loader_release(loader, b);
            start_s = b == 0 ? now_s() : start_s;
        }
        end_s = now_s();
    }
    exec_loader_destroy(&loader);
    exec_dataset_close(&data);
    sp_error_fini(&err);
    return (end_s - start_s) / BATCHES / size;
}

static void fill_layers(struct profiling *p)
{
    struct sim_profile *profile = p->profile;
    profile->layers = sp_calloc((size_t)(p->size_count * p->layers), sizeof *profile->layers);
    profile->inputs = sp_calloc((size_t)p->size_count, sizeof *profile->inputs);
    for (int s = 0; s < p->size_count; s++) {
        struct size_samples *size = &p->sizes[s];
        profile->inputs[profile->input_count++] =
            (struct sim_profile_input){size->batch, samples_mean(&size->input.rounds)};
        for (int l = 0; l < p->layers; l++) {
            struct pass_samples *pass = size->passes + l * SP_PASS_COUNT;
            double forward = samples_spread(&pass[SP_PASS_FORWARD].rounds),
                   backward = samples_spread(&pass[SP_PASS_BACKWARD].rounds);
            profile->layers[profile->layer_count++] = (struct sim_profile_layer){
                sp_strdup(p->setup->network->layers[l].name), size->batch,
                samples_mean(&pass[SP_PASS_FORWARD].rounds),  samples_mean(&pass[SP_PASS_BACKWARD].rounds),
                samples_mean(&pass[SP_PASS_EVALUATE].rounds), fmax(forward, backward)};
        }
    }
}

/* The formulas for layers that were not measured. */
static void fit_layers(struct profiling *p)
{
    struct sim_profile *profile = p->profile;
    struct sim_roofline_point *points = sp_calloc((size_t)(2 * profile->layer_count), sizeof *points);
    for (int l = 0; l < profile->layer_count; l++)
        for (int backward = 0; backward < 2; backward++)
            points[2 * l + backward] = (struct sim_roofline_point){
                sim_layer_work(p->setup->network, l % p->layers, profile->layers[l].batch, backward),
                backward ? profile->layers[l].backward_s : profile->layers[l].forward_s};
    sim_roofline_fit(points, 2 * profile->layer_count, profile->flops, profile->bytes_per_s, &profile->fit);
    free(points);
}

static void fill(struct profiling *p, struct profile_stages *stages)
{
    struct sim_profile *profile = p->profile;
    profile->flops = samples_median(&p->arithmetic);
    profile->bytes_per_s = samples_median(&p->copying);
    profile->rounds = p->rounds;
    profile->noise_run = profile_run_deviation(p->sizes, p->size_count, &p->halves);
    profile_stages_finish(p, stages);
    profile_line(p->memory_bytes, p->first_s, p->first_count, INFINITY, &profile->start_s, &profile->touch_byte_s);
    profile->load_sample_s = measure_loading(p->setup);
    fill_layers(p);
    fit_layers(p);
}

static void print_profile(const struct profiling *p, const char *path)
{
    const struct sim_profile *profile = p->profile;
    double forward = 0, backward = 0, spread = 0;
    for (int l = 0; l < p->layers; l++) {
        forward += profile->layers[l].forward_s;
        backward += profile->layers[l].backward_s;
        spread += profile->layers[l].spread * (profile->layers[l].forward_s + profile->layers[l].backward_s);
    }
    printf("%s on %s, %d cores: %.1f GFLOP/s and %.1f GB/s a core\n", profile->network, profile->cpu, profile->cores,
           1e-9 * profile->flops, 1e-9 * profile->bytes_per_s);
    printf("  minibatch of %d: forward %.3f ms, backward %.3f ms, update %.3f ms; ", p->sizes[0].batch, 1e3 * forward,
           1e3 * backward,
           1e3 * (profile->update_s + profile->update_parameter_s * (double)p->setup->network->parameter_count));
    if (profile->rounds > 1)
        printf("spread of its layers over %d rounds %.1f %%\n", profile->rounds,
               forward + backward > 0 ? 100 * spread / (forward + backward) : 0);
    else
        puts("one round, so that nothing is known of its layers' spread");
    printf(
        "  a device that sleeps wakes %.1f us after a message and loses %.1f us then; a sample takes %.2f us to load\n",
        1e6 * profile->wake_s, 1e6 * profile->restart_s, 1e6 * profile->load_sample_s);
    printf("  beside a device that computes convolutions: convolutions +%.0f %%, elementwise layers +%.0f %%\n",
           100 * profile->slowdown[SIM_CLASS_CONVOLUTION][SIM_CLASS_CONVOLUTION],
           100 * profile->slowdown[SIM_CLASS_ELEMENTWISE][SIM_CLASS_CONVOLUTION]);
    printf("  the formulas for other layers are off by %.0f %% (median), %.0f %% (90th percentile) on %d measurements "
           "held out\n",
           100 * profile->fit.held_median, 100 * profile->fit.held_ninth, profile->fit.held_points);
    if (profile->load > 0.1)
        printf("  other programs used %.0f %% of a core meanwhile, at worst: measure again when the machine is quiet\n",
               100 * profile->load);
    if (profile->noise_run > 0.05)
        printf(
            "  the machine's speed changes: runs differ by %.0f %% from this (standard deviation%s), predictions can "
            "be no better\n",
            100 * profile->noise_run, profile->rounds > 1 ? "" : ", by halves of short measurements");
    printf("written to %s; use it with cost: {model: profile, file: %s}\n", path, path);
}

static void init(struct profiling *p)
{
    struct sim_profile *profile = p->profile;
    const struct sp_experiment *e = p->setup->experiment;
    sim_profile_machine(profile);
    profile->backend = sp_strdup(e->devices.backend);
    profile->convolution = sp_strdup(e->devices.convolution);
    profile->threads = e->devices.threads;
    sim_profile_set_network(profile, p->setup->network);
    p->patience_s = p->program->quick ? 0 : PATIENCE_S;
    struct exec_dataset *data = NULL;
    struct sp_error err = {0};
    p->has_data = program_open_data(p->setup, &data, &err) == SP_OK;
    exec_dataset_close(&data);
    sp_error_fini(&err);
    p->layers = p->setup->network->layer_count;
    for (int b = e->train.batch; p->size_count < PROFILE_SIZES && (b >= LEAST_BATCH || p->size_count == 0); b /= 2) {
        struct size_samples *size = &p->sizes[p->size_count++];
        size->batch = b;
        size->passes = sp_calloc((size_t)(p->layers * SP_PASS_COUNT), sizeof *size->passes);
    }
}

static void pass_fini(struct pass_samples *pass)
{
    samples_fini(&pass->now);
    samples_fini(&pass->rounds);
}

static void fini(struct profiling *p)
{
    for (int s = 0; s < p->size_count; s++) {
        for (int k = 0; k < p->layers * SP_PASS_COUNT; k++)
            pass_fini(&p->sizes[s].passes[k]);
        free(p->sizes[s].passes);
        pass_fini(&p->sizes[s].input);
        pass_fini(&p->sizes[s].step);
    }
    free(p->memory_bytes);
    free(p->first_s);
    samples_fini(&p->arithmetic);
    samples_fini(&p->copying);
    samples_fini(&p->halves);
}

sp_status program_profile(const struct program *program, struct sp_error *err)
{
    struct program_setup setup;
    struct sim_profile profile = {0};
    struct profiling p = {.program = program, .setup = &setup, .profile = &profile};
    struct profile_stages *stages = profile_stages_create();
    sp_status status = program_setup_init(&setup, program, SP_PLAN_TRAIN, err);
    char *path = NULL;
    if (status == SP_OK) {
        path = program->out != NULL ? sp_strdup(program->out) : sp_format("%s.profile.yaml", setup.network->name);
        init(&p);
        status = profile_copies(&p, err);
    }
    if (status == SP_OK) {
        status = measure(&p, stages, err);
    }
    if (status == SP_OK) {
        fill(&p, stages);
        status = sim_profile_write(&profile, path, err);
    }
    if (status == SP_OK)
        print_profile(&p, path);
    free(path);
    profile_stages_destroy(&stages);
    fini(&p);
    sim_profile_fini(&profile);
    program_setup_fini(&setup);
    return status;
}
