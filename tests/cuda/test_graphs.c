/*
 * What a device is given again and again goes to it as graphs: the same bits as without, made within the first rounds
 * of addresses and never more than allowed, and not at all where layers are timed.
 */
#include "exec/cuda/cuda.h"
#include "tests/cuda/devices.h"
#include "tests/training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static float *train(const struct run_setting *setting, int64_t *count, struct exec_graph_count *graphs)
{
    struct run_setting told = *setting;
    struct run run;
    told.through_host = devices_through_host;
    run_open(&told, &run);
    run_train(&run);
    float *all = run_numbers(&run, count);
    *graphs = exec_trainer_graphs(run.trainer);
    graphs->why = NULL;
    run_close(&run);
    return all;
}

/* By one interpreter without graphs, and by threads with them. */
static struct exec_graph_count graphs_must_not_matter(struct run_setting s)
{
    int64_t count, other;
    struct exec_graph_count none, graphs;
    s.backend = &exec_cuda_backend;
    s.lr = 0.02f;
    s.momentum = 0.9f;
    s.graphs = EXEC_GRAPHS_OFF;
    s.workers = EXEC_WORKERS_ONE;
    float *expected = train(&s, &count, &none);
    assert_int_equal(none.captured + none.replayed + none.refused, 0);
    s.graphs = EXEC_GRAPHS_ON;
    s.workers = EXEC_WORKERS_THREADS;
    devices_delay(3, 50);
    float *found = train(&s, &other, &graphs);
    devices_delay(0, 0);
    assert_int_equal(count, other);
    expect_same_numbers(expected, found, count);
    assert_true(isfinite(found[0]));
    assert_int_equal(graphs.refused, 0);
    free(expected);
    free(found);
    return graphs;
}

static void every_schedule_trains_the_same_bits(void **state)
{
    (void)state;
    for (int devices = 1; devices <= 3; devices++) {
        devices_set(devices);
        devices_reach(devices != 3);
        for (int k = 0; sp_schedules[k] != NULL; k++)
            for (int weights = 0; weights < 2; weights++) {
                int placed[] = {0, 1 % devices, 2 % devices};
                struct run_setting s = {.network = "lenet5",
                                        .cuts = {1, 3},
                                        .cut_count = 2,
                                        .forward_devices = placed,
                                        .schedule = sp_schedules[k]->name,
                                        .weights = (enum sp_weights_policy)weights,
                                        .microbatches = 1 + k % 2,
                                        .minibatches = 24,
                                        .evaluate_every = 8};
                struct exec_graph_count graphs = graphs_must_not_matter(s);
                if (graphs.captured < 6 || graphs.replayed < 3 * graphs.captured / 2)
                    fail_msg("%s on %d devices: %lld graphs, replayed %lld times", s.schedule, devices,
                             (long long)graphs.captured, (long long)graphs.replayed);
            }
    }
    devices_reach(true);
}

/* Batch norm, shortcuts, gradients that are added up; phases; forward and backward on devices of their own. */
static void a_residual_network_in_two_phases_trains_the_same_bits(void **state)
{
    (void)state;
    int forward[] = {0, 1}, backward[] = {2, 1};
    struct run_setting s = {.network = "resnet8", .cuts = {3}, .cut_count = 1, .evaluate_every = 7};
    s.phases[0] = (struct sp_phase){
        .schedule = sp_schedule_find("1f1b-async"), .weights = SP_WEIGHTS_STASH, .microbatches = 1, .minibatches = 10};
    s.phases[1] = (struct sp_phase){.schedule = sp_schedule_find("gpipe"), .microbatches = 2, .minibatches = 6};
    s.forward_devices = forward;
    s.backward_devices = backward;
    devices_set(3);
    assert_true(graphs_must_not_matter(s).replayed > 0);
}

