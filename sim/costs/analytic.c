/*
 * A roofline for each layer and pass: the launch, and the longer of computing and moving bytes.
 *
 * Convolutions and fully connected layers reach a share of the peak that depends on the pass; on CPUs their channels
 * are computed in blocks, so 6 channels cost as 16. All other layers move bytes: a kind's `passes` says how often each
 * byte that it reads and writes really travels (batch norm reads its input twice; what stays in a cache travels less).
 */
#include "common/layer.h"
#include "sim/costs/kinds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One layer of one microbatch. */
struct work {
    const struct sim_device *device;
    const struct sp_network *network;
    const struct sp_layer *layer;
    double batch;
};

static double rounded(const struct work *w, int channels)
{
    int block = w->device->channel_block;
    return (double)((channels + block - 1) / block * block);
}

/* Operations as computed, with channels filled up to whole blocks: the output's always, the input's only where there
 * are more than a block, or where its gradient is what is computed. */
static double computed_flops(const struct work *w, double flops, bool for_input)
{
    const struct sp_layer *l = w->layer;
    bool fill = l->type == SP_LAYER_CONVOLUTION && (for_input || l->in.c > w->device->channel_block);
    return w->batch * flops * rounded(w, l->out.c) / l->out.c * (fill ? rounded(w, l->in.c) / l->in.c : 1);
}

static double tensor_bytes(const struct work *w, struct sp_shape shape)
{
    double fill = shape.h * shape.w > 1 && shape.c > 3 ? rounded(w, shape.c) / shape.c : 1;
    return 4 * w->batch * fill * (double)sp_shape_elements(shape);
}

static double parameter_bytes(const struct sp_layer *layer)
{
    return 4 * (double)(layer->parameters[0] + layer->parameters[1]);
}

/* Input, output and parameters, each once. */
static double moved_bytes(const struct work *w)
{
    double bytes = tensor_bytes(w, w->layer->in) + tensor_bytes(w, w->layer->out) + parameter_bytes(w->layer);
    if (w->layer->input_count > 1)
        bytes += tensor_bytes(w, w->network->shapes[w->layer->inputs[1]]);
    return bytes;
}

static double roofline_s(const struct work *w, double flops, double efficiency, double bytes)
{
    return w->device->launch_s +
           fmax(flops / (w->device->peak_flops * efficiency), bytes / w->device->bandwidth_bytes_per_s);
}

static bool is_dense(const struct sp_layer *layer)
{
    return layer->type == SP_LAYER_CONVOLUTION || layer->type == SP_LAYER_FULLY_CONNECTED;
}

static double efficiency_of(const struct work *w, double share)
{
    bool small = w->layer->type == SP_LAYER_CONVOLUTION && w->layer->in.c < w->device->channel_block;
    return share * (small ? w->device->small_channels : 1);
}

static double passes_in_file(const struct work *w)
{
    switch (w->layer->type) {
    case SP_LAYER_BATCH_NORM:
        return w->device->passes_batch_norm;
    case SP_LAYER_RELU:
        return w->device->passes_relu;
    case SP_LAYER_MAX_POOL:
    case SP_LAYER_AVERAGE_POOL:
    case SP_LAYER_GLOBAL_AVERAGE_POOL:
        return w->device->passes_pool;
    default:
        return w->device->passes_other;
    }
}

static double passes_of(const struct work *w)
{
    double passes = passes_in_file(w);
    return isnan(passes) ? 1 : passes;
}

/* Says which kinds of layer the device file knows nothing of. */
static void note_unknown(const struct sim_device *device, const struct sp_plan *plan, struct sim_cost *out)
{
    bool unknown[SP_LAYER_TYPE_COUNT] = {false};
    char names[256] = "";
    for (int l = 0; l < plan->network->layer_count; l++) {
        struct work w = {device, plan->network, &plan->network->layers[l], 1};
        if (!is_dense(w.layer) && w.layer->type != SP_LAYER_FLATTEN && isnan(passes_in_file(&w)))
            unknown[w.layer->type] = true;
    }
    for (int t = 0; t < SP_LAYER_TYPE_COUNT; t++)
        if (unknown[t])
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", names[0] != '\0' ? ", " : "",
                     sp_layer_kinds[t]->name);
    if (names[0] != '\0')
        sim_cost_note(out, SIM_NOTE_UNCALIBRATED,
                      "the device file has no passes of %s: each byte that they read or write counts once", names);
}

