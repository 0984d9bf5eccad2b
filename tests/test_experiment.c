/*
 * Experiments: what is wrong is told where it stands, what is right reads back to the same, and the plans that follow.
 */
#include "common/alloc.h"
#include "common/experiment.h"
#include "common/file.h"
#include "common/schedule.h"
#include "exec/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/stalepipe-experiment-XXXXXX";
static char path[sizeof folder + 8];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/e.yaml", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static struct sp_experiment *read_with(const char *text, const char *const *sets, int set_count, struct sp_error *err)
{
    assert_int_equal(sp_file_write(path, text, err), SP_OK);
    struct sp_experiment *experiment = NULL;
    sp_status status = sp_experiment_read(path, sets, set_count, &experiment, err);
    assert_int_equal(status == SP_OK, experiment != NULL);
    assert_int_equal(status == SP_OK, err->count == 0);
    return experiment;
}

/* Reads what must be right. */
static struct sp_experiment *right(const char *text)
{
    struct sp_error err = {0};
    struct sp_experiment *experiment = read_with(text, NULL, 0, &err);
    if (experiment == NULL)
        fail_msg("rejected: %s\n%s", err.text, text);
    return experiment;
}

/* A network and a training plan of it; messages of all of them in `err`. NULL when anything was wrong. */
struct built {
    struct sp_experiment *experiment;
    struct sp_network *network;
    struct sp_plan *plan;
};

static void built_fini(struct built *built)
{
    sp_plan_destroy(&built->plan);
    sp_network_destroy(&built->network);
    sp_experiment_destroy(&built->experiment);
}

static void build(const char *text, enum sp_plan_use use, struct built *built, struct sp_error *err)
{
    *built = (struct built){.experiment = read_with(text, NULL, 0, err)};
    if (built->experiment != NULL && sp_experiment_network(built->experiment, &built->network, err) == SP_OK)
        (void)sp_experiment_plan(built->experiment, built->network, use, &built->plan, err);
}

static struct built built_right(const char *text, enum sp_plan_use use)
{
    struct sp_error err = {0};
    struct built built;
    build(text, use, &built, &err);
    if (built.plan == NULL)
        fail_msg("rejected: %s\n%s", err.text, text);
    return built;
}

struct wrong {
    const char *text;
    int line, column; /* of the message; 0: the file alone */
    const char *message;
};

