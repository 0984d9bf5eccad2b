/*
 * Where no plan that was looked at is within the limits: the leanest of all, and what is told.
 */
#include "common/alloc.h"
#include "sim/planning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The partition whose fullest stage needs the least memory, as far as its stages tell. *found: false where there is
 * none below `limit`. */
static sp_status find_leanest(struct sim_planning *search, struct sim_list *list, double limit, int *states,
                              double *bytes, bool *found)
{
    SP_TRY(sim_list_open(search, list));
    SP_TRY(sim_list_set_memory(search, list));
    *found = sim_partition_leanest(&list->problem, list->stages, limit, states, bytes);
    return SP_OK;
}

/* The least that any candidate needs of what may be limited, each by itself; of memory, that of the leanest. */
struct least {
    double peak_bytes, staleness, stale_percent;
};

/* Staleness takes long to find out, and is at its least soon. */
static sp_status take_staleness(struct sim_planning *search, struct sim_list *list, struct least *least, int *states)
{
    if (least->staleness <= 0 && least->stale_percent <= 0)
        return SP_OK;
    SP_TRY(sim_list_know_staleness(search, list));
    for (int k = 0; k + 1 < list->stages; k++)
        states[k] = k + 1; /* the smallest beginnings are stale */
    least->staleness = fmin(least->staleness, (double)list->staleness);
    least->stale_percent = fmin(least->stale_percent, 100 * sim_list_stale_fraction(list, states));
    return SP_OK;
}

/* `c` becomes the leanest, of *leanest, NULL if there is none. The caller frees it. */
static sp_status find_least(struct sim_planning *search, struct least *least, struct sim_candidate *c,
                            struct sim_list **leanest)
{
    double bytes, least_bytes = INFINITY;
    sp_status status = SP_OK;
    size_t most = (size_t)search->trial.experiment->devices.count;
    int *states = sp_calloc(most, sizeof *states), *lean = sp_calloc(most, sizeof *lean);
    *least = (struct least){INFINITY, INFINITY, INFINITY};
    *leanest = NULL;
    for (int l = 0; l < search->list_count && status == SP_OK; l++) {
        struct sim_list *list = &search->lists[l];
        bool found = false;
        status = take_staleness(search, list, least, states);
        if (status == SP_OK)
            status = find_leanest(search, list, least_bytes, states, &bytes, &found);
        if (status == SP_OK && found && bytes < least_bytes) {
            *leanest = list;
            least_bytes = bytes;
            memcpy(lean, states, (size_t)(list->stages - 1) * sizeof *lean);
        }
    }
    if (status == SP_OK && *leanest != NULL) {
        status = sim_list_weigh(search, *leanest, lean, c);
        least->peak_bytes = (double)c->peak_bytes;
    }
    free(states);
    free(lean);
    return status;
}

/* The plan with the least bound of all, whatever the limits. */
static sp_status weigh_fastest(struct sim_planning *search, struct sim_candidate *c)
{
    struct sim_list *fastest = NULL;
    for (int l = 0; l < search->list_count; l++) {
        struct sim_list *list = &search->lists[l];
        sim_cuts_destroy(&list->cuts);
        list->cuts = sim_cuts_create(list->family->rest, list->stages);
        list->closed = false;
        if (fastest == NULL || sim_list_is_before(search, list, fastest))
            fastest = list;
    }
    int *states = sp_calloc((size_t)fastest->stages, sizeof *states);
    double bound;
    sim_cuts_next(fastest->cuts, states, &bound);
    sp_status status = sim_list_weigh(search, fastest, states, c);
    free(states);
    return status;
}

static sp_status reject_limits(struct sim_planning *search, const struct least *least)
{
    const struct sp_experiment *e = search->trial.experiment;
    struct sim_candidate c = {0};
    bool all = search->out->cuttings < SIM_PLANNING_LOOKS;
    sp_status status = weigh_fastest(search, &c);
    if (status == SP_OK)
        status =
            sp_reject(search->trial.err, sp_experiment_mark(e, "plan.objective"),
                      "plan: no plan %sis within the limits; the fastest needs %.0f bytes on a device "
                      "(plan.memory; the least of any: %.0f), is %lld updates stale (plan.staleness; %.0f) in "
                      "%.4g %% of its weights (plan.stale_weights; %.4g)",
                      all ? "" : "that was looked at ", (double)c.peak_bytes, least->peak_bytes, (long long)c.staleness,
                      least->staleness, 100 * c.stale_weight_fraction, least->stale_percent);
    sim_candidate_fini(&c);
    return status;
}

sp_status sim_planning_try_leanest(struct sim_planning *search)
{
    struct least least;
    struct sim_list *leanest;
    struct sim_candidate c = {0};
    sp_status status = find_least(search, &least, &c, &leanest);
    if (status == SP_OK && leanest != NULL && sim_candidate_within_limits(search->trial.experiment, &c)) {
        search->out->cuttings++;
        status = sim_list_keep(search, leanest, &c);
    } else if (status == SP_OK) {
        status = reject_limits(search, &least);
    }
    sim_candidate_fini(&c);
    return status;
}
