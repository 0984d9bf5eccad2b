/* What a sweep says: its points, their order, names and references, and every way to get it wrong. */
#include "common/sweep.h"
#include "common/alloc.h"
#include "common/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* An experiment file of that text. */
static struct sp_experiment *experiment_of(const char *text, const char *const *sets, int set_count)
{
    char path[] = "/tmp/stalepipe-sweep-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct sp_error err = {0};
    struct sp_experiment *experiment;
    sp_status status = sp_experiment_read(path, sets, set_count, &experiment, &err);
    unlink(path);
    if (status != SP_OK)
        fail_msg("%s", err.text);
    return experiment;
}

struct opened {
    struct sp_experiment *base;
    struct sp_sweep *sweep;
};

static struct opened open_sweep(const char *text)
{
    struct opened o = {.base = experiment_of(text, NULL, 0)};
    struct sp_error err = {0};
    if (sp_sweep_create(o.base, &o.sweep, &err) != SP_OK)
        fail_msg("%s", err.text);
    return o;
}

static void close_sweep(struct opened *o)
{
    sp_sweep_destroy(&o->sweep);
    sp_experiment_destroy(&o->base);
}

/* The points' labels, joined by semicolons. */
static void expect_labels(const struct sp_sweep *sweep, const char *expected)
{
    char all[1024] = "";
    for (int p = 0; p < sweep->point_count; p++) {
        char *label = sp_sweep_label(sweep, p);
        strcat(strcat(all, p > 0 ? "; " : ""), label);
        free(label);
    }
    assert_string_equal(all, expected);
}

static void axes_are_crossed_and_the_first_is_slowest(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n  pipeline.schedule: [stale, gpipe]\n  train.batch: [16, 32, 64]\n");
    assert_int_equal(o.sweep->point_count, 6);
    expect_labels(o.sweep, "stale 16; stale 32; stale 64; gpipe 16; gpipe 32; gpipe 64");
    close_sweep(&o);
}

/* Of points that are called alike, the label says what it leaves open, too; values that go with it, only where it must.
 */
static void labels_that_repeat_say_more(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  pipeline.schedule: [sequential, stale]\n"
                                 "  zip: {train.batch: [16, 32], label: [small, large]}\n");
    expect_labels(o.sweep, "small sequential; large sequential; small stale; large stale");
    close_sweep(&o);
    o = open_sweep("sweep:\n"
                   "  zip: {train.batch: [16, 32, 64], label: [small, large, large]}\n");
    expect_labels(o.sweep, "small 16; large 32; large 64");
    close_sweep(&o);
    o = open_sweep("label: all\nsweep: {train.batch: [16, 32]}\n");
    expect_labels(o.sweep, "all 16; all 32");
    close_sweep(&o);
    o = open_sweep("sweep:\n"
                   "  pipeline.schedule: [sequential, stale]\n"
                   "  zip: {train.batch: [16, 32], label: [small, large]}\n"
                   "  unless: {train.batch: 32, pipeline.schedule: stale}\n"
                   "  only: [{train.batch: 32}, {pipeline.schedule: stale}]\n");
    expect_labels(o.sweep, "large; small");
    close_sweep(&o);
}

static void too_many_runs_are_refused(void **state)
{
    (void)state;
    struct sp_experiment *base = experiment_of("sweep: {train.seed: [1, 2, 3], repeat: 10000, zip: {train.lr: [1, 2], "
                                               "train.batch: [1, 2]}}\n",
                                               NULL, 0);
    struct sp_sweep *sweep;
    struct sp_error err = {0};
    assert_int_equal(sp_sweep_create(base, &sweep, &err), SP_OK); /* 60,006 runs */
    sp_sweep_destroy(&sweep);
    sp_experiment_destroy(&base);
    char *text = sp_strdup("sweep: {repeat: 10000, train.seed: [0");
    for (int i = 1; i < 1000; i++) {
        char *longer = sp_format("%s, %d", text, i);
        free(text);
        text = longer;
    }
    char *whole = sp_format("%s]}\n", text);
    base = experiment_of(whole, NULL, 0);
    assert_int_equal(sp_sweep_create(base, &sweep, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "1000 points, simulated and run 10000 times each, are more than 10000000 runs"));
    sp_error_fini(&err);
    sp_experiment_destroy(&base);
    free(text);
    free(whole);
}

