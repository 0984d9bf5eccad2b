/*
 * The cursor: merges the programs of a device's stages by tick and adds what the schedules need not know: messages,
 * credits, travelling weights, evaluation, phases.
 *
 * A step of a stage becomes a short burst of instructions (messages in, the step, messages out), kept in `burst` and
 * handed out one by one.
 */
#include "common/alloc.h"
#include "common/plan.h"
#include "common/stage_program.h"

#include <stdlib.h>

enum { BURST = 8 };

/* Channels of a stage's messages in training; -1: the other end is on this device, or there is none. */
struct routes {
    int activation_in, activation_out, gradient_in, gradient_out;
    int stash, stash_credit, weights, weights_credit; /* between the stage's two devices */
};

/* A stage with forward or backward on this device. */
struct part {
    int stage, in_flight;
    bool forward, backward; /* here */
    struct routes routes;
    struct sp_stage_program program; /* of the current phase */
};

/* What each instruction needs comes first, and lies together: with a thousand devices the cache is what limits. */
struct sp_cursor {
    int burst_at, burst_count;
    int phase;
    int part_count, forward_count; /* forward_count: parts with forward */
    const struct sp_plan *plan;
    int64_t evaluate_tick; /* of the next evaluation in this phase; -1: none */
    int64_t evaluate_left; /* evaluation forwards of this device still to come in the running evaluation */
    int64_t gate_tick;     /* of the next gate in this phase; -1: none */
    struct sp_instr burst[BURST];
    int64_t evaluations_done;
    struct sp_stage_program clock; /* the last stage's, run ahead to find when evaluations are due */
    bool gates;
    struct sp_stage_program gate_clock; /* the first stage's, run ahead to find the gates */
    int64_t gate_minibatch;
    struct part parts[]; /* ascending */
};

/* Behind all steps of a phase. */
static const int64_t END = INT64_MAX;

static bool is_last(const struct sp_phase *phase, int64_t minibatch)
{
    return minibatch == phase->first_minibatch + phase->minibatches - 1;
}

/*
 * An evaluation comes, on every device, between the steps up to the tick of the last stage's forward of the minibatch
 * before it and those after. One tick for all devices: what a device still needs before it evaluates never waits for
 * a device that evaluates already. At the end of a phase, where the pipeline drains, it comes behind the last update.
 */
static void find_evaluation(struct sp_cursor *cursor)
{
    const struct sp_phase *phase = &cursor->plan->phases[cursor->phase];
    struct sp_program_step step;
    cursor->evaluate_tick = -1;
    while (sp_plan_evaluates(cursor->plan) && cursor->evaluate_tick < 0 &&
           sp_stage_program_peek(&cursor->clock, &step)) {
        sp_stage_program_advance(&cursor->clock);
        int64_t minibatch = phase->first_minibatch + step.q / phase->microbatches;
        bool last = step.q % phase->microbatches == phase->microbatches - 1;
        if (step.kind == SP_INSTR_FORWARD && last && sp_plan_is_evaluated(cursor->plan, minibatch))
            cursor->evaluate_tick = is_last(phase, minibatch) ? END : step.tick;
    }
}

/* A gate comes behind the tick of the first stage's update, where a schedule that flushes has nothing in flight; the
 * last of a phase behind its evaluation. */
static void find_gate(struct sp_cursor *cursor)
{
    const struct sp_phase *phase = &cursor->plan->phases[cursor->phase];
    struct sp_program_step step;
    cursor->gate_tick = -1;
    while (cursor->gates && cursor->gate_tick < 0 && sp_stage_program_peek(&cursor->gate_clock, &step)) {
        sp_stage_program_advance(&cursor->gate_clock);
        if (step.kind != SP_INSTR_UPDATE)
            continue;
        cursor->gate_minibatch = phase->first_minibatch + step.q / phase->microbatches;
        cursor->gate_tick = is_last(phase, cursor->gate_minibatch) ? END : step.tick;
    }
}