/* Wrong by themselves: found by reading. */
static const struct wrong wrong_to_read[] = {
    {"trian: {batch: 3}\n", 1, 1, "unknown key \"trian\"; did you mean \"train\"?"},
    {"networks: lenet5\n", 1, 1, "unknown key \"networks\"; did you mean \"network\"?"},
    {"xyzzyxyzzy: 1\n", 1, 1, "unknown key \"xyzzyxyzzy\""},
    {"pipeline:\n  shedule: stale\n", 2, 3, "pipeline: unknown key \"shedule\"; did you mean \"schedule\"?"},
    {"pipeline: {cut: [1]}\n", 1, 12, "did you mean \"cuts\"?"},
    {"train: {epoch: 1}\n", 1, 9, "did you mean \"epochs\"?"},
    {"devices: {thread: 1}\n", 1, 11, "did you mean \"threads\"?"},
    {"cost: {stage: []}\n", 1, 8, "did you mean \"stages\"?"},
    {"sim: {minibatch: 1}\n", 1, 7, "did you mean \"minibatches\"?"},
    {"train.batch: 3\n", 1, 1, "unknown key \"train.batch\""},
    {"- a\n", 1, 1, "expected keys and values"},
    {"lenet5\n", 1, 1, "expected keys and values"},
    {"train: 5\n", 1, 8, "train: expected keys and values"},
    {"data: [mnist]\n", 1, 7, "data: expected keys and values"},
    {"a: 1\na: 2\n", 2, 1, "key \"a\" stands here twice"},
    {"train: {batch: 1\n", 2, 1, "not YAML"},
    {"train:\n\tbatch: 1\n", 2, 1, "not YAML"},
    {"name: a/b\n", 1, 7, "name: \"a/b\" cannot name a folder"},
    {"name: ..\n", 1, 7, "cannot name a folder"},
    {"name: &a x\nnetwork: *a\n", 2, 10, "YAML aliases"},
    {"name: x\n---\nname: y\n", 2, 1, "a second document"},
    {"train: {batch: abc}\n", 1, 16, "train.batch: expected a whole number, found \"abc\""},
    {"train: {batch: \"64\"}\n", 1, 16, "train.batch: expected a whole number"},
    {"train: {batch: 1.5}\n", 1, 16, "train.batch: expected a whole number, found \"1.5\""},
    {"train: {batch: [1]}\n", 1, 16, "train.batch: expected a whole number, found a list"},
    {"train: {batch: }\n", 1, 16, "train.batch: expected a whole number"},
    {"train: {batch: 0}\n", 1, 16, "train.batch: 0 is out of range: 1 to 1000000 are legal"},
    {"train: {batch: 99999999999999999999}\n", 1, 16, "train.batch: expected a whole number"},
    {"train: {epochs: 0}\n", 1, 17, "train.epochs: 0 is out of range"},
    {"train: {iterations: -1}\n", 1, 21, "train.iterations: -1 is out of range"},
    {"train: {lr: fast}\n", 1, 13, "train.lr: expected a number, found \"fast\""},
    {"train: {lr: -0.1}\n", 1, 13, "train.lr: -0.1 is out of range"},
    {"train: {lr: inf}\n", 1, 13, "train.lr: expected a number"},
    {"train: {momentum: 1.5}\n", 1, 19, "train.momentum: 1.5 is out of range: 0 to 1 are legal"},
    {"train: {nesterov: yes}\n", 1, 19, "train.nesterov: expected true or false, found \"yes\""},
    {"train: {nesterov: {a: 1}}\n", 1, 19, "train.nesterov: expected true or false, found a map"},
    {"train: {weight_decay: -1}\n", 1, 23, "train.weight_decay: -1 is out of range"},
    {"train: {lr_schedule: cosin}\n", 1, 22, "did you mean \"cosine\"?"},
    {"train: {lr_steps: 3}\n", 1, 19, "train.lr_steps: expected a list of epochs"},
    {"train: {lr_steps: [3, x]}\n", 1, 23, "train.lr_steps: expected epochs, 0 or more, found x"},
    {"train: {lr_steps: [3, 2]}\n", 1, 23, "train.lr_steps: 2 after 3: epochs must rise"},
    {"train: {lr_final: 2}\n", 1, 19, "train.lr_final: 2 is out of range"},
    {"train: {label_smoothing: 1}\n", 1, 26, "train.label_smoothing: 1 is out of range"},
    {"train: {stage_lr: [-1]}\n", 1, 20, "train.stage_lr: expected factors, 0 or more, found -1"},
    {"train: {warmup: -1}\n", 1, 17, "train.warmup: -1 is out of range"},
    {"checkpoint: {minutes: -1}\n", 1, 23, "checkpoint.minutes: -1 is out of range"},
    {"checkpoint: {keep: 0}\n", 1, 20, "checkpoint.keep: 0 is out of range"},
    {"devices: {convolution: fft}\n", 1, 24, "devices.convolution: no \"fft\"; legal: direct, winograd, auto"},
    {"train: {seed: -1}\n", 1, 15, "train.seed: -1 is out of range"},
    {"train: {evaluate_every: -2}\n", 1, 25, "train.evaluate_every: -2 is out of range"},
    {"data: {set: fashion}\n", 1, 13, "data.set: no \"fashion\""},
    {"data: {set: minst}\n", 1, 13, "data.set: no \"minst\"; did you mean \"mnist\"?"},
    {"data: {set: \"mnist, cifar10\"}\n", 1, 13, "data.set: no \"mnist, cifar10\""},
    {"data: {augment: flip}\n", 1, 17, "data.augment: no \"flip\""},
    {"data: {dir: [a]}\n", 1, 13, "data.dir: expected a word, found a list"},
    {"data: {shape: [1, 2]}\n", 1, 15, "data.shape: expected [channels, height, width], found 2 numbers"},
    {"data: {shape: [1, 0, 2]}\n", 1, 19, "data.shape: 0 is out of range"},
    {"data: {shape: 3}\n", 1, 15, "data.shape: expected a list"},
    {"data: {classes: 1}\n", 1, 17, "data.classes: 1 is out of range"},
    {"data: {samples: 0}\n", 1, 17, "data.samples: 0 is out of range"},
    {"network: {fill: a.yaml}\n", 1, 10, ", {file: net.yaml} or {profile: net.graph.txt}"},
    {"network: [lenet5]\n", 1, 10, "network: expected a name"},
    {"network: {file: }\n", 1, 10, "network: expected a name"},
    {"network: {profile: }\n", 1, 10, "network: expected a name"},
    {"network: {profile: a.txt, file: b.yaml}\n", 1, 10, "network: expected a name"},
    {"pipeline: {cuts: automatic}\n", 1, 18, "pipeline.cuts: expected a list of whole numbers"},
    {"pipeline: {cuts: 2}\n", 1, 18, "pipeline.cuts: expected a list of whole numbers"},
    {"pipeline: {cuts: [one]}\n", 1, 19, "pipeline.cuts: expected a whole number, found one"},
    {"pipeline: {cuts: [0]}\n", 1, 19, "pipeline.cuts: 0 is out of range"},
    {"pipeline: {cuts: [2, 1]}\n", 1, 22, "pipeline.cuts: cuts must ascend: 1 follows 2"},
    {"pipeline: {cuts: [1, 3, 3]}\n", 1, 25, "pipeline.cuts: cuts must ascend: 3 follows 3"},
    {"pipeline: {schedule: stail}\n", 1, 22, "pipeline.schedule: no \"stail\"; did you mean \"stale\"?"},
    {"pipeline: {schedule: 1f1b-sync}\n", 1, 22, "did you mean \"1f1b-async\"?"},
    {"pipeline: {schedule: zzzzzzzzzz}\n", 1, 22, "legal: sequential, stale, gpipe, 1f1b, 1f1b-async"},
    {"pipeline: {schedule: [stale]}\n", 1, 22, "pipeline.schedule: expected a schedule's name, found a list"},
    {"pipeline: {schedule: {weights: stash}}\n", 1, 22, "pipeline.schedule: \"order\" is missing"},
    {"pipeline: {schedule: {ordre: stale}}\n", 1, 23, "did you mean \"order\"?"},
    {"pipeline: {schedule: {order: gpip}}\n", 1, 30, "did you mean \"gpipe\"?"},
    {"pipeline: {schedule: {order: stale, flush: often}}\n", 1, 44, "pipeline.schedule.flush: expected minibatch or"},
    {"pipeline: {schedule: {order: gpipe, flush: never}}\n", 1, 44, "gpipe flushes every minibatch"},
    {"pipeline: {schedule: {order: stale, weights: old}}\n", 1, 46, "legal: latest, stash"},
    {"pipeline: {weights: stach}\n", 1, 21, "pipeline.weights: no \"stach\"; did you mean \"stash\"?"},
    {"pipeline: {microbatches: 0}\n", 1, 26, "pipeline.microbatches: 0 is out of range"},
    {"pipeline: {placement: splt}\n", 1, 23, "pipeline.placement: no \"splt\"; did you mean \"split\"?"},
    {"pipeline: {placement: [0, -1]}\n", 1, 27, "pipeline.placement: -1 is out of range"},
    {"pipeline: {placement: {forward: [0]}}\n", 1, 23, "both \"forward\" and \"backward\" are needed"},
    {"pipeline: {placement: {forward: [0], backwards: [0]}}\n", 1, 38, "did you mean \"backward\"?"},
    {"pipeline: {placement: {forward: [0], backward: [0, 1]}}\n", 1, 48, "1 forward and 2 backward stages"},
    {"devices: {backend: gpu}\n", 1, 20, "devices.backend: no \"gpu\""},
    {"devices: {count: -1}\n", 1, 18, "devices.count: -1 is out of range"},
    {"devices: {threads: 0}\n", 1, 20, "devices.threads: 0 is out of range"},
    {"cost: {model: measured}\n", 1, 15, "cost.model: no \"measured\"; legal: analytic, table, profile, import"},
    {"cost: {model: tabel}\n", 1, 15, "cost.model: no \"tabel\"; did you mean \"table\"?"},
    {"cost: {stages: 1}\n", 1, 16, "cost.stages: expected a list of"},
    {"cost: {stages: [{forward: 1}]}\n", 1, 17, "\"backward\""},
    {"cost: {stages: [{forward: 1, backward: x}]}\n", 1, 40, "cost.stages.backward: expected a number, found \"x\""},
    {"cost: {stages: [{forward: -1, backward: 1}]}\n", 1, 27, "cost.stages.forward: -1 is out of range"},
    {"cost: {transfers: 1}\n", 1, 19, "cost.transfers: expected a list of seconds"},
    {"cost: {transfers: [1, -1]}\n", 1, 23, "cost.transfers: expected seconds, 0 or more, found -1"},
    {"cost: {update: soon}\n", 1, 16, "cost.update: expected a number, found \"soon\""},
    {"sim: {minibatches: 0}\n", 1, 20, "sim.minibatches: 0 is out of range"},
    {"sim: {trace: -1}\n", 1, 14, "sim.trace: -1 is out of range"},
    {"phases: {epochs: 1}\n", 1, 9, "phases: expected a list of"},
    {"phases: [{schedule: stale}]\n", 1, 10, "either \"epochs\" or \"iterations\""},
    {"phases: [{epochs: 1, iterations: 2}]\n", 1, 10, "either \"epochs\" or \"iterations\""},
    {"phases:\n- {epochs: 1}\n- {epochs: 0}\n", 3, 12, "phases.epochs: expected a whole number, 1 or more"},
    {"phases: [{epochs: 1, schedule: gpip}]\n", 1, 32, "phases.schedule: no \"gpip\"; did you mean \"gpipe\"?"},
    {"phases: [{epochs: 1, microbatches: 0}]\n", 1, 36, "phases.microbatches: 0 is out of range"},
    {"phases: [{epoch: 1}]\n", 1, 11, "did you mean \"epochs\"?"},
    {"plan: {objective: speed}\n", 1, 19, "plan.objective: no \"speed\"; legal: throughput, time, staleness, memory"},
    {"plan: {objectiv: time}\n", 1, 8, "plan: unknown key \"objectiv\"; did you mean \"objective\"?"},
    {"plan: {keep: 0}\n", 1, 14, "plan.keep: 0 is out of range"},
    {"plan: {stale_weights: 101}\n", 1, 23, "plan.stale_weights: 101 is out of range"},
    {"plan: {placement: one}\n", 1, 19, "plan.placement: no \"one\""},
    {"sweep: [pipeline.cuts]\n", 1, 8, "sweep: expected keys and lists of values"},
    {"published: {speed: 2}\n", 1, 13, "published: no metric \"speed\"; did you mean \"speedup\"?"},
    {"published: {speedup: fast}\n", 1, 22, "published.speedup: expected a number"},
    {"published: 3\n", 1, 12, "published: expected metrics and numbers"},
};

