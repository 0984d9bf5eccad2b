/*
 * repeat.h - the same plan simulated many times with other durations (sim/noise.h), on all cores.
 *
 * What comes out depends on the key and the count, not on which thread took which run.
 */
#ifndef SIM_REPEAT_H
#define SIM_REPEAT_H

#include "sim/simulate.h"

struct sim_sample {
    double time_s, evaluation_s; /* evaluation: part of the time */
    double utilization;          /* busy over elapsed, mean of devices */
};

/* Runs number key->repeat, key->repeat + 1 … into samples[0 .. count-1]. Every minibatch is simulated. */
sp_status sim_repeat(const struct sp_plan *plan, const struct sim_cost *cost, const struct sim_noise_key *key,
                     int count, struct sim_sample *samples, struct sp_error *err);

struct sim_interval {
    double low, median, high;
};

/* Where `share` of all runs lie, by the count values of some, which are sorted in place: a fresh one lies between low
 * and high with just that probability, from 2 / (1 - share) - 1 values on; of fewer these are the least and largest. */
struct sim_interval sim_interval_of(double *values, int count, double share);

#endif
