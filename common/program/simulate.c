#include "common/program/program.h"
#include "sim/simulate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Seconds of the plan; the trace, if wanted, is the caller's. */
static sp_status simulate(const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, int64_t spans, struct sim_result *result,
                          struct sp_error *err)
{
    struct sim_cost *cost;
    SP_TRY(sim_cost_create(experiment, plan, memory, &cost, err));
    for (int n = 0; n < cost->note_count && spans > 0; n++)
        fprintf(stderr, "%s: %s: %s\n", experiment->name, sim_note_kind_names[cost->notes[n].kind],
                cost->notes[n].text);
    sp_status status = sim_run(plan, cost, &(struct sim_config){.spans_per_lane = spans}, result, err);
    sim_cost_destroy(&cost);
    return status;
}

/* Seconds of the baseline, for as many minibatches as the plan has. */
static sp_status simulate_baseline(const struct program_setup *setup, double *time_s, struct sp_error *err)
{
    struct sp_plan *plan;
    struct sp_memory_plan *memory = NULL;
    struct sim_result result = {0};
    SP_TRY(sp_experiment_baseline(setup->experiment, setup->network, setup->plan->minibatches, &plan, err));
    sp_status status = program_memory(setup->experiment, plan, &memory, err);
    if (status == SP_OK)
        status = simulate(setup->experiment, plan, memory, 0, &result, err);
    if (status == SP_OK) {
        *time_s = result.time_s;
        sim_result_fini(&result);
    }
    sp_memory_plan_destroy(&memory);
    sp_plan_destroy(&plan);
    return status;
}

sp_status program_simulate(const struct program_setup *setup, struct program_result *result, struct sp_error *err)
{
    const struct sp_experiment *experiment = setup->experiment;
    struct sim_result run;
    double baseline_s = NAN;
    SP_TRY(simulate(experiment, setup->plan, setup->memory, experiment->sim.trace, &run, err));
    sp_status status = simulate_baseline(setup, &baseline_s, err);
    if (status != SP_OK) {
        sim_result_fini(&run);
        return status;
    }
    *result = (struct program_result){.trace = run.trace};
    sp_summary_init(&result->summary, experiment->name, setup->plan, experiment->pipeline.cuts,
                    experiment->pipeline.cut_count, setup->memory, setup->analysis, run.trace, run.time_s);
    /* The baseline does not evaluate, so the speedup leaves that out. */
    result->summary.speedup = baseline_s / (run.time_s - sp_trace_evaluation_s(run.trace));
    return SP_OK;
}

void program_result_fini(struct program_result *result)
{
    sp_summary_fini(&result->summary);
    sp_trace_destroy(&result->trace);
    sp_trace_destroy(&result->layers);
    free((void *)result->losses);
    result->losses = NULL;
}

static void print_summary(const struct sp_summary *summary)
{
    char time[32];
    printf("%s: %s, %lld minibatches of %d on %d device%s\n", summary->name, summary->schedule,
           (long long)summary->minibatches, summary->batch, summary->device_count,
           summary->device_count == 1 ? "" : "s");
    printf("  time %s, %.0f samples/s, speedup %.2f, utilization %.1f %%, stale weights %.1f %%\n",
           program_seconds(summary->time_s, time), summary->samples_per_s, summary->speedup, 100 * summary->utilization,
           100 * summary->stale_weight_fraction);
    for (int d = 0; d < summary->device_count; d++) {
        char bytes[32];
        printf("  device %d: busy %.1f %%, %s\n", d, 100 * summary->devices[d].utilization,
               program_bytes((double)summary->devices[d].peak_bytes, bytes));
    }
}

sp_status program_sim(const struct program *program, struct sp_error *err)
{
    struct program_setup setup;
    struct program_result result = {0};
    sp_status status = program_setup_init(&setup, program, SP_PLAN_SIMULATE, err);
    if (status == SP_OK)
        status = program_simulate(&setup, &result, err);
    if (status == SP_OK)
        status = program_leave_run(program, &setup, &result, err);
    if (status == SP_OK && program->json)
        program_print_json(sp_summary_json(&result.summary));
    else if (status == SP_OK)
        print_summary(&result.summary);
    program_result_fini(&result);
    program_setup_fini(&setup);
    return status;
}
