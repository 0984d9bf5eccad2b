/*
 * Searches under limits and for each objective.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "exec/sizes.h"
#include "exec/trainer.h"
#include "sim/cost.h"
#include "tests/searches.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Limits hold for everything that is listed, and what cannot be is told. */
static void limits_hold(void **state)
{
    (void)state;
    static const char *const limits[] = {"plan.staleness=1", "plan.stale_weights=5", "plan.memory=20e6"};
    for (int l = 0; l < 3; l++) {
        const char *sets[] = {"network=vgg16", "data.set=cifar10", "devices.count=4", limits[l], "cost.device=v100"};
        struct search s;
        search_plain(sets, 5, &s);
        assert_int_equal(s.status, l == 2 ? SP_E_INPUT : SP_OK); /* VGG-16's weights alone take more than 20 MB */
        for (int c = 0; c < s.found.count && s.status == SP_OK; c++) {
            assert_true(l != 0 || s.found.candidates[c].staleness <= 1);
            assert_true(l != 1 || s.found.candidates[c].stale_weight_fraction <= 0.05);
        }
        if (l == 2) {
            /* What the least takes is a limit that can be met. */
            char *enough = sp_format("plan.memory=%.0f", search_least_bytes(&s));
            sets[3] = enough;
            search_fini(&s);
            search_well(sets, 5, &s);
            free(enough);
        }
        search_fini(&s);
    }
}

/*
 * Two layers of 10 + 20 ms each, a single minibatch: 60 ms, also in a pipeline that does not flush. In two stages and M
 * parts F and B take M + 1 parts each: (10 + 20) (1 + 1 / 16) = 31.875 ms for 16, the most that are tried.
 */
static void the_time_of_a_short_training_has_fill_and_drain(void **state)
{
    (void)state;
    struct place place;
    struct search s;
    place_init(&place, ".csv");
    place_write(place.network, "name,forward_ms,backward_ms,activation_bytes,parameter_bytes\n"
                               "a,10,20,1000,1000\nb,10,20,1000,1000\n");
    const char *sets[] = {place.network_set, "devices.count=2", "plan.ignore_transfers=true", "plan.objective=time",
                          "train.iterations=1"};
    search_well(sets, 5, &s);
    assert_float_equal(s.found.candidates[0].time_s, 0.031875, 1e-9);
    assert_int_equal(s.found.candidates[0].microbatches, 16);
    search_fini(&s);
    place_fini(&place);
}

/* Seconds of the best plan in the steady state, or of the whole training; INFINITY: none is within the limits. */
static double best_s(const char *const *sets, int count, bool whole)
{
    struct search s;
    search_plain(sets, count, &s);
    double seconds = s.status != SP_OK ? INFINITY
                     : whole           ? s.found.candidates[0].time_s
                                       : s.found.candidates[0].minibatch_s;
    search_fini(&s);
    return seconds;
}

/* What is best within a limit of memory, or for a short training, is the best that any schedule does in any number of
 * parts: also those that do not flush, which have less in flight then. */
static void parts_are_tried_wherever_they_may_help(void **state)
{
    (void)state;
    static const char *const cases[] = {"plan.objective=time", "plan.memory=1.8e6", "plan.memory=2.2e6",
                                        "plan.memory=2.6e6", "plan.memory=3e6"};
    for (int c = 0; c < 5; c++) {
        char schedule[64], parts[64];
        const char *sets[] = {"network=lenet5",     "devices.count=3", "train.batch=32", "cost.device=v100",
                              "train.iterations=3", cases[c],          schedule,         parts};
        double best = best_s(sets, 6, c == 0), least = INFINITY;
        for (int s = 0; sp_schedules[s] != NULL; s++)
            for (int M = 1; M <= 16; M *= 2) {
                snprintf(schedule, sizeof schedule, "pipeline.schedule=%s", sp_schedules[s]->name);
                snprintf(parts, sizeof parts, "pipeline.microbatches=%d", M);
                least = fmin(least, best_s(sets, 8, c == 0));
            }
        assert_true(isfinite(least));
        assert_float_equal(best, least, 1e-9 * least);
    }
    const char *sets[] = {"network=lenet5", "devices.count=3",       "train.batch=32",         "cost.device=v100",
                          "plan.keep=0.5",  "plan.objective=memory", "pipeline.microbatches=1"};
    struct search open, whole;
    search_well(sets, 6, &open);
    search_well(sets, 7, &whole);
    assert_true(open.found.candidates[0].peak_bytes < whole.found.candidates[0].peak_bytes);
    search_fini(&open);
    search_fini(&whole);
}