static void open_phase(struct sp_cursor *cursor)
{
    const struct sp_phase *phase = &cursor->plan->phases[cursor->phase];
    for (int s = 0; s < cursor->part_count; s++) {
        struct part *part = &cursor->parts[s];
        sp_stage_program_fini(&part->program);
        sp_stage_program_init(&part->program, phase, cursor->plan->stage_count, part->stage, phase->first_minibatch);
    }
    sp_stage_program_fini(&cursor->clock);
    sp_stage_program_init(&cursor->clock, phase, cursor->plan->stage_count, cursor->plan->stage_count - 1, 0);
    find_evaluation(cursor);
    sp_stage_program_fini(&cursor->gate_clock);
    sp_stage_program_init(&cursor->gate_clock, phase, cursor->plan->stage_count, 0, 0);
    find_gate(cursor);
}

void sp_cursor_show_gates(struct sp_cursor *cursor)
{
    cursor->gates = true;
    find_gate(cursor);
}

static struct routes routes_of(const struct sp_plan *plan, int i)
{
    enum sp_payload none = SP_PAYLOAD_CREDIT;
    return (struct routes){
        .activation_in = sp_plan_channel(plan, SP_PAYLOAD_ACTIVATION, none, false, i - 1, i),
        .activation_out = sp_plan_channel(plan, SP_PAYLOAD_ACTIVATION, none, false, i, i + 1),
        .gradient_in = sp_plan_channel(plan, SP_PAYLOAD_GRADIENT, none, false, i + 1, i),
        .gradient_out = sp_plan_channel(plan, SP_PAYLOAD_GRADIENT, none, false, i, i - 1),
        .stash = sp_plan_channel(plan, SP_PAYLOAD_STASH, none, false, i, i),
        .stash_credit = sp_plan_channel(plan, SP_PAYLOAD_CREDIT, SP_PAYLOAD_STASH, false, i, i),
        .weights = sp_plan_channel(plan, SP_PAYLOAD_WEIGHTS, none, false, i, i),
        .weights_credit = sp_plan_channel(plan, SP_PAYLOAD_CREDIT, SP_PAYLOAD_WEIGHTS, false, i, i),
    };
}

static bool is_here(const struct sp_plan *plan, int stage, int device)
{
    return plan->stages[stage].forward_device == device || plan->stages[stage].backward_device == device;
}

struct sp_cursor *sp_cursor_create(const struct sp_plan *plan, int device)
{
    SP_ASSERT(device >= 0 && device < plan->device_count, "device %d of %d", device, plan->device_count);
    size_t parts = 0;
    for (int i = 0; i < plan->stage_count; i++)
        parts += is_here(plan, i, device);
    struct sp_cursor *cursor = sp_alloc_lines(1, sizeof *cursor + parts * sizeof *cursor->parts);
    cursor->plan = plan;
    for (int i = 0; i < plan->stage_count; i++) {
        if (!is_here(plan, i, device))
            continue;
        struct part *part = &cursor->parts[cursor->part_count++];
        *part = (struct part){.stage = i,
                              .in_flight = plan->in_flight[i],
                              .forward = plan->stages[i].forward_device == device,
                              .backward = plan->stages[i].backward_device == device,
                              .routes = routes_of(plan, i)};
        cursor->forward_count += part->forward;
    }
    open_phase(cursor);
    return cursor;
}

void sp_cursor_destroy(struct sp_cursor **cursor)
{
    if (*cursor == NULL)
        return;
    for (int s = 0; s < (*cursor)->part_count; s++)
        sp_stage_program_fini(&(*cursor)->parts[s].program);
    sp_stage_program_fini(&(*cursor)->clock);
    sp_stage_program_fini(&(*cursor)->gate_clock);
    free(*cursor);
    *cursor = NULL;
}

/* What the instructions of a burst have in common. All fields are wide: loads of what was just stored in narrower
 * pieces would have to wait for the cache. */
struct burst_of {
    int64_t stage, minibatch, microbatch, phase, evaluate;
};

