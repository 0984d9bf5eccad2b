/*
 * A run that was interrupted and resumed is the run that was not, bit for bit; and what is wrong with a checkpoint is
 * said.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/safetensors.h"
#include "tests/folder.h"
#include "tests/training.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_EVALUATIONS = 8 };

/* What a finished run comes to. */
struct outcome {
    float *parameters, *losses;
    int64_t count, minibatches;
    double accuracy;
    int64_t evaluated[MOST_EVALUATIONS]; /* after so many minibatches */
    int evaluations;
};

static struct outcome finish(struct run *run)
{
    struct outcome out = {.minibatches = run->plan->minibatches, .accuracy = -1};
    int epochs;
    run_train(run);
    const struct sp_epoch_summary *epoch = exec_trainer_epochs(run->trainer, &epochs);
    for (int e = 0; e < epochs && e < MOST_EVALUATIONS; e++) {
        out.evaluated[out.evaluations++] = epoch[e].minibatch;
        assert_true(epoch[e].samples_per_s > 0);
    }
    if (epochs > 0)
        out.accuracy = epoch[epochs - 1].accuracy + epoch[0].loss;
    out.parameters = run_parameters(run, &out.count);
    out.losses = sp_alloc(sizeof *out.losses * (size_t)out.minibatches);
    memcpy(out.losses, exec_trainer_losses(run->trainer), sizeof *out.losses * (size_t)out.minibatches);
    run_close(run);
    return out;
}

static void outcome_fini(struct outcome *out)
{
    free(out->parameters);
    free(out->losses);
}

static void expect_same(const struct outcome *a, const struct outcome *b, const char *what, int64_t gate)
{
    for (int64_t m = 0; m < a->minibatches; m++)
        if (memcmp(&a->losses[m], &b->losses[m], sizeof *a->losses) != 0)
            fail_msg("%s, resumed after %lld: the loss of minibatch %lld is %.9g and %.9g", what, (long long)gate,
                     (long long)m, (double)a->losses[m], (double)b->losses[m]);
    for (int64_t i = 0; i < a->count; i++)
        if (memcmp(&a->parameters[i], &b->parameters[i], sizeof *a->parameters) != 0)
            fail_msg("%s, resumed after %lld: parameter %lld is %.9g and %.9g", what, (long long)gate, (long long)i,
                     (double)a->parameters[i], (double)b->parameters[i]);
    if (a->accuracy != b->accuracy)
        fail_msg("%s, resumed after %lld: accuracies and losses add up to %.17g and %.17g", what, (long long)gate,
                 a->accuracy, b->accuracy);
}

static void path_of(char *path, size_t size, int64_t done)
{
    snprintf(path, size, "%s/minibatch-%09lld.safetensors", test_folder, (long long)done);
}

/* Every schedule, weights, microbatches, placement, two phases, at random; a checkpoint after every minibatch; resumed
 * from some of them, by threads or one interpreter, whichever did not write it. */
