#include "tests/chain.h"
#include "common/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct sp_network chain_of(struct sp_layer *layers, struct sp_shape *shapes, int count)
{
    for (int l = 0; l <= count; l++)
        shapes[l] = (struct sp_shape){1, 1, 1};
    for (int l = 0; l < count; l++)
        layers[l] = (struct sp_layer){.type = SP_LAYER_FULLY_CONNECTED,
                                      .inputs = {l},
                                      .input_count = 1,
                                      .weight_number = l + 1,
                                      .group = l + 1,
                                      .parameters = {1, 0}};
    return (struct sp_network){.name = "chain",
                               .layers = layers,
                               .layer_count = count,
                               .tensor_count = count + 1,
                               .shapes = shapes,
                               .weight_layer_count = count};
}

const struct sp_network *chain_network(void)
{
    static struct sp_layer layers[CHAIN_LAYERS];
    static struct sp_shape shapes[CHAIN_LAYERS + 1];
    static struct sp_network network;
    network = chain_of(layers, shapes, CHAIN_LAYERS);
    return &network;
}

int chain_below(int n)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)n);
}

struct sp_plan *chain_plan(const char *schedule, int P, int M, int64_t minibatches)
{
    int cuts[CHAIN_LAYERS];
    for (int k = 0; k < P - 1; k++)
        cuts[k] = k + 1;
    struct sp_phase phase = {.schedule = sp_schedule_find(schedule), .microbatches = M, .minibatches = minibatches};
    struct sp_plan_config config = {.cuts = cuts, .cut_count = P - 1, .batch = M, .phases = &phase, .phase_count = 1};
    struct sp_plan *plan;
    struct sp_error err = {0};
    assert_int_equal(sp_plan_create(chain_network(), &config, &plan, &err), SP_OK);
    return plan;
}

struct sim_cost *chain_cost(const struct sp_plan *plan, double forward_s, double backward_s)
{
    struct sim_cost *cost = sim_cost_alloc(plan);
    for (int i = 0; i < plan->stage_count * plan->phase_count; i++)
        cost->stages[i] = (struct sim_stage_cost){.forward_s = forward_s, .backward_s = backward_s};
    return cost;
}

struct sim_result chain_run(const struct sp_plan *plan, const struct sim_cost *cost)
{
    struct sim_result result;
    struct sp_error err = {0};
    if (sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 10000}, &result, &err) != SP_OK)
        fail_msg("%s", err.text);
    return result;
}

void chain_assert_near(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-9 * (1.0 + fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static void put(struct chain_steps *steps, bool backward, int q)
{
    int k = steps->count++;
    steps->backward[k] = backward;
    steps->q[k] = q;
    steps->at[backward][q] = k;
}

/* Warm up with P - i forwards, then one backward, one forward. */
static void put_1f1b(struct chain_steps *steps, int warm, int first, int count)
{
    int f = 0, b = 0;
    while (f < count && f < warm)
        put(steps, false, first + f++);
    while (b < count) {
        put(steps, true, first + b++);
        if (f < count)
            put(steps, false, first + f++);
    }
}

void chain_order(const char *schedule, int P, int M, int count, int i, struct chain_steps *out)
{
    out->count = 0;
    if (strcmp(schedule, "1f1b-async") == 0)
        put_1f1b(out, P - i, 0, count);
    for (int c = 0; strcmp(schedule, "stale") == 0 && c < count + 2 * P; c++) {
        int f = c - i, b = c - 2 * (P - 1) + i;
        if (f >= 0 && f < count)
            put(out, false, f);
        if (b >= 0 && b < count)
            put(out, true, b);
    }
    for (int q = 0; strcmp(schedule, "sequential") == 0 && q < count; q++) {
        put(out, false, q);
        put(out, true, q);
    }
    for (int first = 0; first < count; first += M) {
        if (strcmp(schedule, "1f1b") == 0)
            put_1f1b(out, P - i, first, M);
        for (int k = 0; strcmp(schedule, "gpipe") == 0 && k < 2 * M; k++)
            put(out, k >= M, first + k % M);
    }
}
