/*
 * Wrong experiments: every mistake is told where it stands.
 */
#include "common/alloc.h"
#include "tests/experiments.h"
#include "tests/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    char *place = sp_format("%s:%d:%d: ", experiment_path(), wrong->line, wrong->column);
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
        struct sp_experiment *experiment = experiment_read(wrong_to_read[i].text, NULL, 0, &err);
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
        built_init(wrong_to_plan[i].text, SP_PLAN_TRAIN, &built, &err);
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
    assert_null(experiment_read("nam: x\ntrain:\n  batch: 0\n  lr: x\npipeline: {cuts: [2, 1], schedule: stail}\n",
                                NULL, 0, &err));
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
        assert_null(experiment_read("", &cases[i].set, 1, &err));
        assert_int_equal(err.status, SP_E_INPUT);
        if (strncmp(err.text, cases[i].start, strlen(cases[i].start)) != 0 ||
            strstr(err.text, cases[i].message) == NULL)
            fail_msg("expected %s...%s, found %s", cases[i].start, cases[i].message, err.text);
        sp_error_fini(&err);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_alone_is_told_where_it_stands),
        cmocka_unit_test(what_makes_no_plan_is_told_where_it_stands),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(a_missing_file_is_wrong_input_and_named),
        cmocka_unit_test(a_wrong_set_is_told_as_it_was_given),
    };
    return cmocka_run_group_tests_name("experiment: mistakes", tests, test_folder_make, test_folder_remove);
}
