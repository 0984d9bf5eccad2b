/*
 * simulate.c - the engine in virtual time.
 *
 * Instructions are executed in the order of virtual time, so a bus that serves first come first served can be booked
 * when the message is posted: its arrival is known at once, and the only events are devices that go on.
 */
#include "sim/simulate.h"

#include "common/alloc.h"
#include "sim/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages posted and not yet taken. */
struct channel_state {
    double *arrivals; /* ring of `capacity`, a power of two */
    int64_t taken, posted;
    int64_t capacity;
    double last_arrival_s; /* first in, first out, even if a later message is smaller */
    int lane;              /* of the trace */
    bool awaited;          /* the receiver rests in RECV number `taken` */
    double awaited_since_s;
    struct sp_instr awaited_by;
};

struct sim {
    const struct sp_plan *plan;
    const struct sim_cost *cost;
    struct sim_queue queue;
    double now_s, end_s;
    struct channel_state *channels;
    double *bus_free_s;
    struct sp_trace *trace;
    int64_t events, instructions;
};

static void add_span(struct sim *sim, int lane, enum sp_span_kind kind, const struct sp_instr *instr, double start_s,
                     double end_s)
{
    struct sp_span span = {.start_s = start_s,
                           .end_s = end_s,
                           .minibatch = instr->minibatch,
                           .version = instr->version,
                           .stage = instr->stage,
                           .microbatch = instr->microbatch,
                           .kind = kind};
    if (kind == SP_SPAN_TRANSFER || kind == SP_SPAN_WAIT)
        span.payload = sim->plan->channels[instr->channel].payload;
    sp_trace_add(sim->trace, lane, &span);
}

/* The device goes on at `at_s`. */
static enum sp_progress rest_until(struct sim *sim, int device, double at_s)
{
    if (at_s > sim->end_s)
        sim->end_s = at_s;
    if (at_s <= sim->now_s)
        return SP_DONE;
    sim_queue_push(&sim->queue, at_s, device);
    return SP_PENDING;
}

static enum sp_progress compute(struct sim *sim, int device, const struct sp_instr *instr)
{
    const struct sim_stage_cost *cost =
        &sim->cost->stages[(int64_t)instr->phase * sim->plan->stage_count + instr->stage];
    enum sp_span_kind kind = SP_SPAN_UPDATE;
    double seconds = cost->update_s;
    if (instr->kind == SP_INSTR_FORWARD) {
        kind = instr->evaluate ? SP_SPAN_EVALUATE : SP_SPAN_FORWARD;
        seconds = instr->evaluate ? cost->evaluate_s : cost->forward_s;
    } else if (instr->kind == SP_INSTR_BACKWARD) {
        kind = SP_SPAN_BACKWARD;
        seconds = cost->backward_s;
    }
    add_span(sim, device, kind, instr, sim->now_s, sim->now_s + seconds);
    return rest_until(sim, device, sim->now_s + seconds);
}

static void push_arrival(struct channel_state *state, double arrival_s)
{
    if (state->posted - state->taken == state->capacity) {
        int64_t capacity = state->capacity ? 2 * state->capacity : 4;
        double *ring = sp_alloc((size_t)capacity * sizeof *ring);
        for (int64_t k = state->taken; k < state->posted; k++)
            ring[k & (capacity - 1)] = state->arrivals[k & (state->capacity - 1)];
        free(state->arrivals);
        state->arrivals = ring;
        state->capacity = capacity;
    }
    state->arrivals[state->posted++ & (state->capacity - 1)] = arrival_s;
}

/* The part of a minibatch's message that one of a phase has. */
static double share_of(const struct sim *sim, const struct sp_instr *instr)
{
    bool whole = sim->plan->channels[instr->channel].payload == SP_PAYLOAD_WEIGHTS;
    return whole ? 1 : 1.0 / sim->plan->phases[instr->phase].microbatches;
}

/* Seconds that posting or taking a message keeps a device. */
static double handling_s(const struct sim *sim, const struct sp_instr *instr)
{
    double device_s = sim->cost->channels[instr->channel].device_s;
    return device_s > 0 ? sim->cost->handoff_s + device_s * share_of(sim, instr) : sim->cost->handoff_s;
}

/* Takes the next message of a channel; the device rests until it is here. */
static enum sp_progress take(struct sim *sim, int device, const struct sp_instr *instr, double since_s)
{
    struct channel_state *state = &sim->channels[instr->channel];
    double arrival_s = state->arrivals[state->taken++ & (state->capacity - 1)];
    double from_s = arrival_s > since_s ? arrival_s : since_s;
    if (from_s > since_s)
        add_span(sim, device, SP_SPAN_WAIT, instr, since_s, from_s);
    return rest_until(sim, device, from_s + handling_s(sim, instr));
}

