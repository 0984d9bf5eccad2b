/*
 * sequential: one microbatch at a time, forward through all stages, then back. No staleness; utilization 1/P.
 */
#include "common/schedules/schedules.h"

static struct sp_step step(const struct sp_order *order, int64_t k)
{
    int64_t q = k / 2, start = q * 2 * order->P;
    if (k % 2 == 0)
        return (struct sp_step){SP_INSTR_FORWARD, q, start + order->stage};
    return (struct sp_step){SP_INSTR_BACKWARD, q, start + 2 * order->P - 1 - order->stage};
}

static int64_t in_flight(const struct sp_order *order)
{
    (void)order;
    return 1;
}

static void steady(const struct sp_order *order, int64_t *from, int64_t *to)
{
    *from = 0;
    *to = 2 * (order->q_count - order->M);
}

const struct sp_schedule sp_schedule_sequential = {
    .name = "sequential",
    .help = "one minibatch at a time through all stages and back; never stale",
    .step = step,
    .in_flight = in_flight,
    .steady = steady,
    .waits_before = SP_WAITS_ALL,
    .waits_behind = SP_WAITS_ALL,
};