static void a_resumed_run_is_the_uninterrupted_one(void **state)
{
    (void)state;
    uint32_t random = 23;
    int schedule_count = 0;
    while (sp_schedules[schedule_count] != NULL)
        schedule_count++;
    for (int b = 0; exec_backends[b] != NULL; b++)
        for (int round = 0; round < 3 * schedule_count; round++) {
            struct run_setting s = {.network = round % 2 == 0 ? "lenet5" : "resnet8",
                                    .backend = exec_backends[b],
                                    .lr = 0.05f,
                                    .momentum = 0.9f,
                                    .evaluate_every = pick(&random, 2) * 3};
            int layers = round % 2 == 0 ? 5 : 8, forward[4], backward[4], how = round % 3;
            s.cut_count = 1 + pick(&random, 3);
            for (int c = 0, at = 0; c < s.cut_count; c++)
                s.cuts[c] = at += 1 + pick(&random, layers - 1 - at - (s.cut_count - c - 1));
            for (int p = 0; p < 1 + round % 2; p++)
                s.phases[p] = (struct sp_phase){.schedule = sp_schedules[(round + p) % schedule_count],
                                                .weights = (enum sp_weights_policy)pick(&random, 2),
                                                .microbatches = 1 << pick(&random, 3),
                                                .minibatches = 4 + pick(&random, 5)};
            for (int i = 0; i <= s.cut_count; i++) {
                forward[i] = how == 1 ? i * 2 / (s.cut_count + 1) : i;
                backward[i] = how == 2 ? 2 * s.cut_count - i : forward[i];
            }
            s.forward_devices = forward;
            s.backward_devices = backward;
            struct run run;
            run_open(&s, &run);
            struct outcome alone = finish(&run);
            s.checkpoint = (struct exec_checkpoint_config){.folder = test_folder, .epoch_minibatches = 1, .keep = 1000};
            run_open(&s, &run);
            struct outcome watched = finish(&run);
            expect_same(&alone, &watched, s.phases[0].schedule->name, -1);
            outcome_fini(&watched);
            for (int64_t done = 1; done <= alone.minibatches; done += 1 + pick(&random, 3)) {
                char path[128];
                path_of(path, sizeof path, done);
                s.checkpoint = (struct exec_checkpoint_config){.resume = path};
                s.workers = pick(&random, 2) == 0 ? EXEC_WORKERS_THREADS : EXEC_WORKERS_ONE;
                run_open(&s, &run);
                struct outcome resumed = finish(&run);
                expect_same(&alone, &resumed, s.phases[0].schedule->name, done);
                outcome_fini(&resumed);
            }
            exec_checkpoint_prune(test_folder, 0);
            outcome_fini(&alone);
        }
}

static struct run_setting stale_setting(void)
{
    return (struct run_setting){.network = "lenet5",
                                .cuts = {2, 4},
                                .cut_count = 2,
                                .schedule = "stale",
                                .minibatches = 120,
                                .evaluate_every = 25,
                                .lr = 0.005f,
                                .momentum = 0.9f};
}

static char *read_bytes(const char *path, size_t *count)
{
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    fseek(in, 0, SEEK_END);
    *count = (size_t)ftell(in);
    rewind(in);
    char *bytes = malloc(*count);
    assert_int_equal(fread(bytes, 1, *count, in), *count);
    fclose(in);
    return bytes;
}

/* In a child: trains from the newest checkpoint in `where` on, writing one after every third minibatch. */
static void train_in_child(const struct exec_backend *backend, const char *where)
{
    struct run_setting s = stale_setting();
    struct run run;
    struct sp_error err = {0};
    char *path, *notes;
    s.backend = backend;
    if (exec_checkpoint_find(where, &path, &notes, &err) != SP_OK)
        _exit(3);
    s.checkpoint = (struct exec_checkpoint_config){.folder = where, .epoch_minibatches = 3, .keep = 2, .resume = path};
    run_open(&s, &run);
    if (exec_trainer_run(run.trainer, &err) != SP_OK)
        _exit(4);
    run_close(&run);
    _exit(0);
}

