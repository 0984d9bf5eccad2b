/*
 * The search: one list of partitions for every schedule, number of microbatches, placement and number of stages, each
 * in the order of its bound (sim/partition.h). The list with the least bound gives its next partition: limits are
 * checked first, by the plan alone; what is within them is simulated. As a bound is never more than what simulation
 * finds, the search ends when all bounds are behind the best.
 */
#include "sim/planner.h"
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/planning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIMULATED = 256, /* plans, at most, unless more are to be shown */
    BY_BOUND = 128,  /* of them, before numbers of stages take turns: bounds do not tell which is best */
    LONGER = 16,     /* plans that are simulated for longer, as no steady state came */
};

bool sim_planning_is_fast(const struct sp_experiment *e)
{
    return strcmp(e->plan.objective, "throughput") == 0 || strcmp(e->plan.objective, "time") == 0;
}

void sim_candidate_fini(struct sim_candidate *candidate)
{
    sp_network_destroy(&candidate->network);
    free(candidate->cuts);
}

void sim_search_fini(struct sim_search *search)
{
    for (int c = 0; c < search->count; c++)
        sim_candidate_fini(&search->candidates[c]);
    free(search->candidates);
    *search = (struct sim_search){0};
}

/* A minibatch may take so long that the plan could still be the best, or nearly as fast as that must be. */
static double slowest_s(const struct sim_planning *search)
{
    const struct sp_experiment *e = search->trial.experiment;
    return sim_planning_is_fast(e) ? search->best_s : search->best_s / e->plan.keep;
}

/* Whether the list's next partition may be the best. Of equals within a list one is enough where speed is all. */
static bool is_promising(const struct sim_planning *search, const struct sim_list *list)
{
    double bound = sim_list_bound(list);
    if (bound > slowest_s(search) * (1 + 1e-9))
        return false;
    return !sim_planning_is_fast(search->trial.experiment) || bound < list->best_s * (1 - 1e-9);
}

/* Where bounds are far below what simulation finds (devices slow each other), more stages would always come first. */
static bool by_turns(const struct sim_planning *search)
{
    return sim_planning_is_fast(search->trial.experiment) && search->out->simulated >= BY_BOUND;
}

bool sim_list_is_before(const struct sim_planning *search, const struct sim_list *a, const struct sim_list *b)
{
    if (!sim_planning_is_fast(search->trial.experiment) && search->best_s < INFINITY && a->simulated != b->simulated)
        return a->simulated < b->simulated;
    return sim_list_bound(a) < sim_list_bound(b) ||
           (sim_list_bound(a) == sim_list_bound(b) && sim_list_device_count(a) < sim_list_device_count(b));
}

/* The same among those that may be the best. */
static bool is_next(const struct sim_planning *search, const struct sim_list *a, const struct sim_list *b)
{
    int64_t turns_a = search->turns[a->stages], turns_b = search->turns[b->stages];
    return by_turns(search) && turns_a != turns_b ? turns_a < turns_b : sim_list_is_before(search, a, b);
}

/* The list to look at next; NULL: nothing left is worth it. Plans that cannot be the best fill the table. */
static struct sim_list *choose(struct sim_planning *search)
{
    struct sim_list *promising = NULL, *any = NULL;
    for (int l = 0; l < search->list_count; l++) {
        struct sim_list *list = &search->lists[l];
        if (sim_list_bound(list) == INFINITY)
            continue;
        if (any == NULL || sim_list_is_before(search, list, any))
            any = list;
        if (is_promising(search, list) && (promising == NULL || is_next(search, list, promising)))
            promising = list;
    }
    bool wanted = search->out->count < search->trial.experiment->plan.candidates;
    return promising != NULL ? promising : wanted ? any : NULL;
}

/* A minibatch in the steady state; where time is wanted, all of them on average. */
static double seconds_of(const struct sp_experiment *e, const struct sim_candidate *c)
{
    double minibatches = sim_planning_minibatches(e);
    return minibatches < INFINITY ? c->time_s / minibatches : c->minibatch_s;
}

/* A minibatch takes no less; what came to no steady state may be off. */
static double least_s(const struct sim_candidate *c)
{
    return fmax(c->bottleneck_s, c->minibatch_s * (1 - c->error));
}

/* No steady state came, which must be known of those that may be the best. */
static bool is_unsettled(const struct sim_planning *search, const struct sim_candidate *c)
{
    return c->error > 0 && sim_planning_minibatches(search->trial.experiment) == INFINITY &&
           least_s(c) <= slowest_s(search) * (1 + 1e-9);
}

