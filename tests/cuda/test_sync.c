/*
 * Every way in which one thing waits for another on CUDA devices, in runs of a few seconds: under random delays they
 * must give what one interpreter without delays gives. With ThreadSanitizer a missing wait is told even where it does
 * no harm; tests/cuda/mutations takes them away one by one.
 */
#include "exec/cuda/cuda.h"
#include "tests/cuda/devices.h"
#include "tests/training.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static float *train(const struct run_setting *setting, int64_t *count)
{
    struct run_setting told = *setting;
    struct run run;
    told.through_host = devices_through_host;
    run_open(&told, &run);
    run_train(&run);
    float *all = run_numbers(&run, count);
    run_close(&run);
    return all;
}

/* One interpreter without delays, then threads with them. */
static void timing_must_not_matter(struct run_setting s, int devices, bool reach)
{
    int64_t count, other;
    devices_set(devices);
    devices_reach(reach);
    devices_delay(0, 0);
    s.backend = &exec_cuda_backend;
    s.lr = 0.02f;
    s.momentum = 0.9f;
    s.workers = EXEC_WORKERS_ONE;
    float *expected = train(&s, &count);
    s.workers = EXEC_WORKERS_THREADS;
    for (int seed = 1; seed <= 2; seed++) {
        devices_delay((uint64_t)seed, 300);
        float *found = train(&s, &other);
        assert_int_equal(count, other);
        expect_same_numbers(expected, found, count);
        free(found);
    }
    devices_delay(0, 0);
    devices_reach(true);
    free(expected);
}

/* The stage in the middle is half of a residual block: it hands a shortcut on. */
static const struct run_setting chain = {
    .network = "resnet8", .cuts = {3, 4}, .cut_count = 2, .schedule = "stale", .minibatches = 8, .evaluate_every = 4};

static void a_pipeline_of_devices_that_reach_each_other(void **state)
{
    (void)state;
    struct run_setting s = chain;
    timing_must_not_matter(s, 3, true);
    s.evaluate_every = 0;
    timing_must_not_matter(s, 3, true);
}

static void a_pipeline_through_host_memory(void **state)
{
    (void)state;
    timing_must_not_matter(chain, 3, false);
}

static void stages_that_share_a_device(void **state)
{
    (void)state;
    int placed[] = {0, 0, 1, 1};
    struct run_setting s = chain;
    s.cuts[0] = 1;
    s.cuts[1] = 3;
    s.cuts[2] = 4;
    s.cut_count = 3;
    s.schedule = "1f1b";
    s.microbatches = 2;
    s.forward_devices = placed;
    timing_must_not_matter(s, 2, true);
}

static void forward_and_backward_on_two_devices(void **state)
{
    (void)state;
    int forward[] = {0, 1}, backward[] = {2, 1};
    struct run_setting s = {.network = "lenet5",
                            .cuts = {2},
                            .cut_count = 1,
                            .schedule = "stale",
                            .forward_devices = forward,
                            .backward_devices = backward,
                            .minibatches = 12,
                            .evaluate_every = 6};
    timing_must_not_matter(s, 3, true);
    s.schedule = "1f1b-async";
    s.weights = SP_WEIGHTS_STASH;
    timing_must_not_matter(s, 3, false);
}

static void remove_folder(const char *folder)
{
    char path[512];
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(folder);
}

/* Checkpoints in the middle of a full pipeline, and a run that goes on from one of them. */
static void a_resumed_run_is_the_uninterrupted_one(void **state)
{
    (void)state;
    char folder[] = "/tmp/stalepipe-cuda-XXXXXX", path[128];
    struct run_setting s = chain;
    int64_t count, other;
    assert_non_null(mkdtemp(folder));
    devices_set(3);
    s.backend = &exec_cuda_backend;
    s.lr = 0.02f;
    s.momentum = 0.9f;
    float *expected = train(&s, &count);
    s.checkpoint = (struct exec_checkpoint_config){.folder = folder, .epoch_minibatches = 2, .keep = 9};
    devices_delay(7, 300);
    float *found = train(&s, &other);
    expect_same_numbers(expected, found, count);
    free(found);
    snprintf(path, sizeof path, "%s/minibatch-000000004.safetensors", folder);
    s.checkpoint = (struct exec_checkpoint_config){.resume = path};
    found = train(&s, &other);
    assert_int_equal(count, other);
    expect_same_numbers(expected, found, count);
    devices_delay(0, 0);
    free(found);
    free(expected);
    remove_folder(folder);
}

static void nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(devices_leaks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipeline_of_devices_that_reach_each_other),
        cmocka_unit_test(a_pipeline_through_host_memory),
        cmocka_unit_test(stages_that_share_a_device),
        cmocka_unit_test(forward_and_backward_on_two_devices),
        cmocka_unit_test(a_resumed_run_is_the_uninterrupted_one),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests_name("cuda sync", tests, NULL, NULL);
}
