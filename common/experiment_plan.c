/*
 * From an experiment to a plan: what can be said about cuts, schedules and placement only once the network is known.
 */
#include "common/alloc.h"
#include "common/experiment.h"
#include "common/schedule.h"

#include <stdlib.h>
#include <string.h>

/* What a plan is made of while it is put together; fini frees all. */
struct draft {
    struct sp_phase *phases;
    int *forward, *backward;
    struct sp_plan_config config;
};

/* Whether devices see each other's memory. Those that a measured network ran on are taken not to. */
static bool shares_memory(const struct sp_experiment *e, const struct sp_network *network)
{
    return network->measured == NULL && sp_backend_kind_find(e->devices.backend)->shared_memory;
}

static void draft_fini(struct draft *draft)
{
    free(draft->phases);
    free(draft->forward);
    free(draft->backward);
}

static sp_status check_cuts(const struct sp_experiment *e, const struct sp_network *network, struct sp_error *err)
{
    sp_status status = SP_OK;
    for (int c = 0; c < e->pipeline.cut_count; c++)
        if (e->pipeline.cuts[c] >= network->weight_layer_count)
            status = sp_reject(err, e->pipeline.cut_marks[c],
                               "pipeline.cuts: no cut after layer %d: %s has %d weight layers, so 1 to %d are legal",
                               e->pipeline.cuts[c], network->name, network->weight_layer_count,
                               network->weight_layer_count - 1);
    return status;
}

/* Devices of every stage by the placement's name; the lists are taken as they are. */
static sp_status place(const struct sp_experiment *e, int P, struct draft *draft, struct sp_error *err)
{
    struct sp_mark mark = sp_experiment_mark(e, "pipeline.placement");
    const char *name = e->pipeline.placement;
    if (name == NULL && e->pipeline.placement_count != P)
        return sp_reject(err, mark, "pipeline.placement: %d stages are placed, but %d cuts make %d",
                         e->pipeline.placement_count, P - 1, P);
    draft->forward = sp_calloc((size_t)P, sizeof(int));
    draft->backward = sp_calloc((size_t)P, sizeof(int));
    bool sharing = name != NULL && strcmp(name, "auto") == 0 && e->devices.count > 0 && e->devices.count < P;
    int devices = sharing ? e->devices.count : P, needed = 0;
    for (int i = 0; i < P; i++) {
        draft->forward[i] = name == NULL ? e->pipeline.forward_devices[i] : (int)((int64_t)i * devices / P);
        draft->backward[i] = name == NULL ? e->pipeline.backward_devices[i] : draft->forward[i];
        if (name != NULL && strcmp(name, "split") == 0) {
            draft->forward[i] = i;
            draft->backward[i] = 2 * (P - 1) - i;
        } else if (name != NULL && strcmp(name, "one") == 0) {
            draft->forward[i] = draft->backward[i] = 0;
        }
        needed = draft->forward[i] >= needed ? draft->forward[i] + 1 : needed;
        needed = draft->backward[i] >= needed ? draft->backward[i] + 1 : needed;
    }
    if (e->devices.count > 0 && needed > e->devices.count)
        return sp_reject(err, sp_experiment_mark(e, "devices.count"),
                         "devices.count: the placement needs %d devices, but there are %d", needed, e->devices.count);
    bool *used = sp_calloc((size_t)needed, sizeof *used);
    for (int i = 0; i < P; i++)
        used[draft->forward[i]] = used[draft->backward[i]] = true;
    sp_status status = SP_OK;
    for (int d = 0; d < needed && status == SP_OK; d++)
        if (!used[d])
            status = sp_reject(err, mark,
                               "pipeline.placement: device %d has no stage; number devices from 0 without gaps", d);
    free(used);
    draft->config.forward_devices = draft->forward;
    draft->config.backward_devices = draft->backward;
    return status;
}

/* What the recipe says of epochs and stages. */
static sp_status check_recipe(const struct sp_experiment *e, int P, struct sp_error *err)
{
    sp_status status = SP_OK;
    if (strcmp(e->train.lr_schedule, "step") == 0 && e->train.lr_step_count == 0)
        status = sp_reject(err, sp_experiment_mark(e, "train.lr_schedule"),
                           "train.lr_schedule: step needs train.lr_steps, such as [10, 15]");
    if (e->train.stage_lr_count > 0 && e->train.stage_lr_count != P)
        status = sp_reject(err, sp_experiment_mark(e, "train.stage_lr"),
                           "train.stage_lr: %d factors are given, but %d cuts make %d stages", e->train.stage_lr_count,
                           P - 1, P);
    return status;
}

