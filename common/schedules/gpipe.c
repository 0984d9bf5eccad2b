/*
 * gpipe: all M forwards of a minibatch, then all M backwards, update, flush.
 */
#include "common/schedules/schedules.h"

static struct sp_step step(const struct sp_order *order, int64_t k)
{
    int64_t M = order->M, P = order->P, n = k / (2 * M), j = k % (2 * M);
    int64_t start = n * 2 * (M + P - 1);
    if (j < M)
        return (struct sp_step){SP_INSTR_FORWARD, n * M + j, start + order->stage + j};
    j -= M;
    return (struct sp_step){SP_INSTR_BACKWARD, n * M + j, start + (M + P - 1) + (P - 1 - order->stage) + j};
}

static int64_t in_flight(const struct sp_order *order)
{
    return order->M;
}

static void steady(const struct sp_order *order, int64_t *from, int64_t *to)
{
    *from = 0;
    *to = 2 * (order->q_count - order->M);
}

const struct sp_schedule sp_schedule_gpipe = {
    .name = "gpipe",
    .help = "all microbatches forward, then all backward, update, flush; never stale",
    .step = step,
    .in_flight = in_flight,
    .steady = steady,
    .flushes = true,
    .waits_before = 1,
    .waits_behind = 1,
};
