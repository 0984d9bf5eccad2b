/*
 * The simulator's speed: instructions and events a second for each schedule, against the number of devices, without and
 * with jumps over the steady state, and the memory that takes; and with what costs more: devices that slow each other,
 * fair links, noise. Best of three runs each.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "tests/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LAYERS = 1024, RUNS = 3 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct sp_layer layers[MOST_LAYERS];
static struct sp_shape shapes[MOST_LAYERS + 1];

/* What the simulator has to do beside the plain events. */
enum extra { PLAIN, CONTENTION, FAIR, NOISE };
static const char *const extra_names[] = {"", "contention", "fair links", "noise"};

/* Eight devices a machine, three classes of work; or messages of a tenth of a second over one bus. */
static void add_extra(struct sim_cost *cost, enum extra extra, int devices)
{
    int64_t rows = (int64_t)devices * SIM_WORK_COUNT;
    if (extra == CONTENTION) {
        sim_cost_add_contention(cost, 3);
        cost->contention.machine = sp_calloc((size_t)devices, sizeof(int));
        for (int d = 0; d < devices; d++)
            cost->contention.machine[d] = d / 8;
        for (int e = 0; e < 9; e++)
            cost->contention.slowdown[e] = 0.02 * e;
        for (int64_t r = 0; r < 3 * rows; r++)
            cost->contention.mix[r] = r % 3 == r / 3 % 3 ? 0.8 : 0.1;
    }
    if (extra == FAIR) {
        cost->links = sp_calloc(1, sizeof *cost->links);
        cost->links[cost->link_count++] = (struct sim_link){sp_strdup("bus"), 1e9};
        for (int c = 0; c < cost->channel_count; c++)
            cost->channels[c] = (struct sim_channel_cost){.latency_s = 0.05, .bus = -1, .bytes = 1e8, .hops = 1};
    }
    if (extra == NOISE) {
        sim_cost_add_noise(cost);
        for (int64_t r = 0; r < rows; r++)
            cost->noise.work[r] = 0.05;
        cost->noise.message = 0.05;
    }
}

/* One line: `devices` stages, a layer and a device each. */
static void measure(const struct sp_schedule *schedule, int devices, int64_t minibatches, bool whole, enum extra extra)
{
    struct sp_network network = chain_of(layers, shapes, devices);
    int *cuts = sp_calloc((size_t)devices, sizeof *cuts);
    for (int k = 0; k + 1 < devices; k++)
        cuts[k] = k + 1;
    struct sp_phase phase = {.schedule = schedule, .microbatches = 1, .minibatches = minibatches};
    struct sp_plan_config config = {
        .cuts = cuts, .cut_count = devices - 1, .batch = 1, .phases = &phase, .phase_count = 1};
    struct sp_plan *plan;
    struct sp_error err = {0};
    double best_s = 1e30;
    struct sim_result result = {0};
    if (sp_plan_create(&network, &config, &plan, &err) != SP_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    struct sim_cost *cost = sim_cost_alloc(plan);
    for (int i = 0; i < devices; i++)
        cost->stages[i] = (struct sim_stage_cost){1.0 + 0.1 * (i % 7), 2.0 - 0.1 * (i % 5), 0.1, 0.0};
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c].latency_s = 0.05;
    add_extra(cost, extra, devices);
    for (int run = 0; run < RUNS; run++) {
        double start_s = now_s();
        if (sim_run(plan, cost, &(struct sim_config){.whole = whole, .noisy = extra == NOISE}, &result, &err) !=
            SP_OK) {
            fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        double run_s = now_s() - start_s;
        best_s = run_s < best_s ? run_s : best_s;
        sim_result_fini(&result);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%-12s %7d %12lld  %-5s %9.4f s  ", schedule->name, devices, (long long)minibatches,
           whole ? "whole" : "jump", best_s);
    if (whole)
        printf("%6.1f M events/s  %6.1f M instructions/s", (double)result.events / best_s * 1e-6,
               (double)result.instructions / best_s * 1e-6);
    else
        printf("%12lld minibatches jumped     ", (long long)result.jumped);
    printf("  %6.1f MB  %s\n", (double)usage.ru_maxrss / 1024, extra_names[extra]);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    free(cuts);
}

/* Each in a process of its own, whose memory is the line's alone. */
static void line(const struct sp_schedule *schedule, int devices, int64_t minibatches, bool whole, enum extra extra)
{
    fflush(stdout);
    pid_t child = fork();
    int status = 1;
    if (child == 0) {
        measure(schedule, devices, minibatches, whole, extra);
        fflush(stdout);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
        exit(1);
}

int main(void)
{
    const struct sp_schedule *stale = sp_schedule_find("stale");
    printf("%-12s %7s %12s\n", "schedule", "devices", "minibatches");
    for (int s = 0; sp_schedules[s] != NULL; s++)
        line(sp_schedules[s], 4, 1000000, true, PLAIN);
    for (int64_t minibatches = 10000; minibatches <= 1000000; minibatches *= 10)
        line(stale, 4, minibatches, true, PLAIN);
    line(stale, 64, 100000, true, PLAIN);
    line(stale, 1024, 5000, true, PLAIN);
    for (int extra = CONTENTION; extra <= NOISE; extra++) {
        line(stale, 4, 200000, true, (enum extra)extra);
        line(stale, 64, 10000, true, (enum extra)extra);
    }
    for (int s = 0; sp_schedules[s] != NULL; s++)
        line(sp_schedules[s], 4, 1000000000000, false, PLAIN);
    line(stale, 4, 1000000000000, false, CONTENTION);
    line(stale, 4, 1000000000000, false, FAIR);
    line(stale, 64, 1000000, false, PLAIN);
    line(stale, 1024, 1000000, false, PLAIN);
    return 0;
}
