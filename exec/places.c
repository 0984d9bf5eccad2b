/*
 * Where things lie: places of the memory plan become addresses in the blocks that were taken by it.
 */
#include "exec/run.h"

void *exec_run_part(const struct exec_run *run, int stage, enum sp_memory_kind kind, bool backward)
{
    const struct sp_stage *planned = &run->plan->stages[stage];
    int device = backward ? planned->backward_device : planned->forward_device;
    const size_t *offsets = backward ? run->memory->backward_offset : run->memory->forward_offset;
    char *block = run->blocks.blocks[device][kind];
    return block == NULL ? NULL : block + offsets[stage * SP_MEMORY_KIND_COUNT + kind];
}

void *exec_run_backward_weights(const struct exec_run *run, int stage, int64_t version)
{
    int64_t n = version % run->plan->versions[stage];
    if (n == 0)
        return exec_run_part(run, stage, SP_MEMORY_WEIGHTS, true);
    char *versions = exec_run_part(run, stage, SP_MEMORY_VERSIONS, true);
    return versions + (size_t)(n - 1) * run->memory->parameters[stage].block_bytes;
}

void *exec_run_forward_weights(const struct exec_run *run, int stage, int64_t version)
{
    const struct sp_stage *planned = &run->plan->stages[stage];
    if (planned->forward_device == planned->backward_device)
        return exec_run_backward_weights(run, stage, version);
    if (version % 2 == 0)
        return exec_run_part(run, stage, SP_MEMORY_WEIGHTS, false);
    char *boundary = exec_run_part(run, stage, SP_MEMORY_BOUNDARY, false);
    return boundary + run->memory->arriving_base[stage];
}

void *exec_run_find(const struct exec_run *run, const struct sp_instr *instr, struct sp_place place, bool backward)
{
    const struct sp_memory_plan *plan = run->memory;
    int i = place.owner;
    const struct sp_stage_memory *memory = &plan->stages[instr->phase * run->plan->stage_count + i];
    struct sp_instr at = *instr;
    enum sp_region region = place.region;
    backward = backward && !run->plan->shared_memory;
    at.stage = i;
    if (region == SP_REGION_NONE)
        return NULL;
    if (region == SP_REGION_PEER)
        region = instr->evaluate ? SP_REGION_EVALUATE : SP_REGION_BOUNDARY;
    if (region == SP_REGION_SLOT)
        return (char *)exec_run_part(run, i, SP_MEMORY_ACTIVATIONS, backward) +
               (size_t)sp_plan_slot(run->plan, &at) * memory->slot_bytes + place.offset;
    char *boundary = exec_run_part(run, i, SP_MEMORY_BOUNDARY, backward);
    if (region == SP_REGION_BOUNDARY)
        return boundary + (size_t)sp_plan_slot(run->plan, &at) * memory->boundary_bytes + place.offset;
    if (region == SP_REGION_EVALUATE)
        return boundary + plan->evaluate_base[i] +
               (size_t)(instr->minibatch % plan->evaluate_ring[i]) * memory->evaluate_bytes + place.offset;
    SP_ASSERT(region == SP_REGION_ARRIVAL, "region %d has no address without a pass", (int)region);
    at.stage = i - 1;
    return boundary + plan->arrival_base[i] + (size_t)sp_plan_slot(run->plan, &at) * memory->arrival_bytes +
           place.offset;
}
