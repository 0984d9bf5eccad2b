/*
 * Crop and flip against a plainly padded copy of the image: every result is one of the 81 crops or its mirror image,
 * all are taken, about equally often, and the position decides which.
 */
#include "exec/data/augment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { C = 2, H = 5, W = 7, PAD = 4, SHIFTS = 2 * PAD + 1, CROPS = SHIFTS * SHIFTS * 2, DRAWS = CROPS * 100 };

static const struct sp_shape shape = {C, H, W};
static float image[C][H][W], crops[CROPS][C][H][W];

static int make_crops(void **state)
{
    (void)state;
    static float padded[C][H + 2 * PAD][W + 2 * PAD];
    for (int c = 0; c < C; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                padded[c][y + PAD][x + PAD] = image[c][y][x] = (float)(1 + (c * H + y) * W + x);
    for (int n = 0; n < CROPS; n++)
        for (int c = 0; c < C; c++)
            for (int y = 0; y < H; y++)
                for (int x = 0; x < W; x++)
                    crops[n][c][y][n % 2 ? W - 1 - x : x] = padded[c][y + n / 2 / SHIFTS][x + n / 2 % SHIFTS];
    return 0;
}

static int which(uint64_t seed, uint64_t position)
{
    float out[C][H][W];
    exec_crop_flip(shape, seed, position, &image[0][0][0], &out[0][0][0]);
    for (int n = 0; n < CROPS; n++)
        if (memcmp(out, crops[n], sizeof out) == 0)
            return n;
    return -1;
}

static void every_crop_is_drawn_about_equally_often(void **state)
{
    (void)state;
    int drawn[CROPS] = {0};
    for (int d = 0; d < DRAWS; d++) {
        int n = which(7, (uint64_t)d);
        assert_int_not_equal(n, -1);
        drawn[n]++;
    }
    double squares = 0;
    for (int n = 0; n < CROPS; n++)
        squares += (drawn[n] - 100.0) * (drawn[n] - 100.0) / 100.0;
    assert_true(squares > 100 && squares < 240); /* chi-squared of 161 degrees of freedom: 99.9 % lie between */
}

static void seed_and_position_decide(void **state)
{
    (void)state;
    int other_seed = 0, other_position = 0;
    for (uint64_t p = 0; p < 100; p++) {
        assert_int_equal(which(7, p), which(7, p));
        other_seed += which(7, p) != which(8, p);
        other_position += which(7, p) != which(7, p + 1);
    }
    assert_true(other_seed > 90 && other_position > 90);
}

/* Of any width: pixel x of an image of one line comes from x + right, 0 beyond the ends; or mirrored. */
static void a_wide_image_is_shifted_and_mirrored(void **state)
{
    (void)state;
    enum { WIDE = 5000, POSITIONS = 60 };
    static float line[WIDE], out[WIDE];
    int mirrored = 0, blank = 0, straight = 0;
    for (int x = 0; x < WIDE; x++)
        line[x] = (float)(1 + x);
    for (uint64_t p = 0; p < POSITIONS; p++) {
        exec_crop_flip((struct sp_shape){1, 1, WIDE}, 3, p, line, out);
        if (out[WIDE / 2] == 0) { /* shifted down or up, out of the picture */
            for (int x = 0; x < WIDE; x++)
                assert_true(out[x] == 0);
            blank++;
            continue;
        }
        bool flip = out[WIDE / 2] > out[WIDE / 2 + 1];
        int right = flip ? (int)out[WIDE / 2] - (WIDE - WIDE / 2) : (int)out[WIDE / 2] - 1 - WIDE / 2;
        assert_true(right >= -PAD && right <= PAD);
        for (int x = 0; x < WIDE; x++) {
            int source = (flip ? WIDE - 1 - x : x) + right;
            assert_true(out[x] == (source >= 0 && source < WIDE ? line[source] : 0));
        }
        mirrored += flip;
        straight += !flip;
    }
    assert_true(blank > 30 && mirrored > 0 && straight > 0); /* 8 of 9 shifts leave one line */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crop_is_drawn_about_equally_often),
        cmocka_unit_test(seed_and_position_decide),
        cmocka_unit_test(a_wide_image_is_shifted_and_mirrored),
    };
    return cmocka_run_group_tests_name("augment", tests, make_crops, NULL);
}
