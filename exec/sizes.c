#include "exec/sizes.h"
#include "common/alloc.h"
#include "exec/run.h"

#include <stdlib.h>

/* A model of each microbatch size that came. */
struct sized {
    int batch;
    void *model;
};

/* Devices of a backend; where they share a memory, any number is alike. Those that are not here stay away. */
struct host {
    int devices;
    sp_status status;
    struct sp_error why;
    void *context;
    struct sized *models;
    int count;
};

struct exec_sizes {
    const struct exec_backend *backend;
    struct exec_backend_config config;
    const struct sp_network *network;
    struct host *hosts;
    int count;
};

struct exec_sizes *exec_sizes_create(const struct exec_backend *backend, const struct exec_backend_config *config)
{
    struct exec_sizes *sizes = sp_calloc(1, sizeof *sizes);
    sizes->backend = backend;
    sizes->config = *config;
    return sizes;
}

void exec_sizes_destroy(struct exec_sizes **out)
{
    struct exec_sizes *sizes = *out;
    for (int h = 0; sizes != NULL && h < sizes->count; h++) {
        struct host *host = &sizes->hosts[h];
        for (int m = 0; m < host->count; m++)
            sizes->backend->model_destroy(&host->models[m].model);
        free(host->models);
        sizes->backend->destroy(&host->context);
        sp_error_fini(&host->why);
    }
    if (sizes != NULL)
        free(sizes->hosts);
    free(sizes);
    *out = NULL;
}

static struct host *host_of(struct exec_sizes *sizes, int devices)
{
    for (int h = 0; h < sizes->count; h++)
        if (sizes->hosts[h].devices == devices || sizes->backend->shared_memory)
            return &sizes->hosts[h];
    struct host *host = sp_grow((void **)&sizes->hosts, sizes->count++, sizeof *host);
    *host = (struct host){.devices = devices};
    sizes->config.devices = sizes->config.device_end = devices;
    host->status = sizes->backend->create(&sizes->config, &host->context, &host->why);
    return host;
}

static sp_status model_of(struct exec_sizes *sizes, struct host *host, int batch, const void **out,
                          struct sp_error *err)
{
    for (int m = 0; m < host->count; m++)
        if (host->models[m].batch == batch) {
            *out = host->models[m].model;
            return SP_OK;
        }
    void *model = NULL;
    SP_TRY(sizes->backend->model_create(host->context, sizes->network, batch, NULL, &model, err));
    *(struct sized *)sp_grow((void **)&host->models, host->count++, sizeof *host->models) =
        (struct sized){batch, model};
    *out = model;
    return SP_OK;
}

sp_status exec_sizes_plan(struct exec_sizes *sizes, const struct sp_plan *plan, struct sp_memory_plan **out,
                          struct sp_error *err)
{
    const void *model = NULL;
    *out = NULL;
    SP_ASSERT(plan->phase_count == 1, "%d phases", plan->phase_count);
    SP_ASSERT(sizes->network == NULL || sizes->network == plan->network, "another network: %s", plan->network->name);
    sizes->network = plan->network;
    SP_TRY(exec_check_layers(sizes->backend, plan->network, err));
    struct host *host = host_of(sizes, plan->device_count);
    if (host->status != SP_OK)
        return SP_FAIL(err, host->status, "%s", host->why.text);
    SP_TRY(model_of(sizes, host, sp_plan_microbatch_size(plan, 0), &model, err));
    struct sp_footprint footprint = sizes->backend->footprint(model);
    return sp_memory_plan_create(plan, &footprint, out, err);
}
