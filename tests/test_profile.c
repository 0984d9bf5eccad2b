/*
 * Cost files: written and read back, refused where wrong, and what they cost by hand.
 */
#include "common/alloc.h"
#include "common/experiment.h"
#include "common/file.h"
#include "sim/cost.h"
#include "sim/profile_file.h"
#include "tests/searches.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];

static int make_file(void **state)
{
    (void)state;
    strcpy(path, "/tmp/stalepipe-profile-XXXXXX");
    int file = mkstemp(path);
    return file < 0 || close(file) != 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static const char *const layers[] = {"conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten1",
                                     "fc1",   "relu3", "fc2",   "relu4", "fc3",   "loss1"};
enum { LAYERS = 13, SIZES = 2 };

/*
 * LeNet-5 at 64 and 128 samples: F of layer l (from 0) takes (l + 1) / 10 ms + 1 us a sample, B twice that, evaluation
 * half; U 10 us + 1 ns a parameter; convolutions 1.5 times as long with several minibatches in flight; a byte from
 * another device costs 0.1 ns.
 */
static void write_file(const char *cpu, const char *network, double held_out, double load_sample_s, int cores)
{
    const struct sp_network_spec spec = {.builtin = "lenet5"};
    struct sp_network *lenet;
    struct sim_profile_layer measured[LAYERS * SIZES];
    struct sim_profile_input inputs[SIZES] = {{128, 1e-3}, {64, 0.5e-3}};
    struct sim_roofline_row row = {.type = SP_LAYER_CONVOLUTION,
                                   .peak = 1e9,
                                   .bandwidth_bytes_per_s = 1e15,
                                   .launch_s = 1e-6,
                                   .least = 1,
                                   .most = 1e12,
                                   .points = 3};
    struct sim_profile profile = {.backend = "cpu",
                                  .convolution = "auto",
                                  .threads = 1,
                                  .flops = 1e11,
                                  .bytes_per_s = 1e10,
                                  .update_s = 1e-5,
                                  .update_parameter_s = 1e-9,
                                  .handoff_s = 1e-6,
                                  .handover_s = 2e-6,
                                  .patience_s = 2e-5,
                                  .wake_s = 5e-5,
                                  .restart_s = 1e-5,
                                  .received_byte_s = 1e-10,
                                  .load_sample_s = load_sample_s,
                                  .in_flight = {1.5, 1, 1, 1, 1},
                                  .slowdown = {{0.25, 0, 0.125}},
                                  .noise_forward = 0.02,
                                  .noise_backward = 0.03,
                                  .noise_message = 0.2,
                                  .noise_run = 0.01,
                                  .inputs = inputs,
                                  .input_count = SIZES,
                                  .layers = measured,
                                  .layer_count = LAYERS * SIZES,
                                  .fit = {&row, 1, 12, held_out, 2 * held_out}};
    struct sp_error err = {0};
    assert_int_equal(sp_network_create(&spec, (struct sp_shape){1, 28, 28}, 10, &lenet, &err), SP_OK);
    sim_profile_set_network(&profile, lenet);
    sp_network_destroy(&lenet);
    free(profile.network);
    profile.network = sp_strdup(network);
    sim_profile_machine(&profile);
    char *here = profile.cpu;
    profile.cpu = cpu != NULL ? (char *)cpu : here;
    profile.cores = cores > 0 ? cores : profile.cores;
    for (int i = 0; i < LAYERS * SIZES; i++) {
        int batch = i < LAYERS ? 128 : 64, l = i % LAYERS;
        double forward = (l + 1) * 1e-4 + 1e-6 * batch;
        measured[i] = (struct sim_profile_layer){(char *)layers[l], batch, forward, 2 * forward, forward / 2, 0.02};
    }
    assert_int_equal(sim_profile_write(&profile, path, &err), SP_OK);
    free(here);
    /* What is not on the heap stays out of fini. */
    profile.cpu = profile.backend = profile.convolution = NULL;
    profile.inputs = NULL;
    profile.layers = NULL;
    profile.fit = (struct sim_roofline){0};
    sim_profile_fini(&profile);
}

static void write_lines(const char *cpu, const char *network, double held_out)
{
    write_file(cpu, network, held_out, 0, 0);
}

static sp_status cost_of(const char *const *more, int count, struct sim_cost **cost, struct sp_error *err)
{
    const char *sets[8] = {"network=lenet5", "cost.model=profile", NULL};
    char *file_set = sp_format("cost.file=%s", path), experiment_path[] = "/tmp/stalepipe-experiment-XXXXXX";
    struct sp_experiment *e;
    struct sp_network *network;
    struct sp_plan *plan;
    int file = mkstemp(experiment_path);
    close(file);
    sets[2] = file_set;
    for (int s = 0; s < count; s++)
        sets[3 + s] = more[s];
    assert_int_equal(sp_experiment_read(experiment_path, sets, 3 + count, &e, err), SP_OK);
    assert_int_equal(sp_experiment_network(e, &network, err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, err), SP_OK);
    sp_status status = sim_cost_create(e, plan, NULL, cost, err);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
    sp_experiment_destroy(&e);
    unlink(experiment_path);
    free(file_set);
    return status;
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    struct sim_profile profile;
    struct sp_error err = {0};
    write_lines("a \"quoted\" name", "lenet5", 0.1);
    assert_int_not_equal(sim_profile_read(path, (struct sp_mark){0}, &profile, &err), SP_OK); /* no such processor */
    sp_error_fini(&err);
    write_lines("AMD EPYC (tm) 9", "lenet5", 0.1);
    assert_int_equal(sim_profile_read(path, (struct sp_mark){0}, &profile, &err), SP_OK);
    assert_string_equal(profile.cpu, "AMD EPYC (tm) 9");
    assert_int_equal(profile.layer_count, 26);
    assert_string_equal(profile.layers[25].layer, "loss1");
    assert_int_equal(profile.layers[25].batch, 64);
    assert_float_equal(profile.layers[25].backward_s, 2 * (13e-4 + 64e-6), 1e-9);
    assert_float_equal(profile.slowdown[SIM_CLASS_CONVOLUTION][SIM_CLASS_POOLING], 0.125, 1e-9);
    assert_float_equal(profile.in_flight[SIM_CLASS_CONVOLUTION], 1.5, 1e-9);
    assert_int_equal(profile.fit.count, 1);
    assert_int_equal(profile.shape_count, 13);
    assert_string_equal(profile.shapes[3].layer, "conv2");
    assert_string_equal(
        profile.shapes[3].is,
        "convolution 6x14x14 to 16x10x10 kernel 5 stride 1 biases 16 of 3"); /* reads tensor 3, pool1's */
    assert_int_equal(profile.fit.rows[0].type, SP_LAYER_CONVOLUTION);
    assert_float_equal(profile.fit.held_ninth, 0.2, 1e-9);
    sim_profile_fini(&profile);
}

/*
 * Cut after weight layer 2, 128 samples: layers 0 to 6, that is (1 + .. + 7) / 10 ms + 7 * 0.128 ms, and 1 ms for the
 * input. Three minibatches are in flight there: the convolutions, layers 0 and 3, take (0.1 + 0.4 + 2 * 0.128) ms / 2
 * more. Layers 7 to 12 are the second stage, with one in flight: (8 + .. + 13) / 10 ms + 6 * 0.128 ms; and 48120 +
 * 10164 + 850 parameters. 400 floats of each sample cross the cut. Who has slept loses 50 us and then 10.
 */
static void stages_cost_the_sum_of_their_layers(void **state)
{
    (void)state;
    const char *more[] = {"pipeline.cuts=[2]", "pipeline.schedule=stale"};
    struct sim_cost *cost;
    struct sp_error err = {0};
    double convolutions = 1.5 * (0.5e-3 + 0.256e-3), first = 2.8e-3 + 7 * 0.128e-3 + (0.5e-3 + 0.256e-3) / 2;
    write_lines(NULL, "lenet5", 0.1);
    assert_int_equal(cost_of(more, 2, &cost, &err), SP_OK);
    assert_float_equal(cost->stages[0].forward_s, first + 1e-3, 1e-9);
    double crossing = 400 * 4 * 128 * 1e-10, second = 6.3e-3 + 6 * 0.128e-3;
    assert_float_equal(cost->stages[0].backward_s, 2 * first + crossing, 1e-9);
    assert_float_equal(cost->stages[1].forward_s, second + crossing, 1e-9);
    assert_float_equal(cost->stages[1].backward_s, 2 * second, 1e-9);
    assert_float_equal(cost->stages[1].evaluate_s, second / 2, 1e-9);
    assert_float_equal(cost->stages[1].update_s, 1e-5 + 59134e-9, 1e-10);
    assert_float_equal(cost->channels[0].latency_s, 2e-6, 1e-12);
    assert_float_equal(cost->handoff_s, 1e-6, 1e-12);
    assert_float_equal(cost->patience_s, 2e-5, 1e-12);
    assert_float_equal(cost->wake_s, 6e-5, 1e-12);
    assert_float_equal(cost->noise.message, 0.2, 1e-12);
    const double *mix =
        cost->contention.mix + sim_cost_row(cost, 0, 0, SIM_WORK_BACKWARD) * cost->contention.class_count;
    assert_float_equal(mix[SIM_CLASS_CONVOLUTION], convolutions / (first + crossing / 2), 1e-6);
    assert_float_equal(mix[SIM_CLASS_FULLY_CONNECTED], 0, 1e-12);
    assert_float_equal(cost->contention.slowdown[0], 0.25, 1e-12);
    assert_float_equal(cost->noise.work[sim_cost_row(cost, 0, 1, SIM_WORK_BACKWARD)], 0.03, 1e-12);
    assert_int_equal(cost->note_count, 0);
    sim_cost_destroy(&cost);
}

/*
 * Cut after weight layer 2 on two devices of two cores, 128 samples of 0.1 ms to load. One device after the other keeps
 * a core idle all the time: loading delays nothing. Pipelined, the second stage is the busier one, and what the first
 * leaves of its time is for loading; the rest delays its F.
 */
static void loading_takes_what_devices_leave(void **state)
{
    (void)state;
    static const char *const schedules[] = {"pipeline.schedule=sequential", "pipeline.schedule=stale"};
    for (int s = 0; s < 2; s++) {
        struct sim_cost *costs[2];
        double busy_s[2], taken_s[2];
        for (int loading = 0; loading < 2; loading++) {
            const char *more[] = {"pipeline.cuts=[2]", schedules[s], "cost.force=true"};
            struct sp_error err = {0};
            write_file(NULL, "lenet5", 0.1, loading * 1e-4, 2);
            assert_int_equal(cost_of(more, 3, &costs[loading], &err), SP_OK);
        }
        for (int i = 0; i < 2; i++) {
            const struct sim_stage_cost *stage = &costs[0]->stages[i];
            busy_s[i] = stage->forward_s + stage->backward_s + stage->update_s;
            taken_s[i] = costs[1]->stages[i].forward_s - stage->forward_s;
        }
        double left_s = busy_s[1] - busy_s[0], expected_s = s == 0 ? 0 : 12.8e-3 - left_s;
        assert_true(left_s > 1e-3 && left_s < 12e-3);
        for (int i = 0; i < 2; i++) {
            assert_float_equal(taken_s[i], i == 0 ? expected_s : 0, 1e-9);
            sim_cost_destroy(&costs[i]);
        }
    }
}

/* 96 samples lie halfway between 64 and 128, 32 on the line through them; what is outside is said. */
static void other_sizes_lie_on_the_line(void **state)
{
    (void)state;
    struct sim_cost *cost;
    struct sp_error err = {0};
    write_lines(NULL, "lenet5", 0.1);
    for (int batch = 96; batch >= 32; batch -= 64) {
        char *batch_set = sp_format("train.batch=%d", batch);
        const char *more[] = {batch_set};
        assert_int_equal(cost_of(more, 1, &cost, &err), SP_OK);
        double layers_s = 9.1e-3 + 13e-6 * batch;
        assert_float_equal(cost->stages[0].backward_s, 2 * layers_s, 1e-8);
        assert_float_equal(cost->stages[0].forward_s, layers_s + 1e-3 * batch / 128, 1e-8);
        assert_int_equal(cost->note_count, batch == 32);
        if (batch == 32)
            assert_int_equal(cost->notes[0].kind, SIM_NOTE_EXTRAPOLATED);
        sim_cost_destroy(&cost);
        free(batch_set);
    }
}

/*
 * 3 ms at 64 samples and 7 ms at 128 make -0.75 ms at 4: the first layer's F takes none then, which is said, and the
 * second's, 2 ms at both, still takes its time. At 64 nothing is said.
 */
static void lines_that_fall_below_nothing_are_told(void **state)
{
    (void)state;
    struct sim_profile profile;
    struct sp_error err = {0};
    write_lines(NULL, "lenet5", 0.1);
    assert_int_equal(sim_profile_read(path, (struct sp_mark){path, 0, 0}, &profile, &err), SP_OK);
    for (int l = 0; l < profile.layer_count; l++) {
        struct sim_profile_layer *m = &profile.layers[l];
        m->forward_s = strcmp(m->layer, "relu1") == 0   ? 2e-3
                       : strcmp(m->layer, "conv1") != 0 ? 0
                       : m->batch == 64                 ? 3e-3
                                                        : 7e-3;
    }
    assert_int_equal(sim_profile_write(&profile, path, &err), SP_OK);
    sim_profile_fini(&profile);
    for (int batch = 4; batch <= 64; batch += 60) {
        char *batch_set = sp_format("train.batch=%d", batch);
        const char *more[] = {batch_set};
        struct sim_cost *cost;
        int said = 0;
        assert_int_equal(cost_of(more, 1, &cost, &err), SP_OK);
        assert_float_equal(cost->stages[0].forward_s, (batch == 4 ? 2e-3 : 5e-3) + 1e-3 * batch / 128, 1e-9);
        for (int n = 0; n < cost->note_count; n++)
            said +=
                cost->notes[n].kind == SIM_NOTE_EXTRAPOLATED && strstr(cost->notes[n].text, "falls below 0 s") != NULL;
        assert_int_equal(said, batch == 4);
        sim_cost_destroy(&cost);
        free(batch_set);
    }
}

static void profiles_of_other_machines_are_refused(void **state)
{
    (void)state;
    struct sim_cost *cost;
    struct sp_error err = {0};
    const char *force[] = {"cost.force=true"}, *threads[] = {"devices.threads=2"};
    write_lines("some other processor", "lenet5", 0.1);
    assert_int_equal(cost_of(NULL, 0, &cost, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "was measured on some other processor"));
    sp_error_fini(&err);
    assert_int_equal(cost_of(force, 1, &cost, &err), SP_OK);
    sim_cost_destroy(&cost);
    write_lines(NULL, "lenet5", 0.1);
    assert_int_equal(cost_of(threads, 1, &cost, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "1 threads"));
    sp_error_fini(&err);
}

static const struct sim_note *find_note(const struct sim_cost *cost, enum sim_note_kind kind)
{
    for (int n = 0; n < cost->note_count; n++)
        if (cost->notes[n].kind == kind)
            return &cost->notes[n];
    return NULL;
}

/* Measured on another network: LeNet-5 by formulas, where these were good enough, and it is said. */
static void other_networks_are_priced_by_formulas(void **state)
{
    (void)state;
    struct sim_cost *cost;
    struct sp_error err = {0};
    write_lines(NULL, "vgg16", 0.3);
    assert_int_equal(cost_of(NULL, 0, &cost, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "measured vgg16, not lenet5"));
    assert_non_null(strstr(err.text, "off by 30 % (median) on the 12 measurements"));
    sp_error_fini(&err);
    write_lines(NULL, "vgg16", 0.1);
    assert_int_equal(cost_of(NULL, 0, &cost, &err), SP_OK);
    assert_non_null(strstr(find_note(cost, SIM_NOTE_OTHER)->text, "lenet5 was not measured"));
    assert_non_null(find_note(cost, SIM_NOTE_UNCALIBRATED)); /* there is a row for F of convolutions only */
    /* F of the convolutions, at 1 GFLOP/s: 128 * (2 * 6 * 25 * 784 + 2 * 16 * 150 * 100) operations, and the input. */
    double least = 128 * (2.0 * 6 * 25 * 784 + 2.0 * 16 * 150 * 100) / 1e9 + 2e-6 + 1e-3;
    assert_in_range((uintmax_t)(1e9 * cost->stages[0].forward_s), (uintmax_t)(1e9 * least),
                    (uintmax_t)(1e9 * (least + 2e-3)));
    sim_cost_destroy(&cost);
}

/*
 * The network that was measured is known by its layers, not by its name: LeNet-5 with three channels has another first
 * convolution, LeNet-5 with eleven classes another last layer, and neither is what took those seconds.
 */
static void other_layers_of_the_same_name_were_not_measured(void **state)
{
    (void)state;
    static const char *const others[][2] = {
        {"data.set=cifar10", "conv1, convolution 1x28x28 to 6x28x28 kernel 5 stride 1 pad 2 biases 6 of 0, not with "
                             "conv1, convolution 3x32x32 to 6x32x32 kernel 5 stride 1 pad 2 biases 6 of 0"},
        {"data={set: synthetic, shape: [1, 28, 28], classes: 11}",
         "fc3, fully-connected 84x1x1 to 10x1x1 biases 10 of 11, not with fc3, fully-connected 84x1x1 to 11x1x1 biases "
         "11 of 11"},
    };
    for (int k = 0; k < 2; k++) {
        struct sim_cost *cost;
        struct sp_error err = {0};
        write_lines(NULL, "lenet5", 0.3);
        assert_int_equal(cost_of(others[k], 1, &cost, &err), SP_E_INPUT);
        if (strstr(err.text, others[k][1]) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", others[k][1], err.text);
        assert_non_null(strstr(err.text, "off by 30 % (median) on the 12 measurements"));
        sp_error_fini(&err);
        write_lines(NULL, "lenet5", 0.1);
        assert_int_equal(cost_of(others[k], 1, &cost, &err), SP_OK);
        assert_non_null(find_note(cost, SIM_NOTE_OTHER));
        assert_non_null(strstr(find_note(cost, SIM_NOTE_OTHER)->text, "lenet5 was not measured"));
        sim_cost_destroy(&cost);
    }
}

static void wrong_files_are_told(void **state)
{
    (void)state;
#define SHAPES "shapes: [{layer: conv1, is: convolution}]\n"
#define HEAD                                                                                                           \
    "machine: {cpu: a, cores: 2, backend: cpu, threads: 1, convolution: auto}\n"                                       \
    "speed: {flops: 1e9, bytes: 1e9, load: 0}\nnetwork: lenet5\n"                                                      \
    "stage: {update: 0, update_parameter: 0, handoff: 0, handover: 0, patience: 0, wake: 0, restart: 0, "              \
    "received_byte: 0, "                                                                                               \
    "start: 0, touch_byte: 0, load_sample: 0}\n"                                                                       \
    "noise: {forward: 0, backward: 0, update: 0, message: 0, run: 0}\n" SHAPES                                         \
    "held_out: {points: 0, median: 0, ninth: "                                                                         \
    "0}\nfit: []\n"
#define EVERY  "{convolution: 1, fully-connected: 1, pooling: 1, elementwise: 1, update: 1}"
#define FLIGHT "in_flight: " EVERY "\n"
#define BESIDE                                                                                                         \
    "contention: {convolution: " EVERY ", fully-connected: " EVERY ", pooling: " EVERY ", elementwise: " EVERY         \
    ", update: " EVERY "}\n"
#define INPUTS "inputs: [{batch: 1, forward: 0}]\n"
#define LAYER  "{layer: conv1, batch: 1, forward: 1, backward: 1, evaluate: 1, spread: 0}"
#define ALL    HEAD FLIGHT BESIDE INPUTS
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "the file is empty"},
        {"[1]\n", ":1:1: "},
        {"a: [\n", "stalepipe-profile"},
        {HEAD FLIGHT INPUTS "layers: [" LAYER "]\n", "\"contention\" must be a map"},
        {HEAD BESIDE INPUTS "layers: [" LAYER "]\n", "\"in_flight\" is missing"},
        {HEAD FLIGHT BESIDE "layers: [" LAYER "]\n", "\"inputs\" must be a list"},
        {HEAD FLIGHT "contention: {convolution: " EVERY "}\n" INPUTS "layers: [" LAYER "]\n",
         "\"fully-connected\" is missing"},
        {HEAD "in_flight: {convolution: -1, fully-connected: 1, pooling: 1, elementwise: 1, update: 1}\n" BESIDE INPUTS
              "layers: [" LAYER "]\n",
         "out of range"},
        {ALL, "\"layers\" must be a list"},
        {ALL "layers: 3\n", ":12:9: profile: \"layers\" must be a list"},
        {ALL "layers: []\n", "\"layers\" must be a list"},
        {ALL "layers: [" LAYER ", " LAYER "]\n", "conv1 at batch 1 stands here a second time"},
        {ALL "layers: [{batch: 1}]\n", "\"layer\""},
        {ALL "layers: [{layer: c, batch: 0, forward: 1, backward: 1, evaluate: 1, spread: 0}]\n", "out of range"},
        {ALL "layers: [{layer: c, batch: 1, forward: x, backward: 1, evaluate: 1, spread: 0}]\n", ":12:"},
        {"network: lenet5\n", "an older file, which does not say what layers it measured; measure again"},
        {ALL "layrs: []\n", "did you mean \"layers\""},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sim_profile profile;
        struct sp_error err = {0};
        assert_int_equal(sp_file_write(path, cases[c].text, &err), SP_OK);
        assert_int_equal(sim_profile_read(path, (struct sp_mark){0}, &profile, &err), SP_E_INPUT);
        if (strstr(err.text, cases[c].message) == NULL)
            fail_msg("case %zu: \"%s\" is not in \"%s\"", c, cases[c].message, err.text);
        sp_error_fini(&err);
    }
}

