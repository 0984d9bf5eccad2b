/*
 * Two cores against one: the pipeline's speedup over the same training on one device, beside what the machine allows.
 *
 *     build/tests/bench/pipelining [-r ROUNDS] [-c direct|winograd|auto] [NETWORK ...]
 *
 * A round runs, one after another: `sequential` on one core; two independent copies of it, one a core (the bound: what
 * two cores do that share nothing but the machine); `stale` and `1f1b-async` on two devices of one core each; and
 * `sequential` on one device with two threads of the compute library. Rounds are bracketed by a probe of
 * multiply-adds on both cores: where both together are much slower than one alone, the two virtual cores share a
 * physical one, and the round is discarded and counted. Figures are medians over rounds of ratios within a round.
 *
 * The cut is the one that balances best by the layers' own times, measured before. `balance` is what that cut allows:
 * all layers' time over that of its slower half. What is in brackets is of the lesser of both bounds.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "exec/trainer.h"
#include "tests/training.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 128, MOST_ROUNDS = 64, MOST_LAYERS = 128 };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "pipelining: %s\n", what);
    exit(1);
}

static void use_core(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("cannot choose a core; this needs two");
}

static enum exec_convolution convolution = EXEC_CONVOLUTION_AUTO;

/* One measurement: schedule, cuts, devices; run in a process of its own. */
struct task {
    const char *network, *schedule;
    int cuts[MOST_LAYERS], cut_count;
    bool one_device;
    int threads;
    int core; /* pinned to it; -1: device d to core d */
    int64_t minibatches, skipped;
};

/* Seconds of a minibatch in the steady state; and of every stage's passes. */
struct answer {
    double minibatch_s, stage_s[MOST_LAYERS];
};

/* From the first counted update of the last stage to its last one. */
static struct answer read_trace(const struct task *task, const struct sp_trace *trace, int stages)
{
    struct answer answer = {0};
    double from_s = NAN, to_s = NAN;
    for (int d = 0; d < trace->device_count; d++)
        for (int64_t k = 0; k < trace->lanes[d].count; k++) {
            const struct sp_span *span = &trace->lanes[d].spans[k];
            if (span->kind == SP_SPAN_WAIT || span->minibatch < task->skipped)
                continue;
            answer.stage_s[span->stage] += (span->end_s - span->start_s) / (double)(task->minibatches - task->skipped);
            if (span->kind != SP_SPAN_UPDATE || span->stage != stages - 1)
                continue;
            from_s = span->minibatch == task->skipped ? span->end_s : from_s;
            to_s = span->end_s;
        }
    answer.minibatch_s = (to_s - from_s) / (double)(task->minibatches - 1 - task->skipped);
    return answer;
}

static struct answer measure(const struct task *task)
{
    struct sp_error err = {0};
    bool mnist = strcmp(task->network, "lenet5") == 0;
    struct sp_shape shape = mnist ? (struct sp_shape){1, 28, 28} : (struct sp_shape){3, 32, 32};
    struct sp_network_spec spec = {.builtin = task->network};
    struct exec_dataset data = blank_dataset(shape);
    int devices[MOST_LAYERS] = {0};
    struct sp_phase phase = {
        .schedule = sp_schedule_find(task->schedule), .microbatches = 1, .minibatches = task->minibatches};
    phase.weights = phase.schedule->stashes_by_default ? SP_WEIGHTS_STASH : SP_WEIGHTS_LATEST;
    struct sp_plan_config plan_config = {.cuts = task->cuts,
                                         .cut_count = task->cut_count,
                                         .batch = BATCH,
                                         .forward_devices = task->one_device ? devices : NULL,
                                         .shared_memory = true,
                                         .phases = &phase,
                                         .phase_count = 1};
    struct exec_trainer_config config = exec_trainer_config_default();
    config.backend = &exec_cpu_backend;
    config.compute.threads = task->threads;
    config.compute.convolution = convolution;
    config.compute.choices_path = remembered_choices();
    config.pin = task->core < 0;
    config.spans_per_lane = 8 * MOST_LAYERS * task->minibatches;
    struct sp_network *network;
    struct sp_plan *plan;
    struct exec_trainer *trainer;
    if (sp_network_create(&spec, shape, 10, &network, &err) != SP_OK ||
        sp_plan_create(network, &plan_config, &plan, &err) != SP_OK ||
        exec_trainer_create(plan, &data, &config, &trainer, &err) != SP_OK || exec_trainer_run(trainer, &err) != SP_OK)
        die(err.text);
    return read_trace(task, exec_trainer_trace(trainer), plan->stage_count);
}

