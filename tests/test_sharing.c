/*
 * Devices that slow each other, and links that are shared fairly: times computed by hand, the definition of max-min,
 * and an oracle that steps through time and knows neither plans, events nor whole ticks.
 */
#include "common/alloc.h"
#include "sim/maxmin.h"
#include "tests/chain.h"
#include "tests/searches.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* One class: every other device at work makes work take `excess` longer. */
static void add_excess(struct sim_cost *cost, double excess)
{
    sim_cost_add_contention(cost, 1);
    cost->contention.slowdown[0] = excess;
    for (int64_t r = 0; r < (int64_t)cost->phase_count * cost->stage_count * SIM_WORK_COUNT; r++)
        cost->contention.mix[r] = 1;
}

static void assert_time(const struct sp_plan *plan, const struct sim_cost *cost, double expected_s)
{
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, expected_s);
    sim_result_fini(&result);
}

/*
 * Two stages, gpipe, M = 2, F = B = 1 s, half as long again beside another. Device 0: F 0-1, alone. Then its second F
 * and device 1's first both go at 2/3: 1-2.5. Device 1: F 2.5-3.5, B 3.5-4.5, alone. Then B and B: 4.5-6. B 6-7.
 */
static void work_side_by_side_takes_longer(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("gpipe", 2, 2, 1);
    struct sim_cost *cost = chain_cost(plan, 1, 1);
    add_excess(cost, 0.5);
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 7);
    chain_assert_near(result.trace->lanes[0].spans[1].end_s, 2.5);
    chain_assert_near(sp_trace_busy_s(result.trace, 0), 1 + 1.5 + 1.5 + 1);
    chain_assert_near(sp_trace_busy_s(result.trace, 1), 1.5 + 1 + 1 + 1.5);
    sim_result_fini(&result);
    cost->contention.slowdown[0] = 0;
    assert_time(plan, cost, 6); /* M + P - 1 = 3 F and 3 B */
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Device 0's forwards (2 s, class 0) take twice as long beside class 1, which is not slowed; device 1's (1 s) are class
 * 1; backwards, 1 s, are of no class. Device 0: F 0-2; F from 2, half speed until 3, 1.5 s left: 4.5. Device 1:
 * F 2-3, F 4.5-5.5, B 5.5-6.5, 6.5-7.5. Device 0: B 6.5-7.5, 7.5-8.5.
 */
static void what_is_left_goes_on_at_the_new_speed(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("gpipe", 2, 2, 1);
    struct sim_cost *cost = chain_cost(plan, 1, 1);
    cost->stages[0].forward_s = 2;
    sim_cost_add_contention(cost, 2);
    cost->contention.slowdown[0 * 2 + 1] = 1;
    cost->contention.mix[sim_cost_row(cost, 0, 0, SIM_WORK_FORWARD) * 2 + 0] = 1;
    cost->contention.mix[sim_cost_row(cost, 0, 1, SIM_WORK_FORWARD) * 2 + 1] = 1;
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 8.5);
    chain_assert_near(result.trace->lanes[0].spans[1].end_s, 4.5);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Mixes: forwards of device 0 are half class 0 and a quarter class 1, of device 1 a fifth class 0 and three fifths
 * class 1; slowdown 0.4, 0.8 / 0, 1.2. Device 0 beside device 1: 1/2 (0.4/5 + 0.8 * 3/5) + 1/4 (1.2 * 3/5) = 0.46
 * longer. Device 1 beside device 0: 1/5 (0.4/2 + 0.8/4) + 3/5 (1.2/4) = 0.26. Both 1 s from 1 on: device 1 is done at
 * 2.26, when device 0 has 1 - 1.26/1.46 left, at 2.26 + 1 - 1.26/1.46. Then F of device 1, four B of no class: 1.1 s
 * less than in sequence.
 */
