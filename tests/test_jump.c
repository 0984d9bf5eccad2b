/*
 * Jumping over the steady state changes nothing: random plans, simulated whole and with jumps, agree in every number.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/ahead.h"
#include "tests/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STAGES = 6, PHASES = 3 };

static uint32_t random_state = 7;
static int below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

static int schedule_count(void)
{
    int count = 0;
    while (sp_schedules[count] != NULL)
        count++;
    return count;
}

/* P stages; stage i on devices forward[i], backward[i]. */
static struct sp_plan *plan_of(int P, const int *forward, const int *backward, const struct sp_phase *phases,
                               int phase_count, bool shared_memory)
{
    int cuts[STAGES];
    for (int k = 0; k + 1 < P; k++)
        cuts[k] = k + 1;
    struct sp_plan_config config = {.cuts = cuts,
                                    .cut_count = P - 1,
                                    .batch = 12,
                                    .forward_devices = forward,
                                    .backward_devices = backward,
                                    .shared_memory = shared_memory,
                                    .phases = phases,
                                    .phase_count = phase_count};
    struct sp_plan *plan;
    struct sp_error err = {0};
    if (sp_plan_create(chain_network(), &config, &plan, &err) != SP_OK)
        fail_msg("%s", err.text);
    return plan;
}

static struct sp_plan *random_plan(void)
{
    int P = 1 + below(STAGES), forward[STAGES], backward[STAGES], kind = below(4);
    static const int parts[] = {1, 1, 2, 3, 4};
    struct sp_phase phases[PHASES] = {0};
    int phase_count = 1 + below(PHASES);
    for (int i = 0; i < P; i++) {
        forward[i] = backward[i] = kind == 0 ? i : kind == 1 ? 0 : kind == 2 ? i * 2 / P : i;
        if (kind == 3)
            backward[i] = 2 * (P - 1) - i;
    }
    if (kind == 2 && P == 1)
        forward[0] = backward[0] = 0;
    for (int p = 0; p < phase_count; p++)
        phases[p] = (struct sp_phase){.schedule = sp_schedules[below(schedule_count())],
                                      .weights = below(2) ? SP_WEIGHTS_STASH : SP_WEIGHTS_LATEST,
                                      .microbatches = parts[below(5)],
                                      .minibatches = 1 + below(p == 0 ? 600 : 200)};
    return plan_of(P, forward, backward, phases, phase_count, below(2));
}

/* Seconds that are no multiples of a tick, of a hundredth, and sometimes none. */
static double seconds(void)
{
    return below(5) == 0 ? 0 : (1 + below(1000)) / 300.0;
}

/* Two classes of work, on machines of any size, some with less room than devices. */
static void add_contention(struct sim_cost *cost, int device_count)
{
    sim_cost_add_contention(cost, 2);
    for (int e = 0; e < 4; e++)
        cost->contention.slowdown[e] = below(3) / 7.0;
    for (int64_t r = 0; r < (int64_t)cost->phase_count * cost->stage_count * SIM_WORK_COUNT; r++) {
        cost->contention.mix[2 * r] = below(4) / 3.0;
        cost->contention.mix[2 * r + 1] = 1 - cost->contention.mix[2 * r];
    }
    cost->contention.capacity = below(3);
    cost->contention.machine = below(2) ? sp_calloc((size_t)device_count, sizeof(int)) : NULL;
    for (int d = 0; d < device_count && cost->contention.machine != NULL; d++)
        cost->contention.machine[d] = below(3) - 1;
}

/* Some channels cross one or two of two links. */
static void add_fair_links(struct sim_cost *cost)
{
    cost->links = sp_calloc(2, sizeof *cost->links);
    cost->link_count = 2;
    for (int l = 0; l < 2; l++)
        cost->links[l] = (struct sim_link){sp_strdup("link"), 1e6 * (1 + below(3))};
    for (int c = 0; c < cost->channel_count; c++)
        if (below(3) > 0)
            cost->channels[c] = (struct sim_channel_cost){.latency_s = below(2) * 0.03,
                                                          .bus = -1,
                                                          .bytes = 1e5 * below(20),
                                                          .route = {below(2), below(2)},
                                                          .hops = 1 + below(2)};
}

