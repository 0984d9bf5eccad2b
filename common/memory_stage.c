/*
 * Where everything that a stage computes lies, in one phase: which tensors share memory, what is in a slot, what
 * crosses a cut, and what is scratch.
 */
#include "common/memory_stage.h"
#include "common/alloc.h"
#include "common/layer.h"
#include "common/liveness.h"

#include <stdlib.h>

/* One stage in one phase while it is laid out. Arrays over tensors; roots are the first tensors of those that share. */
struct layout {
    const struct sp_plan *plan;
    const struct sp_network *network;
    const struct sp_footprint *footprint;
    const struct sp_stage *stage;
    int stage_index, batch;
    struct sp_stage_memory *out;
    int *root, *gradient_root;
    const int *maker; /* stage that makes each tensor */
};

static bool is_made_here(const struct layout *layout, int tensor)
{
    return layout->maker[tensor] == layout->stage_index;
}

static bool leaves(const struct layout *layout, int tensor)
{
    return contains(layout->stage->outputs, layout->stage->output_count, tensor);
}

static int flags_of(const struct layout *layout, int layer)
{
    if (layout->footprint->keeps != NULL)
        return layout->footprint->keeps(layout->footprint->self, layer);
    return sp_layer_kinds[layout->network->layers[layer].type]->flags;
}

static bool reads(const struct sp_layer *layer, int tensor)
{
    int i = 0;
    while (i < layer->input_count && layer->inputs[i] != tensor)
        i++;
    return i < layer->input_count;
}

/* May layer l write over the storage that its input shares? Not if anybody still reads an older value there: another
 * layer, a later stage, or a backward pass. */
static bool may_overwrite(const struct layout *layout, int l)
{
    const struct sp_network *network = layout->network;
    int root = layout->root[network->layers[l].inputs[0]];
    if (!(flags_of(layout, l) & SP_IN_PLACE) || root == 0)
        return false;
    for (int t = 0; t <= l; t++) {
        if (layout->root[t] != root || !is_made_here(layout, t))
            continue;
        if (leaves(layout, t) || (flags_of(layout, t - 1) & SP_KEEPS_OUTPUT))
            return false;
        for (int other = layout->stage->first_layer; other < network->layer_count; other++) {
            bool view = (flags_of(layout, other) & SP_VIEW) != 0;
            bool earlier_in_place = other < l && layout->root[other + 1] == root;
            if (other != l && reads(&network->layers[other], t) && !view && !earlier_in_place)
                return false;
            if (reads(&network->layers[other], t) && (flags_of(layout, other) & SP_KEEPS_INPUT))
                return false;
        }
    }
    return network->layers[l].input_count < 2 || network->layers[l].inputs[1] != network->layers[l].inputs[0];
}

static void find_roots(struct layout *layout)
{
    const struct sp_network *network = layout->network;
    for (int t = 0; t < network->tensor_count; t++)
        layout->root[t] = layout->gradient_root[t] = t;
    for (int l = layout->stage->first_layer; l < layout->stage->layer_end; l++) {
        int x = network->layers[l].inputs[0], y = l + 1, flags = flags_of(layout, l);
        if (!is_made_here(layout, x))
            continue;
        if ((flags & SP_VIEW) || may_overwrite(layout, l))
            layout->root[y] = layout->root[x];
        bool only = sp_network_first_consumer(network, x) == l && sp_network_last_consumer(network, x) == l;
        if ((flags & (SP_VIEW | SP_IN_PLACE)) && only && !leaves(layout, x) && x != 0)
            layout->gradient_root[y] = layout->gradient_root[x];
    }
}

/* Is the value that `tensor` holds read by a backward pass of this stage? */
static bool is_kept(const struct layout *layout, int tensor)
{
    if (tensor == 0 || (flags_of(layout, tensor - 1) & SP_KEEPS_OUTPUT))
        return true;
    for (int l = layout->stage->first_layer; l < layout->stage->layer_end; l++)
        if (layout->network->layers[l].inputs[0] == tensor && (flags_of(layout, l) & SP_KEEPS_INPUT))
            return true;
    return false;
}

