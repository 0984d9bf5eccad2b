/*
 * The simulator, its driver and its traces: times computed by hand, and by an oracle that knows neither plans nor
 * events.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/queue.h"
#include "sim/simulate.h"
#include "tests/chain.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void add_bus(struct sim_cost *cost)
{
    cost->bus_count = 1;
    cost->bus_names = sp_calloc(1, sizeof *cost->bus_names);
    cost->bus_names[0] = sp_strdup("bus");
}

/* Of P devices whose stages take one second for F and for B, with free messages. */
static double utilization(const char *schedule, int P, int M, int64_t minibatches)
{
    struct sp_plan *plan = chain_plan(schedule, P, M, minibatches);
    struct sim_cost *cost = chain_cost(plan, 1.0, 1.0);
    struct sim_result result = chain_run(plan, cost);
    double busy_s = 0.0;
    for (int d = 0; d < plan->device_count; d++)
        busy_s += sp_trace_busy_s(result.trace, d);
    double share = busy_s / (result.time_s * P);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return share;
}

static void events_of_one_time_come_out_as_they_went_in(void **state)
{
    (void)state;
    enum { TIMES = 7, EACH = 1000 };
    struct sim_queue queue = {0};
    struct sim_event event;
    for (int k = 0; k < TIMES * EACH; k++) /* times 0, 3, 6, 2, 5, 1, 4, 0, ... */
        sim_queue_push(&queue, 3 * k % TIMES, k);
    int last = -1, soon = -1;
    for (int k = 0; k < TIMES * EACH; k++) {
        assert_true(sim_queue_pop(&queue, &event));
        assert_true(event.at == k / EACH);
        if (k % EACH != 0)
            assert_true(event.id > last);
        if (k > 0)
            assert_int_equal(event.id, soon); /* foretold when the one before was popped */
        last = event.id;
        soon = sim_queue_soon(&queue);
    }
    assert_false(sim_queue_pop(&queue, &event));
    sim_queue_fini(&queue);
}

/* Pushes, moves and pops mixed, against a search of all that is in the queue. */
static void the_queue_is_a_stable_sort(void **state)
{
    (void)state;
    enum { STEPS = 20000, MOST = 64 };
    struct sim_event held[MOST], event;
    struct sim_queue queue = {0};
    int count = 0;
    queue.pushed = (UINT64_MAX >> (SIM_QUEUE_ID_BITS + 1)) - STEPS / 8; /* numbers start again on the way */
    for (int k = 0; k < STEPS; k++) {
        if (count > 0 && chain_below(4) == 0) { /* another time: it keeps its place among equals */
            int h = chain_below(count);
            held[h].at = chain_below(5);
            sim_queue_move(&queue, held[h].at, held[h].id);
        } else if (count < MOST && chain_below(2)) {
            held[count++] = (struct sim_event){.at = chain_below(5), .id = k};
            sim_queue_push(&queue, held[count - 1].at, k);
        } else if (count > 0) {
            int first = 0; /* `held` stays in order of insertion */
            for (int h = 1; h < count; h++)
                first = held[h].at < held[first].at ? h : first;
            assert_true(sim_queue_pop(&queue, &event));
            assert_int_equal(event.id, held[first].id);
            memmove(&held[first], &held[first + 1], (size_t)(--count - first) * sizeof held[0]);
        }
    }
    sim_queue_fini(&queue);
}

/* The bubble of P - 1 forwards and P - 1 backwards: m / (m + P - 1), whatever the number of minibatches. */
static void flushing_schedules_have_the_textbook_bubble(void **state)
{
    (void)state;
    for (int P = 1; P <= 6; P++)
        for (int m = 1; m <= 9; m++) {
            double expected = (double)m / (m + P - 1);
            chain_assert_near(utilization("gpipe", P, m, 3), expected);
            chain_assert_near(utilization("1f1b", P, m, 3), expected);
        }
    for (int P = 1; P <= 6; P++) /* one microbatch anywhere at a time */
        chain_assert_near(utilization("sequential", P, 1, 5), 1.0 / P);
}

