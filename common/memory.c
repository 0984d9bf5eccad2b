#include "common/memory.h"
#include "common/alloc.h"
#include "common/layer.h"
#include "common/liveness.h"

#include <stdlib.h>
#include <string.h>

const char *const sp_memory_kind_names[SP_MEMORY_KIND_COUNT] = {
    "weights", "optimizer", "gradients", "versions", "activations", "boundary", "scratch",
};

size_t sp_memory_align(size_t bytes)
{
    return (bytes + SP_MEMORY_ALIGN - 1) / SP_MEMORY_ALIGN * SP_MEMORY_ALIGN;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The plain footprint. */

static size_t plain_tensor(const void *self, int tensor, int batch)
{
    const struct sp_network *network = self;
    return sizeof(float) * (size_t)sp_shape_elements(network->shapes[tensor]) * (size_t)batch;
}

static size_t plain_saved(const void *self, int layer, int batch)
{
    const struct sp_layer *l = &((const struct sp_network *)self)->layers[layer];
    return sp_layer_kinds[l->type]->saved_bytes(l, batch);
}

static size_t plain_parameter(const void *self, int layer, enum sp_parameter which)
{
    return sizeof(float) * (size_t)((const struct sp_network *)self)->layers[layer].parameters[which];
}

static size_t plain_state(const void *self, int layer)
{
    return sizeof(float) * (size_t)((const struct sp_network *)self)->layers[layer].state;
}

static size_t plain_scratch(const void *self, int layer, enum sp_pass pass, int batch)
{
    (void)self;
    (void)layer;
    (void)pass;
    (void)batch;
    return 0;
}

struct sp_footprint sp_footprint_plain(const struct sp_network *network)
{
    return (struct sp_footprint){
        .self = network,
        .tensor = plain_tensor,
        .saved = plain_saved,
        .parameter = plain_parameter,
        .state = plain_state,
        .scratch = plain_scratch,
    };
}

/* One stage in one phase while it is laid out. Arrays over tensors; roots are the first tensors of those that share. */
struct layout {
    const struct sp_plan *plan;
    const struct sp_network *network;
    const struct sp_footprint *footprint;
    const struct sp_stage *stage;
    int stage_index, batch;
    struct sp_stage_memory *out;
    int *root, *gradient_root;
    int *maker; /* stage that makes each tensor */
};

static bool is_made_here(const struct layout *layout, int tensor)
{
    return layout->maker[tensor] == layout->stage_index;
}

static bool contains(const int *tensors, int count, int tensor)
{
    for (int i = 0; i < count; i++)
        if (tensors[i] == tensor)
            return true;
    return false;
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

static size_t take(size_t *used, size_t bytes)
{
    size_t offset = *used;
    *used += sp_memory_align(bytes);
    return offset;
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

static void lay_out_stage(struct layout *layout)
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

/*
 * Evaluation minibatches whose copies a stage keeps. Minibatch e + R comes when the stage has forwarded e + R - 2. Two
 * do where nobody but this stage reads them; where it hands some of them on, it has had e + R - 4 credited by then;
 * where the stages behind it on the same device read them too, those have forwarded e + R - 3, and had e + R - 5
 * credited.
 */
static int copied_evaluations(const struct sp_plan *plan, int i)
{
    const struct sp_stage *stage = &plan->stages[i];
    if (i + 1 == plan->stage_count)
        return 2;
    if (plan->stages[i + 1].forward_device == stage->forward_device)
        return 5;
    for (int n = 0; n < stage->input_count; n++)
        if (contains(stage->outputs, stage->output_count, stage->inputs[n]))
            return 4;
    return 2;
}

static void lay_out_phases(struct sp_memory_plan *memory, const struct sp_footprint *footprint)
{
    const struct sp_plan *plan = memory->plan;
    size_t tensors = (size_t)plan->network->tensor_count;
    int *root = sp_calloc(tensors, sizeof *root), *gradient_root = sp_calloc(tensors, sizeof *gradient_root);
    int *maker = sp_calloc(tensors, sizeof *maker);
    for (int i = 0; i < plan->stage_count; i++)
        for (int l = plan->stages[i].first_layer; l < plan->stages[i].layer_end; l++)
            maker[l + 1] = i;
    for (int p = 0; p < plan->phase_count; p++) {
        for (int i = 0; i < plan->stage_count; i++) {
            struct layout layout = {.plan = plan,
                                    .network = plan->network,
                                    .footprint = footprint,
                                    .stage = &plan->stages[i],
                                    .stage_index = i,
                                    .batch = sp_plan_microbatch_size(plan, p),
                                    .out = &memory->stages[p * plan->stage_count + i],
                                    .root = root,
                                    .gradient_root = gradient_root,
                                    .maker = maker};
            lay_out_stage(&layout);
        }
    }
    /* An evaluation's outputs are kept until the farthest stage that reads them is through: two minibatches a stage. */
    for (int t = 0; t < plan->network->tensor_count; t++)
        for (int i = maker[t] + 1; plan->evaluate_every > 0 && i < plan->stage_count; i++)
            if (contains(plan->stages[i].inputs, plan->stages[i].input_count, t) &&
                memory->evaluate_ring[maker[t]] < 2 * (i - maker[t]))
                memory->evaluate_ring[maker[t]] = 2 * (i - maker[t]);
    for (int i = 0; i < plan->stage_count && plan->evaluate_every > 0 && !plan->shared_memory; i++) {
        int ring = copied_evaluations(plan, i);
        memory->evaluate_ring[i] = ring > memory->evaluate_ring[i] ? ring : memory->evaluate_ring[i];
    }
    free(root);
    free(gradient_root);
    free(maker);
}

static void lay_out_parameters(struct sp_memory_plan *memory, const struct sp_footprint *footprint)
{
    for (int i = 0; i < memory->plan->stage_count; i++) {
        const struct sp_stage *stage = &memory->plan->stages[i];
        struct sp_parameter_memory *out = &memory->parameters[i];
        int layers = stage->layer_end - stage->first_layer;
        out->offset = sp_calloc((size_t)layers, sizeof *out->offset);
        out->state_offset = sp_calloc((size_t)layers, sizeof *out->state_offset);
        for (int l = 0; l < layers; l++) {
            for (int p = 0; p < SP_PARAMETER_COUNT; p++)
                out->offset[l][p] =
                    take(&out->block_bytes,
                         footprint->parameter(footprint->self, stage->first_layer + l, (enum sp_parameter)p));
            out->state_offset[l] = take(&out->state_bytes, footprint->state(footprint->self, stage->first_layer + l));
        }
    }
}

static void lay_out_staging(struct sp_memory_plan *memory, const struct sp_footprint *footprint)
{
    const struct sp_plan *plan = memory->plan;
    for (int i = 0; i < plan->stage_count && !plan->shared_memory; i++) {
        struct sp_staging *out = &memory->staging[i];
        size_t pixels = 0, labels = 0;
        for (int p = 0; p < plan->phase_count; p++) {
            int batch = sp_plan_microbatch_size(plan, p);
            pixels = larger(pixels, footprint->tensor(footprint->self, 0, batch));
            labels = larger(labels, sizeof(int32_t) * (size_t)batch);
        }
        if (plan->stages[i].first_layer == 0)
            out->pixels = take(&out->bytes, pixels);
        if (plan->stages[i].layer_end == plan->network->layer_count) {
            out->labels = take(&out->bytes, labels);
            out->result = take(&out->bytes, SP_RESULT_BYTES);
        }
    }
}

/* Bytes of a stage's part of each kind on its forward device (and backward device, if that is the same). */
static void stage_bytes(struct sp_memory_plan *memory, int i, size_t forward[SP_MEMORY_KIND_COUNT],
                        size_t backward[SP_MEMORY_KIND_COUNT])
{
    const struct sp_plan *plan = memory->plan;
    const struct sp_parameter_memory *parameters = &memory->parameters[i];
    bool split = plan->stages[i].forward_device != plan->stages[i].backward_device;
    size_t slot = 0, boundary = 0, arrival = 0, evaluate = 0, block = parameters->block_bytes;
    for (int p = 0; p < plan->phase_count; p++) {
        const struct sp_stage_memory *stage = &memory->stages[p * plan->stage_count + i];
        slot = larger(slot, stage->slot_bytes);
        boundary = larger(boundary, stage->boundary_bytes);
        arrival = larger(arrival, stage->arrival_bytes);
        evaluate = larger(evaluate, stage->evaluate_bytes);
    }
    size_t slots = (size_t)plan->in_flight[i];
    memory->arrival_base[i] = slots * boundary;
    memory->evaluate_base[i] = memory->arrival_base[i] + (i > 0 ? (size_t)plan->in_flight[i - 1] * arrival : 0);
    memory->arriving_base[i] = memory->evaluate_base[i] + (size_t)memory->evaluate_ring[i] * evaluate;
    memory->staging_base[i] = memory->arriving_base[i] + (split ? block : 0);
    memset(forward, 0, SP_MEMORY_KIND_COUNT * sizeof *forward);
    memset(backward, 0, SP_MEMORY_KIND_COUNT * sizeof *backward);
    forward[SP_MEMORY_WEIGHTS] = block + parameters->state_bytes;
    forward[SP_MEMORY_ACTIVATIONS] = slots * slot;
    forward[SP_MEMORY_BOUNDARY] = memory->staging_base[i] + SP_STAGING * memory->staging[i].bytes;
    size_t *trains = split ? backward : forward;
    trains[SP_MEMORY_OPTIMIZER] = trains[SP_MEMORY_GRADIENTS] = block;
    trains[SP_MEMORY_VERSIONS] = (size_t)(plan->versions[i] - 1) * block;
    if (split) {
        backward[SP_MEMORY_WEIGHTS] = block;
        backward[SP_MEMORY_ACTIVATIONS] = plan->shared_memory ? 0 : slots * slot;
        backward[SP_MEMORY_BOUNDARY] = plan->shared_memory ? 0 : memory->evaluate_base[i];
    }
}

static void lay_out_devices(struct sp_memory_plan *memory)
{
    const struct sp_plan *plan = memory->plan;
    for (int i = 0; i < plan->stage_count; i++) {
        size_t forward[SP_MEMORY_KIND_COUNT], backward[SP_MEMORY_KIND_COUNT];
        const struct sp_stage *stage = &plan->stages[i];
        stage_bytes(memory, i, forward, backward);
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
            memory->forward_offset[i * SP_MEMORY_KIND_COUNT + k] = memory->bytes[stage->forward_device][k];
            memory->bytes[stage->forward_device][k] += forward[k];
            memory->backward_offset[i * SP_MEMORY_KIND_COUNT + k] = memory->bytes[stage->backward_device][k];
            memory->bytes[stage->backward_device][k] += backward[k];
            if (stage->forward_device == stage->backward_device)
                memory->backward_offset[i * SP_MEMORY_KIND_COUNT + k] =
                    memory->forward_offset[i * SP_MEMORY_KIND_COUNT + k];
        }
        for (int p = 0; p < plan->phase_count; p++) {
            const size_t *scratch = memory->stages[p * plan->stage_count + i].scratch_bytes;
            size_t *f = &memory->bytes[stage->forward_device][SP_MEMORY_SCRATCH];
            size_t *b = &memory->bytes[stage->backward_device][SP_MEMORY_SCRATCH];
            *f = larger(*f, scratch[SP_PASS_FORWARD]);
            *f = larger(*f, plan->evaluate_every > 0 ? scratch[SP_PASS_EVALUATE] : 0);
            *b = larger(*b, scratch[SP_PASS_BACKWARD]);
        }
    }
    for (int i = 0; i < plan->stage_count; i++) /* scratch is one region a device */
        memory->forward_offset[i * SP_MEMORY_KIND_COUNT + SP_MEMORY_SCRATCH] =
            memory->backward_offset[i * SP_MEMORY_KIND_COUNT + SP_MEMORY_SCRATCH] = 0;
}

sp_status sp_memory_plan_create(const struct sp_plan *plan, const struct sp_footprint *footprint,
                                struct sp_memory_plan **out, struct sp_error *err)
{
    (void)err;
    struct sp_memory_plan *memory = sp_calloc(1, sizeof *memory);
    size_t stages = (size_t)plan->stage_count;
    memory->plan = plan;
    memory->stages = sp_calloc(stages * (size_t)plan->phase_count, sizeof *memory->stages);
    memory->parameters = sp_calloc(stages, sizeof *memory->parameters);
    memory->evaluate_ring = sp_calloc(stages, sizeof *memory->evaluate_ring);
    memory->arrival_base = sp_calloc(stages, sizeof(size_t));
    memory->evaluate_base = sp_calloc(stages, sizeof(size_t));
    memory->arriving_base = sp_calloc(stages, sizeof(size_t));
    memory->staging_base = sp_calloc(stages, sizeof(size_t));
    memory->staging = sp_calloc(stages, sizeof *memory->staging);
    memory->forward_offset = sp_calloc(stages * SP_MEMORY_KIND_COUNT, sizeof(size_t));
    memory->backward_offset = sp_calloc(stages * SP_MEMORY_KIND_COUNT, sizeof(size_t));
    memory->bytes = sp_calloc((size_t)plan->device_count, sizeof *memory->bytes);
    lay_out_phases(memory, footprint);
    lay_out_parameters(memory, footprint);
    lay_out_staging(memory, footprint);
    lay_out_devices(memory);
    *out = memory;
    return SP_OK;
}

void sp_memory_plan_destroy(struct sp_memory_plan **memory)
{
    struct sp_memory_plan *m = *memory;
    if (m == NULL)
        return;
    for (int s = 0; s < m->plan->phase_count * m->plan->stage_count; s++) {
        free(m->stages[s].value);
        free(m->stages[s].gradient);
        free(m->stages[s].evaluate);
        free(m->stages[s].stashed);
        free(m->stages[s].saved_offset);
    }
    for (int i = 0; i < m->plan->stage_count; i++) {
        free(m->parameters[i].offset);
        free(m->parameters[i].state_offset);
    }
    free(m->stages);
    free(m->parameters);
    free(m->evaluate_ring);
    free(m->arrival_base);
    free(m->evaluate_base);
    free(m->arriving_base);
    free(m->staging_base);
    free(m->staging);
    free(m->forward_offset);
    free(m->backward_offset);
    free(m->bytes);
    free(m);
    *memory = NULL;
}

size_t sp_memory_device_bytes(const struct sp_memory_plan *memory, int device)
{
    size_t total = 0;
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
        total += memory->bytes[device][k];
    return total;
}

/* What is alive now. */

static bool has_two_devices(const struct sp_stage *stage)
{
    return stage->forward_device != stage->backward_device;
}

static void note_peak(struct sp_live *live)
{
    size_t total = 0;
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
        live->peak[k] = larger(live->peak[k], live->now[k]);
        total += live->now[k];
    }
    live->peak_total = larger(live->peak_total, total);
}

void sp_live_init(struct sp_live *live, const struct sp_memory_plan *memory, int device)
{
    const struct sp_plan *plan = memory->plan;
    *live = (struct sp_live){.memory = memory, .device = device};
    live->versions = sp_calloc((size_t)plan->stage_count, sizeof *live->versions);
    memcpy(live->now, memory->bytes[device], sizeof live->now);
    for (int i = 0; i < plan->stage_count; i++) {
        const struct sp_stage *stage = &plan->stages[i];
        live->versions[i] = 1;
        if (stage->backward_device == device)
            live->now[SP_MEMORY_VERSIONS] -= (size_t)(plan->versions[i] - 1) * memory->parameters[i].block_bytes;
        if (has_two_devices(stage) || stage->forward_device != device)
            continue;
        size_t slot = 0;
        for (int p = 0; p < plan->phase_count; p++)
            slot = larger(slot, memory->stages[p * plan->stage_count + i].slot_bytes);
        live->now[SP_MEMORY_ACTIVATIONS] -= (size_t)plan->in_flight[i] * slot;
        live->now[SP_MEMORY_BOUNDARY] -= memory->arrival_base[i];
    }
    note_peak(live);
}

void sp_live_fini(struct sp_live *live)
{
    free(live->versions);
    live->versions = NULL;
}

void sp_live_begin(struct sp_live *live, const struct sp_instr *instr)
{
    const struct sp_plan *plan = live->memory->plan;
    const struct sp_stage_memory *stage = &live->memory->stages[instr->phase * plan->stage_count + instr->stage];
    if (instr->kind == SP_INSTR_FORWARD && !instr->evaluate && !has_two_devices(&plan->stages[instr->stage])) {
        live->now[SP_MEMORY_ACTIVATIONS] += stage->slot_bytes;
        live->now[SP_MEMORY_BOUNDARY] += stage->boundary_bytes;
    } else if (instr->kind == SP_INSTR_UPDATE) {
        int64_t alive = instr->version - instr->oldest + 1;
        size_t block = live->memory->parameters[instr->stage].block_bytes;
        live->now[SP_MEMORY_VERSIONS] += (size_t)(alive - 1) * block;
        live->now[SP_MEMORY_VERSIONS] -= (size_t)(live->versions[instr->stage] - 1) * block;
        live->versions[instr->stage] = alive;
    } else {
        return;
    }
    note_peak(live);
}

void sp_live_end(struct sp_live *live, const struct sp_instr *instr)
{
    const struct sp_plan *plan = live->memory->plan;
    const struct sp_stage_memory *stage = &live->memory->stages[instr->phase * plan->stage_count + instr->stage];
    if (instr->kind != SP_INSTR_BACKWARD || has_two_devices(&plan->stages[instr->stage]))
        return;
    live->now[SP_MEMORY_ACTIVATIONS] -= stage->slot_bytes;
    live->now[SP_MEMORY_BOUNDARY] -= stage->boundary_bytes;
}
