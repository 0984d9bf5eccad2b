/*
 * How long messages between CUDA devices take: measured, written to a cost file, and what the simulator makes of it.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/copies.h"
#include "exec/cuda/cuda.h"
#include "sim/profile_file.h"
#include "sim/simulate.h"
#include "tests/cuda/devices.h"

#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* 20 us and 10 GB/s: the line goes through all points. And with what large ones take too long, in proportion, it still
 * tells the latency of small ones: 1 % of 16 MiB would be 17 us. */
static void a_line_through_messages_is_found(void **state)
{
    (void)state;
    double bytes[] = {4096, 65536, 1 << 20, 16 << 20}, seconds[4];
    struct exec_copies found;
    for (int n = 0; n < 4; n++)
        seconds[n] = 20e-6 + bytes[n] * 1e-10;
    exec_copies_fit(bytes, seconds, 4, &found);
    assert_float_equal(found.latency_s, 20e-6, 1e-10);
    assert_float_equal(found.byte_s, 1e-10, 1e-15);
    seconds[3] *= 1.01;
    exec_copies_fit(bytes, seconds, 4, &found);
    assert_float_equal(found.latency_s, 20e-6, 1e-6);
}

static struct exec_copies measured(void)
{
    struct exec_backend_config config = {.devices = 1, .through_host = devices_through_host};
    struct sp_error err = {0};
    struct exec_copies copies;
    if (exec_copies_measure(&exec_cuda_backend, &config, &copies, &err) != SP_OK)
        fail_msg("%s", err.text);
    return copies;
}

static void expect_near(double found, double expected)
{
    if (found < 0.99 * expected || found > 1.01 * expected)
        fail_msg("%g, expected about %g", found, expected);
}

/* Copies of the stand-in take 20 us and 2 ns a byte. From device to device a message is one of them, through the host
 * two. Events are told of no more than that. */
static void messages_take_what_copies_take(void **state)
{
    (void)state;
    devices_set(2);
    devices_copies(20, 500);
    for (int direct = 1; direct >= 0; direct--) {
        devices_reach(direct);
        struct exec_copies copies = measured();
        assert_true(copies.byte_s > 0 && (direct || !copies.direct));
        if (devices_are_virtual) {
            assert_int_equal(copies.direct, direct);
            expect_near(copies.latency_s, direct ? 20e-6 : 40e-6);
            expect_near(copies.byte_s, direct ? 2e-9 : 4e-9);
        }
    }
    devices_copies(0, 0);
    devices_reach(true);
    assert_int_equal(devices_leaks(), 0);
}

/* The program on the stand-in, beside the suites. */
static void run_program(const char *experiment, const char *profile)
{
    char self[PATH_MAX], *command;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = '\0';
    command =
        sp_format("CUDASIM_DEVICES=2 CUDASIM_COPIES=20:500 %s/../../standin/stalepipe profile --quick -q %s -o %s "
                  ">/dev/null",
                  dirname(self), experiment, profile);
    assert_int_equal(system(command), 0);
    free(command);
}

/* The costs of the experiment by its cost file, and the first transfer of its simulation. */
static void price(const char *experiment, struct sim_cost **cost, struct sp_span *transfer)
{
    struct sp_experiment *e;
    struct sp_network *network;
    struct sp_plan *plan;
    struct sim_result result;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_read(experiment, NULL, 0, &e, &err), SP_OK);
    assert_int_equal(sp_experiment_network(e, &network, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    if (sim_cost_create(e, plan, NULL, cost, &err) != SP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(sim_run(plan, *cost, &(struct sim_config){.spans_per_lane = 10}, &result, &err), SP_OK);
    *transfer = result.trace->lanes[plan->device_count].spans[0];
    sim_result_fini(&result);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
    sp_experiment_destroy(&e);
}

/* LeNet-5 behind its second convolution hands on 400 floats a sample: 6400 bytes of four, each way. */
static void the_simulator_takes_them_from_the_cost_file(void **state)
{
    (void)state;
    if (!devices_are_virtual)
        skip();
    char folder[] = "/tmp/stalepipe-copies-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *experiment = sp_format("%s/e.yaml", folder), *file = sp_format("%s/profile.yaml", folder);
    char *text = sp_format("network: lenet5\ndata: {set: synthetic, samples: 60}\ndevices: {backend: cuda}\n"
                           "pipeline: {cuts: [2], schedule: stale}\ntrain: {batch: 4, iterations: 8}\n"
                           "cost: {model: profile, file: %s}\nsim: {minibatches: 8}\n",
                           file);
    struct sp_error err = {0};
    struct sim_profile profile;
    struct sim_cost *cost;
    struct sp_span transfer;
    assert_int_equal(sp_file_write(experiment, text, &err), SP_OK);
    run_program(experiment, file);
    assert_int_equal(sim_profile_read(file, (struct sp_mark){0}, &profile, &err), SP_OK);
    expect_near(profile.copy_s, 20e-6);
    expect_near(profile.copy_byte_s, 2e-9);
    price(experiment, &cost, &transfer);
    for (int c = 0; c < 2; c++) {
        assert_float_equal(cost->channels[c].latency_s, profile.copy_s, 1e-12);
        assert_float_equal(cost->channels[c].busy_s, 6400 * profile.copy_byte_s, 1e-12);
        assert_true(cost->channels[c].bus >= 0);
    }
    assert_int_equal(transfer.kind, SP_SPAN_TRANSFER);
    assert_float_equal(transfer.end_s - transfer.start_s, 6400 * profile.copy_byte_s, 2e-9);
    sim_cost_destroy(&cost);
    sim_profile_fini(&profile);
    unlink(experiment);
    unlink(file);
    rmdir(folder);
    free(text);
    free(file);
    free(experiment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_through_messages_is_found),
        cmocka_unit_test(messages_take_what_copies_take),
        cmocka_unit_test(the_simulator_takes_them_from_the_cost_file),
    };
    return cmocka_run_group_tests_name("cuda copies", tests, NULL, NULL);
}