/* Starts the task in a process; it begins when a byte comes through `go`. */
struct child {
    pid_t pid;
    int from;
};

static struct child start(const struct task *task)
{
    int ends[2];
    if (pipe(ends) != 0)
        die("no pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("no process");
    if (pid == 0) {
        if (task->core >= 0)
            use_core(task->core);
        struct answer answer = measure(task);
        if (write(ends[1], &answer, sizeof answer) != (ssize_t)sizeof answer)
            _exit(1);
        _exit(0);
    }
    close(ends[1]);
    return (struct child){pid, ends[0]};
}

static struct answer finish(struct child child)
{
    struct answer answer;
    if (read(child.from, &answer, sizeof answer) != (ssize_t)sizeof answer)
        die("a measurement failed");
    close(child.from);
    waitpid(child.pid, NULL, 0);
    return answer;
}

static struct answer run(const struct task *task)
{
    return finish(start(task));
}

/* Chains of multiply-adds for about 20 ms: seconds for a fixed number of them. */
static void *probe(void *core)
{
    enum { CHAINS = 16, TURNS = 1 << 21 };
    volatile float sink;
    float a[CHAINS];
    use_core(*(int *)core);
    for (int c = 0; c < CHAINS; c++)
        a[c] = (float)c;
    double start_s = now_s();
    for (int t = 0; t < TURNS; t++)
        for (int c = 0; c < CHAINS; c++)
            a[c] = a[c] * 0.999f + 0.5f;
    double *seconds = sp_alloc(sizeof *seconds);
    *seconds = now_s() - start_s;
    for (int c = 0; c < CHAINS; c++)
        sink = a[c];
    (void)sink;
    return seconds;
}

static double probe_once(int cores)
{
    pthread_t threads[2];
    int which[2] = {0, 1};
    double worst = 0;
    for (int c = 0; c < cores; c++)
        pthread_create(&threads[c], NULL, probe, &which[c]);
    for (int c = 0; c < cores; c++) {
        void *seconds;
        pthread_join(threads[c], &seconds);
        worst = *(double *)seconds > worst ? *(double *)seconds : worst;
        free(seconds);
    }
    return worst;
}

/* How much slower a core is while the other one works; 1: not at all. */
static double disturbance(void)
{
    double alone = INFINITY, both = INFINITY;
    for (int r = 0; r < 3; r++) {
        alone = fmin(alone, probe_once(1));
        both = fmin(both, probe_once(2));
    }
    return both / alone;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count == 0 ? NAN : count % 2 == 1 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

/* The cut whose larger half is smallest, by the time of each weight layer with what follows it. `*balance`: how many
 * times as fast it can make training. */
static int best_cut(const char *network, int weight_layers, double *balance)
{
    struct task task = {.network = network,
                        .schedule = "sequential",
                        .cut_count = weight_layers - 1,
                        .one_device = true,
                        .threads = 1,
                        .core = 0,
                        .minibatches = 6,
                        .skipped = 2};
    for (int c = 0; c < task.cut_count; c++)
        task.cuts[c] = c + 1;
    struct answer answer = run(&task);
    double all = 0, left = 0, best = INFINITY;
    int cut = 1;
    for (int s = 0; s < weight_layers; s++)
        all += answer.stage_s[s];
    for (int s = 0; s + 1 < weight_layers; s++) {
        left += answer.stage_s[s];
        if (fmax(left, all - left) < best) {
            best = fmax(left, all - left);
            cut = s + 1;
        }
    }
    *balance = all / best;
    return cut;
}

static int weight_layers_of(const char *name)
{
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.builtin = name};
    struct sp_shape shape = strcmp(name, "lenet5") == 0 ? (struct sp_shape){1, 28, 28} : (struct sp_shape){3, 32, 32};
    if (sp_network_create(&spec, shape, 10, &network, &err) != SP_OK)
        die(err.text);
    int layers = network->weight_layer_count;
    sp_network_destroy(&network);
    return layers;
}

enum column { BOUND, STALE, ASYNC, THREADS, COLUMNS };
static const char *const titles[COLUMNS] = {"two copies", "stale", "1f1b-async", "2 threads"};

static void bench(const char *network, int rounds)
{
    double ratios[COLUMNS][MOST_ROUNDS], alone_s[MOST_ROUNDS];
    double balance;
    int kept = 0, discarded = 0, cut = best_cut(network, weight_layers_of(network), &balance);
    int64_t minibatches = strcmp(network, "lenet5") == 0 ? 200 : 14;
    struct task one = {.network = network,
                       .schedule = "sequential",
                       .one_device = true,
                       .threads = 1,
                       .core = 0,
                       .minibatches = minibatches,
                       .skipped = minibatches / 4};
    struct task other = one, pipeline = one, threads = one;
    other.core = 1;
    pipeline.cuts[0] = cut;
    pipeline.cut_count = 1;
    pipeline.one_device = false;
    pipeline.core = threads.core = -1;
    threads.threads = 2;
    while (kept < rounds && discarded < rounds + 4) {
        double before = disturbance();
        double seconds = run(&one).minibatch_s;
        struct child first = start(&one), second = start(&other);
        double together = 0.5 * (finish(first).minibatch_s + finish(second).minibatch_s);
        ratios[BOUND][kept] = 2 * seconds / together;
        pipeline.schedule = "stale";
        ratios[STALE][kept] = seconds / run(&pipeline).minibatch_s;
        pipeline.schedule = "1f1b-async";
        ratios[ASYNC][kept] = seconds / run(&pipeline).minibatch_s;
        ratios[THREADS][kept] = seconds / run(&threads).minibatch_s;
        alone_s[kept] = seconds;
        if (fmax(before, disturbance()) > 1.15)
            discarded++;
        else
            kept++;
    }
    printf("%-8s %3d  %7.1f ms", network, cut, 1e3 * median(alone_s, kept));
    double copies = median(ratios[BOUND], kept), bound = fmin(copies, balance);
    printf("  %6.3f      %6.3f ", copies, balance);
    for (int c = BOUND + 1; c < COLUMNS; c++) {
        double value = median(ratios[c], kept);
        printf("  %6.3f (%3.0f %%)", value, 100 * value / bound);
    }
    printf("   %d rounds, %d discarded\n", kept, discarded);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = {"resnet20", "resnet56", "vgg16"};
    int rounds = 3, named = 0;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        puts("pipelining: needs two cores");
        return 0;
    }
    for (int a = 1; a + 1 < argc; a++)
        if (strcmp(argv[a], "-r") == 0)
            rounds = atoi(argv[a + 1]);
        else if (strcmp(argv[a], "-c") == 0)
            for (int c = 0; exec_convolution_names[c] != NULL; c++)
                if (strcmp(argv[a + 1], exec_convolution_names[c]) == 0)
                    convolution = (enum exec_convolution)c;
    if (rounds < 1 || rounds > MOST_ROUNDS)
        die("1 to 64 rounds");
    puts("Two cores over one, minibatch 128; in brackets: of the lesser of the bounds, two copies and balance");
    printf("%-8s %3s  %10s  %-10s  %-8s", "network", "cut", "one core", titles[BOUND], "balance");
    for (int c = BOUND + 1; c < COLUMNS; c++)
        printf("  %-14s", titles[c]);
    putchar('\n');
    for (int a = 1; a < argc; a++) {
        if (argv[a][0] == '-') {
            a++;
            continue;
        }
        bench(argv[a], rounds);
        named++;
    }
    for (int n = 0; named == 0 && n < 3; n++)
        bench(defaults[n], rounds);
    return 0;
}
