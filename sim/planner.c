/*
 * The search: one list of partitions for every schedule, number of microbatches, placement and number of stages, each
 * in the order of its bound (sim/partition.h). The list with the least bound gives its next partition: limits are
 * checked first, by the plan alone; what is within them is simulated. As a bound is never more than what simulation
 * finds, the search ends when all bounds are behind the best.
 */
#include "sim/planner.h"
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/schedule.h"
#include "sim/boundaries.h"
#include "sim/partition.h"
#include "sim/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIMULATED = 256,  /* plans, at most, unless more are to be shown */
    BY_BOUND = 128,   /* of them, before numbers of stages take turns: bounds do not tell which is best */
    LOOKED_AT = 1024, /* and those that limits forbade */
    MEASURED = 32     /* the same where a backend is asked how much memory a plan takes, which compiles it */
};

/* What lists of all numbers of stages have in common. */
struct family {
    const struct sp_schedule *schedule;
    int M;
    bool split;
    const struct sim_boundaries *boundaries; /* of those with the same M */
    struct sim_partition_problem problem;
    struct sim_rest *rest;
};

/* Partitions into one number of stages. With limits, the problem is the list's own once it is looked at. */
struct list {
    const struct family *family;
    int stages;
    struct sim_cuts *cuts;
    struct sim_partition_problem problem;
    struct sim_partition_memory memory;
    struct sim_rest *rest;
    bool opened; /* what follows is known */
    int *versions, *in_flight;
    bool *stale; /* [stage] */
    int64_t staleness;
    bool closed;       /* no partition of it is within the limits */
    double best_s;     /* of those simulated */
    int64_t simulated; /* of it */
};

struct search {
    struct sim_trial trial;
    struct sim_source source;
    struct sim_search *out;
    struct family **families;
    int family_count;
    struct sim_boundaries **boundaries;
    int boundaries_count;
    struct list *lists;
    int list_count;
    double best_s, best_time_s; /* of a minibatch, and of the training */
    int64_t *turns;             /* [stages]: plans simulated */
};

static bool is_fast(const struct sp_experiment *e)
{
    return strcmp(e->plan.objective, "throughput") == 0 || strcmp(e->plan.objective, "time") == 0;
}

static bool has_limits(const struct sp_experiment *e)
{
    return e->plan.memory > 0 || e->plan.staleness >= 0 || e->plan.stale_weights < 100;
}

static int device_count(const struct list *list)
{
    return list->family->split ? 2 * list->stages - 1 : list->stages;
}

static struct sim_candidate candidate_of(const struct list *list)
{
    return (struct sim_candidate){.schedule = list->family->schedule,
                                  .microbatches = list->family->M,
                                  .split = list->family->split && list->stages > 1,
                                  .device_count = device_count(list)};
}

/* Those of minibatches in M parts, which are made once. */
static sp_status find_boundaries(struct search *search, int M, const struct sim_boundaries **out)
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

static sp_status add_family(struct search *search, const struct sp_schedule *schedule, int M, bool split)
{
    const struct sp_experiment *e = search->trial.experiment;
    struct family *family = sp_calloc(1, sizeof *family);
    *(struct family **)sp_grow((void **)&search->families, search->family_count++, sizeof family) = family;
    family->schedule = schedule;
    family->M = M;
    family->split = split;
    SP_TRY(find_boundaries(search, M, &family->boundaries));
    int most = split ? (e->devices.count + 1) / 2 : e->devices.count,
        layers = search->trial.network->weight_layer_count;
    most = most > layers ? layers : most;
    family->problem = sim_boundaries_problem(family->boundaries, schedule, M, split);
    family->rest = sim_rest_create(&family->problem, most);
    for (int s = 1; s <= most; s++)
        if (e->plan.stages == 0 || e->plan.stages == s) {
            struct list list = {.family = family, .stages = s, .best_s = INFINITY};
            list.cuts = sim_cuts_create(family->rest, s);
            *(struct list *)sp_grow((void **)&search->lists, search->list_count++, sizeof list) = list;
        }
    return SP_OK;
}

