/*
 * The executor's engine: an instruction becomes a stage's pass, an update, or a message.
 *
 * The version in an instruction is a prediction; it is held against the stage's own count every time.
 */
#include "common/layer.h"
#include "exec/flow.h"

#include <inttypes.h>
#include <time.h>

double exec_run_now_s(const struct exec_run *run)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - run->start_s;
}

static void add_span(struct exec_run *run, int device, enum sp_span_kind kind, const struct sp_instr *instr,
                     double start_s)
{
    struct sp_span span = {.start_s = start_s,
                           .end_s = exec_run_now_s(run),
                           .minibatch = instr->minibatch,
                           .version = instr->version,
                           .stage = instr->stage,
                           .microbatch = instr->microbatch,
                           .kind = kind};
    if (kind == SP_SPAN_WAIT)
        span.payload = run->plan->channels[instr->channel].payload;
    if (!run->replaying && run->flow == NULL) /* else the device tells */
        sp_trace_add(run->trace, device, &span);
}

static bool is_split(const struct exec_run *run, int stage)
{
    return run->plan->stages[stage].forward_device != run->plan->stages[stage].backward_device;
}

static sp_status forward(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    struct exec_stage *stage = &run->stages[instr->stage];
    SP_ASSERT(instr->version == stage->forward_version, "stage %d reads version %" PRId64 ", has %" PRId64,
              instr->stage, instr->version, stage->forward_version);
    double start_s = exec_run_now_s(run), *data_wait_s = &run->trace->lanes[device].total.data_wait_s,
           waited_s = *data_wait_s;
    if (!instr->evaluate) {
        stage->read[sp_plan_slot(run->plan, instr)] = instr->version;
        stage->busy[sp_plan_slot(run->plan, instr)] = true;
    }
    if (run->replaying)
        exec_stage_skip(run, instr);
    else if (instr->evaluate)
        SP_TRY(exec_stage_evaluate(run, instr, err));
    else
        SP_TRY(exec_stage_forward(run, instr, err));
    start_s += *data_wait_s - waited_s; /* its time for the loader comes first, and is not the forward's */
    add_span(run, device, instr->evaluate ? SP_SPAN_EVALUATE : SP_SPAN_FORWARD, instr, start_s);
    return SP_OK;
}

static sp_status backward(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    struct exec_stage *stage = &run->stages[instr->stage];
    int64_t read = stage->read[sp_plan_slot(run->plan, instr)];
    bool stashed = run->plan->phases[instr->phase].weights == SP_WEIGHTS_STASH;
    SP_ASSERT(instr->version == (stashed ? read : stage->version),
              "stage %d reads version %" PRId64 " in its backward, its forward read %" PRId64 ", newest %" PRId64,
              instr->stage, instr->version, read, stage->version);
    stage->oldest_forward = read < stage->oldest_forward ? read : stage->oldest_forward;
    stage->oldest_backward = instr->version < stage->oldest_backward ? instr->version : stage->oldest_backward;
    double start_s = exec_run_now_s(run);
    if (!run->replaying)
        SP_TRY(exec_stage_backward(run, instr, err));
    stage->busy[sp_plan_slot(run->plan, instr)] = false;
    add_span(run, device, SP_SPAN_BACKWARD, instr, start_s);
    return SP_OK;
}

static void count_staleness(struct exec_stage *stage)
{
    int64_t forward_staleness = stage->version - stage->oldest_forward,
            backward_staleness = stage->version - stage->oldest_backward;
    if (forward_staleness > stage->forward_staleness)
        stage->forward_staleness = forward_staleness;
    if (backward_staleness > stage->backward_staleness)
        stage->backward_staleness = backward_staleness;
    stage->oldest_forward = stage->oldest_backward = INT64_MAX;
}

/* The hyperparameters of an update. */
static struct exec_sgd sgd_of(const struct exec_run *run, const struct sp_instr *instr)
{
    struct exec_sgd sgd = run->config.sgd;
    double stage = run->config.stage_lr != NULL ? run->config.stage_lr[instr->stage] : 1;
    sgd.lr = (float)((double)sgd.lr * stage * exec_rate_factor(&run->config.rate, instr->minibatch));
    return sgd;
}

