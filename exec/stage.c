/*
 * One stage's pass, layer by layer: finds every pointer in the memory plan and adds up gradients of tensors that
 * several layers read. The last of them (in layer order) writes, the others add, in falling order; so a sum does not
 * depend on the cuts.
 */
#include "exec/body.h"
#include "exec/flow.h"

#include <string.h>

/* One pass of one stage. */
struct pass {
    struct exec_run *run;
    const struct sp_instr *instr;
    const struct sp_stage *stage;
    const struct sp_stage_memory *memory;
    const struct sp_parameter_memory *parameters;
    void *model;
    struct exec_body *body; /* NULL: steps are given to the device at once */
    enum sp_pass kind;
    char *weights, *state, *gradients, *scratch;
};

static struct pass begin_pass(struct exec_run *run, const struct sp_instr *instr, enum sp_pass kind)
{
    int i = instr->stage;
    bool backward = kind == SP_PASS_BACKWARD;
    struct pass pass = {
        .run = run,
        .instr = instr,
        .stage = &run->plan->stages[i],
        .memory = &run->memory->stages[instr->phase * run->plan->stage_count + i],
        .parameters = &run->memory->parameters[i],
        .model = run->models[instr->phase],
        .kind = kind,
        .scratch = exec_run_part(run, i, SP_MEMORY_SCRATCH, backward),
        .gradients = exec_run_part(run, i, SP_MEMORY_GRADIENTS, true),
        .weights = backward ? exec_run_backward_weights(run, i, instr->version)
                            : exec_run_forward_weights(run, i, instr->version),
    };
    char *first = exec_run_part(run, i, SP_MEMORY_WEIGHTS, false);
    pass.state = first == NULL ? NULL : first + pass.parameters->block_bytes;
    return pass;
}

static void *find(const struct pass *pass, struct sp_place place, bool backward)
{
    if (place.region == SP_REGION_SCRATCH)
        return pass->scratch + place.offset;
    return exec_run_find(pass->run, pass->instr, place, backward);
}

/* Whether this is a B that has values in copies of its own. */
static bool is_apart(const struct pass *pass)
{
    return pass->kind == SP_PASS_BACKWARD && pass->stage->forward_device != pass->stage->backward_device;
}

static char *slot_of(const struct pass *pass)
{
    struct sp_place place = {SP_REGION_SLOT, pass->instr->stage, 0};
    return find(pass, place, is_apart(pass));
}

static void *value_of(const struct pass *pass, int tensor)
{
    const struct sp_stage_memory *memory = pass->memory;
    if (pass->kind == SP_PASS_EVALUATE)
        return find(pass, memory->evaluate[tensor], false);
    bool stashed = is_apart(pass) && memory->stashed[tensor].region != SP_REGION_NONE;
    return find(pass, stashed ? memory->stashed[tensor] : memory->value[tensor], is_apart(pass));
}

static void *gradient_of(const struct pass *pass, int tensor)
{
    return find(pass, pass->memory->gradient[tensor], true);
}

static void *queue_of(const struct pass *pass)
{
    return exec_flow_queue(pass->run, pass->instr, pass->kind == SP_PASS_BACKWARD);
}

/* Everything of a layer's pass but gradients; zero to the last byte of padding where nothing is. */
static void fill_io(const struct pass *pass, int l, struct exec_io *io)
{
    const struct sp_layer *layer = &pass->run->plan->network->layers[l];
    int local = l - pass->stage->first_layer;
    memset(io, 0, sizeof *io);
    io->queue = queue_of(pass);
    io->batch = pass->memory->batch;
    io->minibatch_size = pass->run->plan->batch;
    io->label_smoothing = pass->run->config.label_smoothing;
    io->scratch = pass->scratch == NULL ? NULL : pass->scratch + pass->memory->scratchpad_offset[pass->kind];
    if (layer->type == SP_LAYER_DROPOUT && pass->kind == SP_PASS_FORWARD) {
        io->seed = pass->run->config.seed;
        int64_t sample = pass->instr->minibatch * io->minibatch_size + (int64_t)pass->instr->microbatch * io->batch;
        io->sequence = (uint64_t)sample << 16 | (uint64_t)l;
    }
    for (int i = 0; i < layer->input_count; i++)
        io->input[i] = value_of(pass, layer->inputs[i]);
    if (l + 1 < pass->run->plan->network->layer_count)
        io->output = value_of(pass, l + 1);
    for (int p = 0; p < SP_PARAMETER_COUNT; p++)
        if (layer->parameters[p] > 0)
            io->parameter[p] = pass->weights + pass->parameters->offset[local][p];
    if (layer->state > 0)
        io->state = pass->state + pass->parameters->state_offset[local];
    if (pass->kind != SP_PASS_EVALUATE)
        io->saved = slot_of(pass) + pass->memory->saved_offset[local];
}