static void zipped_lists_go_together(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  zip:\n"
                                 "  - {network: [lenet5, resnet20], data.set: [mnist, cifar10]}\n"
                                 "  - {pipeline.cuts: [[1], [1, 2]], label: [a, b]}\n");
    assert_int_equal(o.sweep->point_count, 4);
    expect_labels(o.sweep, "a lenet5; b lenet5; a resnet20; b resnet20");
    struct sp_error err = {0};
    struct sp_experiment *e;
    assert_int_equal(sp_sweep_experiment(o.sweep, 3, 0, &e, &err), SP_OK);
    assert_string_equal(e->network.builtin, "resnet20");
    assert_string_equal(e->data.set, "cifar10");
    assert_int_equal(e->pipeline.cut_count, 2);
    assert_null(e->sweep); /* a point is one experiment */
    sp_experiment_destroy(&e);
    close_sweep(&o);
}

static void a_point_keeps_what_file_and_command_line_say(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.lr=0.25", "sim.minibatches=7"};
    struct sp_experiment *base =
        experiment_of("train: {lr: 0.5, seed: 4, momentum: 0.1}\nsweep: {train.batch: [8, 16]}\n", sets, 2);
    struct sp_error err = {0};
    struct sp_sweep *sweep;
    struct sp_experiment *e;
    assert_int_equal(sp_sweep_create(base, &sweep, &err), SP_OK);
    assert_int_equal(sp_sweep_experiment(sweep, 1, 2, &e, &err), SP_OK);
    assert_int_equal(e->train.batch, 16);
    assert_true(e->train.lr == 0.25 && e->train.momentum == 0.1);
    assert_int_equal(e->sim.minibatches, 7);
    assert_int_equal(e->train.seed, 4 + 2); /* third repeat */
    assert_int_equal(sp_experiment_mark(e, "train.momentum").line, 1);
    sp_experiment_destroy(&e);
    sp_sweep_destroy(&sweep);
    sp_experiment_destroy(&base);
}

/* 2 schedules x 3 cuts; sequential stays with one of the cuts: 1 + 3. */
static void unless_leaves_points_out(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  pipeline.schedule: [sequential, stale]\n"
                                 "  pipeline.cuts: [[1], [2], [1, 2]]\n"
                                 "  unless: {pipeline.schedule: sequential, pipeline.cuts: [[2], [1, 2]]}\n");
    expect_labels(o.sweep, "sequential [1]; stale [1]; stale [2]; stale [1, 2]");
    close_sweep(&o);
}

/* A list of conditions: one of them is enough. [1, 2] as a value is the list itself, not 1 or 2. */
static void only_keeps_what_matches_one(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  pipeline.cuts: [[1], [2], [1, 2]]\n"
                                 "  train.batch: [16, 32]\n"
                                 "  only: [{pipeline.cuts: [1, 2]}, {pipeline.cuts: [1], train.batch: 32}]\n");
    expect_labels(o.sweep, "[1] 32; [1, 2] 16; [1, 2] 32");
    close_sweep(&o);
}

static void a_reference_is_the_partner_with_all_else_equal(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  pipeline.schedule: [sequential, stale, gpipe]\n"
                                 "  train.batch: [16, 32]\n"
                                 "  reference: {pipeline.schedule: sequential}\n");
    /* sequential 16, 32 are points 0, 1; stale 2, 3; gpipe 4, 5 */
    static const int expected[] = {-1, -1, 0, 1, 0, 1};
    for (int p = 0; p < 6; p++)
        assert_int_equal(sp_sweep_reference(o.sweep, p), expected[p]);
    close_sweep(&o);
}

static void a_reference_that_was_left_out_is_none(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  pipeline.schedule: [sequential, stale]\n"
                                 "  train.batch: [16, 32]\n"
                                 "  unless: {pipeline.schedule: sequential, train.batch: 32}\n"
                                 "  reference: {pipeline.schedule: sequential}\n");
    expect_labels(o.sweep, "sequential 16; stale 16; stale 32");
    assert_int_equal(sp_sweep_reference(o.sweep, 1), 0);
    assert_int_equal(sp_sweep_reference(o.sweep, 2), -1);
    close_sweep(&o);
}

