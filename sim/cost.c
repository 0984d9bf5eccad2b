#include "sim/cost.h"
#include "common/alloc.h"
#include "sim/costs/kinds.h"

#include <stdlib.h>
#include <string.h>

const struct sim_cost_kind sim_cost_kinds[] = {
    {"analytic", "a roofline over operations and bytes, with constants of a device", sim_cost_analytic},
    {"table", "seconds given in the experiment", sim_cost_table},
    {"profile", "seconds measured on this machine by `stalepipe profile`", sim_cost_profile},
    {"import", "seconds that came with a measured network", sim_cost_import},
    {NULL, NULL, NULL},
};

struct sim_cost *sim_cost_alloc(const struct sp_plan *plan)
{
    struct sim_cost *cost = sp_calloc(1, sizeof *cost);
    cost->stage_count = plan->stage_count;
    cost->phase_count = plan->phase_count;
    cost->channel_count = plan->channel_count;
    cost->stages = sp_calloc((size_t)plan->stage_count * (size_t)plan->phase_count, sizeof *cost->stages);
    cost->channels = sp_calloc((size_t)plan->channel_count + 1, sizeof *cost->channels);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c].bus = -1;
    return cost;
}

void sim_cost_destroy(struct sim_cost **cost)
{
    if (*cost == NULL)
        return;
    for (int b = 0; (*cost)->bus_names != NULL && b < (*cost)->bus_count; b++)
        free((*cost)->bus_names[b]);
    free((*cost)->bus_names);
    free((*cost)->note);
    free((*cost)->stages);
    free((*cost)->channels);
    free(*cost);
    *cost = NULL;
}

int sim_cost_add_bus(struct sim_cost *cost, const char *name)
{
    *(char **)sp_grow((void **)&cost->bus_names, cost->bus_count, sizeof(char *)) = sp_strdup(name);
    return cost->bus_count++;
}

sp_status sim_cost_create(const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, struct sim_cost **out, struct sp_error *err)
{
    *out = NULL;
    for (int k = 0; sim_cost_kinds[k].name != NULL; k++) {
        if (strcmp(sim_cost_kinds[k].name, experiment->cost.model) != 0)
            continue;
        struct sim_cost *cost = sim_cost_alloc(plan);
        sp_status status = sim_cost_kinds[k].fill(experiment, plan, memory, cost, err);
        for (int c = 0; c < cost->channel_count && experiment->plan.ignore_transfers; c++)
            cost->channels[c] = (struct sim_channel_cost){.bus = -1};
        if (status == SP_OK)
            *out = cost;
        else
            sim_cost_destroy(&cost);
        return status;
    }
    return sp_reject(err, sp_experiment_mark(experiment, "cost.model"), "cost.model: no \"%s\"",
                     experiment->cost.model);
}
