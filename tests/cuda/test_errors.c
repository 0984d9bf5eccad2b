/*
 * What goes wrong with CUDA devices, and what is said of it: nothing hangs, nothing is left behind, and the words name
 * what failed.
 */
#include "exec/copies.h"
#include "exec/cuda/cuda.h"
#include "tests/cuda/devices.h"
#include "tests/cudasim/cudasim.h"
#include "tests/training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct run_setting two_devices = {.network = "lenet5",
                                               .backend = &exec_cuda_backend,
                                               .cuts = {2},
                                               .cut_count = 1,
                                               .schedule = "stale",
                                               .minibatches = 4,
                                               .evaluate_every = 2,
                                               .lr = 0.01f};

/* Opens and trains; what it came to, with its words in *err. */
static sp_status try_run(const struct run_setting *setting, struct sp_error *err)
{
    struct run run;
    sp_status status = run_try_open(setting, &run, err);
    if (status == SP_OK)
        status = exec_trainer_run(run.trainer, err);
    run_close(&run);
    return status;
}

static void expect_words(const struct sp_error *err, const char *words)
{
    if (err->text == NULL || strstr(err->text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err->text != NULL ? err->text : "", words);
}

/* The n-th call of anything fails, n = 1, 2, 3, then in growing steps, until none is left to fail. */
static void must_not_hang_or_leak(const struct run_setting *setting)
{
    int failures = 0;
    devices_set(2);
    for (int64_t n = 1;; n += 1 + n / 12) {
        struct sp_error err = {0};
        cudasim_fail("*", n, 1);
        sp_status status = try_run(setting, &err);
        bool failed = cudasim_failed() != 0;
        cudasim_clear_failures();
        if (!failed) {
            assert_int_equal(status, SP_OK);
            break;
        }
        failures++;
        if (status != SP_OK && strstr(err.text, "no memory to prepare") == NULL) /* the loader's own words */
            expect_words(&err, "cuda: ");
        sp_error_fini(&err);
        assert_int_equal(devices_leaks(), 0);
    }
    print_message("%d calls failed\n", failures);
    assert_true(failures > 50);
}

static void any_call_may_fail(void **state)
{
    (void)state;
    must_not_hang_or_leak(&two_devices);
}

/* Stages wait for each other, so after two minibatches all is replayed. */
static const struct run_setting with_graphs = {.network = "lenet5",
                                               .backend = &exec_cuda_backend,
                                               .cuts = {2},
                                               .cut_count = 1,
                                               .schedule = "sequential",
                                               .graphs = EXEC_GRAPHS_ON,
                                               .minibatches = 6,
                                               .lr = 0.01f};

static void any_call_may_fail_with_graphs(void **state)
{
    (void)state;
    must_not_hang_or_leak(&with_graphs);
}

static void copies_may_fail_at_any_call(void **state)
{
    (void)state;
    struct exec_backend_config config = {.devices = 1};
    struct exec_copies copies;
    int failures = 0;
    bool failed = true;
    devices_set(2);
    for (int64_t n = 1; failed; n += 1 + n / 5) {
        struct sp_error err = {0};
        devices_reach(failures % 2 == 0);
        cudasim_fail("*", n, 1);
        sp_status status = exec_copies_measure(&exec_cuda_backend, &config, &copies, &err);
        failed = cudasim_failed() != 0;
        cudasim_clear_failures();
        failures += failed;
        assert_int_equal(status == SP_OK || strstr(err.text, "cuda: ") != NULL, 1);
        assert_true(failed || status == SP_OK);
        sp_error_fini(&err);
        assert_int_equal(devices_leaks(), 0);
    }
    devices_reach(true);
    print_message("%d calls failed\n", failures);
    assert_true(failures > 20);
}

/* A capture that fails, at its begin, in the middle or at its end, costs the graph and nothing else. LeNet-5 in one
 * stage: B is captured in the second minibatch, F in the third, for its score goes to two entries in turn. */
static void what_cannot_be_captured_is_launched(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int at, code;
    } cases[] = {{"cudaStreamBeginCapture", 1, cudaErrorIllegalState},
                 {"cudaStreamEndCapture", 2, cudaErrorStreamCaptureInvalidated},
                 {"cudaGraphInstantiate", 1, cudaErrorMemoryAllocation},
                 {"cudnnConvolutionForward", 5, CUDNN_STATUS_NOT_SUPPORTED},
                 {"cudnnConvolutionBackwardFilter", 3, CUDNN_STATUS_EXECUTION_FAILED},
                 {"cublasSgemm", 13, CUBLAS_STATUS_NOT_SUPPORTED}};
    struct run_setting s = with_graphs;
    int64_t count, other;
    s.cut_count = 0;
    devices_set(1);
    s.graphs = EXEC_GRAPHS_OFF;
    float *expected = run_once(&s, &count);
    s.graphs = EXEC_GRAPHS_ON;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct run run;
        run_open(&s, &run);
        cudasim_fail(cases[c].call, cases[c].at, cases[c].code);
        run_train(&run);
        assert_true(cudasim_failed());
        cudasim_clear_failures();
        struct exec_graph_count graphs = exec_trainer_graphs(run.trainer);
        assert_int_equal(graphs.refused, 1);
        assert_non_null(strstr(graphs.why, cases[c].call));
        float *found = run_parameters(&run, &other);
        expect_same_numbers(expected, found, count);
        free(found);
        run_close(&run);
        assert_int_equal(devices_leaks(), 0);
    }
    free(expected);
}