/* Whether weight decay applies to a parameter: to filters and matrices always, to biases and batch norm if asked. */
static bool decays(const struct exec_run *run, int layer, int which)
{
    bool is_weight =
        which == SP_PARAMETER_WEIGHT && sp_layer_kinds[run->plan->network->layers[layer].type]->fan_in != NULL;
    return is_weight || !run->config.decay_weights_only;
}

/* One pass over bytes [from, end) of a stage's parameters. */
static sp_status update_part(struct exec_run *run, const struct sp_instr *instr, struct exec_sgd sgd, size_t from,
                             size_t end, struct sp_error *err)
{
    int i = instr->stage;
    char *velocity = exec_run_part(run, i, SP_MEMORY_OPTIMIZER, true),
         *gradients = exec_run_part(run, i, SP_MEMORY_GRADIENTS, true),
         *before = exec_run_backward_weights(run, i, run->stages[i].version),
         *after = exec_run_backward_weights(run, i, instr->version);
    struct exec_parameters part = {end - from, before + from, after + from, velocity + from, gradients + from};
    if (from == end)
        return SP_OK;
    return run->backend->update(run->context, exec_flow_queue(run, instr, true), &part, &sgd, err);
}

/* Parameters lie one behind another; neighbours that decay alike are updated in one pass. */
static sp_status update_parameters(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    const struct sp_stage *stage = &run->plan->stages[instr->stage];
    const struct sp_parameter_memory *memory = &run->memory->parameters[instr->stage];
    struct exec_sgd with = sgd_of(run, instr), without = with;
    without.weight_decay = 0;
    bool decaying = true;
    size_t from = 0;
    for (int l = stage->first_layer; l < stage->layer_end && with.weight_decay > 0; l++)
        for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
            size_t at = memory->offset[l - stage->first_layer][p];
            if (run->plan->network->layers[l].parameters[p] == 0 || decays(run, l, p) == decaying)
                continue;
            SP_TRY(update_part(run, instr, decaying ? with : without, from, at, err));
            decaying = !decaying;
            from = at;
        }
    return update_part(run, instr, decaying ? with : without, from, memory->block_bytes, err);
}

static sp_status update(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    struct exec_stage *stage = &run->stages[instr->stage];
    int i = instr->stage;
    SP_ASSERT(instr->version == stage->version + 1, "stage %d makes version %" PRId64 " of %" PRId64, i, instr->version,
              stage->version);
    count_staleness(stage);
    double start_s = exec_run_now_s(run);
    if (!run->replaying) {
        SP_TRY(exec_flow_begin(run, device, instr, err));
        SP_TRY(update_parameters(run, instr, err));
        SP_TRY(exec_flow_end(run, device, NULL, err));
    }
    stage->version = instr->version;
    if (!is_split(run, i))
        stage->forward_version = stage->version;
    add_span(run, device, SP_SPAN_UPDATE, instr, start_s);
    return SP_OK;
}

static sp_status copy_now(void *self, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    const struct exec_run *run = self;
    return run->backend->copy(run->context, to, from, bytes, err);
}

static sp_status send(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    if (run->flow != NULL)
        SP_TRY(exec_flow_send(run, device, instr, err));
    else if (!run->replaying)
        SP_TRY(exec_send(run, instr, copy_now, run, err));
    if (!exec_run_leaves(run, instr->channel))
        run->transport->post(run->channels, instr->channel);
    return SP_OK;
}

/* Takes a message if it is there. One of another process comes to the device, which waits for it. */
static bool poll_message(struct exec_run *run, const struct sp_instr *instr)
{
    return exec_run_leaves(run, instr->channel) || run->transport->poll(run->channels, instr->channel);
}

static sp_status received(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    if (run->plan->channels[instr->channel].payload == SP_PAYLOAD_WEIGHTS)
        run->stages[instr->stage].forward_version = instr->version;
    sp_status status = exec_flow_receive(run, device, instr, err);
    if (status == SP_E_BACKEND)
        exec_flow_blame(run, device, instr, err);
    return status;
}

