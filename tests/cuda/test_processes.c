/*
 * Several processes that train one plan together, each its devices, with NCCL between them: the weights, losses and
 * results are those of one process with all devices, bit for bit. Here the processes are threads, each with a trainer
 * and a team of its own.
 */
#include "common/alloc.h"
#include "exec/cuda/cuda.h"
#include "exec/run.h"
#include "tests/cuda/devices.h"
#include "tests/cudasim/cudasim.h"
#include "tests/port.h"
#include "tests/training.h"

#include <math.h>
#include <nccl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS_MAX = 3 };

/* A process, and what it came to. */
struct rank {
    struct run_setting setting;
    int rank, size, port;
    void (*before)(struct rank *self); /* between joining and training; NULL: nothing */
    sp_status status;
    struct sp_error err;
    struct run run;
    struct exec_team *team;
    atomic_bool died; /* with its connection */
};

static void *be_rank(void *argument)
{
    struct rank *self = argument;
    struct exec_team_config config = {
        .rank = self->rank, .size = self->size, .address = "127.0.0.1", .port = self->port, .patience_s = 20};
    self->status = exec_team_join(&config, &self->team, &self->err);
    if (self->status != SP_OK)
        return NULL;
    if (self->before != NULL)
        self->before(self);
    self->setting.team = self->team;
    self->status = run_try_open(&self->setting, &self->run, &self->err);
    if (self->status == SP_OK)
        self->status = exec_trainer_run(self->run.trainer, &self->err);
    return NULL;
}

/* What runs as so many processes came to; free with end_ranks. */
static void run_ranks(struct rank *ranks, int size)
{
    pthread_t threads[RANKS_MAX];
    int port = test_port();
    for (int r = 0; r < size; r++) {
        ranks[r].rank = r;
        ranks[r].size = size;
        ranks[r].port = port;
        assert_int_equal(pthread_create(&threads[r], NULL, be_rank, &ranks[r]), 0);
    }
    for (int r = 0; r < size; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
}

/* Leaving waits for the others, so each does it in a thread of its own. */
static void *leave(void *argument)
{
    struct rank *self = argument;
    run_close(&self->run);
    exec_team_leave(&self->team, self->status != SP_OK ? &self->err : NULL);
    sp_error_fini(&self->err);
    return NULL;
}

static void end_ranks(struct rank *ranks, int size)
{
    pthread_t threads[RANKS_MAX];
    for (int r = 0; r < size; r++)
        assert_int_equal(pthread_create(&threads[r], NULL, leave, &ranks[r]), 0);
    for (int r = 0; r < size; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
}

static int nothing_is_left(void **state)
{
    (void)state;
    return devices_leaks() != 0;
}

static void expect_fine(const struct rank *ranks, int size)
{
    for (int r = 0; r < size; r++)
        if (ranks[r].status != SP_OK)
            fail_msg("rank %d: %s", r, ranks[r].err.text != NULL ? ranks[r].err.text : "");
}

static void expect_same_floats(const float *a, const float *b, int64_t count, const char *what)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s %lld is %.9g and %.9g", what, (long long)i, (double)a[i], (double)b[i]);
}

/* Each parameter, where it is, with that of one process. */
static void expect_same_weights(struct rank *ranks, int size, struct run *one)
{
    const struct sp_network *network = one->network;
    int stages = one->plan->stage_count, found = 0;
    for (int i = 0; i < stages; i++) {
        const struct sp_stage *stage = &one->plan->stages[i];
        int owner = stage->forward_device * size / one->plan->device_count;
        for (int l = stage->first_layer; l < stage->layer_end; l++)
            for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
                int64_t count = network->layers[l].parameters[p];
                if (count == 0)
                    continue;
                float *a = sp_alloc(sizeof *a * (size_t)count), *b = sp_alloc(sizeof *b * (size_t)count);
                struct sp_error err = {0};
                struct exec_trainer *trainer = ranks[owner].run.trainer;
                assert_int_equal(exec_trainer_get_parameter(one->trainer, l, (enum sp_parameter)p, a, &err), SP_OK);
                assert_int_equal(exec_trainer_get_parameter(trainer, l, (enum sp_parameter)p, b, &err), SP_OK);
                expect_same_floats(a, b, count, network->layers[l].name);
                free(a);
                free(b);
                found++;
            }
    }
    assert_true(found > 4);
}

