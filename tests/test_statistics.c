/* Means, intervals and pairs against tables of Student's distribution and against hand computation. */
#include "common/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.12g is not %.12g", value, expected);
}

/*
 * 1, 2, 3, 4, 5: mean 3, sum of squares 10, deviation sqrt(10 / 4) = 1.5811388. Tables give t(0.975, 4) = 2.776, so the
 * interval is 3 -+ 2.776 * 1.5811388 / sqrt(5) = 3 -+ 1.963.
 */
static void an_interval_is_that_of_the_tables(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4, 5};
    struct sp_mean mean = sp_mean_of(x, 5, 0.95);
    assert_int_equal(mean.n, 5);
    near(mean.mean, 3, 1e-12);
    near(mean.deviation, 1.5811388, 1e-7);
    near(mean.high - mean.mean, 1.963, 1e-3);
    near(mean.mean - mean.low, 1.963, 1e-3);
}

/* Two values d apart: t(0.975, 1) = 12.706, deviation d / sqrt(2), half width 12.706 d / 2. */
static void two_values_say_little(void **state)
{
    (void)state;
    const double x[] = {10, 12};
    struct sp_mean mean = sp_mean_of(x, 2, 0.95);
    near(mean.high - mean.mean, 12.706, 1e-3);
}

static void one_value_has_no_interval_and_none_no_mean(void **state)
{
    (void)state;
    const double x[] = {7};
    struct sp_mean one = sp_mean_of(x, 1, 0.95), none = sp_mean_of(x, 0, 0.95);
    near(one.mean, 7, 0);
    assert_true(isnan(one.low) && isnan(one.high) && isnan(one.deviation));
    assert_true(none.n == 0 && isnan(none.mean));
}

/*
 * Runs that drift by tens, of which the first is always 1, 2 or 3 higher: unpaired the intervals would overlap wholly,
 * in pairs the mean is 2, deviation 1, t = 2 / (1 / sqrt(3)) = 3.464 with 2 degrees of freedom. There the distribution
 * is P(T > t) = (1 - t / sqrt(2 + t^2)) / 2, so p = 1 - 3.4641 / sqrt(14) = 0.0742.
 */
static void pairs_leave_drift_out(void **state)
{
    (void)state;
    const double x[] = {101, 152, 203}, y[] = {100, 150, 200};
    struct sp_pairs pairs = sp_pairs_of(x, y, 3, 0.95);
    near(pairs.difference.mean, 2, 1e-12);
    near(pairs.difference.deviation, 1, 1e-12);
    near(pairs.p, 1 - sqrt(12) / sqrt(14), 1e-9);
}

/* Ratios 2 and 8: geometric mean 4; the interval is symmetric in logarithms. */
static void ratios_are_geometric(void **state)
{
    (void)state;
    const double x[] = {2, 8}, y[] = {1, 1}, zero[] = {0, 8};
    struct sp_pairs pairs = sp_pairs_of(x, y, 2, 0.95), none = sp_pairs_of(zero, y, 2, 0.95);
    near(pairs.ratio.mean, 4, 1e-12);
    near(pairs.ratio.low * pairs.ratio.high, 16, 1e-6);
    assert_true(isnan(none.ratio.mean) && none.difference.n == 2);
}

static void equal_pairs_differ_by_nothing_for_sure(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3}, y[] = {1, 2, 3}, z[] = {0, 1, 2};
    near(sp_pairs_of(x, y, 3, 0.95).p, 1, 0);
    near(sp_pairs_of(x, z, 3, 0.95).p, 0, 0);
    assert_true(isnan(sp_pairs_of(x, z, 1, 0.95).p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interval_is_that_of_the_tables),
        cmocka_unit_test(two_values_say_little),
        cmocka_unit_test(one_value_has_no_interval_and_none_no_mean),
        cmocka_unit_test(pairs_leave_drift_out),
        cmocka_unit_test(ratios_are_geometric),
        cmocka_unit_test(equal_pairs_differ_by_nothing_for_sure),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
