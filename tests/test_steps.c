/*
 * Training steps of LeNet-5 and ResNet-20 against another implementation's numbers: tests/fixtures/steps.txt, made with
 * PyTorch by make_steps.py beside it, which has the formulas of weights, images and labels too.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "exec/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 3, BATCH = 8 };

static double wave(int64_t i, int phase)
{
    return sin(0.7 * (double)i * (1 + 0.001 * phase) + phase);
}

static int32_t sample(const struct exec_dataset *set, enum exec_split split, int64_t index, float *pixels)
{
    (void)split;
    for (int64_t i = 0; i < sp_shape_elements(set->shape); i++)
        pixels[i] = (float)wave(i, 100 + (int)index);
    return (int32_t)(3 * index % 10);
}

static void fill_parameter(const struct sp_layer *layer, enum sp_parameter which, int number, float *values)
{
    bool matrix = which == SP_PARAMETER_WEIGHT && layer->type != SP_LAYER_BATCH_NORM;
    bool scale = which == SP_PARAMETER_WEIGHT && layer->type == SP_LAYER_BATCH_NORM;
    double deviation = matrix ? sqrt(2.0 * (double)layer->out.c / (double)layer->parameters[which]) : 0.1;
    for (int64_t i = 0; i < layer->parameters[which]; i++)
        values[i] = (float)(deviation * wave(i, number) + (scale ? 1 : 0));
}

/* The next number of the fixture, which must be of that line. */
static void read_line(FILE *file, const char *form, const char *network, int number, double *a, double *b)
{
    char line[256], what[32], name[32];
    int found;
    assert_non_null(fgets(line, sizeof line, file));
    int values = sscanf(line, "%31s %31s %d %lf %lf", what, name, &found, a, b);
    if (values < 4 || strcmp(what, form) != 0 || strcmp(name, network) != 0 || found != number)
        fail_msg("expected %s %s %d, found %s", form, network, number, line);
}

static void expect_near(const char *what, int number, double expected, double found, double bound)
{
    if (!(fabs(expected - found) <= bound))
        fail_msg("%s %d: %.9g, PyTorch has %.9g (bound %g)", what, number, found, expected, bound);
}

/* Sets (or, after the run, compares) every parameter, in layer order. */
static void each_parameter(struct exec_trainer *trainer, const struct sp_network *network, FILE *fixture)
{
    int number = 0;
    for (int l = 0; l < network->layer_count; l++)
        for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
            struct sp_error err = {0};
            int64_t count = network->layers[l].parameters[p];
            if (count == 0)
                continue;
            float *values = sp_alloc(sizeof *values * (size_t)count);
            if (fixture == NULL) {
                fill_parameter(&network->layers[l], (enum sp_parameter)p, number, values);
                assert_int_equal(exec_trainer_set_parameter(trainer, l, (enum sp_parameter)p, values, &err), SP_OK);
            } else {
                double sum = 0, squares = 0, expected_sum, expected_squares;
                assert_int_equal(exec_trainer_get_parameter(trainer, l, (enum sp_parameter)p, values, &err), SP_OK);
                for (int64_t i = 0; i < count; i++) {
                    sum += (double)values[i];
                    squares += (double)values[i] * (double)values[i];
                }
                read_line(fixture, "parameter", network->name, number, &expected_sum, &expected_squares);
                expect_near("sum of squares of parameter", number, expected_squares, squares, 1e-3 * expected_squares);
                expect_near("sum of parameter", number, expected_sum, sum,
                            2e-3 * sqrt(expected_squares * (double)count) + 1e-4);
            }
            free(values);
            number++;
        }
}

static void run_network(const struct exec_backend *backend, const char *name, struct sp_shape shape, FILE *fixture)
{
    struct sp_error err = {0};
    struct sp_network_spec spec = {.builtin = name};
    struct sp_network *network;
    struct sp_plan *plan;
    struct exec_trainer *trainer;
    struct sp_phase phase = {.schedule = sp_schedule_find("sequential"), .microbatches = 1, .minibatches = STEPS};
    struct sp_plan_config config = {.batch = BATCH, .shared_memory = true, .phases = &phase, .phase_count = 1};
    struct exec_dataset data = {
        .name = "waves", .shape = shape, .classes = 10, .samples = {BATCH, BATCH}, .sample = sample};
    struct exec_trainer_config train = exec_trainer_config_default();
    train.backend = backend;
    train.sgd = (struct exec_sgd){.lr = 0.05f, .momentum = 0.9f, .weight_decay = 0.001f};
    assert_int_equal(sp_network_create(&spec, shape, 10, &network, &err), SP_OK);
    assert_int_equal(sp_plan_create(network, &config, &plan, &err), SP_OK);
    if (exec_trainer_create(plan, &data, &train, &trainer, &err) != SP_OK)
        fail_msg("%s", err.text);
    each_parameter(trainer, network, NULL);
    if (exec_trainer_run(trainer, &err) != SP_OK)
        fail_msg("%s", err.text);
    for (int step = 0; step < STEPS; step++) {
        double loss, none;
        read_line(fixture, "loss", name, step, &loss, &none);
        expect_near("loss of step", step, loss, (double)exec_trainer_losses(trainer)[step], 2e-4 * loss * (step + 1));
    }
    each_parameter(trainer, network, fixture);
    exec_trainer_destroy(&trainer);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
}

static void steps_are_those_of_pytorch(void **state)
{
    (void)state;
    for (int b = 0; exec_backends[b] != NULL; b++) {
        FILE *fixture = fopen("tests/fixtures/steps.txt", "r");
        if (fixture == NULL)
            fail_msg("tests/fixtures/steps.txt is not found: run from the project's folder");
        run_network(exec_backends[b], "lenet5", (struct sp_shape){1, 28, 28}, fixture);
        run_network(exec_backends[b], "resnet20", (struct sp_shape){3, 32, 32}, fixture);
        fclose(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_are_those_of_pytorch)};
    return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
