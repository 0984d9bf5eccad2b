/*
 * The plans that follow from experiments.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "tests/experiments.h"
#include "tests/folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* 5 epochs of 60,000 in minibatches of 128: 2343.75, so 2344. Held-out: ceil(10000 / 128) = 79 microbatches, or of 32
 * samples 313. */
static void epochs_become_minibatches(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2]}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->minibatches, 2344);
    assert_int_equal(b.plan->phases[0].evaluate_minibatches, 79);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2], microbatches: 4}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->phases[0].evaluate_minibatches, 313);
    built_fini(&b);
    b = built_right("train: {iterations: 100}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->minibatches, 100);
    built_fini(&b);
}

/* One evaluation an epoch, however the batch divides the samples; whoever trains for less than that has one too. */
static void every_epoch_is_evaluated_the_last_too(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t evaluations;
    } cases[] = {
        {"train: {epochs: 1}\n", 1},
        {"train: {epochs: 5}\n", 5},
        {"train: {epochs: 5, batch: 100}\n", 5},
        {"train: {epochs: 30, batch: 7}\n", 30},
        {"train: {epochs: 3, batch: 127}\n", 3},
        {"train: {iterations: 20}\n", 1},
        {"train: {iterations: 20, evaluate_every: 10}\n", 2},
        {"train: {iterations: 20, evaluate_every: -1}\n", 0},
        {"phases: [{epochs: 2}, {epochs: 1, schedule: sequential}]\n", 3},
        {"data: {set: synthetic, samples: 3125}\ntrain: {batch: 8}\nphases: [{epochs: 2}, {epochs: 1}]\n", 3},
        {"data: {set: synthetic, samples: 16}\ntrain: {batch: 16, iterations: 20, evaluate_every: 5}\n", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct built b = built_right(cases[i].text, SP_PLAN_TRAIN);
        if (sp_plan_evaluations(b.plan) != cases[i].evaluations)
            fail_msg("%lld evaluations for %s", (long long)sp_plan_evaluations(b.plan), cases[i].text);
        built_fini(&b);
    }
}

/* After the minibatch with a pass's last sample; the last of as many as there are passes, to the nearest, at the end.
 */
static void evaluations_come_at_the_ends_of_passes(void **state)
{
    (void)state;
    static const char *const lengths[] = {"epochs: 4", "iterations: 43", "iterations: 20"};
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
        for (int batch = 1; batch <= 30; batch++) {
            char text[128];
            snprintf(text, sizeof text, "data: {set: synthetic, samples: 21}\ntrain: {%s, batch: %d}\n", lengths[n],
                     batch);
            struct built b = built_right(text, SP_PLAN_TRAIN);
            int64_t total = b.plan->minibatches, all = batch >= 21 ? total : llround((double)total * batch / 21),
                    seen = 0;
            for (int64_t m = 0; m < total; m++) {
                bool passed = (m + 1) * batch / 21 > m * batch / 21,
                     expected = m + 1 == total || (passed && seen + 1 < all);
                seen += expected;
                if (sp_plan_is_evaluated(b.plan, m) != expected)
                    fail_msg("%s: minibatch %lld", text, (long long)m);
            }
            built_fini(&b);
        }
}

static void simulations_are_as_long_as_asked_and_do_not_evaluate(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2]}\nsim: {minibatches: 30}\n", SP_PLAN_SIMULATE);
    assert_int_equal(b.plan->minibatches, 30);
    assert_int_equal(sp_plan_evaluations(b.plan), 0);
    built_fini(&b);
    /* 20 + 10 epochs: two thirds and one third */
    b = built_right("phases: [{epochs: 20}, {epochs: 10, schedule: sequential}]\nsim: {minibatches: 30}\n",
                    SP_PLAN_SIMULATE);
    assert_int_equal(b.plan->phase_count, 2);
    assert_int_equal(b.plan->phases[0].minibatches, 20);
    assert_int_equal(b.plan->phases[1].first_minibatch, 20);
    assert_int_equal(b.plan->minibatches, 30);
    built_fini(&b);
}

