/*
 * Training on CUDA devices: the reference's weights within rounding, the same bits whatever the timing, memory as
 * planned, nothing taken while it runs and nothing left behind.
 */
#include "exec/cuda/cuda.h"
#include "tests/cuda/devices.h"
#include "tests/training.h"

#include <math.h>
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

/* All that a run comes to. */
struct outcome {
    float *weights, *losses;
    double test_loss[16], accuracy[16];
    int64_t count, minibatches;
    int evaluations;
};

static struct outcome outcome_of(struct run *run)
{
    struct outcome out = {.minibatches = run->plan->minibatches};
    const struct sp_epoch_summary *epochs = exec_trainer_epochs(run->trainer, &out.evaluations);
    size_t bytes = sizeof(float) * (size_t)out.minibatches;
    out.weights = run_parameters(run, &out.count);
    out.losses = malloc(bytes);
    memcpy(out.losses, exec_trainer_losses(run->trainer), bytes);
    for (int e = 0; e < out.evaluations && e < 16; e++) {
        out.test_loss[e] = epochs[e].test_loss;
        out.accuracy[e] = epochs[e].accuracy;
    }
    return out;
}

static struct outcome train(const struct run_setting *setting)
{
    struct run_setting told = *setting;
    struct run run;
    told.through_host = devices_through_host;
    run_open(&told, &run);
    run_train(&run);
    struct outcome out = outcome_of(&run);
    run_close(&run);
    return out;
}

static void outcome_free(struct outcome *out)
{
    free(out->weights);
    free(out->losses);
}

static void expect_same(const struct outcome *a, const struct outcome *b, const char *what)
{
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++)
        if (memcmp(&a->weights[i], &b->weights[i], sizeof *a->weights) != 0)
            fail_msg("%s: parameter %lld is %.9g and %.9g", what, (long long)i, (double)a->weights[i],
                     (double)b->weights[i]);
    for (int64_t m = 0; m < a->minibatches; m++)
        if (memcmp(&a->losses[m], &b->losses[m], sizeof *a->losses) != 0)
            fail_msg("%s: loss of minibatch %lld is %.9g and %.9g", what, (long long)m, (double)a->losses[m],
                     (double)b->losses[m]);
    assert_int_equal(a->evaluations, b->evaluations);
    for (int e = 0; e < a->evaluations && e < 16; e++)
        if (a->test_loss[e] != b->test_loss[e] || a->accuracy[e] != b->accuracy[e])
            fail_msg("%s: evaluation %d found %.17g, %g and %.17g, %g", what, e, a->test_loss[e], a->accuracy[e],
                     b->test_loss[e], b->accuracy[e]);
}

/* The largest difference of weights over the largest weight. */
static double distance(const struct outcome *a, const struct outcome *b)
{
    double largest = 0, difference = 0;
    for (int64_t i = 0; i < a->count; i++) {
        largest = fmax(largest, fabs((double)a->weights[i]));
        difference = fmax(difference, fabs((double)a->weights[i] - (double)b->weights[i]));
    }
    return isfinite(difference) ? difference / largest : INFINITY;
}

static const char *const networks[] = {"lenet5", "resnet8"};