static struct sim_cost *random_cost(const struct sp_plan *plan)
{
    struct sim_cost *cost = sim_cost_alloc(plan);
    for (int s = 0; s < plan->stage_count * plan->phase_count; s++)
        cost->stages[s] = (struct sim_stage_cost){seconds(), seconds(), seconds() / 10, 0};
    if (below(3) == 0)
        add_contention(cost, plan->device_count);
    cost->bus_count = below(4);
    cost->bus_names = sp_calloc(4, sizeof *cost->bus_names);
    cost->handoff_s = below(2) * 0.001;
    cost->patience_s = below(3) * 0.1;
    cost->wake_s = below(2) * 0.002;
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = below(2) * 0.03,
                                                      .busy_s = below(2) * seconds() / 5,
                                                      .device_s = below(4) == 0 ? seconds() / 7 : 0,
                                                      .bus = cost->bus_count > 0 ? below(cost->bus_count + 1) - 1 : -1};
    if (below(3) == 0)
        add_fair_links(cost);
    return cost;
}

static void assert_same(const struct sim_result *whole, const struct sim_result *jumped)
{
    assert_true(whole->time_s == jumped->time_s);
    assert_int_equal(whole->events, jumped->events);
    assert_int_equal(whole->instructions, jumped->instructions);
    assert_int_equal(whole->trace->lane_count, jumped->trace->lane_count);
    for (int l = 0; l < whole->trace->lane_count; l++) {
        const struct sp_lane *a = &whole->trace->lanes[l], *b = &jumped->trace->lanes[l];
        assert_memory_equal(&a->total, &b->total, sizeof a->total);
        assert_int_equal(a->count, b->count);
        for (int64_t s = 0; s < a->count; s++) {
            assert_true(a->spans[s].start_s == b->spans[s].start_s && a->spans[s].end_s == b->spans[s].end_s);
            assert_true(a->spans[s].minibatch == b->spans[s].minibatch && a->spans[s].kind == b->spans[s].kind);
        }
    }
}

static void jumped_runs_equal_whole_ones(void **state)
{
    (void)state;
    int jumps = 0, long_runs = 0, shared_jumps = 0, shared_runs = 0;
    for (int n = 0; n < 600; n++) {
        struct sp_plan *plan = random_plan();
        struct sim_cost *cost = random_cost(plan);
        struct sim_config config = {.spans_per_lane = below(3) * 20};
        struct sim_result jumped, whole;
        struct sp_error err = {0};
        assert_int_equal(sim_run(plan, cost, &config, &jumped, &err), SP_OK);
        config.whole = true;
        assert_int_equal(sim_run(plan, cost, &config, &whole, &err), SP_OK);
        assert_int_equal(whole.jumped, 0);
        assert_same(&whole, &jumped);
        jumps += jumped.jumped > 0;
        long_runs += plan->minibatches > 200;
        bool shared = (cost->contention.class_count > 0 || cost->link_count > 0) && plan->device_count > 1;
        shared_jumps += shared && jumped.jumped > 0;
        shared_runs += shared && plan->minibatches > 200;
        sim_result_fini(&jumped);
        sim_result_fini(&whole);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
    }
    assert_true(jumps > long_runs / 2); /* most have a steady state that is found */
    assert_true(shared_jumps > shared_runs / 2);
}

/* Nothing is shared: a bus carries one device's messages. */
static struct sim_cost *private_cost(const struct sp_plan *plan)
{
    struct sim_cost *cost = sim_cost_alloc(plan);
    for (int s = 0; s < plan->stage_count * plan->phase_count; s++)
        cost->stages[s] = (struct sim_stage_cost){seconds(), seconds(), seconds() / 10, 0};
    cost->bus_count = plan->device_count;
    cost->bus_names = sp_calloc((size_t)plan->device_count, sizeof *cost->bus_names);
    cost->handoff_s = below(2) * 0.001;
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = below(2) * 0.03,
                                                      .busy_s = below(2) * seconds() / 5,
                                                      .device_s = below(4) == 0 ? seconds() / 7 : 0,
                                                      .bus = below(2) ? plan->channels[c].from_device : -1};
    sim_cost_add_noise(cost);
    for (int64_t r = 0; r < (int64_t)plan->phase_count * plan->stage_count * SIM_WORK_COUNT; r++)
        cost->noise.work[r] = 0.2;
    cost->noise.message = cost->noise.handoff = 0.1;
    return cost;
}

/*
 * Devices that share nothing go on at times of their own; those of a machine with room for all slow nobody, but are
 * simulated in the order of time. Both agree in every number.
 */