static bool is_first_stage(const struct pass *pass)
{
    return pass->stage->first_layer == 0;
}

static bool is_last_stage(const struct pass *pass)
{
    return pass->stage->layer_end == pass->run->plan->network->layer_count;
}

/* Gets the minibatch from the loader where this stage needs it, and lets go of it after its last microbatch. Pixels and
 * labels are copied into the slot, so that a minibatch leaves the loader early. */
static sp_status take_batch(struct pass *pass, struct exec_batch *batch, struct sp_error *err)
{
    struct exec_run *run = pass->run;
    bool evaluate = pass->kind == SP_PASS_EVALUATE;
    struct exec_loader *loader = evaluate ? run->test_loaders[pass->instr->phase] : run->train_loader;
    int64_t number = pass->instr->minibatch - (evaluate ? run->first_evaluation[pass->instr->phase] : 0);
    double start_s = exec_run_now_s(run);
    bool taken = exec_loader_acquire(loader, number, batch);
    int device = run->plan->stages[pass->instr->stage].forward_device;
    if (run->flow == NULL)
        run->trace->lanes[device].total.data_wait_s += exec_run_now_s(run) - start_s;
    if (!taken)
        return SP_FAIL(err, SP_E_INTERRUPTED, "loading was stopped");
    size_t skip = evaluate ? 0 : (size_t)pass->instr->microbatch * (size_t)pass->memory->batch;
    batch->pixels += skip * (size_t)sp_shape_elements(run->data->shape);
    batch->labels += skip;
    return SP_OK;
}

/* Counts a minibatch that a stage is done with; false when it has microbatches to come. */
static bool count_fed(struct exec_run *run, const struct sp_instr *instr)
{
    const struct sp_stage *stage = &run->plan->stages[instr->stage];
    struct exec_fed *fed = instr->evaluate ? &run->test_fed[instr->phase] : &run->train_fed;
    if (!instr->evaluate && instr->microbatch != run->plan->phases[instr->phase].microbatches - 1)
        return false;
    if (stage->first_layer == 0)
        fed->first_stage++;
    if (stage->layer_end == run->plan->network->layer_count)
        fed->last_stage++;
    return true;
}

void exec_stage_skip(struct exec_run *run, const struct sp_instr *instr)
{
    (void)count_fed(run, instr);
}

static void release_batch(struct pass *pass, int times)
{
    struct exec_run *run = pass->run;
    bool evaluate = pass->kind == SP_PASS_EVALUATE;
    if (!count_fed(run, pass->instr))
        return;
    struct exec_loader *loader = evaluate ? run->test_loaders[pass->instr->phase] : run->train_loader;
    int64_t number = pass->instr->minibatch - (evaluate ? run->first_evaluation[pass->instr->phase] : 0);
    if (run->flow != NULL && times > 0)
        exec_flow_release(run, pass->instr, loader, number, times);
    for (int t = 0; t < times && run->flow == NULL; t++)
        exec_loader_release(loader, number);
}

