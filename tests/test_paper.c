/*
 * The paper's table of speedups: one set of device constants gives all four within 5 % of what is published.
 */
#include "common/alloc.h"
#include "common/sweep.h"
#include "sim/simulate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double simulated_s(const struct sp_experiment *e, const struct sp_plan *plan)
{
    struct sim_cost *cost;
    struct sim_result result;
    struct sp_error err = {0};
    assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
    assert_int_equal(sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 0}, &result, &err), SP_OK);
    double time_s = result.time_s;
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    return time_s;
}

static double speedup(struct sp_experiment *e)
{
    struct sp_network *net;
    struct sp_plan *plan, *baseline;
    struct sp_error err = {0};
    e->train.evaluate_every = -1;
    assert_int_equal(sp_experiment_network(e, &net, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, net, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    assert_int_equal(sp_experiment_baseline(e, net, plan->minibatches, &baseline, &err), SP_OK);
    double ratio = simulated_s(e, baseline) / simulated_s(e, plan);
    sp_plan_destroy(&plan);
    sp_plan_destroy(&baseline);
    sp_network_destroy(&net);
    return ratio;
}

static void near(const char *label, double value, double published)
{
    if (!(fabs(value / published - 1) <= 0.05))
        fail_msg("%s: %.3f for %.2f", label, value, published);
}

/* Published hybrid times are the means of pipelined and non-pipelined ones. Rows stand as non-pipelined, pipelined,
 * hybrid. */
static void speedups_are_within_5_percent_of_those_published(void **state)
{
    (void)state;
    struct sp_experiment *base, *e;
    struct sp_sweep *sweep;
    struct sp_error err = {0};
    double pipelined = NAN;
    assert_int_equal(sp_experiment_read("experiments/paper/table5.yaml", NULL, 0, &base, &err), SP_OK);
    assert_int_equal(sp_sweep_create(base, &sweep, &err), SP_OK);
    assert_int_equal(sweep->point_count, 12);
    for (int p = 0; p < sweep->point_count; p++) {
        assert_int_equal(sp_sweep_experiment(sweep, p, 0, &e, &err), SP_OK);
        double published = e->published[SP_PUBLISHED_VALUE][SP_METRIC_SPEEDUP];
        assert_true(isnan(published) == (p % 3 == 0));
        if (p % 3 == 1)
            near(e->label, pipelined = speedup(e), published);
        else if (p % 3 == 2)
            near(e->label, 2 / (1 + 1 / pipelined), published);
        sp_experiment_destroy(&e);
    }
    sp_sweep_destroy(&sweep);
    sp_experiment_destroy(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speedups_are_within_5_percent_of_those_published),
    };
    return cmocka_run_group_tests_name("paper", tests, NULL, NULL);
}