/* Trains in a child that is killed after so many microseconds (0: never). True when it came to its end. */
static bool train(const struct exec_backend *backend, const char *where, useconds_t life)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        train_in_child(backend, where);
    if (life > 0) {
        usleep(life);
        kill(child, SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFEXITED(status);
}

static int count_checkpoints(void)
{
    char command[160];
    snprintf(command, sizeof command, "exit $(ls %s | wc -l)", test_folder);
    return WEXITSTATUS(system(command));
}

/* The bytes of all tensors: parameters, velocity, losses. */
static char *tensors_at_end(const char *where, size_t *count)
{
    char path[160];
    snprintf(path, sizeof path, "%s/minibatch-000000120.safetensors", where);
    char *bytes = read_bytes(path, count);
    size_t header = 8 + ((size_t)(unsigned char)bytes[0] | (size_t)(unsigned char)bytes[1] << 8 |
                         (size_t)(unsigned char)bytes[2] << 16);
    memmove(bytes, bytes + header, *count -= header);
    return bytes;
}

/* The minibatches of the newest whole checkpoint there; 0: none. */
static long newest_in(const char *where)
{
    struct sp_error err = {0};
    char *path, *notes;
    assert_int_equal(exec_checkpoint_find(where, &path, &notes, &err), SP_OK);
    long done = path != NULL ? strtol(strrchr(path, '-') + 1, NULL, 10) : 0;
    free(path);
    free(notes);
    return done;
}

/* Kills a run twenty times, or oftener, until ten of them had gone on from a checkpoint and come to a newer one. Lives
 * become longer where one brings no checkpoint, and shorter where a run comes to its end, which then begins again. */
static void kill_often(const struct exec_backend *backend, uint32_t *random)
{
    enum { KILLS = 20, RESUMED = 10, MOST_KILLS = 120 };
    int life = 20000, killed = 0, resumed = 0;
    while ((killed < KILLS || resumed < RESUMED) && killed < MOST_KILLS) {
        long before = newest_in(test_folder);
        if (train(backend, test_folder, (useconds_t)(life / 2 + pick(random, life)))) {
            exec_checkpoint_prune(test_folder, 0);
            life -= life > 1000 ? life / 3 : 0;
            continue;
        }
        killed++;
        bool further = newest_in(test_folder) > before;
        resumed += before > 0 && further;
        life += further ? 0 : life / 2;
    }
    if (resumed < RESUMED)
        fail_msg("%s: of %d runs that were killed %d had gone on from a checkpoint", backend->name, killed, resumed);
}

static void a_run_killed_twenty_times_ends_in_the_same_weights(void **state)
{
    (void)state;
    char alone[96];
    uint32_t random = 5;
    for (int b = 0; exec_backends[b] != NULL; b++) {
        snprintf(alone, sizeof alone, "%s.alone", test_folder);
        assert_int_equal(mkdir(alone, 0700), 0);
        assert_true(train(exec_backends[b], alone, 0));
        kill_often(exec_backends[b], &random);
        assert_true(train(exec_backends[b], test_folder, 0));
        assert_int_equal(count_checkpoints(), 2);
        size_t expected_count, found_count;
        char *expected = tensors_at_end(alone, &expected_count), *found = tensors_at_end(test_folder, &found_count);
        assert_int_equal(expected_count, found_count);
        assert_memory_equal(expected, found, found_count);
        free(expected);
        free(found);
        exec_checkpoint_prune(test_folder, 0);
        exec_checkpoint_prune(alone, 0);
        rmdir(alone);
    }
}

static void a_run_that_is_asked_to_stop_leaves_a_checkpoint(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        volatile sig_atomic_t stop = 1;
        struct run_setting s = stale_setting();
        struct sp_error err = {0};
        struct run run;
        s.workers = how == 0 ? EXEC_WORKERS_THREADS : EXEC_WORKERS_ONE;
        s.stop = &stop;
        s.checkpoint = (struct exec_checkpoint_config){.folder = test_folder, .keep = 2};
        run_open(&s, &run);
        assert_int_equal(exec_trainer_run(run.trainer, &err), SP_E_INTERRUPTED);
        assert_int_equal(exec_trainer_stopped_after(run.trainer), 1);
        assert_int_equal(count_checkpoints(), 1);
        run_close(&run);
        sp_error_fini(&err);
        stop = 2; /* at once, without one */
        exec_checkpoint_prune(test_folder, 0);
        run_open(&s, &run);
        assert_int_equal(exec_trainer_run(run.trainer, &err), SP_E_INTERRUPTED);
        assert_int_equal(count_checkpoints(), 0);
        run_close(&run);
        sp_error_fini(&err);
    }
}

static char warning[512];

static void keep_warning(void *self, const char *text)
{
    (void)self;
    snprintf(warning, sizeof warning, "%s", text);
}

/* A limit on the size of files stands for a full disk: writes fail in the middle. */
static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct run_setting s = stale_setting();
    struct sp_error err = {0};
    struct run run;
    struct rlimit old, small;
    s.minibatches = 6;
    s.checkpoint =
        (struct exec_checkpoint_config){.folder = test_folder, .epoch_minibatches = 3, .keep = 2, .warn = keep_warning};
    run_open(&s, &run);
    run_train(&run);
    run_close(&run);
    assert_int_equal(count_checkpoints(), 2);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 20000;
    signal(SIGXFSZ, SIG_IGN);
    s.minibatches = 12;
    run_open(&s, &run);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sp_status status = exec_trainer_run(run.trainer, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, SP_E_IO); /* the last one, at the end */
    assert_non_null(strstr(err.text, "cannot write: File too large"));
    assert_non_null(strstr(warning, "minibatch-000000009"));
    assert_int_equal(count_checkpoints(), 2); /* the old ones, nothing half-written */
    run_close(&run);
    sp_error_fini(&err);
    exec_checkpoint_prune(test_folder, 0);
}

