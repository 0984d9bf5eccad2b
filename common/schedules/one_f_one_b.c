/*
 * 1f1b and 1f1b-async: warm up with P - i forwards, then alternate one backward and one forward.
 *
 * 1f1b does so within each minibatch of M microbatches and flushes (PipeDream-flush, DAPPLE); 1f1b-async never flushes
 * (PipeDream), so that a gradient is applied P - 1 - i updates after its forward (M = 1).
 */
#include "common/schedules/schedules.h"

/* Step k of a run of `count` microbatches that starts at q = 0, tick 0. */
static struct sp_step run_step(int64_t P, int64_t i, int64_t count, int64_t k)
{
    int64_t warm = P - i < count ? P - i : count;
    int64_t paired = 2 * (count - warm);
    int64_t f = -1, b = -1;
    if (k < warm)
        f = k;
    else if (k - warm < paired && (k - warm) % 2 == 1)
        f = warm + (k - warm) / 2;
    else if (k - warm < paired)
        b = (k - warm) / 2;
    else
        b = k - warm - paired / 2;
    if (b >= 0)
        return (struct sp_step){SP_INSTR_BACKWARD, b, 2 * P - 1 - i + 2 * b};
    return (struct sp_step){SP_INSTR_FORWARD, f, f < P - i ? i + f : i + 2 * f};
}

static int64_t run_in_flight(int64_t P, int64_t i, int64_t count)
{
    return P - i < count ? P - i : count;
}

static struct sp_step flush_step(const struct sp_order *order, int64_t k)
{
    int64_t M = order->M, n = k / (2 * M);
    struct sp_step step = run_step(order->P, order->stage, M, k % (2 * M));
    step.q += n * M;
    step.tick += n * 2 * (M + order->P - 1);
    return step;
}

static int64_t flush_in_flight(const struct sp_order *order)
{
    return run_in_flight(order->P, order->stage, order->M);
}

static struct sp_step async_step(const struct sp_order *order, int64_t k)
{
    return run_step(order->P, order->stage, order->q_count, k);
}

static int64_t async_in_flight(const struct sp_order *order)
{
    return run_in_flight(order->P, order->stage, order->q_count);
}

static void flush_steady(const struct sp_order *order, int64_t *from, int64_t *to)
{
    *from = 0;
    *to = 2 * (order->q_count - order->M);
}

/* Within the pairs, and past the first forwards, whose ticks are closer. */
static void async_steady(const struct sp_order *order, int64_t *from, int64_t *to)
{
    int64_t warm = run_in_flight(order->P, order->stage, order->q_count);
    *from = warm;
    *to = 2 * order->q_count - warm - 2 * order->M;
}

const struct sp_schedule sp_schedule_1f1b = {
    .name = "1f1b",
    .help = "one forward, one backward within each minibatch, update, flush; never stale, small stash",
    .step = flush_step,
    .in_flight = flush_in_flight,
    .steady = flush_steady,
    .flushes = true,
    .waits_before = 1,
};

const struct sp_schedule sp_schedule_1f1b_async = {
    .name = "1f1b-async",
    .help = "one forward, one backward without end (PipeDream); D = P-1-i",
    .step = async_step,
    .in_flight = async_in_flight,
    .steady = async_steady,
    .stashes_by_default = true,
};