sp_status sim_list_keep(struct sim_planning *search, struct sim_list *list, struct sim_candidate *c)
{
    sp_status status = sim_trial_simulate(&search->trial, c, SIM_TRIAL_LONG);
    if (status == SP_OK && is_unsettled(search, c) && search->longer++ < LONGER)
        status = sim_trial_simulate(&search->trial, c, SIM_TRIAL_LONGER);
    double seconds = seconds_of(search->trial.experiment, c);
    search->out->simulated++;
    search->turns[list->stages]++;
    list->simulated++;
    list->best_s = fmin(list->best_s, seconds);
    search->best_s = fmin(search->best_s, seconds);
    *(struct sim_candidate *)sp_grow((void **)&search->out->candidates, search->out->count++, sizeof *c) = *c;
    *c = (struct sim_candidate){0};
    return status;
}

/* Why the best may not be the best. */
static const char TOO_MANY[] = "more plans than are simulated may take less by what is known of them before",
                  TOO_MANY_SHARING[] =
                      "more plans than are simulated may take less by what is known of them before, which is how much "
                      "their devices slow each other at least",
                  UNSETTLED[] = "plans that may take less came to no steady state while they were simulated",
                  TOO_LARGE[] = "there are too many ways to cut to go through",
                  PREFIXES[] = "the graph has too many boundaries, so that only its listed order was cut",
                  OTHER_SIZES[] =
                      "what does not fit in plain float32 was not looked at, and might by the backend's sizes";

static void doubt(struct sim_planning *search, const char *why)
{
    if (search->out->doubt == NULL)
        search->out->doubt = why;
}

static bool shares_machine(const struct sim_planning *search)
{
    return search->boundaries_count > 0 && search->boundaries[0]->shares_machine;
}

/* Opens the list, or looks at its next partition, and keeps it if it is within the limits. */
static sp_status look(struct sim_planning *search, struct sim_list *list)
{
    struct sim_candidate c = {0};
    double bound;
    sp_status status = SP_OK;
    if (!list->opened)
        return sim_list_open(search, list); /* its bound may be larger now */
    int *states = sp_calloc((size_t)list->stages, sizeof *states);
    if (list->closed || !sim_cuts_next(list->cuts, states, &bound)) {
        if (sim_list_bound(list) < INFINITY)
            doubt(search, TOO_LARGE);
        search->out->bound_s = fmin(search->out->bound_s, sim_list_bound(list));
        list->closed = true;
    } else {
        search->out->cuttings++;
        status = sim_list_weigh(search, list, states, &c);
        c.estimate_s = fmax(bound, list->least_s);
        if (status == SP_OK && sim_candidate_within_limits(search->trial.experiment, &c))
            status = sim_list_keep(search, list, &c);
    }
    sim_candidate_fini(&c);
    free(states);
    return status;
}

/* Says what is known of plans that were not looked at. */
static void conclude(struct sim_planning *search)
{
    struct sim_search *out = search->out;
    if (out->prefixes_only)
        doubt(search, PREFIXES);
    if (search->trial.experiment->plan.memory > 0 && !search->trial.memory->plain)
        doubt(search, OTHER_SIZES);
    for (int l = 0; l < search->list_count; l++)
        out->bound_s = fmin(out->bound_s, sim_list_bound(&search->lists[l]));
    for (int l = 0; l < search->list_count; l++)
        if (is_promising(search, &search->lists[l]))
            doubt(search, shares_machine(search) ? TOO_MANY_SHARING : TOO_MANY);
    double minibatches = sim_planning_minibatches(search->trial.experiment);
    out->bound_time_s = minibatches < INFINITY ? minibatches * out->bound_s : INFINITY;
}

/* Whether the first would not be if those that came to no steady state took as much less or more as they may. Where
 * others may be slower than the fastest, those also that may be just fast enough or just not. */
static void doubt_unsettled(struct sim_planning *search)
{
    const struct sim_search *out = search->out;
    const struct sim_candidate *best = &out->candidates[0];
    bool is_fast = sim_planning_is_fast(search->trial.experiment);
    double best_s = is_fast ? best->minibatch_s : search->best_s, other_s = out->bound_s;
    for (int c = 0; c < out->count; c++) {
        const struct sim_candidate *one = &out->candidates[c];
        other_s = c > 0 ? fmin(other_s, least_s(one)) : other_s;
        if (!is_unsettled(search, one))
            continue;
        if (c > 0 && least_s(one) < best_s * (1 - 1e-9))
            doubt(search, UNSETTLED);
        if (!is_fast && one->minibatch_s * (1 + one->error) > slowest_s(search))
            doubt(search, UNSETTLED);
    }
    if (is_fast && is_unsettled(search, best) && other_s < best_s * (1 + best->error))
        doubt(search, UNSETTLED);
}

/* Less is better, in this order. */
struct rank {
    double value[3];
};

