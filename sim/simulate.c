/*
 * simulate.c - the engine in virtual time.
 *
 * Instructions are executed in the order of virtual time, so a bus that serves first come first served can be booked
 * when the message is posted: its arrival is known at once, and the only events are devices that go on. Where devices
 * slow each other (contention.h) or messages share links fairly (flows.h), events that are booked already are moved.
 * Where devices share nothing at all, each goes on at a time of its own (ahead.h).
 */
#include "sim/simulate.h"

#include "common/alloc.h"
#include "sim/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A span is kept where there is room. */
static void keep_span(struct sim *sim, int lane, enum sp_span_kind kind, enum sp_payload payload,
                      const struct sp_instr *instr, int64_t start, int64_t end)
{
    if (sim->trace->lanes[lane].count == sim->trace->lanes[lane].capacity)
        return;
    struct sp_span span = {.start_s = sim_seconds(sim->totals.time + start),
                           .end_s = sim_seconds(sim->totals.time + end),
                           .minibatch = instr->minibatch,
                           .version = instr->version,
                           .stage = instr->stage,
                           .microbatch = instr->microbatch,
                           .kind = kind,
                           .payload = payload};
    sp_trace_add(sim->trace, lane, &span);
}

static void add_span(struct sim *sim, int lane, enum sp_span_kind kind, const struct sp_instr *instr, int64_t start,
                     int64_t end)
{
    sim->lanes[lane].ticks[kind] += end - start;
    sim->lanes[lane].count[kind]++;
    if (sim->keeps)
        keep_span(sim, lane, kind, kind == SP_SPAN_TRANSFER ? sim->channels[instr->channel].payload : 0, instr, start,
                  end);
}

static void add_wait(struct sim *sim, int device, enum sp_payload payload, const struct sp_instr *instr, int64_t start,
                     int64_t end)
{
    sim->lanes[device].wait[payload] += end - start;
    sim->lanes[device].count[SP_SPAN_WAIT]++;
    if (sim->keeps)
        keep_span(sim, device, SP_SPAN_WAIT, payload, instr, start, end);
}

void sim_sum_lanes(struct sim *sim)
{
    for (int l = 0; l < sim->trace->lane_count; l++) {
        int64_t *lately = (int64_t *)&sim->lanes[l];
        sim_long *total = (sim_long *)&sim->lane_totals[l];
        for (int n = 0; n < SIM_LANE_NUMBERS; n++) {
            total[n] += lately[n];
            lately[n] = 0;
        }
    }
}

static void note_rest(struct sim *sim, int64_t from, int64_t to)
{
    sim->totals.events += to > from;
    if (to > sim->end)
        sim->end = to;
}

/* The device that is being asked goes on at `at`. */
static enum sp_progress rest_until(struct sim *sim, int device, int64_t at)
{
    note_rest(sim, sim->now, at);
    if (sim->ahead != NULL) {
        sim->now = at;
        return sim_ahead_stays(sim->ahead, device, at) ? SP_DONE : SP_PENDING;
    }
    if (at <= sim->now)
        return SP_DONE;
    sim_queue_push(&sim->queue, at, device);
    return SP_PENDING;
}

/* A device that has rested since `since` goes on at `at`: through the queue, even at this very moment. */
static void wake(struct sim *sim, int device, int64_t since, int64_t at)
{
    note_rest(sim, since, at);
    if (sim->ahead != NULL)
        sim_ahead_wake(sim->ahead, device, at);
    else
        sim_queue_push(&sim->queue, at > sim->now ? at : sim->now, device);
}

static const enum sp_span_kind span_of[SIM_WORK_COUNT] = {SP_SPAN_FORWARD, SP_SPAN_BACKWARD, SP_SPAN_UPDATE,
                                                          SP_SPAN_EVALUATE};

/* A duration that varies may become longer than the clock bears: then the run is worth nothing. */
static int64_t scaled(struct sim *sim, int64_t ticks, double factor)
{
    if (factor == 1)
        return ticks;
    double varied = (double)ticks * factor;
    if (varied <= sim->most_ticks)
        return llround(varied);
    sim->too_long = true;
    return llround(sim->most_ticks);
}

