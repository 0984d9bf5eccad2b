/*
 * Experiments: what is right arrives and reads back to the same.
 */
#include "common/alloc.h"
#include "exec/backend.h"
#include "tests/experiments.h"
#include "tests/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_empty_file_is_the_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "train:\n", "{}\n", "plan: {}\nsweep: {}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct sp_experiment *e = experiment_right(texts[i]);
        assert_string_equal(e->network.builtin, "lenet5");
        assert_string_equal(e->data.set, "fashion-mnist");
        assert_int_equal(e->pipeline.cut_count, 0);
        assert_string_equal(e->pipeline.base.schedule, "stale");
        assert_int_equal(e->pipeline.base.microbatches, 1);
        assert_string_equal(e->pipeline.placement, "auto");
        assert_string_equal(e->devices.backend, "cpu");
        assert_int_equal(e->train.batch, 128);
        assert_int_equal(e->train.epochs, 5);
        assert_true(e->train.lr == 0.01 && e->train.momentum == 0.9);
        assert_int_equal(e->train.seed, 1);
        assert_string_equal(e->cost.model, "analytic");
        assert_int_equal(e->sim.minibatches, 400);
        assert_int_equal(e->phase_count, 0);
        sp_experiment_destroy(&e);
    }
}

static const char *const everything =
    "name: 'a \"name\" of 7'\n"
    "network: {file: nets/my net.yaml}\n"
    "data: {set: synthetic, dir: /a b/c, augment: none, shape: [3, 8, 9], classes: 7, samples: 600}\n"
    "pipeline:\n"
    "  cuts: [1, 3]\n"
    "  schedule: {order: 1f1b, flush: never, weights: latest}\n"
    "  microbatches: 4\n"
    "  placement: {forward: [0, 1, 2], backward: [2, 1, 0]}\n"
    "devices: {backend: ref, count: 3, threads: 2}\n"
    "train: {batch: 32, epochs: 3, iterations: 70, lr: 0.1, momentum: 0, weight_decay: 1e-4, nesterov: true, seed: "
    "99,\n"
    "        evaluate_every: -1}\n"
    "cost: {model: table, device: x.yaml, stages: [{forward: 0.1, backward: 0.2}, {forward: 3, backward: 1e-9}],\n"
    "       update: 0.3, transfers: [0.1, 0.7]}\n"
    "sim: {minibatches: 0x10, trace: 5}\n"
    "phases:\n"
    "- {schedule: stale, weights: stash, microbatches: 2, epochs: 2}\n"
    "- {schedule: sequential, iterations: 11}\n"
    "- {epochs: 1}\n";

static void every_value_arrives(void **state)
{
    (void)state;
    struct sp_experiment *e = experiment_right(everything);
    assert_string_equal(e->name, "a \"name\" of 7");
    assert_null(e->network.builtin);
    assert_string_equal(e->network.file, "nets/my net.yaml");
    assert_string_equal(e->data.dir, "/a b/c");
    assert_true(e->data.shape.c == 3 && e->data.shape.h == 8 && e->data.shape.w == 9);
    assert_int_equal(e->data.classes, 7);
    assert_int_equal(e->data.samples, 600);
    assert_int_equal(e->pipeline.cut_count, 2);
    assert_int_equal(e->pipeline.cuts[1], 3);
    assert_int_equal(e->pipeline.cut_marks[1].line, 5);
    assert_int_equal(e->pipeline.cut_marks[1].column, 13);
    assert_string_equal(e->pipeline.base.schedule, "1f1b-async"); /* 1f1b that never flushes */
    assert_string_equal(e->pipeline.base.weights, "latest");
    assert_int_equal(e->pipeline.base.microbatches, 4);
    assert_null(e->pipeline.placement);
    assert_int_equal(e->pipeline.placement_count, 3);
    assert_int_equal(e->pipeline.backward_devices[0], 2);
    assert_string_equal(e->devices.backend, "ref");
    assert_int_equal(e->devices.threads, 2);
    assert_int_equal(e->train.iterations, 70);
    assert_true(e->train.nesterov && e->train.weight_decay == 1e-4 && e->train.momentum == 0);
    assert_int_equal(e->train.evaluate_every, -1);
    assert_string_equal(e->cost.model, "table");
    assert_int_equal(e->cost.stage_count, 2);
    assert_true(e->cost.stages[1].backward_s == 1e-9 && e->cost.update_s == 0.3);
    assert_true(e->cost.transfer_count == 2 && e->cost.transfers_s[1] == 0.7);
    assert_int_equal(e->sim.minibatches, 16);
    assert_int_equal(e->phase_count, 3);
    assert_string_equal(e->phases[0].weights, "stash");
    assert_int_equal(e->phases[1].iterations, 11);
    assert_int_equal(e->phases[1].epochs, 0);
    assert_int_equal(sp_experiment_mark(e, "train.batch").line, 10);
    assert_int_equal(sp_experiment_mark(e, "train.batch").column, 16);
    sp_experiment_destroy(&e);
}

