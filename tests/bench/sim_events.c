/*
 * The simulator's speed: instructions and events a second for each schedule, against the number of devices, without and
 * with jumps over the steady state, and the memory that takes. Best of three runs each.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/simulate.h"

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

static struct sp_network chain(int count)
{
    for (int l = 0; l <= count; l++)
        shapes[l] = (struct sp_shape){1, 1, 1};
    for (int l = 0; l < count; l++)
        layers[l] = (struct sp_layer){.type = SP_LAYER_FULLY_CONNECTED,
                                      .inputs = {l},
                                      .input_count = 1,
                                      .weight_number = l + 1,
                                      .group = l + 1,
                                      .parameters = {1, 0}};
    return (struct sp_network){.name = "chain",
                               .layers = layers,
                               .layer_count = count,
                               .tensor_count = count + 1,
                               .shapes = shapes,
                               .weight_layer_count = count};
}

/* One line: `devices` stages, a layer and a device each. */
static void measure(const struct sp_schedule *schedule, int devices, int64_t minibatches, bool whole)
{
    struct sp_network network = chain(devices);
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
    for (int run = 0; run < RUNS; run++) {
        double start_s = now_s();
        if (sim_run(plan, cost, &(struct sim_config){.whole = whole}, &result, &err) != SP_OK) {
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
    printf("  %6.1f MB\n", (double)usage.ru_maxrss / 1024);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    free(cuts);
}

/* Each in a process of its own, whose memory is the line's alone. */
static void line(const struct sp_schedule *schedule, int devices, int64_t minibatches, bool whole)
{
    fflush(stdout);
    pid_t child = fork();
    int status = 1;
    if (child == 0) {
        measure(schedule, devices, minibatches, whole);
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
        line(sp_schedules[s], 4, 1000000, true);
    for (int64_t minibatches = 10000; minibatches <= 1000000; minibatches *= 10)
        line(stale, 4, minibatches, true);
    line(stale, 64, 100000, true);
    line(stale, 1024, 5000, true);
    for (int s = 0; sp_schedules[s] != NULL; s++)
        line(sp_schedules[s], 4, 1000000000000, false);
    line(stale, 64, 1000000, false);
    line(stale, 1024, 1000000, false);
    return 0;
}
