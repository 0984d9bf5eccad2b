#include "common/plan.h"
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/stage_program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const sp_weights_policy_names[SP_WEIGHTS_POLICY_COUNT] = {
    [SP_WEIGHTS_LATEST] = "latest",
    [SP_WEIGHTS_STASH] = "stash",
};

const char *const sp_payload_names[SP_PAYLOAD_COUNT] = {
    [SP_PAYLOAD_ACTIVATION] = "activation", [SP_PAYLOAD_GRADIENT] = "gradient", [SP_PAYLOAD_STASH] = "stash",
    [SP_PAYLOAD_WEIGHTS] = "weights",       [SP_PAYLOAD_CREDIT] = "credit",
};

const char *const sp_instr_kind_names[SP_INSTR_KIND_COUNT] = {
    [SP_INSTR_FORWARD] = "forward", [SP_INSTR_BACKWARD] = "backward", [SP_INSTR_UPDATE] = "update",
    [SP_INSTR_SEND] = "send",       [SP_INSTR_RECV] = "recv",         [SP_INSTR_GATE] = "gate",
};

/* The connections that start at a stage, each with what it carries. */
enum route {
    ROUTE_ACTIVATION,
    ROUTE_EVALUATE,
    ROUTE_EVALUATE_CREDIT,
    ROUTE_GRADIENT,
    ROUTE_STASH,
    ROUTE_STASH_CREDIT,
    ROUTE_WEIGHTS,
    ROUTE_WEIGHTS_CREDIT,
    ROUTE_COUNT
};

static enum route route_of(enum sp_payload payload, enum sp_payload credits, bool evaluate)
{
    switch (payload) {
    case SP_PAYLOAD_ACTIVATION:
        return evaluate ? ROUTE_EVALUATE : ROUTE_ACTIVATION;
    case SP_PAYLOAD_GRADIENT:
        return ROUTE_GRADIENT;
    case SP_PAYLOAD_STASH:
        return evaluate ? ROUTE_COUNT : ROUTE_STASH;
    case SP_PAYLOAD_WEIGHTS:
        return ROUTE_WEIGHTS;
    default:
        break;
    }
    if (credits == SP_PAYLOAD_ACTIVATION)
        return ROUTE_EVALUATE_CREDIT;
    return credits == SP_PAYLOAD_STASH ? ROUTE_STASH_CREDIT : ROUTE_WEIGHTS_CREDIT;
}

int sp_plan_channel(const struct sp_plan *plan, enum sp_payload payload, enum sp_payload credits, bool evaluate,
                    int from_stage, int to_stage)
{
    if (from_stage < 0 || to_stage < 0 || from_stage >= plan->stage_count || to_stage >= plan->stage_count)
        return -1;
    return plan->channel_index[from_stage * ROUTE_COUNT + route_of(payload, credits, evaluate)];
}

static int64_t tensor_bytes(const struct sp_network *network, const int *tensors, int count, int batch)
{
    int64_t bytes = 0;
    for (int t = 0; t < count; t++)
        bytes += sp_shape_elements(network->shapes[tensors[t]]) * batch * 4;
    return bytes;
}

/* Everything a stage makes in F, in plain float32: what crosses to another backward device. */
static int64_t stash_bytes(const struct sp_plan *plan, const struct sp_stage *stage)
{
    int64_t bytes = tensor_bytes(plan->network, stage->inputs, stage->input_count, plan->batch);
    for (int l = stage->first_layer; l < stage->layer_end; l++)
        bytes += sp_shape_elements(plan->network->shapes[l + 1]) * plan->batch * 4;
    return bytes;
}

static void add_channel(struct sp_plan *plan, enum route route, struct sp_channel channel)
{
    if (channel.from_device == channel.to_device)
        return;
    struct sp_channel *slot = sp_grow((void **)&plan->channels, plan->channel_count, sizeof *plan->channels);
    *slot = channel;
    plan->channel_index[channel.from_stage * ROUTE_COUNT + route] = plan->channel_count++;
}

static void add_boundary_channels(struct sp_plan *plan, int i)
{
    const struct sp_stage *up = &plan->stages[i], *down = &plan->stages[i + 1];
    int64_t bytes = tensor_bytes(plan->network, up->outputs, up->output_count, plan->batch);
    struct sp_channel channel = {
        SP_PAYLOAD_ACTIVATION, false, up->forward_device, down->forward_device, i, i + 1, plan->in_flight[i],
        SP_PAYLOAD_CREDIT,     bytes};
    add_channel(plan, ROUTE_ACTIVATION, channel);
    if (sp_plan_evaluates(plan)) {
        channel.evaluate = true;
        channel.depth = 2;
        add_channel(plan, ROUTE_EVALUATE, channel);
        channel = (struct sp_channel){
            SP_PAYLOAD_CREDIT, true, down->forward_device, up->forward_device, i + 1, i, 2, SP_PAYLOAD_ACTIVATION, 0};
        add_channel(plan, ROUTE_EVALUATE_CREDIT, channel);
    }
    channel = (struct sp_channel){
        SP_PAYLOAD_GRADIENT, false, down->backward_device, up->backward_device, i + 1, i, plan->in_flight[i],
        SP_PAYLOAD_CREDIT,   bytes};
    add_channel(plan, ROUTE_GRADIENT, channel);
}

