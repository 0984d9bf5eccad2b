/* The program's training as a user has it: stopped, resumed, begun anew, without room, beside another one. */
#include "common/alloc.h"
#include "common/file.h"
#include "tests/folder.h"
#include "tests/program.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Epochs of ten minibatches, each with a checkpoint; two stages, so that three minibatches are in flight. */
static const char experiment[] = "network: lenet5\n"
                                 "data: {set: synthetic, samples: 40, shape: [1, 12, 12]}\n"
                                 "pipeline: {cuts: [2], schedule: stale}\n"
                                 "devices: {backend: ref, count: 2}\n"
                                 "train: {batch: 4, iterations: 40, lr: 0.01}\n"
                                 "checkpoint: {epochs: 1, keep: 1000}\n";

static char *said_path, *yaml_path;

static int make(void **state)
{
    struct sp_error err = {0};
    if (test_folder_make(state) != 0)
        return 1;
    said_path = sp_format("%s/said.txt", test_folder);
    yaml_path = sp_format("%s/a.yaml", test_folder);
    return sp_file_write(yaml_path, experiment, &err) != SP_OK;
}

static int clean(void **state)
{
    free(said_path);
    free(yaml_path);
    return test_folder_remove(state);
}

enum { MOST_WORDS = 8 };

/* Starts `stalepipe COMMAND EXPERIMENT -o OUT` with further words, up to NULL. */
static pid_t start(const char *command, const char *out, const char *const *more)
{
    char *folder = sp_format("%s/%s", test_folder, out);
    const char *words[5 + MOST_WORDS] = {command, yaml_path, "-o", folder};
    for (int w = 0; more[w] != NULL; w++)
        words[4 + w] = more[w];
    pid_t pid = program_start(said_path, words);
    free(folder);
    return pid;
}

static char *it_said(void)
{
    struct sp_error err = {0};
    char *said;
    size_t size;
    assert_int_equal(sp_file_read(said_path, 1 << 24, NULL, &said, &size, &err), SP_OK);
    return said;
}

/* Runs it to its end: that exit status, and that text in what it says. */
#define EXPECT(exit_status, text, command, out, ...)                                                                   \
    expect(exit_status, text, start(command, out, (const char *const[]){__VA_ARGS__, NULL}))
static void expect(int exit_status, const char *text, pid_t pid)
{
    int status = program_finish(pid);
    char *said = it_said();
    if (status != exit_status || strstr(said, text) == NULL)
        fail_msg("exit status %d, not %d; it says \"%s\", which should have \"%s\"", status, exit_status, said, text);
    free(said);
}

