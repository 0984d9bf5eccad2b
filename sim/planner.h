/*
 * planner.h - which cuts, schedule, microbatches and placement are best for an experiment.
 *
 * Ways to cut come in the order of their bottlenecks (sim/partition.h), which bound what simulation can find. Those
 * within the limits are simulated, with their transfers, fill and drain, and ranked by the objective, until no other
 * can be better; where that takes too many, the search says so.
 */
#ifndef SIM_PLANNER_H
#define SIM_PLANNER_H

#include "common/experiment.h"
#include "common/memory.h"

struct sim_candidate {
    struct sp_network *network; /* layers in another order, where a graph is cut across the given one; NULL: as given */
    int *cuts, cut_count;
    const struct sp_schedule *schedule;
    int microbatches, device_count;
    bool split;          /* forward and backward of a stage on two devices */
    double estimate_s;   /* a minibatch takes no less, as is known before simulation */
    double bottleneck_s; /* a minibatch on its slowest device or link */
    double minibatch_s;  /* a minibatch in the steady state, simulated */
    double error;        /* of that, relative, about: 0 where the steady state came while it was simulated */
    double time_s;       /* the whole training that the experiment asks for */
    size_t peak_bytes;   /* of the fullest device */
    int64_t staleness;   /* forward, of the stalest stage, in updates */
    double stale_weight_fraction;
};

struct sim_search {
    struct sim_candidate *candidates; /* best first */
    int count;
    int64_t cuttings;    /* candidates looked at */
    int64_t simulated;   /* of them: those within the limits */
    double bound_s;      /* a minibatch of any other takes no less; INFINITY: there are no others. Where time is wanted,
                            on average over the whole training, ... */
    double bound_time_s; /* ... of which any other takes no less; else INFINITY */
    const char *doubt;   /* why another may be better all the same; NULL: the first is proven to be the best */
    bool prefixes_only;  /* the graph has too many boundaries: only prefixes of the order were searched */
};

/* How large a plan is on its devices. */
typedef sp_status (*sim_memory_function)(void *self, const struct sp_plan *plan, struct sp_memory_plan **out,
                                         struct sp_error *err);

/* All plans are weighed by it. What cannot be within a limit in plain float32 is never looked at; by other sizes it
 * might fit, so that the best is not proven. */
struct sim_memory_model {
    sim_memory_function plan;
    void *self;
    bool plain;
};

/* Searches by experiment->plan and devices.count. `network` is borrowed. SP_E_INPUT when nothing is within the limits;
 * the message says what the fastest needs, and the least that any does. Free with sim_search_fini, also after a
 * failure. */
sp_status sim_plan_search(const struct sp_experiment *experiment, const struct sp_network *network,
                          const struct sim_memory_model *memory, struct sim_search *out, struct sp_error *err);
void sim_search_fini(struct sim_search *search);

/* Writes a candidate's choice into the experiment: cuts, schedule, microbatches, placement, devices. */
void sim_candidate_apply(const struct sim_candidate *candidate, struct sp_experiment *experiment);

#endif