/* Wrong for the network (lenet5: 5 weight layers) or for each other: found with the plan. */
static const struct wrong wrong_to_plan[] = {
    {"pipeline: {cuts: [5]}\n", 1, 19, "no cut after layer 5: lenet5 has 5 weight layers, so 1 to 4 are legal"},
    {"pipeline:\n  cuts:\n  - 1\n  - 7\n", 4, 5, "no cut after layer 7"},
    {"pipeline: {microbatches: 3}\n", 1, 26, "3 microbatches do not divide a minibatch of 128"},
    {"train: {batch: 9}\npipeline: {microbatches: 2}\n", 2, 26, "2 microbatches do not divide a minibatch of 9"},
    {"phases: [{epochs: 1, microbatches: 5}]\n", 1, 36, "5 microbatches do not divide a minibatch of 128"},
    {"pipeline: {cuts: [2]}\ntrain: {stage_lr: [1]}\n", 2, 19,
     "train.stage_lr: 1 factors are given, but 1 cuts make 2"},
    {"train: {lr_schedule: step}\n", 1, 22, "step needs train.lr_steps, such as [10, 15]"},
    {"pipeline: {cuts: [2], placement: [0]}\n", 1, 34, "pipeline.placement: 1 stages are placed, but 1 cuts make 2"},
    {"pipeline: {cuts: [2], placement: [0, 2]}\n", 1, 34, "device 1 has no stage"},
    {"pipeline: {cuts: [2], placement: split}\ndevices: {count: 2}\n", 2, 18, "needs 3 devices, but there are 2"},
    {"pipeline: {cuts: [2], placement: colocated}\ndevices: {count: 1}\n", 2, 18, "needs 2 devices, but there are 1"},
    {"network: lenet6\n", 1, 10, "lenet6"},
};

