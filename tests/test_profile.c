/*
 * Cost files: written and read back, refused where wrong, and what they cost by hand.
 */
#include "common/alloc.h"
#include "common/experiment.h"
#include "common/file.h"
#include "sim/cost.h"
#include "sim/profile_file.h"

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

/* LeNet-5 at 64 and 128 samples: F of group g takes g ms + 0.01 ms a sample, B twice that, U 0.1 ms. */
static void write_lines(const char *cpu, const char *network)
{
    struct sim_profile profile = {.backend = "cpu",
                                  .convolution = "auto",
                                  .threads = 1,
                                  .network = (char *)network,
                                  .contention_forward = 1.2,
                                  .contention_backward = 1.5,
                                  .count = 10};
    struct sim_profile_entry entries[10];
    struct sp_error err = {0};
    sim_profile_machine(&profile);
    char *here = profile.cpu;
    profile.cpu = cpu != NULL ? (char *)cpu : here;
    for (int e = 0; e < 10; e++) {
        int batch = e < 5 ? 128 : 64, group = e % 5 + 1;
        double forward = 1e-3 * group + 1e-5 * batch;
        entries[e] = (struct sim_profile_entry){batch, group, forward, 2 * forward, 1e-4, 0.02};
    }
    profile.entries = entries;
    assert_int_equal(sim_profile_write(&profile, path, &err), SP_OK);
    free(here);
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
    write_lines("a \"quoted\" name", "lenet5");
    assert_int_not_equal(sim_profile_read(path, (struct sp_mark){0}, &profile, &err), SP_OK); /* no such processor */
    sp_error_fini(&err);
    write_lines("AMD EPYC (tm) 9", "lenet5");
    assert_int_equal(sim_profile_read(path, (struct sp_mark){0}, &profile, &err), SP_OK);
    assert_string_equal(profile.cpu, "AMD EPYC (tm) 9");
    assert_int_equal(profile.count, 10);
    assert_int_equal(profile.entries[9].group, 5);
    assert_float_equal(profile.entries[9].backward_s, 2 * (5e-3 + 64e-5), 1e-9);
    assert_float_equal(profile.contention_backward, 1.5, 1e-9);
    sim_profile_fini(&profile);
}

/* Cut after layer 2, 128 samples: F of the first stage (1 + 2) ms + 2 * 1.28 ms, times 1.2 (together).
 */
static void stages_cost_the_corrected_sum_of_their_layers(void **state)
{
    (void)state;
    const char *more[] = {"pipeline.cuts=[2]", "pipeline.schedule=stale"};
    struct sim_cost *cost;
    struct sp_error err = {0};
    write_lines(NULL, "lenet5");
    assert_int_equal(cost_of(more, 2, &cost, &err), SP_OK);
    assert_float_equal(cost->stages[0].forward_s, (3e-3 + 2.56e-3) * 1.2, 1e-9);
    assert_float_equal(cost->stages[1].backward_s, 2 * (12e-3 + 3.84e-3) * 1.5, 1e-9);
    assert_float_equal(cost->stages[1].update_s, 3e-4, 1e-12);
    assert_int_equal(cost->note_count, 0);
    sim_cost_destroy(&cost);
    more[1] = "pipeline.schedule=sequential"; /* one device works at a time: nobody is slowed */
    assert_int_equal(cost_of(more, 2, &cost, &err), SP_OK);
    assert_float_equal(cost->stages[0].forward_s, (3e-3 + 2.56e-3), 1e-9);
    sim_cost_destroy(&cost);
}

/* 96 and 32 samples lie on the line through 64 and 128; what is outside is said. */
static void other_sizes_lie_on_the_line(void **state)
{
    (void)state;
    struct sim_cost *cost;
    struct sp_error err = {0};
    write_lines(NULL, "lenet5");
    for (int batch = 96; batch >= 32; batch -= 64) {
        char *batch_set = sp_format("train.batch=%d", batch);
        const char *more[] = {batch_set};
        assert_int_equal(cost_of(more, 1, &cost, &err), SP_OK);
        assert_float_equal(cost->stages[0].forward_s, (15e-3 + 5e-5 * batch), 1e-8);
        assert_int_equal(cost->note_count, batch == 32); /* once, for five layers */
        assert_true(cost->note_count == 0 || cost->notes[0].kind == SIM_NOTE_EXTRAPOLATED);
        sim_cost_destroy(&cost);
        free(batch_set);
    }
}

static void profiles_of_others_are_refused(void **state)
{
    (void)state;
    struct sim_cost *cost;
    struct sp_error err = {0};
    write_lines("some other processor", "lenet5");
    assert_int_equal(cost_of(NULL, 0, &cost, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "was measured on some other processor"));
    sp_error_fini(&err);
    const char *force[] = {"cost.force=true"}, *threads[] = {"devices.threads=2"};
    assert_int_equal(cost_of(force, 1, &cost, &err), SP_OK);
    sim_cost_destroy(&cost);
    write_lines(NULL, "vgg16");
    assert_int_equal(cost_of(force, 1, &cost, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "measured vgg16, not lenet5"));
    sp_error_fini(&err);
    write_lines(NULL, "lenet5");
    assert_int_equal(cost_of(threads, 1, &cost, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "1 threads"));
    sp_error_fini(&err);
}

static void wrong_files_are_told(void **state)
{
    (void)state;
#define HEAD       "machine: {cpu: a, cores: 2, backend: cpu, threads: 1, convolution: auto}\nnetwork: lenet5\n"
#define CONTENTION "contention: {forward: 1, backward: 1}\n"
#define ENTRY      "{batch: 1, group: 1, forward: 1, backward: 1, update: 1, spread: 0}"
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "the file is empty"},
        {"[1]\n", ":1:1: "},
        {"a: [\n", "stalepipe-profile"},
        {HEAD "measured: [" ENTRY "]\n", "\"contention\" is missing"},
        {HEAD CONTENTION, "\"measured\" must be a list"},
        {HEAD CONTENTION "measured: 3\n", ":4:11: profile: \"measured\" must be a list"},
        {HEAD CONTENTION "measured: []\n", "\"measured\" must be a list"},
        {HEAD CONTENTION "measured: [" ENTRY ", " ENTRY "]\n", "stands here a second time"},
        {HEAD CONTENTION "measured: [{batch: 1}]\n", "group"},
        {HEAD CONTENTION "measured: [{batch: 0, group: 1, forward: 1, backward: 1, update: 1, spread: 0}]\n",
         "out of range"},
        {HEAD CONTENTION "measured: [{batch: 1, group: 1, forward: -1, backward: 1, update: 1, spread: 0}]\n",
         "out of range"},
        {HEAD CONTENTION "measured: [{batch: 1, group: 1, forward: x, backward: 1, update: 1, spread: 0}]\n", ":4:"},
        {HEAD "contention: {forward: 0, backward: 1}\nmeasured: [" ENTRY "]\n", ":3:23: "},
        {HEAD CONTENTION "measurd: []\nmeasured: [" ENTRY "]\n", "did you mean \"measured\""},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),  cmocka_unit_test(stages_cost_the_corrected_sum_of_their_layers),
        cmocka_unit_test(other_sizes_lie_on_the_line), cmocka_unit_test(profiles_of_others_are_refused),
        cmocka_unit_test(wrong_files_are_told),
    };
    return cmocka_run_group_tests_name("profile", tests, make_file, remove_file);
}