/*
 * A stage of measured layers takes longer where several minibatches are in flight, what it receives is cold, samples
 * must be waited for, devices slow each other and are more than the machine has cores: what is known before simulation
 * has none of it that can be done without, so it is less, and the best of all ways to cut is proven to be that.
 */
static void plans_by_a_profile_equal_brute_force(void **state)
{
    (void)state;
    static const char *const schedules[] = {"pipeline.schedule=stale", "pipeline.schedule=1f1b-async",
                                            "pipeline.schedule=gpipe", "pipeline.schedule=sequential"};
    char *file_set = sp_format("cost.file=%s", path);
    for (int n = 0; n < 8; n++) {
        const char *sets[] = {"network=lenet5",  "cost.model=profile",
                              file_set,          "cost.force=true",
                              schedules[n % 4],  n % 4 == 2 ? "pipeline.microbatches=2" : "pipeline.microbatches=1",
                              "devices.count=3", "plan.candidates=50"};
        write_file(NULL, "lenet5", 0.1, n < 4 ? 0 : 5e-5, n % 2 == 0 ? 2 : 4);
        struct search s;
        search_well(sets, 8, &s);
        assert_null(s.found.doubt);
        assert_true(s.found.count == 11); /* 1 + 4 + 6 ways to cut after some of 4 layers */
        double best = INFINITY;
        for (int mask = 0; mask < 1 << 4; mask++) {
            int cuts[32], k = cuts_of_mask(mask, 5, cuts);
            char *text = cuts_of(cuts, k);
            if (k < 3)
                best = fmin(best, trial_steady(sets, 6, s.network, text).time_s);
            free(text);
        }
        assert_float_equal(s.found.candidates[0].minibatch_s / best, 1, 2e-3);
        for (int c = 0; c < s.found.count; c++)
            assert_true(s.found.candidates[c].estimate_s <= s.found.candidates[c].minibatch_s * (1 + 1e-9));
        search_fini(&s);
    }
    free(file_set);
}