/*
 * 1f1b-async: the last stage works without a gap from P-1 to P-1+2N, and the last gradient has P-1 stages to go.
 * stale: at most N + 2(P-1) cycles of 2 seconds, of which each device works N.
 */
static void schedules_without_flush_fill_the_pipeline(void **state)
{
    (void)state;
    for (int P = 1; P <= 5; P++) {
        chain_assert_near(utilization("1f1b-async", P, 1, 1000), 1000.0 / (1000.0 + P - 1));
        double stale = utilization("stale", P, 1, 1000);
        assert_true(stale >= 1000.0 / (1000.0 + 2.0 * (P - 1)) - 1e-12 && stale <= 1.0 + 1e-12);
    }
}

/*
 * Three stages, gpipe, M = 2; F = B = 1 s; all messages on one bus, 4 s a minibatch, so 2 s a microbatch; 0.5 s
 * latency. stage 0: F 0-1, 1-2             bus: 1-3, 3-5 (the second waits)       here at 3.5, 5.5 stage 1:
 * F 3.5-4.5, 5.5-6.5     bus: 5-7, 7-9 (both wait)              here at 7.5, 9.5 stage 2: F 7.5-8.5, 9.5-10.5,
 * B 10.5-11.5, 11.5-12.5 bus: 11.5-13.5, 13.5-15.5              here at 14, 16 stage 1: B 14-15, 16-17
 * bus: 15.5-17.5, 17.5-19.5              here at 18, 20 stage 0: B 18-19, 20-21
 */
static void a_shared_bus_serves_first_come_first_served(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("gpipe", 3, 2, 1);
    struct sim_cost *cost = chain_cost(plan, 1.0, 1.0);
    add_bus(cost);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = 0.5, .busy_s = 4.0, .bus = 0};
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 21.0);
    const struct sp_lane *lane = result.trace->lanes;
    chain_assert_near(lane[0].total.wait_s[SP_PAYLOAD_GRADIENT], 16.0 + 1.0);  /* 2-18, 19-20 */
    chain_assert_near(lane[1].total.wait_s[SP_PAYLOAD_ACTIVATION], 3.5 + 1.0); /* 0-3.5, 4.5-5.5 */
    chain_assert_near(lane[1].total.wait_s[SP_PAYLOAD_GRADIENT], 7.5 + 1.0);   /* 6.5-14, 15-16 */
    chain_assert_near(lane[2].total.wait_s[SP_PAYLOAD_ACTIVATION], 7.5 + 1.0); /* 0-7.5, 8.5-9.5 */
    double transfers_s = 0.0;
    for (int l = result.trace->device_count; l < result.trace->lane_count; l++)
        transfers_s += lane[l].total.seconds[SP_SPAN_TRANSFER];
    chain_assert_near(transfers_s, 8 * 2.0);
    assert_int_equal(result.trace->lane_count, 3 + 4); /* 0->1, 1->0, 1->2, 2->1 */
    sim_result_fini(&result);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c].bus = -1; /* without a bus nothing queues */
    result = chain_run(plan, cost);
    /* stage 1: F 3.5-4.5, 4.5-5.5; stage 2: F 7-8, 8-9, B 9-10, 10-11; stage 1: B 12.5-13.5, 13.5-14.5; stage 0:
     * B 16-17, 17-18 */
    chain_assert_near(result.time_s, 18.0);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* F 0-1, post -1.25, under way -1.75, take -2, F 2-3, B 3-4, post -4.25, -4.75, take -5, B 5-6. */
static void handing_over_takes_the_time_of_both_devices(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("sequential", 2, 1, 1);
    struct sim_cost *cost = chain_cost(plan, 1.0, 1.0);
    cost->handoff_s = 0.25;
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c].latency_s = 0.5;
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 6.0);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Who waits for 2 s or more sleeps, and takes 0.5 s to wake. F 0-1, on its way -1.5: device 1 has waited 1.5 and goes
 * on at once, F 1.5-2.5, B -3.5, on its way -4: device 0 has waited 3 since its post and goes on at 4.5, B -5.5.
 */
