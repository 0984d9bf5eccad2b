#include "common/alloc.h"
#include "common/analysis.h"
#include "common/schedule.h"
#include "sim/planning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *sim_planning_placement(const struct sp_experiment *e)
{
    return strcmp(e->pipeline.placement, "auto") == 0 ? e->plan.placement : e->pipeline.placement;
}

double sim_planning_minibatches(const struct sp_experiment *e)
{
    return strcmp(e->plan.objective, "time") == 0 ? (double)sim_trial_minibatches(e) : INFINITY;
}

static bool has_limits(const struct sp_experiment *e)
{
    return e->plan.memory > 0 || e->plan.staleness >= 0 || e->plan.stale_weights < 100;
}

int sim_list_device_count(const struct sim_list *list)
{
    return list->family->split ? 2 * list->stages - 1 : list->stages;
}

static struct sim_candidate candidate_of(const struct sim_list *list)
{
    return (struct sim_candidate){.schedule = list->family->schedule,
                                  .microbatches = list->family->M,
                                  .split = list->family->split && list->stages > 1,
                                  .device_count = sim_list_device_count(list)};
}

/* Those of minibatches in M parts, which are made once. */
static sp_status find_boundaries(struct sim_planning *search, int M, const struct sim_boundaries **out)
{
    for (int f = 0; f + 1 < search->family_count; f++)
        if (search->families[f]->M == M) {
            *out = search->families[f]->boundaries;
            return SP_OK;
        }
    struct sim_boundaries *made = sp_calloc(1, sizeof *made);
    *(struct sim_boundaries **)sp_grow((void **)&search->boundaries, search->boundaries_count++, sizeof made) = made;
    *out = made;
    SP_TRY(sim_boundaries_init(&search->trial, M, has_limits(search->trial.experiment), made));
    search->out->prefixes_only |= made->prefixes_only;
    return SP_OK;
}

static sp_status add_family(struct sim_planning *search, const struct sp_schedule *schedule, int M, bool split)
{
    const struct sp_experiment *e = search->trial.experiment;
    struct sim_family *family = sp_calloc(1, sizeof *family);
    *(struct sim_family **)sp_grow((void **)&search->families, search->family_count++, sizeof family) = family;
    family->schedule = schedule;
    family->M = M;
    family->split = split;
    SP_TRY(find_boundaries(search, M, &family->boundaries));
    int most = split ? (e->devices.count + 1) / 2 : e->devices.count,
        layers = search->trial.network->weight_layer_count;
    most = most > layers ? layers : most;
    family->problem = sim_boundaries_problem(family->boundaries, schedule, M, split, sim_planning_minibatches(e));
    family->rest = sim_rest_create(&family->problem, most);
    for (int s = 1; s <= most; s++)
        if (e->plan.stages == 0 || e->plan.stages == s) {
            struct sim_list list = {.family = family, .stages = s, .best_s = INFINITY};
            list.cuts = sim_cuts_create(family->rest, s);
            list.least_s = sim_boundaries_least_s(family->boundaries, s, sim_list_device_count(&list));
            *(struct sim_list *)sp_grow((void **)&search->lists, search->list_count++, sizeof list) = list;
        }
    return SP_OK;
}

/* Whether parts of a minibatch can be worth it: without a flush they shorten no minibatch, but save memory and fill
 * the pipeline sooner. */
static bool parts_may_help(const struct sp_experiment *e, const struct sp_schedule *schedule)
{
    return schedule->flushes || e->plan.memory > 0 || strcmp(e->plan.objective, "memory") == 0 ||
           strcmp(e->plan.objective, "time") == 0;
}