/* Of plans that are equal in all that was asked for, the one whose fewer weights are stale comes first. */
static void of_equal_plans_the_less_stale_comes_first(void **state)
{
    (void)state;
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=4", "cost.device=v100",
                          "plan.objective=memory"};
    struct search s;
    int equal = 0;
    search_well(sets, 5, &s);
    for (int c = 0; c + 1 < s.found.count; c++) {
        const struct sim_candidate *a = &s.found.candidates[c], *b = a + 1;
        if (a->peak_bytes != b->peak_bytes || fabs(a->minibatch_s / b->minibatch_s - 1) > 1e-12 ||
            a->staleness != b->staleness)
            continue;
        assert_true(a->stale_weight_fraction <= b->stale_weight_fraction);
        equal += a->stale_weight_fraction < b->stale_weight_fraction;
    }
    assert_true(equal > 0);
    search_fini(&s);
}

/* A diamond of 5 nodes has 10 boundaries, and 64 devices are more than either. */
static void limits_of_a_small_graph_on_many_devices(void **state)
{
    (void)state;
    struct place place;
    struct search s;
    place_init(&place, ".csv");
    place_write(place.network, "name,forward_ms,backward_ms,activation_bytes,parameter_bytes,inputs\n"
                               "a,1,2,1000,1000,\nb,2,2,1000,1000,a\nc,1,3,1000,1000,a\nd,3,2,1000,1000,a\n"
                               "e,1,1,1000,1000,b c d\n");
    const char *sets[] = {place.network_set, "devices.count=64", "plan.memory=1"};
    search_plain(sets, 3, &s);
    assert_true(search_least_bytes(&s) > 1);
    search_fini(&s);
    place_fini(&place);
}

/* Where no stage can hold what it must, no plan is made to find that out: 1,600 lists of plans are closed unseen. */
static void an_impossible_limit_is_refused_without_plans(void **state)
{
    (void)state;
    const char *sets[] = {"network=resnet362", "data.set=cifar10", "devices.count=64", "plan.memory=1"};
    struct search s;
    search_plain(sets, 4, &s);
    assert_true(search_least_bytes(&s) > 1e6);
    assert_int_equal(s.found.cuttings, 0);
    assert_non_null(strstr(s.err.text, "(plan.staleness; 0)"));
    search_fini(&s);
}

/* Keys that other commands mind and no plan can have are told, not passed over. */
static void what_cannot_be_planned_is_told(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"phases=[{schedule: stale, epochs: 2}, {schedule: sequential, epochs: 1}]",
         "phases: the planner cuts for one"},
        {"pipeline.placement=one", "pipeline.placement: one does not go with cuts: auto"},
        {"pipeline.placement=[0, 0]", "pipeline.placement: a list does not go with cuts: auto"},
        {"cost={model: table, stages: [{forward: 1, backward: 1}]}", "cost.model: a table has times of given stages"},
        {"plan.stages=3", "plan.stages: 3 stages are more than 2 devices"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const char *sets[] = {"network=lenet5", "devices.count=2", cases[c][0]};
        struct search s;
        search_plain(sets, 3, &s);
        assert_int_equal(s.status, SP_E_INPUT);
        char *start = sp_format("--set %s: %s", cases[c][0], cases[c][1]);
        if (strncmp(s.err.text, start, strlen(start)) != 0)
            fail_msg("expected %s, found %s", start, s.err.text);
        free(start);
        search_fini(&s);
    }
}

/* The pipeline's placement goes before the plan's. */
static void a_placement_is_kept(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"pipeline.placement=split", "plan.placement=colocated"},
                                           {"pipeline.placement=colocated", "plan.placement=any"}};
    for (int k = 0; k < 2; k++) {
        const char *sets[] = {"network=lenet5", "devices.count=5", "plan.stages=3", cases[k][0], cases[k][1]};
        struct search s;
        search_well(sets, 5, &s);
        for (int c = 0; c < s.found.count; c++)
            assert_int_equal(s.found.candidates[c].split, k == 0);
        search_fini(&s);
    }
}

/* A backend that wants 50 MB to work in. */
static size_t much_scratch(const void *self, int layer, enum sp_pass pass, int batch)
{
    (void)self, (void)layer, (void)pass, (void)batch;
    return 50000000;
}

static sp_status large_memory(void *self, const struct sp_plan *plan, struct sp_memory_plan **out, struct sp_error *err)
{
    (void)self;
    struct sp_footprint large = sp_footprint_plain(plan->network);
    large.scratch = much_scratch;
    return sp_memory_plan_create(plan, &large, out, err);
}

