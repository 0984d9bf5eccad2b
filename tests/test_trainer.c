/*
 * The law of the executor, staleness and memory as planned, gradients of whole networks.
 */
#include "common/analysis.h"
#include "tests/training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct exec_backend *backend_at(int b)
{
    return exec_backends[b];
}

static void expect_same(const float *a, const float *b, int64_t count, const char *what)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s: parameter %lld is %.9g and %.9g", what, (long long)i, (double)a[i], (double)b[i]);
}

/* Every schedule with cuts, weights, microbatches, phases and placement at random: as many threads as devices, and one
 * thread for all; and both with devices that copy what they send. */
static void threads_and_one_interpreter_train_the_same_weights(void **state)
{
    (void)state;
    static const char *const networks[] = {"lenet5", "resnet8"};
    static const int layers[] = {5, 8};
    uint32_t random = 11;
    int schedule_count = 0;
    while (sp_schedules[schedule_count] != NULL)
        schedule_count++;
    for (int b = 0; backend_at(b) != NULL; b++)
        for (int round = 0; round < 40; round++) {
            struct run_setting s = {.network = networks[round % 2],
                                    .backend = backend_at(b),
                                    .lr = 0.05f,
                                    .momentum = 0.9f,
                                    .nesterov = pick(&random, 2) == 0,
                                    .evaluate_every = pick(&random, 2) * 3};
            s.cut_count = 1 + pick(&random, 3);
            for (int c = 0, at = 0; c < s.cut_count; c++)
                s.cuts[c] = at += 1 + pick(&random, layers[round % 2] - 1 - at - (s.cut_count - c - 1));
            for (int p = 0; p < 1 + pick(&random, 2); p++)
                s.phases[p] = (struct sp_phase){.schedule = sp_schedules[(round / 2 + p) % schedule_count],
                                                .weights = (enum sp_weights_policy)pick(&random, 2),
                                                .microbatches = 1 << pick(&random, 3),
                                                .minibatches = 3 + pick(&random, 4)};
            int forward[4], backward[4], P = s.cut_count + 1, how = pick(&random, 3);
            for (int i = 0; i < P; i++) {
                forward[i] = how == 1 ? i * 2 / P : i;
                backward[i] = how == 2 ? 2 * (P - 1) - i : forward[i];
            }
            if (round % 5 == 4) /* any: stages that share one of their devices, cuts back to a device before */
                for (int i = 0; i < P; i++) {
                    forward[i] = i == 0 ? 0 : pick(&random, 2);
                    backward[i] = i == 0 ? 1 : pick(&random, 2);
                }
            s.forward_devices = forward;
            s.backward_devices = backward;
            int64_t count, other;
            s.workers = EXEC_WORKERS_THREADS;
            float *threads = run_once(&s, &count);
            s.workers = EXEC_WORKERS_ONE;
            float *one = run_once(&s, &other);
            assert_int_equal(count, other);
            expect_same(threads, one, count, s.phases[0].schedule->name);
            free(one);
            s.apart = true;
            one = run_once(&s, &other);
            expect_same(threads, one, count, "copies, one interpreter");
            free(one);
            s.workers = EXEC_WORKERS_THREADS;
            one = run_once(&s, &other);
            expect_same(threads, one, count, "copies");
            for (int64_t i = 0; i < count; i++)
                assert_true(isfinite(threads[i]));
            free(threads);
            free(one);
        }
}

static void a_sequential_run_does_not_depend_on_its_cuts(void **state)
{
    (void)state;
    static const char *const networks[] = {"lenet5", "resnet8"};
    static const int layers[] = {5, 8};
    for (int b = 0; backend_at(b) != NULL; b++)
        for (int n = 0; n < 2; n++) {
            struct run_setting s = {
                .network = networks[n], .backend = backend_at(b), .lr = 0.05f, .momentum = 0.9f, .minibatches = 3};
            int64_t count;
            float *uncut = run_once(&s, &count);
            for (int cut = 1; cut < layers[n]; cut++) {
                s.cut_count = 1;
                s.cuts[0] = cut;
                float *parts = run_once(&s, &count);
                expect_same(uncut, parts, count, networks[n]);
                free(parts);
            }
            free(uncut);
        }
}

