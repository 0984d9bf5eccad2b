#include "sim/ahead.h"
#include "common/alloc.h"

#include <stdlib.h>

/* The one device that sends over each bus. False: on one of them there are several. */
static bool find_senders(const struct sp_plan *plan, const struct sim_cost *cost, int *sender)
{
    for (int b = 0; b < cost->bus_count; b++)
        sender[b] = -1;
    for (int c = 0; c < plan->channel_count; c++) {
        int bus = cost->channels[c].bus, from = plan->channels[c].from_device;
        if (bus >= 0 && sender[bus] >= 0 && sender[bus] != from)
            return false;
        if (bus >= 0)
            sender[bus] = from;
    }
    return true;
}

struct sim_ahead *sim_ahead_create(const struct sp_plan *plan, const struct sim_cost *cost)
{
    struct sim_ahead *ahead = sp_calloc(1, sizeof *ahead);
    ahead->device = -1;
    ahead->device_count = plan->device_count;
    ahead->bus_sender = sp_calloc((size_t)cost->bus_count + 1, sizeof *ahead->bus_sender);
    ahead->clocks = sp_calloc((size_t)plan->device_count, sizeof *ahead->clocks);
    ahead->ready = sp_calloc((size_t)plan->device_count, sizeof *ahead->ready);
    if (!find_senders(plan, cost, ahead->bus_sender))
        sim_ahead_destroy(&ahead);
    return ahead;
}

void sim_ahead_destroy(struct sim_ahead **ahead)
{
    if (*ahead == NULL)
        return;
    free((*ahead)->clocks);
    free((*ahead)->ready);
    free((*ahead)->bus_sender);
    free(*ahead);
    *ahead = NULL;
}

static int pop(struct sim_ahead *ahead)
{
    int device = ahead->ready[ahead->first];
    ahead->first = ahead->first + 1 < ahead->device_count ? ahead->first + 1 : 0;
    ahead->count--;
    return device;
}

int sim_ahead_next(struct sim_ahead *ahead)
{
    ahead->device = -1;
    for (int tries = ahead->count; tries > 0; tries--) {
        int device = pop(ahead);
        if (ahead->clocks[device] < SIM_FAR / 2)
            return device;
        sim_ahead_wake(ahead, device, ahead->clocks[device]);
    }
    return -1;
}

int64_t sim_ahead_least(const struct sim_ahead *ahead)
{
    int64_t least = INT64_MAX;
    for (int r = 0; r < ahead->count; r++) {
        int64_t clock = ahead->clocks[ahead->ready[(ahead->first + r) % ahead->device_count]];
        least = clock < least ? clock : least;
    }
    return least;
}
