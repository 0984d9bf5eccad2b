/*
 * simulate.c - the engine in virtual time.
 *
 * Instructions are executed in the order of virtual time, so a bus that serves first come first served can be booked
 * when the message is posted: its arrival is known at once, and the only events are devices that go on.
 */
#include "sim/simulate.h"

#include "common/alloc.h"
#include "sim/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_span(struct sim *sim, int lane, enum sp_span_kind kind, const struct sp_instr *instr, int64_t start,
                     int64_t end)
{
    struct sim_lane_ticks *ticks = &sim->lanes[lane];
    bool message = kind == SP_SPAN_TRANSFER || kind == SP_SPAN_WAIT;
    enum sp_payload payload = message ? sim->plan->channels[instr->channel].payload : SP_PAYLOAD_COUNT;
    ticks->ticks[kind] += end - start;
    ticks->count[kind]++;
    if (kind == SP_SPAN_WAIT)
        ticks->wait[payload] += end - start;
    if (sim->trace->lanes[lane].count == sim->trace->lanes[lane].capacity)
        return;
    struct sp_span span = {.start_s = sim_seconds(sim->totals.time + start),
                           .end_s = sim_seconds(sim->totals.time + end),
                           .minibatch = instr->minibatch,
                           .version = instr->version,
                           .stage = instr->stage,
                           .microbatch = instr->microbatch,
                           .kind = kind};
    if (message)
        span.payload = payload;
    sp_trace_add(sim->trace, lane, &span);
}

/* The device goes on at `at`. */
static enum sp_progress rest_until(struct sim *sim, int device, int64_t at)
{
    if (at > sim->end)
        sim->end = at;
    if (at <= sim->now)
        return SP_DONE;
    sim_queue_push(&sim->queue, at, device);
    return SP_PENDING;
}

static enum sp_progress compute(struct sim *sim, int device, const struct sp_instr *instr)
{
    const struct sim_stage_ticks *cost = &sim->stages[(int64_t)instr->phase * sim->plan->stage_count + instr->stage];
    enum sp_span_kind kind = SP_SPAN_UPDATE;
    int64_t ticks = cost->update;
    if (instr->kind == SP_INSTR_FORWARD) {
        kind = instr->evaluate ? SP_SPAN_EVALUATE : SP_SPAN_FORWARD;
        ticks = instr->evaluate ? cost->evaluate : cost->forward;
    } else if (instr->kind == SP_INSTR_BACKWARD) {
        kind = SP_SPAN_BACKWARD;
        ticks = cost->backward;
    } else if (instr->stage == 0) {
        sim->updated = instr->minibatch;
    }
    add_span(sim, device, kind, instr, sim->now, sim->now + ticks);
    return rest_until(sim, device, sim->now + ticks);
}

static const struct sim_channel_ticks *message_of(const struct sim *sim, const struct sp_instr *instr)
{
    return &sim->messages[(int64_t)instr->phase * sim->plan->channel_count + instr->channel];
}

static void push_arrival(struct sim_channel *state, int64_t arrival)
{
    if (state->posted - state->taken == state->capacity) {
        int64_t capacity = state->capacity ? 2 * state->capacity : 4;
        int64_t *ring = sp_alloc((size_t)capacity * sizeof *ring);
        for (int64_t k = state->taken; k < state->posted; k++)
            ring[k & (capacity - 1)] = state->arrivals[k & (state->capacity - 1)];
        free(state->arrivals);
        state->arrivals = ring;
        state->capacity = capacity;
    }
    state->arrivals[state->posted++ & (state->capacity - 1)] = arrival;
}

/* Takes the next message of a channel; the device rests until it is here. */
static enum sp_progress take(struct sim *sim, int device, const struct sp_instr *instr, int64_t since)
{
    struct sim_channel *state = &sim->channels[instr->channel];
    int64_t arrival = state->arrivals[state->taken++ & (state->capacity - 1)];
    int64_t from = arrival > since ? arrival : since;
    if (from > since)
        add_span(sim, device, SP_SPAN_WAIT, instr, since, from);
    return rest_until(sim, device, from + message_of(sim, instr)->handling);
}

static enum sp_progress receive(struct sim *sim, int device, const struct sp_instr *instr)
{
    struct sim_channel *state = &sim->channels[instr->channel];
    if (state->taken < state->posted)
        return take(sim, device, instr, sim->now);
    state->awaited = true;
    state->awaited_since = sim->now;
    state->awaited_by = *instr;
    return SP_PENDING;
}

static enum sp_progress post(struct sim *sim, int device, const struct sp_instr *instr)
{
    const struct sp_channel *channel = &sim->plan->channels[instr->channel];
    const struct sim_channel_ticks *cost = message_of(sim, instr);
    struct sim_channel *state = &sim->channels[instr->channel];
    int64_t posted = sim->now + cost->handling, start = posted;
    if (state->bus >= 0) {
        if (sim->bus_free[state->bus] > start)
            start = sim->bus_free[state->bus];
        sim->bus_free[state->bus] = start + cost->busy;
    }
    int64_t arrival = start + cost->busy + cost->latency;
    if (arrival < state->last_arrival)
        arrival = state->last_arrival;
    state->last_arrival = arrival;
    if (cost->busy > 0)
        add_span(sim, state->lane, SP_SPAN_TRANSFER, instr, start, start + cost->busy);
    push_arrival(state, arrival);
    if (state->awaited) {
        state->awaited = false;
        /* A receiver must go on through the queue, even at this very moment. */
        if (take(sim, channel->to_device, &state->awaited_by, state->awaited_since) == SP_DONE)
            sim_queue_push(&sim->queue, sim->now, channel->to_device);
    }
    return rest_until(sim, device, posted);
}