/* The messages are those of `case`, alone and where it says. */
static void check_message(const struct wrong *wrong, const struct sp_error *err)
{
    char *place = sp_format("%s:%d:%d: ", path, wrong->line, wrong->column);
    if (err->count != 1 || err->status != SP_E_INPUT)
        fail_msg("%d messages, status %d, for\n%s\n%s", err->count, (int)err->status, wrong->text, err->text);
    if (strncmp(err->text, place, strlen(place)) != 0 || strstr(err->text, wrong->message) == NULL)
        fail_msg("expected %s...%s\nfound    %s\nfor      %s", place, wrong->message, err->text, wrong->text);
    free(place);
}

static void what_is_wrong_alone_is_told_where_it_stands(void **state)
{
    (void)state;
    assert_true(sizeof wrong_to_read / sizeof *wrong_to_read >= 50);
    for (size_t i = 0; i < sizeof wrong_to_read / sizeof *wrong_to_read; i++) {
        struct sp_error err = {0};
        struct sp_experiment *experiment = read_with(wrong_to_read[i].text, NULL, 0, &err);
        if (experiment != NULL)
            fail_msg("accepted: %s", wrong_to_read[i].text);
        check_message(&wrong_to_read[i], &err);
        sp_error_fini(&err);
    }
}

static void what_makes_no_plan_is_told_where_it_stands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong_to_plan / sizeof *wrong_to_plan; i++) {
        struct sp_error err = {0};
        struct built built;
        build(wrong_to_plan[i].text, SP_PLAN_TRAIN, &built, &err);
        assert_null(built.plan);
        check_message(&wrong_to_plan[i], &err);
        built_fini(&built);
        sp_error_fini(&err);
    }
}