/* Measured once: no spread stands in the file, and the simulator says how much its intervals are worth. */
static void a_single_round_has_no_spread(void **state)
{
    (void)state;
    for (int rounds = 1; rounds <= 3; rounds += 2) {
        struct sim_profile profile;
        struct sim_cost *cost;
        struct sp_error err = {0};
        struct sp_mark mark = {path, 0, 0};
        write_lines(NULL, "lenet5", 0.1);
        assert_int_equal(sim_profile_read(path, mark, &profile, &err), SP_OK);
        assert_int_equal(profile.rounds, 0);
        assert_float_equal(profile.layers[0].spread, 0.02, 0);
        profile.rounds = rounds;
        assert_int_equal(sim_profile_write(&profile, path, &err), SP_OK);
        sim_profile_fini(&profile);
        assert_int_equal(sim_profile_read(path, mark, &profile, &err), SP_OK);
        assert_int_equal(profile.rounds, rounds);
        assert_float_equal(profile.layers[0].spread, rounds == 1 ? 0 : 0.02, 0);
        sim_profile_fini(&profile);
        assert_int_equal(cost_of(NULL, 0, &cost, &err), SP_OK);
        int notes = 0;
        for (int n = 0; n < cost->note_count; n++)
            notes += strstr(cost->notes[n].text, "measured in a single round") != NULL;
        assert_int_equal(notes, rounds == 1);
        sim_cost_destroy(&cost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(stages_cost_the_sum_of_their_layers),
        cmocka_unit_test(loading_takes_what_devices_leave),
        cmocka_unit_test(other_sizes_lie_on_the_line),
        cmocka_unit_test(lines_that_fall_below_nothing_are_told),
        cmocka_unit_test(profiles_of_other_machines_are_refused),
        cmocka_unit_test(other_networks_are_priced_by_formulas),
        cmocka_unit_test(other_layers_of_the_same_name_were_not_measured),
        cmocka_unit_test(wrong_files_are_told),
        cmocka_unit_test(a_single_round_has_no_spread),
        cmocka_unit_test(plans_by_a_profile_equal_brute_force),
    };
    return cmocka_run_group_tests_name("profile", tests, make_file, remove_file);
}
