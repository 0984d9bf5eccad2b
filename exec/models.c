/*
 * The models that a run computes with, one for each microbatch size, on the devices that are here; and the memory that
 * they need.
 */
#include "common/alloc.h"
#include "exec/run.h"

#include <stdlib.h>

sp_status exec_check_layers(const struct exec_backend *backend, const struct sp_network *network, struct sp_error *err)
{
    for (int l = 0; l < network->layer_count; l++) {
        const char *reason = backend->supports(&network->layers[l]);
        if (reason != NULL)
            return SP_FAIL(err, SP_E_UNSUPPORTED, "backend %s cannot do layer %s of %s: %s", backend->name,
                           network->layers[l].name, network->name, reason);
    }
    return SP_OK;
}

/* One model for each microbatch size; all share the first one's parameter layouts. */
static sp_status make_models(struct exec_run *run, struct sp_error *err)
{
    const struct sp_plan *plan = run->plan;
    run->models = sp_calloc((size_t)plan->phase_count, sizeof *run->models);
    for (int p = 0; p < plan->phase_count; p++) {
        int size = sp_plan_microbatch_size(plan, p);
        for (int other = 0; other < p && run->models[p] == NULL; other++)
            if (sp_plan_microbatch_size(plan, other) == size)
                run->models[p] = run->models[other];
        if (run->models[p] == NULL)
            SP_TRY(run->backend->model_create(run->context, plan->network, size, run->models[0], &run->models[p], err));
    }
    return SP_OK;
}

void exec_models_destroy(struct exec_run *run)
{
    for (int p = 0; run->models != NULL && p < run->plan->phase_count; p++) {
        void *model = run->models[p];
        for (int other = p; other < run->plan->phase_count; other++)
            if (run->models[other] == model)
                run->models[other] = NULL;
        if (model != NULL)
            run->backend->model_destroy(&model);
    }
    free(run->models);
}

/* The footprint of a run asks the model of the batch size; what has no batch size is the same in all. */
static struct sp_footprint footprint_for(const struct exec_run *run, int batch)
{
    int p = 0;
    while (batch > 0 && sp_plan_microbatch_size(run->plan, p) != batch)
        p++;
    return run->backend->footprint(run->models[p]);
}

static size_t tensor_bytes(const void *self, int tensor, int batch)
{
    struct sp_footprint footprint = footprint_for(self, batch);
    return footprint.tensor(footprint.self, tensor, batch);
}

static size_t saved_bytes(const void *self, int layer, int batch)
{
    struct sp_footprint footprint = footprint_for(self, batch);
    return footprint.saved(footprint.self, layer, batch);
}

static size_t parameter_bytes(const void *self, int layer, enum sp_parameter which)
{
    struct sp_footprint footprint = footprint_for(self, 0);
    return footprint.parameter(footprint.self, layer, which);
}

static size_t state_bytes(const void *self, int layer)
{
    struct sp_footprint footprint = footprint_for(self, 0);
    return footprint.state(footprint.self, layer);
}

static size_t scratch_bytes(const void *self, int layer, enum sp_pass pass, int batch)
{
    struct sp_footprint footprint = footprint_for(self, batch);
    return footprint.scratch(footprint.self, layer, pass, batch);
}

static int keeps(const void *self, int layer)
{
    struct sp_footprint footprint = footprint_for(self, 0);
    return footprint.keeps(footprint.self, layer);
}

/* Which devices are here, and which of this host's they are. */
static sp_status find_devices(struct exec_run *run, struct sp_error *err)
{
    struct exec_team *team = run->config.compute.team;
    int count = run->plan->device_count, rank = exec_team_rank(team), before = 0;
    run->team = team;
    run->first_device = exec_team_first_device(team, rank, count);
    run->device_end = exec_team_first_device(team, rank + 1, count);
    for (int other = 0; other < rank; other++)
        if (exec_team_same_host(team, rank, other))
            before += exec_team_first_device(team, other + 1, count) - exec_team_first_device(team, other, count);
    run->config.compute.devices = count;
    run->config.compute.first_device = run->first_device;
    run->config.compute.device_end = run->device_end;
    run->config.compute.host_devices_before = before;
    if (count < exec_team_size(team))
        return SP_FAIL(err, SP_E_INPUT, "%d device%s cannot be shared out to %d processes; each needs one at least",
                       count, count == 1 ? "" : "s", exec_team_size(team));
    return SP_OK;
}

sp_status exec_models_create(struct exec_run *run, struct sp_error *err)
{
    SP_TRY(exec_check_layers(run->backend, run->plan->network, err));
    SP_TRY(find_devices(run, err));
    SP_TRY(run->backend->create(&run->config.compute, &run->context, err));
    SP_TRY(make_models(run, err));
    struct sp_footprint one = footprint_for(run, 0), footprint = {.self = run,
                                                                  .tensor = tensor_bytes,
                                                                  .saved = saved_bytes,
                                                                  .parameter = parameter_bytes,
                                                                  .state = state_bytes,
                                                                  .scratch = scratch_bytes,
                                                                  .keeps = one.keeps != NULL ? keeps : NULL};
    return sp_memory_plan_create(run->plan, &footprint, &run->memory, err);
}

sp_status exec_plan_memory(const struct sp_plan *plan, const struct exec_backend *backend,
                           const struct exec_backend_config *config, struct sp_memory_plan **out, struct sp_error *err)
{
    struct exec_run run = {.plan = plan, .backend = backend, .config = {.compute = *config}};
    sp_status status = exec_models_create(&run, err);
    *out = run.memory;
    exec_models_destroy(&run);
    backend->destroy(&run.context);
    return status;
}