static void add_split_channels(struct sp_plan *plan, int i)
{
    const struct sp_stage *stage = &plan->stages[i];
    int forward = stage->forward_device, backward = stage->backward_device, depth = plan->in_flight[i];
    add_channel(plan, ROUTE_STASH,
                (struct sp_channel){SP_PAYLOAD_STASH, false, forward, backward, i, i, depth, SP_PAYLOAD_CREDIT,
                                    stash_bytes(plan, stage)});
    add_channel(plan, ROUTE_STASH_CREDIT,
                (struct sp_channel){SP_PAYLOAD_CREDIT, false, backward, forward, i, i, depth, SP_PAYLOAD_STASH, 0});
    add_channel(plan, ROUTE_WEIGHTS,
                (struct sp_channel){SP_PAYLOAD_WEIGHTS, false, backward, forward, i, i, 2, SP_PAYLOAD_CREDIT,
                                    4 * stage->parameters});
    add_channel(plan, ROUTE_WEIGHTS_CREDIT,
                (struct sp_channel){SP_PAYLOAD_CREDIT, false, forward, backward, i, i, 2, SP_PAYLOAD_WEIGHTS, 0});
}

static void add_channels(struct sp_plan *plan)
{
    plan->channel_index = sp_calloc((size_t)plan->stage_count * ROUTE_COUNT, sizeof *plan->channel_index);
    for (int c = 0; c < plan->stage_count * ROUTE_COUNT; c++)
        plan->channel_index[c] = -1;
    for (int i = 0; i < plan->stage_count; i++) {
        if (i + 1 < plan->stage_count)
            add_boundary_channels(plan, i);
        add_split_channels(plan, i);
    }
}

/* The tensors made in layers before `layer` and read at or after it. The caller owns the array. */
static int *crossing(const struct sp_network *network, const int *last_consumer, int layer, int *count)
{
    int *tensors = NULL;
    *count = 0;
    for (int t = 0; t <= layer && layer > 0 && layer < network->layer_count; t++)
        if (last_consumer[t] >= layer)
            *(int *)sp_grow((void **)&tensors, (*count)++, sizeof *tensors) = t;
    return tensors;
}

static void make_stages(struct sp_plan *plan, const struct sp_plan_config *config)
{
    const struct sp_network *network = plan->network;
    int *last_consumer = sp_calloc((size_t)network->tensor_count, sizeof *last_consumer);
    for (int t = 0; t < network->tensor_count; t++)
        last_consumer[t] = -1;
    for (int l = 0; l < network->layer_count; l++)
        for (int n = 0; n < network->layers[l].input_count; n++)
            last_consumer[network->layers[l].inputs[n]] = l;
    plan->stages = sp_calloc((size_t)plan->stage_count, sizeof *plan->stages);
    for (int i = 0; i < plan->stage_count; i++) {
        struct sp_stage *stage = &plan->stages[i];
        bool last = i == config->cut_count;
        stage->first_layer = i == 0 ? 0 : sp_network_cut_layer(network, config->cuts[i - 1]);
        stage->layer_end = last ? network->layer_count : sp_network_cut_layer(network, config->cuts[i]);
        stage->first_weight_layer = i == 0 ? 1 : config->cuts[i - 1] + 1;
        stage->last_weight_layer = last ? network->weight_layer_count : config->cuts[i];
        stage->forward_device = config->forward_devices != NULL ? config->forward_devices[i] : i;
        stage->backward_device = config->backward_devices != NULL ? config->backward_devices[i] : stage->forward_device;
        for (int l = stage->first_layer; l < stage->layer_end; l++)
            for (int p = 0; p < SP_PARAMETER_COUNT; p++)
                stage->parameters += network->layers[l].parameters[p];
        stage->inputs = crossing(network, last_consumer, stage->first_layer, &stage->input_count);
        stage->outputs = crossing(network, last_consumer, stage->layer_end, &stage->output_count);
        if (stage->forward_device >= plan->device_count)
            plan->device_count = stage->forward_device + 1;
        if (stage->backward_device >= plan->device_count)
            plan->device_count = stage->backward_device + 1;
    }
    free(last_consumer);
}

