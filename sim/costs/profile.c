/*
 * Seconds measured on this machine (sim/profile_file.h). A stage takes the sum of its groups; a microbatch of a size
 * that was measured takes what was measured, of another size what a line through the measured sizes gives (GSL). Where
 * devices work side by side, the sum is corrected by how they slowed each other.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/costs/kinds.h"
#include "sim/device.h"
#include "sim/profile_file.h"

#include <gsl/gsl_fit.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static sp_status check(const struct sp_experiment *e, const struct sp_plan *plan, const struct sim_profile *profile,
                       struct sp_error *err)
{
    struct sim_profile here = {0};
    struct sp_mark mark = sp_experiment_mark(e, "cost.file");
    sp_status status = SP_OK;
    sim_profile_machine(&here);
    if (strcmp(profile->network, plan->network->name) != 0)
        status = sp_reject(err, mark, "cost.file: \"%s\" measured %s, not %s", e->cost.file, profile->network,
                           plan->network->name);
    if (!e->cost.force && (strcmp(here.cpu, profile->cpu) != 0 || here.cores != profile->cores))
        status = sp_reject(err, mark,
                           "cost.file: \"%s\" was measured on %s with %d cores, this is %s with %d; cost.force: true "
                           "uses it all the same",
                           e->cost.file, profile->cpu, profile->cores, here.cpu, here.cores);
    if (!e->cost.force &&
        (strcmp(profile->backend, e->devices.backend) != 0 || profile->threads != e->devices.threads ||
         strcmp(profile->convolution, e->devices.convolution) != 0))
        status =
            sp_reject(err, mark,
                      "cost.file: \"%s\" was measured with backend %s, %d threads, convolution %s; the experiment has "
                      "%s, %d, %s; cost.force: true uses it all the same",
                      e->cost.file, profile->backend, profile->threads, profile->convolution, e->devices.backend,
                      e->devices.threads, e->devices.convolution);
    sim_profile_fini(&here);
    return status;
}

/* A group's times at `batch` samples: as measured, or on the line. */
static sp_status group_cost(const struct sp_experiment *e, const struct sim_profile *profile, int group, int batch,
                            struct sim_cost *out, struct sim_profile_entry *cost, struct sp_error *err)
{
    enum { SIZES = 64 };
    double x[SIZES], y[3][SIZES];
    int n = 0, least = 0, most = 0;
    for (int i = 0; i < profile->count && n < SIZES; i++) {
        const struct sim_profile_entry *entry = &profile->entries[i];
        if (entry->group != group)
            continue;
        if (entry->batch == batch) {
            *cost = *entry;
            return SP_OK;
        }
        least = n == 0 || entry->batch < least ? entry->batch : least;
        most = entry->batch > most ? entry->batch : most;
        x[n] = entry->batch;
        y[0][n] = entry->forward_s;
        y[1][n] = entry->backward_s;
        y[2][n++] = entry->update_s;
    }
    if (n < 2)
        return sp_reject(err, sp_experiment_mark(e, "cost.file"),
                         "cost.file: \"%s\" has %s of layer %d, so %d samples cannot be told from it", e->cost.file,
                         n == 0 ? "nothing" : "a single size", group, batch);
    double *values[] = {&cost->forward_s, &cost->backward_s, &cost->update_s};
    for (int k = 0; k < 3; k++) {
        double constant, slope, c00, c01, c11, residual;
        gsl_fit_linear(x, 1, y[k], 1, (size_t)n, &constant, &slope, &c00, &c01, &c11, &residual);
        *values[k] = fmax(0, constant + slope * batch);
    }
    if (batch < least || batch > most)
        sim_cost_note(out, SIM_NOTE_EXTRAPOLATED,
                      "microbatches of %d samples are outside of what was measured (%d to %d): times are extrapolated "
                      "along a line",
                      batch, least, most);
    return SP_OK;
}

sp_status sim_cost_profile(const struct sp_experiment *e, const struct sp_plan *plan,
                           const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    (void)memory;
    struct sim_profile profile;
    if (e->cost.file == NULL)
        return sp_reject(err, sp_experiment_mark(e, "cost.model"),
                         "cost.model: profile needs cost.file, which `stalepipe profile` writes");
    SP_TRY(sim_profile_read(e->cost.file, sp_experiment_mark(e, "cost.file"), &profile, err));
    sp_status status = check(e, plan, &profile, err);
    bool together = plan->device_count > 1;
    for (int p = 0; p < plan->phase_count && status == SP_OK; p++)
        for (int i = 0; i < plan->stage_count && status == SP_OK; i++) {
            struct sim_stage_cost *cost = &out->stages[p * plan->stage_count + i];
            const struct sp_stage *stage = &plan->stages[i];
            /* Sequential phases have one device working at a time. */
            bool slowed = together && strcmp(plan->phases[p].schedule->name, "sequential") != 0;
            for (int g = stage->first_weight_layer; g <= stage->last_weight_layer && status == SP_OK; g++) {
                struct sim_profile_entry group = {0};
                status = group_cost(e, &profile, g, sp_plan_microbatch_size(plan, p), out, &group, err);
                cost->forward_s += group.forward_s;
                cost->backward_s += group.backward_s;
                cost->update_s += group.update_s;
            }
            cost->forward_s *= slowed ? profile.contention_forward : 1;
            cost->backward_s *= slowed ? profile.contention_backward : 1;
            cost->evaluate_s = cost->forward_s;
        }
    if (status == SP_OK && plan->device_count > profile.cores)
        sim_cost_note(out, SIM_NOTE_OTHER,
                      "%d devices on %d cores: they share cores, which the simulation does not know",
                      plan->device_count, profile.cores);
    sim_profile_fini(&profile);
    return status;
}
