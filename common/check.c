/*
 * The plan checker: runs instructions on an abstract machine that knows messages, weights and slots, and no clock.
 *
 * It trusts nothing that made the instructions: what an instruction should say is counted again from what was done.
 */
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/schedule.h"

#include <stdlib.h>
#include <string.h>

/* What is under way on a channel: a ring of `depth` messages. */
struct mailbox {
    struct sp_instr *messages;
    int64_t sent, taken;
};

/* A microbatch between F and B at a stage. */
struct flight {
    bool forward_done, input_here, gradient_here, stash_here;
    int64_t minibatch;
    int microbatch, phase;
    int64_t read; /* version its F read */
};

struct stage_state {
    struct flight *slots;        /* in_flight */
    int64_t forwards, backwards; /* microbatches in the current phase */
    int forward_phase, backward_phase;
    int64_t version, oldest;                   /* on the backward device */
    int64_t forward_version;                   /* on the forward device */
    int accumulated;                           /* microbatches in the gradient */
    int64_t evaluated;                         /* evaluation forwards done */
    int64_t input_minibatch, input_microbatch; /* last activation received, -1 none */
    int64_t evaluate_input;
};

struct machine {
    const struct sp_plan *plan;
    struct mailbox *boxes;
    struct stage_state *stages;
    int device; /* whose instruction is looked at */
    const struct sp_instr *instr;
    struct sp_error *err;
};

static sp_status broken(struct machine *machine, const char *rule)
{
    char text[SP_INSTR_TEXT];
    return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "device %d, instruction %s: %s", machine->device,
                   sp_instr_format(machine->plan, machine->instr, true, text), rule);
}
#define RULE(cond, text)                                                                                               \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            return broken(machine, text);                                                                              \
    } while (0)

static struct flight *flight_of(struct machine *machine, int stage)
{
    struct sp_instr at = *machine->instr;
    at.stage = stage;
    return &machine->stages[stage].slots[sp_plan_slot(machine->plan, &at)];
}

static bool is_flight(const struct flight *flight, const struct sp_instr *instr)
{
    return flight->forward_done && flight->minibatch == instr->minibatch && flight->microbatch == instr->microbatch;
}

/* The next microbatch a pass must take: minibatch and microbatch follow from how many were done in the phase. */
static bool is_next(const struct sp_plan *plan, const struct sp_instr *instr, int *phase_at, int64_t *done)
{
    while (*phase_at < plan->phase_count &&
           *done == plan->phases[*phase_at].minibatches * plan->phases[*phase_at].microbatches) {
        ++*phase_at;
        *done = 0;
    }
    if (*phase_at >= plan->phase_count || instr->phase != *phase_at)
        return false;
    const struct sp_phase *phase = &plan->phases[*phase_at];
    return instr->minibatch == phase->first_minibatch + *done / phase->microbatches &&
           instr->microbatch == *done % phase->microbatches;
}

static sp_status do_evaluation(struct machine *machine)
{
    const struct sp_instr *instr = machine->instr;
    struct stage_state *state = &machine->stages[instr->stage];
    RULE(instr->minibatch == state->evaluated, "evaluation minibatches out of order");
    if (instr->stage > 0) {
        bool same = machine->plan->stages[instr->stage - 1].forward_device == machine->device;
        int64_t here = same ? machine->stages[instr->stage - 1].evaluated - 1 : state->evaluate_input;
        RULE(here == instr->minibatch, "its input is not here");
    }
    RULE(instr->version == state->forward_version, "does not read the newest weights of its device");
    state->evaluated++;
    return SP_OK;
}

