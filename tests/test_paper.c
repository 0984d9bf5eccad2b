/*
 * The paper's table of speedups: one set of device constants gives all four within 5 %, and the hybrids.
 */
#include "common/alloc.h"
#include "common/experiment.h"
#include "sim/simulate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

static double speedup(const char *network, const char *cuts)
{
    const char *sets[] = {network, cuts};
    struct sp_experiment *e;
    struct sp_network *net;
    struct sp_plan *plan, *baseline;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_read("experiments/paper-table5.yaml", sets, 2, &e, &err), SP_OK);
    assert_int_equal(sp_experiment_network(e, &net, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, net, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    assert_int_equal(sp_experiment_baseline(e, net, plan->minibatches, &baseline, &err), SP_OK);
    double ratio = simulated_s(e, baseline) / simulated_s(e, plan);
    sp_plan_destroy(&plan);
    sp_plan_destroy(&baseline);
    sp_network_destroy(&net);
    sp_experiment_destroy(&e);
    return ratio;
}

static void speedups_are_within_5_percent_of_those_published(void **state)
{
    (void)state;
    static const struct {
        const char *network, *cuts;
        double pipelined, hybrid;
    } rows[] = {
        {"network=resnet56", "pipeline.cuts=[19]", 1.65, 1.24},
        {"network=resnet110", "pipeline.cuts=[37]", 1.73, 1.26},
        {"network=resnet224", "pipeline.cuts=[75]", 1.81, 1.28},
        {"network=resnet362", "pipeline.cuts=[121]", 1.82, 1.29},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double pipelined = speedup(rows[r].network, rows[r].cuts), hybrid = 2 / (1 + 1 / pipelined);
        if (fabs(pipelined / rows[r].pipelined - 1) > 0.05 || fabs(hybrid / rows[r].hybrid - 1) > 0.05)
            fail_msg("%s: %.3f for %.2f, hybrid %.3f for %.2f", rows[r].network, pipelined, rows[r].pipelined, hybrid,
                     rows[r].hybrid);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speedups_are_within_5_percent_of_those_published),
    };
    return cmocka_run_group_tests_name("paper", tests, NULL, NULL);
}
