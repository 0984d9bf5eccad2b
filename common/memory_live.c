/*
 * What of a device's memory is alive now, and the most that ever was.
 */
#include "common/memory_stage.h"
#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

static bool has_two_devices(const struct sp_stage *stage)
{
    return stage->forward_device != stage->backward_device;
}

static void note_peak(struct sp_live *live)
{
    size_t total = 0;
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
        live->peak[k] = larger(live->peak[k], live->now[k]);
        total += live->now[k];
    }
    live->peak_total = larger(live->peak_total, total);
}

void sp_live_init(struct sp_live *live, const struct sp_memory_plan *memory, int device)
{
    const struct sp_plan *plan = memory->plan;
    *live = (struct sp_live){.memory = memory, .device = device};
    live->versions = sp_calloc((size_t)plan->stage_count, sizeof *live->versions);
    memcpy(live->now, memory->bytes[device], sizeof live->now);
    for (int i = 0; i < plan->stage_count; i++) {
        const struct sp_stage *stage = &plan->stages[i];
        live->versions[i] = 1;
        if (stage->backward_device == device)
            live->now[SP_MEMORY_VERSIONS] -= (size_t)(plan->versions[i] - 1) * memory->parameters[i].block_bytes;
        if (has_two_devices(stage) || stage->forward_device != device)
            continue;
        size_t slot = 0;
        for (int p = 0; p < plan->phase_count; p++)
            slot = larger(slot, memory->stages[p * plan->stage_count + i].slot_bytes);
        live->now[SP_MEMORY_ACTIVATIONS] -= (size_t)plan->in_flight[i] * slot;
        live->now[SP_MEMORY_BOUNDARY] -= memory->arrival_base[i];
    }
    note_peak(live);
}

void sp_live_fini(struct sp_live *live)
{
    free(live->versions);
    live->versions = NULL;
}

void sp_live_begin(struct sp_live *live, const struct sp_instr *instr)
{
    const struct sp_plan *plan = live->memory->plan;
    const struct sp_stage_memory *stage = &live->memory->stages[instr->phase * plan->stage_count + instr->stage];
    if (instr->kind == SP_INSTR_FORWARD && !instr->evaluate && !has_two_devices(&plan->stages[instr->stage])) {
        live->now[SP_MEMORY_ACTIVATIONS] += stage->slot_bytes;
        live->now[SP_MEMORY_BOUNDARY] += stage->boundary_bytes;
    } else if (instr->kind == SP_INSTR_UPDATE) {
        int64_t alive = instr->version - instr->oldest + 1;
        size_t block = live->memory->parameters[instr->stage].block_bytes;
        live->now[SP_MEMORY_VERSIONS] += (size_t)(alive - 1) * block;
        live->now[SP_MEMORY_VERSIONS] -= (size_t)(live->versions[instr->stage] - 1) * block;
        live->versions[instr->stage] = alive;
    } else {
        return;
    }
    note_peak(live);
}

void sp_live_end(struct sp_live *live, const struct sp_instr *instr)
{
    const struct sp_plan *plan = live->memory->plan;
    const struct sp_stage_memory *stage = &live->memory->stages[instr->phase * plan->stage_count + instr->stage];
    if (instr->kind != SP_INSTR_BACKWARD || has_two_devices(&plan->stages[instr->stage]))
        return;
    live->now[SP_MEMORY_ACTIVATIONS] -= stage->slot_bytes;
    live->now[SP_MEMORY_BOUNDARY] -= stage->boundary_bytes;
}