static sp_status do_forward(struct machine *machine)
{
    const struct sp_instr *instr = machine->instr;
    const struct sp_plan *plan = machine->plan;
    struct stage_state *state = &machine->stages[instr->stage];
    RULE(plan->stages[instr->stage].forward_device == machine->device, "forward on a device without the stage");
    if (instr->evaluate)
        return do_evaluation(machine);
    RULE(is_next(plan, instr, &state->forward_phase, &state->forwards), "forward out of order");
    if (instr->stage > 0 && plan->stages[instr->stage - 1].forward_device == machine->device) {
        RULE(is_flight(flight_of(machine, instr->stage - 1), instr), "its input is not made yet");
    } else if (instr->stage > 0) {
        RULE(state->input_minibatch == instr->minibatch && state->input_microbatch == instr->microbatch,
             "its input is not here");
    }
    RULE(instr->version == state->forward_version, "does not read the newest weights of its device");
    struct flight *flight = flight_of(machine, instr->stage);
    RULE(!flight->forward_done, "its slot is taken");
    *flight = (struct flight){.forward_done = true,
                              .minibatch = instr->minibatch,
                              .microbatch = instr->microbatch,
                              .phase = instr->phase,
                              .read = instr->version};
    state->forwards++;
    return SP_OK;
}

static sp_status do_backward(struct machine *machine)
{
    const struct sp_instr *instr = machine->instr;
    const struct sp_plan *plan = machine->plan;
    const struct sp_stage *stage = &plan->stages[instr->stage];
    struct stage_state *state = &machine->stages[instr->stage];
    RULE(stage->backward_device == machine->device, "backward on a device without the stage");
    RULE(is_next(plan, instr, &state->backward_phase, &state->backwards), "backward out of order");
    struct flight *flight = flight_of(machine, instr->stage);
    RULE(is_flight(flight, instr), "backward before its forward");
    RULE(stage->forward_device == machine->device || flight->stash_here, "what its forward kept is not here");
    if (instr->stage + 1 < plan->stage_count)
        RULE(flight->gradient_here, "its gradient is not here");
    bool stash = plan->phases[instr->phase].weights == SP_WEIGHTS_STASH;
    RULE(instr->version == (stash ? flight->read : state->version), "does not read the version of its policy");
    RULE(instr->version >= state->oldest && instr->version <= state->version, "reads a version that is gone");
    RULE(state->accumulated < plan->phases[instr->phase].microbatches, "a minibatch without an update");
    state->accumulated++;
    state->backwards++;
    if (instr->stage > 0 && plan->stages[instr->stage - 1].backward_device == machine->device) {
        struct flight *up = flight_of(machine, instr->stage - 1);
        RULE(is_flight(up, instr), "a gradient for a microbatch that is not under way");
        up->gradient_here = true;
    }
    flight->forward_done = false;
    return SP_OK;
}

static sp_status do_update(struct machine *machine)
{
    const struct sp_instr *instr = machine->instr;
    const struct sp_stage *stage = &machine->plan->stages[instr->stage];
    struct stage_state *state = &machine->stages[instr->stage];
    RULE(stage->backward_device == machine->device, "update on a device without the stage");
    RULE(state->accumulated == machine->plan->phases[instr->phase].microbatches, "update of an incomplete gradient");
    RULE(instr->minibatch == state->version, "update of another minibatch than the next");
    RULE(instr->version == state->version + 1, "does not make the next version");
    RULE(instr->oldest >= state->oldest && instr->oldest <= instr->version, "oldest version goes back");
    RULE(instr->version - instr->oldest < machine->plan->versions[instr->stage], "keeps more versions than planned");
    state->version = instr->version;
    state->oldest = instr->oldest;
    state->accumulated = 0;
    if (stage->forward_device == machine->device)
        state->forward_version = state->version;
    return SP_OK;
}

/* What a SEND gives away must exist. */
static sp_status do_send(struct machine *machine)
{
    const struct sp_instr *instr = machine->instr;
    const struct sp_channel *channel = &machine->plan->channels[instr->channel];
    struct mailbox *box = &machine->boxes[instr->channel];
    const struct stage_state *state = &machine->stages[instr->stage];
    RULE(channel->from_device == machine->device && channel->from_stage == instr->stage, "sends from elsewhere");
    RULE(box->sent - box->taken < channel->depth, "its channel is full");
    if (channel->payload == SP_PAYLOAD_ACTIVATION && instr->evaluate)
        RULE(state->evaluated == instr->minibatch + 1, "sends what is not made");
    else if (channel->payload == SP_PAYLOAD_ACTIVATION || channel->payload == SP_PAYLOAD_STASH)
        RULE(is_flight(flight_of(machine, instr->stage), instr), "sends what is not made");
    else if (channel->payload == SP_PAYLOAD_GRADIENT)
        RULE(state->backwards > 0 && !is_flight(flight_of(machine, instr->stage), instr), "sends what is not made");
    else if (channel->payload == SP_PAYLOAD_WEIGHTS)
        RULE(instr->version == state->version, "sends other weights than the newest");
    box->messages[box->sent++ % channel->depth] = *instr;
    return SP_OK;
}