/* Adds a layer's pass to the trace of layers, where there is one. */
static sp_status add_layer_span(const struct pass *pass, int l, double start_s, struct sp_error *err)
{
    static const enum sp_span_kind kinds[] = {[SP_PASS_FORWARD] = SP_SPAN_FORWARD,
                                              [SP_PASS_BACKWARD] = SP_SPAN_BACKWARD,
                                              [SP_PASS_EVALUATE] = SP_SPAN_EVALUATE};
    int device = pass->kind == SP_PASS_BACKWARD ? pass->stage->backward_device : pass->stage->forward_device;
    if (pass->run->layers != NULL && pass->run->flow != NULL)
        return exec_flow_layer(pass->run, device, l, err);
    if (pass->run->layers != NULL)
        sp_trace_add(pass->run->layers, device,
                     &(struct sp_span){.start_s = start_s,
                                       .end_s = exec_run_now_s(pass->run),
                                       .minibatch = pass->instr->minibatch,
                                       .version = pass->instr->version,
                                       .stage = l,
                                       .microbatch = pass->instr->microbatch,
                                       .kind = kinds[pass->kind]});
    return SP_OK;
}

static double layer_start_s(const struct pass *pass)
{
    return pass->run->layers != NULL ? exec_run_now_s(pass->run) : 0;
}

/* What the layers read and write beside tensors: memory of the device. */
struct given {
    const int32_t *labels;
    struct exec_score score, *result;
};

/* Copies pixels and labels to where the layers find them. */
static sp_status take_input(struct pass *pass, const struct exec_batch *batch, struct given *given,
                            struct sp_error *err)
{
    struct exec_run *run = pass->run;
    bool keeps_labels = is_last_stage(pass) && pass->kind == SP_PASS_FORWARD;
    int32_t *labels = keeps_labels ? (int32_t *)(void *)(slot_of(pass) + pass->memory->labels_offset) : NULL;
    void *pixels = is_first_stage(pass) ? value_of(pass, 0) : NULL;
    given->labels = keeps_labels ? labels : batch->labels;
    if (run->flow != NULL)
        return exec_flow_take(run, pass->instr, pixels, labels, &given->labels, &given->result, err);
    if (pixels != NULL)
        SP_TRY(run->backend->import_tensor(pass->model, 0, batch->pixels, pixels, err));
    if (keeps_labels)
        memcpy(labels, batch->labels, sizeof *labels * (size_t)pass->memory->batch);
    return SP_OK;
}

static sp_status run_layers(struct pass *pass, const struct given *given, struct sp_error *err)
{
    for (int l = pass->stage->first_layer; l < pass->stage->layer_end; l++) {
        struct exec_io io;
        fill_io(pass, l, &io);
        bool is_loss = l + 1 == pass->run->plan->network->layer_count;
        io.labels = is_loss ? given->labels : NULL;
        if (is_loss && given->result != NULL) {
            io.loss_sum = &given->result->loss_sum;
            io.correct = &given->result->correct;
        }
        double start_s = layer_start_s(pass);
        SP_TRY(exec_body_run(pass->run, pass->body, pass->model, l, pass->kind, &io, err));
        SP_TRY(add_layer_span(pass, l, start_s, err));
    }
    return exec_body_end(pass->run, pass->body, err);
}

static sp_status run_forward(struct pass *pass, struct sp_error *err)
{
    struct exec_run *run = pass->run;
    struct exec_batch batch = {0};
    struct given given = {.result = &given.score};
    int takes = is_first_stage(pass) + is_last_stage(pass), device = pass->stage->forward_device;
    if (takes > 0) {
        SP_TRY(exec_flow_make_room(run, pass->instr, err));
        SP_TRY(take_batch(pass, &batch, err));
        SP_TRY(exec_flow_load(run, device, pass->instr, &batch, err));
    }
    SP_TRY(exec_flow_begin(run, device, pass->instr, err));
    if (takes > 0)
        SP_TRY(take_input(pass, &batch, &given, err));
    pass->body = exec_body_begin(run, device, pass->instr, pass->kind);
    SP_TRY(run_layers(pass, &given, err));
    SP_TRY(exec_flow_end(run, device, is_last_stage(pass) ? given.result : NULL, err));
    release_batch(pass, takes);
    if (is_last_stage(pass) && run->flow == NULL)
        exec_progress_score(run, pass->instr, given.score, exec_run_now_s(run));
    return SP_OK;
}

sp_status exec_stage_forward(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    struct pass pass = begin_pass(run, instr, SP_PASS_FORWARD);
    return run_forward(&pass, err);
}