/* Five mistakes, five messages, in the order of the file. */
static void all_mistakes_are_told_at_once(void **state)
{
    (void)state;
    struct sp_error err = {0};
    assert_null(
        read_with("nam: x\ntrain:\n  batch: 0\n  lr: x\npipeline: {cuts: [2, 1], schedule: stail}\n", NULL, 0, &err));
    assert_int_equal(err.count, 5);
    static const char *const fragments[] = {":1:1: ", ":3:10: ", ":4:7: ", ":5:22: ", ":5:36: "};
    const char *at = err.text;
    for (int i = 0; i < 5; i++) {
        at = strstr(at, fragments[i]);
        if (at == NULL)
            fail_msg("no %s in order in\n%s", fragments[i], err.text);
    }
    sp_error_fini(&err);
}

static void a_missing_file_is_wrong_input_and_named(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct sp_experiment *experiment = NULL;
    assert_int_equal(sp_experiment_read("/nonexistent/e.yaml", NULL, 0, &experiment, &err), SP_E_INPUT);
    assert_null(experiment);
    assert_non_null(strstr(err.text, "/nonexistent/e.yaml"));
    sp_error_fini(&err);
}

static void an_empty_file_is_the_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "train:\n", "{}\n", "plan: {}\nsweep: {}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct sp_experiment *e = right(texts[i]);
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
    struct sp_experiment *e = right(everything);
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
        struct sp_experiment *first = right(texts[i]);
        char *resolved = sp_experiment_yaml(first);
        struct sp_experiment *second = right(resolved);
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
    struct sp_experiment *e = read_with("train: {batch: 8, lr: 0.5}\nnetwork: {file: x}\n", sets, 8, &err);
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