/* The reference adds up in double, cuDNN in float: after 6 minibatches weights differ by some 1e-6 of the largest. */
static void every_schedule_trains_the_weights_of_the_reference(void **state)
{
    (void)state;
    double worst = 0;
    for (int devices = 1; devices <= 3; devices++) {
        devices_set(devices);
        for (int n = 0; n < 2; n++)
            for (int k = 0; sp_schedules[k] != NULL; k++) {
                int placed[] = {0, 1 % devices, 2 % devices};
                struct run_setting s = {.network = networks[n],
                                        .backend = &exec_cuda_backend,
                                        .cuts = {1, 3},
                                        .cut_count = 2,
                                        .forward_devices = placed,
                                        .schedule = sp_schedules[k]->name,
                                        .microbatches = 1 + k % 2,
                                        .minibatches = 6,
                                        .evaluate_every = 3,
                                        .lr = 0.02f,
                                        .momentum = 0.9f};
                struct outcome cuda = train(&s);
                s.backend = &exec_ref_backend;
                struct outcome ref = train(&s);
                double off = distance(&ref, &cuda);
                worst = fmax(worst, off);
                if (off > 1e-4)
                    fail_msg("%s, %s on %d devices: weights are off by %g of the largest", networks[n], s.schedule,
                             devices, off);
                for (int64_t m = 0; m < cuda.minibatches; m++)
                    assert_true(fabs((double)(cuda.losses[m] - ref.losses[m])) < 1e-4);
                for (int e = 0; e < cuda.evaluations; e++)
                    assert_true(fabs(cuda.test_loss[e] - ref.test_loss[e]) < 1e-4);
                assert_int_equal(cuda.evaluations, 2);
                outcome_free(&cuda);
                outcome_free(&ref);
            }
    }
    print_message("weights are off by %.1e of the largest at most\n", worst);
}

/* ResNet-8 of 4 x 4 pixels ends in batch norms of 1 x 1: of microbatches of one sample, one value a channel, whose
 * running statistics evaluations use. */
static void one_value_a_channel_can_be_normalized(void **state)
{
    (void)state;
    struct run_setting s = {.network = "resnet8",
                            .shape = {3, 4, 4},
                            .backend = &exec_cuda_backend,
                            .cuts = {3},
                            .cut_count = 1,
                            .schedule = "gpipe",
                            .microbatches = 4,
                            .minibatches = 8,
                            .evaluate_every = 4,
                            .lr = 0.02f};
    devices_set(2);
    struct outcome cuda = train(&s);
    s.backend = &exec_ref_backend;
    struct outcome ref = train(&s);
    assert_true(distance(&ref, &cuda) < 1e-4);
    assert_int_equal(cuda.evaluations, 2);
    for (int e = 0; e < 2; e++)
        assert_true(fabs(cuda.test_loss[e] - ref.test_loss[e]) < 1e-4);
    outcome_free(&cuda);
    outcome_free(&ref);
}

/* A plan drawn at random: network, cuts, phases, placement on up to three devices, microbatches, evaluation. */
struct drawn {
    struct run_setting setting;
    int forward[4], backward[4];
};

static void draw(struct drawn *drawn, uint32_t *random)
{
    static const int layers[] = {5, 8};
    int n = pick(random, 2), schedules = 0;
    while (sp_schedules[schedules] != NULL)
        schedules++;
    *drawn = (struct drawn){.setting = {.network = networks[n],
                                        .backend = &exec_cuda_backend,
                                        .lr = 0.02f,
                                        .momentum = 0.9f,
                                        .weight_decay = pick(random, 2) == 0 ? 1e-3f : 0,
                                        .decay_weights_only = pick(random, 2) == 0,
                                        .nesterov = pick(random, 2) == 0,
                                        .evaluate_every = pick(random, 2) * 3}};
    struct run_setting *s = &drawn->setting;
    s->cut_count = 1 + pick(random, 3);
    for (int c = 0, at = 0; c < s->cut_count; c++)
        s->cuts[c] = at += 1 + pick(random, layers[n] - 1 - at - (s->cut_count - c - 1));
    for (int p = 0; p < 1 + pick(random, 2); p++)
        s->phases[p] = (struct sp_phase){.schedule = sp_schedules[pick(random, schedules)],
                                         .weights = (enum sp_weights_policy)pick(random, 2),
                                         .microbatches = 1 << pick(random, 3),
                                         .minibatches = 3 + pick(random, 4)};
    int P = s->cut_count + 1, how = pick(random, 4);
    for (int i = 0; i < P; i++) {
        drawn->forward[i] = how == 0 ? i : how == 1 ? i * 2 / P : i == 0 ? 0 : pick(random, 2);
        drawn->backward[i] = how == 2 ? 2 * (P - 1) - i : how == 3 && i > 0 ? pick(random, 2) : drawn->forward[i];
        if (how == 2)
            drawn->forward[i] = i;
        if (how == 3 && i == 0)
            drawn->backward[i] = 1;
    }
    s->forward_devices = drawn->forward;
    s->backward_devices = drawn->backward;
}