static double forward_s(const struct work *w)
{
    const struct sp_layer *l = w->layer;
    if (l->type == SP_LAYER_FLATTEN)
        return 0;
    if (!is_dense(l))
        return w->device->launch_s + passes_of(w) * moved_bytes(w) / w->device->bandwidth_bytes_per_s;
    const struct sim_efficiency *e =
        l->type == SP_LAYER_CONVOLUTION ? &w->device->convolution : &w->device->fully_connected;
    return roofline_s(w, computed_flops(w, l->forward_flops, false), efficiency_of(w, e->forward), moved_bytes(w));
}

/* Weight gradients, and the input's unless that is the network's. Elementwise layers read one tensor more than forward.
 */
static double backward_s(const struct work *w)
{
    const struct sp_layer *l = w->layer;
    if (l->type == SP_LAYER_FLATTEN)
        return 0;
    if (!is_dense(l)) {
        double bytes = moved_bytes(w) + (l->type == SP_LAYER_ADD ? 0 : tensor_bytes(w, l->out));
        return w->device->launch_s + passes_of(w) * bytes / w->device->bandwidth_bytes_per_s;
    }
    const struct sim_efficiency *e =
        l->type == SP_LAYER_CONVOLUTION ? &w->device->convolution : &w->device->fully_connected;
    double seconds = roofline_s(w, computed_flops(w, l->backward_weight_flops, false),
                                efficiency_of(w, e->backward_weight), moved_bytes(w));
    if (l->inputs[0] != 0)
        seconds += roofline_s(w, computed_flops(w, l->backward_input_flops, true), efficiency_of(w, e->backward_input),
                              moved_bytes(w));
    return seconds;
}

static struct sim_stage_cost stage_cost(const struct sim_device *device, const struct sp_plan *plan, int phase,
                                        int stage)
{
    const struct sp_stage *s = &plan->stages[stage];
    struct work w = {device, plan->network, NULL, sp_plan_microbatch_size(plan, phase)};
    struct sim_stage_cost cost = {0};
    for (int l = s->first_layer; l < s->layer_end; l++) {
        w.layer = &plan->network->layers[l];
        cost.forward_s += forward_s(&w);
        cost.backward_s += backward_s(&w);
    }
    cost.evaluate_s = cost.forward_s;
    if (s->first_layer == 0) { /* the input is copied into the stage */
        double copy_s =
            2 * 4 * w.batch * (double)sp_shape_elements(plan->network->shapes[0]) / device->bandwidth_bytes_per_s;
        cost.forward_s += copy_s;
        cost.evaluate_s += copy_s;
    }
    cost.update_s = device->launch_s + 4 * (double)s->parameters * device->update_bytes / device->bandwidth_bytes_per_s;
    return cost;
}

static void fill_channels(const struct sim_device *device, const struct sp_plan *plan, struct sim_cost *out)
{
    if (device->links == SIM_LINKS_FAIR && !plan->shared_memory) {
        sim_cost_add_fair_links(device, plan, out);
        return;
    }
    int bus = device->links == SIM_LINKS_QUEUE && !plan->shared_memory ? sim_cost_add_bus(out, "bus") : -1;
    for (int c = 0; c < plan->channel_count; c++) {
        out->channels[c].latency_s = device->latency_s;
        bool copied = plan->channels[c].payload == SP_PAYLOAD_WEIGHTS || !plan->shared_memory;
        if (!copied || plan->channels[c].bytes == 0)
            continue;
        if (device->link_blocks && !plan->shared_memory) {
            out->channels[c].device_s = sim_device_block_s(device, (double)plan->channels[c].bytes);
            continue;
        }
        double bandwidth = plan->shared_memory ? device->bandwidth_bytes_per_s / 2 : device->link_bytes_per_s;
        out->channels[c].busy_s = (double)plan->channels[c].bytes * device->link_hops / bandwidth;
        char name[64];
        snprintf(name, sizeof name, "link %d -> %d", plan->channels[c].from_device, plan->channels[c].to_device);
        out->channels[c].bus = bus >= 0 ? bus : sim_cost_add_bus(out, name);
    }
}

sp_status sim_cost_analytic(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                            const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    (void)memory;
    (void)err;
    const struct sim_device *device = known;
    for (int p = 0; p < plan->phase_count; p++)
        for (int i = 0; i < plan->stage_count; i++)
            out->stages[p * plan->stage_count + i] = stage_cost(device, plan, p, i);
    fill_channels(device, plan, out);
    note_unknown(device, plan, out);
    if (plan->shared_memory && plan->device_count > 1 && sp_experiment_is_set(experiment, "cost.device"))
        sim_cost_note(out, SIM_NOTE_OTHER,
                      "devices of backend %s share their memory: the links of the device file are not used "
                      "(devices.backend: cuda has them)",
                      experiment->devices.backend);
    return SP_OK;
}