/* What is said to be the least is found where it is the limit, though the fastest that fit without the 50 MB do not. */
static void the_leanest_is_found(void **state)
{
    (void)state;
    const struct sim_memory_model large = {large_memory, NULL, false};
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=4", "plan.memory=1"};
    struct search s;
    search_by(&large, sets, 4, &s);
    double least = search_least_bytes(&s);
    char *enough = sp_format("plan.memory=%.0f", least);
    sets[3] = enough;
    search_fini(&s);
    search_by(&large, sets, 4, &s);
    assert_int_equal(s.status, SP_OK);
    assert_true((double)s.found.candidates[0].peak_bytes <= least);
    assert_non_null(strstr(s.found.doubt, "plain float32"));
    free(enough);
    search_fini(&s);
}

static sp_status backend_memory(void *self, const struct sp_plan *plan, struct sp_memory_plan **out,
                                struct sp_error *err)
{
    return exec_sizes_plan(self, plan, out, err);
}

static size_t fullest(const struct sp_memory_plan *memory)
{
    size_t most = 0;
    for (int d = 0; d < memory->plan->device_count; d++)
        most = sp_memory_device_bytes(memory, d) > most ? sp_memory_device_bytes(memory, d) : most;
    return most;
}

/* The bytes of a candidate's fullest device, as a run by itself would take them. */
static size_t bytes_of_run(const char *const *sets, int count, const struct sp_network *network,
                           const struct sim_candidate *candidate)
{
    char path[] = "/tmp/stalepipe-experiment-XXXXXX";
    struct sp_experiment *experiment;
    struct sp_plan *plan;
    struct sp_memory_plan *memory;
    struct sp_error err = {0};
    close(mkstemp(path));
    assert_int_equal(sp_experiment_read(path, sets, count, &experiment, &err), SP_OK);
    sim_candidate_apply(candidate, experiment);
    assert_int_equal(sp_experiment_plan(experiment, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    const struct exec_backend_config config = {.threads = 1};
    assert_int_equal(exec_plan_memory(plan, exec_backend_find(experiment->devices.backend), &config, &memory, &err),
                     SP_OK);
    size_t bytes = fullest(memory);
    sp_memory_plan_destroy(&memory);
    sp_plan_destroy(&plan);
    sp_experiment_destroy(&experiment);
    unlink(path);
    return bytes;
}

/* The bytes that plans are ranked by and shown with are those that they take in a run, by the backend's own sizes. */
static void plans_are_ranked_by_the_backends_bytes(void **state)
{
    (void)state;
    static const char *const networks[] = {"network=lenet5", "network=resnet8"};
    static const char *const backends[] = {"devices.backend=cpu", "devices.backend=ref"};
    for (int n = 0; n < 4; n++) {
        const char *sets[] = {networks[n / 2],         n < 2 ? "data.set=mnist" : "data.set=cifar10",
                              backends[n % 2],         "devices.count=3",
                              "plan.objective=memory", "plan.keep=0.5",
                              "train.batch=32"};
        const struct exec_backend_config config = {.threads = 1};
        struct exec_sizes *sizes = exec_sizes_create(exec_backend_find(backends[n % 2] + 16), &config);
        const struct sim_memory_model memory = {backend_memory, sizes, false};
        struct search s;
        search_by(&memory, sets, 7, &s);
        assert_int_equal(s.status, SP_OK);
        assert_int_equal(s.found.count, 10);
        for (int c = 0; c < s.found.count; c++) {
            const struct sim_candidate *one = &s.found.candidates[c];
            assert_int_equal(one->peak_bytes, bytes_of_run(sets, 7, s.network, one));
            assert_true(one->minibatch_s > s.found.candidates[0].minibatch_s ||
                        one->peak_bytes >= s.found.candidates[0].peak_bytes);
        }
        exec_sizes_destroy(&sizes);
        search_fini(&s);
    }
}

/* Work takes 4 times as long beside another device, 10 times beside three: one device alone is the fastest. Two devices
 * at work do half a second's work a second, so no plan takes less than all of the work on one, and that is known. */
static void one_device_is_found_where_devices_slow_each_other(void **state)
{
    (void)state;
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=4", "cost.device=cpu",
                          "cost.slowdown=3"};
    struct search s;
    search_well(sets, 5, &s);
    assert_int_equal(s.found.candidates[0].device_count, 1);
    assert_null(s.found.doubt);
    assert_true(s.found.simulated < 20);
    search_fini(&s);
}

/* Least staleness at 95 % of the best throughput: what is chosen is fast enough, and no listed plan that is, is
 * fresher. */
static void least_staleness_keeps_its_throughput(void **state)
{
    (void)state;
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=3", "cost.device=v100",
                          "plan.objective=throughput"};
    struct search fastest, freshest;
    search_well(sets, 5, &fastest);
    sets[4] = "plan.objective=staleness";
    search_well(sets, 5, &freshest);
    double best_s = fastest.found.candidates[0].minibatch_s;
    assert_true(freshest.found.candidates[0].minibatch_s <= best_s / 0.95 * (1 + 1e-9));
    assert_true(freshest.found.candidates[0].staleness <= fastest.found.candidates[0].staleness);
    search_fini(&fastest);
    search_fini(&freshest);
}