/* A GPU may have paths to eight others at most. Where none is left, or none is wanted, messages go through the host. */
static void without_a_path_messages_go_through_the_host(void **state)
{
    (void)state;
    struct run_setting s = two_devices;
    int64_t count;
    devices_set(2);
    float *expected = run_once(&s, &count);
    int64_t direct = cudasim_calls("cudaMemcpyPeerAsync");
    assert_true(direct > 0);
    for (int n = 0; n < 3; n++) {
        s.through_host = n == 2;
        if (n < 2) /* from the first to the second, and back */
            cudasim_fail("cudaDeviceEnablePeerAccess", n + 1, cudaErrorTooManyPeers);
        float *found = run_once(&s, &count);
        assert_int_equal(cudasim_failed(), n < 2);
        cudasim_clear_failures();
        assert_int_equal(cudasim_calls("cudaMemcpyPeerAsync"), direct);
        expect_same_numbers(expected, found, count);
        free(found);
    }
    free(expected);
    assert_int_equal(devices_leaks(), 0);
}

/* Work that fails on the device is told where it happened, or a little later, and with what was under way. */
static void a_failing_device_names_its_instruction(void **state)
{
    (void)state;
    static const char *const calls[] = {"cudnnConvolutionForward", "cudnnPoolingBackward", "cudaMemcpyPeerAsync",
                                        "cublasSgemm", "cudaGraphLaunch"};
    devices_set(2);
    for (int c = 0; c < 5; c++) {
        struct sp_error err = {0};
        cudasim_fail_later(calls[c], 5, cudaErrorIllegalAddress);
        assert_int_equal(try_run(c == 4 ? &with_graphs : &two_devices, &err), SP_E_BACKEND);
        assert_true(cudasim_failed());
        cudasim_clear_failures();
        /* Whichever call came next tells it, of a library or of a kernel of ours: the device stays broken. */
        expect_words(&err, strstr(err.text, "cuda: exec_") != NULL ? "cuda: exec_cuda_" : "cuda: cu");
        expect_words(&err, "while doing ");
        expect_words(&err, " of stage ");
        expect_words(&err, "on device ");
        print_message("%s\n", err.text);
        sp_error_fini(&err);
        assert_int_equal(devices_leaks(), 0);
    }
}

static void too_little_memory_is_told_with_numbers(void **state)
{
    (void)state;
    struct sp_error err = {0};
    cudasim_set_devices(2, 64 << 10);
    assert_int_equal(try_run(&two_devices, &err), SP_E_MEMORY);
    expect_words(&err, "cuda: the plan needs ");
    expect_words(&err, " MiB on GPU ");
    sp_error_fini(&err);
    assert_int_equal(devices_leaks(), 0);
}