static void a_wrong_set_is_told_as_it_was_given(void **state)
{
    (void)state;
    static const struct {
        const char *set, *start, *message;
    } cases[] = {
        {"train.batch=0", "--set train.batch=0: ", "train.batch: 0 is out of range"},
        {"train.batch", "--set train.batch: ", "expected key=value"},
        {"train.batch=#3", "--set train.batch=#3: ", "train.batch: expected a whole number"},
        {"train.batch=", "--set train.batch=: ", "train.batch: expected a whole number"},
        {"trian.batch=1", "--set trian.batch=1: ", "unknown key"},
        {"train.bach=1", "--set train.bach=1: ", "train: unknown key \"bach\"; did you mean \"batch\"?"},
        {"networ=x", "--set networ=x: ", "did you mean \"network\"?"},
        {"=1", "--set =1: ", "unknown key"},
        {"pipeline.cuts=[2, 1]", "--set pipeline.cuts=[2, 1]: ", "cuts must ascend"},
        {"pipeline.cuts=[1", "--set pipeline.cuts=[1: ", "not YAML"},
        {"pipeline.schedule=stail", "--set pipeline.schedule=stail: ", "did you mean \"stale\"?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_error err = {0};
        assert_null(read_with("", &cases[i].set, 1, &err));
        assert_int_equal(err.status, SP_E_INPUT);
        if (strncmp(err.text, cases[i].start, strlen(cases[i].start)) != 0 ||
            strstr(err.text, cases[i].message) == NULL)
            fail_msg("expected %s...%s, found %s", cases[i].start, cases[i].message, err.text);
        sp_error_fini(&err);
    }
}

/* The weights spelled out in a schedule belong to it: another schedule does not inherit them. */
static void another_schedule_brings_its_own_weights(void **state)
{
    (void)state;
    const char *set = "pipeline.schedule=stale";
    struct sp_error err = {0};
    struct sp_experiment *e =
        read_with("pipeline: {schedule: {order: 1f1b, flush: never, weights: stash}}\n", &set, 1, &err);
    assert_non_null(e);
    assert_string_equal(e->pipeline.base.schedule, "stale");
    assert_null(e->pipeline.base.weights);
    sp_experiment_destroy(&e);
    e = read_with("pipeline: {weights: stash, schedule: gpipe}\n", &set, 1, &err); /* its own key: it stays */
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
        struct sp_experiment *e = right(cases[i].text);
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

/* 5 epochs of 60,000 in minibatches of 128: 2343.75, so 2344. Held-out: ceil(10000 / 128) = 79 microbatches, or of 32
 * samples 313. */
static void epochs_become_minibatches(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2]}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->minibatches, 2344);
    assert_int_equal(b.plan->phases[0].evaluate_minibatches, 79);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2], microbatches: 4}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->phases[0].evaluate_minibatches, 313);
    built_fini(&b);
    b = built_right("train: {iterations: 100}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->minibatches, 100);
    built_fini(&b);
}