/* Everything the user leaves open: schedules, microbatches, placements. */
static sp_status list_all(struct search *search)
{
    const struct sp_experiment *e = search->trial.experiment;
    bool fixed_schedule = sp_experiment_is_set(e, "pipeline.schedule");
    bool fixed_parts = sp_experiment_is_set(e, "pipeline.microbatches");
    for (int s = 0; sp_schedules[s] != NULL; s++) {
        const struct sp_schedule *schedule = sp_schedules[s];
        if (fixed_schedule && strcmp(schedule->name, e->pipeline.base.schedule) != 0)
            continue;
        for (int M = 1; M <= 16; M *= 2) {
            if (fixed_parts ? M > 1 : (M > 1 && !schedule->flushes) || e->train.batch % M != 0)
                continue;
            int parts = fixed_parts ? e->pipeline.base.microbatches : M;
            if (strcmp(e->plan.placement, "split") != 0)
                SP_TRY(add_family(search, schedule, parts, false));
            if (strcmp(e->plan.placement, "colocated") != 0)
                SP_TRY(add_family(search, schedule, parts, true));
        }
    }
    return SP_OK;
}

/* Versions, stash and staleness of its stages do not depend on where the cuts are: those of some cuts tell. */
static sp_status analyse(struct search *search, struct list *list)
{
    struct sim_candidate some = candidate_of(list);
    struct sp_plan *plan;
    struct sp_analysis *analysis = NULL;
    size_t stages = (size_t)list->stages;
    some.cut_count = list->stages - 1;
    some.cuts = sp_calloc(stages, sizeof *some.cuts);
    for (int k = 0; k < some.cut_count; k++)
        some.cuts[k] = k + 1;
    list->versions = sp_calloc(stages, sizeof *list->versions);
    list->in_flight = sp_calloc(stages, sizeof *list->in_flight);
    list->stale = sp_calloc(stages, sizeof *list->stale);
    sp_status status = sim_trial_prepare(&search->trial, &some, 8 * list->stages + 24, &plan, NULL);
    if (status == SP_OK)
        status = sp_analysis_create(plan, NULL, &analysis, search->trial.err);
    for (int i = 0; status == SP_OK && i < list->stages; i++) {
        int64_t staleness = analysis->stages[i].forward_staleness;
        list->versions[i] = plan->versions[i];
        list->in_flight[i] = plan->in_flight[i];
        list->stale[i] = staleness > 0;
        list->staleness = staleness > list->staleness ? staleness : list->staleness;
    }
    sp_analysis_destroy(&analysis);
    sp_plan_destroy(&plan);
    free(some.cuts);
    return status;
}

/* Stages that are stale, where those are the first ones; else 0. */
static int stale_stages(const struct list *list)
{
    int count = 0;
    while (count < list->stages && list->stale[count])
        count++;
    for (int i = count; i < list->stages; i++)
        if (list->stale[i])
            return 0;
    return count;
}

static void set_memory(struct list *list)
{
    const struct sim_boundaries *b = list->family->boundaries;
    list->memory = (struct sim_partition_memory){b->held, b->version, b->slot, list->versions, list->in_flight};
    list->problem.memory = &list->memory;
}

/* What the limits forbid a stage is forbidden in the search as well, where the least that it needs can be told. */
static void set_limits(const struct search *search, struct list *list)
{
    const struct sp_experiment *e = search->trial.experiment;
    const struct sim_boundaries *b = list->family->boundaries;
    double parameters = b->parameters[b->state_count - 1];
    list->problem = list->family->problem;
    if (e->plan.memory > 0 && !list->family->split) {
        set_memory(list);
        list->problem.memory_limit = e->plan.memory;
    }
    if (e->plan.stale_weights < 100) {
        list->problem.parameters = b->parameters;
        list->problem.stale_stages = stale_stages(list);
        list->problem.stale_limit = e->plan.stale_weights / 100 * parameters * (1 + 1e-12);
        list->closed |= list->problem.stale_stages == list->stages && parameters > list->problem.stale_limit;
    }
}

static sp_status open_list(struct search *search, struct list *list)
{
    const struct sp_experiment *e = search->trial.experiment;
    if (list->opened)
        return SP_OK;
    list->opened = true;
    SP_TRY(analyse(search, list));
    list->closed = e->plan.staleness >= 0 && list->staleness > e->plan.staleness;
    set_limits(search, list);
    if (list->closed || (list->problem.memory == NULL && list->problem.parameters == NULL))
        return SP_OK;
    sim_cuts_destroy(&list->cuts);
    list->rest = sim_rest_create(&list->problem, list->stages);
    list->cuts = sim_cuts_create(list->rest, list->stages);
    return SP_OK;
}

