/*
 * Recipes: learning rates against PyTorch's schedulers and formulas by hand; label smoothing, weight decay that spares
 * biases and batch norm, rates of stages, momentum across phases.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "exec/learning_rate.h"
#include "exec/ref/ref.h"
#include "tests/training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double steps[] = {30, 60, 90};

static struct exec_rate rate_of(const char *name)
{
    struct exec_rate rate = {.updates = 100, .gamma = 0.2, .power = 2, .peak = 0.3, .steps = steps, .step_count = 3};
    for (int k = 0; k < EXEC_RATE_KIND_COUNT; k++)
        if (strcmp(exec_rate_kind_names[k], name) == 0)
            rate.kind = (enum exec_rate_kind)k;
    rate.final = rate.kind == EXEC_RATE_COSINE ? 0.1 : rate.kind == EXEC_RATE_ONE_CYCLE ? 0.01 : 0;
    return rate;
}

/* tests/fixtures/rates.txt was made by make_rates.py beside it. */
static void rates_are_those_of_another_implementation(void **state)
{
    (void)state;
    FILE *file = fopen("tests/fixtures/rates.txt", "r");
    char name[32];
    int t, lines = 0;
    double expected;
    assert_non_null(file);
    while (fscanf(file, "%31s %d %lf", name, &t, &expected) == 3) {
        struct exec_rate rate = rate_of(name);
        assert_string_equal(exec_rate_kind_names[rate.kind], name);
        if (fabs(exec_rate_factor(&rate, t) - expected) > 1e-9)
            fail_msg("%s, update %d: %.12g, PyTorch has %.12g", name, t, exec_rate_factor(&rate, t), expected);
        lines++;
    }
    fclose(file);
    assert_true(lines > 50);
}

static void inv_is_that_of_caffe(void **state)
{
    (void)state;
    struct exec_rate rate = {.kind = EXEC_RATE_INV, .updates = 100, .gamma = 0.0001, .power = 0.75};
    assert_true(exec_rate_factor(&rate, 0) == 1);
    assert_true(fabs(exec_rate_factor(&rate, 10000) - pow(2, -0.75)) < 1e-12);
}

static void warm_up_multiplies_any_schedule(void **state)
{
    (void)state;
    struct exec_rate rate = {.updates = 100, .warmup = 4};
    const double expected[] = {0.25, 0.5, 0.75, 1, 1};
    for (int t = 0; t < 5; t++)
        assert_true(exec_rate_factor(&rate, t) == expected[t]);
    rate.kind = EXEC_RATE_POLYNOMIAL;
    rate.power = 1;
    assert_true(fabs(exec_rate_factor(&rate, 1) - 0.5 * 0.99) < 1e-12);
}

/* Two samples of three classes, s = 0.3. By hand: the target of label 1 is (0.1, 0.8, 0.1); the loss
 * -sum t log p = log(sum exp x) - sum t x; the gradient (p - t) / 2. */
static void label_smoothing_by_hand(void **state)
{
    (void)state;
    struct sp_layer layer = {.type = SP_LAYER_SOFTMAX_CROSS_ENTROPY, .in = {3, 1, 1}};
    const float x[6] = {1, 2, 0.5f, 0, 0, 0};
    const int32_t labels[2] = {1, -1};
    float saved[6], dx[6];
    double loss;
    int64_t correct;
    struct exec_io io = {.batch = 2,
                         .input = {x},
                         .saved = saved,
                         .labels = labels,
                         .minibatch_size = 2,
                         .label_smoothing = 0.3f,
                         .loss_sum = &loss,
                         .correct = &correct,
                         .input_gradient = {dx}};
    double z = exp(1) + exp(2) + exp(0.5);
    exec_ref_softmax_cross_entropy.forward(&layer, &layer.in, &io);
    assert_true(fabs(loss - (log(z) - 0.1 * 1 - 0.8 * 2 - 0.1 * 0.5)) < 1e-6);
    assert_int_equal(correct, 1);
    exec_ref_softmax_cross_entropy.backward(&layer, &layer.in, &io);
    const double expected[3] = {(exp(1) / z - 0.1) / 2, (exp(2) / z - 0.8) / 2, (exp(0.5) / z - 0.1) / 2};
    for (int c = 0; c < 3; c++) {
        assert_true(fabs((double)dx[c] - expected[c]) < 1e-6);
        assert_true(dx[3 + c] == 0); /* padding */
    }
    exec_ref_softmax_cross_entropy.evaluate(&layer, &layer.in, &io); /* without smoothing */
    assert_true(fabs(loss - (log(z) - 2)) < 1e-6);
}