static void emit(struct sp_cursor *cursor, enum sp_instr_kind kind, int channel, int64_t version, int64_t oldest,
                 const struct burst_of *of)
{
    SP_ASSERT(cursor->burst_count < BURST, "%d instructions in a burst", cursor->burst_count);
    struct sp_instr *instr = &cursor->burst[cursor->burst_count++];
    instr->kind = kind;
    instr->stage = (int)of->stage;
    instr->minibatch = of->minibatch;
    instr->microbatch = (int)of->microbatch;
    instr->evaluate = of->evaluate != 0;
    instr->version = version;
    instr->oldest = oldest;
    instr->channel = channel;
    instr->phase = (int)of->phase;
}

/* SEND or RECV on a channel, if it is one. */
static void message(struct sp_cursor *cursor, enum sp_instr_kind kind, int channel, const struct burst_of *of)
{
    if (channel >= 0)
        emit(cursor, kind, channel, -1, -1, of);
}

/* The same of weights of that version. */
static void weights_message(struct sp_cursor *cursor, enum sp_instr_kind kind, int channel, int64_t version,
                            const struct burst_of *of)
{
    if (channel >= 0)
        emit(cursor, kind, channel, version, -1, of);
}

static void emit_forward(struct sp_cursor *cursor, const struct part *part, const struct sp_program_step *f,
                         const struct burst_of *of)
{
    const struct routes *routes = &part->routes;
    if (f->q >= part->in_flight)
        message(cursor, SP_INSTR_RECV, routes->stash_credit, of);
    message(cursor, SP_INSTR_RECV, routes->activation_in, of);
    emit(cursor, SP_INSTR_FORWARD, -1, f->version, -1, of);
    message(cursor, SP_INSTR_SEND, routes->stash, of);
    message(cursor, SP_INSTR_SEND, routes->activation_out, of);
}

static void emit_backward(struct sp_cursor *cursor, const struct part *part, const struct sp_program_step *b,
                          const struct burst_of *of)
{
    const struct routes *routes = &part->routes;
    message(cursor, SP_INSTR_RECV, routes->stash, of);
    message(cursor, SP_INSTR_RECV, routes->gradient_in, of);
    emit(cursor, SP_INSTR_BACKWARD, -1, b->version, -1, of);
    message(cursor, SP_INSTR_SEND, routes->gradient_out, of);
    if (b->q + part->in_flight < part->program.order.q_count)
        message(cursor, SP_INSTR_SEND, routes->stash_credit, of);
}

/* The update, and where the weights travel, their way: the receiver has two buffers, so version v may leave when v - 1
 * has been taken over. */
static void emit_update(struct sp_cursor *cursor, const struct part *part, const struct sp_program_step *u,
                        const struct burst_of *of)
{
    const struct routes *routes = &part->routes;
    if (part->backward) {
        emit(cursor, SP_INSTR_UPDATE, -1, u->version, u->oldest, of);
        if (u->version >= 2)
            message(cursor, SP_INSTR_RECV, routes->weights_credit, of);
        weights_message(cursor, SP_INSTR_SEND, routes->weights, u->version, of);
        return;
    }
    weights_message(cursor, SP_INSTR_RECV, routes->weights, u->version, of);
    if (u->version < sp_plan_updates(cursor->plan))
        message(cursor, SP_INSTR_SEND, routes->weights_credit, of);
}

/* The next step of a part, as `earliest` gave it. */
static void emit_step(struct sp_cursor *cursor, struct part *part, const struct sp_program_step *step)
{
    const struct sp_phase *phase = part->program.phase;
    int64_t M = phase->microbatches, nth = M == 1 ? step->q : step->q / M;
    struct burst_of of = {part->stage, phase->first_minibatch + nth, step->q - nth * M, cursor->phase, false};
    sp_stage_program_advance(&part->program);
    if (step->kind == SP_INSTR_UPDATE)
        emit_update(cursor, part, step, &of);
    else if (step->kind == SP_INSTR_FORWARD && part->forward)
        emit_forward(cursor, part, step, &of);
    else if (step->kind == SP_INSTR_BACKWARD && part->backward)
        emit_backward(cursor, part, step, &of);
}