static void list_fini(struct list *list)
{
    sim_cuts_destroy(&list->cuts);
    sim_rest_destroy(&list->rest);
    free(list->versions);
    free(list->in_flight);
    free(list->stale);
}

static void search_close(struct search *search)
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

static void candidate_fini(struct sim_candidate *candidate)
{
    sp_network_destroy(&candidate->network);
    free(candidate->cuts);
}

void sim_search_fini(struct sim_search *search)
{
    for (int c = 0; c < search->count; c++)
        candidate_fini(&search->candidates[c]);
    free(search->candidates);
    *search = (struct sim_search){0};
}

static double bound_of(const struct list *list)
{
    return list->closed ? INFINITY : sim_cuts_bound(list->cuts);
}

/* A minibatch may take so long that the plan could still be the best, or nearly as fast as that must be. */
static double slowest_s(const struct search *search)
{
    const struct sp_experiment *e = search->trial.experiment;
    if (strcmp(e->plan.objective, "time") == 0)
        return search->best_time_s / (double)sim_trial_minibatches(e);
    return is_fast(e) ? search->best_s : search->best_s / e->plan.keep;
}

/* Whether the list's next partition may be the best. Of equals within a list one is enough where speed is all. */
static bool is_promising(const struct search *search, const struct list *list)
{
    double bound = bound_of(list);
    if (bound > slowest_s(search) * (1 + 1e-9))
        return false;
    return !is_fast(search->trial.experiment) || bound < list->best_s * (1 - 1e-9);
}

/* Where bounds are far below what simulation finds (devices slow each other), more stages would always come first. */
static bool by_turns(const struct search *search)
{
    return is_fast(search->trial.experiment) && search->out->simulated >= BY_BOUND;
}

/* Where speed is all, the least bound comes first; else every list gets its turn. Then fewer devices. */
static bool is_before(const struct search *search, const struct list *a, const struct list *b)
{
    if (!is_fast(search->trial.experiment) && search->best_s < INFINITY && a->simulated != b->simulated)
        return a->simulated < b->simulated;
    return bound_of(a) < bound_of(b) || (bound_of(a) == bound_of(b) && device_count(a) < device_count(b));
}

/* The same among those that may be the best. */
static bool is_next(const struct search *search, const struct list *a, const struct list *b)
{
    int64_t turns_a = search->turns[a->stages], turns_b = search->turns[b->stages];
    return by_turns(search) && turns_a != turns_b ? turns_a < turns_b : is_before(search, a, b);
}

/* The list to look at next; NULL: nothing left is worth it. Plans that cannot be the best fill the table. */
static struct list *choose(struct search *search)
{
    struct list *promising = NULL, *any = NULL;
    for (int l = 0; l < search->list_count; l++) {
        struct list *list = &search->lists[l];
        if (bound_of(list) == INFINITY)
            continue;
        if (any == NULL || is_before(search, list, any))
            any = list;
        if (is_promising(search, list) && (promising == NULL || is_next(search, list, promising)))
            promising = list;
    }
    bool wanted = search->out->count < search->trial.experiment->plan.candidates;
    return promising != NULL ? promising : wanted ? any : NULL;
}

static bool within_limits(const struct sp_experiment *e, const struct sim_candidate *c)
{
    return (e->plan.memory <= 0 || (double)c->peak_bytes <= e->plan.memory) &&
           (e->plan.staleness < 0 || c->staleness <= e->plan.staleness) &&
           100 * c->stale_weight_fraction <= e->plan.stale_weights;
}

/* The share of the weights that lies in stale stages. */
static double stale_fraction(const struct list *list, const int *states)
{
    const double *parameters = list->family->boundaries->parameters;
    int last = list->family->boundaries->state_count - 1;
    double stale = 0;
    for (int i = 0; i < list->stages; i++)
        if (list->stale[i])
            stale += parameters[i + 1 < list->stages ? states[i] : last] - (i > 0 ? parameters[states[i - 1]] : 0);
    return parameters[last] > 0 ? stale / parameters[last] : 0;
}

