#include "common/memory_stage.h"
#include "common/alloc.h"
#include "common/layer.h"

#include <stdlib.h>
#include <string.h>

const char *const sp_memory_kind_names[SP_MEMORY_KIND_COUNT] = {
    "weights", "optimizer", "gradients", "versions", "activations", "boundary", "scratch",
};

size_t sp_memory_align(size_t bytes)
{
    return (bytes + SP_MEMORY_ALIGN - 1) / SP_MEMORY_ALIGN * SP_MEMORY_ALIGN;
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
    int *maker = sp_calloc(tensors, sizeof *maker);
    for (int i = 0; i < plan->stage_count; i++)
        for (int l = plan->stages[i].first_layer; l < plan->stages[i].layer_end; l++)
            maker[l + 1] = i;
    for (int p = 0; p < plan->phase_count; p++)
        for (int i = 0; i < plan->stage_count; i++)
            sp_memory_lay_out_stage(plan, footprint, p, i, maker, &memory->stages[p * plan->stage_count + i]);
    /* An evaluation's outputs are kept until the farthest stage that reads them is through: two minibatches a stage. */
    for (int t = 0; t < plan->network->tensor_count; t++)
        for (int i = maker[t] + 1; sp_plan_evaluates(plan) && i < plan->stage_count; i++)
            if (contains(plan->stages[i].inputs, plan->stages[i].input_count, t) &&
                memory->evaluate_ring[maker[t]] < 2 * (i - maker[t]))
                memory->evaluate_ring[maker[t]] = 2 * (i - maker[t]);
    for (int i = 0; i < plan->stage_count && sp_plan_evaluates(plan) && !plan->shared_memory; i++) {
        int ring = copied_evaluations(plan, i);
        memory->evaluate_ring[i] = ring > memory->evaluate_ring[i] ? ring : memory->evaluate_ring[i];
    }
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
            *f = larger(*f, sp_plan_evaluates(plan) ? scratch[SP_PASS_EVALUATE] : 0);
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
