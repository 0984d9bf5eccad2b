/*
 * Runs whose durations vary: means and variances in closed form and by numerical integration, and intervals that hold
 * what they promise.
 */
#include "common/alloc.h"
#include "sim/noise.h"
#include "sim/repeat.h"
#include "tests/chain.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_integration.h>
#include <gsl/gsl_statistics.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS = 4000 };

static void add_noise(struct sim_cost *cost, double deviation)
{
    sim_cost_add_noise(cost);
    for (int64_t r = 0; r < (int64_t)cost->phase_count * cost->stage_count * SIM_WORK_COUNT; r++)
        cost->noise.work[r] = deviation;
}

/* Times of RUNS runs; the caller frees. */
static double *times(const struct sp_plan *plan, const struct sim_cost *cost, uint64_t seed)
{
    struct sim_sample *samples = sp_calloc(RUNS, sizeof *samples);
    double *time_s = sp_calloc(RUNS, sizeof *time_s);
    struct sp_error err = {0};
    assert_int_equal(sim_repeat(plan, cost, &(struct sim_noise_key){.seed = seed}, RUNS, samples, &err), SP_OK);
    for (int r = 0; r < RUNS; r++)
        time_s[r] = samples[r].time_s;
    free(samples);
    return time_s;
}

/* Of RUNS times, within 4.5 standard errors: of the mean sqrt(v / n), of the variance about v sqrt(2 / n), where the
 * sum is of many. */
static void assert_moments(const double *time_s, double mean, double variance)
{
    double m = gsl_stats_mean(time_s, 1, RUNS), v = gsl_stats_variance(time_s, 1, RUNS);
    if (fabs(m - mean) > 4.5 * sqrt(variance / RUNS) || fabs(v - variance) > 4.5 * variance * sqrt(2.0 / RUNS))
        fail_msg("mean %g, not %g; variance %g, not %g", m, mean, v, variance);
}