/* stale: 2(K-i+1) with i from 1; 1f1b-async: P-1-i with i from 0; schedules that flush: 0. */
static void staleness_counted_is_staleness_named(void **state)
{
    (void)state;
    static const char *const schedules[] = {"sequential", "stale", "gpipe", "1f1b", "1f1b-async"};
    for (int K = 1; K <= 4; K++)
        for (int n = 0; n < 5; n++) {
            struct run_setting s = {.network = "lenet5",
                                    .cuts = {1, 2, 3, 4},
                                    .cut_count = K,
                                    .schedule = schedules[n],
                                    .minibatches = 14,
                                    .lr = 0.01f,
                                    .batch = 2};
            struct run run;
            run_open(&s, &run);
            run_train(&run);
            struct sp_error err = {0};
            struct sp_analysis *analysis;
            assert_int_equal(sp_analysis_create(run.plan, NULL, &analysis, &err), SP_OK);
            for (int i = 0; i <= K; i++) {
                int64_t expected = n == 1 ? 2 * (K - (i + 1) + 1) : n == 4 ? K - i : 0, forward, backward;
                exec_trainer_counted_staleness(run.trainer, i, &forward, &backward);
                assert_int_equal(forward, expected);
                assert_int_equal(backward, 0); /* the newest weights */
                assert_int_equal(analysis->stages[i].forward_staleness, expected);
                assert_int_equal(analysis->stages[i].backward_staleness, 0);
            }
            sp_analysis_destroy(&analysis);
            run_close(&run);
        }
}

static void bytes_taken_are_bytes_planned(void **state)
{
    (void)state;
    for (int b = 0; backend_at(b) != NULL; b++)
        for (int n = 0; sp_schedules[n / 2] != NULL; n++) {
            struct run_setting s = {.network = "resnet8",
                                    .backend = backend_at(b),
                                    .cuts = {3, 6},
                                    .cut_count = 2,
                                    .apart = n % 2 == 1,
                                    .schedule = sp_schedules[n / 2]->name,
                                    .weights = SP_WEIGHTS_STASH,
                                    .microbatches = 2,
                                    .minibatches = 14,
                                    .lr = 0.01f,
                                    .evaluate_every = 5};
            struct run run;
            run_open(&s, &run);
            run_train(&run);
            const struct sp_memory_plan *memory = exec_trainer_memory(run.trainer);
            for (int d = 0; d < run.plan->device_count; d++)
                for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
                    assert_int_equal(exec_trainer_counted_bytes(run.trainer, d, (enum sp_memory_kind)k),
                                     memory->bytes[d][k]);
                    assert_int_equal(exec_trainer_live_peak(run.trainer, d, (enum sp_memory_kind)k),
                                     memory->bytes[d][k]);
                }
            run_close(&run);
        }
}

static void evaluation_does_not_change_the_weights(void **state)
{
    (void)state;
    for (int n = 0; sp_schedules[n] != NULL; n++) {
        struct run_setting s = {.network = "resnet8",
                                .cuts = {2, 5},
                                .cut_count = 2,
                                .schedule = sp_schedules[n]->name,
                                .minibatches = 7,
                                .lr = 0.05f,
                                .momentum = 0.9f};
        int64_t count;
        float *without = run_once(&s, &count);
        s.evaluate_every = 2;
        float *with = run_once(&s, &count);
        expect_same(without, with, count, s.schedule);
        free(without);
        free(with);
    }
}

/* Without batch norm the gradients of a minibatch's parts add up to the whole's. */
static void microbatches_add_up_to_the_minibatch(void **state)
{
    (void)state;
    struct run_setting s = {.network = "lenet5",
                            .cuts = {2},
                            .cut_count = 1,
                            .schedule = "gpipe",
                            .microbatches = 4,
                            .minibatches = 3,
                            .lr = 0.05f,
                            .momentum = 0.9f};
    int64_t count;
    float *parts = run_once(&s, &count);
    s.microbatches = 1;
    s.schedule = "sequential";
    float *whole = run_once(&s, &count);
    for (int64_t i = 0; i < count; i++)
        if (fabsf(parts[i] - whole[i]) > 1e-5f)
            fail_msg("parameter %lld: %g and %g", (long long)i, (double)parts[i], (double)whole[i]);
    free(parts);
    free(whole);
}