static sp_status sim_execute(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                             struct sp_error *err)
{
    struct sim *sim = self;
    (void)err;
    sim->totals.instructions++;
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
    sim->now = event.at;
    sim->totals.events++;
    return event.device;
}

const struct sp_engine sim_engine = {
    .name = "sim",
    .execute = sim_execute,
    .next = sim_next,
    .between = sim_between,
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

/* The cost source's seconds as ticks of each phase's microbatches. */
static void set_costs(struct sim *sim, const struct sim_cost *cost)
{
    const struct sp_plan *plan = sim->plan;
    int64_t stages = (int64_t)plan->phase_count * plan->stage_count;
    sim->stages = sp_calloc((size_t)stages, sizeof *sim->stages);
    for (int64_t s = 0; s < stages; s++)
        sim->stages[s] =
            (struct sim_stage_ticks){sim_ticks(cost->stages[s].forward_s), sim_ticks(cost->stages[s].backward_s),
                                     sim_ticks(cost->stages[s].update_s), sim_ticks(cost->stages[s].evaluate_s)};
    sim->messages = sp_calloc((size_t)plan->phase_count * (size_t)plan->channel_count + 1, sizeof *sim->messages);
    for (int p = 0; p < plan->phase_count; p++)
        for (int c = 0; c < plan->channel_count; c++) {
            const struct sim_channel_cost *message = &cost->channels[c];
            bool whole = plan->channels[c].payload == SP_PAYLOAD_WEIGHTS;
            double share = whole ? 1 : 1.0 / plan->phases[p].microbatches;
            sim->messages[p * plan->channel_count + c] =
                (struct sim_channel_ticks){sim_ticks(message->latency_s), sim_ticks(message->busy_s * share),
                                           sim_ticks(cost->handoff_s + message->device_s * share)};
            sim->channels[c].bus = message->bus;
        }
}

/* The totals that were kept in ticks, in seconds; spans that were kept have been counted there too. */
static void set_totals(struct sim *sim)
{
    for (int l = 0; l < sim->trace->lane_count; l++) {
        struct sp_lane_total *total = &sim->trace->lanes[l].total;
        for (int k = 0; k < SP_SPAN_KIND_COUNT; k++) {
            total->seconds[k] = sim_seconds(sim->lanes[l].ticks[k]);
            total->count[k] = (int64_t)sim->lanes[l].count[k];
        }
        for (int p = 0; p < SP_PAYLOAD_COUNT; p++)
            total->wait_s[p] = sim_seconds(sim->lanes[l].wait[p]);
    }
}

sp_status sim_run(const struct sp_plan *plan, const struct sim_cost *cost, const struct sim_config *config,
                  struct sim_result *result, struct sp_error *err)
{
    struct sim sim = {.plan = plan, .bus_count = cost->bus_count, .jumps = !config->whole, .updated = -1};
    sp_status status;
    memset(result, 0, sizeof *result);
    sim.channels = sp_calloc((size_t)plan->channel_count + 1, sizeof *sim.channels);
    sim.bus_free = sp_calloc((size_t)cost->bus_count + 1, sizeof *sim.bus_free);
    status = sp_trace_create(plan->device_count, number_links(&sim), config->spans_per_lane, &sim.trace, err);
    if (status == SP_OK) {
        for (int c = 0; c < plan->channel_count; c++) {
            struct sp_lane *lane = &sim.trace->lanes[sim.channels[c].lane];
            snprintf(lane->name, sizeof lane->name, "link %d -> %d", plan->channels[c].from_device,
                     plan->channels[c].to_device);
        }
        sim.lanes = sp_calloc((size_t)sim.trace->lane_count, sizeof *sim.lanes);
        set_costs(&sim, cost);
        status = sp_drive(plan, &sim_engine, &sim, NULL, err);
    }
    if (status == SP_OK) {
        set_totals(&sim);
        *result = (struct sim_result){.time_s = sim_seconds(sim.totals.time + sim.end),
                                      .events = (int64_t)sim.totals.events,
                                      .instructions = (int64_t)sim.totals.instructions,
                                      .jumped = sim.jumped,
                                      .trace = sim.trace};
    } else {
        sp_trace_destroy(&sim.trace);
    }
    for (int c = 0; c < plan->channel_count; c++)
        free(sim.channels[c].arrivals);
    free(sim.channels);
    free(sim.bus_free);
    free(sim.stages);
    free(sim.messages);
    free(sim.lanes);
    sim_snapshot_destroy(&sim.snapshot);
    sim_queue_fini(&sim.queue);
    return status;
}

void sim_result_fini(struct sim_result *result)
{
    sp_trace_destroy(&result->trace);
}