/* Masks differ each time, so they are drawn outside of graphs: a graph before, two between, and one behind them. */
static void dropout_stays_random(void **state)
{
    (void)state;
    char path[] = "/tmp/stalepipe-dropout-XXXXXX.yaml";
    int file = mkstemps(path, 5);
    static const char text[] = "input: [3, 8, 8]\nclasses: 10\nlayers:\n"
                               "  - {type: convolution, filters: 4, kernel: 3, pad: 1}\n"
                               "  - {type: relu}\n"
                               "  - {type: dropout, rate: 0.3}\n"
                               "  - {type: flatten}\n"
                               "  - {type: fully-connected, outputs: 12}\n"
                               "  - {type: relu}\n"
                               "  - {type: dropout, rate: 0.5}\n"
                               "  - {type: fully-connected, outputs: 10}\n"
                               "  - {type: softmax-cross-entropy}\n";
    assert_int_equal(write(file, text, sizeof text - 1), sizeof text - 1);
    close(file);
    devices_set(1);
    struct run_setting s = {.network = path, .minibatches = 9};
    struct exec_graph_count graphs = graphs_must_not_matter(s);
    /* F: three rows, the last one with the loss, whose result goes to two staging entries in turn; B: one.
     * 1 + 1 + 2 + 1 graphs. Replayed in minibatches 2 to 9, and the loss's from the second time of each: 3 to 9. */
    assert_int_equal(graphs.captured, 5);
    assert_int_equal(graphs.replayed, 8 + 8 + 7 + 8);
    unlink(path);
}

/*
 * K = 1 on two devices, stale: three minibatches in flight at stage 0, one at stage 1. Stage 0: F uses 3 slots, B 3.
 * Stage 1: F reads one of 3 arrivals and leaves its score in one of 2 staging entries, 6 graphs; B hands its gradient
 * on from its own slot, but reads the arrival again: 3. So 15 graphs, all of them after 2 * 6 minibatches.
 */
static void no_graph_is_made_after_two_rounds(void **state)
{
    (void)state;
    devices_set(2);
    int64_t made[2];
    for (int longer = 0; longer < 2; longer++) {
        struct run_setting s = {
            .network = "lenet5", .cuts = {2}, .cut_count = 1, .schedule = "stale", .minibatches = longer ? 40 : 12};
        struct exec_graph_count graphs = graphs_must_not_matter(s);
        made[longer] = graphs.captured;
        assert_int_equal(graphs.captured, 15);
        assert_int_equal(graphs.replayed, (longer ? 40 : 12) * 4 - 15);
    }
    assert_int_equal(made[0], made[1]);
}

/* Two graphs of each pass are kept, of three, six and three: the other minibatches go without. */
static void no_more_graphs_are_kept_than_allowed(void **state)
{
    (void)state;
    devices_set(2);
    struct run_setting s = {
        .network = "lenet5", .cuts = {2}, .cut_count = 1, .schedule = "stale", .graphs_kept = 2, .minibatches = 30};
    struct exec_graph_count graphs = graphs_must_not_matter(s);
    assert_int_equal(graphs.captured, 2 * 4);
    /* Stage 0 F, B and stage 1 B: minibatches 1 and 2 of every 3, 20 of 30, but for the first 2. Stage 1 F: 10 of 30.
     */
    assert_int_equal(graphs.replayed, 3 * 18 + 8);
}

/* `auto` leaves short bodies alone: LeNet-5 in five stages has no more than four steps in any. */
static void short_bodies_are_not_worth_a_graph(void **state)
{
    (void)state;
    int64_t count;
    struct exec_graph_count graphs;
    devices_set(1);
    struct run_setting s = {.network = "lenet5",
                            .backend = &exec_cuda_backend,
                            .cuts = {1, 2, 3, 4},
                            .cut_count = 4,
                            .schedule = "sequential",
                            .minibatches = 6,
                            .lr = 0.01f};
    free(train(&s, &count, &graphs));
    assert_int_equal(graphs.captured, 0);
    s.cut_count = 0;
    free(train(&s, &count, &graphs));
    assert_int_equal(graphs.captured, 3); /* F: two staging entries; B */
}

static void nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(devices_leaks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropout_stays_random),
        cmocka_unit_test(no_graph_is_made_after_two_rounds),
        cmocka_unit_test(no_more_graphs_are_kept_than_allowed),
        cmocka_unit_test(short_bodies_are_not_worth_a_graph),
        cmocka_unit_test(a_residual_network_in_two_phases_trains_the_same_bits),
        cmocka_unit_test(every_schedule_trains_the_same_bits),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests_name("cuda graphs", tests, NULL, NULL);
}