/* What rank 0 knows of the run is what one process knows. */
static void expect_same_results(const struct rank *ranks, const struct run *one)
{
    struct exec_trainer *first = ranks[0].run.trainer;
    int epochs, expected;
    const struct sp_epoch_summary *a = exec_trainer_epochs(one->trainer, &expected),
                                  *b = exec_trainer_epochs(first, &epochs);
    expect_same_floats(exec_trainer_losses(one->trainer), exec_trainer_losses(first), one->plan->minibatches, "loss");
    assert_int_equal(epochs, expected);
    for (int e = 0; e < epochs; e++) {
        assert_true(a[e].accuracy == b[e].accuracy && a[e].test_loss == b[e].test_loss && a[e].loss == b[e].loss);
        assert_int_equal(a[e].staleness, b[e].staleness);
        assert_true(b[e].samples_per_s > 0);
    }
    for (int i = 0; i < one->plan->stage_count; i++) {
        int64_t was[2], is[2];
        exec_trainer_counted_staleness(one->trainer, i, &was[0], &was[1]);
        exec_trainer_counted_staleness(first, i, &is[0], &is[1]);
        assert_memory_equal(was, is, sizeof was);
    }
    const struct sp_trace *there = exec_trainer_trace(one->trainer), *here = exec_trainer_trace(first);
    for (int lane = 0; lane < there->lane_count; lane++) {
        assert_string_equal(there->lanes[lane].name, here->lanes[lane].name);
        if (lane >= one->plan->device_count) /* not all are timed where many are under way */
            assert_true(here->lanes[lane].total.count[SP_SPAN_TRANSFER] > 0);
        for (int k = 0; k < SP_SPAN_TRANSFER; k++)
            if (here->lanes[lane].total.count[k] != there->lanes[lane].total.count[k])
                fail_msg("%s: %lld spans of kind %d, %lld in one process", here->lanes[lane].name,
                         (long long)here->lanes[lane].total.count[k], k, (long long)there->lanes[lane].total.count[k]);
    }
    for (int d = 0; d < one->plan->device_count; d++)
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
            assert_int_equal(exec_trainer_counted_bytes(first, d, (enum sp_memory_kind)k),
                             exec_trainer_counted_bytes(one->trainer, d, (enum sp_memory_kind)k));
}

static void train_both_ways(const struct run_setting *setting, int size)
{
    struct rank ranks[RANKS_MAX] = {0};
    struct run one;
    run_open(setting, &one);
    run_train(&one);
    for (int r = 0; r < size; r++)
        ranks[r].setting = *setting;
    run_ranks(ranks, size);
    expect_fine(ranks, size);
    expect_same_weights(ranks, size, &one);
    expect_same_results(ranks, &one);
    run_close(&one);
    end_ranks(ranks, size);
}

static struct run_setting lenet5(const char *schedule, int cuts)
{
    return (struct run_setting){.network = "lenet5",
                                .backend = &exec_cuda_backend,
                                .cuts = {1, 3},
                                .cut_count = cuts,
                                .schedule = schedule,
                                .microbatches = strcmp(schedule, "stale") == 0 ? 1 : 2,
                                .minibatches = 12,
                                .evaluate_every = 4,
                                .lr = 0.02f,
                                .momentum = 0.9f};
}

static void processes_train_the_weights_of_one(void **state)
{
    (void)state;
    static const char *const schedules[] = {"stale", "1f1b", "gpipe"};
    devices_set(3);
    for (int s = 0; s < 3; s++)
        for (int cuts = 1; cuts <= 2; cuts++) {
            struct run_setting setting = lenet5(schedules[s], cuts);
            train_both_ways(&setting, 2);
        }
    struct run_setting three = lenet5("stale", 2);
    devices_delay(7, 300);
    train_both_ways(&three, 3);
    devices_delay(0, 0);
    struct run_setting resnet8 = lenet5("stale", 2);
    resnet8.network = "resnet8";
    resnet8.minibatches = 6;
    train_both_ways(&resnet8, 2);
}

/* To make a graph may wait for the device while the other process does the same, so there are none unless asked for. */
static void processes_make_graphs_only_where_asked(void **state)
{
    (void)state;
    static const enum exec_graphs asked[] = {EXEC_GRAPHS_AUTO, EXEC_GRAPHS_ON};
    devices_set(2);
    for (int n = 0; n < 2; n++) {
        struct rank ranks[2] = {{.setting = lenet5("stale", 1)}, {.setting = lenet5("stale", 1)}};
        struct run one;
        ranks[0].setting.graphs = ranks[1].setting.graphs = asked[n];
        run_open(&ranks[0].setting, &one);
        run_train(&one);
        assert_true(exec_trainer_graphs(one.trainer).captured > 0);
        run_ranks(ranks, 2);
        expect_fine(ranks, 2);
        expect_same_weights(ranks, 2, &one);
        for (int r = 0; r < 2; r++)
            assert_int_equal(exec_trainer_graphs(ranks[r].run.trainer).captured > 0, asked[n] == EXEC_GRAPHS_ON);
        run_close(&one);
        end_ranks(ranks, 2);
    }
}