/* What handles of the libraries take is not there for the plan; and where there is too little for these, it is memory
 * that is missing, with the library's own words. */
static void what_libraries_take_is_told_as_memory(void **state)
{
    (void)state;
    static const struct {
        size_t bytes, handle_bytes;
        const char *words[2];
    } cases[] = {{1 << 20, 320 << 10, {"cuda: the plan needs ", " MiB 0.1 are free"}},
                 {8 << 20, 4 << 20, {"cuda: cublasCreate_v2: out of memory: ", "ALLOC_FAILED"}},
                 {4 << 20,
                  8 << 20,
                  {"cuda: cudnnCreate: out of memory: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
                   ": the stand-in has no memory left for a handle"}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sp_error err = {0};
        struct run_setting s = two_devices;
        cudasim_set_devices(2, cases[c].bytes);
        cudasim_set_handle_bytes(cases[c].handle_bytes);
        assert_int_equal(try_run(&s, &err), SP_E_MEMORY);
        cudasim_set_handle_bytes(0);
        for (int w = 0; w < 2; w++)
            expect_words(&err, cases[c].words[w]);
        assert_null(strchr(err.text, '\n'));
        sp_error_fini(&err);
        assert_int_equal(devices_leaks(), 0);
    }
    devices_set(2);
}

/* What a run was told. */
struct told {
    int count;
    char first[512];
};

static void listen(void *self, const char *text)
{
    struct told *told = self;
    if (told->count++ == 0)
        snprintf(told->first, sizeof told->first, "%s", text);
}

static void expect_close(const float *expected, const float *found, int64_t count)
{
    float largest = 0, difference = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(expected[i]));
        difference = fmaxf(difference, fabsf(expected[i] - found[i]));
        assert_true(isfinite(found[i]));
    }
    assert_true(difference < 1e-4f * largest);
}

/* cuDNN offers an algorithm and does not do it: the next one is taken, which need not be told. */
static void what_is_offered_and_refused_is_passed_over(void **state)
{
    (void)state;
    static const char *const calls[] = {"cudnnGetConvolutionForwardWorkspaceSize",
                                        "cudnnGetConvolutionBackwardDataWorkspaceSize",
                                        "cudnnGetConvolutionBackwardFilterWorkspaceSize"};
    struct told told = {0};
    struct run_setting s = two_devices;
    int64_t count;
    devices_set(2);
    float *expected = run_once(&s, &count);
    s.tell = listen;
    s.tell_self = &told;
    for (int c = 0; c < 3; c++) {
        cudasim_fail(calls[c], 1, CUDNN_STATUS_NOT_SUPPORTED);
        float *found = run_once(&s, &count);
        assert_true(cudasim_failed());
        cudasim_clear_failures();
        expect_close(expected, found, count);
        free(found);
    }
    assert_int_equal(told.count, 0);
    free(expected);
    assert_int_equal(devices_leaks(), 0);
}

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_errors.XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* A run that was stopped after a checkpoint is continued; its parameters, which the caller frees. */
static float *continue_run(struct run_setting s, struct told *told)
{
    char *path, *notes;
    int64_t count;
    struct sp_error err = {0};
    assert_int_equal(exec_checkpoint_find(folder, &path, &notes, &err), SP_OK);
    assert_non_null(path);
    s.checkpoint.resume = path;
    s.tell = listen;
    s.tell_self = told;
    *told = (struct told){0};
    float *found = run_once(&s, &count);
    free(path);
    free(notes);
    return found;
}

