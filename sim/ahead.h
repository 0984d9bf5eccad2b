/*
 * ahead.h - devices that share nothing go on by themselves, each at a time of its own.
 *
 * Where nobody slows anybody, no link is shared fairly, and each bus carries the messages of one sender, what a device
 * does depends on others only through the messages that it takes. So there is no need for an order of time: a device
 * goes on until a message that it needs has not been posted yet, and whoever posts that makes it ready again. It costs
 * no queue, and with many devices a visit does more work on what it fetched into the cache. All times come out the
 * same.
 *
 * A visit ends after some instructions as well, so that messages under way stay few, and when the device's clock has
 * come far: sim_rebase() sets all clocks back.
 */
#ifndef SIM_AHEAD_H
#define SIM_AHEAD_H

#include "sim/cost.h"

enum { SIM_TURN = 64 }; /* instructions of a visit, at most */

struct sim_ahead {
    int device;      /* that is being visited; -1: none */
    int turn;        /* instructions left of its visit */
    int64_t *clocks; /* [device]: when it goes on, or has begun to wait */
    int *ready;      /* ring of devices that need not wait, first come first served */
    int first, count, device_count;
    int *bus_sender; /* [bus]: device; -1: none */
};

/* NULL where the devices share a bus. Contention and fair links are the caller's to ask. */
struct sim_ahead *sim_ahead_create(const struct sp_plan *plan, const struct sim_cost *cost);
void sim_ahead_destroy(struct sim_ahead **ahead);

/* The device to visit next; -1: none is ready, or all that are have come far. */
int sim_ahead_next(struct sim_ahead *ahead);

/* The least time of those that are ready. */
int64_t sim_ahead_least(const struct sim_ahead *ahead);

/* Clocks are set back when they come half this far. */
#define SIM_FAR ((int64_t)1 << 62)

/* A visit begins: the device's time. */
static inline int64_t sim_ahead_begin(struct sim_ahead *ahead, int device)
{
    ahead->device = device;
    ahead->turn = SIM_TURN;
    return ahead->clocks[device];
}

/* The visit ends with the present instruction, unless that waits. */
static inline void sim_ahead_end_turn(struct sim_ahead *ahead)
{
    ahead->turn = 1;
}

/* The device waits for a message. */
static inline void sim_ahead_rest(struct sim_ahead *ahead, int device, int64_t now)
{
    ahead->clocks[device] = now;
}

/* The device need not wait, and goes on at `at`. */
static inline void sim_ahead_wake(struct sim_ahead *ahead, int device, int64_t at)
{
    int place = ahead->first + ahead->count++;
    ahead->clocks[device] = at;
    ahead->ready[place < ahead->device_count ? place : place - ahead->device_count] = device;
}

/* The device that is visited goes on at `at`: in this visit, or in a later one. */
static inline bool sim_ahead_stays(struct sim_ahead *ahead, int device, int64_t at)
{
    if (--ahead->turn > 0 && at < SIM_FAR / 2)
        return true;
    sim_ahead_wake(ahead, device, at);
    return false;
}

/* Who is next after the present one, as things stand; -1: nobody. */
static inline int sim_ahead_soon(const struct sim_ahead *ahead)
{
    return ahead->count > 0 ? ahead->ready[ahead->first] : -1;
}

#endif