static enum sp_progress receive(struct sim *sim, int device, const struct sp_instr *instr)
{
    struct channel_state *state = &sim->channels[instr->channel];
    if (state->taken < state->posted)
        return take(sim, device, instr, sim->now_s);
    state->awaited = true;
    state->awaited_since_s = sim->now_s;
    state->awaited_by = *instr;
    return SP_PENDING;
}

static enum sp_progress post(struct sim *sim, int device, const struct sp_instr *instr)
{
    const struct sp_channel *channel = &sim->plan->channels[instr->channel];
    const struct sim_channel_cost *cost = &sim->cost->channels[instr->channel];
    struct channel_state *state = &sim->channels[instr->channel];
    double posted_s = sim->now_s + handling_s(sim, instr);
    double start_s = posted_s, busy_s = cost->busy_s > 0 ? cost->busy_s * share_of(sim, instr) : 0;
    if (cost->bus >= 0) {
        if (sim->bus_free_s[cost->bus] > start_s)
            start_s = sim->bus_free_s[cost->bus];
        sim->bus_free_s[cost->bus] = start_s + busy_s;
    }
    double arrival_s = start_s + busy_s + cost->latency_s;
    if (arrival_s < state->last_arrival_s)
        arrival_s = state->last_arrival_s;
    state->last_arrival_s = arrival_s;
    if (busy_s > 0.0)
        add_span(sim, state->lane, SP_SPAN_TRANSFER, instr, start_s, start_s + busy_s);
    push_arrival(state, arrival_s);
    if (state->awaited) {
        state->awaited = false;
        /* A receiver must go on through the queue, even at this very moment. */
        if (take(sim, channel->to_device, &state->awaited_by, state->awaited_since_s) == SP_DONE)
            sim_queue_push(&sim->queue, sim->now_s, channel->to_device);
    }
    return rest_until(sim, device, posted_s);
}

static sp_status sim_execute(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                             struct sp_error *err)
{
    struct sim *sim = self;
    (void)err;
    sim->instructions++;
    switch (instr->kind) {
    case SP_INSTR_SEND:
        *progress = post(sim, device, instr);
        break;
    case SP_INSTR_RECV:
        *progress = receive(sim, device, instr);
        break;
    default:
        *progress = compute(sim, device, instr);
    }
    return SP_OK;
}

static int sim_next(void *self)
{
    struct sim *sim = self;
    struct sim_event event;
    if (!sim_queue_pop(&sim->queue, &event))
        return -1;
    sim->now_s = event.at_s;
    sim->events++;
    return event.device;
}

const struct sp_engine sim_engine = {
    .name = "sim",
    .execute = sim_execute,
    .next = sim_next,
};

/* Gives channels between the same two devices, in one direction, one lane; returns the number of lanes. */
static int number_links(struct sim *sim)
{
    const struct sp_plan *plan = sim->plan;
    int links = 0;
    for (int c = 0; c < plan->channel_count; c++) {
        int same = 0;
        while (same < c && (plan->channels[same].from_device != plan->channels[c].from_device ||
                            plan->channels[same].to_device != plan->channels[c].to_device))
            same++;
        sim->channels[c].lane = same < c ? sim->channels[same].lane : plan->device_count + links++;
    }
    return links;
}

sp_status sim_run(const struct sp_plan *plan, const struct sim_cost *cost, int64_t spans_per_lane,
                  struct sim_result *result, struct sp_error *err)
{
    struct sim sim = {.plan = plan, .cost = cost};
    sp_status status;
    memset(result, 0, sizeof *result);
    sim.channels = sp_calloc((size_t)plan->channel_count + 1, sizeof *sim.channels);
    sim.bus_free_s = sp_calloc((size_t)cost->bus_count + 1, sizeof *sim.bus_free_s);
    status = sp_trace_create(plan->device_count, number_links(&sim), spans_per_lane, &sim.trace, err);
    if (status == SP_OK) {
        for (int c = 0; c < plan->channel_count; c++) {
            struct sp_lane *lane = &sim.trace->lanes[sim.channels[c].lane];
            snprintf(lane->name, sizeof lane->name, "link %d -> %d", plan->channels[c].from_device,
                     plan->channels[c].to_device);
        }
        status = sp_drive(plan, &sim_engine, &sim, NULL, err);
    }
    if (status == SP_OK)
        *result = (struct sim_result){sim.end_s, sim.events, sim.instructions, sim.trace};
    else
        sp_trace_destroy(&sim.trace);
    for (int c = 0; c < plan->channel_count; c++)
        free(sim.channels[c].arrivals);
    free(sim.channels);
    free(sim.bus_free_s);
    sim_queue_fini(&sim.queue);
    return status;
}

void sim_result_fini(struct sim_result *result)
{
    sp_trace_destroy(&result->trace);
}
