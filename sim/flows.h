/*
 * flows.h - messages under way on fair links (sim/maxmin.h), each as fast as the others let it.
 *
 * Messages of one channel follow each other, those of different channels share the links that they cross. A size is
 * counted in 2^-20 bytes; as with contention, what is left is rounded up to whole units when a speed changes, and the
 * end of a transfer to whole ticks, so that a steady state comes again exactly.
 */
#ifndef SIM_FLOWS_H
#define SIM_FLOWS_H

#include "sim/cost.h"
#include "sim/maxmin.h"
#include "sim/queue.h"

/* The size of a message, so that it can be counted. */
#define SIM_FLOWS_MOST_BYTES 0x1p42

/* Seconds that a byte of the channel takes over its links where every other channel is sending; 0 without links. */
double sim_flows_byte_s(const struct sim_cost *cost, const struct sim_channel_cost *channel);

/* A message that has been posted. */
struct sim_parcel {
    int64_t ready;   /* when it may start */
    int64_t size;    /* in units */
    int64_t latency; /* ticks after its transfer */
    struct sp_instr instr;
};

/* The messages of a channel, first in, first out. */
struct sim_stream {
    struct sim_parcel *parcels; /* ring of `capacity`, a power of two */
    int64_t taken, posted, capacity;
    bool flows;      /* the first is under way; else its event says when it may start */
    int64_t started; /* of the first */
    int64_t left, since;
    double rate; /* units a tick; 0: not known yet */
};

struct sim_flows {
    const struct sim_cost *cost;
    double *capacity, *left, *load; /* [link]; capacity in units a tick */
    struct sim_stream *streams;     /* [channel] */
    int channel_count;
    int *active, active_count;     /* channels with a message under way, ascending */
    struct sim_maxmin_flow *flows; /* of each of these */
    int first_id;                  /* channel c has the queue's id first_id + c */
    bool changed;
};

/* NULL where no channel has a route. `cost` is borrowed. */
struct sim_flows *sim_flows_create(const struct sp_plan *plan, const struct sim_cost *cost, int first_id);
void sim_flows_destroy(struct sim_flows **flows);

bool sim_flows_has(const struct sim_flows *flows, int channel);

/* A message of so many bytes is handed to its channel. */
void sim_flows_post(struct sim_flows *flows, struct sim_queue *queue, int channel, double bytes,
                    const struct sim_parcel *parcel);

/* The channel's event has come. True: its first message has been transferred, and is `*parcel`, started at
 * `*started`. */
bool sim_flows_event(struct sim_flows *flows, struct sim_queue *queue, int channel, int64_t now,
                     struct sim_parcel *parcel, int64_t *started);

/* Sets the speeds after all that has happened at `now`, and moves the events accordingly. */
void sim_flows_settle(struct sim_flows *flows, struct sim_queue *queue, int64_t now);

/* For steady.c, as sim_crowd_state and sim_crowd_shift. */
void sim_flows_state(const struct sim_flows *flows, int64_t now, int64_t since, int64_t **state, int *count);
void sim_flows_shift(struct sim_flows *flows, int64_t ticks, int64_t minibatches);

#endif