static void mixes_of_classes_add_up(void **state)
{
    (void)state;
    static const double slowdown[] = {0.4, 0.8, 0, 1.2}, mix[2][2] = {{0.5, 0.25}, {0.2, 0.6}};
    struct sp_plan *plan = chain_plan("gpipe", 2, 2, 1);
    struct sim_cost *cost = chain_cost(plan, 1, 1);
    sim_cost_add_contention(cost, 2);
    memcpy(cost->contention.slowdown, slowdown, sizeof slowdown);
    for (int i = 0; i < 2; i++)
        memcpy(&cost->contention.mix[sim_cost_row(cost, 0, i, SIM_WORK_FORWARD) * 2], mix[i], sizeof mix[i]);
    double end = 2.26 + 1 - 1.26 / 1.46;
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.trace->lanes[0].spans[1].end_s, end);
    chain_assert_near(result.time_s, end + 1 + 3); /* F of device 1, B, B beside B, B */
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Three stages on a machine that runs two devices at once; F = B = 1 s, gpipe, M = 3. Alone or two: full speed. F of
 * stage 0: 0-1, 1-2, and beside both others from 2, all at 2/3: 2-3.5. Stage 1: 1-2, 2-3.5, 3.5-4.5. Stage 2: 2-3.5,
 * 3.5-4.5, 4.5-5.5. Back the same way: B of stage 2 5.5-6.5, 6.5-7.5, 7.5-9 beside both others, ... stage 0 ends at
 * 5.5 + 5.5 = 11. On machines of two and one devices nothing is slowed: 5 + 5 s.
 */