sp_status sim_planning_list(struct sim_planning *search)
{
    const struct sp_experiment *e = search->trial.experiment;
    const char *placement = sim_planning_placement(e);
    bool fixed_schedule = sp_experiment_is_set(e, "pipeline.schedule");
    bool fixed_parts = sp_experiment_is_set(e, "pipeline.microbatches");
    for (int s = 0; sp_schedules[s] != NULL; s++) {
        const struct sp_schedule *schedule = sp_schedules[s];
        if (fixed_schedule && strcmp(schedule->name, e->pipeline.base.schedule) != 0)
            continue;
        for (int M = 1; M <= 16; M *= 2) {
            if (fixed_parts ? M > 1 : (M > 1 && !parts_may_help(e, schedule)) || e->train.batch % M != 0)
                continue;
            int parts = fixed_parts ? e->pipeline.base.microbatches : M;
            if (strcmp(placement, "split") != 0)
                SP_TRY(add_family(search, schedule, parts, false));
            if (strcmp(placement, "colocated") != 0)
                SP_TRY(add_family(search, schedule, parts, true));
        }
    }
    return SP_OK;
}

/* Versions, stash and staleness of its stages do not depend on where the cuts are: those of some cuts tell. */
static sp_status some_plan(struct sim_planning *search, const struct sim_list *list, struct sp_plan **plan)
{
    struct sim_candidate some = candidate_of(list);
    some.cut_count = list->stages - 1;
    some.cuts = sp_calloc((size_t)list->stages, sizeof *some.cuts);
    for (int k = 0; k < some.cut_count; k++)
        some.cuts[k] = k + 1;
    sp_status status = sim_trial_prepare(&search->trial, &some, 8 * list->stages + 24, plan, NULL);
    free(some.cuts);
    return status;
}

static sp_status know_versions(struct sim_planning *search, struct sim_list *list)
{
    size_t stages = (size_t)list->stages;
    struct sp_plan *plan;
    if (list->versions != NULL)
        return SP_OK;
    SP_TRY(some_plan(search, list, &plan));
    list->versions = sp_calloc(stages, sizeof *list->versions);
    list->in_flight = sp_calloc(stages, sizeof *list->in_flight);
    memcpy(list->versions, plan->versions, stages * sizeof *list->versions);
    memcpy(list->in_flight, plan->in_flight, stages * sizeof *list->in_flight);
    sp_plan_destroy(&plan);
    return SP_OK;
}

sp_status sim_list_know_staleness(struct sim_planning *search, struct sim_list *list)
{
    struct sp_plan *plan;
    struct sp_analysis *analysis = NULL;
    if (list->stale != NULL)
        return SP_OK;
    list->stale = sp_calloc((size_t)list->stages, sizeof *list->stale);
    if (list->family->schedule->flushes && !list->family->split)
        return SP_OK; /* all updates come before the next minibatch */
    SP_TRY(some_plan(search, list, &plan));
    sp_status status = sp_analysis_create(plan, NULL, &analysis, search->trial.err);
    for (int i = 0; status == SP_OK && i < list->stages; i++) {
        int64_t staleness = analysis->stages[i].forward_staleness;
        list->stale[i] = staleness > 0;
        list->staleness = staleness > list->staleness ? staleness : list->staleness;
    }
    sp_analysis_destroy(&analysis);
    sp_plan_destroy(&plan);
    return status;
}

/* Stages that are stale, where those are the first ones; else 0. */
static int stale_stages(const struct sim_list *list)
{
    int count = 0;
    while (count < list->stages && list->stale[count])
        count++;
    for (int i = count; i < list->stages; i++)
        if (list->stale[i])
            return 0;
    return count;
}

sp_status sim_list_set_memory(struct sim_planning *search, struct sim_list *list)
{
    const struct sim_boundaries *b = list->family->boundaries;
    SP_TRY(know_versions(search, list));
    list->memory = (struct sim_partition_memory){b->held, b->version, b->slot, list->versions, list->in_flight};
    list->problem.memory = &list->memory;
    return SP_OK;
}