/* Versions alive at once in a phase: found by following the stage's program into its steady state. */
static int count_versions(const struct sp_plan *plan, const struct sp_phase *phase, int stage)
{
    if (phase->weights == SP_WEIGHTS_LATEST)
        return 1;
    struct sp_stage_program program;
    sp_stage_program_init(&program, phase, plan->stage_count, stage, 0);
    int64_t most = 1, limit = 4 * (int64_t)program.read_count + 4 * phase->microbatches + 4;
    struct sp_program_step step;
    while (program.k < 2 * limit && sp_stage_program_peek(&program, &step)) {
        if (step.kind == SP_INSTR_UPDATE && step.version - step.oldest + 1 > most)
            most = step.version - step.oldest + 1;
        sp_stage_program_advance(&program);
    }
    sp_stage_program_fini(&program);
    return (int)most;
}

static void make_phases(struct sp_plan *plan, const struct sp_plan_config *config)
{
    plan->phases = sp_calloc((size_t)plan->phase_count, sizeof *plan->phases);
    plan->in_flight = sp_calloc((size_t)plan->stage_count, sizeof *plan->in_flight);
    plan->versions = sp_calloc((size_t)plan->stage_count, sizeof *plan->versions);
    for (int p = 0; p < plan->phase_count; p++) {
        struct sp_phase *phase = &plan->phases[p];
        *phase = config->phases[p];
        phase->first_minibatch = plan->minibatches;
        plan->minibatches += phase->minibatches;
        int64_t samples = plan->batch / phase->microbatches;
        phase->evaluate_minibatches = sp_plan_evaluates(plan) ? (config->evaluate_samples + samples - 1) / samples : 0;
        for (int i = 0; i < plan->stage_count; i++) {
            struct sp_order order = {plan->stage_count, i, phase->microbatches,
                                     phase->microbatches * phase->minibatches};
            int64_t in_flight = phase->schedule->in_flight(&order);
            if (in_flight > plan->in_flight[i])
                plan->in_flight[i] = (int)in_flight;
            int versions = count_versions(plan, phase, i);
            if (versions > plan->versions[i])
                plan->versions[i] = versions;
        }
    }
}

static sp_status check_config(const struct sp_network *network, const struct sp_plan_config *config,
                              struct sp_error *err)
{
    struct sp_mark none = {0};
    for (int c = 0; c < config->cut_count; c++) {
        if (config->cuts[c] < 1 || config->cuts[c] >= network->weight_layer_count)
            return sp_reject(err, none, "no cut after layer %d: %s has %d weight layers, so 1 to %d are legal",
                             config->cuts[c], network->name, network->weight_layer_count,
                             network->weight_layer_count - 1);
        if (c > 0 && config->cuts[c] <= config->cuts[c - 1])
            return sp_reject(err, none, "cuts must ascend: %d follows %d", config->cuts[c], config->cuts[c - 1]);
    }
    if (config->batch < 1)
        return sp_reject(err, none, "batch must be at least 1, not %d", config->batch);
    if (config->phase_count < 1)
        return sp_reject(err, none, "a plan needs a phase");
    for (int p = 0; p < config->phase_count; p++) {
        const struct sp_phase *phase = &config->phases[p];
        if (phase->microbatches < 1 || config->batch % phase->microbatches != 0)
            return sp_reject(err, none, "%d microbatches do not divide a minibatch of %d", phase->microbatches,
                             config->batch);
        if (phase->minibatches < 1)
            return sp_reject(err, none, "a phase needs a minibatch");
    }
    return SP_OK;
}

sp_status sp_plan_create(const struct sp_network *network, const struct sp_plan_config *config, struct sp_plan **out,
                         struct sp_error *err)
{
    *out = NULL;
    SP_TRY(check_config(network, config, err));
    struct sp_plan *plan = sp_calloc(1, sizeof *plan);
    plan->network = network;
    plan->batch = config->batch;
    plan->stage_count = config->cut_count + 1;
    plan->shared_memory = config->shared_memory;
    plan->phase_count = config->phase_count;
    if (config->evaluate_samples > 0) {
        bool each = config->evaluate_every == 0 && config->evaluate_pass > 0 && config->evaluate_pass <= config->batch;
        plan->evaluate_every = each ? 1 : config->evaluate_every;
        plan->evaluate_pass = plan->evaluate_every > 0 ? 0 : config->evaluate_pass;
    }
    make_stages(plan, config);
    make_phases(plan, config);
    add_channels(plan);
    *out = plan;
    if (!SP_DEBUG || plan->minibatches > 1000)
        return SP_OK;
    sp_status status = sp_plan_check(plan, err);
    if (status != SP_OK)
        sp_plan_destroy(out);
    return status;
}

