/*
 * CIFAR-10's binary files, good and damaged; where data sets are looked for; augmentation by the loader.
 */
#include "common/alloc.h"
#include "exec/data/augment.h"
#include "exec/data/data.h"
#include "tests/folder.h"
#include "tests/stream.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILES = 6, PIXELS = 3072, RECORD = 1 + PIXELS };

static char folder[96]; /* within test_folder */
static const char *const names[FILES] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                         "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

static char *path_of(int file)
{
    return sp_format("%s/%s", folder, names[file]);
}

/* File f has f + 1 records: training samples 0 .. 14, test samples 15 .. 20 of this numbering. */
static int value_of(int number, int pixel)
{
    return (number * 31 + pixel * 7 + pixel / 1024 * 50) % 256;
}

static void write_files(void)
{
    int number = 0;
    for (int f = 0; f < FILES; f++) {
        char *path = path_of(f);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        for (int r = 0; r <= f; r++, number++) {
            fputc(number % 10, file);
            for (int p = 0; p < PIXELS; p++)
                fputc(value_of(number, p), file);
        }
        fclose(file);
        free(path);
    }
}

static int make_folder(void **state)
{
    if (test_folder_make(state) != 0)
        return 1;
    snprintf(folder, sizeof folder, "%s/cifar-10-batches-bin", test_folder);
    return mkdir(folder, 0700);
}

static const char *parents[EXEC_DATA_PARENTS]; /* for "auto" */

static sp_status open_in(const char *dir, struct exec_dataset **set, struct sp_error *err)
{
    struct exec_dataset_config config = {.set = "cifar10", .dir = dir, .mark = {"exp.yaml", 3, 7}};
    memcpy(config.parents, parents, sizeof parents);
    return exec_dataset_open(&config, set, err);
}

static struct exec_dataset *open_good(const char *dir)
{
    struct sp_error err = {0};
    struct exec_dataset *set = NULL;
    write_files();
    if (open_in(dir, &set, &err) != SP_OK)
        fail_msg("%s", err.text);
    return set;
}

static void good_files_are_read_and_normalised(void **state)
{
    (void)state;
    struct exec_dataset *set = open_good(folder);
    assert_int_equal(set->samples[EXEC_TRAIN], 15);
    assert_int_equal(set->samples[EXEC_TEST], 6);
    static float pixels[PIXELS];
    for (int c = 0; c < 3; c++) {
        double sum = 0, squares = 0;
        for (int n = 0; n < 15; n++) {
            assert_int_equal(set->sample(set, EXEC_TRAIN, n, pixels), n % 10);
            for (int p = 1024 * c; p < 1024 * (c + 1); p++) {
                sum += (double)pixels[p];
                squares += (double)(pixels[p] * pixels[p]);
                double raw = ((double)(pixels[p] * set->deviation[c] + set->mean[c])) * 255;
                assert_true(fabs(raw - value_of(n, p)) < 1e-3);
            }
        }
        assert_true(fabs(sum / 15 / 1024) < 1e-5 && fabs(squares / 15 / 1024 - 1) < 1e-5);
    }
    assert_int_equal(set->sample(set, EXEC_TEST, 5, pixels), 20 % 10);
    exec_dataset_close(&set);
}

/* A byte changed (at >= 0), the length changed (length >= 0), or the file removed. */
static void damage(int f, long at, long length)
{
    char *path = path_of(f);
    if (at >= 0) {
        FILE *file = fopen(path, "r+");
        assert_non_null(file);
        fseek(file, at, SEEK_SET);
        fputc(10, file);
        fclose(file);
    } else if (length >= 0) {
        assert_int_equal(truncate(path, length), 0);
    } else {
        unlink(path);
    }
    free(path);
}

static void damaged_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        int file;
        long at, length;
        const char *says;
    } cases[] = {
        {0, 0, -1, "label 10 of record 0"},
        {5, 5 * RECORD, -1, "label 10 of record 5"},
        {1, -1, 0, "0 bytes"},
        {2, -1, 3 * RECORD - 1, "truncated or corrupt"},
        {4, -1, 5 * RECORD + 1, "truncated or corrupt"},
        {3, -1, -1, "data_batch_4.bin"},
        {5, -1, -1, "test_batch.bin"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sp_error err = {0};
        struct exec_dataset *set = NULL;
        write_files();
        damage(cases[c].file, cases[c].at, cases[c].length);
        assert_int_equal(open_in(folder, &set, &err), SP_E_INPUT);
        assert_null(set);
        if (strstr(err.text, cases[c].says) == NULL || strstr(err.text, names[cases[c].file]) == NULL ||
            strstr(err.text, "exp.yaml:3:7") == NULL)
            fail_msg("case %zu: %s", c, err.text);
        sp_error_fini(&err);
    }
}

/* The first of the places that has the folder; all that were looked at are named where none has. */
static void auto_takes_the_first_place_that_has_it(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct exec_dataset *set;
    parents[0] = "/nowhere/at/all";
    parents[2] = test_folder;
    set = open_good("auto");
    exec_dataset_close(&set);

    parents[2] = "/nor/here";
    assert_int_equal(open_in("auto", &set, &err), SP_E_INPUT);
    if (strstr(err.text, "/nowhere/at/all/cifar-10-batches-bin, /nor/here/cifar-10-batches-bin") == NULL)
        fail_msg("%s", err.text);
    sp_error_fini(&err);
    memset(parents, 0, sizeof parents);
}

static void the_loader_augments_by_position(void **state)
{
    (void)state;
    struct exec_dataset *set = open_good(folder);
    struct exec_loader_config config = {.set = set,
                                        .split = EXEC_TRAIN,
                                        .batch = 4,
                                        .end = 10,
                                        .shuffle = true,
                                        .augment = true,
                                        .seed = 5,
                                        .ahead = 2};
    struct exec_loader *loader;
    struct sp_error err = {0};
    static float plain[PIXELS], expected[PIXELS];
    assert_int_equal(exec_loader_create(&config, &loader, &err), SP_OK);
    for (int64_t b = 0; b < config.end; b++) {
        struct exec_batch batch;
        assert_true(exec_loader_acquire(loader, b, &batch));
        for (int row = 0; row < 4; row++) {
            int64_t position = 4 * b + row;
            int32_t label = set->sample(set, EXEC_TRAIN, stream_sample(&config, position), plain);
            exec_crop_flip(set->shape, 5, (uint64_t)position, plain, expected);
            assert_int_equal(batch.labels[row], label);
            assert_memory_equal(batch.pixels + row * PIXELS, expected, sizeof expected);
        }
        exec_loader_release(loader, b);
        exec_loader_release(loader, b);
    }
    exec_loader_destroy(&loader);
    exec_dataset_close(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files_are_read_and_normalised),
        cmocka_unit_test(damaged_files_are_refused_by_name),
        cmocka_unit_test(auto_takes_the_first_place_that_has_it),
        cmocka_unit_test(the_loader_augments_by_position),
    };
    return cmocka_run_group_tests_name("cifar10", tests, make_folder, test_folder_remove);
}