/* One evaluation an epoch, however the batch divides the samples; whoever trains for less than that has one too. */
static void every_epoch_is_evaluated_the_last_too(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t evaluations;
    } cases[] = {
        {"train: {epochs: 1}\n", 1},
        {"train: {epochs: 5}\n", 5},
        {"train: {epochs: 5, batch: 100}\n", 5},
        {"train: {epochs: 30, batch: 7}\n", 30},
        {"train: {epochs: 3, batch: 127}\n", 3},
        {"train: {iterations: 20}\n", 1},
        {"train: {iterations: 20, evaluate_every: 10}\n", 2},
        {"train: {iterations: 20, evaluate_every: -1}\n", 0},
        {"phases: [{epochs: 2}, {epochs: 1, schedule: sequential}]\n", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct built b = built_right(cases[i].text, SP_PLAN_TRAIN);
        if (sp_plan_evaluations(b.plan) != cases[i].evaluations)
            fail_msg("%lld evaluations for %s", (long long)sp_plan_evaluations(b.plan), cases[i].text);
        built_fini(&b);
    }
}

static void simulations_are_as_long_as_asked_and_do_not_evaluate(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2]}\nsim: {minibatches: 30}\n", SP_PLAN_SIMULATE);
    assert_int_equal(b.plan->minibatches, 30);
    assert_int_equal(sp_plan_evaluations(b.plan), 0);
    built_fini(&b);
    /* 20 + 10 epochs: two thirds and one third */
    b = built_right("phases: [{epochs: 20}, {epochs: 10, schedule: sequential}]\nsim: {minibatches: 30}\n",
                    SP_PLAN_SIMULATE);
    assert_int_equal(b.plan->phase_count, 2);
    assert_int_equal(b.plan->phases[0].minibatches, 20);
    assert_int_equal(b.plan->phases[1].first_minibatch, 20);
    assert_int_equal(b.plan->minibatches, 30);
    built_fini(&b);
}

/* 2 cuts, P = 3. split: forward i on i, backward on 2K - i; the last stage's two are device K = 2. */
static void placements_by_name_and_by_list(void **state)
{
    (void)state;
    static const struct {
        const char *placement;
        int forward[3], backward[3], devices;
    } cases[] = {
        {"auto", {0, 1, 2}, {0, 1, 2}, 3},      {"colocated", {0, 1, 2}, {0, 1, 2}, 3},
        {"split", {0, 1, 2}, {4, 3, 2}, 5},     {"one", {0, 0, 0}, {0, 0, 0}, 1},
        {"[1, 0, 1]", {1, 0, 1}, {1, 0, 1}, 2}, {"{forward: [0, 1, 1], backward: [0, 2, 1]}", {0, 1, 1}, {0, 2, 1}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = sp_format("pipeline: {cuts: [1, 3], placement: %s}\n", cases[i].placement);
        struct built b = built_right(text, SP_PLAN_TRAIN);
        assert_int_equal(b.plan->device_count, cases[i].devices);
        assert_int_equal(b.plan->stage_count, 3);
        for (int s = 0; s < 3; s++) {
            assert_int_equal(b.plan->stages[s].forward_device, cases[i].forward[s]);
            assert_int_equal(b.plan->stages[s].backward_device, cases[i].backward[s]);
        }
        built_fini(&b);
        free(text);
    }
}

static void phases_and_schedules_set_what_the_plan_does(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2], schedule: 1f1b-async, microbatches: 2}\n", SP_PLAN_TRAIN);
    assert_ptr_equal(b.plan->phases[0].schedule, sp_schedule_find("1f1b-async"));
    assert_int_equal(b.plan->phases[0].weights, SP_WEIGHTS_STASH); /* PipeDream's default */
    assert_int_equal(b.plan->phases[0].microbatches, 2);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2], schedule: 1f1b-async, weights: latest}\n", SP_PLAN_TRAIN);
    assert_int_equal(b.plan->phases[0].weights, SP_WEIGHTS_LATEST);
    built_fini(&b);
    b = built_right("pipeline: {microbatches: 4}\n"
                    "phases: [{schedule: gpipe, iterations: 7}, {iterations: 3, microbatches: 1}]\n",
                    SP_PLAN_TRAIN);
    assert_int_equal(b.plan->phase_count, 2);
    assert_ptr_equal(b.plan->phases[0].schedule, sp_schedule_find("gpipe"));
    assert_int_equal(b.plan->phases[0].microbatches, 4);
    assert_ptr_equal(b.plan->phases[1].schedule, sp_schedule_find("stale"));
    assert_int_equal(b.plan->phases[1].microbatches, 1);
    assert_int_equal(b.plan->phases[1].first_minibatch, 7);
    built_fini(&b);
}

