/*
 * stale: the paper's pipeline. In cycle c stage i runs F of c - i, then B of c - 2(P-1) + i, then updates.
 *
 * So a stage runs D = 2(P-1-i) forwards alone, then one F and one B a cycle, and D backwards alone at the end. A
 * gradient is applied D updates after its forward read the weights.
 */
#include "common/schedules/schedules.h"

static int64_t delay(const struct sp_order *order)
{
    return 2 * (int64_t)(order->P - 1 - order->stage);
}

static struct sp_step step(const struct sp_order *order, int64_t k)
{
    int64_t alone = delay(order) < order->q_count ? delay(order) : order->q_count;
    int64_t paired = 2 * (order->q_count - alone); /* steps of cycles with both */
    int64_t f = -1, b = -1;
    if (k < alone)
        f = k;
    else if (k - alone < paired && (k - alone) % 2 == 0)
        f = alone + (k - alone) / 2;
    else if (k - alone < paired)
        b = (k - alone) / 2;
    else
        b = k - alone - paired / 2;
    if (f >= 0)
        return (struct sp_step){SP_INSTR_FORWARD, f, 2 * (f + order->stage)};
    return (struct sp_step){SP_INSTR_BACKWARD, b, 2 * (b + 2 * (order->P - 1) - order->stage) + 1};
}

static int64_t in_flight(const struct sp_order *order)
{
    return delay(order) + 1 < order->q_count ? delay(order) + 1 : order->q_count;
}

static void steady(const struct sp_order *order, int64_t *from, int64_t *to)
{
    int64_t alone = delay(order) < order->q_count ? delay(order) : order->q_count;
    *from = alone;
    *to = 2 * order->q_count - alone - 2 * order->M;
}

const struct sp_schedule sp_schedule_stale = {
    .name = "stale",
    .help = "the paper's pipeline: a forward and a backward each cycle, update at once; D = 2(P-1-i)",
    .step = step,
    .in_flight = in_flight,
    .steady = steady,
};
