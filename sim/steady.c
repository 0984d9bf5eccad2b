/*
 * steady.c - recognises the steady state and jumps over it.
 *
 * The state is everything that decides what happens next: cursors, the queue in its order, messages under way, buses,
 * work half done and transfers half over; with times relative to now and minibatches to the one that stage 0 was just
 * updated with. It is written down when stage 0's 8th, 16th, 32nd … update is done and compared after the updates that
 * follow. If p minibatches later it is the same, all goes on as it did, as long as the schedules keep their order: so n
 * minibatches, a multiple of p, are skipped by moving the cursors and adding what p minibatches added n / p times. The
 * clock itself need not move. Nothing is approximated.
 *
 * Where each device has a time of its own (ahead.h), these times and who is ready belong to the state, and `now` is
 * that of stage 0's device, which has just been updated.
 */
#include "common/alloc.h"
#include "sim/state.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 8, COMPARISONS = 24 };

/* A period may be so long, that of many minibatches longer. */
static int64_t longest_period(int64_t minibatch)
{
    return minibatch / 4 > COMPARISONS ? minibatch / 4 : COMPARISONS;
}

struct sim_snapshot {
    int64_t minibatch; /* 0: none taken */
    int64_t next;      /* when it is to be taken, in minibatches */
    int64_t *state;
    int count;
    int64_t now;
    struct sim_totals totals;
    struct sim_lane_total *lanes;
};

void sim_snapshot_destroy(struct sim_snapshot **snapshot)
{
    if (*snapshot == NULL)
        return;
    free((*snapshot)->state);
    free((*snapshot)->lanes);
    free(*snapshot);
    *snapshot = NULL;
}

/* Who is ready, in order, and each device's time. */
static void put_ahead(const struct sim *sim, int64_t **state, int *count)
{
    const struct sim_ahead *ahead = sim->ahead;
    sp_append(state, count, ahead->count);
    for (int r = 0; r < ahead->count; r++)
        sp_append(state, count, ahead->ready[(ahead->first + r) % ahead->device_count]);
    for (int d = 0; d < ahead->device_count; d++)
        sp_append(state, count, ahead->clocks[d] - sim->now);
}

static void put_queue(const struct sim *sim, int64_t **state, int *count)
{
    int event_count;
    struct sim_event *events = sim_queue_sorted(&sim->queue, &event_count);
    sp_append(state, count, event_count);
    for (int e = 0; e < event_count; e++) {
        sp_append(state, count, events[e].at - sim->now);
        sp_append(state, count, events[e].id);
    }
    free(events);
}

/* Times that are over make no difference: they count as the present of the device that they matter to. */
static int64_t time_left(const struct sim *sim, int device, int64_t at)
{
    int64_t now = sim->ahead != NULL ? sim->ahead->clocks[device] : sim->now;
    return at > now ? at - now : 0;
}

/* Buses whose sender is always the same have its time (ahead.h). */
static void put_buses(const struct sim *sim, int64_t **state, int *count)
{
    for (int b = 0; b < sim->bus_count; b++) {
        int device = sim->ahead != NULL ? sim->ahead->bus_sender[b] : 0;
        sp_append(state, count, device >= 0 ? time_left(sim, device, sim->bus_free[b]) : 0);
    }
}

static void put_channels(const struct sim *sim, int64_t since, int64_t **state, int *count)
{
    for (int c = 0; c < sim->plan->channel_count; c++) {
        const struct sim_channel *channel = &sim->channels[c];
        sp_append(state, count, channel->posted - channel->taken);
        for (int64_t k = channel->taken; k < channel->posted; k++)
            sp_append(state, count, time_left(sim, channel->to_device, channel->arrivals[k & (channel->capacity - 1)]));
        sp_append(state, count, time_left(sim, sim->plan->channels[c].from_device, channel->last_arrival));
        sp_append(state, count, channel->awaited ? sim->now - channel->awaited_since : -1);
        if (channel->awaited)
            sp_instr_state(&channel->awaited_by, since, state, count);
    }
}

static int64_t *write_state(const struct sim *sim, struct sp_cursor *const *cursors, int64_t since, int *count)
{
    int64_t *state = NULL;
    *count = 0;
    for (int d = 0; d < sim->plan->device_count; d++)
        sp_cursor_state(cursors[d], since, &state, count);
    if (sim->ahead != NULL)
        put_ahead(sim, &state, count);
    else
        put_queue(sim, &state, count);
    put_channels(sim, since, &state, count);
    put_buses(sim, &state, count);
    if (sim->crowd != NULL)
        sim_crowd_state(sim->crowd, sim->now, since, &state, count);
    if (sim->flows != NULL)
        sim_flows_state(sim->flows, sim->now, since, &state, count);
    return state;
}

/* Minibatches that all devices can skip; 0 when one is not in its steady order. */
static int64_t skippable(const struct sim *sim, struct sp_cursor *const *cursors)
{
    int64_t least = INT64_MAX;
    for (int d = 0; d < sim->plan->device_count && least > 0; d++) {
        int64_t these = sp_cursor_skippable(cursors[d]);
        least = these < least ? these : least;
    }
    return least;
}

static void take_snapshot(struct sim *sim, struct sp_cursor *const *cursors, int64_t minibatch)
{
    struct sim_snapshot *snapshot = sim->snapshot;
    size_t bytes = (size_t)sim->trace->lane_count * sizeof *sim->lane_totals;
    sim_sum_lanes(sim);
    free(snapshot->state);
    snapshot->state = write_state(sim, cursors, minibatch, &snapshot->count);
    snapshot->minibatch = minibatch;
    snapshot->next = 2 * minibatch;
    snapshot->now = sim->now;
    snapshot->totals = sim->totals;
    snapshot->lanes = sp_realloc(snapshot->lanes, bytes);
    memcpy(snapshot->lanes, sim->lane_totals, bytes);
}