static sp_status make_phase(const struct sp_experiment *e, const struct sp_phase_spec *spec, struct sp_phase *phase,
                            struct sp_error *err)
{
    const struct sp_phase_spec *base = &e->pipeline.base;
    const char *name = spec->schedule != NULL ? spec->schedule : base->schedule;
    const char *weights = spec->weights != NULL ? spec->weights : spec->schedule == NULL ? base->weights : NULL;
    phase->schedule = sp_schedule_find(name);
    SP_ASSERT(phase->schedule != NULL, "schedule %s", name);
    phase->weights = phase->schedule->stashes_by_default ? SP_WEIGHTS_STASH : SP_WEIGHTS_LATEST;
    if (weights != NULL)
        phase->weights = strcmp(weights, "stash") == 0 ? SP_WEIGHTS_STASH : SP_WEIGHTS_LATEST;
    phase->microbatches = spec->microbatches > 0 ? spec->microbatches : base->microbatches;
    if (e->train.batch % phase->microbatches == 0)
        return SP_OK;
    struct sp_mark mark = spec->microbatches > 0 ? spec->microbatches_mark : base->microbatches_mark;
    return sp_reject(err, mark, "pipeline.microbatches: %d microbatches do not divide a minibatch of %d",
                     phase->microbatches, e->train.batch);
}

static int64_t epochs_to_minibatches(int64_t epochs, int64_t samples, int batch)
{
    return (epochs * samples + batch - 1) / batch;
}

static sp_status make_phases(const struct sp_experiment *e, const struct sp_data_shape *data, enum sp_plan_use use,
                             struct draft *draft, struct sp_error *err)
{
    int count = e->phase_count > 0 ? e->phase_count : 1;
    const struct sp_phase_spec *specs = e->phase_count > 0 ? e->phases : &e->pipeline.base;
    draft->phases = sp_calloc((size_t)count, sizeof *draft->phases);
    sp_status status = SP_OK;
    int64_t total = 0;
    for (int p = 0; p < count; p++) {
        sp_status one = make_phase(e, &specs[p], &draft->phases[p], err);
        status = one != SP_OK ? one : status;
        int64_t epochs = e->phase_count > 0 ? specs[p].epochs : e->train.iterations > 0 ? 0 : e->train.epochs;
        int64_t iterations = e->phase_count > 0 ? specs[p].iterations : e->train.iterations;
        draft->phases[p].minibatches =
            epochs > 0 ? epochs_to_minibatches(epochs, data->train_samples, e->train.batch) : iterations;
        total += draft->phases[p].minibatches;
    }
    for (int p = 0; p < count && use == SP_PLAN_SIMULATE; p++) {
        double share = (double)draft->phases[p].minibatches / (double)total;
        int64_t minibatches = (int64_t)(share * (double)e->sim.minibatches + 0.5);
        draft->phases[p].minibatches = minibatches > 0 ? minibatches : 1;
    }
    draft->config.phases = draft->phases;
    draft->config.phase_count = count;
    return status;
}

sp_status sp_experiment_plan(const struct sp_experiment *e, const struct sp_network *network, enum sp_plan_use use,
                             struct sp_plan **out, struct sp_error *err)
{
    *out = NULL;
    struct sp_data_shape data;
    SP_TRY(sp_experiment_data_shape(e, &data, err));
    struct draft draft = {.config = {.cuts = e->pipeline.cuts,
                                     .cut_count = e->pipeline.cut_count,
                                     .batch = e->train.batch,
                                     .shared_memory = shares_memory(e, network)}};
    sp_status status = check_cuts(e, network, err);
    sp_status placed = place(e, e->pipeline.cut_count + 1, &draft, err);
    sp_status phased = make_phases(e, &data, use, &draft, err);
    sp_status recipe = check_recipe(e, e->pipeline.cut_count + 1, err);
    status = status != SP_OK ? status : placed != SP_OK ? placed : phased != SP_OK ? phased : recipe;
    if (use == SP_PLAN_TRAIN && e->train.evaluate_every >= 0) {
        draft.config.evaluate_samples = data.test_samples;
        draft.config.evaluate_every = e->train.evaluate_every;
        draft.config.evaluate_pass = data.train_samples;
    }
    if (status == SP_OK)
        status = sp_plan_create(network, &draft.config, out, err);
    draft_fini(&draft);
    return status;
}

sp_status sp_experiment_baseline(const struct sp_experiment *e, const struct sp_network *network, int64_t minibatches,
                                 struct sp_plan **out, struct sp_error *err)
{
    *out = NULL;
    SP_TRY(check_cuts(e, network, err));
    struct sp_phase phase = {.schedule = sp_schedule_find("sequential"), .microbatches = 1, .minibatches = minibatches};
    int *devices = sp_calloc((size_t)e->pipeline.cut_count + 1, sizeof *devices);
    struct sp_plan_config config = {.cuts = e->pipeline.cuts,
                                    .cut_count = e->pipeline.cut_count,
                                    .batch = e->train.batch,
                                    .forward_devices = devices,
                                    .shared_memory = shares_memory(e, network),
                                    .phases = &phase,
                                    .phase_count = 1};
    sp_status status = sp_plan_create(network, &config, out, err);
    free(devices);
    return status;
}