/* Of activations, or of the credits for them. */
static int evaluation_channel(const struct sp_plan *plan, enum sp_payload payload, int from_stage, int to_stage)
{
    enum sp_payload credits = payload == SP_PAYLOAD_CREDIT ? SP_PAYLOAD_ACTIVATION : SP_PAYLOAD_CREDIT;
    return sp_plan_channel(plan, payload, credits, true, from_stage, to_stage);
}

/* The next forward of the running evaluation. Two minibatches may be between two devices, hence the credits. */
static void emit_evaluation(struct sp_cursor *cursor)
{
    const struct sp_plan *plan = cursor->plan;
    const struct sp_phase *phase = &plan->phases[cursor->phase];
    int64_t done = cursor->forward_count * phase->evaluate_minibatches - cursor->evaluate_left;
    int64_t e = cursor->evaluations_done + done / cursor->forward_count;
    int64_t nth = done % cursor->forward_count;
    int s = 0;
    while (!cursor->parts[s].forward || nth-- > 0)
        s++;
    int i = cursor->parts[s].stage;
    struct burst_of of = {i, e, 0, cursor->phase, true};
    if (e >= 2)
        message(cursor, SP_INSTR_RECV, evaluation_channel(plan, SP_PAYLOAD_CREDIT, i + 1, i), &of);
    message(cursor, SP_INSTR_RECV, evaluation_channel(plan, SP_PAYLOAD_ACTIVATION, i - 1, i), &of);
    emit(cursor, SP_INSTR_FORWARD, -1, cursor->parts[s].program.updates, -1, &of);
    message(cursor, SP_INSTR_SEND, evaluation_channel(plan, SP_PAYLOAD_ACTIVATION, i, i + 1), &of);
    if (e + 2 < sp_plan_evaluation_minibatches(plan))
        message(cursor, SP_INSTR_SEND, evaluation_channel(plan, SP_PAYLOAD_CREDIT, i, i - 1), &of);
    if (--cursor->evaluate_left == 0)
        cursor->evaluations_done += phase->evaluate_minibatches;
}

static void begin_evaluation(struct sp_cursor *cursor)
{
    int64_t minibatches = cursor->plan->phases[cursor->phase].evaluate_minibatches;
    cursor->evaluate_left = cursor->forward_count * minibatches;
    if (cursor->forward_count == 0)
        cursor->evaluations_done += minibatches;
    find_evaluation(cursor);
}

static void emit_gate(struct sp_cursor *cursor)
{
    emit(cursor, SP_INSTR_GATE, -1, -1, -1, &(struct burst_of){0, cursor->gate_minibatch, -1, cursor->phase, false});
    find_gate(cursor);
}

/* The stage whose step has the earliest tick, the first of equals, and that step; -1 when the phase is over here. */
static int earliest(const struct sp_cursor *cursor, struct sp_program_step *step)
{
    int best = -1;
    for (int s = 0; s < cursor->part_count; s++) {
        struct sp_program_step other;
        if (sp_stage_program_peek(&cursor->parts[s].program, &other) && (best < 0 || other.tick < step->tick)) {
            best = s;
            *step = other;
        }
    }
    return best;
}

/* Whether what comes behind tick `after` (-1: nothing) comes before the next step, that of stage s (-1: none). */
static bool is_due(int64_t after, int s, int64_t tick)
{
    return after >= 0 && (s < 0 || tick > after);
}

static bool is_earlier(int64_t after, int64_t other)
{
    return after >= 0 && after < other;
}

void sp_cursor_prefetch(const struct sp_cursor *cursor)
{
    enum { LINE = 64, BURST_LINES = 4 };
    const char *head = (const char *)cursor, *part = (const char *)cursor->parts;
    for (int l = 0; l < BURST_LINES; l++)
        __builtin_prefetch(head + l * LINE, 1);
    for (size_t at = 0; at < sizeof(struct part) + LINE - 1; at += LINE)
        __builtin_prefetch(part + at, 1);
}

