#include "tests/training.h"
#include "common/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int pick(uint32_t *state, int n)
{
    *state = *state * 1664525u + 1013904223u;
    return (int)((*state >> 8) % (uint32_t)n);
}

static const struct exec_backend *backend_of(const struct run_setting *setting)
{
    return setting->backend != NULL ? setting->backend : &exec_ref_backend;
}

static struct sp_plan *make_plan(const struct run_setting *setting, const struct sp_network *network)
{
    struct sp_phase one = {.schedule = sp_schedule_find(setting->schedule != NULL ? setting->schedule : "sequential"),
                           .weights = setting->weights,
                           .microbatches = setting->microbatches > 0 ? setting->microbatches : 1,
                           .minibatches = setting->minibatches > 0 ? setting->minibatches : 4};
    int phase_count = 0;
    while (phase_count < 3 && setting->phases[phase_count].minibatches > 0)
        phase_count++;
    struct sp_plan_config config = {.cuts = setting->cuts,
                                    .cut_count = setting->cut_count,
                                    .batch = setting->batch > 0 ? setting->batch : 4,
                                    .forward_devices = setting->forward_devices,
                                    .backward_devices = setting->backward_devices,
                                    .shared_memory = !setting->apart && backend_of(setting)->shared_memory,
                                    .phases = phase_count > 0 ? setting->phases : &one,
                                    .phase_count = phase_count > 0 ? phase_count : 1,
                                    .evaluate_every = setting->evaluate_every,
                                    .evaluate_pass = setting->evaluate_pass,
                                    .evaluate_samples = 10};
    struct sp_error err = {0};
    struct sp_plan *plan;
    if (sp_plan_create(network, &config, &plan, &err) != SP_OK)
        fail_msg("%s", err.text);
    return plan;
}

sp_status run_try_open(const struct run_setting *setting, struct run *run, struct sp_error *failure)
{
    struct sp_error err = {0};
    bool lenet = strcmp(setting->network, "lenet5") == 0;
    struct sp_shape shape = lenet ? (struct sp_shape){1, 12, 12} : (struct sp_shape){3, 8, 8};
    if (setting->shape.c > 0)
        shape = setting->shape;
    struct sp_network_spec spec = {.builtin = setting->network};
    if (strchr(setting->network, '/') != NULL)
        spec = (struct sp_network_spec){.file = setting->network};
    if (sp_network_create(&spec, shape, 10, &run->network, &err) != SP_OK)
        fail_msg("%s", err.text);
    run->plan = make_plan(setting, run->network);
    struct exec_dataset_config data = {
        .set = "synthetic", .dir = "auto", .samples = 60, .shape = shape, .classes = 10, .seed = 5};
    if (exec_dataset_open(&data, &run->data, &err) != SP_OK)
        fail_msg("%s", err.text);
    struct exec_trainer_config config = exec_trainer_config_default();
    config.workers = setting->workers;
    config.graphs = setting->graphs;
    config.graphs_kept = setting->graphs_kept;
    config.backend = backend_of(setting);
    config.sgd = (struct exec_sgd){.lr = setting->lr,
                                   .momentum = setting->momentum,
                                   .nesterov = setting->nesterov,
                                   .weight_decay = setting->weight_decay};
    config.decay_weights_only = setting->decay_weights_only;
    config.stage_lr = setting->stage_lr;
    config.compute.separate = setting->separate;
    config.compute.convolution = setting->convolution;
    config.spans_per_lane = 100;
    config.checkpoint = setting->checkpoint;
    config.stop = setting->stop;
    config.compute.through_host = setting->through_host;
    config.compute.team = setting->team;
    config.compute.tell = setting->tell;
    config.compute.tell_self = setting->tell_self;
    return exec_trainer_create(run->plan, run->data, &config, &run->trainer, failure);
}

void run_open(const struct run_setting *setting, struct run *run)
{
    struct sp_error err = {0};
    if (run_try_open(setting, run, &err) != SP_OK)
        fail_msg("%s", err.text);
}

void run_train(struct run *run)
{
    struct sp_error err = {0};
    if (exec_trainer_run(run->trainer, &err) != SP_OK)
        fail_msg("%s", err.text);
}

void run_close(struct run *run)
{
    exec_trainer_destroy(&run->trainer);
    exec_dataset_close(&run->data);
    sp_plan_destroy(&run->plan);
    sp_network_destroy(&run->network);
}

float *run_parameters(struct run *run, int64_t *count)
{
    float *all = sp_alloc(sizeof *all * (size_t)run->network->parameter_count), *at = all;
    for (int l = 0; l < run->network->layer_count; l++)
        for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
            struct sp_error err = {0};
            int64_t elements = run->network->layers[l].parameters[p];
            if (elements == 0)
                continue;
            if (exec_trainer_get_parameter(run->trainer, l, (enum sp_parameter)p, at, &err) != SP_OK)
                fail_msg("%s", err.text);
            at += elements;
        }
    *count = at - all;
    return all;
}

float *run_numbers(struct run *run, int64_t *count)
{
    int64_t weights, losses = run->plan->minibatches;
    int evaluations;
    const struct sp_epoch_summary *epochs = exec_trainer_epochs(run->trainer, &evaluations);
    float *all = run_parameters(run, &weights);
    *count = weights + losses + evaluations;
    all = realloc(all, sizeof *all * (size_t)*count);
    memcpy(all + weights, exec_trainer_losses(run->trainer), sizeof *all * (size_t)losses);
    for (int e = 0; e < evaluations; e++)
        all[weights + losses + e] = (float)epochs[e].test_loss;
    return all;
}

void expect_same_numbers(const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("number %lld of %lld is %.9g and %.9g", (long long)i, (long long)count, (double)a[i],
                     (double)b[i]);
}

float *run_once(const struct run_setting *setting, int64_t *count)
{
    struct run run;
    run_open(setting, &run);
    run_train(&run);
    float *parameters = run_parameters(&run, count);
    run_close(&run);
    return parameters;
}

static int32_t blank_sample(const struct exec_dataset *set, enum exec_split split, int64_t index, float *pixels)
{
    (void)split;
    for (int64_t i = 0; i < sp_shape_elements(set->shape); i++)
        pixels[i] = (float)(i % 7) - 3;
    return (int32_t)(index % set->classes);
}

struct exec_dataset blank_dataset(struct sp_shape shape)
{
    return (struct exec_dataset){
        .name = "blank", .shape = shape, .classes = 10, .samples = {1024, 128}, .sample = blank_sample};
}

const char *remembered_choices(void)
{
    static char path[4096];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool own = cache != NULL && cache[0] != '\0';
    snprintf(path, sizeof path, "%s%s/stalepipe/convolutions.txt", own ? cache : home, own ? "" : "/.cache");
    return own || home != NULL ? path : NULL;
}