/* ---- checkpoints ---- */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_processes.XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) != 0 || devices_leaks() != 0;
}

static const volatile sig_atomic_t asked_to_stop = 1;

/* Trains as so many processes, of which the last is asked to stop from the start on; how many minibatches were done. */
static int64_t stop_early(const struct run_setting *setting, int size)
{
    struct rank ranks[RANKS_MAX] = {0};
    for (int r = 0; r < size; r++)
        ranks[r].setting = *setting;
    ranks[size - 1].setting.stop = &asked_to_stop;
    run_ranks(ranks, size);
    int64_t done = exec_trainer_stopped_after(ranks[0].run.trainer);
    for (int r = 0; r < size; r++) {
        assert_int_equal(ranks[r].status, SP_E_INTERRUPTED);
        assert_int_equal(exec_trainer_stopped_after(ranks[r].run.trainer), done);
        sp_error_clear(&ranks[r].err); /* it has not failed */
    }
    end_ranks(ranks, size);
    return done;
}

/* In the middle of a full pipeline; resumed by as many processes, by fewer, and by one. */
static void a_run_of_processes_is_resumed_by_any_number(void **state)
{
    (void)state;
    struct run_setting setting = lenet5("stale", 2);
    struct run one;
    setting.minibatches = 60;
    devices_set(3);
    run_open(&setting, &one);
    run_train(&one);
    setting.checkpoint = (struct exec_checkpoint_config){.folder = folder, .keep = 5};
    int64_t done = stop_early(&setting, 3);
    assert_true(done > 0 && done < 60);
    char *first = sp_format("%s/minibatch-%09lld.safetensors", folder, (long long)done);
    for (int size = 1; size <= 3; size++) {
        struct rank ranks[RANKS_MAX] = {0};
        struct run_setting resumed = setting;
        resumed.checkpoint.resume = first;
        if (size == 1) {
            struct run again;
            run_open(&resumed, &again);
            run_train(&again);
            ranks[0].run = again;
            expect_same_weights(ranks, 1, &one);
            expect_same_results(ranks, &one);
            run_close(&again);
            continue;
        }
        for (int r = 0; r < size; r++)
            ranks[r].setting = resumed;
        run_ranks(ranks, size);
        expect_fine(ranks, size);
        assert_int_equal(exec_trainer_resumed_after(ranks[0].run.trainer), done);
        expect_same_weights(ranks, size, &one);
        expect_same_results(ranks, &one);
        end_ranks(ranks, size);
    }
    free(first);
    run_close(&one);
}

/* ---- what goes wrong ---- */

static void expect_words(const struct rank *rank, const char *words)
{
    if (rank->err.text == NULL || strstr(rank->err.text, words) == NULL)
        fail_msg("rank %d does not say \"%s\" but \"%s\"", rank->rank, words,
                 rank->err.text != NULL ? rank->err.text : "");
}

/* Two processes, one of which fails: both end, one with its own words and one with the other's. */
static void expect_both_end(const char *what, const char *words)
{
    struct rank ranks[2] = {{.setting = lenet5("stale", 1)}, {.setting = lenet5("stale", 1)}};
    run_ranks(ranks, 2);
    bool happened = cudasim_failed() != 0;
    cudasim_clear_failures();
    if (!happened)
        fail_msg("%s was not called as often", what);
    int other = ranks[0].err.text != NULL && strstr(ranks[0].err.text, " failed: ") != NULL ? 0 : 1;
    assert_true(ranks[0].status != SP_OK && ranks[1].status != SP_OK);
    expect_words(&ranks[other], other == 0 ? "rank 1 on " : "rank 0 on ");
    expect_words(&ranks[other], " failed: ");
    expect_words(&ranks[1 - other], words);
    expect_words(&ranks[other], words);
    print_message("%s\n", ranks[other].err.text);
    end_ranks(ranks, 2);
}

static void ignore(const char *message)
{
    (void)message;
}