/* The same of the bytes of a message over fair links. */
static double scaled_bytes(struct sim *sim, int channel, double bytes, double factor)
{
    double byte_ticks = sim_flows_byte_s(sim->flows->cost, &sim->flows->cost->channels[channel]) * SIM_TICKS_PER_S,
           most = fmin(SIM_FLOWS_MOST_BYTES, sim->most_ticks / byte_ticks);
    sim->too_long |= factor != 1 && bytes * factor > most;
    return factor != 1 ? fmin(bytes * factor, most) : bytes;
}

/* What F takes longer because its memory was never touched before. */
static int64_t first_touch(const struct sim *sim, const struct sp_instr *instr)
{
    const struct sim_start_ticks *start = &sim->starts[instr->stage];
    int64_t q = instr->minibatch * sim->plan->phases[0].microbatches + instr->microbatch;
    if (instr->phase > 0 || q >= sim->plan->in_flight[instr->stage])
        return 0;
    return start->slot + (q == 0 ? start->first : 0);
}

/* Stage 0 is updated: here steady.c looks for states that come again. */
static void note_update(struct sim *sim, const struct sp_instr *instr)
{
    sim->updated = instr->minibatch;
    if (sim->ahead != NULL && sim->jumps)
        sim_ahead_end_turn(sim->ahead);
}

static enum sp_progress compute(struct sim *sim, int device, const struct sp_instr *instr)
{
    enum sim_work work = SIM_WORK_UPDATE;
    if (instr->kind == SP_INSTR_FORWARD)
        work = instr->evaluate ? SIM_WORK_EVALUATE : SIM_WORK_FORWARD;
    else if (instr->kind == SP_INSTR_BACKWARD)
        work = SIM_WORK_BACKWARD;
    else if (instr->stage == 0)
        note_update(sim, instr);
    int64_t row = ((int64_t)instr->phase * sim->plan->stage_count + instr->stage) * SIM_WORK_COUNT + work;
    int64_t ticks = sim->work[row] + (sim->starts_slowly && work == SIM_WORK_FORWARD ? first_touch(sim, instr) : 0);
    if (sim->noise != NULL)
        ticks = scaled(sim, ticks, sim_noise_work(sim->noise, row, instr));
    if (sim->crowd != NULL && ticks > 0 && sim_crowd_has(sim->crowd, device)) {
        sim_crowd_begin(sim->crowd, &sim->queue, device, row, ticks, instr, sim->now);
        sim->totals.events++;
        return SP_PENDING;
    }
    add_span(sim, device, span_of[work], instr, sim->now, sim->now + ticks);
    return rest_until(sim, device, sim->now + ticks);
}

/* A device's work beside others is done. */
static void end_work(struct sim *sim, int device, const struct sim_load *load)
{
    add_span(sim, device, span_of[load->row % SIM_WORK_COUNT], &load->instr, load->started, sim->now);
    if (sim->now > sim->end)
        sim->end = sim->now;
}

static const struct sim_channel_ticks *message_of(const struct sim *sim, const struct sp_instr *instr)
{
    return &sim->messages[(int64_t)instr->phase * sim->plan->channel_count + instr->channel];
}

static void push_arrival(struct sim_channel *state, int64_t arrival)
{
    if (state->posted - state->taken == state->capacity) {
        int capacity = 2 * state->capacity;
        int64_t *ring = sp_alloc((size_t)capacity * sizeof *ring);
        for (int64_t k = state->taken; k < state->posted; k++)
            ring[k & (capacity - 1)] = state->arrivals[k & (state->capacity - 1)];
        if (state->arrivals != state->few)
            free(state->arrivals);
        state->arrivals = ring;
        state->capacity = capacity;
    }
    state->arrivals[state->posted++ & (state->capacity - 1)] = arrival;
}

static struct sim_noise_message noise_of(const struct sim *sim, const struct sp_instr *instr)
{
    return sim->noise != NULL ? sim_noise_message(sim->noise, instr) : (struct sim_noise_message){1, 1, 1};
}

