#include "common/analysis.h"
#include "common/alloc.h"
#include "common/stage_program.h"

#include <stdlib.h>

/* Staleness of one stage in one phase, from its program alone: versions are those the instructions name. */
static void analyse_stage(const struct sp_plan *plan, const struct sp_phase *phase, int stage,
                          struct sp_stage_analysis *out)
{
    struct sp_stage_program program;
    sp_stage_program_init(&program, phase, plan->stage_count, stage, 0);
    int64_t ring = program.read_count, limit = 4 * ring + 4 * phase->microbatches + 4;
    int64_t *read = sp_calloc((size_t)ring, sizeof *read);
    int64_t oldest_forward = INT64_MAX, oldest_backward = INT64_MAX; /* read for the minibatch under way */
    out->versions = 1;
    struct sp_program_step step;
    while (program.k < 2 * limit && sp_stage_program_peek(&program, &step)) {
        sp_stage_program_advance(&program);
        int64_t flying = program.forwards - program.backwards;
        if (step.kind == SP_INSTR_FORWARD) {
            read[step.q % ring] = step.version;
            out->in_flight = flying > out->in_flight ? flying : out->in_flight;
        } else if (step.kind == SP_INSTR_BACKWARD) {
            oldest_forward = read[step.q % ring] < oldest_forward ? read[step.q % ring] : oldest_forward;
            oldest_backward = step.version < oldest_backward ? step.version : oldest_backward;
        } else {
            int64_t applied = step.version - 1;
            if (applied - oldest_forward > out->forward_staleness)
                out->forward_staleness = applied - oldest_forward;
            if (applied - oldest_backward > out->backward_staleness)
                out->backward_staleness = applied - oldest_backward;
            if (step.version - step.oldest + 1 > out->versions)
                out->versions = step.version - step.oldest + 1;
            oldest_forward = oldest_backward = INT64_MAX;
        }
    }
    free(read);
    sp_stage_program_fini(&program);
}

static double stale_fraction(const struct sp_plan *plan, const struct sp_analysis *analysis)
{
    double largest = 0;
    for (int p = 0; p < plan->phase_count; p++) {
        double stale = 0, all = 0;
        for (int i = 0; i < plan->stage_count; i++) {
            all += (double)plan->stages[i].parameters;
            if (analysis->stages[p * plan->stage_count + i].forward_staleness > 0)
                stale += (double)plan->stages[i].parameters;
        }
        if (all > 0 && stale / all > largest)
            largest = stale / all;
    }
    return largest;
}

/* Follows a device's instructions into the steady state of every phase. */
static void analyse_device(const struct sp_plan *plan, const struct sp_memory_plan *memory, int device,
                           struct sp_analysis *out)
{
    struct sp_live live;
    if (memory != NULL)
        sp_live_init(&live, memory, device);
    struct sp_cursor *cursor = sp_cursor_create(plan, device);
    struct sp_instr instr;
    int64_t limit = 8 * (int64_t)plan->stage_count + 64;
    while (sp_cursor_next(cursor, &instr)) {
        if (plan->phase_count == 1 && !instr.evaluate && instr.minibatch > limit)
            break;
        out->instructions[device]++;
        if (memory != NULL) {
            sp_live_begin(&live, &instr);
            sp_live_end(&live, &instr);
        }
    }
    sp_cursor_destroy(&cursor);
    for (int k = 0; memory != NULL && k < SP_MEMORY_KIND_COUNT; k++)
        out->live_peak[device][k] = live.peak[k];
    out->live_peak_total[device] = memory != NULL ? live.peak_total : 0;
    if (memory != NULL)
        sp_live_fini(&live);
}

sp_status sp_analysis_create(const struct sp_plan *plan, const struct sp_memory_plan *memory, struct sp_analysis **out,
                             struct sp_error *err)
{
    (void)err;
    struct sp_analysis *analysis = sp_calloc(1, sizeof *analysis);
    analysis->phase_count = plan->phase_count;
    analysis->stage_count = plan->stage_count;
    analysis->device_count = plan->device_count;
    size_t devices = (size_t)plan->device_count;
    analysis->stages = sp_calloc((size_t)plan->phase_count * (size_t)plan->stage_count, sizeof *analysis->stages);
    analysis->instructions = sp_calloc(devices, sizeof *analysis->instructions);
    analysis->live_peak = sp_calloc(devices, sizeof *analysis->live_peak);
    analysis->live_peak_total = sp_calloc(devices, sizeof *analysis->live_peak_total);
    for (int p = 0; p < plan->phase_count; p++)
        for (int i = 0; i < plan->stage_count; i++)
            analyse_stage(plan, &plan->phases[p], i, &analysis->stages[p * plan->stage_count + i]);
    analysis->stale_weight_fraction = stale_fraction(plan, analysis);
    for (int d = 0; d < plan->device_count; d++)
        analyse_device(plan, memory, d, analysis);
    *out = analysis;
    return SP_OK;
}

void sp_analysis_destroy(struct sp_analysis **analysis)
{
    if (*analysis == NULL)
        return;
    free((*analysis)->stages);
    free((*analysis)->instructions);
    free((*analysis)->live_peak);
    free((*analysis)->live_peak_total);
    free(*analysis);
    *analysis = NULL;
}
