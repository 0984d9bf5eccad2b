#include "sim/loads.h"
#include "common/alloc.h"

#include <math.h>
#include <stdlib.h>

void sim_loads_of_channel(const struct sim_cost *cost, int channel, double *loads)
{
    const struct sim_channel_cost *c = &cost->channels[channel];
    double *links = loads + cost->bus_count;
    if (c->bus >= 0)
        loads[c->bus] += c->busy_s;
    for (int h = 0; h < c->hops; h++)
        links[c->route[h]] += c->bytes / cost->links[c->route[h]].bytes_per_s;
}

void sim_loads_of_boundary(const struct sp_plan *plan, const struct sim_cost *cost, int stage, double *loads)
{
    int down = sp_plan_channel(plan, SP_PAYLOAD_ACTIVATION, SP_PAYLOAD_CREDIT, false, stage, stage + 1);
    int up = sp_plan_channel(plan, SP_PAYLOAD_GRADIENT, SP_PAYLOAD_CREDIT, false, stage + 1, stage);
    if (down >= 0)
        sim_loads_of_channel(cost, down, loads);
    if (up >= 0)
        sim_loads_of_channel(cost, up, loads);
}

double sim_bottleneck_s(const struct sp_plan *plan, const struct sim_cost *cost)
{
    int resources = plan->device_count + cost->bus_count + cost->link_count;
    double *busy = sp_calloc((size_t)resources, sizeof *busy), most = 0;
    int M = plan->phases[0].microbatches;
    for (int i = 0; i < plan->stage_count; i++) {
        busy[plan->stages[i].forward_device] += M * cost->stages[i].forward_s;
        busy[plan->stages[i].backward_device] += M * cost->stages[i].backward_s + cost->stages[i].update_s;
    }
    for (int c = 0; c < plan->channel_count; c++) {
        if (plan->channels[c].evaluate)
            continue;
        busy[plan->channels[c].from_device] += cost->channels[c].device_s;
        busy[plan->channels[c].to_device] += cost->channels[c].device_s;
        sim_loads_of_channel(cost, c, busy + plan->device_count);
    }
    for (int r = 0; r < resources; r++)
        most = fmax(most, busy[r]);
    free(busy);
    return most;
}
