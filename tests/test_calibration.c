/*
 * Fits against laws that are known: what a layer costs by its size, and what a neighbour costs by what he does.
 */
#include "sim/overlap.h"
#include "sim/roofline.h"
#include "tests/networks.h"

#include <gsl/gsl_errno.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* A number in [-1, 1) that is the same in every run. */
static double chance(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return (double)(int32_t)*state / 2147483648.0;
}

/* Convolutions: 1 us + operations at 50 GFLOP/s * (inputs / 100)^0.2 * (outputs / 32)^0.1, where a forward moves less
 * than it computes. */
static double law(const struct sim_layer_work *w)
{
    return 1e-6 + w->work / (50e9 * pow(w->inputs / 100, 0.2) * pow(w->outputs / 32, 0.1));
}

static int convolution_points(const char *name, const int *batches, int sizes, double noise,
                              struct sim_roofline_point *points)
{
    struct sp_network *network = build_network(name, cifar_shape);
    uint32_t state = 7;
    int count = 0;
    for (int s = 0; s < sizes; s++)
        for (int l = 0; l < network->layer_count; l++)
            if (network->layers[l].type == SP_LAYER_CONVOLUTION) {
                struct sim_layer_work work = sim_layer_work(network, l, batches[s], false);
                points[count++] = (struct sim_roofline_point){work, law(&work) * (1 + noise * chance(&state))};
            }
    sp_network_destroy(&network);
    return count;
}

/* Fitted to ResNet-20 with 5 % of noise, VGG-16's convolutions at a batch between come out within 10 %: their channels
 * are up to eight times as many. */
static void a_law_is_found_again_on_another_network(void **state)
{
    (void)state;
    static const int batches[] = {128, 64, 32, 16}, other[] = {48};
    struct sim_roofline_point points[512], wanted[64];
    struct sim_roofline fit;
    int count = convolution_points("resnet20", batches, 4, 0.05, points);
    sim_roofline_fit(points, count, 100e9, 20e9, &fit);
    assert_int_equal(fit.count, 1);
    assert_true(fit.held_points > 0 && fit.held_points < count);
    assert_true(fit.held_median < 0.06);
    const struct sim_roofline_row *row = sim_roofline_find(&fit, SP_LAYER_CONVOLUTION, false);
    assert_non_null(row);
    assert_null(sim_roofline_find(&fit, SP_LAYER_CONVOLUTION, true));
    int tested = convolution_points("vgg16", other, 1, 0, wanted);
    assert_int_equal(tested, 13);
    for (int p = 0; p < tested; p++) {
        double error = sim_roofline_seconds(row, &wanted[p].work) / wanted[p].seconds - 1;
        if (fabs(error) > 0.1)
            fail_msg("point %d is off by %.1f %%", p, 100 * error);
    }
    sim_roofline_fini(&fit);
}

/* Times without a law: what was held out tells. */
static void what_follows_no_law_shows_in_what_was_held_out(void **state)
{
    (void)state;
    static const int batches[] = {128, 64, 32, 16};
    struct sim_roofline_point points[512];
    struct sim_roofline fit;
    int count = convolution_points("resnet20", batches, 4, 0.05, points);
    for (int p = 0; p < count; p++) /* each shape has a factor of its own, from 1/3 to 3 */
        points[p].seconds *= exp(1.1 * sin(points[p].work.inputs * 13 + points[p].work.outputs));
    sim_roofline_fit(points, count, 100e9, 20e9, &fit);
    assert_true(fit.held_median > 0.2);
    sim_roofline_fini(&fit);
}

/* A backward pass without the input's gradient has half the operations; elementwise layers have bytes for work.
 * ResNet-20's first convolution, 8 samples: 3x3x3 products for each of 16x32x32 outputs. */
static void work_is_counted_by_hand(void **state)
{
    (void)state;
    struct sp_network *network = build_network("resnet20", cifar_shape);
    struct sim_layer_work forward = sim_layer_work(network, 0, 8, false),
                          backward = sim_layer_work(network, 0, 8, true);
    assert_float_equal(forward.work, 8.0 * 2 * 27 * 16 * 1024, 0.5);
    assert_float_equal(backward.work, forward.work, 0.5);
    assert_float_equal(forward.positions, 8 * 1024, 1e-9);
    assert_float_equal(forward.inputs, 27, 1e-9);
    assert_float_equal(forward.bytes, 4.0 * (8 * (3 + 16) * 1024 + 27 * 16), 0.5);
    struct sim_layer_work norm = sim_layer_work(network, 1, 8, false);
    assert_int_equal(norm.type, SP_LAYER_BATCH_NORM);
    assert_float_equal(norm.work, 4.0 * (8 * 2 * 16 * 1024 + 32), 0.5);
    sp_network_destroy(&network);
}

/* Two classes on each device, in turns of random length; device 1 rests half of the time. */
enum { ITEMS = 6, PASSES = 600 };
static const enum sim_class kinds[ITEMS] = {SIM_CLASS_CONVOLUTION, SIM_CLASS_ELEMENTWISE, SIM_CLASS_CONVOLUTION,
                                            SIM_CLASS_ELEMENTWISE, SIM_CLASS_CONVOLUTION, SIM_CLASS_ELEMENTWISE};
