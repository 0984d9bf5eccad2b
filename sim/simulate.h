/*
 * simulate.h - runs a plan on a virtual clock.
 *
 * Discrete events in order of (time, insertion number), or, where devices share nothing, each device at a time of its
 * own: repeatable to the last bit, with noise too. Devices do one instruction at a time, and slow each other where the
 * cost says so; messages travel beside them on links, which may share a bus, one after the other, or be shared fairly.
 */
#ifndef SIM_SIMULATE_H
#define SIM_SIMULATE_H

#include "common/engine.h"
#include "common/summary.h"
#include "common/trace.h"
#include "sim/cost.h"
#include "sim/noise.h"

struct sim_config {
    int64_t spans_per_lane; /* kept in the trace */
    bool whole;             /* every minibatch is simulated; else a steady state is jumped over, with the same result */
    bool noisy; /* durations vary as the cost says: no state comes again, and every minibatch is simulated */
    struct sim_noise_key noise; /* which of the many runs */
};

struct sim_result {
    double time_s;  /* when the last instruction ends */
    int64_t events; /* times that a device rested, and messages that set off or were transferred over fair links */
    int64_t instructions;
    int64_t jumped; /* minibatches that were not simulated one by one; events and instructions count them */
    int64_t period; /* minibatches after which the last state that was jumped from comes again; 0: none was */
    double period_s;
    struct sp_trace *trace;
};

/* Simulates `plan` to its end. Memory does not depend on how many minibatches there are. */
sp_status sim_run(const struct sp_plan *plan, const struct sim_cost *cost, const struct sim_config *config,
                  struct sim_result *result, struct sp_error *err);
void sim_result_fini(struct sim_result *result);

extern const struct sp_engine sim_engine;

#endif