/* Whether a jump loses no span that would be kept. */
static bool trace_is_full(const struct sim *sim)
{
    for (int l = 0; l < sim->trace->lane_count; l++) {
        const struct sp_lane *lane = &sim->trace->lanes[l];
        for (int k = 0; k < SP_SPAN_KIND_COUNT && lane->count < lane->capacity; k++)
            if (sim->lane_totals[l].count[k] != sim->snapshot->lanes[l].count[k])
                return false;
    }
    return true;
}

/* Adds `times` over what was added to `now` since `then`: sums of the same kind, one after the other. */
static void repeat(sim_long *now, const sim_long *then, size_t bytes, sim_long times)
{
    for (size_t i = 0; i < bytes / sizeof *now; i++)
        now[i] += times * (now[i] - then[i]);
}

static void jump(struct sim *sim, struct sp_cursor *const *cursors, int64_t period, int64_t minibatches)
{
    struct sim_snapshot *snapshot = sim->snapshot;
    sim_long times = minibatches / period;
    sim_long elapsed = sim->totals.time + sim->now - snapshot->totals.time - snapshot->now;
    sim->totals.time += times * elapsed;
    repeat(&sim->totals.events, &snapshot->totals.events, sizeof(sim_long), times);
    repeat(&sim->totals.instructions, &snapshot->totals.instructions, sizeof(sim_long), times);
    repeat((sim_long *)sim->lane_totals, (const sim_long *)snapshot->lanes,
           (size_t)sim->trace->lane_count * sizeof *sim->lane_totals, times);
    for (int d = 0; d < sim->plan->device_count; d++)
        sp_cursor_skip(cursors[d], minibatches);
    for (int c = 0; c < sim->plan->channel_count; c++)
        if (sim->channels[c].awaited)
            sp_instr_shift(&sim->channels[c].awaited_by, minibatches);
    if (sim->crowd != NULL)
        sim_crowd_shift(sim->crowd, 0, minibatches);
    if (sim->flows != NULL)
        sim_flows_shift(sim->flows, 0, minibatches);
    sim->jumped += minibatches;
    sim->period = period;
    sim->period_time = elapsed;
    snapshot->minibatch = 0;
    snapshot->next = INT64_MAX; /* one jump a phase: it went to the end of the steady part */
}

static void compare(struct sim *sim, struct sp_cursor *const *cursors, int64_t minibatch)
{
    struct sim_snapshot *snapshot = sim->snapshot;
    int64_t period = minibatch - snapshot->minibatch, most = skippable(sim, cursors) / period * period;
    int count;
    sim_sum_lanes(sim);
    if (most == 0 || !trace_is_full(sim))
        return;
    int64_t *state = write_state(sim, cursors, minibatch, &count);
    bool same = count == snapshot->count && memcmp(state, snapshot->state, (size_t)count * sizeof *state) == 0;
    free(state);
    if (same)
        jump(sim, cursors, period, most);
}

/* Long ago is long ago: what nobody looks at any more does not fall below -2^63. */
static int64_t earlier(int64_t at, int64_t by)
{
    return at - by > -SIM_FAR ? at - by : -SIM_FAR;
}

void sim_rebase(struct sim *sim, int64_t by)
{
    sim_sum_lanes(sim);
    sim->totals.time += by;
    sim->now -= by;
    sim->end -= by;
    if (sim->ahead != NULL)
        for (int d = 0; d < sim->ahead->device_count; d++)
            sim->ahead->clocks[d] = earlier(sim->ahead->clocks[d], by);
    sim_queue_shift(&sim->queue, -by);
    if (sim->crowd != NULL)
        sim_crowd_shift(sim->crowd, -by, 0);
    if (sim->flows != NULL)
        sim_flows_shift(sim->flows, -by, 0);
    for (int b = 0; b < sim->bus_count; b++)
        sim->bus_free[b] = earlier(sim->bus_free[b], by);
    for (int c = 0; c < sim->plan->channel_count; c++) {
        struct sim_channel *channel = &sim->channels[c];
        for (int64_t k = channel->taken; k < channel->posted; k++)
            channel->arrivals[k & (channel->capacity - 1)] =
                earlier(channel->arrivals[k & (channel->capacity - 1)], by);
        channel->last_arrival = earlier(channel->last_arrival, by);
        channel->awaited_since = earlier(channel->awaited_since, by);
    }
}

void sim_between(void *self, struct sp_cursor *const *cursors)
{
    struct sim *sim = self;
    sim_settle(sim);
    if (sim->ahead == NULL && sim->now > SIM_FAR / 2)
        sim_rebase(sim, sim->now);
    if (sim->updated < 0)
        return;
    int64_t minibatch = sim->updated + 1; /* updates of stage 0 so far */
    sim->updated = -1;
    if (!sim->jumps)
        return;
    if (sim->snapshot == NULL) {
        sim->snapshot = sp_calloc(1, sizeof *sim->snapshot);
        sim->snapshot->next = FIRST;
    }
    struct sim_snapshot *snapshot = sim->snapshot;
    for (int p = 1; p < sim->plan->phase_count; p++)
        if (minibatch == sim->plan->phases[p].first_minibatch + FIRST)
            snapshot->next = minibatch;
    if (minibatch >= snapshot->next) {
        if (skippable(sim, cursors) > 0)
            take_snapshot(sim, cursors, minibatch);
        else
            snapshot->next = minibatch + minibatch / 8;
    } else if (snapshot->minibatch > 0 && minibatch - snapshot->minibatch <= longest_period(snapshot->minibatch)) {
        compare(sim, cursors, minibatch);
    }
}