/* What becomes of a root: all that its members ask for. */
struct root {
    bool kept, leaves;
    size_t bytes;
    int first, last; /* layers: made, last read in this stage */
};

static struct root describe_root(const struct layout *layout, const int *root_of, int root)
{
    struct root it = {.first = root - 1, .last = root - 1};
    for (int t = root; t < layout->network->tensor_count; t++) {
        if (root_of[t] != root || !is_made_here(layout, t))
            continue;
        it.kept = it.kept || is_kept(layout, t);
        it.leaves = it.leaves || leaves(layout, t);
        it.bytes =
            larger(it.bytes, sp_memory_align(layout->footprint->tensor(layout->footprint->self, t, layout->batch)));
        for (int l = layout->stage->first_layer; l < layout->stage->layer_end; l++)
            if (reads(&layout->network->layers[l], t) && l > it.last)
                it.last = l;
    }
    return it;
}

/* The loss is told apart; its output is not a tensor anybody stores. */
static bool is_loss(const struct layout *layout, int tensor)
{
    return tensor == layout->network->layer_count;
}

static struct sp_place place_at(enum sp_region region, int owner, size_t offset)
{
    return (struct sp_place){region, owner, offset};
}

/* Intervals of temporaries, each with the place that is to be filled in. */
struct temporaries {
    struct sp_interval *intervals;
    struct sp_place **places;
    int count;
};

static void add_temporary(struct temporaries *all, struct sp_place *place, int first, int last, size_t bytes)
{
    struct sp_interval *interval = sp_grow((void **)&all->intervals, all->count, sizeof *interval);
    *interval = (struct sp_interval){first, last, bytes, 0};
    *(struct sp_place **)sp_grow((void **)&all->places, all->count, sizeof place) = place;
    all->count++;
}

static size_t place_temporaries(const struct layout *layout, struct temporaries *all)
{
    size_t end = sp_liveness_assign(all->intervals, all->count);
    for (int i = 0; i < all->count; i++)
        *all->places[i] = place_at(SP_REGION_SCRATCH, layout->stage_index, all->intervals[i].offset);
    free(all->intervals);
    free(all->places);
    *all = (struct temporaries){0};
    return end;
}

/* The largest scratchpad of any layer in that pass. */
static size_t scratchpad_bytes(const struct layout *layout, enum sp_pass pass)
{
    size_t most = 0;
    for (int l = layout->stage->first_layer; l < layout->stage->layer_end; l++)
        most = larger(most, layout->footprint->scratch(layout->footprint->self, l, pass, layout->batch));
    return sp_memory_align(most);
}

/* Whether a backward pass of this stage reads the value of a tensor that lies in the boundary. */
static bool backward_reads(const struct layout *layout, int tensor)
{
    if (is_made_here(layout, tensor) && tensor > 0 && (flags_of(layout, tensor - 1) & SP_KEEPS_OUTPUT))
        return true;
    for (int l = layout->stage->first_layer; l < layout->stage->layer_end; l++)
        if (layout->network->layers[l].inputs[0] == tensor && (flags_of(layout, l) & SP_KEEPS_INPUT))
            return true;
    return false;
}

/* Whether B finds values of this stage in copies on another device. */
static bool is_stashed(const struct layout *layout)
{
    return !layout->plan->shared_memory && layout->stage->forward_device != layout->stage->backward_device;
}

