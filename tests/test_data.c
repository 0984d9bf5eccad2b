/*
 * Data sets and the loader: IDX files good, truncated and corrupt; the stream of samples; padding; two takers.
 */
#include "common/alloc.h"
#include "exec/data/data.h"
#include "tests/folder.h"
#include "tests/stream.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TRAIN = 20, TEST = 7, SIDE = 28 };

static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                    "t10k-labels-idx1-ubyte"};

static void put32(FILE *file, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        fputc((int)(value >> shift & 255), file);
}

/* Writes the four files plainly; pixel p of sample n is (n + p) % 256, labels n % 10. */
static void write_files(void)
{
    for (int f = 0; f < 4; f++) {
        char *path = sp_format("%s/%s", test_folder, names[f]);
        FILE *file = fopen(path, "w");
        int count = f < 2 ? TRAIN : TEST;
        assert_non_null(file);
        put32(file, f % 2 == 0 ? 0x803 : 0x801);
        put32(file, (uint32_t)count);
        if (f % 2 == 0) {
            put32(file, SIDE);
            put32(file, SIDE);
        }
        for (int n = 0; n < count; n++)
            for (int p = 0; p < (f % 2 == 0 ? SIDE * SIDE : 1); p++)
                fputc(f % 2 == 0 ? (n + p) % 256 : n % 10, file);
        fclose(file);
        free(path);
    }
}

static sp_status open_set(struct exec_dataset **set, struct sp_error *err)
{
    struct exec_dataset_config config = {.set = "mnist", .dir = test_folder, .mark = {"exp.yaml", 3, 7}};
    return exec_dataset_open(&config, set, err);
}

static void good_files_are_read(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct exec_dataset *set;
    write_files();
    if (open_set(&set, &err) != SP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(set->samples[EXEC_TRAIN], TRAIN);
    assert_int_equal(set->samples[EXEC_TEST], TEST);
    float pixels[SIDE * SIDE];
    assert_int_equal(set->sample(set, EXEC_TRAIN, 13, pixels), 3);
    float expected = ((13 + 5) % 256 / 255.0f - set->mean[0]) / set->deviation[0];
    assert_true(pixels[5] - expected < 1e-5f && expected - pixels[5] < 1e-5f);
    exec_dataset_close(&set);
}

/* Damages one byte, or the length, of one file. */
static void damage(int file, long at, int value, long length)
{
    char *path = sp_format("%s/%s", test_folder, names[file]);
    FILE *stream = fopen(path, "r+");
    assert_non_null(stream);
    if (at >= 0) {
        fseek(stream, at, SEEK_SET);
        fputc(value, stream);
    }
    fclose(stream);
    if (length >= 0)
        assert_int_equal(truncate(path, length), 0);
    free(path);
}

static void damaged_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        int file;
        long at;
        int value;
        long length;
    } cases[] = {
        {0, -1, 0, 0},   {0, -1, 0, 3},   {0, -1, 0, 15},  {0, -1, 0, 1000}, {1, -1, 0, 0},   {1, -1, 0, 12},
        {0, 2, 9, -1},   {0, 3, 1, -1},   {1, 3, 3, -1},   {0, 7, 21, -1},   {1, 7, 21, -1},  {1, 7, 19, -1},
        {0, 11, 27, -1}, {2, 15, 29, -1}, {1, 10, 10, -1}, {3, 9, 255, -1},  {0, 4, 255, -1}, {0, 8, 255, -1},
        {2, -1, 0, 100}, {3, 4, 127, -1}, {1, 4, 127, -1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sp_error err = {0};
        struct exec_dataset *set = NULL;
        write_files();
        damage(cases[c].file, cases[c].at, cases[c].value, cases[c].length);
        if (open_set(&set, &err) != SP_E_INPUT)
            fail_msg("case %zu was taken", c);
        assert_null(set);
        if (strstr(err.text, "idx") == NULL)
            fail_msg("case %zu does not name the file: %s", c, err.text);
        sp_error_fini(&err);
    }
}

