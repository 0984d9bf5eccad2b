/*
 * state.h - what the simulator knows while it runs; shared by the engine (simulate.c) and the one that jumps
 * (steady.c).
 */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include "common/engine.h"
#include "common/trace.h"
#include "sim/ahead.h"
#include "sim/clock.h"
#include "sim/contention.h"
#include "sim/cost.h"
#include "sim/flows.h"
#include "sim/noise.h"
#include "sim/queue.h"

/* Costs of a phase in ticks, of one microbatch's message. */
struct sim_channel_ticks {
    int64_t latency, busy, handling; /* handling: of the device that posts or takes */
    double bytes;                    /* over fair links */
};

/* Messages posted and not yet taken. Two cache lines. */
struct sim_channel {
    int64_t *arrivals; /* ring of `capacity`, a power of two: `few` until more are under way */
    int64_t taken, posted;
    int64_t last_arrival; /* first in, first out, even if a later message is smaller */
    int64_t awaited_since;
    int capacity, bus, to_device;
    int lane;        /* of the trace */
    uint8_t payload; /* enum sp_payload */
    bool awaited;    /* the receiver rests in RECV number `taken` */
    int64_t few[2];
    struct sp_instr awaited_by;
};

/* What a lane did lately, in ticks; as sp_lane_total, but the waits are only there by payload. Two cache lines. */
struct sim_lane {
    int64_t ticks[SP_SPAN_WAIT], wait[SP_PAYLOAD_COUNT], count[SP_SPAN_KIND_COUNT];
};
enum { SIM_LANE_NUMBERS = sizeof(struct sim_lane) / sizeof(int64_t) };

/* And all of it. */
struct sim_lane_total {
    sim_long ticks[SP_SPAN_WAIT], wait[SP_PAYLOAD_COUNT], count[SP_SPAN_KIND_COUNT];
};

/* Counters, all of which only grow. */
struct sim_totals {
    sim_long time; /* ticks before the clock's zero */
    sim_long events, instructions;
};

/* As sim_start_cost. */
struct sim_start_ticks {
    int64_t first, slot;
};

struct sim_snapshot;

struct sim {
    const struct sp_plan *plan;
    struct sim_ahead *ahead; /* NULL: devices go on in order of time, by the queue */
    struct sim_queue queue;
    int64_t now, end;                   /* ticks since `totals.time`; now: of the device that is being asked */
    int64_t *work;                      /* [sim_cost_row]: ticks */
    struct sim_start_ticks *starts;     /* [stage] */
    bool starts_slowly;                 /* some are not zero */
    struct sim_channel_ticks *messages; /* [phase * channel_count + channel] */
    int64_t patience, wake;             /* of a device that waits for a message */
    struct sim_channel *channels;
    int64_t *bus_free;
    int bus_count;
    struct sp_trace *trace;
    bool keeps; /* spans */
    struct sim_lane *lanes;
    struct sim_lane_total *lane_totals;
    struct sim_totals totals;
    const struct sim_noise_state *noise; /* NULL: nothing varies */
    double most_ticks;                   /* of a duration that varies */
    bool too_long;                       /* one was longer */
    struct sim_crowd *crowd;             /* NULL: devices do not slow each other */
    struct sim_flows *flows;             /* NULL: no fair links */
    bool jumps;
    int64_t updated; /* the minibatch that stage 0 has just been updated with; -1: none since `between` looked */
    struct sim_snapshot *snapshot;
    int64_t jumped;       /* minibatches */
    int64_t period;       /* minibatches of the last steady state; 0: none yet ... */
    sim_long period_time; /* ... and its ticks */
};

/* Adds what the lanes did lately to their totals; long before 2^63 ticks. */
void sim_sum_lanes(struct sim *sim);

/* Speeds after all that happened at this time; before the next event is looked at. */
static inline void sim_settle(struct sim *sim)
{
    if (sim->crowd != NULL)
        sim_crowd_settle(sim->crowd, &sim->queue, sim->now);
    if (sim->flows != NULL)
        sim_flows_settle(sim->flows, &sim->queue, sim->now);
}

/* Takes `by` from all times and adds it to the clock's zero. Only what is less than 2^62 ticks ago stays exact. */
void sim_rebase(struct sim *sim, int64_t by);

/* When stage 0 was updated: compares with the state some minibatches ago, and jumps when it is the same (steady.c). */
void sim_between(void *self, struct sp_cursor *const *cursors);
void sim_snapshot_destroy(struct sim_snapshot **snapshot);

#endif