/* A candidate of these cuts, and all that is known of it without simulation. The caller frees it. */
static sp_status weigh(const struct search *search, const struct list *list, const int *states, struct sim_candidate *c)
{
    *c = candidate_of(list);
    sim_boundaries_cut(list->family->boundaries, search->trial.network, states, list->stages, c);
    c->staleness = list->staleness;
    c->stale_weight_fraction = stale_fraction(list, states);
    return sim_trial_weigh(&search->trial, c);
}

/* Simulates the candidate, which becomes the search's. */
static sp_status keep(struct search *search, struct list *list, struct sim_candidate *c)
{
    sp_status status = sim_trial_simulate(&search->trial, c);
    search->out->simulated++;
    search->turns[list->stages]++;
    list->simulated++;
    list->best_s = fmin(list->best_s, c->minibatch_s);
    search->best_s = fmin(search->best_s, c->minibatch_s);
    search->best_time_s = fmin(search->best_time_s, c->time_s);
    *(struct sim_candidate *)sp_grow((void **)&search->out->candidates, search->out->count++, sizeof *c) = *c;
    *c = (struct sim_candidate){0};
    return status;
}

/* Opens the list, or looks at its next partition, and keeps it if it is within the limits. */
static sp_status look(struct search *search, struct list *list)
{
    struct sim_candidate c = {0};
    double bound;
    sp_status status = SP_OK;
    if (!list->opened)
        return open_list(search, list); /* its bound may be larger now */
    int *states = sp_calloc((size_t)list->stages, sizeof *states);
    if (list->closed || !sim_cuts_next(list->cuts, states, &bound)) {
        search->out->unproven |= bound_of(list) < INFINITY;
        search->out->bound_s = fmin(search->out->bound_s, bound_of(list));
        list->closed = true;
    } else {
        search->out->cuttings++;
        status = weigh(search, list, states, &c);
        c.estimate_s = bound;
        if (status == SP_OK && within_limits(search->trial.experiment, &c))
            status = keep(search, list, &c);
    }
    candidate_fini(&c);
    free(states);
    return status;
}

/* Says what is known of plans that were not looked at. */
static void conclude(struct search *search)
{
    struct sim_search *out = search->out;
    for (int l = 0; l < search->list_count; l++)
        out->bound_s = fmin(out->bound_s, bound_of(&search->lists[l]));
    for (int l = 0; l < search->list_count; l++)
        out->unproven |= is_promising(search, &search->lists[l]);
    out->unproven |= out->prefixes_only || !search->source.kind->additive;
    out->unproven |= search->trial.experiment->plan.memory > 0 && !search->trial.memory->plain;
}

/* The partition whose fullest stage needs the least memory, as far as its stages tell. False: there is none. */
static bool find_leanest(struct list *list, int *states, double *bytes)
{
    set_memory(list);
    list->problem.by_memory = true;
    struct sim_rest *rest = sim_rest_create(&list->problem, list->stages);
    struct sim_cuts *cuts = sim_cuts_create(rest, list->stages);
    bool found = sim_cuts_next(cuts, states, bytes);
    sim_cuts_destroy(&cuts);
    sim_rest_destroy(&rest);
    return found;
}

/* The least that any candidate needs of what may be limited, each by itself; of memory, that of the leanest. */
struct least {
    double peak_bytes, staleness, stale_percent;
};

/* `c` becomes the leanest, of *leanest, NULL if there is none. The caller frees it. */
static sp_status find_least(struct search *search, struct least *least, struct sim_candidate *c, struct list **leanest)
{
    double bytes, least_bytes = INFINITY;
    sp_status status = SP_OK;
    size_t most = (size_t)search->trial.experiment->devices.count;
    int *states = sp_calloc(most, sizeof *states), *lean = sp_calloc(most, sizeof *lean);
    *least = (struct least){INFINITY, INFINITY, INFINITY};
    *leanest = NULL;
    for (int l = 0; l < search->list_count; l++) {
        struct list *list = &search->lists[l];
        if ((status = open_list(search, list)) != SP_OK)
            break;
        for (int k = 0; k + 1 < list->stages; k++)
            states[k] = k + 1; /* the smallest beginnings are stale */
        least->staleness = fmin(least->staleness, (double)list->staleness);
        least->stale_percent = fmin(least->stale_percent, 100 * stale_fraction(list, states));
        if (find_leanest(list, states, &bytes) && bytes < least_bytes) {
            *leanest = list;
            least_bytes = bytes;
            memcpy(lean, states, (size_t)(list->stages - 1) * sizeof *lean);
        }
    }
    if (status == SP_OK && *leanest != NULL) {
        status = weigh(search, *leanest, lean, c);
        least->peak_bytes = (double)c->peak_bytes;
    }
    free(states);
    free(lean);
    return status;
}

