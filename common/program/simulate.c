#include "common/alloc.h"
#include "common/program/program.h"
#include "sim/noise.h"
#include "sim/repeat.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* With durations that vary there is no steady state to jump over: so many instructions take minutes. */
#define MOST_INSTRUCTIONS 1e10
#define SHARE             0.9

/* The plan or its baseline: once as the costs say, and many times with durations that vary. */
struct part {
    struct sim_cost *cost;
    struct sim_result run;
    struct sim_sample *samples; /* [setup->repeat] */
};

static void part_fini(struct part *part)
{
    sim_cost_destroy(&part->cost);
    sim_result_fini(&part->run);
    free(part->samples);
}

static sp_status repeat(const struct program_setup *setup, const struct sp_plan *plan, int stream, struct part *part,
                        struct sp_error *err)
{
    const struct sp_experiment *e = setup->experiment;
    struct sp_mark mark = {.file = "command line"};
    struct sim_noise_key key = {.seed = (uint64_t)e->sim.seed, .stream = stream};
    if (!sim_noise_is_known(part->cost))
        return sp_reject(
            err, mark,
            "--repeat: nothing says how durations vary: set cost.noise or cost.drift, or take costs from a "
            "profile of this machine (cost.model is %s)",
            e->cost.model);
    if ((double)part->run.instructions * setup->repeat > MOST_INSTRUCTIONS)
        return sp_reject(err, mark,
                         "--repeat: %d runs of %.3g instructions each; no steady state is jumped over when durations "
                         "vary, so at most %.0g in all are simulated: take fewer minibatches or runs",
                         setup->repeat, (double)part->run.instructions, MOST_INSTRUCTIONS);
    part->samples = sp_calloc((size_t)setup->repeat, sizeof *part->samples);
    return sim_repeat(plan, part->cost, &key, setup->repeat, part->samples, err);
}

static sp_status simulate(const struct program_setup *setup, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, int64_t spans, int stream, struct part *part,
                          struct sp_error *err)
{
    SP_TRY(sim_cost_create(setup->experiment, plan, memory, &part->cost, err));
    SP_TRY(sim_run(plan, part->cost, &(struct sim_config){.spans_per_lane = spans}, &part->run, err));
    return setup->repeat > 0 ? repeat(setup, plan, stream, part, err) : SP_OK;
}

/* For as many minibatches as the plan has. */
static sp_status simulate_baseline(const struct program_setup *setup, struct part *part, struct sp_error *err)
{
    struct sp_plan *plan;
    struct sp_memory_plan *memory = NULL;
    struct sp_footprint plain = sp_footprint_plain(setup->network); /* nobody asks for its bytes */
    SP_TRY(sp_experiment_baseline(setup->experiment, setup->network, setup->plan->minibatches, &plan, err));
    sp_status status = sp_memory_plan_create(plan, &plain, &memory, err);
    if (status == SP_OK)
        status = simulate(setup, plan, memory, 0, 1, part, err);
    sp_memory_plan_destroy(&memory);
    sp_plan_destroy(&plan);
    return status;
}

static struct sp_interval interval(double *values, int count)
{
    struct sim_interval found = sim_interval_of(values, count, SHARE);
    return (struct sp_interval){found.low, found.median, found.high};
}

static void set_intervals(struct sp_summary *summary, int count, const struct sim_sample *runs,
                          const struct sim_sample *baselines)
{
    double *values = sp_calloc(3 * (size_t)count, sizeof *values);
    for (int r = 0; r < count; r++) {
        values[r] = runs[r].time_s;
        values[count + r] = baselines[r].time_s / (runs[r].time_s - runs[r].evaluation_s);
        values[2 * count + r] = runs[r].utilization;
    }
    summary->repeats = count;
    summary->time_interval = interval(values, count);
    summary->speedup_interval = interval(values + count, count);
    summary->utilization_interval = interval(values + 2 * count, count);
    free(values);
}