sp_status exec_stage_evaluate(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    struct pass pass = begin_pass(run, instr, SP_PASS_EVALUATE);
    return run_forward(&pass, err);
}

/* Where a layer's parameter gradients are made: in place for the first microbatch, beside it for the others. */
static void fill_parameter_gradients(const struct pass *pass, int l, struct exec_io *io)
{
    const struct sp_layer *layer = &pass->run->plan->network->layers[l];
    int local = l - pass->stage->first_layer;
    const size_t *offset = pass->parameters->offset[local];
    for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
        if (layer->parameters[p] == 0)
            continue;
        char *base =
            pass->instr->microbatch == 0 ? pass->gradients + offset[0] : pass->scratch + pass->memory->partial_offset;
        io->parameter_gradient[p] = base + (offset[p] - offset[0]);
    }
}

static sp_status add(const struct pass *pass, int tensor, size_t bytes, void *sum, const void *addend,
                     struct sp_error *err)
{
    const struct exec_sum it = {queue_of(pass), tensor, bytes, sum, addend};
    return exec_body_add(pass->run, pass->body, pass->model, &it, err);
}

/* Each parameter by itself: what lies between them in scratch is of other passes. */
static sp_status add_partials(const struct pass *pass, int l, struct sp_error *err)
{
    struct sp_footprint footprint = pass->run->config.backend->footprint(pass->model);
    const size_t *offset = pass->parameters->offset[l - pass->stage->first_layer];
    for (int p = 0; p < SP_PARAMETER_COUNT && pass->instr->microbatch > 0; p++) {
        size_t bytes = footprint.parameter(footprint.self, l, (enum sp_parameter)p);
        char *partial = pass->scratch + pass->memory->partial_offset + (offset[p] - offset[0]);
        if (bytes > 0)
            SP_TRY(add(pass, -1, bytes, pass->gradients + offset[p], partial, err));
    }
    return SP_OK;
}

static sp_status backward_layer(const struct pass *pass, int l, struct sp_error *err)
{
    const struct sp_network *network = pass->run->plan->network;
    const struct sp_layer *layer = &network->layers[l];
    struct exec_io io;
    fill_io(pass, l, &io);
    if (l + 1 < network->layer_count)
        io.output_gradient = gradient_of(pass, l + 1);
    else
        io.labels = (int32_t *)(void *)(slot_of(pass) + pass->memory->labels_offset);
    char *addend = pass->scratch + pass->memory->addend_offset;
    void *sums[2] = {NULL, NULL};
    for (int i = 0; i < layer->input_count; i++) {
        int x = layer->inputs[i];
        if (x == 0)
            continue;
        void *gradient = gradient_of(pass, x);
        io.input_gradient[i] = gradient;
        if (sp_network_last_consumer(network, x) == l)
            continue;
        sums[i] = gradient;
        io.input_gradient[i] = addend;
        addend += pass->memory->addend_bytes;
    }
    fill_parameter_gradients(pass, l, &io);
    SP_TRY(exec_body_run(pass->run, pass->body, pass->model, l, SP_PASS_BACKWARD, &io, err));
    for (int i = 0; i < layer->input_count; i++)
        if (sums[i] != NULL)
            SP_TRY(add(pass, layer->inputs[i], 0, sums[i], io.input_gradient[i], err));
    return add_partials(pass, l, err);
}

sp_status exec_stage_backward(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    struct pass pass = begin_pass(run, instr, SP_PASS_BACKWARD);
    SP_TRY(exec_flow_begin(run, pass.stage->backward_device, instr, err));
    pass.body = exec_body_begin(run, pass.stage->backward_device, instr, pass.kind);
    for (int l = pass.stage->layer_end - 1; l >= pass.stage->first_layer; l--) {
        double start_s = layer_start_s(&pass);
        SP_TRY(backward_layer(&pass, l, err));
        SP_TRY(add_layer_span(&pass, l, start_s, err));
    }
    SP_TRY(exec_body_end(run, pass.body, err));
    return exec_flow_end(run, pass.stage->backward_device, NULL, err);
}