static void memory_is_shared_on_processors_only(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [2]}\n", SP_PLAN_TRAIN);
    assert_true(b.plan->shared_memory);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2]}\ndevices: {backend: ref}\n", SP_PLAN_TRAIN);
    assert_true(b.plan->shared_memory);
    built_fini(&b);
    b = built_right("pipeline: {cuts: [2]}\ndevices: {backend: cuda}\n", SP_PLAN_TRAIN);
    assert_false(b.plan->shared_memory);
    built_fini(&b);
}

static void the_baseline_is_sequential_on_one_device(void **state)
{
    (void)state;
    struct built b = built_right("pipeline: {cuts: [1, 3], placement: split, microbatches: 4}\n", SP_PLAN_TRAIN);
    struct sp_plan *baseline = NULL;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_baseline(b.experiment, b.network, 17, &baseline, &err), SP_OK);
    assert_int_equal(baseline->device_count, 1);
    assert_int_equal(baseline->stage_count, 3);
    assert_int_equal(baseline->stages[1].last_weight_layer, 3);
    assert_int_equal(baseline->minibatches, 17);
    assert_ptr_equal(baseline->phases[0].schedule, sp_schedule_find("sequential"));
    assert_int_equal(sp_plan_evaluations(baseline), 0);
    sp_plan_destroy(&baseline);
    built_fini(&b);
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
        cmocka_unit_test(what_is_wrong_alone_is_told_where_it_stands),
        cmocka_unit_test(what_makes_no_plan_is_told_where_it_stands),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(a_missing_file_is_wrong_input_and_named),
        cmocka_unit_test(an_empty_file_is_the_defaults),
        cmocka_unit_test(every_value_arrives),
        cmocka_unit_test(the_resolved_yaml_reads_back_to_the_same),
        cmocka_unit_test(set_overrides_the_file_in_order),
        cmocka_unit_test(a_wrong_set_is_told_as_it_was_given),
        cmocka_unit_test(another_schedule_brings_its_own_weights),
        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(known_data_sets_have_their_shapes),
        cmocka_unit_test(epochs_become_minibatches),
        cmocka_unit_test(every_epoch_is_evaluated_the_last_too),
        cmocka_unit_test(simulations_are_as_long_as_asked_and_do_not_evaluate),
        cmocka_unit_test(placements_by_name_and_by_list),
        cmocka_unit_test(phases_and_schedules_set_what_the_plan_does),
        cmocka_unit_test(memory_is_shared_on_processors_only),
        cmocka_unit_test(backends_are_listed_as_they_are),
        cmocka_unit_test(the_baseline_is_sequential_on_one_device),
    };
    return cmocka_run_group_tests_name("experiment", tests, make_folder, remove_folder);
}