/* A gzipped file ends with its checksum, and a pipe is none. */
static void damaged_archives_and_pipes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *command, *said;
    } cases[] = {
        {"gzip train-images-idx3-ubyte", NULL},
        {"truncate -s -8 train-images-idx3-ubyte.gz", "is truncated: its checksum is missing"},
        {"rm train-images-idx3-ubyte.gz && mkfifo train-images-idx3-ubyte", "is a device or pipe, not a file"},
        {"rm train-images-idx3-ubyte && mkdir train-images-idx3-ubyte", "is a folder, not a file"},
        {"rmdir train-images-idx3-ubyte", "cannot open"},
    };
    write_files();
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sp_error err = {0};
        struct exec_dataset *set = NULL;
        test_shell(cases[c].command);
        sp_status status = open_set(&set, &err);
        assert_int_equal(status, cases[c].said == NULL ? SP_OK : SP_E_INPUT);
        if (cases[c].said != NULL && strstr(err.text, cases[c].said) == NULL)
            fail_msg("%s: %s", cases[c].command, err.text);
        exec_dataset_close(&set);
        sp_error_fini(&err);
    }
}

static void a_missing_folder_is_refused(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct exec_dataset *set = NULL;
    static const char *const sets[] = {"mnist", "fashion-mnist"};
    for (int s = 0; s < 2; s++) {
        struct exec_dataset_config config = {.set = sets[s], .dir = "/nowhere/at/all", .mark = {"exp.yaml", 3, 7}};
        char *advice = sp_format("`stalepipe data %s` fetches it", sets[s]);
        assert_int_equal(exec_dataset_open(&config, &set, &err), SP_E_INPUT);
        assert_non_null(strstr(err.text, "/nowhere/at/all"));
        assert_non_null(strstr(err.text, advice));
        assert_int_equal(strstr(err.text, "Debian has it in dataset-fashion-mnist") != NULL, s == 1);
        sp_error_fini(&err);
        free(advice);
    }
}

static struct exec_dataset *synthetic(void)
{
    struct sp_error err = {0};
    struct exec_dataset *set;
    struct exec_dataset_config config = {
        .set = "synthetic", .dir = "auto", .samples = 60, .shape = {1, 3, 3}, .classes = 4, .seed = 9};
    assert_int_equal(exec_dataset_open(&config, &set, &err), SP_OK);
    return set;
}

/* Which training sample has these pixels. */
static int64_t index_of(const struct exec_dataset *set, const float *pixels)
{
    for (int64_t s = 0; s < set->samples[EXEC_TRAIN]; s++) {
        float its[9];
        (void)set->sample(set, EXEC_TRAIN, s, its);
        if (memcmp(its, pixels, sizeof its) == 0)
            return s;
    }
    fail_msg("no sample has these pixels");
    return -1;
}

/* Minibatches of 7 do not divide 60 samples: still each epoch of the stream holds every sample once. */
static void every_epoch_holds_every_sample_once(void **state)
{
    (void)state;
    struct exec_dataset *set = synthetic();
    struct exec_loader_config config = {
        .set = set, .split = EXEC_TRAIN, .batch = 7, .end = 26, .takers = 1, .shuffle = true, .seed = 4, .ahead = 3};
    struct exec_loader *loader;
    struct sp_error err = {0};
    int seen[3][60] = {0}, differ = 0;
    assert_int_equal(exec_loader_create(&config, &loader, &err), SP_OK);
    for (int64_t p = 0; p < 3 * 60; p++) {
        struct exec_batch batch;
        assert_true(exec_loader_acquire(loader, p / 7, &batch));
        int64_t s = index_of(set, batch.pixels + 9 * (p % 7));
        seen[p / 60][s]++;
        differ += s != p % 60;
        if (p % 7 == 6)
            exec_loader_release(loader, p / 7);
    }
    for (int epoch = 0; epoch < 3; epoch++)
        for (int s = 0; s < 60; s++)
            assert_int_equal(seen[epoch][s], 1);
    assert_true(differ > 100);
    exec_loader_destroy(&loader);
    exec_dataset_close(&set);
}