/* Values: made here, in the order of layers. */
static void place_values(struct layout *layout)
{
    struct sp_stage_memory *out = layout->out;
    struct temporaries forward = {0}, evaluate = {0};
    for (int t = 0; t < layout->network->tensor_count; t++) {
        if (!is_made_here(layout, t) || layout->root[t] != t || is_loss(layout, t))
            continue;
        struct root root = describe_root(layout, layout->root, t);
        if (root.leaves) {
            out->value[t] = place_at(SP_REGION_BOUNDARY, layout->stage_index, take(&out->boundary_bytes, root.bytes));
            if (is_stashed(layout) && root.kept)
                out->stashed[t] = out->value[t];
            out->evaluate[t] =
                place_at(SP_REGION_EVALUATE, layout->stage_index, take(&out->evaluate_bytes, root.bytes));
            continue;
        }
        if (root.kept)
            out->value[t] = place_at(SP_REGION_SLOT, layout->stage_index, take(&out->slot_bytes, root.bytes));
        else
            add_temporary(&forward, &out->value[t], root.first, root.last, root.bytes);
        add_temporary(&evaluate, &out->evaluate[t], root.first, root.last, root.bytes);
    }
    out->scratchpad_offset[SP_PASS_FORWARD] = place_temporaries(layout, &forward);
    out->scratchpad_offset[SP_PASS_EVALUATE] = place_temporaries(layout, &evaluate);
}

/* Gradients: alive from the last layer that reads the value to the layer that makes it, so steps count backwards. */
static void place_gradients(struct layout *layout)
{
    struct sp_stage_memory *out = layout->out;
    struct temporaries backward = {0};
    size_t addend = 0, partial = 0;
    for (int t = 1; t < layout->network->tensor_count; t++) {
        if (!is_made_here(layout, t) || layout->gradient_root[t] != t || is_loss(layout, t))
            continue;
        struct root root = describe_root(layout, layout->gradient_root, t);
        if (root.leaves)
            out->gradient[t] =
                place_at(SP_REGION_BOUNDARY, layout->stage_index, take(&out->boundary_bytes, root.bytes));
        else
            add_temporary(&backward, &out->gradient[t], -root.last, -root.first, root.bytes);
    }
    for (int l = layout->stage->first_layer; l < layout->stage->layer_end; l++) {
        const struct sp_layer *layer = &layout->network->layers[l];
        size_t parameters = 0;
        for (int i = 0; i < layer->input_count; i++)
            if (layer->inputs[i] != 0 && sp_network_last_consumer(layout->network, layer->inputs[i]) != l)
                addend =
                    larger(addend, layout->footprint->tensor(layout->footprint->self, layer->inputs[i], layout->batch));
        for (int p = 0; p < SP_PARAMETER_COUNT; p++)
            parameters +=
                sp_memory_align(layout->footprint->parameter(layout->footprint->self, l, (enum sp_parameter)p));
        partial = larger(partial, parameters);
    }
    size_t end = place_temporaries(layout, &backward);
    out->addend_bytes = sp_memory_align(addend);
    out->addend_offset = take(&end, 2 * out->addend_bytes);
    out->partial_offset = take(&end, layout->batch < layout->plan->batch ? partial : 0);
    out->scratchpad_offset[SP_PASS_BACKWARD] = end;
}

/* Tensors made in earlier stages, in the maker's memory. */
static void place_shared_inputs(struct layout *layout)
{
    struct sp_stage_memory *out = layout->out;
    for (int i = 0; i < layout->stage->input_count; i++) {
        int t = layout->stage->inputs[i], maker = layout->maker[t];
        const struct sp_stage_memory *there = out - layout->stage_index + maker;
        out->value[t] = place_at(SP_REGION_PEER, maker, there->value[t].offset);
        out->gradient[t] = place_at(SP_REGION_PEER, maker, there->gradient[t].offset);
        out->evaluate[t] = place_at(SP_REGION_PEER, maker, there->evaluate[t].offset);
    }
}

/* The same where devices have memories of their own: as the stage before has them where that is on the same device,
 * else in a copy. Tensor 0 has no gradient. */