/* Decay adds lr * wd * w to a first step, exactly where it applies: the difference of runs with and without. */
static void decay_spares_biases_and_batch_norm_when_asked(void **state)
{
    (void)state;
    for (int spare = 0; spare < 2; spare++)
        for (int b = 0; exec_backends[b] != NULL; b++) {
            struct run_setting s = {.network = "resnet8",
                                    .backend = exec_backends[b],
                                    .minibatches = 1,
                                    .lr = 0.5f,
                                    .cuts = {3},
                                    .cut_count = 1};
            struct run run;
            int64_t count, i = 0;
            run_open(&s, &run);
            float *before = run_parameters(&run, &count);
            run_train(&run);
            float *without = run_parameters(&run, &count);
            run_close(&run);
            s.weight_decay = 0.125f;
            s.decay_weights_only = spare == 1;
            float *with = run_once(&s, &count);
            run_open(&s, &run);
            for (int l = 0; l < run.network->layer_count; l++)
                for (int p = 0; p < SP_PARAMETER_COUNT; p++)
                    for (int64_t e = 0; e < run.network->layers[l].parameters[p]; e++, i++) {
                        bool weight = p == 0 && run.network->layers[l].type != SP_LAYER_BATCH_NORM;
                        double expected = weight || spare == 0 ? 0.5 * 0.125 * (double)before[i] : 0;
                        if (fabs((double)without[i] - (double)with[i] - expected) > 1e-6)
                            fail_msg("%s, %s: decayed by %g, expected %g", s.backend->name, run.network->layers[l].name,
                                     (double)without[i] - (double)with[i], expected);
                    }
            run_close(&run);
            free(before);
            free(without);
            free(with);
        }
}

/* A first plain step moves stage i by its factor times what it moves it without. */
static void stages_have_rates_of_their_own(void **state)
{
    (void)state;
    static const double factors[] = {0, 0.5};
    struct run_setting s = {.network = "lenet5", .minibatches = 1, .lr = 0.25f, .cuts = {2}, .cut_count = 1};
    struct run run;
    int64_t count, i = 0;
    run_open(&s, &run);
    float *before = run_parameters(&run, &count);
    run_train(&run);
    float *plain = run_parameters(&run, &count);
    int border = run.plan->stages[1].first_layer;
    s.stage_lr = factors;
    float *scaled = run_once(&s, &count);
    for (int l = 0; l < run.network->layer_count; l++)
        for (int p = 0; p < SP_PARAMETER_COUNT; p++)
            for (int64_t e = 0; e < run.network->layers[l].parameters[p]; e++, i++) {
                double factor = factors[l >= border];
                assert_true(fabs((double)(scaled[i] - before[i]) - factor * (double)(plain[i] - before[i])) < 1e-7);
            }
    run_close(&run);
    free(before);
    free(plain);
    free(scaled);
}

static float *train_phases(const struct sp_phase *first, const struct sp_phase *second, int64_t *count)
{
    struct run_setting s = {.network = "lenet5", .cuts = {2}, .cut_count = 1, .lr = 0.02f, .momentum = 0.9f};
    s.phases[0] = *first;
    if (second != NULL)
        s.phases[1] = *second;
    return run_once(&s, count);
}

/* Two sequential phases are one; so velocity, data and versions go on where the first phase ends. */
static void a_phase_goes_on_where_the_one_before_ended(void **state)
{
    (void)state;
    const struct sp_schedule *sequential = sp_schedule_find("sequential");
    struct sp_phase all = {.schedule = sequential, .microbatches = 1, .minibatches = 9}, head = all, tail = all;
    int64_t count;
    head.minibatches = 4;
    tail.minibatches = 5;
    float *one = train_phases(&all, NULL, &count), *two = train_phases(&head, &tail, &count);
    assert_memory_equal(one, two, sizeof *one * (size_t)count);
    free(two);
    /* A pipeline of one minibatch has nothing to be stale of: stale for one, then sequential, is sequential too. */
    head.schedule = sp_schedule_find("stale");
    head.minibatches = 1;
    tail.minibatches = 8;
    two = train_phases(&head, &tail, &count);
    assert_memory_equal(one, two, sizeof *one * (size_t)count);
    free(two);
    free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_those_of_another_implementation),
        cmocka_unit_test(inv_is_that_of_caffe),
        cmocka_unit_test(warm_up_multiplies_any_schedule),
        cmocka_unit_test(label_smoothing_by_hand),
        cmocka_unit_test(decay_spares_biases_and_batch_norm_when_asked),
        cmocka_unit_test(stages_have_rates_of_their_own),
        cmocka_unit_test(a_phase_goes_on_where_the_one_before_ended),
    };
    return cmocka_run_group_tests_name("recipes", tests, NULL, NULL);
}