/* Checkpoints after minibatches 4 and 8 of 8; `path` is the first one's, where a pipeline has minibatches in flight. */
static struct run_setting leave_one(struct run_setting s, char *path, size_t size)
{
    struct run run;
    static const struct exec_setting settings[] = {{.key = "train.lr", .value = "0.02"},
                                                   {.key = "network", .value = "lenet5"}};
    s.minibatches = 8;
    s.checkpoint = (struct exec_checkpoint_config){
        .folder = test_folder, .epoch_minibatches = 4, .keep = 2, .settings = settings, .setting_count = 2};
    run_open(&s, &run);
    run_train(&run);
    run_close(&run);
    path_of(path, size, 4);
    s.checkpoint.resume = path;
    return s;
}

static void expect_refused(const struct run_setting *s, const char *words)
{
    struct sp_error err = {0};
    struct run run;
    assert_int_equal(run_try_open(s, &run, &err), SP_E_INPUT);
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    run_close(&run);
    sp_error_fini(&err);
}

static void a_checkpoint_of_another_run_is_refused(void **state)
{
    (void)state;
    char path[128];
    struct run_setting s = leave_one(stale_setting(), path, sizeof path);
    struct run run;
    run_open(&s, &run); /* as it is: taken */
    run_train(&run);
    assert_int_equal(exec_trainer_resumed_after(run.trainer), 4);
    run_close(&run);
    s.network = "resnet8";
    expect_refused(&s, "network is lenet5 there and resnet8");
    s.network = "lenet5";
    s.backend = &exec_cpu_backend;
    expect_refused(&s, "backend is ref there and cpu");
    s.backend = &exec_ref_backend;
    static const struct exec_setting other[] = {{.key = "train.lr", .value = "0.03"},
                                                {.key = "network", .value = "lenet5"}};
    s.checkpoint.settings = other;
    expect_refused(&s, "train.lr is 0.02 there and 0.03 in this experiment");
    s.checkpoint.setting_count = 0;
    s.minibatches = 3;
    expect_refused(&s, "4 minibatches are done there, this one has 3");
    exec_checkpoint_prune(test_folder, 0);
}

static void remember_length(void *self, const char *key, const char *there, const char *here)
{
    snprintf(self, 64, "%s %s %s", key, there, here);
}

/* Those that leave_one leaves, written otherwise, and one that is a length now. */
static const struct exec_setting longer_settings[] = {{.key = "train.lr", .value = "2e-2"},
                                                      {.key = "network", .value = "vgg", .length = true}};

/* From the end of a run, and in the middle of a full pipeline. */
static void a_run_is_continued_for_longer(void **state)
{
    (void)state;
    static const char *const schedules[] = {"sequential", "gpipe", "stale"};
    static const int64_t from[] = {8, 8, 4}, from_end[] = {5, 8, 10, 17}, from_middle[] = {5, 10, 17};
    for (int k = 0; k < 3; k++) {
        char path[128], told[64] = "";
        struct run_setting s = stale_setting(), whole = s;
        s.schedule = whole.schedule = schedules[k];
        s.cut_count = whole.cut_count = 1;
        s.evaluate_every = whole.evaluate_every = 0;
        s.evaluate_pass = whole.evaluate_pass = 20; /* after 5, 10, 17; that of 8 after 5 and 8 */
        s = leave_one(s, path, sizeof path);
        path_of(path, sizeof path, from[k]);
        s.checkpoint.settings = longer_settings;
        s.checkpoint.tell_length = remember_length;
        s.checkpoint.warn_self = told;
        s.minibatches = whole.minibatches = 17;
        struct run run;
        run_open(&s, &run);
        assert_string_equal(told, "network lenet5 vgg");
        struct outcome longer = finish(&run);
        assert_int_equal(longer.evaluations, from[k] == 8 ? 4 : 3);
        assert_memory_equal(longer.evaluated, from[k] == 8 ? from_end : from_middle,
                            sizeof *from_end * (size_t)longer.evaluations);
        longer.accuracy = -1; /* of other epochs */
        run_open(&whole, &run);
        struct outcome straight = finish(&run);
        straight.accuracy = -1;
        expect_same(&straight, &longer, schedules[k], from[k]);
        outcome_fini(&straight);
        outcome_fini(&longer);
        exec_checkpoint_prune(test_folder, 0);
    }
}