/* Where no checkpoint can be left behind a run stops at once, else at the next gate; asked twice it always stops at
 * once. */
static bool is_stopped(const struct exec_run *run)
{
    int stop = run->config.stop != NULL ? (int)*run->config.stop : 0;
    return stop > (run->config.checkpoint.folder != NULL ? 1 : 0) || atomic_load(&run->failed);
}

/* Every instruction but RECV and GATE. */
static sp_status execute_one(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    sp_status status;
    if (is_stopped(run))
        return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
    sp_live_begin(&run->live[device], instr);
    switch (instr->kind) {
    case SP_INSTR_FORWARD:
        status = forward(run, device, instr, err);
        break;
    case SP_INSTR_BACKWARD:
        status = backward(run, device, instr, err);
        break;
    case SP_INSTR_UPDATE:
        status = update(run, device, instr, err);
        break;
    default:
        status = send(run, device, instr, err);
    }
    sp_live_end(&run->live[device], instr);
    return status;
}

static sp_status execute(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    sp_status status = execute_one(run, device, instr, err);
    if (status == SP_E_BACKEND)
        exec_flow_blame(run, device, instr, err);
    return status;
}

static sp_status execute_waiting(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                                 struct sp_error *err)
{
    struct exec_run *run = self;
    bool opened;
    *progress = SP_DONE;
    if (instr->kind == SP_INSTR_GATE)
        return exec_gate_pass(run, device, instr, true, &opened, err);
    if (instr->kind != SP_INSTR_RECV)
        return execute(run, device, instr, err);
    if (!poll_message(run, instr)) {
        double start_s = exec_run_now_s(run);
        if (!run->transport->wait(run->channels, instr->channel))
            return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
        add_span(run, device, SP_SPAN_WAIT, instr, start_s);
    }
    return received(run, device, instr, err);
}

static sp_status execute_resting(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                                 struct sp_error *err)
{
    struct exec_run *run = self;
    bool opened = false;
    *progress = SP_DONE;
    if (run->rest_status != SP_OK)
        return SP_FAIL(err, run->rest_status, "%s", run->rest_err.text);
    if (instr->kind == SP_INSTR_GATE) {
        SP_TRY(exec_gate_pass(run, device, instr, false, &opened, err));
        if (opened)
            return SP_OK;
    } else if (instr->kind != SP_INSTR_RECV) {
        return execute(run, device, instr, err);
    } else if (run->transport->poll(run->channels, instr->channel)) {
        return received(run, device, instr, err);
    }
    *progress = SP_PENDING;
    run->resting[device] = *instr;
    run->resting_since_s[device] = exec_run_now_s(run);
    run->rests[device] = true;
    return SP_OK;
}

/* Takes what device d rests for, if it is there. */
static bool ends_rest(struct exec_run *run, int d)
{
    const struct sp_instr *instr = &run->resting[d];
    if (instr->kind == SP_INSTR_GATE)
        return atomic_load(&run->gate.opened) >= instr->minibatch;
    if (!run->transport->poll(run->channels, instr->channel))
        return false;
    add_span(run, d, SP_SPAN_WAIT, instr, run->resting_since_s[d]);
    sp_status status = received(run, d, instr, &run->rest_err);
    run->rest_status = run->rest_status != SP_OK ? run->rest_status : status;
    return true;
}

static int next_resting(void *self)
{
    struct exec_run *run = self;
    for (int turn = 0; turn < run->plan->device_count; turn++) {
        int d = run->next_device;
        run->next_device = (d + 1) % run->plan->device_count;
        if (!run->rests[d] || !ends_rest(run, d))
            continue;
        run->rests[d] = false;
        return d;
    }
    return -1;
}

const struct sp_engine exec_engine_threads = {
    .name = "exec",
    .execute = execute_waiting,
    .next = NULL,
    .gates = true,
};

const struct sp_engine exec_engine_single = {
    .name = "exec",
    .execute = execute_resting,
    .next = next_resting,
    .gates = true,
};