/* A case leaves alone what it does not set: b has the batch of the file, and its column stays empty. */
static void cases_set_what_they_set(void **state)
{
    (void)state;
    struct opened o = open_sweep("train: {batch: 64}\n"
                                 "sweep:\n"
                                 "  cases:\n"
                                 "  - {label: a, train.batch: 8, train.lr: 0.5}\n"
                                 "  - {label: b, train.lr: 0.25}\n"
                                 "  pipeline.cuts: [[1], [2]]\n");
    struct sp_error err = {0};
    struct sp_experiment *e;
    expect_labels(o.sweep, "a [1]; a [2]; b [1]; b [2]");
    assert_int_equal(sp_sweep_key_count(o.sweep), 4);
    assert_string_equal(sp_sweep_key(o.sweep, 1), "train.batch");
    assert_non_null(sp_sweep_value(o.sweep, 0, 1));
    assert_null(sp_sweep_value(o.sweep, 2, 1));
    assert_int_equal(sp_sweep_experiment(o.sweep, 2, 0, &e, &err), SP_OK);
    assert_int_equal(e->train.batch, 64);
    assert_true(e->train.lr == 0.25);
    sp_experiment_destroy(&e);
    close_sweep(&o);
}

/* One axis of rows: the reference of a row is the sequential one of its network, not that of all else equal. */
static void a_pair_has_the_named_keys_in_common(void **state)
{
    (void)state;
    struct opened o = open_sweep("sweep:\n"
                                 "  cases:\n"
                                 "  - {network: lenet5, pipeline.schedule: sequential}\n"
                                 "  - {network: lenet5, pipeline.schedule: stale, pipeline.cuts: [1]}\n"
                                 "  - {network: lenet5, pipeline.schedule: gpipe, pipeline.cuts: [2]}\n"
                                 "  - {network: resnet8, pipeline.schedule: stale, pipeline.cuts: [3]}\n"
                                 "  - {network: resnet8, pipeline.schedule: sequential}\n"
                                 "  reference: {pipeline.schedule: sequential}\n"
                                 "  pair: [network]\n");
    static const int expected[] = {-1, 0, 0, 4, -1};
    for (int p = 0; p < 5; p++)
        assert_int_equal(sp_sweep_reference(o.sweep, p), expected[p]);
    close_sweep(&o);
}

static void repeats_alone_are_a_sweep(void **state)
{
    (void)state;
    struct opened o = open_sweep("name: again\nsweep: {repeat: 3, baseline: true}\n");
    assert_int_equal(o.sweep->point_count, 1);
    assert_int_equal(o.sweep->repeat, 3);
    assert_true(o.sweep->baseline);
    expect_labels(o.sweep, "again");
    close_sweep(&o);
}

static void the_resolved_file_is_the_same_sweep(void **state)
{
    (void)state;
    struct opened o = open_sweep("published: {speedup: 1.65, accuracy_difference: -0.01}\n"
                                 "sweep:\n"
                                 "  data.dir: [\"a, b\", 'it''s', '12', c-d/e.f]\n"
                                 "  train.lr: [1e-3, .5]\n"
                                 "  phases: [[], [{schedule: stale, epochs: 1}, {schedule: sequential, epochs: 2}]]\n"
                                 "  repeat: 2\n");
    char *yaml = sp_experiment_yaml(o.base);
    struct opened again = open_sweep(yaml);
    assert_true(sp_yaml_same(o.base->sweep, again.base->sweep));
    assert_int_equal(again.sweep->point_count, 16);
    assert_true(again.base->published[SP_PUBLISHED_VALUE][SP_METRIC_SPEEDUP] == 1.65);
    assert_true(again.base->published[SP_PUBLISHED_DIFFERENCE][SP_METRIC_ACCURACY] == -0.01);
    char *twice = sp_experiment_yaml(again.base);
    assert_string_equal(yaml, twice);
    free(yaml);
    free(twice);
    close_sweep(&again);
    close_sweep(&o);
}