static void place_inputs(struct layout *layout)
{
    struct sp_stage_memory *out = layout->out;
    const struct sp_stage_memory *before = out - 1;
    const struct sp_stage *stage = layout->stage, *previous = stage - 1;
    int self = layout->stage_index;
    for (int i = 0; i < stage->input_count; i++) {
        int t = stage->inputs[i];
        size_t bytes = layout->footprint->tensor(layout->footprint->self, t, layout->batch);
        bool forward_copy = previous->forward_device != stage->forward_device;
        if (forward_copy) {
            out->value[t] = place_at(SP_REGION_ARRIVAL, self, take(&out->arrival_bytes, bytes));
            out->evaluate[t] = place_at(SP_REGION_EVALUATE, self, take(&out->evaluate_bytes, bytes));
        } else {
            out->value[t] = before->value[t];
            out->evaluate[t] = before->evaluate[t];
        }
        if (is_stashed(layout) && backward_reads(layout, t))
            out->stashed[t] =
                forward_copy ? out->value[t] : place_at(SP_REGION_ARRIVAL, self, take(&out->arrival_bytes, bytes));
        if (t > 0)
            out->gradient[t] = previous->backward_device == stage->backward_device
                                   ? before->gradient[t]
                                   : place_at(SP_REGION_ARRIVAL, self, take(&out->arrival_bytes, bytes));
    }
}

/* Those that share take their root's place. A view of another stage's tensor is that tensor. */
static void follow_roots(struct layout *layout)
{
    struct sp_stage_memory *out = layout->out;
    for (int t = 0; t < layout->network->tensor_count; t++) {
        if (!is_made_here(layout, t) || is_loss(layout, t))
            continue;
        out->value[t] = out->value[layout->root[t]];
        out->evaluate[t] = out->evaluate[layout->root[t]];
        out->stashed[t] = out->stashed[layout->root[t]];
        if (t > 0)
            out->gradient[t] = out->gradient[layout->gradient_root[t]];
    }
}

static void lay_out(struct layout *layout)
{
    struct sp_stage_memory *out = layout->out;
    size_t tensors = (size_t)layout->network->tensor_count;
    int layers = layout->stage->layer_end - layout->stage->first_layer;
    out->batch = layout->batch;
    out->value = sp_calloc(tensors, sizeof *out->value);
    out->gradient = sp_calloc(tensors, sizeof *out->gradient);
    out->evaluate = sp_calloc(tensors, sizeof *out->evaluate);
    out->stashed = sp_calloc(tensors, sizeof *out->stashed);
    out->saved_offset = sp_calloc((size_t)layers, sizeof *out->saved_offset);
    find_roots(layout);
    if (layout->plan->shared_memory)
        place_shared_inputs(layout);
    else
        place_inputs(layout);
    place_values(layout);
    place_gradients(layout);
    follow_roots(layout);
    for (int l = 0; l < layers; l++)
        out->saved_offset[l] =
            take(&out->slot_bytes,
                 layout->footprint->saved(layout->footprint->self, layout->stage->first_layer + l, layout->batch));
    if (layout->stage->layer_end == layout->network->layer_count)
        out->labels_offset = take(&out->slot_bytes, sizeof(int32_t) * (size_t)layout->batch);
    for (int pass = 0; pass < SP_PASS_COUNT; pass++)
        out->scratch_bytes[pass] = out->scratchpad_offset[pass] + scratchpad_bytes(layout, (enum sp_pass)pass);
}

void sp_memory_lay_out_stage(const struct sp_plan *plan, const struct sp_footprint *footprint, int phase, int stage,
                             const int *maker, struct sp_stage_memory *out)
{
    size_t tensors = (size_t)plan->network->tensor_count;
    struct layout layout = {.plan = plan,
                            .network = plan->network,
                            .footprint = footprint,
                            .stage = &plan->stages[stage],
                            .stage_index = stage,
                            .batch = sp_plan_microbatch_size(plan, phase),
                            .out = out,
                            .root = sp_calloc(tensors, sizeof *layout.root),
                            .gradient_root = sp_calloc(tensors, sizeof *layout.gradient_root),
                            .maker = maker};
    lay_out(&layout);
    free(layout.root);
    free(layout.gradient_root);
}
