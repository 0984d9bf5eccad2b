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

static sp_status simulated(const struct sim_trial *trial, const struct sim_candidate *c, int64_t minibatches,
                           struct sim_result *result)
{
    struct sp_plan *plan;
    struct sim_cost *cost;
    sp_status status = sim_trial_prepare(trial, c, minibatches, &plan, &cost);
    *result = (struct sim_result){0};
    if (status == SP_OK)
        status = sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 0}, result, trial->err);
    sp_trace_destroy(&result->trace);
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
    sp_status status = sim_trial_prepare(trial, c, SIM_TRIAL_LONG, &plan, NULL);
    if (status == SP_OK)
        status = trial->memory->plan(trial->memory->self, plan, &memory, trial->err);
    c->peak_bytes = 0;
    for (int d = 0; status == SP_OK && d < plan->device_count; d++)
        if (sp_memory_device_bytes(memory, d) > c->peak_bytes)
            c->peak_bytes = sp_memory_device_bytes(memory, d);
    sp_memory_plan_destroy(&memory);
    sp_plan_destroy(&plan);
    return status;
}

/* Where no steady state was recognised, its pace is that of the run's second half, at whose ends other minibatches are
 * under way, twice as many as stages at most. A training that is shorter is mostly
 * fill and drain, and where its time is the objective it is simulated whole. */
sp_status sim_trial_simulate(const struct sim_trial *trial, struct sim_candidate *c, int64_t minibatches)
{
    int64_t total = sim_trial_minibatches(trial->experiment), half = minibatches / 2;
    bool whole = total < minibatches || strcmp(trial->experiment->plan.objective, "time") == 0;
    struct sim_result run, first = {0}, all = {0};
    struct sp_plan *plan;
    struct sim_cost *cost;
    SP_TRY(simulated(trial, c, minibatches, &run));
    if (run.period == 0)
        SP_TRY(simulated(trial, c, half, &first));
    if (whole)
        SP_TRY(simulated(trial, c, total, &all));
    sp_status status = sim_trial_prepare(trial, c, 1, &plan, &cost);
    if (status == SP_OK) {
        c->bottleneck_s = sim_bottleneck_s(plan, cost);
        c->error = run.period > 0 ? 0 : 4.0 * (c->cut_count + 1) / (double)(minibatches - half);
        c->minibatch_s = run.period > 0 ? run.period_s / (double)run.period
                                        : (run.time_s - first.time_s) / (double)(minibatches - half);
        c->minibatch_s = fmax(c->minibatch_s, c->bottleneck_s); /* it is no less, but for rounding */
        c->time_s = whole ? all.time_s : run.time_s + c->minibatch_s * (double)(total - minibatches);
    }
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return status;
}