static const struct {
    const char *text;
    int line, column;
    const char *message;
} wrong[] = {
    {"train: {lr: 1}\n", 0, 0, "sweep: nothing to vary"},
    {"sweep: {pipeline.cut: [[1]]}\n", 1, 9, "no key \"pipeline.cut\"; did you mean \"pipeline.cuts\"?"},
    {"sweep: {name: [a, b]}\n", 1, 9, "\"name\" cannot be varied"},
    {"sweep: {train.batch: 3}\n", 1, 22, "\"train.batch\": expected a list of values"},
    {"sweep: {train.batch: []}\n", 1, 22, "\"train.batch\": expected a list of values"},
    {"sweep: {train.batch: [8, 0]}\n", 1, 26, "train.batch: 0 is out of range"},
    {"sweep: {pipeline.schedule: [gpipe, stal]}\n", 1, 36, "no \"stal\"; did you mean \"stale\"?"},
    {"sweep: {zip: {train.batch: [8, 9], train.lr: [1]}}\n", 1, 46,
     "1 values of \"train.lr\", but 2 of \"train.batch\""},
    {"sweep:\n  train.lr: [1]\n  zip: {train.lr: [2]}\n", 3, 9, "\"train.lr\" is swept twice"},
    {"sweep: {zip: 3}\n", 1, 14, "sweep.zip: expected keys and values"},
    {"sweep: {train.lr: [1], unless: {train.batch: 3}}\n", 1, 33, "\"train.batch\" is not swept"},
    {"sweep: {train.lr: [1], unless: {train.lr: 3}}\n", 1, 43, "\"train.lr\" never has this value"},
    {"sweep: {train.lr: [1], only: [{train.lr: 1}, {train.lr: 3}]}\n", 1, 57, "\"train.lr\" never has this value"},
    {"sweep: {train.lr: [1], unless: {train.lr: 1}}\n", 1, 8, "the conditions leave no point"},
    {"sweep: {train.lr: [1], reference: {train.lr: 3}}\n", 1, 46, "\"train.lr\" never has this value"},
    {"sweep: {train.lr: [1], reference: 3}\n", 1, 35, "sweep.reference: expected keys and values"},
    {"sweep: {cases: {train.lr: 1}}\n", 1, 16, "sweep.cases: expected a list of keys and values"},
    {"sweep: {cases: [{train.lr: 1}, {train.lr: -1}]}\n", 1, 43, "train.lr: -1 is out of range"},
    {"sweep: {train.lr: [1], cases: [{train.lr: 2}]}\n", 1, 33, "\"train.lr\" is swept twice"},
    {"sweep: {train.lr: [1], pair: [train.lr]}\n", 1, 30, "sweep.pair: there is no reference"},
    {"sweep: {train.lr: [1], reference: {train.lr: 1}, pair: [train.batch]}\n", 1, 57, "\"train.batch\" is not swept"},
    {"sweep: {repeat: 0}\n", 1, 17, "sweep.repeat: expected a whole number from 1"},
    {"sweep: {repeat: 2, baseline: 3}\n", 1, 30, "sweep.baseline: expected true or false"},
};

static void mistakes_are_told_where_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sp_experiment *base = experiment_of(wrong[i].text, NULL, 0);
        struct sp_error err = {0};
        struct sp_sweep *sweep;
        assert_int_equal(sp_sweep_create(base, &sweep, &err), SP_E_INPUT);
        assert_null(sweep);
        char *at = sp_format(":%d:%d: ", wrong[i].line, wrong[i].column);
        if (strstr(err.text, wrong[i].message) == NULL || (wrong[i].line > 0 && strstr(err.text, at) == NULL))
            fail_msg("%sexpected %d:%d %s, found %s", wrong[i].text, wrong[i].line, wrong[i].column, wrong[i].message,
                     err.text);
        free(at);
        sp_error_fini(&err);
        sp_experiment_destroy(&base);
    }
}

static void a_swept_key_cannot_be_set_too(void **state)
{
    (void)state;
    static const char *const set = "train.batch=8";
    struct sp_experiment *base = experiment_of("sweep: {train.batch: [8, 16]}\n", &set, 1);
    struct sp_error err = {0};
    struct sp_sweep *sweep;
    assert_int_equal(sp_sweep_create(base, &sweep, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "swept here and set on the command line"));
    sp_error_fini(&err);
    sp_experiment_destroy(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_are_crossed_and_the_first_is_slowest),
        cmocka_unit_test(labels_that_repeat_say_more),
        cmocka_unit_test(too_many_runs_are_refused),
        cmocka_unit_test(zipped_lists_go_together),
        cmocka_unit_test(a_point_keeps_what_file_and_command_line_say),
        cmocka_unit_test(unless_leaves_points_out),
        cmocka_unit_test(only_keeps_what_matches_one),
        cmocka_unit_test(a_reference_is_the_partner_with_all_else_equal),
        cmocka_unit_test(a_reference_that_was_left_out_is_none),
        cmocka_unit_test(cases_set_what_they_set),
        cmocka_unit_test(a_pair_has_the_named_keys_in_common),
        cmocka_unit_test(repeats_alone_are_a_sweep),
        cmocka_unit_test(the_resolved_file_is_the_same_sweep),
        cmocka_unit_test(mistakes_are_told_where_they_are),
        cmocka_unit_test(a_swept_key_cannot_be_set_too),
    };
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