static void who_waits_long_takes_time_to_wake(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("sequential", 2, 1, 1);
    struct sim_cost *cost = chain_cost(plan, 1.0, 1.0);
    cost->patience_s = 2;
    cost->wake_s = 0.5;
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c].latency_s = 0.5;
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 5.5);
    chain_assert_near(result.trace->lanes[0].total.wait_s[SP_PAYLOAD_GRADIENT], 3.5);
    chain_assert_near(result.trace->lanes[1].total.wait_s[SP_PAYLOAD_ACTIVATION], 1.5);
    sim_result_fini(&result);
    cost->patience_s = 1; /* now device 1 sleeps too */
    result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 6.0);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* One device, two minibatches of F 1, B 2, U 0.5, each followed by an evaluation of one minibatch, 3 s. */
static void updates_and_evaluations_take_their_time(void **state)
{
    (void)state;
    struct sp_phase phase = {.schedule = sp_schedule_find("sequential"), .microbatches = 1, .minibatches = 2};
    struct sp_plan_config config = {
        .batch = 8, .phases = &phase, .phase_count = 1, .evaluate_every = 1, .evaluate_samples = 8};
    struct sp_plan *plan;
    struct sp_error err = {0};
    assert_int_equal(sp_plan_create(chain_network(), &config, &plan, &err), SP_OK);
    struct sim_cost *cost = sim_cost_alloc(plan);
    cost->stages[0] = (struct sim_stage_cost){.forward_s = 1.0, .backward_s = 2.0, .update_s = 0.5, .evaluate_s = 3.0};
    struct sim_result result = chain_run(plan, cost);
    chain_assert_near(result.time_s, 2 * (1.0 + 2.0 + 0.5 + 3.0));
    chain_assert_near(sp_trace_busy_s(result.trace, 0), result.time_s);
    chain_assert_near(result.trace->lanes[0].total.seconds[SP_SPAN_EVALUATE], 6.0);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Two devices in turn, 29 minibatches of 4 * 10^5 s: more than 63 bits of ticks hold, so the clock starts again a few
 * times. The evaluation comes behind the last update, on channels that were never used before.
 */
static void the_clock_starts_again_long_before_it_is_full(void **state)
{
    (void)state;
    int devices[] = {0, 1}, cut = 1;
    struct sp_phase phase = {.schedule = sp_schedule_find("sequential"), .microbatches = 1, .minibatches = 29};
    struct sp_plan_config config = {.cuts = &cut,
                                    .cut_count = 1,
                                    .batch = 8,
                                    .forward_devices = devices,
                                    .phases = &phase,
                                    .phase_count = 1,
                                    .evaluate_every = 29,
                                    .evaluate_samples = 8};
    struct sp_plan *plan;
    struct sp_error err = {0};
    assert_int_equal(sp_plan_create(chain_network(), &config, &plan, &err), SP_OK);
    for (int crowded = 0; crowded < 2; crowded++) {
        struct sim_cost *cost = chain_cost(plan, 1e5, 1e5);
        for (int i = 0; i < 2; i++)
            cost->stages[i].evaluate_s = 2.0;
        if (crowded)
            sim_cost_add_contention(cost, 1);
        struct sim_result result;
        assert_int_equal(sim_run(plan, cost, &(struct sim_config){.whole = true}, &result, &err), SP_OK);
        chain_assert_near(result.time_s, 29 * 4e5 + 2 * 2.0); /* behind the last update, stage by stage */
        sim_result_fini(&result);
        sim_cost_destroy(&cost);
    }
    sp_plan_destroy(&plan);
}

/*
 * The oracle: each stage's order written out from the schedule's definition, and the end of every step by recursion
 * over what it depends on: the step before in its stage, and the same microbatch in the neighbouring stage.
 */
struct oracle {
    int P, M, count; /* microbatches in all */
    struct chain_steps stages[CHAIN_LAYERS];
    double end[CHAIN_LAYERS][CHAIN_STEPS]; /* negative: not known yet */
    double step_s[2][CHAIN_LAYERS], update_s[CHAIN_LAYERS];
    double down_s[CHAIN_LAYERS], up_s[CHAIN_LAYERS]; /* down_s[i]: from i to i + 1 */
};

/* When the stage has done its k-th step, and is free of the update that may follow a B. */
static double end_of(struct oracle *o, int i, int k);

/* When the gradient or activation made by step k leaves: before the update. */
static double made_at(struct oracle *o, int i, int k)
{
    bool last = o->stages[i].backward[k] && o->stages[i].q[k] % o->M == o->M - 1;
    return end_of(o, i, k) - (last ? o->update_s[i] : 0.0);
}

static double end_of(struct oracle *o, int i, int k)
{
    if (o->end[i][k] >= 0.0)
        return o->end[i][k];
    bool backward = o->stages[i].backward[k];
    int q = o->stages[i].q[k];
    double start = k > 0 ? end_of(o, i, k - 1) : 0.0, here = 0.0;
    if (!backward && i > 0)
        here = made_at(o, i - 1, o->stages[i - 1].at[0][q]) + o->down_s[i - 1];
    if (backward && i + 1 < o->P)
        here = made_at(o, i + 1, o->stages[i + 1].at[1][q]) + o->up_s[i + 1];
    double end = (here > start ? here : start) + o->step_s[backward][i];
    if (backward && q % o->M == o->M - 1)
        end += o->update_s[i];
    return o->end[i][k] = end;
}

static double random_s(void)
{
    return (1 + chain_below(1000)) * 1e-3;
}

/* Random times into the oracle and the same into a cost. Messages take part of their time as busy seconds, no bus. */
static void random_times(struct oracle *o, const struct sp_plan *plan, struct sim_cost *cost)
{
    for (int i = 0; i < o->P; i++) {
        o->step_s[0][i] = random_s();
        o->step_s[1][i] = random_s();
        o->update_s[i] = random_s();
        o->down_s[i] = random_s();
        o->up_s[i] = random_s();
        cost->stages[i] = (struct sim_stage_cost){o->step_s[0][i], o->step_s[1][i], o->update_s[i], 0.0};
    }
    for (int c = 0; c < plan->channel_count; c++) {
        const struct sp_channel *channel = &plan->channels[c];
        double whole =
            channel->from_stage < channel->to_stage ? o->down_s[channel->from_stage] : o->up_s[channel->from_stage];
        cost->channels[c] =
            (struct sim_channel_cost){.latency_s = 0.25 * whole, .busy_s = 0.75 * whole * o->M, .bus = -1};
    }
}

static void random_pipelines_take_the_time_of_the_oracle(void **state)
{
    (void)state;
    static const char *const schedules[] = {"sequential", "gpipe", "1f1b", "stale", "1f1b-async"};
    static struct oracle o;
    for (int round = 0; round < 1000; round++) {
        const char *schedule = schedules[round % 5];
        memset(&o, 0, sizeof o);
        o.P = 1 + chain_below(6);
        o.M = 1 + chain_below(4);
        o.count = o.M * (1 + chain_below(12));
        for (int i = 0; i < o.P; i++) {
            chain_order(schedule, o.P, o.M, o.count, i, &o.stages[i]);
            assert_int_equal(o.stages[i].count, 2 * o.count);
            for (int k = 0; k < 2 * o.count; k++)
                o.end[i][k] = -1;
        }
        struct sp_plan *plan = chain_plan(schedule, o.P, o.M, o.count / o.M);
        struct sim_cost *cost = sim_cost_alloc(plan);
        random_times(&o, plan, cost);
        struct sim_result result = chain_run(plan, cost);
        double expected = 0.0;
        for (int i = 0; i < o.P; i++) {
            double end = end_of(&o, i, o.stages[i].count - 1);
            expected = end > expected ? end : expected;
        }
        if (!(fabs(result.time_s - expected) <= 1e-9 * expected))
            fail_msg("round %d: %s, P = %d, M = %d, %d microbatches: %.12g s, oracle %.12g s", round, schedule, o.P,
                     o.M, o.count, result.time_s, expected);
        sim_result_fini(&result);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
    }
}

/* With the paper's 2K+1 devices, weights and stashes travel, and phases follow each other: every step is done once. */
static void split_placement_and_phases_run_to_the_end(void **state)
{
    (void)state;
    int cuts[] = {2, 5}, forward[] = {0, 1, 2}, backward[] = {4, 3, 2};
    struct sp_phase phases[] = {
        {.schedule = sp_schedule_find("stale"), .microbatches = 1, .minibatches = 20},
        {.schedule = sp_schedule_find("1f1b"), .microbatches = 4, .minibatches = 10},
    };
    struct sp_plan_config config = {.cuts = cuts,
                                    .cut_count = 2,
                                    .batch = 4,
                                    .forward_devices = forward,
                                    .backward_devices = backward,
                                    .phases = phases,
                                    .phase_count = 2,
                                    .evaluate_every = 3,
                                    .evaluate_samples = 9};
    struct sp_plan *plan;
    struct sp_error err = {0};
    assert_int_equal(sp_plan_create(chain_network(), &config, &plan, &err), SP_OK);
    struct sim_cost *cost = chain_cost(plan, 1.0, 2.0);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = 0.1, .busy_s = 0.3, .bus = c % 2 - 1};
    add_bus(cost);
    struct sim_result first = chain_run(plan, cost), second = chain_run(plan, cost);
    for (int i = 0; i < 3; i++) { /* 20 + 4 * 10 microbatches */
        assert_int_equal(first.trace->lanes[forward[i]].total.count[SP_SPAN_FORWARD], 60);
        assert_int_equal(first.trace->lanes[backward[i]].total.count[SP_SPAN_BACKWARD], 60);
        assert_int_equal(first.trace->lanes[backward[i]].total.count[SP_SPAN_UPDATE], 30);
    }
    /* Repeatable to the last bit. */
    assert_true(first.time_s == second.time_s && first.events == second.events);
    for (int l = 0; l < first.trace->lane_count; l++) {
        const struct sp_lane *a = &first.trace->lanes[l], *b = &second.trace->lanes[l];
        assert_int_equal(a->count, b->count);
        for (int64_t k = 0; k < a->count; k++) {
            assert_true(a->spans[k].start_s == b->spans[k].start_s && a->spans[k].end_s == b->spans[k].end_s);
            if (k > 0 && l < first.trace->device_count) /* a device does one thing at a time */
                assert_true(a->spans[k].start_s >= a->spans[k - 1].end_s);
        }
    }
    sim_result_fini(&first);
    sim_result_fini(&second);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

static sp_status rest(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                      struct sp_error *err)
{
    (void)device;
    (void)instr;
    (void)err;
    ++*(int *)self;
    *progress = SP_PENDING;
    return SP_OK;
}

static int nobody(void *self)
{
    (void)self;
    return -1;
}

static void the_driver_reports_deadlock_and_interruption(void **state)
{
    (void)state;
    const struct sp_engine engine = {.name = "rest", .execute = rest, .next = nobody};
    struct sp_plan *plan = chain_plan("gpipe", 3, 2, 1);
    struct sp_error err = {0};
    int executed = 0;
    bool stop = true;
    assert_int_equal(sp_drive(plan, &engine, &executed, NULL, &err), SP_E_DEADLOCK);
    assert_int_equal(executed, 3); /* the first instruction of each device */
    assert_int_equal(sp_drive(plan, &engine, &executed, &stop, &err), SP_E_INTERRUPTED);
    assert_int_equal(executed, 3);
    sp_error_fini(&err);
    sp_plan_destroy(&plan);
}

/* The Chrome trace event format: an event is metadata ("M": process_name, thread_name and their sort indices) or
 * complete
 * ("X": with ts and dur, both in microseconds); complete ones of a thread do not overlap, or a viewer would nest them.
 */
static void check_chrome_event(const json_t *event, double end_us[2][8])
{
    const char *phase = json_string_value(json_object_get(event, "ph"));
    const char *name = json_string_value(json_object_get(event, "name"));
    const json_t *pid = json_object_get(event, "pid"), *tid = json_object_get(event, "tid");
    assert_non_null(phase);
    assert_non_null(name);
    assert_true(json_is_integer(pid) && json_is_integer(tid) && json_is_object(json_object_get(event, "args")));
    if (strcmp(phase, "M") == 0) {
        bool order = strstr(name, "_sort_index") != NULL;
        assert_true(strncmp(name, "process_", 8) == 0 || strncmp(name, "thread_", 7) == 0);
        assert_true(order ? json_is_integer(json_object_get(json_object_get(event, "args"), "sort_index"))
                          : json_is_string(json_object_get(json_object_get(event, "args"), "name")));
        return;
    }
    assert_string_equal(phase, "X");
    double from = json_number_value(json_object_get(event, "ts")),
           length = json_number_value(json_object_get(event, "dur"));
    assert_true(json_integer_value(pid) >= 1 && json_integer_value(tid) >= 1); /* 0 is the kernel's in Perfetto */
    double *end = &end_us[json_integer_value(pid) - 1][json_integer_value(tid) - 1];
    assert_true(json_is_number(json_object_get(event, "ts")) && json_is_number(json_object_get(event, "dur")));
    assert_true(from >= 0 && length >= 0);
    assert_true(from >= *end - 2e-6); /* printed to a millionth */
    *end = from + length;
}

static void a_chrome_trace_is_json_with_every_span(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("1f1b", 3, 4, 2);
    struct sim_cost *cost = chain_cost(plan, 1e-3, 2e-3);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = 1e-5, .busy_s = 1e-4, .bus = -1};
    struct sim_result result = chain_run(plan, cost);
    struct sp_error err = {0};
    char path[] = "/tmp/test_sim_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const struct sp_trace_process both[] = {{"a \"name\"\n\\", result.trace}, {"measured", result.trace}};
    assert_int_equal(sp_trace_write_chrome(both, 2, path, &err), SP_OK);
    json_error_t json_error;
    json_t *json = json_load_file(path, 0, &json_error);
    if (json == NULL)
        fail_msg("line %d: %s", json_error.line, json_error.text);
    int64_t spans = 0;
    double busy_us[2][8] = {{0.0}}, end_us[2][8] = {{0.0}};
    for (int l = 0; l < result.trace->lane_count; l++)
        spans += result.trace->lanes[l].count;
    size_t k;
    json_t *event;
    json_array_foreach(json_object_get(json, "traceEvents"), k, event)
    {
        const char *kind = json_string_value(json_object_get(event, "cat"));
        int64_t lane = json_integer_value(json_object_get(event, "tid")) - 1;
        int64_t process = json_integer_value(json_object_get(event, "pid")) - 1;
        check_chrome_event(event, end_us);
        if (kind && strcmp(kind, "wait") != 0 && lane < 3)
            busy_us[process][lane] += json_number_value(json_object_get(event, "dur"));
    }
    /* of both processes: every span, and a name and a place for every lane and for the process */
    assert_int_equal(json_array_size(json_object_get(json, "traceEvents")),
                     2 * (spans + 2 * result.trace->lane_count + 2));
    for (int d = 0; d < 6; d++)
        chain_assert_near(busy_us[d / 3][d % 3], 8 * 3e3); /* 2 minibatches of 4, F + B = 3 ms */
    json_decref(json);
    assert_int_equal(sp_trace_write_csv(result.trace, path, &err), SP_OK);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    int64_t lines = 0;
    for (int ch; (ch = getc(file)) != EOF;)
        lines += ch == '\n';
    fclose(file);
    assert_int_equal(lines, spans + 1);
    unlink(path);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