static struct rank rank_of(const struct sp_experiment *e, const struct sim_candidate *c, double best_s)
{
    bool slow = seconds_of(e, c) * e->plan.keep > best_s * (1 + 1e-9);
    /* Times are compared to 9 digits, so that rounding does not hide a tie that fewer devices win. */
    double step = best_s * 1e-9, seconds = seconds_of(e, c), time = step > 0 ? floor(seconds / step + 0.5) : seconds;
    double stale = (double)c->staleness + c->stale_weight_fraction / 2; /* of equally stale ones, in fewer weights */
    if (strcmp(e->plan.objective, "staleness") == 0)
        return (struct rank){{slow ? INFINITY : (double)c->staleness, slow ? time : c->stale_weight_fraction, time}};
    if (strcmp(e->plan.objective, "memory") == 0)
        return (struct rank){{slow ? INFINITY : (double)c->peak_bytes, time, stale}};
    return (struct rank){{time, c->device_count, stale}};
}

static void sort_by_rank(const struct sp_experiment *e, struct sim_candidate *candidates, int count)
{
    double best_s = INFINITY;
    for (int c = 0; c < count; c++)
        best_s = fmin(best_s, seconds_of(e, &candidates[c]));
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

static sp_status look_at_all(struct sim_planning *search)
{
    const struct sp_experiment *e = search->trial.experiment;
    struct sim_search *out = search->out;
    struct sim_list *list;
    out->bound_s = INFINITY;
    int64_t most = e->plan.candidates > SIMULATED ? e->plan.candidates : SIMULATED;
    while (out->simulated < most && out->cuttings < SIM_PLANNING_LOOKS && (list = choose(search)) != NULL)
        SP_TRY(look(search, list));
    if (out->count == 0)
        SP_TRY(sim_planning_try_leanest(search));
    conclude(search);
    sort_by_rank(e, out->candidates, out->count);
    doubt_unsettled(search);
    for (; out->count > e->plan.candidates; out->count--)
        sim_candidate_fini(&out->candidates[out->count - 1]);
    return SP_OK;
}

/* What plans are made of may be asked for; what none of them can be is told. */
static sp_status check_placement(const struct sp_experiment *e, struct sp_error *err)
{
    const char *placement = e->pipeline.placement;
    if (placement != NULL && strcmp(placement, "one") != 0)
        return SP_OK;
    return sp_reject(
        err, sp_experiment_mark(e, "pipeline.placement"),
        "pipeline.placement: %s does not go with cuts: auto: the planner places a stage on a device of its "
        "own (colocated), or on two (split); name the cuts, or leave the placement out",
        placement != NULL ? placement : "a list");
}

static sp_status check(const struct sp_experiment *e, const struct sp_network *network, struct sp_error *err)
{
    sp_status status = check_placement(e, err);
    if (e->phase_count > 0)
        status =
            sp_reject(err, sp_experiment_mark(e, "phases"),
                      "phases: the planner cuts for one schedule, not for several one after another; name the cuts, "
                      "or plan for the longest phase alone (--set phases=[] --set pipeline.schedule=...)");
    if (e->devices.count < 1)
        status = sp_reject(err, sp_experiment_mark(e, "devices.count"),
                           "devices.count: say how many devices the planner may use");
    if (strcmp(e->cost.model, "table") == 0)
        status = sp_reject(err, sp_experiment_mark(e, "cost.model"),
                           "cost.model: a table has times of given stages, so other cuts cannot be planned by it");
    if (status != SP_OK)
        return status;
    bool split = strcmp(sim_planning_placement(e), "split") == 0;
    int most = split ? (e->devices.count + 1) / 2 : e->devices.count, layers = network->weight_layer_count;
    if (e->plan.stages > most || e->plan.stages > layers)
        return sp_reject(err, sp_experiment_mark(e, "plan.stages"),
                         "plan.stages: %d stages are more than %d devices%s or %d layers allow; %d at most",
                         e->plan.stages, e->devices.count,
                         split ? " (two a stage, and one for the last: placement split)" : "", layers,
                         most < layers ? most : layers);
    return SP_OK;
}

sp_status sim_plan_search(const struct sp_experiment *experiment, const struct sp_network *network,
                          const struct sim_memory_model *memory, struct sim_search *out, struct sp_error *err)
{
    *out = (struct sim_search){0};
    struct sim_planning search = {.trial = {.experiment = experiment, .network = network, .memory = memory, .err = err},
                                  .out = out,
                                  .best_s = INFINITY};
    search.trial.source = &search.source;
    SP_TRY(check(experiment, network, err));
    SP_TRY(sim_source_open(experiment, &search.source, err));
    search.turns = sp_calloc((size_t)network->weight_layer_count + 1, sizeof *search.turns);
    sp_status status = sim_planning_list(&search);
    if (status == SP_OK)
        status = look_at_all(&search);
    sim_planning_close(&search);
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
