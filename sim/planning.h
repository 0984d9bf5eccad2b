/*
 * planning.h - what the files of the planner share: the lists of partitions that a search goes through.
 */
#ifndef SIM_PLANNING_H
#define SIM_PLANNING_H

#include "sim/boundaries.h"
#include "sim/partition.h"
#include "sim/planner.h"
#include "sim/trial.h"

/* What lists of all numbers of stages have in common. */
struct sim_family {
    const struct sp_schedule *schedule;
    int M;
    bool split;
    const struct sim_boundaries *boundaries; /* of those with the same M */
    struct sim_partition_problem problem;
    struct sim_rest *rest;
};

/* Partitions into one number of stages. With limits, the problem is the list's own once it is looked at. */
struct sim_list {
    const struct sim_family *family;
    int stages;
    double least_s; /* of a minibatch, wherever the cuts are */
    struct sim_cuts *cuts;
    struct sim_partition_problem problem;
    struct sim_partition_memory memory;
    struct sim_rest *rest;
    bool opened;               /* limits are known */
    int *versions, *in_flight; /* [stage]; NULL: not known yet */
    bool *stale;               /* [stage]; NULL: not known yet, as is staleness */
    int64_t staleness;
    bool closed;       /* no partition of it is within the limits */
    double best_s;     /* of those simulated, as of all */
    int64_t simulated; /* of it */
};

struct sim_planning {
    struct sim_trial trial;
    struct sim_source source;
    struct sim_search *out;
    struct sim_family **families;
    int family_count;
    struct sim_boundaries **boundaries;
    int boundaries_count;
    struct sim_list *lists;
    int list_count;
    double best_s;  /* of a minibatch in the steady state; where time is wanted, of all of them on average */
    int64_t *turns; /* [stages]: plans simulated */
    int longer;     /* plans that were simulated once more, as their steady state takes long to come */
};

/* colocated, split or any: that of the pipeline where it names one, else the plan's. */
const char *sim_planning_placement(const struct sp_experiment *e);

/* Those that are filled and drained with the pipeline, where the time of the training is wanted; else INFINITY. */
double sim_planning_minibatches(const struct sp_experiment *e);

bool sim_planning_is_fast(const struct sp_experiment *e); /* speed is all that is wanted */

/* Lists everything the user leaves open: schedules, microbatches, placements, numbers of stages. */
sp_status sim_planning_list(struct sim_planning *search);
void sim_planning_close(struct sim_planning *search);

int sim_list_device_count(const struct sim_list *list);

/* Finds out what staleness and limits mean for the list, whose bound may then be larger. */
sp_status sim_list_open(struct sim_planning *search, struct sim_list *list);

/* No partition of it that is still to come takes less; INFINITY: none is. */
double sim_list_bound(const struct sim_list *list);

/* Which to look at first. Where as much as possible is to be known of plans that are fast enough, lists take turns;
 * equals on fewer devices come first. */
bool sim_list_is_before(const struct sim_planning *search, const struct sim_list *a, const struct sim_list *b);

/* The share of the weights that lies in stale stages. */
double sim_list_stale_fraction(const struct sim_list *list, const int *states);

/* Finds out how stale its stages are, unless that is known. */
sp_status sim_list_know_staleness(struct sim_planning *search, struct sim_list *list);

/* The list's problem minds memory, as far as its stages tell. */
sp_status sim_list_set_memory(struct sim_planning *search, struct sim_list *list);

/* A candidate of these cuts, and all that is known of it without simulation. The caller frees it. */
sp_status sim_list_weigh(struct sim_planning *search, struct sim_list *list, const int *states,
                         struct sim_candidate *c);
void sim_candidate_fini(struct sim_candidate *candidate);
bool sim_candidate_within_limits(const struct sp_experiment *e, const struct sim_candidate *c);

/* Simulates the candidate, which becomes the search's. */
sp_status sim_list_keep(struct sim_planning *search, struct sim_list *list, struct sim_candidate *c);

/* Plans that may be looked at, those that limits forbid too. */
enum { SIM_PLANNING_LOOKS = 1024 };

/* Of the plans that were looked at, none is within the limits: the leanest may be; else they are told. */
sp_status sim_planning_try_leanest(struct sim_planning *search);

#endif