static void calls_of_nccl_may_fail(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int n;
    } cases[] = {{"ncclGetUniqueId", 1},
                 {"ncclCommInitRankConfig", 1},
                 {"ncclCommInitRankConfig", 3},
                 {"ncclSend", 2},
                 {"ncclSend", 9},
                 {"ncclRecv", 20},
                 {"ncclGroupEnd", 30}};
    devices_set(2);
    cudasim_set_patience(3); /* a rank waits for one that does not come */
    cudasim_on_fault(ignore);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cudasim_fail(cases[c].call, cases[c].n, ncclSystemError);
        expect_both_end(cases[c].call, "unhandled system error");
    }
    cudasim_set_patience(60);
    cudasim_on_fault(NULL);
}

/* Who waits in NCCL for a rank that will not come is told so in the end; anything else is a mistake. */
static void expect_absence(const char *message)
{
    if (strstr(message, " ranks have come within ") != NULL)
        return;
    fprintf(stderr, "%s\n", message);
    abort();
}

/* The n-th call of anything fails, in whichever process makes it, n in growing steps until there is no n-th. None
 * hangs, frees what is in use or leaves anything behind; and if it matters, it matters to both. */
static void any_call_may_fail_in_any_process(void **state)
{
    (void)state;
    int failures = 0;
    devices_set(2);
    devices_delay(11, 200);
    cudasim_set_patience(5);
    cudasim_on_fault(expect_absence);
    for (int64_t n = 1;; n += 1 + n / 6) {
        struct rank ranks[2] = {{.setting = lenet5("stale", 1)}, {.setting = lenet5("stale", 1)}};
        cudasim_fail("*", n, 1);
        run_ranks(ranks, 2);
        bool failed = cudasim_failed() != 0;
        cudasim_clear_failures();
        if ((ranks[0].status == SP_OK) != (ranks[1].status == SP_OK) || (!failed && ranks[0].status != SP_OK))
            fail_msg("call %lld: \"%s\" and \"%s\"", (long long)n, ranks[0].err.text, ranks[1].err.text);
        failures += ranks[0].status != SP_OK;
        end_ranks(ranks, 2);
        assert_int_equal(devices_leaks(), 0);
        if (!failed)
            break;
    }
    cudasim_on_fault(NULL);
    cudasim_set_patience(60);
    devices_delay(0, 0);
    print_message("%d failures\n", failures);
    assert_true(failures > 20);
}

/* The network fails, say: a kernel of NCCL waits for ever, and no call says so. The first messages of a connection are
 * awaited when it is opened, later ones while training, by the device whose instruction is told. */
static void a_connection_that_fails_by_itself_ends_all_processes(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int n;
        const char *words;
    } cases[] = {{"ncclRecv", 1, "ncclCommGetAsyncError: remote process exited"},
                 {"ncclSend", 2, "ncclCommGetAsyncError: remote process exited"},
                 {"ncclRecv", 12, "on the connection from device "},
                 {"ncclRecv", 20, "while doing "},
                 {"ncclSend", 21, "while doing "}};
    devices_set(2);
    cudasim_set_patience(8);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cudasim_fail_connection(cases[c].call, cases[c].n, ncclRemoteError);
        expect_both_end(cases[c].call, cases[c].words);
    }
    cudasim_set_patience(60);
}

static void a_device_that_fails_ends_all_processes(void **state)
{
    (void)state;
    devices_set(2);
    cudasim_fail_later("cudnnConvolutionForward", 9, cudaErrorIllegalAddress);
    expect_both_end("cudnnConvolutionForward", "while doing ");
}

/* Beside the workers: before the devices' clocks are read, or where the loader takes memory. */
static void a_process_that_fails_before_it_trains_ends_the_others(void **state)
{
    (void)state;
    devices_set(2);
    cudasim_set_patience(8);
    cudasim_fail("cudaEventElapsedTime", 1, cudaErrorUnknown);
    expect_both_end("cudaEventElapsedTime", "cuda: cudaEventElapsedTime: unknown error");
    cudasim_fail("cudaHostAlloc", 5, cudaErrorMemoryAllocation);
    expect_both_end("cudaHostAlloc", "no memory to prepare ");
    cudasim_set_patience(60);
}

static int64_t sends_before;

/* A process that dies while it trains. */
static void *die_soon(void *argument)
{
    struct rank *self = argument;
    while (cudasim_calls("ncclSend") < sends_before + 30)
        usleep(1000);
    exec_team_cut(self->team);
    return NULL;
}

static pthread_t killer;

static void start_dying(struct rank *self)
{
    assert_int_equal(pthread_create(&killer, NULL, die_soon, self), 0);
}