/* The plan with the least bound of all, whatever the limits. */
static sp_status weigh_fastest(struct search *search, struct sim_candidate *c)
{
    struct list *fastest = NULL;
    for (int l = 0; l < search->list_count; l++) {
        struct list *list = &search->lists[l];
        sim_cuts_destroy(&list->cuts);
        list->cuts = sim_cuts_create(list->family->rest, list->stages);
        list->closed = false;
        if (fastest == NULL || is_before(search, list, fastest))
            fastest = list;
    }
    int *states = sp_calloc((size_t)fastest->stages, sizeof *states);
    double bound;
    sim_cuts_next(fastest->cuts, states, &bound);
    sp_status status = weigh(search, fastest, states, c);
    free(states);
    return status;
}

/* Plans that may be looked at. */
static int most_looks(const struct search *search)
{
    return search->trial.experiment->plan.memory > 0 && !search->trial.memory->plain ? MEASURED : LOOKED_AT;
}

static sp_status reject_limits(struct search *search, const struct least *least)
{
    const struct sp_experiment *e = search->trial.experiment;
    struct sim_candidate c = {0};
    bool all = search->out->cuttings < most_looks(search);
    sp_status status = weigh_fastest(search, &c);
    if (status == SP_OK)
        status =
            sp_reject(search->trial.err, sp_experiment_mark(e, "plan.objective"),
                      "plan: no plan %sis within the limits; the fastest needs %.0f bytes on a device "
                      "(plan.memory; the least of any: %.0f), is %lld updates stale (plan.staleness; %.0f) in "
                      "%.4g %% of its weights (plan.stale_weights; %.4g)",
                      all ? "" : "that was looked at ", (double)c.peak_bytes, least->peak_bytes, (long long)c.staleness,
                      least->staleness, 100 * c.stale_weight_fraction, least->stale_percent);
    candidate_fini(&c);
    return status;
}

/* Of the plans that were looked at, none is within the limits: the leanest may be. */
static sp_status try_leanest(struct search *search)
{
    struct least least;
    struct list *leanest;
    struct sim_candidate c = {0};
    sp_status status = find_least(search, &least, &c, &leanest);
    if (status == SP_OK && leanest != NULL && within_limits(search->trial.experiment, &c)) {
        search->out->cuttings++;
        status = keep(search, leanest, &c);
    } else if (status == SP_OK) {
        status = reject_limits(search, &least);
    }
    candidate_fini(&c);
    return status;
}

/* Less is better, in this order. */
struct rank {
    double value[3];
};

static struct rank rank_of(const struct sp_experiment *e, const struct sim_candidate *c, double best_s)
{
    bool slow = c->minibatch_s * e->plan.keep > best_s * (1 + 1e-9);
    /* Times are compared to 9 digits, so that rounding does not hide a tie that fewer devices win. */
    double step = best_s * 1e-9, time = step > 0 ? floor(c->minibatch_s / step + 0.5) : c->minibatch_s;
    double stale = (double)c->staleness + c->stale_weight_fraction / 2; /* of equally stale ones, in fewer weights */
    if (strcmp(e->plan.objective, "time") == 0)
        return (struct rank){{c->time_s, c->device_count, stale}};
    if (strcmp(e->plan.objective, "staleness") == 0)
        return (struct rank){{slow ? INFINITY : (double)c->staleness, slow ? time : c->stale_weight_fraction, time}};
    if (strcmp(e->plan.objective, "memory") == 0)
        return (struct rank){{slow ? INFINITY : (double)c->peak_bytes, time, (double)c->staleness}};
    return (struct rank){{time, c->device_count, stale}};
}

