/*
 * contention.h - devices of one machine at work, each as fast as the others let it (sim/cost.h).
 *
 * Work is counted in ticks that it would take alone. While a device's speed stays, nothing is computed; when it
 * changes, what is left of the work is rounded up to whole ticks, and when the device will be done is rounded up too:
 * 2^-40 s each. So the state is whole numbers, comes again exactly in a steady state, and a jump over it loses nothing.
 * When a device starts or ends, O(devices at work on its machine * classes) is computed.
 */
#ifndef SIM_CONTENTION_H
#define SIM_CONTENTION_H

#include "sim/cost.h"
#include "sim/queue.h"

/* A device's work under way. */
struct sim_load {
    bool active;
    int64_t row;     /* as in sim_cost_row */
    int64_t left;    /* ticks alone, at `since` */
    int64_t since;   /* when its speed last changed */
    double stretch;  /* times as long as alone; 0: not known yet */
    int64_t started; /* for the trace, as is the instruction */
    struct sp_instr instr;
};

/* The devices of a machine that are at work, ascending: sums over them come out the same whatever came first. */
struct sim_machine {
    int device_count;
    int *active, active_count;
    double *total; /* [class]: sum of their mixes */
    bool changed;  /* somebody started or ended since speeds were set */
};

struct sim_crowd {
    const struct sim_contention *cost;
    double *pull;           /* [row * class_count + b]: excess of the row's work beside one that does nothing but b */
    int *machine_of;        /* [device]; -1: nobody shares with it */
    struct sim_load *loads; /* [device] */
    int device_count;
    struct sim_machine *machines;
    int machine_count;
    int *changed, changed_count; /* machines */
};

/* How many times as long as alone work takes beside that of all other devices, at worst. */
double sim_contention_worst(const struct sim_contention *contention, int device_count);

/* NULL where nobody can slow anybody. `cost` is borrowed. */
struct sim_crowd *sim_crowd_create(const struct sp_plan *plan, const struct sim_cost *cost);
void sim_crowd_destroy(struct sim_crowd **crowd);

/* Whether the device shares its machine; else its work takes what it takes. */
bool sim_crowd_has(const struct sim_crowd *crowd, int device);

/* The device starts `ticks` of work, and is put into the queue: its event says when it is done. */
void sim_crowd_begin(struct sim_crowd *crowd, struct sim_queue *queue, int device, int64_t row, int64_t ticks,
                     const struct sp_instr *instr, int64_t now);

/* Its event has come: the work is done. NULL: it was not at work. What is returned is good until it begins again. */
const struct sim_load *sim_crowd_end(struct sim_crowd *crowd, int device);

/* Sets the speeds after all that has happened at `now`, and moves the events accordingly. */
void sim_crowd_settle(struct sim_crowd *crowd, struct sim_queue *queue, int64_t now);

/* For steady.c: all that decides what comes next, as numbers relative to `now` and to minibatch `since`; and moving
 * everything in time and in minibatches. */
void sim_crowd_state(const struct sim_crowd *crowd, int64_t now, int64_t since, int64_t **state, int *count);
void sim_crowd_shift(struct sim_crowd *crowd, int64_t ticks, int64_t minibatches);

#endif