/* On other devices, or by another cuDNN, an algorithm may not be there that the run had so far. */
static void a_run_is_continued_where_its_algorithms_are_refused(void **state)
{
    (void)state;
    static const volatile sig_atomic_t asked_to_stop = 1;
    struct run_setting s = two_devices;
    struct sp_error err = {0};
    struct told told;
    int64_t count;
    s.minibatches = 20;
    devices_set(2);
    float *expected = run_once(&s, &count);
    s.checkpoint = (struct exec_checkpoint_config){.folder = folder, .keep = 9};
    s.stop = &asked_to_stop;
    assert_int_equal(try_run(&s, &err), SP_E_INTERRUPTED);
    sp_error_fini(&err);
    s.stop = NULL;
    s.checkpoint.folder = NULL;
    float *found = continue_run(s, &told);
    assert_int_equal(told.count, 0);
    expect_same_numbers(expected, found, count);
    free(found);

    cudasim_fail("cudnnGetConvolutionBackwardFilterWorkspaceSize", 1, CUDNN_STATUS_NOT_SUPPORTED);
    found = continue_run(s, &told);
    assert_true(cudasim_failed());
    cudasim_clear_failures();
    assert_int_equal(told.count, 1);
    assert_non_null(strstr(told.first, "cuDNN does not do here what layer "));
    assert_non_null(strstr(told.first, " was computed with so far (filter, algorithm "));
    expect_close(expected, found, count);
    free(found);

    devices_set(2);
    for (int device = 0; device < 2; device++)
        cudasim_set_capability(device, 90);
    found = continue_run(s, &told);
    assert_int_equal(told.count, 1);
    assert_non_null(strstr(told.first, " is continued by devices of compute capability 9.0, "));
    expect_close(expected, found, count);
    free(found);
    free(expected);
    devices_set(2);
    assert_int_equal(devices_leaks(), 0);
}

static void without_devices_it_says_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *words;
    } cases[] = {{cudaErrorInsufficientDriver, "the NVIDIA driver knows CUDA "},
                 {cudaErrorNoDevice, "cuda: there is a driver, but no NVIDIA GPU"}};
    devices_set(1);
    for (int c = 0; c < 2; c++) {
        struct sp_error err = {0};
        cudasim_fail("cudaGetDeviceCount", 1, cases[c].code);
        assert_int_equal(try_run(&two_devices, &err), SP_E_UNSUPPORTED);
        cudasim_clear_failures();
        expect_words(&err, cases[c].words);
        sp_error_fini(&err);
    }
}

static void chips_that_do_not_fit_are_named(void **state)
{
    (void)state;
    static const struct {
        int capabilities[2];
        const char *words;
    } cases[] = {{{70, 70}, "cuda: GPU 0, stand-in 0, has compute capability 7.0; 7.5 or newer is needed"},
                 {{90, 61}, "cuda: GPU 1, stand-in 1, has compute capability 6.1; 7.5 or newer is needed"},
                 {{75, 90}, "cuda: GPU 0 is a stand-in 0 and GPU 1 a stand-in 1; a run needs GPUs of one kind"}};
    for (int c = 0; c < 3; c++) {
        struct sp_error err = {0};
        devices_set(2);
        for (int device = 0; device < 2; device++)
            cudasim_set_capability(device, cases[c].capabilities[device]);
        assert_int_equal(try_run(&two_devices, &err), SP_E_UNSUPPORTED);
        expect_words(&err, cases[c].words);
        sp_error_fini(&err);
        assert_int_equal(devices_leaks(), 0);
    }
    devices_set(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(any_call_may_fail_with_graphs),
        cmocka_unit_test(what_cannot_be_captured_is_launched),
        cmocka_unit_test(copies_may_fail_at_any_call),
        cmocka_unit_test(without_a_path_messages_go_through_the_host),
        cmocka_unit_test(a_failing_device_names_its_instruction),
        cmocka_unit_test(too_little_memory_is_told_with_numbers),
        cmocka_unit_test(what_libraries_take_is_told_as_memory),
        cmocka_unit_test(what_is_offered_and_refused_is_passed_over),
        cmocka_unit_test_setup_teardown(a_run_is_continued_where_its_algorithms_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test(without_devices_it_says_what_is_missing),
        cmocka_unit_test(chips_that_do_not_fit_are_named),
    };
    return cmocka_run_group_tests_name("cuda errors", tests, NULL, NULL);
}