/* A search prices many plans by files that it read once: the device's may be gone by then. */
static void a_source_reads_its_files_once(void **state)
{
    (void)state;
    struct place place;
    place_init(&place, "");
    char path[] = "/tmp/stalepipe-experiment-XXXXXX";
    close(mkstemp(path));
    const char *sets[] = {"pipeline.cuts=[2]", place.device_set};
    struct sp_experiment *experiment;
    struct sp_network *network;
    struct sp_plan *plan;
    struct sim_source source;
    struct sim_cost *first, *second;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_read(path, sets, 2, &experiment, &err), SP_OK);
    assert_int_equal(sp_experiment_network(experiment, &network, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(experiment, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    assert_int_equal(sim_source_open(experiment, &source, &err), SP_OK);
    assert_int_equal(sim_cost_create(experiment, plan, NULL, &first, &err), SP_OK);
    unlink(place.device);
    assert_int_equal(sim_source_cost(&source, experiment, plan, NULL, &second, &err), SP_OK);
    assert_true(first->stages[1].backward_s > 0);
    assert_memory_equal(first->stages, second->stages, 2 * sizeof *first->stages);
    sim_cost_destroy(&first);
    assert_int_equal(sim_cost_create(experiment, plan, NULL, &first, &err), SP_E_INPUT);
    sp_error_fini(&err);
    sim_cost_destroy(&second);
    sim_source_close(&source);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
    sp_experiment_destroy(&experiment);
    unlink(path);
    place_fini(&place);
}

/* Whatever is simulated without its messages says so; what has none does not. */
static void transfers_are_not_ignored_silently(void **state)
{
    (void)state;
    static const char *const cuts[] = {"pipeline.cuts=[2]", "pipeline.cuts=[]", "pipeline.cuts=[2]"};
    for (int k = 0; k < 3; k++) {
        const char *sets[] = {cuts[k], "devices.backend=cuda", "cost.device=v100",
                              k < 2 ? "plan.ignore_transfers=true" : "plan.ignore_transfers=false"};
        char path[] = "/tmp/stalepipe-experiment-XXXXXX";
        struct sp_experiment *experiment;
        struct sp_network *network;
        struct sp_plan *plan;
        struct sim_cost *cost;
        struct sp_error err = {0};
        int said = 0;
        close(mkstemp(path));
        assert_int_equal(sp_experiment_read(path, sets, 4, &experiment, &err), SP_OK);
        assert_int_equal(sp_experiment_network(experiment, &network, &err), SP_OK);
        assert_int_equal(sp_experiment_plan(experiment, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
        assert_int_equal(sim_cost_create(experiment, plan, NULL, &cost, &err), SP_OK);
        for (int n = 0; n < cost->note_count; n++)
            said += strcmp(cost->notes[n].text, "messages take no time, as plan.ignore_transfers says") == 0;
        assert_int_equal(said, k == 0);
        for (int c = 0; c < cost->channel_count; c++)
            assert_true((cost->channels[c].latency_s > 0) == (k == 2));
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
        sp_network_destroy(&network);
        sp_experiment_destroy(&experiment);
        unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(the_time_of_a_short_training_has_fill_and_drain),
        cmocka_unit_test(parts_are_tried_wherever_they_may_help),
        cmocka_unit_test(of_equal_plans_the_less_stale_comes_first),
        cmocka_unit_test(limits_of_a_small_graph_on_many_devices),
        cmocka_unit_test(an_impossible_limit_is_refused_without_plans),
        cmocka_unit_test(what_cannot_be_planned_is_told),
        cmocka_unit_test(a_placement_is_kept),
        cmocka_unit_test(the_leanest_is_found),
        cmocka_unit_test(plans_are_ranked_by_the_backends_bytes),
        cmocka_unit_test(one_device_is_found_where_devices_slow_each_other),
        cmocka_unit_test(least_staleness_keeps_its_throughput),
        cmocka_unit_test(a_source_reads_its_files_once),
        cmocka_unit_test(transfers_are_not_ignored_silently),
    };
    return cmocka_run_group_tests_name("planner: limits and objectives", tests, NULL, NULL);
}