/* Waits until there is a file of that pattern, or the program has ended. */
static void wait_for(pid_t pid, const char *pattern)
{
    const struct timespec moment = {.tv_nsec = 500000};
    char *path = sp_format("%s/%s", test_folder, pattern);
    siginfo_t about = {0};
    glob_t found = {0};
    while (glob(path, 0, NULL, &found) != 0 && waitid(P_PID, (id_t)pid, &about, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           about.si_pid == 0)
        nanosleep(&moment, NULL);
    globfree(&found);
    free(path);
}

/* The minibatches of the newest checkpoint there. */
static long newest_in(const char *folder)
{
    char *pattern = sp_format("%s/%s/minibatch-*.safetensors", test_folder, folder);
    glob_t found = {0};
    assert_int_equal(glob(pattern, 0, NULL, &found), 0); /* in the order of their names */
    long done = strtol(strrchr(found.gl_pathv[found.gl_pathc - 1], '-') + 1, NULL, 10);
    globfree(&found);
    free(pattern);
    return done;
}

/* Trains into `out` for long, and stops it once there is a file of that pattern. */
static void train_and_stop(const char *out, const char *pattern, const char *how, const char *set)
{
    pid_t pid =
        start("train", out, (const char *const[]){"--set", "train.iterations=1000000", "--set", set, how, NULL});
    wait_for(pid, pattern);
    kill(pid, SIGINT);
    expect(1, "with a checkpoint in", pid);
}

static void draw_losses(const char *folder)
{
    char *here = getcwd(NULL, 0);
    test_shell("gnuplot -e \"plots='%s/plots'; folder='%s'; out='%s.svg'\" '%s/plots/loss.gp' && test -s %s.svg", here,
               folder, folder, here, folder);
    free(here);
}

/*
 * What is left of a stopped run: its curve so far, of the minibatches of its checkpoint, which counts them at the first
 * stage, and of those that the last stage is ahead (three are in flight); but no summary.json, so that nobody takes it
 * for a finished one. Resumed for more than an epoch it comes to what a run of that length comes to that nobody
 * stopped.
 */
static void a_stopped_run_leaves_its_curve(void **state)
{
    (void)state;
    train_and_stop("stopped", "stopped/checkpoints/minibatch-*[0-9].safetensors", "-q", "label=a");
    long done = newest_in("stopped/checkpoints");
    test_shell("test ! -e stopped/summary.json && grep -q 'iterations: 1000000' stopped/experiment.yaml");
    test_shell("rows=$(wc -l < stopped/losses.csv); test $rows -ge %ld && test $rows -le %ld", 1 + done, 1 + done + 3);
    test_shell("cp stopped/losses.csv losses.csv && cut -d, -f1,2,4-7 stopped/metrics.csv > metrics.csv");
    test_shell("test $(wc -l < metrics.csv) -ge %ld", 1 + done / 10);
    char *folder = sp_format("%s/stopped", test_folder);
    expect(2, "the run there is not finished", program_start(said_path, (const char *const[]){"report", folder, NULL}));
    free(folder);
    draw_losses("stopped");
    char *length = sp_format("train.iterations=%ld", (done / 10 + 2) * 10); /* evaluations are spread over the length */
    EXPECT(0, "", "train", "stopped", "--resume", "--set", length);
    EXPECT(0, "", "train", "straight", "--set", length);
    test_shell("test -e stopped/summary.json && cmp stopped/losses.csv straight/losses.csv");
    test_shell("for run in stopped straight; do cut -d, -f1,2,4-7 $run/metrics.csv > $run.csv; done; "
               "diff stopped.csv straight.csv");
    test_shell("head -n $(wc -l < losses.csv) straight/losses.csv | cmp - losses.csv");
    test_shell("head -n $(wc -l < metrics.csv) straight.csv | cmp - metrics.csv");
    free(length);
}

/* What does not train has nothing to save: a signal ends it at once, as it ends other programs. */
static void a_simulation_ends_when_it_is_asked_to(void **state)
{
    (void)state;
    static const int asked[] = {SIGINT, SIGTERM};
    for (int n = 0; n < 2; n++) {
        pid_t pid = start("sim", "long",
                          (const char *const[]){"--set", "sim.minibatches=1000000", "--set", "cost.noise=0.1",
                                                "--repeat", "300", NULL});
        usleep(100000);
        kill(pid, asked[n]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == asked[n]);
    }
    test_shell("test ! -e long/summary.json");
}

/* A finished run that is continued for longer and stopped is no finished run any more; its summary is still there. */
static void the_summary_of_a_shorter_run_is_set_aside(void **state)
{
    (void)state;
    EXPECT(0, "", "train", "longer", "--set", "train.iterations=10", "--set", "pipeline.schedule=sequential");
    test_shell("cp longer/summary.json summary.json");
    train_and_stop("longer", "longer/checkpoints/minibatch-*2?.safetensors", "--resume",
                   "pipeline.schedule=sequential");
    test_shell("test ! -e longer/summary.json && cmp summary.json longer/summary.json.old");
    test_shell("test $(wc -l < longer/losses.csv) = %ld", 1 + newest_in("longer/checkpoints"));
}

/* Where a pipeline had run empty it cannot go on: refused, and all is as it was. */
static void a_refused_continuation_changes_nothing(void **state)
{
    (void)state;
    EXPECT(0, "", "train", "refused", "-q");
    test_shell("cp -r refused before");
    EXPECT(2, "the pipeline was not filled as", "train", "refused", "--resume", "--set", "train.iterations=60");
    EXPECT(2, "train.lr is 0.01 there and 0.02", "train", "refused", "--resume", "--set", "train.lr=0.02");
    test_shell("diff -r refused before");
}

/* A limit on the size of files stands for a full disk: checkpoints are larger than it, what else a run leaves is not.
 */
static void a_run_without_room_for_its_checkpoint_leaves_its_curve(void **state)
{
    (void)state;
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 30000;
    signal(SIGXFSZ, SIG_IGN); /* the program inherits it */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    pid_t pid = start("train", "full", (const char *const[]){"--set", "train.iterations=12", NULL});
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    expect(1, "12 minibatches were done, and recorded", pid);
    test_shell("test ! -e full/summary.json && test $(wc -l < full/losses.csv) = 13 && test -e full/metrics.csv && "
               "test -z \"$(ls full/checkpoints)\"");
}

/*
 * Checkpoints after 10, 20, 30 and 40 minibatches; the last one is cut short. Resumed from 30, keeping one, and
 * stopped: 40 no longer counts as the newest, so what the stop left is there.
 */
static void a_damaged_checkpoint_does_not_push_out_good_ones(void **state)
{
    (void)state;
    EXPECT(0, "", "train", "damaged", "-q");
    test_shell("cd damaged/checkpoints && test $(ls | wc -l) = 4 && truncate -s 5000 minibatch-000000040.safetensors");
    train_and_stop("damaged", "damaged/checkpoints/*.damaged", "--resume", "checkpoint.keep=1");
    char *said = it_said();
    assert_non_null(strstr(said, "passed over: "));
    assert_non_null(strstr(said, "minibatch-000000040.safetensors.damaged now"));
    free(said);
    test_shell("cd damaged/checkpoints && test $(ls | wc -l) = 2 && test $(ls *.damaged | wc -l) = 1");
    long done = newest_in("damaged/checkpoints");
    assert_true(done > 30);
    char *length = sp_format("train.iterations=%ld", done + 10);
    EXPECT(0, "", "train", "damaged", "--resume", "--set", length);
    EXPECT(0, "", "train", "undamaged", "--set", length);
    test_shell("cmp damaged/losses.csv undamaged/losses.csv");
    free(length);
}

/* Begun three times without --resume, with a file of the user's where the first one is to go. */
static void a_run_begun_anew_loses_nothing(void **state)
{
    (void)state;
    test_shell("mkdir -p anew/checkpoints.old && echo mine > anew/checkpoints.old/note");
    EXPECT(0, "", "train", "anew", "--set", "train.seed=1");
    test_shell("cp -r anew first");
    EXPECT(0, "anew/checkpoints.old2\n", "train", "anew", "--set", "train.seed=2");
    EXPECT(0, "anew/checkpoints.old3\n", "train", "anew", "--set", "train.seed=3", "-q");
    test_shell("test $(cat anew/checkpoints.old/note) = mine && test $(ls anew/checkpoints.old | wc -l) = 1");
    test_shell("cd anew/checkpoints.old2 && for file in ../../first/*.* ../../first/checkpoints/*; do "
               "test -d $file || cmp $file $(basename $file) || exit 1; done");
    test_shell("grep -q 'seed: 2' anew/checkpoints.old3/experiment.yaml && grep -q 'seed: 3' anew/experiment.yaml && "
               "test $(ls anew/checkpoints.old3/*.safetensors | wc -l) = 4");
}

/* Neither changes a number. */
static void a_label_and_published_figures_do_not_hinder_resuming(void **state)
{
    (void)state;
    EXPECT(0, "", "train", "labelled", "--set", "train.iterations=10", "--set", "pipeline.schedule=sequential");
    EXPECT(0, "continuing from", "train", "labelled", "--resume", "--set", "label=mine", "--set",
           "published={speedup: 1.5}", "--set", "pipeline.schedule=sequential");
}

static pid_t halted; /* a training run that is stopped; 0: none */

static int end_halted(void **state)
{
    (void)state;
    int status = 0;
    if (halted > 0) {
        kill(halted, SIGKILL);
        status = program_finish(halted);
    }
    halted = 0;
    return status == -1 ? 0 : status;
}

/* Of those that write into a run's folder each is refused while a training run is at work there, at once. */
static void a_training_run_holds_its_folder(void **state)
{
    static const char *const commands[] = {"train", "compare", "sim", "plan"};
    halted = start("train", "held", (const char *const[]){"--set", "train.iterations=1000000", NULL});
    wait_for(halted, "held/checkpoints/minibatch-*.safetensors");
    kill(halted, SIGSTOP);
    for (int c = 0; c < 4; c++)
        EXPECT(1, "another run is writing there", commands[c], "held", "--set", "pipeline.cuts=auto");
    EXPECT(1, "another run is writing there", "sweep", "held", "--set", "sweep={train.seed: [1, 2]}");
    test_shell("test \"$(ls held)\" = checkpoints");
    assert_int_equal(end_halted(state), 0);
    EXPECT(0, "", "sim", "held", "-q");
}

/* Its losses are written as gnuplot and pandas read them, by our own plots too. */
static void a_run_that_diverges_leaves_nan(void **state)
{
    (void)state;
    EXPECT(0, "the training loss is not finite", "train", "diverged", "--set", "train.lr=1e9");
    test_shell("cd diverged && grep -q ',nan$' losses.csv && grep -q ',nan,' metrics.csv && ! grep -- -nan *.csv");
    draw_losses("diverged");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_run_leaves_its_curve),
        cmocka_unit_test(a_simulation_ends_when_it_is_asked_to),
        cmocka_unit_test(the_summary_of_a_shorter_run_is_set_aside),
        cmocka_unit_test(a_refused_continuation_changes_nothing),
        cmocka_unit_test(a_run_without_room_for_its_checkpoint_leaves_its_curve),
        cmocka_unit_test(a_damaged_checkpoint_does_not_push_out_good_ones),
        cmocka_unit_test(a_run_begun_anew_loses_nothing),
        cmocka_unit_test(a_label_and_published_figures_do_not_hinder_resuming),
        cmocka_unit_test_teardown(a_training_run_holds_its_folder, end_halted),
        cmocka_unit_test(a_run_that_diverges_leaves_nan),
    };
    return cmocka_run_group_tests_name("train_program", tests, make, clean);
}