static int plans = 40;

static void the_same_bits_whatever_the_timing(void **state)
{
    (void)state;
    uint32_t random = 17;
    for (int round = 0; round < plans; round++) {
        struct drawn drawn;
        char what[64];
        snprintf(what, sizeof what, "plan %d", round);
        devices_set(1 + pick(&random, 3));
        devices_reach(pick(&random, 2) == 0);
        devices_delay(0, 0);
        draw(&drawn, &random);
        drawn.setting.workers = EXEC_WORKERS_ONE;
        drawn.setting.graphs = EXEC_GRAPHS_OFF;
        struct outcome one = train(&drawn.setting);
        drawn.setting.workers = EXEC_WORKERS_THREADS;
        drawn.setting.graphs = round % 2 == 0 ? EXEC_GRAPHS_ON : EXEC_GRAPHS_AUTO;
        devices_delay((uint64_t)round + 1, 1 << pick(&random, 9));
        struct outcome threads = train(&drawn.setting);
        expect_same(&one, &threads, what);
        for (int64_t i = 0; i < one.count; i++)
            assert_true(isfinite(one.weights[i]));
        outcome_free(&one);
        outcome_free(&threads);
    }
    devices_delay(0, 0);
    devices_reach(true);
    assert_int_equal(devices_leaks(), 0);
}

/* A stage and phase has what the plan says it has, on every device; nothing more is taken for more minibatches. */
static void memory_is_taken_as_planned_and_before_the_first_cycle_ends(void **state)
{
    (void)state;
    if (!devices_are_virtual)
        skip();
    devices_set(3);
    for (int k = 0; sp_schedules[k] != NULL; k++) {
        int64_t objects[2];
        for (int longer = 0; longer < 2; longer++) {
            struct run_setting s = {.network = "resnet8",
                                    .backend = &exec_cuda_backend,
                                    .cuts = {3, 6},
                                    .cut_count = 2,
                                    .schedule = sp_schedules[k]->name,
                                    .weights = SP_WEIGHTS_STASH,
                                    .microbatches = 2,
                                    .minibatches = longer ? 40 : 10,
                                    .lr = 0.01f};
            struct run run;
            int64_t before = devices_objects();
            run_open(&s, &run);
            int64_t opened = devices_objects();
            const struct sp_memory_plan *memory = exec_trainer_memory(run.trainer);
            for (int d = 0; d < 3; d++)
                assert_int_equal(devices_bytes(d), sp_memory_device_bytes(memory, d));
            run_train(&run);
            for (int d = 0; d < 3; d++) {
                assert_int_equal(devices_bytes(d), sp_memory_device_bytes(memory, d));
                for (int kind = 0; kind < SP_MEMORY_KIND_COUNT; kind++) {
                    assert_int_equal(exec_trainer_counted_bytes(run.trainer, d, (enum sp_memory_kind)kind),
                                     memory->bytes[d][kind]);
                    assert_int_equal(exec_trainer_live_peak(run.trainer, d, (enum sp_memory_kind)kind),
                                     memory->bytes[d][kind]);
                }
            }
            objects[longer] = devices_objects() - opened;
            assert_true(opened > before);
            run_close(&run);
        }
        assert_int_equal(objects[0], objects[1]); /* the loader's batches */
    }
    assert_int_equal(devices_leaks(), 0);
}

/* Waits of the host that end late while a run begins: by then the loader, say, keeps all cores busy. */
static struct exec_async late_async;
static atomic_int late_waits;

static sp_status finish_late(void *event, struct sp_error *err)
{
    sp_status status = exec_cuda_async.finish(event, err);
    if (atomic_fetch_sub(&late_waits, 1) > 0)
        usleep(4000);
    return status;
}

