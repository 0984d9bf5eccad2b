/*
 * Philox4x32-10 against the known-answer vectors of Random123.
 */
#include "common/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void philox_gives_the_published_numbers(void **state)
{
    (void)state;
    static const uint32_t zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
    static const uint32_t of_zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t of_ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    uint32_t out[4];
    sp_philox4x32_10(zero, zero, out);
    assert_memory_equal(out, of_zero, sizeof out);
    sp_philox4x32_10(ones, ones, out);
    assert_memory_equal(out, of_ones, sizeof out);
}

/* 40,000 normal numbers: mean 0 within 5 standard errors, variance 1 within 5 %. */
static void normal_numbers_have_their_moments(void **state)
{
    (void)state;
    double sum = 0, squares = 0;
    for (uint32_t b = 0; b < 20000; b++) {
        uint32_t w[4];
        float x[2];
        sp_random_block(7, SP_RANDOM_TEST, 1, b, w);
        sp_random_normal(w[0], w[1], x);
        sum += x[0] + x[1];
        squares += x[0] * x[0] + x[1] * x[1];
    }
    assert_true(sum / 40000 < 0.025 && sum / 40000 > -0.025);
    assert_true(squares / 40000 > 0.95 && squares / 40000 < 1.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_numbers),
        cmocka_unit_test(normal_numbers_have_their_moments),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