/* Its pipeline had run empty: what a longer run has in flight there is not in it. */
static void the_end_of_a_pipeline_is_not_continued(void **state)
{
    (void)state;
    char path[128];
    struct sp_error err = {0};
    struct run run;
    struct run_setting s = leave_one(stale_setting(), path, sizeof path);
    path_of(path, sizeof path, 8);
    s.checkpoint.settings = longer_settings;
    s.minibatches = 17;
    run_open(&s, &run);
    assert_int_equal(exec_trainer_run(run.trainer, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "after 8 minibatches the pipeline was not filled as in a run of 17"));
    run_close(&run);
    sp_error_fini(&err);
    exec_checkpoint_prune(test_folder, 0);
}

static void write_bytes(const char *path, const char *bytes, size_t count)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, count, out), count);
    fclose(out);
}

/* Cut short anywhere, and with any one byte changed. */
static void a_damaged_checkpoint_is_refused_and_the_one_before_found(void **state)
{
    (void)state;
    char path[128], newest[128];
    struct run_setting s = leave_one(stale_setting(), path, sizeof path);
    struct sp_error err = {0};
    size_t count;
    char *good = read_bytes(path, &count);
    static const double parts[] = {0, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99999};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        write_bytes(path, good, (size_t)(parts[p] * (double)count));
        expect_refused(&s, path);
    }
    uint32_t random = 3;
    for (int round = 0; round < 200; round++) {
        int at = round < 100 ? pick(&random, 4000) : pick(&random, (int)count);
        char kept = good[at];
        good[at] = (char)(kept ^ (1 << pick(&random, 8)));
        write_bytes(path, good, count);
        struct run run;
        if (run_try_open(&s, &run, &err) != SP_E_INPUT)
            fail_msg("byte %d of %zu: accepted", at, count);
        run_close(&run);
        sp_error_fini(&err);
        good[at] = kept;
    }
    write_bytes(path, good, count);
    path_of(newest, sizeof newest, 8);
    write_bytes(newest, good, count / 2);
    char *found, *notes;
    assert_int_equal(exec_checkpoint_find(test_folder, &found, &notes, &err), SP_OK);
    assert_string_equal(found, path);
    assert_non_null(strstr(notes, "truncated"));
    free(found);
    free(notes);
    write_bytes(path, good, count / 3);
    assert_int_equal(exec_checkpoint_find(test_folder, &found, &notes, &err), SP_E_INPUT);
    sp_error_fini(&err);
    free(good);
    exec_checkpoint_prune(test_folder, 0);
}