const struct sp_instr *sp_cursor_take(struct sp_cursor *cursor)
{
    while (cursor->burst_at == cursor->burst_count) {
        cursor->burst_at = cursor->burst_count = 0;
        struct sp_program_step step = {.tick = 0};
        int s = earliest(cursor, &step);
        int64_t tick = step.tick;
        if (cursor->evaluate_left > 0) {
            emit_evaluation(cursor);
        } else if (is_due(cursor->evaluate_tick, s, tick) && !is_earlier(cursor->gate_tick, cursor->evaluate_tick)) {
            begin_evaluation(cursor);
        } else if (is_due(cursor->gate_tick, s, tick)) {
            emit_gate(cursor);
        } else if (s >= 0) {
            emit_step(cursor, &cursor->parts[s], &step);
        } else if (cursor->phase + 1 < cursor->plan->phase_count) {
            cursor->phase++;
            open_phase(cursor);
        } else {
            return NULL;
        }
    }
    return &cursor->burst[cursor->burst_at++];
}

bool sp_cursor_next(struct sp_cursor *cursor, struct sp_instr *instr)
{
    const struct sp_instr *next = sp_cursor_take(cursor);
    if (next != NULL)
        *instr = *next;
    return next != NULL;
}

/* Versions count minibatches; -1 stays what it is. */
void sp_instr_shift(struct sp_instr *instr, int64_t minibatches)
{
    instr->minibatch += minibatches;
    instr->version += instr->version >= 0 ? minibatches : 0;
    instr->oldest += instr->oldest >= 0 ? minibatches : 0;
}

void sp_instr_state(const struct sp_instr *instr, int64_t since, int64_t **state, int *count)
{
    sp_append(state, count, instr->kind);
    sp_append(state, count, instr->stage);
    sp_append(state, count, instr->minibatch - since);
    sp_append(state, count, instr->microbatch);
    sp_append(state, count, instr->version >= 0 ? instr->version - since : INT64_MIN);
    sp_append(state, count, instr->oldest >= 0 ? instr->oldest - since : INT64_MIN);
    sp_append(state, count, instr->channel);
}

void sp_cursor_state(const struct sp_cursor *cursor, int64_t since, int64_t **state, int *count)
{
    sp_append(state, count, cursor->phase);
    for (int s = 0; s < cursor->part_count; s++) {
        const struct sp_stage_program *program = &cursor->parts[s].program;
        int64_t q = (since - program->phase->first_minibatch) * program->order.M;
        sp_append(state, count, program->k - 2 * q);
        sp_append(state, count, program->updates - since);
        sp_append(state, count, program->forwards - q);
        sp_append(state, count, program->backwards - q);
        sp_append(state, count, program->update_pending);
        for (int64_t n = 0; program->stashes && n < program->forwards - program->backwards; n++)
            sp_append(state, count, program->read[(program->oldest + n) % program->read_count] - since);
    }
    sp_append(state, count, cursor->burst_count - cursor->burst_at);
    for (int b = cursor->burst_at; b < cursor->burst_count; b++)
        sp_instr_state(&cursor->burst[b], since, state, count);
}

int64_t sp_cursor_skippable(const struct sp_cursor *cursor)
{
    int64_t least = INT64_MAX;
    if (sp_plan_evaluates(cursor->plan) || cursor->gates)
        return 0;
    for (int s = 0; s < cursor->part_count; s++) {
        int64_t these = sp_stage_program_skippable(&cursor->parts[s].program, cursor->parts[s].in_flight,
                                                   sp_plan_updates(cursor->plan));
        least = these < least ? these : least;
    }
    return least;
}

void sp_cursor_skip(struct sp_cursor *cursor, int64_t minibatches)
{
    for (int s = 0; s < cursor->part_count; s++)
        sp_stage_program_skip(&cursor->parts[s].program, minibatches);
    for (int b = cursor->burst_at; b < cursor->burst_count; b++)
        sp_instr_shift(&cursor->burst[b], minibatches);
}