static const double truth[2][2] = {{0.10, 0.30}, {0.20, 0.60}}; /* of convolution and elementwise beside those */

static int row_of(enum sim_class kind)
{
    return kind == SIM_CLASS_ELEMENTWISE;
}

/* Device 1's day: work of 3 to 5 ms, items in turn, and a rest as long after each second. */
static int neighbour(struct sim_activity *list)
{
    uint32_t state = 3;
    double at_s = 0;
    for (int i = 0; i < PASSES; i++) {
        double long_s = 4e-3 + 1e-3 * chance(&state);
        list[i] = (struct sim_activity){at_s, at_s + long_s, ITEMS + i % ITEMS, kinds[i % ITEMS]};
        at_s += long_s * (i % 2 ? 3 : 1);
    }
    return PASSES;
}

/* Device 0 beside it: item k is (k + 1) ms of work when alone, with 10 % of noise, at the speed the neighbour leaves.
 */
static int slowed(const struct sim_activity *beside, int count, struct sim_activity *list, int most)
{
    uint32_t state = 11;
    double at_s = 0;
    int n = 0, j = 0;
    for (; n < most && at_s < beside[count - 1].end_s - 0.05; n++) {
        double left_s = 1e-3 * (n % ITEMS + 1) * (1 + 0.1 * chance(&state)), start_s = at_s;
        while (left_s > 1e-12) {
            while (j < count && beside[j].end_s <= at_s)
                j++;
            bool works = beside[j].start_s <= at_s;
            double change_s = works ? beside[j].end_s : beside[j].start_s,
                   slower = works ? 1 + truth[row_of(kinds[n % ITEMS])][row_of(beside[j].kind)] : 1;
            double done_s = fmin(left_s, (change_s - at_s) / slower);
            left_s -= done_s;
            at_s += done_s * slower;
        }
        list[n] = (struct sim_activity){start_s, at_s, n % ITEMS, kinds[n % ITEMS]};
    }
    return n;
}

static void neighbours_costs_are_found_again(void **state)
{
    (void)state;
    static struct sim_activity one[4 * PASSES], other[PASSES];
    struct sim_overlaps overlaps = {0};
    double slowdown[SIM_CLASS_COUNT][SIM_CLASS_COUNT];
    int count = neighbour(other), n = slowed(other, count, one, 4 * PASSES);
    sim_overlaps_add(&overlaps, one, n, other, count);
    sim_overlaps_close_run(&overlaps, 2 * ITEMS);
    assert_int_equal(overlaps.items, 2 * ITEMS);
    sim_overlaps_fit(&overlaps, slowdown);
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            double found = slowdown[a ? SIM_CLASS_ELEMENTWISE : SIM_CLASS_CONVOLUTION]
                                   [b ? SIM_CLASS_ELEMENTWISE : SIM_CLASS_CONVOLUTION];
            if (fabs(found - truth[a][b]) > 0.04)
                fail_msg("%d beside %d: %.3f, not %.3f", a, b, found, truth[a][b]);
        }
    sim_overlaps_fini(&overlaps);
}

/* Nobody beside anybody: nothing is made up. */
static void without_neighbours_nobody_is_slowed(void **state)
{
    (void)state;
    struct sim_activity one[40];
    struct sim_overlaps overlaps = {0};
    double slowdown[SIM_CLASS_COUNT][SIM_CLASS_COUNT];
    for (int i = 0; i < 40; i++)
        one[i] = (struct sim_activity){i, i + 0.9 + 0.01 * (i % 7), i % 4, SIM_CLASS_CONVOLUTION};
    sim_overlaps_add(&overlaps, one, 40, NULL, 0);
    sim_overlaps_fit(&overlaps, slowdown);
    for (int a = 0; a < SIM_CLASS_COUNT; a++)
        for (int b = 0; b < SIM_CLASS_COUNT; b++)
            assert_float_equal(slowdown[a][b], 0, 1e-9);
    sim_overlaps_fini(&overlaps);
}

/* Times that are no times: what cannot be fitted has no row, and what was held out counts as all wrong. */
static void what_cannot_be_fitted_is_left_out(void **state)
{
    (void)state;
    static const int batches[] = {64, 32};
    struct sim_roofline_point points[256];
    struct sim_roofline fit;
    int count = convolution_points("resnet20", batches, 2, 0, points);
    for (int p = 0; p < count; p++)
        points[p].seconds = INFINITY;
    sim_roofline_fit(points, count, 100e9, 20e9, &fit);
    assert_int_equal(fit.count, 0);
    assert_true(fit.held_points > 0 && fit.held_median == 1);
    sim_roofline_fini(&fit);
}

int main(void)
{
    gsl_set_error_handler_off(); /* as the program does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_law_is_found_again_on_another_network),
        cmocka_unit_test(what_follows_no_law_shows_in_what_was_held_out),
        cmocka_unit_test(what_cannot_be_fitted_is_left_out),
        cmocka_unit_test(work_is_counted_by_hand),
        cmocka_unit_test(neighbours_costs_are_found_again),
        cmocka_unit_test(without_neighbours_nobody_is_slowed),
    };
    return cmocka_run_group_tests_name("calibration", tests, NULL, NULL);
}