/* On its lane a device does one thing after the other, all of it within the run, and as much as the plan has. */
static void spans_must_be_those_of_the_plan(const struct exec_backend *backend)
{
    devices_set(2);
    struct run_setting s = {.network = "lenet5",
                            .backend = backend,
                            .cuts = {2},
                            .cut_count = 1,
                            .schedule = "stale",
                            .minibatches = 20,
                            .evaluate_every = 10,
                            .lr = 0.01f};
    struct run run;
    run_open(&s, &run);
    run_train(&run);
    const struct sp_trace *trace = exec_trainer_trace(run.trainer);
    for (int d = 0; d < 2; d++) {
        const struct sp_lane *lane = &trace->lanes[d];
        double last_s = 0;
        for (int64_t n = 0; n < lane->count; n++) {
            if (lane->spans[n].start_s < last_s || lane->spans[n].end_s < lane->spans[n].start_s)
                fail_msg("span %lld of device %d goes from %.9f to %.9f s, the one before ends at %.9f s", (long long)n,
                         d, lane->spans[n].start_s, lane->spans[n].end_s, last_s);
            last_s = lane->spans[n].end_s;
        }
        assert_true(last_s <= exec_trainer_time_s(run.trainer) + 1e-3);
        assert_int_equal(lane->total.count[SP_SPAN_FORWARD], 20);
        assert_int_equal(lane->total.count[SP_SPAN_BACKWARD], 20);
        assert_int_equal(lane->total.count[SP_SPAN_UPDATE], 20);
        assert_int_equal(lane->total.count[SP_SPAN_EVALUATE], 2 * 3); /* 10 samples in minibatches of 4 */
        const struct sp_lane *copies = &trace->lanes[2 + 2 * d];      /* activations, evaluation's, gradients */
        int64_t transfers =
            copies->total.count[SP_SPAN_TRANSFER]; /* a host far ahead of its device times 16 at least */
        assert_true(trace->lane_count == 5 && transfers <= 20 && transfers >= 16);
        assert_true(copies->spans[0].end_s > copies->spans[0].start_s && copies->spans[0].start_s > 0);
        assert_true(sp_trace_busy_s(trace, d) > 0 && sp_trace_busy_s(trace, d) <= exec_trainer_time_s(run.trainer));
    }
    run_close(&run);
}

static void spans_are_those_of_the_plan(void **state)
{
    (void)state;
    spans_must_be_those_of_the_plan(&exec_cuda_backend);
}

/* Two readings of a device's clock, one of them late: what comes after the second begins where the first has ended. */
static void spans_do_not_depend_on_when_the_host_wakes(void **state)
{
    (void)state;
    struct exec_backend late = exec_cuda_backend;
    late_async = exec_cuda_async;
    late_async.finish = finish_late;
    late.async = &late_async;
    atomic_store(&late_waits, 16);
    spans_must_be_those_of_the_plan(&late);
}

/* A clock of the device that goes a million times too fast, and how many records of events lie at most between two
 * that were asked for the time between them. */
enum { EVENTS_MAX = 4096 };
static const double times_too_fast = 1e6;
static struct {
    pthread_mutex_t mutex;
    const void *events[EVENTS_MAX];
    int64_t recorded[EVENTS_MAX]; /* when last, in records */
    int count;
    int64_t records, longest;
} clock_of = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Locked. */
static int64_t *when_recorded(const void *event)
{
    int n = 0;
    while (n < clock_of.count && clock_of.events[n] != event)
        n++;
    assert_true(n < EVENTS_MAX);
    clock_of.events[n] = event;
    clock_of.count = n == clock_of.count ? n + 1 : clock_of.count;
    return &clock_of.recorded[n];
}

static sp_status record_counted(void *queue, void *event, struct sp_error *err)
{
    pthread_mutex_lock(&clock_of.mutex);
    *when_recorded(event) = ++clock_of.records;
    pthread_mutex_unlock(&clock_of.mutex);
    return exec_cuda_async.record(queue, event, err);
}