static void spans_beyond_the_room_are_counted(void **state)
{
    (void)state;
    struct sp_trace *trace;
    struct sp_error err = {0};
    assert_int_equal(sp_trace_create(1, 1, 2, &trace, &err), SP_OK);
    for (int k = 0; k < 5; k++)
        sp_trace_add(trace, 0, &(struct sp_span){.start_s = k, .end_s = k + 0.5, .kind = SP_SPAN_BACKWARD});
    sp_trace_add(trace, 0, &(struct sp_span){.start_s = 5, .end_s = 9, .kind = SP_SPAN_WAIT});
    assert_int_equal(trace->lanes[0].count, 2);
    assert_int_equal(trace->lanes[0].total.count[SP_SPAN_BACKWARD], 5);
    chain_assert_near(sp_trace_busy_s(trace, 0), 2.5); /* waiting is not work */
    sp_trace_destroy(&trace);
    assert_null(trace);
    sp_trace_destroy(&trace);
}

/* What is not known is null, not a number; errors are relative to what was measured. */
static void summaries_compare_relative_to_the_measured(void **state)
{
    (void)state;
    struct sp_device_summary small = {.peak_bytes = 90}, large = {.peak_bytes = 100};
    struct sp_summary predicted = {.name = (char *)"a",
                                   .network = (char *)"b",
                                   .schedule = (char *)"c",
                                   .time_s = 3.0,
                                   .speedup = NAN,
                                   .utilization = 0.5,
                                   .device_count = 1,
                                   .devices = &small};
    struct sp_summary measured = predicted;
    measured.real = true;
    measured.time_s = 4.0;
    measured.speedup = 2.0;
    measured.devices = &large;
    predicted.repeats = 20;
    predicted.time_interval = (struct sp_interval){2.5, 3, 4};
    predicted.utilization_interval = (struct sp_interval){0.51, 0.52, 0.53};
    sp_summary_add_note(&predicted, "extrapolated", "far out");
    json_t *json = sp_summary_compare_json(&predicted, &measured), *error = json_object_get(json, "error");
    chain_assert_near(json_number_value(json_object_get(error, "time")), -0.25);
    chain_assert_near(json_number_value(json_object_get(error, "peak_bytes")), -0.1);
    chain_assert_near(json_number_value(json_object_get(error, "utilization")), 0.0);
    assert_true(json_is_null(json_object_get(error, "speedup")));
    assert_true(json_is_null(json_object_get(json_object_get(json, "predicted"), "speedup")));
    assert_null(json_object_get(json_object_get(json, "predicted"), "accuracy"));
    assert_non_null(json_object_get(json_object_get(json, "measured"), "accuracy"));
    json_t *simulated = json_object_get(json, "predicted"), *within = json_object_get(json, "within");
    json_t *time_s = json_object_get(json_object_get(simulated, "intervals"), "time_s");
    chain_assert_near(json_number_value(json_array_get(time_s, 0)), 2.5);
    chain_assert_near(json_number_value(json_array_get(time_s, 1)), 4);
    assert_true(json_is_true(json_object_get(within, "time_s")));       /* 4.0 is in 2.5 to 4 */
    assert_true(json_is_false(json_object_get(within, "utilization"))); /* 0.5 is below 0.51 */
    json_t *note = json_array_get(json_object_get(simulated, "notes"), 0);
    assert_string_equal(json_string_value(json_object_get(note, "kind")), "extrapolated");
    free(predicted.notes[0].kind);
    free(predicted.notes[0].text);
    free(predicted.notes);
    json_decref(json);
}