static sp_status do_recv(struct machine *machine)
{
    const struct sp_instr *instr = machine->instr;
    const struct sp_channel *channel = &machine->plan->channels[instr->channel];
    struct mailbox *box = &machine->boxes[instr->channel];
    struct stage_state *state = &machine->stages[instr->stage];
    const struct sp_instr *message = &box->messages[box->taken % channel->depth];
    RULE(channel->to_device == machine->device && channel->to_stage == instr->stage, "receives elsewhere");
    bool credit = channel->payload == SP_PAYLOAD_CREDIT;
    RULE(credit || (message->minibatch == instr->minibatch && message->microbatch == instr->microbatch),
         "receives another microbatch than was sent");
    RULE(message->version == instr->version || credit, "receives another version than was sent");
    box->taken++;
    if (channel->payload == SP_PAYLOAD_ACTIVATION && instr->evaluate) {
        state->evaluate_input = instr->minibatch;
    } else if (channel->payload == SP_PAYLOAD_ACTIVATION) {
        state->input_minibatch = instr->minibatch;
        state->input_microbatch = instr->microbatch;
    } else if (channel->payload == SP_PAYLOAD_GRADIENT || channel->payload == SP_PAYLOAD_STASH) {
        struct flight *flight = flight_of(machine, instr->stage);
        RULE(is_flight(flight, instr), "receives for a microbatch that is not under way");
        *(channel->payload == SP_PAYLOAD_GRADIENT ? &flight->gradient_here : &flight->stash_here) = true;
    } else if (channel->payload == SP_PAYLOAD_WEIGHTS) {
        RULE(instr->version == state->forward_version + 1, "weights out of order");
        state->forward_version = instr->version;
    }
    return SP_OK;
}

static sp_status do_instr(struct machine *machine, int device, const struct sp_instr *instr)
{
    const struct sp_plan *plan = machine->plan;
    machine->device = device;
    machine->instr = instr;
    bool message = instr->kind == SP_INSTR_SEND || instr->kind == SP_INSTR_RECV;
    bool sane = instr->stage >= 0 && instr->stage < plan->stage_count && instr->phase >= 0 &&
                instr->phase < plan->phase_count && instr->microbatch >= 0 &&
                instr->microbatch < plan->phases[instr->phase].microbatches && instr->minibatch >= 0 &&
                (instr->evaluate || instr->minibatch >= plan->phases[instr->phase].first_minibatch);
    if (!sane || (message && (instr->channel < 0 || instr->channel >= plan->channel_count)))
        return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "device %d: an instruction out of range (stage %d)", device,
                       instr->stage);
    switch (instr->kind) {
    case SP_INSTR_FORWARD:
        return do_forward(machine);
    case SP_INSTR_BACKWARD:
        return do_backward(machine);
    case SP_INSTR_UPDATE:
        return do_update(machine);
    case SP_INSTR_SEND:
        return do_send(machine);
    default:
        return do_recv(machine);
    }
}