static void a_machine_has_room_for_so_many_devices(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("gpipe", 3, 3, 1);
    struct sim_cost *cost = chain_cost(plan, 1, 1);
    cost->contention.capacity = 2;
    assert_time(plan, cost, 11);
    cost->contention.machine = sp_calloc(3, sizeof(int));
    cost->contention.machine[2] = 1;
    assert_time(plan, cost, 10);
    cost->contention.machine[2] = 0;
    assert_time(plan, cost, 11);
    cost->contention.machine[2] = -1;
    assert_time(plan, cost, 10);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* Capacities, flows with their links, the rates by hand. */
struct maxmin_case {
    const char *what;
    double capacity[4];
    int links;
    int routes[4][3], hops[4], flows;
    double rates[4];
};

static void shares_of_links_are_those_computed_by_hand(void **state)
{
    (void)state;
    static const struct maxmin_case cases[] = {
        {"one link, two flows: half each", {10}, 1, {{0}, {0}}, {1, 1}, 2, {5, 5}},
        {"a flow through both links; the second is full first, and the first has 8 left",
         {10, 4},
         2,
         {{0, 1}, {0}, {1}},
         {2, 1, 1},
         3,
         {2, 8, 2}},
        {"one of three is held back elsewhere: the others share what it leaves",
         {9, 1},
         2,
         {{0, 1}, {0}, {0}},
         {2, 1, 1},
         3,
         {1, 4, 4}},
        {"down to the host and up again over one bus: twice the load", {3}, 1, {{0, 0}, {0}}, {2, 1}, 2, {1, 1}},
        {"three links in a row", {6, 2, 4}, 3, {{0, 1}, {1, 2}, {2}, {0}}, {2, 2, 1, 1}, 4, {1, 1, 3, 5}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sim_maxmin_flow flows[4];
        double left[4], load[4];
        for (int f = 0; f < cases[c].flows; f++)
            flows[f] = (struct sim_maxmin_flow){.route = cases[c].routes[f], .hops = cases[c].hops[f]};
        sim_maxmin_solve(cases[c].capacity, cases[c].links, flows, cases[c].flows, left, load);
        for (int f = 0; f < cases[c].flows; f++)
            if (fabs(flows[f].rate - cases[c].rates[f]) > 1e-12)
                fail_msg("%s: flow %d has %g, not %g", cases[c].what, f, flows[f].rate, cases[c].rates[f]);
    }
}

/*
 * What max-min fair means, of random systems: no link carries more than it can, and every flow crosses a link that is
 * full and on which nobody has more than it.
 */
static void nobody_can_have_more_without_taking_from_the_poorer(void **state)
{
    (void)state;
    enum { LINKS = 6, FLOWS = 12 };
    for (int round = 0; round < 2000; round++) {
        int links = 1 + chain_below(LINKS), count = 1 + chain_below(FLOWS), routes[FLOWS][SIM_ROUTE];
        double capacity[LINKS], left[LINKS], load[LINKS], used[LINKS] = {0}, most[LINKS] = {0};
        struct sim_maxmin_flow flows[FLOWS];
        for (int l = 0; l < links; l++)
            capacity[l] = 1 + chain_below(100);
        for (int f = 0; f < count; f++) {
            flows[f] = (struct sim_maxmin_flow){.route = routes[f], .hops = 1 + chain_below(SIM_ROUTE)};
            for (int h = 0; h < flows[f].hops; h++)
                routes[f][h] = chain_below(links);
        }
        sim_maxmin_solve(capacity, links, flows, count, left, load);
        for (int f = 0; f < count; f++)
            for (int h = 0; h < flows[f].hops; h++) {
                used[routes[f][h]] += flows[f].rate;
                most[routes[f][h]] = fmax(most[routes[f][h]], flows[f].rate);
            }
        for (int l = 0; l < links; l++)
            assert_true(used[l] <= capacity[l] * (1 + 1e-12));
        for (int f = 0; f < count; f++) {
            bool held = false;
            for (int h = 0; h < flows[f].hops; h++) {
                int l = routes[f][h];
                held |= used[l] >= capacity[l] * (1 - 1e-12) && flows[f].rate >= most[l] * (1 - 1e-12);
            }
            assert_true(held);
        }
    }
}

/* All messages over one link of 10^6 bytes/s. */
static void add_fair_link(const struct sp_plan *plan, struct sim_cost *cost, double bytes, double latency_s)
{
    cost->links = sp_calloc(1, sizeof *cost->links);
    cost->links[0] = (struct sim_link){sp_strdup("bus"), 1e6};
    cost->link_count = 1;
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = latency_s, .bus = -1, .bytes = bytes, .hops = 1};
}

/*
 * Three stages, gpipe, M = 2; F = B = 1 s; all messages on one link, 2 s each when alone; 0.5 s latency. Channels in
 * one direction send one message after the other.
 * stage 0: F 0-1, 1-2. 0 to 1: 1-3, here at 3.5; the second from 3.
 * stage 1: F 3.5-4.5. 1 to 2 from 4.5 beside the second, which has 0.5 s left: both at half until 5.5, here at 6.
 *   1 to 2 has 1.5 s left: 7, here at 7.5. F 6-7; second message 7-9, here at 9.5.
 * stage 2: F 7.5-8.5, 9.5-10.5, B 10.5-11.5, 11.5-12.5. 2 to 1: 11.5-13.5, here at 14; the second from 13.5.
 * stage 1: B 14-15. 1 to 0 from 15 beside the second, which has 0.5 s left: until 16, here at 16.5. 1.5 s left: 17.5,
 *   here at 18. B 16.5-17.5; 1 to 0: 17.5-19.5, here at 20.
 * stage 0: B 18-19, 20-21.
 */
static void messages_share_a_fair_link(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("gpipe", 3, 2, 1);
    struct sim_cost *cost = chain_cost(plan, 1, 1);
    add_fair_link(plan, cost, 4e6, 0.5);
    struct sim_result result = chain_run(plan, cost);
    const struct sp_lane *lanes = result.trace->lanes;
    chain_assert_near(result.time_s, 21);
    chain_assert_near(lanes[1].total.wait_s[SP_PAYLOAD_ACTIVATION], 3.5 + 1.5);  /* 0-3.5, 4.5-6 */
    chain_assert_near(lanes[2].total.wait_s[SP_PAYLOAD_ACTIVATION], 7.5 + 1);    /* 0-7.5, 8.5-9.5 */
    chain_assert_near(lanes[3].total.seconds[SP_SPAN_TRANSFER], 2 + 2.5);        /* 1-3, 3-5.5 */
    chain_assert_near(lanes[0].total.wait_s[SP_PAYLOAD_GRADIENT], (18 - 2) + 1); /* 2-18, 19-20 */
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* Sizes are counted in 2^-20 bytes: 4 * 10^12 bytes at 10^11 a second take 40 s, and with more than 2^42 they are
 * refused, not taken for none. */
static void sizes_that_cannot_be_counted_are_refused(void **state)
{
    (void)state;
    static const double bytes[] = {4e12, 2e13};
    for (int k = 0; k < 2; k++) {
        struct place place;
        place_init(&place, ".csv");
        char *network = sp_format("name,forward_ms,backward_ms,activation_bytes,parameter_bytes\ninput,0,0,4,0\n"
                                  "a,1,1,%g,4\nb,1,1,4,4\n",
                                  bytes[k]);
        place_write(place.network, network);
        place_write(place.device, "peak_flops: 1e12\nbandwidth_bytes_per_s: 1e12\nlaunch_s: 0\nlatency_s: 0\n"
                                  "link_bytes_per_s: 1e11\nlink_shared: fair\nbus_bytes_per_s: 1e11\n"
                                  "convolution: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                                  "fully_connected: {forward: 1, backward_input: 1, backward_weight: 1}\n");
        const char *sets[] = {place.network_set,         place.device_set,   "pipeline.cuts=[1]",
                              "pipeline.schedule=gpipe", "train.batch=8192", "sim.minibatches=1"};
        struct sp_experiment *e;
        struct sp_network *net;
        struct sp_plan *plan;
        struct sim_cost *cost;
        struct sim_result result;
        struct sp_error err = {0};
        assert_int_equal(sp_experiment_read("experiments/quickstart.yaml", sets, 6, &e, &err), SP_OK);
        assert_int_equal(sp_experiment_network(e, &net, &err), SP_OK);
        assert_int_equal(sp_experiment_plan(e, net, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
        assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), k == 0 ? SP_OK : SP_E_INPUT);
        if (k == 0) {
            assert_int_equal(sim_run(plan, cost, &(struct sim_config){0}, &result, &err), SP_OK);
            assert_float_equal(result.time_s, 80.004, 1e-6); /* there and back, and four passes */
            sim_result_fini(&result);
        } else {
            assert_non_null(
                strstr(err.text, "from stage 0 to stage 1 has 2e+13 bytes; over fair links at most 4.4e+12"));
        }
        sp_error_fini(&err);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
        sp_network_destroy(&net);
        sp_experiment_destroy(&e);
        free(network);
        place_fini(&place);
    }
}

/* The oracle: stages with their steps, messages between neighbours, all as real numbers. */
struct fluid_stage {
    struct chain_steps steps;
    int k;         /* steps begun, the one under way is k - 1 */
    double left_s; /* of it, alone; negative: none is under way */
    bool updating;
    double arrived[2][CHAIN_STEPS]; /* [direction][q]: INFINITY: not yet */
};

/* From a stage to a neighbour: posted in order, one at a time. */
struct fluid_channel {
    int q[CHAIN_STEPS];
    double left_s[CHAIN_STEPS];
    int posted, sent;
};

struct fluid {
    int P, M;
    double excess[CHAIN_LAYERS][CHAIN_LAYERS]; /* of stage i beside stage j */
    double step_s[2][CHAIN_LAYERS], update_s[CHAIN_LAYERS], message_s, latency_s, now_s;
    struct fluid_stage stages[CHAIN_LAYERS];
    struct fluid_channel channels[2][CHAIN_LAYERS];
};

static void fluid_post(struct fluid *o, int direction, int i, int q)
{
    struct fluid_channel *channel = &o->channels[direction][i];
    channel->q[channel->posted] = q;
    channel->left_s[channel->posted++] = o->message_s;
}

/* A step or an update of stage i has come to its end. */
static void fluid_end(struct fluid *o, int i)
{
    struct fluid_stage *s = &o->stages[i];
    int q = s->steps.q[s->k - 1];
    bool backward = s->steps.backward[s->k - 1];
    s->left_s = -1;
    if (s->updating) {
        s->updating = false;
        return;
    }
    if (!backward && i + 1 < o->P)
        fluid_post(o, 0, i, q);
    if (backward && i > 0)
        fluid_post(o, 1, i, q);
    if (backward && q % o->M == o->M - 1 && o->update_s[i] > 0) {
        s->updating = true;
        s->left_s = o->update_s[i];
    }
}

static void fluid_begin(struct fluid *o, int i)
{
    struct fluid_stage *s = &o->stages[i];
    if (s->left_s >= 0 || s->k == s->steps.count)
        return;
    int q = s->steps.q[s->k];
    bool backward = s->steps.backward[s->k], waits = backward ? i + 1 < o->P : i > 0;
    if (waits && s->arrived[backward][q] > o->now_s + 1e-11)
        return;
    s->left_s = o->step_s[backward][i];
    s->k++;
}

static double fluid_speed(const struct fluid *o, int i)
{
    double stretch = 1;
    for (int j = 0; j < o->P; j++)
        if (j != i && o->stages[j].left_s >= 0)
            stretch += o->excess[i][j];
    return 1 / stretch;
}

/* One step of time: to the first end or arrival. False: nothing is left. */
static bool fluid_step(struct fluid *o)
{
    double dt = INFINITY, speed[CHAIN_LAYERS];
    int sending = 0;
    for (int i = 0; i < o->P; i++)
        fluid_begin(o, i);
    for (int i = 0; i < o->P; i++) {
        speed[i] = fluid_speed(o, i);
        if (o->stages[i].left_s >= 0)
            dt = fmin(dt, o->stages[i].left_s / speed[i]);
        for (int d = 0; d < 2; d++) {
            sending += o->channels[d][i].sent < o->channels[d][i].posted;
            for (int q = 0; q < CHAIN_STEPS; q++)
                if (o->stages[i].arrived[d][q] > o->now_s + 1e-11 && !isinf(o->stages[i].arrived[d][q]))
                    dt = fmin(dt, o->stages[i].arrived[d][q] - o->now_s);
        }
    }
    for (int i = 0; i < o->P; i++)
        for (int d = 0; d < 2; d++)
            if (o->channels[d][i].sent < o->channels[d][i].posted)
                dt = fmin(dt, o->channels[d][i].left_s[o->channels[d][i].sent] * sending);
    if (isinf(dt))
        return false;
    o->now_s += dt;
    for (int i = 0; i < o->P; i++)
        for (int d = 0; d < 2; d++) {
            struct fluid_channel *channel = &o->channels[d][i];
            if (channel->sent == channel->posted)
                continue;
            channel->left_s[channel->sent] -= dt / sending;
            if (channel->left_s[channel->sent] < 1e-11)
                o->stages[d == 0 ? i + 1 : i - 1].arrived[d][channel->q[channel->sent++]] = o->now_s + o->latency_s;
        }
    for (int i = 0; i < o->P; i++)
        if (o->stages[i].left_s >= 0) {
            o->stages[i].left_s -= dt * speed[i];
            if (o->stages[i].left_s < 1e-11)
                fluid_end(o, i);
        }
    return true;
}

/* Random times into the oracle and the same into a cost; two classes, each stage all of one or half of both. */
static struct sim_cost *random_fluid(struct fluid *o, const struct sp_plan *plan)
{
    struct sim_cost *cost = sim_cost_alloc(plan);
    double mix[CHAIN_LAYERS][2];
    sim_cost_add_contention(cost, 2);
    for (int e = 0; e < 4; e++)
        cost->contention.slowdown[e] = chain_below(3) * 0.37;
    for (int i = 0; i < o->P; i++) {
        mix[i][0] = chain_below(3) * 0.5;
        mix[i][1] = 1 - mix[i][0];
        for (int d = 0; d < 2; d++)
            o->step_s[d][i] = (1 + chain_below(1000)) * 1e-3;
        o->update_s[i] = chain_below(2) * 0.07;
        cost->stages[i] = (struct sim_stage_cost){o->step_s[0][i], o->step_s[1][i], o->update_s[i], 0};
        for (int w = 0; w < SIM_WORK_COUNT; w++)
            memcpy(&cost->contention.mix[sim_cost_row(cost, 0, i, (enum sim_work)w) * 2], mix[i], sizeof mix[i]);
    }
    for (int i = 0; i < o->P; i++)
        for (int j = 0; j < o->P; j++)
            for (int e = 0; e < 4; e++)
                o->excess[i][j] += mix[i][e / 2] * cost->contention.slowdown[e] * mix[j][e % 2];
    o->message_s = (1 + chain_below(500)) * 1e-3;
    o->latency_s = chain_below(2) * 0.013;
    add_fair_link(plan, cost, o->message_s * 1e6 * o->M, o->latency_s);
    return cost;
}

/* Short ones: where devices slow each other a pipeline may amplify differences, and the oracle's are 1e-11 s. */
static void random_pipelines_take_the_time_of_the_fluid_oracle(void **state)
{
    (void)state;
    static const char *const schedules[] = {"sequential", "gpipe", "1f1b", "stale", "1f1b-async"};
    static struct fluid o;
    for (int round = 0; round < 500; round++) {
        memset(&o, 0, sizeof o);
        o.P = 1 + chain_below(6);
        o.M = 1 + chain_below(4);
        int minibatches = 1 + chain_below(5), count = o.M * minibatches;
        for (int i = 0; i < o.P; i++) {
            struct fluid_stage *s = &o.stages[i];
            chain_order(schedules[round % 5], o.P, o.M, count, i, &s->steps);
            s->left_s = -1;
            for (int q = 0; q < CHAIN_STEPS; q++)
                s->arrived[0][q] = s->arrived[1][q] = INFINITY;
        }
        struct sp_plan *plan = chain_plan(schedules[round % 5], o.P, o.M, minibatches);
        struct sim_cost *cost = random_fluid(&o, plan);
        struct sim_result result = chain_run(plan, cost);
        while (fluid_step(&o))
            assert_true(o.now_s < 1e6);
        if (!(fabs(result.time_s - o.now_s) <= 1e-6 * o.now_s))
            fail_msg("round %d: %s, P = %d, M = %d, %d minibatches: %.12g s, oracle %.12g s", round,
                     schedules[round % 5], o.P, o.M, minibatches, result.time_s, o.now_s);
        sim_result_fini(&result);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
    }
}

static const char constants[] = "peak_flops: 1.0e12\nbandwidth_bytes_per_s: 1.0e11\nlaunch_s: 0\n"
                                "convolution: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                                "fully_connected: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                                "latency_s: 0\nlink_bytes_per_s: 4.0e9\n"; /* 7 lines */

/* Costs of LeNet-5, cut in two, on two devices of a file with these lines more. */
static sp_status cost_of_device(const char *more, struct sim_cost **cost, struct sp_error *err)
{
    char path[] = "/tmp/test_sharing_XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fprintf(file, "%s%s", constants, more);
    fclose(file);
    char *device = sp_format("cost.device=%s", path);
    const char *sets[] = {"pipeline.cuts=[1]", "pipeline.schedule=stale", "devices.backend=cuda", device};
    struct sp_experiment *e;
    struct sp_network *network;
    struct sp_plan *plan;
    assert_int_equal(sp_experiment_read("experiments/quickstart.yaml", sets, 4, &e, err), SP_OK);
    assert_int_equal(sp_experiment_network(e, &network, err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, err), SP_OK);
    sp_status status = sim_cost_create(e, plan, NULL, cost, err);
    for (int c = 0; status == SP_OK && (*cost)->link_count > 0 && c < plan->channel_count; c++)
        assert_true((*cost)->channels[c].bytes == (double)plan->channels[c].bytes);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
    sp_experiment_destroy(&e);
    unlink(path);
    free(device);
    return status;
}

/* From device 0 to 1 through the host: out of 0, twice the bus, into 1. */
static void a_device_file_may_have_fair_links(void **state)
{
    (void)state;
    struct sim_cost *cost;
    struct sp_error err = {0};
    assert_int_equal(cost_of_device("link_shared: fair\nlink_hops: 2\nbus_bytes_per_s: 6.0e9\n", &cost, &err), SP_OK);
    assert_int_equal(cost->link_count, 5);
    int checked = 0;
    for (int c = 0; c < cost->channel_count; c++) {
        const int *route = cost->channels[c].route;
        if (cost->channels[c].bytes == 0 || strcmp(cost->links[route[0]].name, "device 0 out") != 0)
            continue;
        assert_int_equal(cost->channels[c].hops, 4);
        assert_string_equal(cost->links[route[3]].name, "device 1 in");
        assert_true(route[1] == route[2] && cost->links[route[1]].bytes_per_s == 6e9);
        assert_true(cost->links[route[0]].bytes_per_s == 4e9 && cost->links[route[3]].bytes_per_s == 4e9);
        checked++;
    }
    assert_true(checked > 0);
    assert_int_equal(cost->note_count, 1); /* LeNet-5's kinds without weights, but flatten, which costs nothing */
    assert_int_equal(cost->notes[0].kind, SIM_NOTE_UNCALIBRATED);
    assert_non_null(strstr(cost->notes[0].text, "passes of relu, max-pool, softmax-cross-entropy:"));
    sim_cost_destroy(&cost);
    assert_int_equal(cost_of_device("passes_relu: 1\npasses_pool: 1\npasses_other: 1\n", &cost, &err), SP_OK);
    assert_int_equal(cost->note_count, 0);
    sim_cost_destroy(&cost);
    static const struct {
        const char *more, *at, *text;
    } wrong[] = {
        {"link_shared: fair\nbus_bytes_per_s: 3\n", "quickstart.yaml", "message from stage 0 to stage 1 takes"},
        {"link_shared: fairly\n", ":8:14:", "expected true, false or fair"},
        {"link_shared: fair\nlink_hops: 3\n", ":8:14:", "1 or 2 are legal"},
        {"link_shared: fair\nlink_blocks: true\n", ":8:14:", "copies that block"},
        {"link_shared: true\nbus_bytes_per_s: 1.0e9\n", ":9:18:", "goes with link_shared: fair"},
        {"link_shared: fair\nbus_bytes_per_s: 1\n", "quickstart.yaml", "message from stage 0 to stage 1 takes"},
    };
    for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
        assert_int_equal(cost_of_device(wrong[w].more, &cost, &err), SP_E_INPUT);
        if (strstr(err.text, wrong[w].at) == NULL || strstr(err.text, wrong[w].text) == NULL)
            fail_msg("%s", err.text);
        sp_error_fini(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_side_by_side_takes_longer),
        cmocka_unit_test(what_is_left_goes_on_at_the_new_speed),
        cmocka_unit_test(mixes_of_classes_add_up),
        cmocka_unit_test(a_machine_has_room_for_so_many_devices),
        cmocka_unit_test(shares_of_links_are_those_computed_by_hand),
        cmocka_unit_test(nobody_can_have_more_without_taking_from_the_poorer),
        cmocka_unit_test(messages_share_a_fair_link),
        cmocka_unit_test(sizes_that_cannot_be_counted_are_refused),
        cmocka_unit_test(a_device_file_may_have_fair_links),
        cmocka_unit_test(random_pipelines_take_the_time_of_the_fluid_oracle),
    };
    return cmocka_run_group_tests_name("sharing", tests, NULL, NULL);
}