void sp_plan_destroy(struct sp_plan **plan)
{
    if (*plan == NULL)
        return;
    for (int i = 0; i < (*plan)->stage_count; i++) {
        free((*plan)->stages[i].inputs);
        free((*plan)->stages[i].outputs);
    }
    free((*plan)->stages);
    free((*plan)->phases);
    free((*plan)->channels);
    free((*plan)->channel_index);
    free((*plan)->in_flight);
    free((*plan)->versions);
    free(*plan);
    *plan = NULL;
}

int sp_plan_microbatch_size(const struct sp_plan *plan, int phase)
{
    return plan->batch / plan->phases[phase].microbatches;
}

int sp_plan_slot(const struct sp_plan *plan, const struct sp_instr *instr)
{
    const struct sp_phase *phase = &plan->phases[instr->phase];
    int64_t q = (instr->minibatch - phase->first_minibatch) * phase->microbatches + instr->microbatch;
    return (int)(q % plan->in_flight[instr->stage]);
}

int64_t sp_plan_updates(const struct sp_plan *plan)
{
    return plan->minibatches;
}

bool sp_plan_evaluates(const struct sp_plan *plan)
{
    return plan->evaluate_every > 0 || plan->evaluate_pass > 0;
}

int64_t sp_plan_evaluations_until(const struct sp_plan *plan, int64_t minibatches)
{
    if (plan->evaluate_every > 0)
        return minibatches / plan->evaluate_every;
    if (plan->evaluate_pass <= 0 || minibatches <= 0)
        return 0;
    int64_t pass = plan->evaluate_pass, ended = minibatches * plan->batch / pass,
            all = (plan->minibatches * plan->batch + pass / 2) / pass,
            most =
                (plan->minibatches - 1) * plan->batch / pass + 1; /* the last minibatch has one, whatever ends there */
    all = all < 1 ? 1 : all < most ? all : most;
    return minibatches >= plan->minibatches ? all : ended < all - 1 ? ended : all - 1;
}

bool sp_plan_is_evaluated(const struct sp_plan *plan, int64_t minibatch)
{
    return sp_plan_evaluations_until(plan, minibatch + 1) > sp_plan_evaluations_until(plan, minibatch);
}

int64_t sp_plan_evaluations(const struct sp_plan *plan)
{
    return sp_plan_evaluations_until(plan, plan->minibatches);
}

int64_t sp_plan_phase_evaluations(const struct sp_plan *plan, int phase)
{
    const struct sp_phase *p = &plan->phases[phase];
    return sp_plan_evaluations_until(plan, p->first_minibatch + p->minibatches) -
           sp_plan_evaluations_until(plan, p->first_minibatch);
}

int64_t sp_plan_evaluation_minibatches(const struct sp_plan *plan)
{
    int64_t total = 0;
    for (int p = 0; p < plan->phase_count; p++)
        total += sp_plan_phase_evaluations(plan, p) * plan->phases[p].evaluate_minibatches;
    return total;
}

const char *sp_instr_format(const struct sp_plan *plan, const struct sp_instr *instr, bool verbose,
                            char buffer[SP_INSTR_TEXT])
{
    static const char *const letters[] = {[SP_PAYLOAD_ACTIVATION] = "F",
                                          [SP_PAYLOAD_GRADIENT] = "B",
                                          [SP_PAYLOAD_STASH] = "STASH",
                                          [SP_PAYLOAD_WEIGHTS] = "W",
                                          [SP_PAYLOAD_CREDIT] = "CREDIT"};
    int64_t q = instr->minibatch;
    if (!instr->evaluate && instr->kind != SP_INSTR_UPDATE && instr->kind != SP_INSTR_GATE)
        q = q * plan->phases[instr->phase].microbatches + instr->microbatch;
    char word[24];
    if (instr->kind == SP_INSTR_SEND || instr->kind == SP_INSTR_RECV)
        snprintf(word, sizeof word, "%s_%s%s", instr->kind == SP_INSTR_SEND ? "SEND" : "RECV",
                 instr->evaluate ? "E" : "", letters[plan->channels[instr->channel].payload]);
    else
        snprintf(word, sizeof word, "%s",
                 instr->kind == SP_INSTR_GATE       ? "GATE"
                 : instr->evaluate                  ? "E"
                 : instr->kind == SP_INSTR_FORWARD  ? "F"
                 : instr->kind == SP_INSTR_BACKWARD ? "B"
                                                    : "U");
    int used = snprintf(buffer, SP_INSTR_TEXT, "%d%s%lld", instr->stage, word, (long long)q);
    if (verbose && instr->version >= 0)
        snprintf(buffer + used, (size_t)(SP_INSTR_TEXT - used), "@%lld", (long long)instr->version);
    return buffer;
}