static void sort_by_rank(const struct sp_experiment *e, struct sim_candidate *candidates, int count)
{
    double best_s = INFINITY;
    for (int c = 0; c < count; c++)
        best_s = fmin(best_s, candidates[c].minibatch_s);
    for (int c = 1; c < count; c++) {
        struct sim_candidate moving = candidates[c];
        struct rank rank = rank_of(e, &moving, best_s);
        int at = c;
        for (; at > 0; at--) {
            struct rank other = rank_of(e, &candidates[at - 1], best_s);
            int v = 0;
            while (v < 2 && rank.value[v] == other.value[v])
                v++;
            if (rank.value[v] >= other.value[v])
                break;
            candidates[at] = candidates[at - 1];
        }
        candidates[at] = moving;
    }
}

static sp_status look_at_all(struct search *search)
{
    const struct sp_experiment *e = search->trial.experiment;
    struct sim_search *out = search->out;
    struct list *list;
    out->bound_s = INFINITY;
    int64_t most = e->plan.candidates > SIMULATED ? e->plan.candidates : SIMULATED;
    while (out->simulated < most && out->cuttings < most_looks(search) && (list = choose(search)) != NULL)
        SP_TRY(look(search, list));
    if (out->count == 0)
        SP_TRY(try_leanest(search));
    conclude(search);
    sort_by_rank(e, out->candidates, out->count);
    for (; out->count > e->plan.candidates; out->count--)
        candidate_fini(&out->candidates[out->count - 1]);
    return SP_OK;
}

sp_status sim_plan_search(const struct sp_experiment *experiment, const struct sp_network *network,
                          const struct sim_memory_model *memory, struct sim_search *out, struct sp_error *err)
{
    *out = (struct sim_search){0};
    struct search search = {.trial = {.experiment = experiment, .network = network, .memory = memory, .err = err},
                            .out = out,
                            .best_s = INFINITY,
                            .best_time_s = INFINITY};
    search.trial.source = &search.source;
    if (experiment->devices.count < 1)
        return sp_reject(err, sp_experiment_mark(experiment, "devices.count"),
                         "devices.count: say how many devices the planner may use");
    int most = strcmp(experiment->plan.placement, "split") == 0 ? (experiment->devices.count + 1) / 2
                                                                : experiment->devices.count;
    if (experiment->plan.stages > most || experiment->plan.stages > network->weight_layer_count)
        return sp_reject(err, sp_experiment_mark(experiment, "plan.stages"),
                         "plan.stages: %d stages are more than %d devices or %d layers allow", experiment->plan.stages,
                         experiment->devices.count, network->weight_layer_count);
    if (strcmp(experiment->cost.model, "table") == 0)
        return sp_reject(err, sp_experiment_mark(experiment, "cost.model"),
                         "cost.model: a table has times of given stages, so other cuts cannot be planned by it");
    SP_TRY(sim_source_open(experiment, &search.source, err));
    search.turns = sp_calloc((size_t)network->weight_layer_count + 1, sizeof *search.turns);
    sp_status status = list_all(&search);
    if (status == SP_OK)
        status = look_at_all(&search);
    search_close(&search);
    return status;
}

void sim_candidate_apply(const struct sim_candidate *candidate, struct sp_experiment *e)
{
    struct sp_mark mark = sp_experiment_mark(e, "pipeline.cuts");
    free(e->pipeline.cuts);
    free(e->pipeline.cut_marks);
    e->pipeline.cut_count = candidate->cut_count;
    e->pipeline.cuts = sp_calloc((size_t)candidate->cut_count + 1, sizeof *e->pipeline.cuts);
    e->pipeline.cut_marks = sp_calloc((size_t)candidate->cut_count + 1, sizeof *e->pipeline.cut_marks);
    for (int c = 0; c < candidate->cut_count; c++) {
        e->pipeline.cuts[c] = candidate->cuts[c];
        e->pipeline.cut_marks[c] = mark;
    }
    free(e->pipeline.base.schedule);
    e->pipeline.base.schedule = sp_strdup(candidate->schedule->name);
    e->pipeline.base.microbatches = candidate->microbatches;
    free(e->pipeline.placement);
    e->pipeline.placement = sp_strdup(candidate->split ? "split" : "colocated");
    e->devices.count = candidate->device_count;
}