static void a_process_that_dies_ends_the_others(void **state)
{
    (void)state;
    struct rank ranks[3];
    devices_set(3);
    for (int r = 0; r < 3; r++) {
        ranks[r] = (struct rank){.setting = lenet5("1f1b", 2)};
        ranks[r].setting.minibatches = 4000;
    }
    ranks[2].before = start_dying;
    sends_before = cudasim_calls("ncclSend");
    run_ranks(ranks, 3);
    pthread_join(killer, NULL);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(ranks[r].status, SP_E_IO);
        expect_words(&ranks[r], "rank 2 on ");
        expect_words(&ranks[r], " was lost: its connection has ended");
    }
    assert_int_equal(ranks[2].status, SP_E_IO); /* it has lost the others */
    end_ranks(ranks, 3);
}

/* A process dies, and what is noticed first, by the other or by itself, is that a connection between them does not
 * work: whoever asks is told so when its connections with the others have just ended. */
static void die_with_a_connection(void *self)
{
    struct rank *dying = self;
    exec_team_cut(dying->team);
    atomic_store(&dying->died, true);
}

static void await_a_broken_connection(struct rank *self)
{
    cudasim_on_told(die_with_a_connection, self);
}

static void a_death_says_more_than_a_broken_connection(void **state)
{
    (void)state;
    struct rank ranks[2] = {{.setting = lenet5("stale", 1)}, {.setting = lenet5("stale", 1)}};
    devices_set(2);
    ranks[1].before = await_a_broken_connection;
    cudasim_fail_connection("ncclRecv", 20, ncclRemoteError);
    run_ranks(ranks, 2);
    cudasim_clear_failures();
    assert_true(atomic_load(&ranks[1].died));
    assert_int_equal(ranks[0].status, SP_E_IO);
    expect_words(&ranks[0], " was lost: its connection has ended");
    end_ranks(ranks, 2);
}

static void processes_must_be_given_the_same(void **state)
{
    (void)state;
    static const struct exec_setting settings[2][2] = {
        {{.key = "train.batch", .value = "4"}, {.key = "train.lr", .value = "0.01"}},
        {{.key = "train.batch", .value = "4"}, {.key = "train.lr", .value = "0.02"}}};
    struct rank ranks[2] = {{.setting = lenet5("stale", 1)}, {.setting = lenet5("stale", 1)}};
    devices_set(2);
    for (int r = 0; r < 2; r++) {
        ranks[r].setting.checkpoint.settings = settings[r];
        ranks[r].setting.checkpoint.setting_count = 2;
    }
    run_ranks(ranks, 2);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(ranks[r].status, SP_E_INPUT);
        expect_words(&ranks[r], "\"train.lr: 0.01\" at rank 0 is \"train.lr: 0.02\" at rank 1");
    }
    end_ranks(ranks, 2);
}

/* Four devices on two GPUs: each process would have both, though no two neighbours were on one. */
static void processes_need_gpus_of_their_own(void **state)
{
    (void)state;
    struct run_setting setting = lenet5("stale", 2);
    struct rank ranks[2];
    devices_set(2);
    setting.cuts[1] = 2;
    setting.cuts[2] = 3;
    setting.cut_count = 3;
    for (int r = 0; r < 2; r++)
        ranks[r] = (struct rank){.setting = setting};
    run_ranks(ranks, 2);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(ranks[r].status, SP_E_INPUT);
        expect_words(&ranks[r], "ranks 0 and 1 both use GPU-0");
        expect_words(&ranks[r], "take fewer devices than 4");
    }
    end_ranks(ranks, 2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(processes_train_the_weights_of_one, nothing_is_left),
        cmocka_unit_test_teardown(processes_make_graphs_only_where_asked, nothing_is_left),
        cmocka_unit_test_setup_teardown(a_run_of_processes_is_resumed_by_any_number, make_folder, remove_folder),
        cmocka_unit_test_teardown(calls_of_nccl_may_fail, nothing_is_left),
        cmocka_unit_test_teardown(any_call_may_fail_in_any_process, nothing_is_left),
        cmocka_unit_test_teardown(a_connection_that_fails_by_itself_ends_all_processes, nothing_is_left),
        cmocka_unit_test_teardown(a_device_that_fails_ends_all_processes, nothing_is_left),
        cmocka_unit_test_teardown(a_process_that_fails_before_it_trains_ends_the_others, nothing_is_left),
        cmocka_unit_test_teardown(a_process_that_dies_ends_the_others, nothing_is_left),
        cmocka_unit_test_teardown(a_death_says_more_than_a_broken_connection, nothing_is_left),
        cmocka_unit_test_teardown(processes_must_be_given_the_same, nothing_is_left),
        cmocka_unit_test_teardown(processes_need_gpus_of_their_own, nothing_is_left),
    };
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests_name("cuda processes", tests, NULL, NULL);
}