/* Takes the next message of a channel; when the device goes on: who has slept must wake first. */
static int64_t take(struct sim *sim, int device, const struct sp_instr *instr, int64_t since)
{
    struct sim_channel *state = &sim->channels[instr->channel];
    struct sim_noise_message noise = noise_of(sim, instr);
    int64_t arrival = state->arrivals[state->taken++ & (state->capacity - 1)];
    int64_t from = arrival > since ? arrival : since;
    if (from - since > sim->patience)
        from += scaled(sim, sim->wake, noise.way);
    if (from > since)
        add_wait(sim, device, (enum sp_payload)state->payload, instr, since, from);
    return from + scaled(sim, message_of(sim, instr)->handling, noise.take);
}

static enum sp_progress receive(struct sim *sim, int device, const struct sp_instr *instr)
{
    struct sim_channel *state = &sim->channels[instr->channel];
    if (state->taken < state->posted)
        return rest_until(sim, device, take(sim, device, instr, sim->now));
    state->awaited = true;
    state->awaited_since = sim->now;
    if (sim->ahead != NULL)
        sim_ahead_rest(sim->ahead, device, sim->now);
    state->awaited_by = *instr;
    return SP_PENDING;
}

/* It is known when the message will be there. */
static void announce(struct sim *sim, int channel, int64_t arrival)
{
    struct sim_channel *state = &sim->channels[channel];
    int to = state->to_device;
    if (arrival < state->last_arrival)
        arrival = state->last_arrival;
    state->last_arrival = arrival;
    push_arrival(state, arrival);
    if (!state->awaited)
        return;
    state->awaited = false;
    wake(sim, to, state->awaited_since, take(sim, to, &state->awaited_by, state->awaited_since));
}

static enum sp_progress post(struct sim *sim, int device, const struct sp_instr *instr)
{
    const struct sim_channel_ticks *cost = message_of(sim, instr);
    struct sim_channel *state = &sim->channels[instr->channel];
    struct sim_noise_message noise = noise_of(sim, instr);
    int64_t posted = sim->now + scaled(sim, cost->handling, noise.post), start = posted;
    int64_t busy = scaled(sim, cost->busy, noise.way), latency = scaled(sim, cost->latency, noise.way);
    if (sim->flows != NULL && sim_flows_has(sim->flows, instr->channel)) {
        struct sim_parcel parcel = {.ready = posted, .latency = latency, .instr = *instr};
        sim_flows_post(sim->flows, &sim->queue, instr->channel,
                       scaled_bytes(sim, instr->channel, cost->bytes, noise.way), &parcel);
        return rest_until(sim, device, posted);
    }
    if (state->bus >= 0) {
        if (sim->bus_free[state->bus] > start)
            start = sim->bus_free[state->bus];
        sim->bus_free[state->bus] = start + busy;
    }
    if (busy > 0)
        add_span(sim, state->lane, SP_SPAN_TRANSFER, instr, start, start + busy);
    announce(sim, instr->channel, start + busy + latency);
    return rest_until(sim, device, posted);
}

/* The event of a channel over fair links: a message sets off, or has been transferred. */
static void pass_on(struct sim *sim, int channel)
{
    struct sim_parcel parcel;
    int64_t started;
    if (!sim_flows_event(sim->flows, &sim->queue, channel, sim->now, &parcel, &started))
        return;
    add_span(sim, sim->channels[channel].lane, SP_SPAN_TRANSFER, &parcel.instr, started, sim->now);
    announce(sim, channel, sim->now + parcel.latency);
}