/* The loss of the first minibatch with one parameter moved by `by`. */
static double loss_with(const struct run_setting *setting, int layer, enum sp_parameter which, int64_t element,
                        float by)
{
    struct run run;
    struct sp_error err = {0};
    run_open(setting, &run);
    int64_t count = run.network->layers[layer].parameters[which];
    float *values = malloc(sizeof *values * (size_t)count);
    assert_int_equal(exec_trainer_get_parameter(run.trainer, layer, which, values, &err), SP_OK);
    values[element] += by;
    assert_int_equal(exec_trainer_set_parameter(run.trainer, layer, which, values, &err), SP_OK);
    free(values);
    run_train(&run);
    double loss = (double)exec_trainer_losses(run.trainer)[0];
    run_close(&run);
    return loss;
}

/* One plain SGD step with rate 1 moves a weight by its gradient; compared with (loss(w + e) - loss(w - e)) / 2e. The
 * loss is a float near 2.3, so the difference is good to about 2e-7 / 2e = 5e-5. ReLU and pooling have kinks, hence the
 * bound. */
static void gradients_are_those_of_finite_differences(void **state)
{
    (void)state;
    static const char *const networks[] = {"lenet5", "resnet8"};
    uint32_t random = 7;
    const float e = 2e-3f;
    for (int n = 0; n < 2; n++) {
        struct run_setting s = {.network = networks[n], .minibatches = 1, .lr = 1, .batch = 4};
        struct run run;
        int64_t count;
        run_open(&s, &run);
        float *before = run_parameters(&run, &count);
        run_train(&run);
        float *after = run_parameters(&run, &count);
        int64_t first = 0;
        int compared = 0, off = 0;
        for (int l = 0; l < run.network->layer_count; l++)
            for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
                int64_t elements = run.network->layers[l].parameters[p];
                for (int k = 0; k < 3 && elements > 0; k++) {
                    int64_t i = pick(&random, (int)elements);
                    double gradient = (double)before[first + i] - (double)after[first + i];
                    double difference =
                        (loss_with(&s, l, (enum sp_parameter)p, i, e) - loss_with(&s, l, (enum sp_parameter)p, i, -e)) /
                        (2 * (double)e);
                    compared++;
                    off += fabs(gradient - difference) > 0.03 * fabs(difference) + 2e-3;
                }
                first += elements;
            }
        if (off * 20 > compared)
            fail_msg("%s: %d of %d gradients are off", networks[n], off, compared);
        free(before);
        free(after);
        run_close(&run);
    }
}

static void training_lowers_the_loss(void **state)
{
    (void)state;
    for (int b = 0; backend_at(b) != NULL; b++) {
        struct run_setting s = {.network = "lenet5",
                                .backend = backend_at(b),
                                .cuts = {2},
                                .cut_count = 1,
                                .schedule = "stale",
                                .minibatches = 60,
                                .batch = 10,
                                .lr = 0.02f,
                                .momentum = 0.9f,
                                .evaluate_every = 30};
        struct run run;
        run_open(&s, &run);
        run_train(&run);
        int count;
        const struct sp_epoch_summary *epochs = exec_trainer_epochs(run.trainer, &count);
        assert_int_equal(count, 2);
        assert_int_equal(epochs[1].minibatch, 60);
        assert_true(epochs[1].loss < epochs[0].loss);
        assert_true(exec_trainer_losses(run.trainer)[59] < 0.5f * exec_trainer_losses(run.trainer)[0]);
        run_close(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_one_interpreter_train_the_same_weights),
        cmocka_unit_test(a_sequential_run_does_not_depend_on_its_cuts),
        cmocka_unit_test(staleness_counted_is_staleness_named),
        cmocka_unit_test(bytes_taken_are_bytes_planned),
        cmocka_unit_test(evaluation_does_not_change_the_weights),
        cmocka_unit_test(microbatches_add_up_to_the_minibatch),
        cmocka_unit_test(gradients_are_those_of_finite_differences),
        cmocka_unit_test(training_lowers_the_loss),
    };
    return cmocka_run_group_tests_name("trainer", tests, NULL, NULL);
}