/* What the limits forbid a stage is forbidden in the search as well, where the least that it needs can be told. */
static sp_status set_limits(struct sim_planning *search, struct sim_list *list)
{
    const struct sp_experiment *e = search->trial.experiment;
    const struct sim_boundaries *b = list->family->boundaries;
    double parameters = b->parameters[b->state_count - 1];
    list->problem = list->family->problem;
    if (e->plan.memory > 0 && !list->family->split) {
        SP_TRY(sim_list_set_memory(search, list));
        list->problem.memory_limit = e->plan.memory;
        list->closed = !sim_partition_fits(&list->problem, list->stages);
    }
    if (list->closed)
        return SP_OK;
    SP_TRY(sim_list_know_staleness(search, list));
    list->closed = e->plan.staleness >= 0 && list->staleness > e->plan.staleness;
    if (e->plan.stale_weights < 100) {
        list->problem.parameters = b->parameters;
        list->problem.stale_stages = stale_stages(list);
        list->problem.stale_limit = e->plan.stale_weights / 100 * parameters * (1 + 1e-12);
        list->closed |= list->problem.stale_stages == list->stages && parameters > list->problem.stale_limit;
    }
    return SP_OK;
}

sp_status sim_list_open(struct sim_planning *search, struct sim_list *list)
{
    if (list->opened)
        return SP_OK;
    list->opened = true;
    SP_TRY(set_limits(search, list));
    if (list->closed || (list->problem.memory == NULL && list->problem.parameters == NULL))
        return SP_OK;
    sim_cuts_destroy(&list->cuts);
    list->rest = sim_rest_create(&list->problem, list->stages);
    list->cuts = sim_cuts_create(list->rest, list->stages);
    return SP_OK;
}

static void list_fini(struct sim_list *list)
{
    sim_cuts_destroy(&list->cuts);
    sim_rest_destroy(&list->rest);
    free(list->versions);
    free(list->in_flight);
    free(list->stale);
}

void sim_planning_close(struct sim_planning *search)
{
    for (int l = 0; l < search->list_count; l++)
        list_fini(&search->lists[l]);
    for (int f = 0; f < search->family_count; f++) {
        sim_rest_destroy(&search->families[f]->rest);
        free(search->families[f]);
    }
    for (int b = 0; b < search->boundaries_count; b++) {
        sim_boundaries_fini(search->boundaries[b]);
        free(search->boundaries[b]);
    }
    free(search->boundaries);
    free(search->turns);
    free(search->lists);
    free(search->families);
    sim_source_close(&search->source);
}

double sim_list_bound(const struct sim_list *list)
{
    return list->closed ? INFINITY : fmax(list->least_s, sim_cuts_bound(list->cuts));
}

double sim_list_stale_fraction(const struct sim_list *list, const int *states)
{
    const double *parameters = list->family->boundaries->parameters;
    int last = list->family->boundaries->state_count - 1;
    double stale = 0;
    for (int i = 0; i < list->stages; i++)
        if (list->stale[i])
            stale += parameters[i + 1 < list->stages ? states[i] : last] - (i > 0 ? parameters[states[i - 1]] : 0);
    return parameters[last] > 0 ? stale / parameters[last] : 0;
}

sp_status sim_list_weigh(struct sim_planning *search, struct sim_list *list, const int *states, struct sim_candidate *c)
{
    *c = (struct sim_candidate){0};
    SP_TRY(sim_list_know_staleness(search, list));
    *c = candidate_of(list);
    sim_boundaries_cut(list->family->boundaries, search->trial.network, states, list->stages, c);
    c->staleness = list->staleness;
    c->stale_weight_fraction = sim_list_stale_fraction(list, states);
    return sim_trial_weigh(&search->trial, c);
}

bool sim_candidate_within_limits(const struct sp_experiment *e, const struct sim_candidate *c)
{
    return (e->plan.memory <= 0 || (double)c->peak_bytes <= e->plan.memory) &&
           (e->plan.staleness < 0 || c->staleness <= e->plan.staleness) &&
           100 * c->stale_weight_fraction <= e->plan.stale_weights;
}
