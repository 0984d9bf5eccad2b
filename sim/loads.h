/*
 * loads.h - how busy a minibatch keeps the resources of a plan's first phase: devices, buses, fair links.
 */
#ifndef SIM_LOADS_H
#define SIM_LOADS_H

#include "sim/cost.h"

/* Adds the seconds that a channel's message keeps each bus, and behind those each fair link. */
void sim_loads_of_channel(const struct sim_cost *cost, int channel, double *loads);

/* The same of both ways across the boundary behind a stage. */
void sim_loads_of_boundary(const struct sp_plan *plan, const struct sim_cost *cost, int stage, double *loads);

/* Seconds that a minibatch keeps the busiest resource. */
double sim_bottleneck_s(const struct sp_plan *plan, const struct sim_cost *cost);

#endif