static sp_status elapsed_fast(void *from, void *to, double *seconds, struct sp_error *err)
{
    SP_TRY(exec_cuda_async.elapsed_s(from, to, seconds, err));
    *seconds *= times_too_fast;
    pthread_mutex_lock(&clock_of.mutex);
    int64_t between = *when_recorded(to) - *when_recorded(from);
    clock_of.longest = between > clock_of.longest ? between : clock_of.longest;
    pthread_mutex_unlock(&clock_of.mutex);
    return SP_OK;
}

/*
 * Between two events CUDA tells milliseconds in a float, so no time is asked for that goes back far: by this clock each
 * minibatch takes longer than may be counted from one event on, on any device, and of all records of events less than
 * half lie between any two (the host is ahead of the device by some minibatches). And what is told is right: a message
 * leaves when the F that made it has ended, and before the B that it leads to begins. CUDA tells half a microsecond; 5
 * are let pass.
 */
static void times_are_counted_from_not_long_ago(void **state)
{
    (void)state;
    enum { MINIBATCHES = 400 };
    const double slack_s = 5e-6 * times_too_fast;
    struct exec_backend fast = exec_cuda_backend;
    struct exec_async async = exec_cuda_async;
    async.record = record_counted;
    async.elapsed_s = elapsed_fast;
    fast.async = &async;
    devices_set(2);
    struct run_setting s = {.network = "lenet5",
                            .backend = &fast,
                            .cuts = {2},
                            .cut_count = 1,
                            .schedule = "stale",
                            .minibatches = MINIBATCHES,
                            .lr = 0.01f};
    struct run run;
    run_open(&s, &run);
    run_train(&run);
    const struct sp_trace *trace = exec_trainer_trace(run.trainer);
    const struct sp_lane *device = &trace->lanes[0], *copies = &trace->lanes[2];
    double ended_s[MINIBATCHES] = {0}, begun_s[MINIBATCHES] = {0};
    for (int64_t n = 0; n < device->count; n++) {
        const struct sp_span *span = &device->spans[n];
        if (span->kind == SP_SPAN_FORWARD)
            ended_s[span->minibatch] = span->end_s;
        if (span->kind == SP_SPAN_BACKWARD)
            begun_s[span->minibatch] = span->start_s;
    }
    int compared = 0;
    for (int64_t n = 0; n < copies->count; n++) {
        int64_t m = copies->spans[n].minibatch;
        double left_s = copies->spans[n].start_s;
        if (begun_s[m] == 0) /* spans are kept of the first minibatches only */
            continue;
        if (left_s < ended_s[m] - slack_s || left_s > begun_s[m] + slack_s)
            fail_msg("F %lld ended at %.3f s, its B began at %.3f s; its message left at %.3f s", (long long)m,
                     ended_s[m], begun_s[m], left_s);
        compared++;
    }
    assert_true(compared >= 16); /* as many as are timed even where none has come */
    print_message("of %lld records %lld lie at most between two\n", (long long)clock_of.records,
                  (long long)clock_of.longest);
    assert_true(clock_of.records > 4 * MINIBATCHES && clock_of.longest < clock_of.records / 2);
    run_close(&run);
}

/* The argument: how many plans to try. */
int main(int argc, char **argv)
{
    plans = argc > 1 ? atoi(argv[1]) : plans;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schedule_trains_the_weights_of_the_reference),
        cmocka_unit_test(one_value_a_channel_can_be_normalized),
        cmocka_unit_test(the_same_bits_whatever_the_timing),
        cmocka_unit_test(memory_is_taken_as_planned_and_before_the_first_cycle_ends),
        cmocka_unit_test(spans_are_those_of_the_plan),
        cmocka_unit_test(spans_do_not_depend_on_when_the_host_wakes),
        cmocka_unit_test(times_are_counted_from_not_long_ago),
    };
    return cmocka_run_group_tests_name("cuda training", tests, NULL, NULL);
}
