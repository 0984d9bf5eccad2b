/*
 * Seconds that came with the network (common/network_profile.c). A stage takes the sum of its layers; microbatches take
 * their share. Updates were not measured and cost nothing. What crosses a cut goes over one link between the two
 * devices, gradients and activations one after the other, beside the computation, as PipeDream's planner has it; a
 * device whose copies block (link_blocks) computes nothing meanwhile.
 */
#include "sim/costs/kinds.h"

#include <stdio.h>

static double message_bytes(const struct sp_plan *plan, const struct sp_channel *channel)
{
    if (channel->bytes == 0 || (channel->payload != SP_PAYLOAD_ACTIVATION && channel->payload != SP_PAYLOAD_GRADIENT))
        return (double)channel->bytes;
    const struct sp_stage *up =
        &plan->stages[channel->from_stage < channel->to_stage ? channel->from_stage : channel->to_stage];
    double bytes = 0;
    for (int t = 0; t < up->output_count; t++)
        bytes += plan->network->measured[up->outputs[t]].bytes;
    return bytes;
}

/* Whether the channel between two stages lies on the link of an earlier one; which. */
static int same_link(const struct sp_plan *plan, int c)
{
    const struct sp_channel *channel = &plan->channels[c];
    for (int e = 0; e < c; e++) {
        const struct sp_channel *other = &plan->channels[e];
        bool along = other->from_device == channel->from_device && other->to_device == channel->to_device;
        bool against = other->from_device == channel->to_device && other->to_device == channel->from_device;
        if ((along || against) && message_bytes(plan, other) > 0)
            return e;
    }
    return -1;
}

static void fill_channels(const struct sim_device *device, const struct sp_plan *plan, struct sim_cost *out)
{
    if (device->links == SIM_LINKS_FAIR) {
        sim_cost_add_fair_links(device, plan, out);
        for (int c = 0; c < plan->channel_count; c++)
            out->channels[c].bytes = message_bytes(plan, &plan->channels[c]);
        return;
    }
    int bus = device->links == SIM_LINKS_QUEUE ? sim_cost_add_bus(out, "bus") : -1;
    for (int c = 0; c < plan->channel_count; c++) {
        const struct sp_channel *channel = &plan->channels[c];
        out->channels[c].latency_s = device->latency_s;
        double bytes = message_bytes(plan, channel);
        if (bytes == 0) /* an empty message waits for no other */
            continue;
        if (device->link_blocks) {
            out->channels[c].device_s = sim_device_block_s(device, bytes);
            continue;
        }
        out->channels[c].busy_s = bytes * device->link_hops / device->link_bytes_per_s;
        int same = same_link(plan, c);
        char name[64];
        snprintf(name, sizeof name, "link %d - %d", channel->from_device, channel->to_device);
        out->channels[c].bus = bus >= 0 ? bus : same >= 0 ? out->channels[same].bus : sim_cost_add_bus(out, name);
    }
}

sp_status sim_cost_import(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    (void)memory;
    const struct sim_device *device = known;
    if (plan->network->measured == NULL)
        return sp_reject(err, sp_experiment_mark(experiment, "cost.model"),
                         "cost.model: import takes the times of a measured network, as network: {profile: "
                         "vgg16.graph.txt}; %s has none",
                         plan->network->name);
    for (int p = 0; p < plan->phase_count; p++)
        for (int i = 0; i < plan->stage_count; i++) {
            struct sim_stage_cost *cost = &out->stages[p * plan->stage_count + i];
            double share = 1.0 / plan->phases[p].microbatches;
            for (int l = plan->stages[i].first_layer; l < plan->stages[i].layer_end; l++) {
                cost->forward_s += share * plan->network->measured[l + 1].forward_s;
                cost->backward_s += share * plan->network->measured[l + 1].backward_s;
            }
            cost->evaluate_s = cost->forward_s;
        }
    fill_channels(device, plan, out);
    sim_cost_note(out, SIM_NOTE_UNCALIBRATED, "%s does not say how long updates of the weights take: they cost nothing",
                  plan->network->name);
    return SP_OK;
}