struct taker {
    struct exec_loader *loader;
    const struct exec_loader_config *config;
    int wrong;
};

/* Takes all batches in order and compares them with the set's samples. */
static void *take_all(void *self)
{
    struct taker *taker = self;
    const struct exec_dataset *set = taker->config->set;
    for (int64_t b = 0; b < taker->config->end; b++) {
        struct exec_batch batch;
        float pixels[9];
        if (!exec_loader_acquire(taker->loader, b, &batch)) {
            taker->wrong++;
            return NULL;
        }
        for (int i = 0; i < taker->config->batch; i++) {
            int64_t index = stream_sample(taker->config, b * taker->config->batch + i);
            int32_t label = set->sample(set, EXEC_TRAIN, index, pixels);
            taker->wrong += label != batch.labels[i] || memcmp(pixels, batch.pixels + 9 * i, sizeof pixels) != 0;
        }
        exec_loader_release(taker->loader, b);
    }
    return NULL;
}

static void two_takers_get_the_same_batches_from_any_number_of_threads(void **state)
{
    (void)state;
    struct exec_dataset *set = synthetic();
    for (int workers = 1; workers <= 3; workers++) {
        struct exec_loader_config config = {.set = set,
                                            .split = EXEC_TRAIN,
                                            .batch = 7,
                                            .end = 40,
                                            .shuffle = true,
                                            .seed = 4,
                                            .ahead = 4,
                                            .threads = workers};
        struct sp_error err = {0};
        struct exec_loader *loader;
        assert_int_equal(exec_loader_create(&config, &loader, &err), SP_OK);
        struct taker takers[2] = {{loader, &config, 0}, {loader, &config, 0}};
        pthread_t threads[2];
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, take_all, &takers[t]), 0);
        for (int t = 0; t < 2; t++)
            pthread_join(threads[t], NULL);
        assert_int_equal(takers[0].wrong + takers[1].wrong, 0);
        exec_loader_destroy(&loader);
    }
    exec_dataset_close(&set);
}

/* Ten test samples in batches of four: the third has two and two of padding; the fourth begins again. */
static void the_end_of_the_test_set_is_padded(void **state)
{
    (void)state;
    struct exec_dataset *set = synthetic();
    assert_int_equal(set->samples[EXEC_TEST], 10);
    struct exec_loader_config config = {.set = set, .split = EXEC_TEST, .batch = 4, .end = 6, .ahead = 8};
    struct sp_error err = {0};
    struct exec_loader *loader;
    assert_int_equal(exec_loader_create(&config, &loader, &err), SP_OK);
    for (int64_t b = 0; b < 6; b++) {
        struct exec_batch batch;
        float pixels[9];
        assert_true(exec_loader_acquire(loader, b, &batch));
        for (int i = 0; i < 4; i++) {
            int64_t index = b % 3 * 4 + i;
            int32_t label = index < 10 ? set->sample(set, EXEC_TEST, index, pixels) : -1;
            assert_int_equal(batch.labels[i], label);
            if (index < 10)
                assert_memory_equal(pixels, batch.pixels + 9 * i, sizeof pixels);
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
        cmocka_unit_test(good_files_are_read),
        cmocka_unit_test(damaged_files_are_refused_by_name),
        cmocka_unit_test(damaged_archives_and_pipes_are_refused),
        cmocka_unit_test(a_missing_folder_is_refused),
        cmocka_unit_test(every_epoch_holds_every_sample_once),
        cmocka_unit_test(two_takers_get_the_same_batches_from_any_number_of_threads),
        cmocka_unit_test(the_end_of_the_test_set_is_padded),
    };
    return cmocka_run_group_tests_name("data", tests, test_folder_make, test_folder_remove);
}
