#include "sim/trial.h"
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/loads.h"
#include "sim/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The experiment with other cuts and schedule: borrows everything. */
static struct sp_experiment experiment_of(const struct sp_experiment *experiment, const struct sim_candidate *candidate,
                                          int64_t minibatches)
{
    struct sp_experiment trial = *experiment;
    trial.pipeline.cuts = candidate->cuts;
    trial.pipeline.cut_count = candidate->cut_count;
    trial.pipeline.placement = candidate->split ? "split" : "colocated";
    trial.pipeline.base.schedule = (char *)candidate->schedule->name;
    trial.pipeline.base.microbatches = candidate->microbatches;
    trial.devices.count = 0;
    trial.phase_count = 0;
    trial.train.stage_lr_count = 0;
    trial.train.iterations = minibatches;
    trial.sim.minibatches = minibatches;
    return trial;
}

sp_status sim_trial_prepare(const struct sim_trial *trial, const struct sim_candidate *candidate, int64_t minibatches,
                            struct sp_plan **plan, struct sim_cost **cost)
{
    const struct sp_network *network = candidate->network != NULL ? candidate->network : trial->network;
    struct sp_experiment e = experiment_of(trial->experiment, candidate, minibatches);
    struct sp_mark *marks = sp_calloc((size_t)candidate->cut_count + 1, sizeof *marks);
    e.pipeline.cut_marks = marks;
    if (cost != NULL)
        *cost = NULL;
    sp_status status = sp_experiment_plan(&e, network, SP_PLAN_SIMULATE, plan, trial->err);
    if (status == SP_OK && cost != NULL)
        status = trial->least ? sim_source_least_cost(trial->source, &e, *plan, cost, trial->err)
                              : sim_source_cost(trial->source, &e, *plan, NULL, cost, trial->err);
    free(marks);
    return status;
}

/* Minibatches that fill the pipeline and more. */
static int64_t stretch_of(const struct sim_candidate *c)
{
    return 4 * (int64_t)(c->cut_count + 1) + 12;
}

static sp_status simulated_s(const struct sim_trial *trial, const struct sim_candidate *c, int64_t minibatches,
                             double *time_s)
{
    struct sp_plan *plan;
    struct sim_cost *cost;
    struct sim_result result = {0};
    sp_status status = sim_trial_prepare(trial, c, minibatches, &plan, &cost);
    if (status == SP_OK)
        status = sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 0}, &result, trial->err);
    *time_s = result.time_s;
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return status;
}

int64_t sim_trial_minibatches(const struct sp_experiment *e)
{
    struct sp_data_shape data = {.train_samples = 50000};
    if (e->train.iterations > 0)
        return e->train.iterations;
    struct sp_error ignored = {0};
    if (sp_experiment_data_shape(e, &data, &ignored) != SP_OK)
        sp_error_fini(&ignored);
    return (e->train.epochs * data.train_samples + e->train.batch - 1) / e->train.batch;
}

sp_status sim_trial_weigh(const struct sim_trial *trial, struct sim_candidate *c)
{
    struct sp_plan *plan;
    struct sp_memory_plan *memory = NULL;
    sp_status status = sim_trial_prepare(trial, c, stretch_of(c), &plan, NULL);
    if (status == SP_OK)
        status = trial->memory->plan(trial->experiment, plan, &memory, trial->err);
    c->peak_bytes = 0;
    for (int d = 0; status == SP_OK && d < plan->device_count; d++)
        if (sp_memory_device_bytes(memory, d) > c->peak_bytes)
            c->peak_bytes = sp_memory_device_bytes(memory, d);
    sp_memory_plan_destroy(&memory);
    sp_plan_destroy(&plan);
    return status;
}

/* The steady state is what a second stretch of minibatches takes beyond the first. A training that is shorter than one
 * is mostly fill and drain, and where its time is the objective it is simulated whole. */
sp_status sim_trial_simulate(const struct sim_trial *trial, struct sim_candidate *c)
{
    int64_t stretch = stretch_of(c), total = sim_trial_minibatches(trial->experiment);
    double once_s, twice_s, whole_s = 0;
    bool whole = total < stretch || strcmp(trial->experiment->plan.objective, "time") == 0;
    struct sp_plan *plan;
    struct sim_cost *cost;
    SP_TRY(simulated_s(trial, c, stretch, &once_s));
    SP_TRY(simulated_s(trial, c, 2 * stretch, &twice_s));
    if (whole)
        SP_TRY(simulated_s(trial, c, total, &whole_s));
    sp_status status = sim_trial_prepare(trial, c, 2 * stretch, &plan, &cost);
    if (status == SP_OK) {
        c->bottleneck_s = sim_bottleneck_s(plan, cost);
        c->minibatch_s = (twice_s - once_s) / (double)stretch;
        c->minibatch_s = fmax(c->minibatch_s, c->bottleneck_s); /* two stretches may be too short for it to tell */
        c->time_s = whole ? whole_s : once_s + c->minibatch_s * (double)(total - stretch);
    }
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return status;
}