/* Nothing may be left over. */
static sp_status check_end(struct machine *machine)
{
    const struct sp_plan *plan = machine->plan;
    for (int c = 0; c < plan->channel_count; c++)
        if (machine->boxes[c].sent != machine->boxes[c].taken)
            return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "channel %d (%s): %lld sent, %lld received", c,
                           sp_payload_names[plan->channels[c].payload], (long long)machine->boxes[c].sent,
                           (long long)machine->boxes[c].taken);
    for (int i = 0; i < plan->stage_count; i++) {
        const struct stage_state *state = &machine->stages[i];
        if (state->version != plan->minibatches || state->forward_version != state->version)
            return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "stage %d ends at version %lld of %lld", i,
                           (long long)state->version, (long long)plan->minibatches);
        if (state->oldest != state->version)
            return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "stage %d ends with old versions kept", i);
        if (state->evaluated != sp_plan_evaluation_minibatches(plan))
            return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "stage %d ends after %lld evaluation minibatches", i,
                           (long long)state->evaluated);
        for (int s = 0; s < plan->in_flight[i]; s++)
            if (state->slots[s].forward_done)
                return SP_FAIL(machine->err, SP_E_UNSUPPORTED, "stage %d ends with a slot taken", i);
    }
    return SP_OK;
}

static sp_status run_machine(struct machine *machine, const struct sp_instr_source *source)
{
    const struct sp_plan *plan = machine->plan;
    struct sp_instr *next = sp_calloc((size_t)plan->device_count, sizeof *next);
    bool *more = sp_calloc((size_t)plan->device_count, sizeof *more);
    for (int d = 0; d < plan->device_count; d++)
        more[d] = source->next(source->self, d, &next[d]);
    sp_status status = SP_OK;
    bool moved = true;
    while (moved && status == SP_OK) {
        moved = false;
        for (int d = 0; d < plan->device_count && status == SP_OK; d++) {
            while (more[d]) {
                bool recv =
                    next[d].kind == SP_INSTR_RECV && next[d].channel >= 0 && next[d].channel < plan->channel_count;
                if (recv && machine->boxes[next[d].channel].sent == machine->boxes[next[d].channel].taken)
                    break;
                status = do_instr(machine, d, &next[d]);
                if (status != SP_OK)
                    break;
                moved = true;
                more[d] = source->next(source->self, d, &next[d]);
            }
        }
    }
    for (int d = 0; d < plan->device_count && status == SP_OK; d++) {
        char text[SP_INSTR_TEXT];
        if (more[d])
            status = SP_FAIL(machine->err, SP_E_DEADLOCK, "device %d waits for ever at %s", d,
                             sp_instr_format(plan, &next[d], true, text));
    }
    free(next);
    free(more);
    return status == SP_OK ? check_end(machine) : status;
}

sp_status sp_check(const struct sp_plan *plan, const struct sp_instr_source *source, struct sp_error *err)
{
    struct machine machine = {.plan = plan, .err = err};
    machine.boxes = sp_calloc((size_t)plan->channel_count + 1, sizeof *machine.boxes);
    for (int c = 0; c < plan->channel_count; c++)
        machine.boxes[c].messages = sp_calloc((size_t)plan->channels[c].depth, sizeof(struct sp_instr));
    machine.stages = sp_calloc((size_t)plan->stage_count, sizeof *machine.stages);
    for (int i = 0; i < plan->stage_count; i++) {
        machine.stages[i].slots = sp_calloc((size_t)plan->in_flight[i], sizeof(struct flight));
        machine.stages[i].input_minibatch = machine.stages[i].evaluate_input = -1;
    }
    sp_status status = run_machine(&machine, source);
    for (int c = 0; c < plan->channel_count; c++)
        free(machine.boxes[c].messages);
    for (int i = 0; i < plan->stage_count; i++)
        free(machine.stages[i].slots);
    free(machine.boxes);
    free(machine.stages);
    return status;
}

static bool next_of_cursors(void *self, int device, struct sp_instr *instr)
{
    return sp_cursor_next(((struct sp_cursor **)self)[device], instr);
}

sp_status sp_plan_check(const struct sp_plan *plan, struct sp_error *err)
{
    struct sp_cursor **cursors = sp_calloc((size_t)plan->device_count, sizeof *cursors);
    for (int d = 0; d < plan->device_count; d++)
        cursors[d] = sp_cursor_create(plan, d);
    struct sp_instr_source source = {cursors, next_of_cursors};
    sp_status status = sp_check(plan, &source, err);
    for (int d = 0; d < plan->device_count; d++)
        sp_cursor_destroy(&cursors[d]);
    free(cursors);
    return status;
}