/*
 * Copies that block, by hand: F 1 s, B 2 s, each copy holds either side for 0.25 s and arrives 0.5 s later.
 * Device 0: F 0-1, copy 1-1.25. Device 1: copy 1.75-2, F 2-3, B 3-5, copy 5-5.25. Device 0: copy 5.75-6, B 6-8.
 */
static void copies_that_block_hold_up_both_devices(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("sequential", 2, 1, 1);
    struct sim_cost *cost = sim_cost_alloc(plan);
    struct sim_result result;
    struct sp_error err = {0};
    for (int i = 0; i < 2; i++)
        cost->stages[i] = (struct sim_stage_cost){1, 2, 0, 0};
    for (int c = 0; c < plan->channel_count; c++) {
        cost->channels[c].latency_s = 0.5;
        cost->channels[c].device_s = 0.25;
    }
    assert_int_equal(sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 0}, &result, &err), SP_OK);
    assert_float_equal(result.time_s, 8, 1e-12);
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * F and B take 1 s. The first F at stage 0 takes 0.5 s more, and each that is the first in its slot 0.25 s; at stage 1
 * the latter only. Sequential minibatches have one slot: 4 s each and 0.5 + 0.25 + 0.25 s once, also where the rest is
 * jumped over. On one device, gpipe with 3 microbatches has three slots a stage: 12 s a minibatch and 0.5 + 6 * 0.25 s
 * once.
 */