static void set_notes(struct sp_summary *summary, const struct sim_cost *cost)
{
    for (int n = 0; n < cost->note_count; n++) {
        const char *kind = sim_note_kind_names[cost->notes[n].kind];
        sp_summary_add_note(summary, kind, cost->notes[n].text);
        fprintf(stderr, "%s: %s: %s\n", summary->name, kind, cost->notes[n].text);
    }
}

sp_status program_simulate(const struct program_setup *setup, struct program_result *result, struct sp_error *err)
{
    const struct sp_experiment *experiment = setup->experiment;
    struct part plan = {0}, baseline = {0};
    sp_status status = simulate(setup, setup->plan, setup->memory, experiment->sim.trace, 0, &plan, err);
    if (status == SP_OK)
        status = simulate_baseline(setup, &baseline, err);
    if (status == SP_OK) {
        *result = (struct program_result){.trace = plan.run.trace};
        plan.run.trace = NULL;
        sp_summary_init(&result->summary, experiment->name, setup->plan, experiment->pipeline.cuts,
                        experiment->pipeline.cut_count, setup->memory, setup->analysis, result->trace, plan.run.time_s);
        /* The baseline does not evaluate, so the speedup leaves that out. */
        result->summary.speedup = baseline.run.time_s / (plan.run.time_s - sp_trace_evaluation_s(result->trace));
        set_notes(&result->summary, plan.cost);
        if (setup->repeat > 0)
            set_intervals(&result->summary, setup->repeat, plan.samples, baseline.samples);
    }
    part_fini(&plan);
    part_fini(&baseline);
    return status;
}

void program_result_fini(struct program_result *result)
{
    sp_summary_fini(&result->summary);
    sp_trace_destroy(&result->trace);
    sp_trace_destroy(&result->layers);
    free((void *)result->losses);
    result->losses = NULL;
}

void program_print_intervals(const struct sp_summary *summary)
{
    char low[32], high[32];
    if (summary->repeats == 0)
        return;
    printf("  %.0f %% of %d runs: time %s to %s, speedup %.2f to %.2f, utilization %.1f to %.1f %%\n", 100 * SHARE,
           summary->repeats, program_seconds(summary->time_interval.low, low),
           program_seconds(summary->time_interval.high, high), summary->speedup_interval.low,
           summary->speedup_interval.high, 100 * summary->utilization_interval.low,
           100 * summary->utilization_interval.high);
}

static void print_summary(const struct sp_summary *summary)
{
    char time[32], speedup[32] = "none"; /* of a run that takes no time */
    if (isfinite(summary->speedup))
        snprintf(speedup, sizeof speedup, "%.2f", summary->speedup);
    printf("%s: %s, %lld minibatches of %d on %d device%s\n", summary->name, summary->schedule,
           (long long)summary->minibatches, summary->batch, summary->device_count,
           summary->device_count == 1 ? "" : "s");
    printf("  time %s, %.0f samples/s, speedup %s, utilization %.1f %%, stale weights %.1f %%\n",
           program_seconds(summary->time_s, time), summary->samples_per_s, speedup, 100 * summary->utilization,
           100 * summary->stale_weight_fraction);
    program_print_intervals(summary);
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
    struct sp_hold hold = {0};
    sp_status status = program_setup_init(&setup, program, SP_PLAN_SIMULATE, err);
    if (status == SP_OK)
        status = program_hold(program, &setup, &hold, err);
    if (status == SP_OK)
        status = program_simulate(&setup, &result, err);
    if (status == SP_OK)
        status = program_leave_run(program, &setup, &result, err);
    if (status == SP_OK && program->json)
        program_print_json(sp_summary_json(&result.summary));
    else if (status == SP_OK)
        print_summary(&result.summary);
    sp_folder_let_go(&hold);
    program_result_fini(&result);
    program_setup_fini(&setup);
    return status;
}
