/* memory.c - takes and returns the blocks of a memory plan. */
#include "exec/memory.h"

#include "common/alloc.h"

#include <stdlib.h>

static sp_status check_room(struct exec_memory *memory, const struct sp_memory_plan *plan, struct sp_error *err)
{
    if (memory->backend->reserve == NULL)
        return SP_OK;
    size_t *bytes = sp_calloc((size_t)memory->device_count, sizeof *bytes);
    for (int d = 0; d < memory->device_count; d++)
        bytes[d] = sp_memory_device_bytes(plan, d);
    sp_status status = memory->backend->reserve(memory->context, bytes, err);
    free(bytes);
    if (status != SP_OK)
        exec_memory_fini(memory);
    return status;
}

sp_status exec_memory_init(struct exec_memory *memory, const struct exec_backend *backend, void *context,
                           const struct sp_memory_plan *plan, struct sp_error *err)
{
    int devices = plan->plan->device_count;
    *memory = (struct exec_memory){.backend = backend, .context = context, .device_count = devices};
    memory->blocks = sp_calloc((size_t)devices, sizeof *memory->blocks);
    memory->counted = sp_calloc((size_t)devices, sizeof *memory->counted);
    SP_TRY(check_room(memory, plan, err));
    for (int d = 0; d < devices; d++)
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
            if (plan->bytes[d][k] == 0)
                continue;
            sp_status status = backend->allocate(context, d, plan->bytes[d][k], &memory->blocks[d][k], err);
            if (status != SP_OK) {
                memory->blocks[d][k] = NULL;
                exec_memory_fini(memory);
                return status;
            }
            memory->counted[d][k] = plan->bytes[d][k];
        }
    return SP_OK;
}

void exec_memory_fini(struct exec_memory *memory)
{
    for (int d = 0; d < memory->device_count; d++)
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
            if (memory->blocks[d][k])
                memory->backend->release(memory->context, memory->blocks[d][k], memory->counted[d][k]);
    free(memory->blocks);
    free(memory->counted);
    *memory = (struct exec_memory){0};
}
