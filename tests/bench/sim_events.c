/*
 * Events per second of the simulator: 4 stages, 10^6 minibatches, each schedule, best of three runs.
 */
#include "common/schedule.h"
#include "sim/simulate.h"

#include <stdio.h>
#include <time.h>

enum { LAYERS = 4, MINIBATCHES = 1000000, RUNS = 3 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sp_status measure(const struct sp_plan *plan, const struct sim_cost *cost, const char *name,
                         struct sp_error *err)
{
    double best_s = 1e30;
    struct sim_result result = {0};
    for (int run = 0; run < RUNS; run++) {
        double start_s = now_s();
        SP_TRY(sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 0}, &result, err));
        double run_s = now_s() - start_s;
        best_s = run_s < best_s ? run_s : best_s;
        sim_result_fini(&result);
    }
    printf("%-12s %6.3f s  %6.2f M events/s  %6.2f M instructions/s\n", name, best_s,
           (double)result.events / best_s * 1e-6, (double)result.instructions / best_s * 1e-6);
    return SP_OK;
}

int main(void)
{
    struct sp_layer layers[LAYERS] = {0};
    struct sp_shape shapes[LAYERS + 1];
    int cuts[] = {1, 2, 3};
    struct sp_network network = {.name = "chain",
                                 .layers = layers,
                                 .layer_count = LAYERS,
                                 .tensor_count = LAYERS + 1,
                                 .shapes = shapes,
                                 .weight_layer_count = LAYERS};
    struct sp_error err = {0};
    for (int l = 0; l <= LAYERS; l++)
        shapes[l] = (struct sp_shape){1, 1, 1};
    for (int l = 0; l < LAYERS; l++)
        layers[l] = (struct sp_layer){.type = SP_LAYER_FULLY_CONNECTED,
                                      .inputs = {l},
                                      .input_count = 1,
                                      .weight_number = l + 1,
                                      .group = l + 1,
                                      .parameters = {1, 0}};
    for (int s = 0; sp_schedules[s]; s++) {
        struct sp_phase phase = {.schedule = sp_schedules[s], .microbatches = 1, .minibatches = MINIBATCHES};
        struct sp_plan_config config = {
            .cuts = cuts, .cut_count = LAYERS - 1, .batch = 1, .phases = &phase, .phase_count = 1};
        struct sp_plan *plan;
        sp_status status = sp_plan_create(&network, &config, &plan, &err);
        if (status == SP_OK) {
            struct sim_cost *cost = sim_cost_alloc(plan);
            for (int i = 0; i < LAYERS; i++)
                cost->stages[i] = (struct sim_stage_cost){1.0 + 0.1 * i, 2.0 - 0.1 * i, 0.1, 0.0};
            for (int c = 0; c < plan->channel_count; c++)
                cost->channels[c].latency_s = 0.05;
            status = measure(plan, cost, sp_schedules[s]->name, &err);
            sim_cost_destroy(&cost);
            sp_plan_destroy(&plan);
        }
        if (status != SP_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    }
    return 0;
}