static void memory_is_touched_for_the_first_time_once(void **state)
{
    (void)state;
    static const struct {
        const char *schedule;
        int M;
        int64_t minibatches;
        double expected_s;
    } cases[] = {{"sequential", 1, 3, 13}, {"sequential", 1, 1000, 4001}, {"gpipe", 3, 50, 50 * 12 + 2}};
    int one[] = {0, 0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sp_phase phase = {.schedule = sp_schedule_find(cases[c].schedule),
                                 .microbatches = cases[c].M,
                                 .minibatches = cases[c].minibatches};
        struct sp_plan_config config = {.cuts = (int[]){1},
                                        .cut_count = 1,
                                        .batch = 12,
                                        .forward_devices = one,
                                        .shared_memory = true,
                                        .phases = &phase,
                                        .phase_count = 1};
        struct sp_plan *plan;
        struct sp_error err = {0};
        assert_int_equal(sp_plan_create(chain_network(), &config, &plan, &err), SP_OK);
        struct sim_cost *cost = sim_cost_alloc(plan);
        cost->stages[0] = cost->stages[1] = (struct sim_stage_cost){1, 1, 0, 0};
        cost->starts[0] = (struct sim_start_cost){0.5, 0.25};
        cost->starts[1] = (struct sim_start_cost){0, 0.25};
        struct sim_result result = chain_run(plan, cost);
        assert_float_equal(result.time_s, cases[c].expected_s, 1e-9);
        sim_result_fini(&result);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_one_time_come_out_as_they_went_in),
        cmocka_unit_test(the_queue_is_a_stable_sort),
        cmocka_unit_test(flushing_schedules_have_the_textbook_bubble),
        cmocka_unit_test(schedules_without_flush_fill_the_pipeline),
        cmocka_unit_test(a_shared_bus_serves_first_come_first_served),
        cmocka_unit_test(handing_over_takes_the_time_of_both_devices),
        cmocka_unit_test(who_waits_long_takes_time_to_wake),
        cmocka_unit_test(updates_and_evaluations_take_their_time),
        cmocka_unit_test(the_clock_starts_again_long_before_it_is_full),
        cmocka_unit_test(random_pipelines_take_the_time_of_the_oracle),
        cmocka_unit_test(split_placement_and_phases_run_to_the_end),
        cmocka_unit_test(the_driver_reports_deadlock_and_interruption),
        cmocka_unit_test(a_chrome_trace_is_json_with_every_span),
        cmocka_unit_test(spans_beyond_the_room_are_counted),
        cmocka_unit_test(summaries_compare_relative_to_the_measured),
        cmocka_unit_test(copies_that_block_hold_up_both_devices),
        cmocka_unit_test(memory_is_touched_for_the_first_time_once),
    };
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