/* 2 cuts, P = 3. split: forward i on i, backward on 2K - i; the last stage's two are device K = 2. */
static void placements_by_name_and_by_list(void **state)
{
    (void)state;
    static const struct {
        const char *placement;
        int forward[3], backward[3], devices;
    } cases[] = {
        {"auto", {0, 1, 2}, {0, 1, 2}, 3},      {"colocated", {0, 1, 2}, {0, 1, 2}, 3},
        {"split", {0, 1, 2}, {4, 3, 2}, 5},     {"one", {0, 0, 0}, {0, 0, 0}, 1},
        {"[1, 0, 1]", {1, 0, 1}, {1, 0, 1}, 2}, {"{forward: [0, 1, 1], backward: [0, 2, 1]}", {0, 1, 1}, {0, 2, 1}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = sp_format("pipeline: {cuts: [1, 3], placement: %s}\n", cases[i].placement);
        struct built b = built_right(text, SP_PLAN_TRAIN);
        assert_int_equal(b.plan->device_count, cases[i].devices);
        assert_int_equal(b.plan->stage_count, 3);
        for (int s = 0; s < 3; s++) {
            assert_int_equal(b.plan->stages[s].forward_device, cases[i].forward[s]);
            assert_int_equal(b.plan->stages[s].backward_device, cases[i].backward[s]);
        }
        built_fini(&b);
        free(text);
    }
}

static void phases_and_schedules_set_what_the_plan_does(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2], schedule: 1f1b-async, microbatches: 2}\n", SP_PLAN_TRAIN);
    assert_ptr_equal(b.plan->phases[0].schedule, sp_schedule_find("1f1b-async"));
    assert_int_equal(b.plan->phases[0].weights, SP_WEIGHTS_STASH); /* PipeDream's default */
    assert_int_equal(b.plan->phases[0].microbatches, 2);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2], schedule: 1f1b-async, weights: latest}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->phases[0].weights, SP_WEIGHTS_LATEST);
    built_fini(&b);
    b = built_right("pipeline: {microbatches: 4}\n"
                    "phases: [{schedule: gpipe, iterations: 7}, {iterations: 3, microbatches: 1}]\n",
                    SP_PLAN_TRAIN);
    assert_int_equal(b.plan->phase_count, 2);
    assert_ptr_equal(b.plan->phases[0].schedule, sp_schedule_find("gpipe"));
    assert_int_equal(b.plan->phases[0].microbatches, 4);
    assert_ptr_equal(b.plan->phases[1].schedule, sp_schedule_find("stale"));
    assert_int_equal(b.plan->phases[1].microbatches, 1);
    assert_int_equal(b.plan->phases[1].first_minibatch, 7);
    built_fini(&b);
}

static void memory_is_shared_on_processors_only(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2]}\n", SP_PLAN_TRAIN);
    assert_true(b.plan->shared_memory);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2]}\ndevices: {backend: ref}\n", SP_PLAN_TRAIN);
    assert_true(b.plan->shared_memory);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2]}\ndevices: {backend: cuda}\n", SP_PLAN_TRAIN);
    assert_false(b.plan->shared_memory);
    built_fini(&b);
}

static void the_baseline_is_sequential_on_one_device(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [1, 3], placement: split, microbatches: 4}\n", SP_PLAN_TRAIN);
    struct sp_plan *baseline = NULL;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_baseline(b.experiment, b.network, 17, &baseline, &err), SP_OK);
    assert_int_equal(baseline->device_count, 1);
    assert_int_equal(baseline->stage_count, 3);
    assert_int_equal(baseline->stages[1].last_weight_layer, 3);
    assert_int_equal(baseline->minibatches, 17);
    assert_ptr_equal(baseline->phases[0].schedule, sp_schedule_find("sequential"));
    assert_int_equal(sp_plan_evaluations(baseline), 0);
    sp_plan_destroy(&baseline);
    built_fini(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_become_minibatches),
        cmocka_unit_test(every_epoch_is_evaluated_the_last_too),
        cmocka_unit_test(evaluations_come_at_the_ends_of_passes),
        cmocka_unit_test(simulations_are_as_long_as_asked_and_do_not_evaluate),
        cmocka_unit_test(placements_by_name_and_by_list),
        cmocka_unit_test(phases_and_schedules_set_what_the_plan_does),
        cmocka_unit_test(memory_is_shared_on_processors_only),
        cmocka_unit_test(the_baseline_is_sequential_on_one_device),
    };
    return cmocka_run_group_tests_name("experiment: plans", tests, test_folder_make, test_folder_remove);
}