/* One device, N minibatches of F = 1 s and B = 2 s that vary by a tenth: N (1 + 2) s, variance N (0.1^2 + 0.2^2). */
static void variances_of_independent_instructions_add_up(void **state)
{
    (void)state;
    enum { N = 50 };
    struct sp_plan *plan = chain_plan("stale", 1, 1, N);
    struct sim_cost *cost = chain_cost(plan, 1, 2);
    add_noise(cost, 0.1);
    double *time_s = times(plan, cost, 1);
    assert_moments(time_s, 3 * N, N * (0.01 + 0.04));
    free(time_s);
    /* And one factor D of the run, of deviation d: E = N 3, E[D^2 S^2] - E^2 = (1 + d^2)(v + E^2) - E^2. */
    cost->noise.run = 0.03;
    time_s = times(plan, cost, 2);
    double E = 3 * N, v = N * 0.05;
    assert_moments(time_s, E, (1 + 0.03 * 0.03) * (v + E * E) - E * E);
    free(time_s);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/*
 * Two devices in sequence, N minibatches: F, post, way, take, F, B, post, way, take, B; only messages vary. Ways 0.5 +
 * 0.25 s by a fifth, posting and taking 0.1 s by a half: N (2 + 2 + 2 (0.75 + 0.2)) s.
 */
static void messages_vary_on_their_way_and_in_hand(void **state)
{
    (void)state;
    enum { N = 40 };
    struct sp_plan *plan = chain_plan("sequential", 2, 1, N);
    struct sim_cost *cost = chain_cost(plan, 1, 1);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = 0.5, .busy_s = 0.25, .bus = -1};
    cost->handoff_s = 0.1;
    cost->noise.message = 0.2;
    cost->noise.handoff = 0.5;
    double *time_s = times(plan, cost, 3);
    assert_moments(time_s, N * 5.9, 2 * N * pow(0.2 * 0.75, 2) + 4 * N * pow(0.5 * 0.1, 2));
    free(time_s);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* 1 - F(x)^2 for lognormal F of mean 1. */
static double beyond_both(double x, void *deviation)
{
    double variance = log1p(pow(*(double *)deviation, 2));
    return 1 - pow(gsl_cdf_lognormal_P(x, -variance / 2, sqrt(variance)), 2);
}

/*
 * Two stages, two microbatches forward, nothing back: X1 on device 0; then X2 there beside Y1 on device 1; then Y2.
 * Mean 1 + E[max] + 1, where E[max of two] is the integral of 1 - F^2.
 */
static void a_pipeline_waits_for_the_later_of_two(void **state)
{
    (void)state;
    double deviation = 0.4, longer, error;
    gsl_integration_workspace *workspace = gsl_integration_workspace_alloc(100);
    struct sp_plan *plan = chain_plan("gpipe", 2, 2, 1);
    struct sim_cost *cost = chain_cost(plan, 1, 0);
    add_noise(cost, deviation);
    gsl_function f = {beyond_both, &deviation};
    assert_int_equal(gsl_integration_qags(&f, 0, 12, 1e-9, 1e-9, 100, workspace, &longer, &error), 0);
    gsl_integration_workspace_free(workspace);
    assert_true(longer > 1.1 && longer < 1.4);
    double *time_s = times(plan, cost, 4);
    double v = gsl_stats_variance(time_s, 1, RUNS);
    assert_true(fabs(gsl_stats_mean(time_s, 1, RUNS) - (2 + longer)) < 4.5 * sqrt(v / RUNS));
    free(time_s);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* A run depends on its key alone; without noise nothing varies. */
static void a_run_can_be_repeated(void **state)
{
    (void)state;
    struct sp_plan *plan = chain_plan("1f1b", 3, 4, 10);
    struct sim_cost *cost = chain_cost(plan, 1, 2);
    struct sim_sample samples[20], again[20];
    struct sim_result result;
    struct sp_error err = {0};
    struct sim_noise_key key = {.seed = 5};
    struct sim_config config = {.noisy = true, .noise = {.seed = 5, .repeat = 7}};
    assert_false(sim_noise_is_known(cost));
    assert_int_equal(sim_repeat(plan, cost, &key, 20, samples, &err), SP_OK);
    for (int r = 0; r < 20; r++)
        assert_true(samples[r].time_s == samples[0].time_s);
    add_noise(cost, 0.2);
    assert_true(sim_noise_is_known(cost));
    assert_int_equal(sim_repeat(plan, cost, &key, 20, samples, &err), SP_OK);
    assert_int_equal(sim_repeat(plan, cost, &key, 20, again, &err), SP_OK);
    assert_memory_equal(samples, again, sizeof samples);
    assert_int_equal(sim_run(plan, cost, &config, &result, &err), SP_OK);
    assert_true(result.time_s == samples[7].time_s && samples[7].time_s != samples[6].time_s);
    sim_result_fini(&result);
    key.stream = 1;
    assert_int_equal(sim_repeat(plan, cost, &key, 20, again, &err), SP_OK);
    for (int r = 0; r < 20; r++)
        assert_true(again[r].time_s != samples[r].time_s);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* Of 39 values the 2nd and the 38th: 36 of the 40 gaps in which a fresh one may fall lie between. */
static void an_interval_is_where_a_fresh_value_lies(void **state)
{
    (void)state;
    double values[39], few[3] = {2, 3, 1};
    for (int v = 0; v < 39; v++)
        values[v] = 38 - v;
    struct sim_interval interval = sim_interval_of(values, 39, 0.9);
    chain_assert_near(interval.low, 1);
    chain_assert_near(interval.median, 19);
    chain_assert_near(interval.high, 37);
    interval = sim_interval_of(few, 3, 0.9);
    assert_true(interval.low == 1 && interval.median == 2 && interval.high == 3);
}

/*
 * Coverage on synthetic truth: 1000 times, the interval of 39 runs and one run of another seed. It lies within 900
 * times, give or take sqrt(1000 * 0.9 * 0.1) = 9.5.
 */
static void nine_in_ten_fresh_runs_lie_within_the_interval(void **state)
{
    (void)state;
    enum { TRIALS = 1000, EACH = 39 };
    struct sp_plan *plan = chain_plan("1f1b-async", 3, 1, 10);
    struct sim_cost *cost = chain_cost(plan, 1, 2);
    struct sim_sample samples[EACH], fresh;
    struct sp_error err = {0};
    int within[2] = {0};
    add_noise(cost, 0.15);
    cost->noise.run = 0.02;
    for (int t = 0; t < TRIALS; t++) {
        double values[2][EACH];
        struct sim_noise_key key = {.seed = 1000 + (uint64_t)t}, other = {.seed = 1000000 + (uint64_t)t};
        assert_int_equal(sim_repeat(plan, cost, &key, EACH, samples, &err), SP_OK);
        assert_int_equal(sim_repeat(plan, cost, &other, 1, &fresh, &err), SP_OK);
        for (int r = 0; r < EACH; r++) {
            values[0][r] = samples[r].time_s;
            values[1][r] = samples[r].utilization;
        }
        double found[2] = {fresh.time_s, fresh.utilization};
        for (int k = 0; k < 2; k++) {
            struct sim_interval interval = sim_interval_of(values[k], EACH, 0.9);
            within[k] += found[k] >= interval.low && found[k] <= interval.high;
        }
    }
    for (int k = 0; k < 2; k++)
        if (within[k] < 900 - 40 || within[k] > 900 + 40)
            fail_msg("%d of %d lie within", within[k], TRIALS);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
}

/* Keys of an experiment: a tenth for every work and message, 3 % for a run, a half longer beside another device. */
static void an_experiment_may_say_how_things_vary_and_slow_each_other(void **state)
{
    (void)state;
    const char *sets[] = {"cost.noise=0.1", "cost.drift=0.03", "cost.slowdown=0.5"};
    struct sp_experiment *e;
    struct sp_network *network;
    struct sp_plan *plan;
    struct sim_cost *cost;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_read("experiments/quickstart.yaml", sets, 3, &e, &err), SP_OK);
    assert_int_equal(sp_experiment_network(e, &network, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
    assert_true(cost->noise.message == 0.1 && cost->noise.handoff == 0.1 && cost->noise.run == 0.03);
    assert_true(cost->contention.class_count == 1 && cost->contention.slowdown[0] == 0.5);
    for (int i = 0; i < plan->stage_count; i++)
        for (int w = 0; w < SIM_WORK_COUNT; w++) {
            int64_t row = sim_cost_row(cost, 0, i, (enum sim_work)w);
            assert_true(cost->noise.work[row] == 0.1 && cost->contention.mix[row] == 1);
        }
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
    sp_experiment_destroy(&e);
}

/*
 * Factors depend on the key alone: all durations a hundred times as long make a run a hundred times as long, up to
 * where one would be longer than the clock bears, which is told. Alone, side by side and over fair links.
 */
static void runs_scale_with_their_durations_until_they_are_refused(void **state)
{
    (void)state;
    enum { REPEATS = 300 };
    for (int kind = 0; kind < 3; kind++) {
        double first_s[REPEATS], scale = 1;
        int refused = 0;
        for (int k = 0; k < 5; k++, scale *= 100) {
            struct sp_plan *plan = chain_plan("stale", 3, 1, 20);
            struct sim_cost *cost = chain_cost(plan, 1e-4 * scale, 2e-4 * scale);
            struct sim_sample samples[REPEATS];
            struct sp_error err = {0};
            add_noise(cost, 10);
            cost->noise.message = cost->noise.run = 10;
            if (kind == 1) {
                sim_cost_add_contention(cost, 1);
                cost->contention.slowdown[0] = 0.5;
                for (int64_t r = 0; r < (int64_t)cost->stage_count * SIM_WORK_COUNT; r++)
                    cost->contention.mix[r] = 1;
            } else if (kind == 2) {
                cost->links = sp_calloc(1, sizeof *cost->links);
                cost->links[0] = (struct sim_link){sp_strdup("bus"), 1e6};
                cost->link_count = 1;
                for (int c = 0; c < plan->channel_count; c++)
                    cost->channels[c] = (struct sim_channel_cost){.bus = -1, .bytes = 100 * scale, .hops = 1};
            }
            sp_status status = sim_repeat(plan, cost, &(struct sim_noise_key){.seed = 5}, REPEATS, samples, &err);
            if (status != SP_OK) {
                assert_int_equal(status, SP_E_INPUT);
                assert_non_null(strstr(err.text, "durations that vary so much"));
                refused++;
            }
            for (int r = 0; r < REPEATS && status == SP_OK; r++) {
                first_s[r] = k == 0 ? samples[r].time_s : first_s[r];
                assert_float_equal(samples[r].time_s / (scale * first_s[r]), 1, 1e-5);
            }
            assert_true(k > 0 || status == SP_OK);
            sp_error_fini(&err);
            sim_cost_destroy(&cost);
            sp_plan_destroy(&plan);
        }
        assert_in_range(refused, 1, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variances_of_independent_instructions_add_up),
        cmocka_unit_test(messages_vary_on_their_way_and_in_hand),
        cmocka_unit_test(a_pipeline_waits_for_the_later_of_two),
        cmocka_unit_test(a_run_can_be_repeated),
        cmocka_unit_test(runs_scale_with_their_durations_until_they_are_refused),
        cmocka_unit_test(an_interval_is_where_a_fresh_value_lies),
        cmocka_unit_test(an_experiment_may_say_how_things_vary_and_slow_each_other),
        cmocka_unit_test(nine_in_ten_fresh_runs_lie_within_the_interval),
    };
    return cmocka_run_group_tests_name("noise", tests, NULL, NULL);
}