/* tests/fixtures/python.safetensors was written by the Python package: see python_safetensors.py beside it. */
static void files_of_the_python_package_are_read(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct exec_safetensors *file;
    struct exec_tensor w = {.name = "conv1.weight", .type = EXEC_TENSOR_F32, .dims = 2, .shape = {2, 3}},
                       raw = {.name = "raw", .type = EXEC_TENSOR_U8, .dims = 1, .shape = {5}};
    float values[6];
    unsigned char bytes[5];
    if (exec_safetensors_open("tests/fixtures/python.safetensors", &file, &err) != SP_OK)
        fail_msg("%s", err.text);
    assert_string_equal(exec_safetensors_metadata(file, "made"), "by hand");
    assert_int_equal(exec_safetensors_read(file, &w, values, &err), SP_OK);
    assert_int_equal(exec_safetensors_read(file, &raw, bytes, &err), SP_OK);
    for (int i = 0; i < 6; i++)
        assert_true(values[i] == 0.5f * (float)i - 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(bytes[i], 250 + i);
    w.shape[1] = 4;
    assert_int_equal(exec_safetensors_read(file, &w, values, &err), SP_E_INPUT);
    exec_safetensors_close(&file);
    sp_error_fini(&err);
}

/* Two runs in one folder would move and prune each other's checkpoints. */
static void a_folder_is_one_run_s(void **state)
{
    (void)state;
    char held[] = "/tmp/stalepipe-hold-XXXXXX";
    struct sp_hold first = {0}, second = {0};
    struct sp_error err = {0};
    assert_non_null(mkdtemp(held));
    assert_int_equal(sp_folder_hold(held, &first, &err), SP_OK);
    assert_int_equal(sp_folder_hold(held, &second, &err), SP_E_IO);
    assert_non_null(strstr(err.text, "another run"));
    sp_error_fini(&err);
    sp_folder_let_go(&first);
    assert_int_equal(sp_folder_hold(held, &second, &err), SP_OK);
    sp_folder_let_go(&second);
    rmdir(held);
}

static bool is_there(const char *folder, const char *name)
{
    char *path = sp_format("%s/%s", folder, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

/* A process that was killed while it wrote leaves a file that the next run removes; no other goes. */
static void what_a_killed_run_was_writing_goes(void **state)
{
    (void)state;
    static const char *const others[] = {"notes.tmp", "notes.tmp1x", "metrics.csv"};
    char held[] = "/tmp/stalepipe-hold-XXXXXX";
    struct sp_hold hold = {0};
    struct sp_error err = {0};
    struct sp_file file;
    assert_non_null(mkdtemp(held));
    char *metrics = sp_format("%s/metrics.csv", held);
    assert_int_equal(sp_file_write(metrics, "epoch\n", &err), SP_OK);
    for (int n = 0; n < 2; n++) {
        char *path = sp_format("%s/%s", held, others[n]);
        assert_int_equal(sp_file_write(path, "mine\n", &err), SP_OK);
        free(path);
    }
    pid_t child = fork();
    if (child == 0) {
        if (sp_file_begin(&file, metrics, &err) == SP_OK)
            raise(SIGKILL);
        _exit(1);
    }
    char *left = sp_format("metrics.csv.tmp%ld", (long)child);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_true(is_there(held, left));
    assert_int_equal(sp_file_begin(&file, metrics, &err), SP_OK); /* of a process that lives */
    assert_int_equal(sp_folder_hold(held, &hold, &err), SP_OK);
    assert_false(is_there(held, left));
    assert_int_equal(sp_file_commit(&file, &err), SP_OK);
    for (size_t n = 0; n < sizeof others / sizeof *others; n++) {
        char *path = sp_format("%s/%s", held, others[n]);
        assert_int_equal(unlink(path), 0);
        free(path);
    }
    sp_folder_let_go(&hold);
    assert_int_equal(rmdir(held), 0);
    free(left);
    free(metrics);
}

/* Why not is what mkdir says, not that nothing is there: in /sys it is not permitted. Where that is an ordinary folder,
 * a link that leads nowhere is in the way of one. */
static void a_folder_that_cannot_be_made_says_why(void **state)
{
    (void)state;
    struct sp_error err = {0};
    char *link = sp_format("%s/nowhere", test_folder);
    const char *path = "/sys/stalepipe";
    int reason = mkdir(path, 0777) != 0 ? errno : 0;
    if (reason == 0) {
        assert_int_equal(rmdir(path), 0);
        path = link;
        reason = EEXIST;
    }
    assert_int_equal(symlink("nothing/there", link), 0);
    char *expected = sp_format("%s: cannot make the folder: %s", path, strerror(reason));
    assert_int_equal(sp_folder_make(path, &err), SP_E_IO);
    if (strstr(err.text, expected) == NULL)
        fail_msg("%s", err.text);
    assert_int_equal(unlink(link), 0);
    free(expected);
    free(link);
    sp_error_fini(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* first: it forks, and the compute library's threads would not survive that */
        cmocka_unit_test(a_run_killed_twenty_times_ends_in_the_same_weights),
        cmocka_unit_test(a_resumed_run_is_the_uninterrupted_one),
        cmocka_unit_test(a_run_that_is_asked_to_stop_leaves_a_checkpoint),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_checkpoint_of_another_run_is_refused),
        cmocka_unit_test(a_run_is_continued_for_longer),
        cmocka_unit_test(the_end_of_a_pipeline_is_not_continued),
        cmocka_unit_test(a_damaged_checkpoint_is_refused_and_the_one_before_found),
        cmocka_unit_test(files_of_the_python_package_are_read),
        cmocka_unit_test(a_folder_is_one_run_s),
        cmocka_unit_test(what_a_killed_run_was_writing_goes),
        cmocka_unit_test(a_folder_that_cannot_be_made_says_why),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, test_folder_make, test_folder_remove);
}