/* The resolved YAML of what was read from resolved YAML is the same text, and so are the values. */
static void the_resolved_yaml_reads_back_to_the_same(void **state)
{
    (void)state;
    const char *const texts[] = {
        "", everything, "name: \"tab\\t \\\\ line\\n#:\"\npipeline: {cuts: [2], placement: split, weights: stash}\n",
        "name: 12\ndata: {dir: 'true'}\npipeline: {cuts: [1], placement: [0, 0]}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct sp_experiment *first = experiment_right(texts[i]);
        char *resolved = sp_experiment_yaml(first);
        struct sp_experiment *second = experiment_right(resolved);
        char *again = sp_experiment_yaml(second);
        assert_string_equal(resolved, again);
        assert_string_equal(first->name, second->name);
        assert_string_equal(first->data.dir, second->data.dir);
        assert_true(first->train.lr == second->train.lr && first->train.momentum == second->train.momentum);
        assert_int_equal(first->phase_count, second->phase_count);
        assert_int_equal(first->pipeline.placement_count, second->pipeline.placement_count);
        free(resolved);
        free(again);
        sp_experiment_destroy(&first);
        sp_experiment_destroy(&second);
    }
}

static void set_overrides_the_file_in_order(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.batch=64",
                                       "train.batch=32",
                                       "pipeline.cuts=[1, 2]",
                                       "network=resnet20",
                                       "pipeline={microbatches: 4}",
                                       "cost.stages=[{forward: 1, backward: 2}]",
                                       "phases=[{epochs: 2}]",
                                       "name=a=b"};
    struct sp_error err = {0};
    struct sp_experiment *e = experiment_read("train: {batch: 8, lr: 0.5}\nnetwork: {file: x}\n", sets, 8, &err);
    if (e == NULL)
        fail_msg("%s", err.text);
    assert_int_equal(e->train.batch, 32);
    assert_true(e->train.lr == 0.5);
    assert_int_equal(e->pipeline.cut_count, 2);
    assert_string_equal(e->network.builtin, "resnet20");
    assert_null(e->network.file);
    assert_int_equal(e->pipeline.base.microbatches, 4);
    assert_true(e->cost.stages[0].backward_s == 2);
    assert_int_equal(e->phases[0].epochs, 2);
    assert_string_equal(e->name, "a=b");
    sp_experiment_destroy(&e);
}

/* The weights spelled out in a schedule belong to it: another schedule does not inherit them. */
static void another_schedule_brings_its_own_weights(void **state)
{
    (void)state;
    const char *set = "pipeline.schedule=stale";
    struct sp_error err = {0};
    struct sp_experiment *e =
        experiment_read("pipeline: {schedule: {order: 1f1b, flush: never, weights: stash}}\n", &set, 1, &err);
    assert_non_null(e);
    assert_string_equal(e->pipeline.base.schedule, "stale");
    assert_null(e->pipeline.base.weights);
    sp_experiment_destroy(&e);
    e = experiment_read("pipeline: {weights: stash, schedule: gpipe}\n", &set, 1, &err); /* its own key: it stays */
    assert_string_equal(e->pipeline.base.weights, "stash");
    sp_experiment_destroy(&e);
}

static void help_lists_every_key(void **state)
{
    (void)state;
    static const char *const keys[] = {"name",          "network",        "data.set",        "data.shape",
                                       "pipeline.cuts", "train.lr",       "train.nesterov",  "devices.backend",
                                       "cost.model",    "cost.transfers", "sim.minibatches", "phases",
                                       "plan",          "sweep"};
    char *help = sp_experiment_help();
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (strstr(help, keys[k]) == NULL)
            fail_msg("no %s in the help", keys[k]);
    free(help);
}

static void known_data_sets_have_their_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct sp_data_shape shape;
    } cases[] = {
        {"data: {set: mnist}\n", {{1, 28, 28}, 10, 60000, 10000}},
        {"data: {set: fashion-mnist}\n", {{1, 28, 28}, 10, 60000, 10000}},
        {"data: {set: cifar10}\n", {{3, 32, 32}, 10, 50000, 10000}},
        {"data: {set: synthetic, shape: [2, 4, 6], classes: 3, samples: 60}\n", {{2, 4, 6}, 3, 60, 10}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_experiment *e = experiment_right(cases[i].text);
        struct sp_data_shape shape;
        struct sp_error err = {0};
        assert_int_equal(sp_experiment_data_shape(e, &shape, &err), SP_OK);
        assert_true(shape.shape.c == cases[i].shape.shape.c && shape.shape.h == cases[i].shape.shape.h &&
                    shape.shape.w == cases[i].shape.shape.w && shape.classes == cases[i].shape.classes);
        assert_int_equal(shape.train_samples, cases[i].shape.train_samples);
        assert_int_equal(shape.test_samples, cases[i].shape.test_samples);
        sp_experiment_destroy(&e);
    }
}

/* What is said of backends before they are asked is what they say themselves. */
static void backends_are_listed_as_they_are(void **state)
{
    (void)state;
    int kinds = 0, backends = 0;
    for (; sp_backend_kinds[kinds].name != NULL; kinds++) {
        const struct exec_backend *backend = exec_backend_find(sp_backend_kinds[kinds].name);
        assert_non_null(backend);
        assert_int_equal(backend->shared_memory, sp_backend_kinds[kinds].shared_memory);
        assert_ptr_equal(sp_backend_kind_find(backend->name), &sp_backend_kinds[kinds]);
    }
    while (exec_backends[backends] != NULL)
        assert_string_equal(sp_backend_kind_find(exec_backends[backends++]->name)->device, "cpu");
    assert_true(kinds >= backends);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_is_the_defaults),
        cmocka_unit_test(every_value_arrives),
        cmocka_unit_test(the_resolved_yaml_reads_back_to_the_same),
        cmocka_unit_test(set_overrides_the_file_in_order),
        cmocka_unit_test(another_schedule_brings_its_own_weights),
        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(known_data_sets_have_their_shapes),
        cmocka_unit_test(backends_are_listed_as_they_are),
    };
    return cmocka_run_group_tests_name("experiment", tests, test_folder_make, test_folder_remove);
}