static sp_status sim_execute(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                             struct sp_error *err)
{
    struct sim *sim = self;
    (void)err;
    sim->totals.instructions++;
    if (sim->ahead != NULL && sim->ahead->device != device)
        sim->now = sim_ahead_begin(sim->ahead, device);
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

/* Clocks start again when all that could go on has come too far. */
static int next_ahead(struct sim *sim)
{
    int device = sim_ahead_next(sim->ahead);
    if (device < 0 && sim->ahead->count > 0) {
        sim_rebase(sim, sim_ahead_least(sim->ahead));
        device = sim_ahead_next(sim->ahead);
    }
    return device;
}

static int sim_next(void *self)
{
    struct sim *sim = self;
    struct sim_event event;
    if (sim->ahead != NULL)
        return next_ahead(sim);
    for (;;) {
        sim_settle(sim);
        if (!sim_queue_pop(&sim->queue, &event))
            return -1;
        sim->now = event.at;
        if (event.id < sim->plan->device_count)
            break;
        sim->totals.events++;
        pass_on(sim, event.id - sim->plan->device_count);
    }
    const struct sim_load *load = sim->crowd != NULL ? sim_crowd_end(sim->crowd, event.id) : NULL;
    if (load != NULL)
        end_work(sim, event.id, load);
    return event.id;
}

static int sim_soon(const void *self)
{
    const struct sim *sim = self;
    int id = sim->ahead != NULL ? sim_ahead_soon(sim->ahead) : sim_queue_soon(&sim->queue);
    if (id < 0 || id >= sim->plan->device_count)
        return -1;
    __builtin_prefetch(&sim->lanes[id], 1);
    __builtin_prefetch((const char *)&sim->lanes[id] + 64, 1);
    return id;
}

const struct sp_engine sim_engine = {
    .name = "sim",
    .execute = sim_execute,
    .next = sim_next,
    .soon = sim_soon,
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
    sim->work = sp_calloc((size_t)stages * SIM_WORK_COUNT, sizeof *sim->work);
    for (int64_t s = 0; s < stages; s++) {
        int64_t *work = &sim->work[s * SIM_WORK_COUNT];
        work[SIM_WORK_FORWARD] = sim_ticks(cost->stages[s].forward_s);
        work[SIM_WORK_BACKWARD] = sim_ticks(cost->stages[s].backward_s);
        work[SIM_WORK_UPDATE] = sim_ticks(cost->stages[s].update_s);
        work[SIM_WORK_EVALUATE] = sim_ticks(cost->stages[s].evaluate_s);
    }
    sim->starts = sp_calloc((size_t)plan->stage_count, sizeof *sim->starts);
    for (int i = 0; i < plan->stage_count; i++) {
        sim->starts[i] =
            (struct sim_start_ticks){sim_ticks(cost->starts[i].first_s), sim_ticks(cost->starts[i].slot_s)};
        sim->starts_slowly |= sim->starts[i].first > 0 || sim->starts[i].slot > 0;
    }
    sim->patience = sim_ticks(cost->patience_s);
    sim->wake = sim_ticks(cost->wake_s);
    sim->messages = sp_calloc((size_t)plan->phase_count * (size_t)plan->channel_count + 1, sizeof *sim->messages);
    for (int p = 0; p < plan->phase_count; p++)
        for (int c = 0; c < plan->channel_count; c++) {
            const struct sim_channel_cost *message = &cost->channels[c];
            bool whole = plan->channels[c].payload == SP_PAYLOAD_WEIGHTS;
            double share = whole ? 1 : 1.0 / plan->phases[p].microbatches;
            sim->messages[p * plan->channel_count + c] = (struct sim_channel_ticks){
                sim_ticks(message->latency_s), sim_ticks(message->busy_s * share),
                sim_ticks(cost->handoff_s + message->device_s * share), message->bytes * share};
            sim->channels[c].bus = message->bus;
        }
}

/* The totals that were kept in ticks, in seconds; spans that were kept have been counted there too. */
static void set_totals(struct sim *sim)
{
    sim_sum_lanes(sim);
    for (int l = 0; l < sim->trace->lane_count; l++) {
        struct sp_lane_total *total = &sim->trace->lanes[l].total;
        const struct sim_lane_total *ticks = &sim->lane_totals[l];
        sim_long waits = 0;
        for (int k = 0; k < SP_SPAN_WAIT; k++)
            total->seconds[k] = sim_seconds(ticks->ticks[k]);
        for (int k = 0; k < SP_SPAN_KIND_COUNT; k++)
            total->count[k] = (int64_t)ticks->count[k];
        for (int p = 0; p < SP_PAYLOAD_COUNT; p++) {
            total->wait_s[p] = sim_seconds(ticks->wait[p]);
            waits += ticks->wait[p];
        }
        total->seconds[SP_SPAN_WAIT] = sim_seconds(waits);
    }
}

static void make_channels(struct sim *sim)
{
    const struct sp_plan *plan = sim->plan;
    sim->channels = sp_alloc_lines((size_t)plan->channel_count, sizeof *sim->channels);
    for (int c = 0; c < plan->channel_count; c++) {
        sim->channels[c].arrivals = sim->channels[c].few;
        sim->channels[c].capacity = sizeof sim->channels[c].few / sizeof *sim->channels[c].few;
        sim->channels[c].payload = (uint8_t)plan->channels[c].payload;
        sim->channels[c].to_device = plan->channels[c].to_device;
    }
}

sp_status sim_run(const struct sp_plan *plan, const struct sim_cost *cost, const struct sim_config *config,
                  struct sim_result *result, struct sp_error *err)
{
    struct sim sim = {.plan = plan, .bus_count = cost->bus_count, .updated = -1};
    struct sim_noise_state noise;
    sp_status status;
    memset(result, 0, sizeof *result);
    if (config->noisy) {
        sim_noise_init(&noise, cost, &config->noise);
        sim.noise = &noise;
    }
    sim.most_ticks = SIM_MOST_S * SIM_TICKS_PER_S / sim_contention_worst(&cost->contention, plan->device_count);
    sim.jumps = !config->whole && !config->noisy;
    sim.crowd = sim_crowd_create(plan, cost);
    sim.flows = sim_flows_create(plan, cost, plan->device_count);
    sim.ahead = sim.crowd == NULL && sim.flows == NULL ? sim_ahead_create(plan, cost) : NULL;
    make_channels(&sim);
    sim.bus_free = sp_calloc((size_t)cost->bus_count + 1, sizeof *sim.bus_free);
    status = sp_trace_create(plan->device_count, number_links(&sim), config->spans_per_lane, &sim.trace, err);
    if (status == SP_OK) {
        for (int c = 0; c < plan->channel_count; c++) {
            struct sp_lane *lane = &sim.trace->lanes[sim.channels[c].lane];
            snprintf(lane->name, sizeof lane->name, "link %d -> %d", plan->channels[c].from_device,
                     plan->channels[c].to_device);
        }
        sim.keeps = config->spans_per_lane > 0;
        sim.lanes = sp_alloc_lines((size_t)sim.trace->lane_count, sizeof *sim.lanes);
        sim.lane_totals = sp_calloc((size_t)sim.trace->lane_count, sizeof *sim.lane_totals);
        set_costs(&sim, cost);
        status = sp_drive(plan, &sim_engine, &sim, NULL, err);
    }
    if (status == SP_OK && sim.too_long)
        status = SP_FAIL(err, SP_E_INPUT,
                         "durations that vary so much (cost.noise, cost.drift, or a profile's noise) come to more than "
                         "%g s of one instruction or message, the most that is simulated",
                         SIM_MOST_S);
    if (status == SP_OK) {
        set_totals(&sim);
        *result = (struct sim_result){.time_s = sim_seconds(sim.totals.time + sim.end),
                                      .events = (int64_t)sim.totals.events,
                                      .instructions = (int64_t)sim.totals.instructions,
                                      .jumped = sim.jumped,
                                      .period = sim.period,
                                      .period_s = sim_seconds(sim.period_time),
                                      .trace = sim.trace};
    } else {
        sp_trace_destroy(&sim.trace);
    }
    for (int c = 0; c < plan->channel_count; c++)
        if (sim.channels[c].arrivals != sim.channels[c].few)
            free(sim.channels[c].arrivals);
    free(sim.channels);
    free(sim.bus_free);
    free(sim.work);
    free(sim.starts);
    free(sim.messages);
    free(sim.lanes);
    free(sim.lane_totals);
    sim_crowd_destroy(&sim.crowd);
    sim_flows_destroy(&sim.flows);
    sim_ahead_destroy(&sim.ahead);
    sim_snapshot_destroy(&sim.snapshot);
    sim_queue_fini(&sim.queue);
    return status;
}

void sim_result_fini(struct sim_result *result)
{
    sp_trace_destroy(&result->trace);
}