static void order_of_time_makes_no_difference_where_nothing_is_shared(void **state)
{
    (void)state;
    int jumps = 0;
    for (int n = 0; n < 300; n++) {
        struct sp_plan *plan = random_plan();
        struct sim_cost *cost = private_cost(plan);
        struct sim_ahead *ahead = sim_ahead_create(plan, cost);
        struct sim_config config = {.spans_per_lane = below(3) * 20, .whole = below(2), .noisy = below(2)};
        struct sim_result alone, ordered;
        struct sp_error err = {0};
        assert_non_null(ahead);
        assert_int_equal(sim_run(plan, cost, &config, &alone, &err), SP_OK);
        cost->contention.capacity = plan->device_count;
        assert_int_equal(sim_run(plan, cost, &config, &ordered, &err), SP_OK);
        assert_same(&ordered, &alone);
        jumps += alone.jumped > 0 && ordered.jumped > 0;
        sim_result_fini(&alone);
        sim_result_fini(&ordered);
        sim_ahead_destroy(&ahead);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
    }
    assert_true(jumps > 20);
}

/* One stage, so N minibatches take N times F + B + U: to the tick for 10^12 of them. */
static void a_million_million_minibatches_take_their_closed_form(void **state)
{
    (void)state;
    int64_t N = 1000000000000;
    struct sp_phase phase = {.schedule = sp_schedule_find("stale"), .microbatches = 1, .minibatches = N};
    struct sp_plan *plan = plan_of(1, NULL, NULL, &phase, 1, true);
    struct sim_cost *cost = sim_cost_alloc(plan);
    cost->stages[0] = (struct sim_stage_cost){0.25, 0.5, 0.0625, 0}; /* whole ticks */
    struct sim_result result;
    struct sp_error err = {0};
    assert_int_equal(sim_run(plan, cost, &(struct sim_config){0}, &result, &err), SP_OK);
    assert_true(result.time_s == 0.8125 * (double)N);
    assert_int_equal(result.instructions, 3 * N);
    assert_int_equal(result.trace->lanes[0].total.count[SP_SPAN_FORWARD], N);
    assert_true(result.trace->lanes[0].total.seconds[SP_SPAN_BACKWARD] == 0.5 * (double)N);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Three stages, the paper's pipeline, by hand: the middle stage is the slowest, 2 + 3 s a minibatch, so 10^9
 * minibatches more take 5 * 10^9 s more.
 */
static void a_long_pipeline_goes_at_the_pace_of_its_slowest_stage(void **state)
{
    (void)state;
    double time_s[2];
    for (int r = 0; r < 2; r++) {
        struct sp_phase phase = {
            .schedule = sp_schedule_find("stale"), .microbatches = 1, .minibatches = r == 0 ? 1000 : 1000001000};
        struct sp_plan *plan = plan_of(3, NULL, NULL, &phase, 1, true);
        struct sim_cost *cost = sim_cost_alloc(plan);
        for (int i = 0; i < 3; i++)
            cost->stages[i] = i == 1 ? (struct sim_stage_cost){2, 3, 0, 0} : (struct sim_stage_cost){1, 2, 0, 0};
        struct sim_result result;
        struct sp_error err = {0};
        assert_int_equal(sim_run(plan, cost, &(struct sim_config){0}, &result, &err), SP_OK);
        time_s[r] = result.time_s;
        sim_result_fini(&result);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
    }
    assert_true(time_s[1] - time_s[0] == 5e9);
}

/* What a schedule calls its steady part, step by step. */
static void steady_parts_repeat_themselves(void **state)
{
    (void)state;
    for (int s = 0; sp_schedules[s] != NULL; s++)
        for (int n = 0; n < 300; n++) {
            struct sp_order order = {.P = 1 + below(6), .M = 1 + below(5)};
            order.stage = below(order.P);
            order.q_count = (int64_t)order.M * (1 + below(20));
            int64_t from, to;
            sp_schedules[s]->steady(&order, &from, &to);
            assert_true(to <= 2 * (order.q_count - order.M));
            for (int64_t k = from; k < to; k++) {
                struct sp_step a = sp_schedules[s]->step(&order, k);
                struct sp_step b = sp_schedules[s]->step(&order, k + 2 * order.M);
                struct sp_step first = sp_schedules[s]->step(&order, from);
                struct sp_step second = sp_schedules[s]->step(&order, from + 2 * order.M);
                assert_true(a.kind == b.kind && b.q == a.q + order.M);
                assert_int_equal(b.tick - a.tick, second.tick - first.tick);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jumped_runs_equal_whole_ones),
        cmocka_unit_test(order_of_time_makes_no_difference_where_nothing_is_shared),
        cmocka_unit_test(a_million_million_minibatches_take_their_closed_form),
        cmocka_unit_test(a_long_pipeline_goes_at_the_pace_of_its_slowest_stage),
        cmocka_unit_test(steady_parts_repeat_themselves),
    };
    return cmocka_run_group_tests_name("jump", tests, NULL, NULL);
}
