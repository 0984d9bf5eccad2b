/* kinds.h - the rows of the table of cost sources, and what they share. */
#ifndef SIM_COST_KINDS_H
#define SIM_COST_KINDS_H

#include "sim/cost.h"
#include "sim/device.h"

/* `known` is the device, or of the last the profile. */
sp_status sim_cost_analytic(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                            const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);
sp_status sim_cost_table(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                         const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);

sp_status sim_cost_import(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);

sp_status sim_cost_profile(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                           const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);

sp_status sim_cost_profile_least(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                                 const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);

sp_status sim_cost_profile_open(const struct sp_experiment *experiment, void **known, struct sp_error *err);
void sim_cost_profile_close(void *known);

/* Adds a bus, on which messages follow each other; returns its number. */
int sim_cost_add_bus(struct sim_cost *cost, const char *name);

/* Adds a link whose messages share it max-min; returns its number. */
int sim_cost_add_link(struct sim_cost *cost, const char *name, double bytes_per_s);

/* The links and routes of a device whose links are fair; sizes of messages are the plan's. */
void sim_cost_add_fair_links(const struct sim_device *device, const struct sp_plan *plan, struct sim_cost *out);

#endif
