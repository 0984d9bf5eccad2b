/* memory.c - takes and returns the blocks of a memory plan. */
#include "exec/memory.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <sys/mman.h>

static bool is_here(const struct exec_memory *memory, int device)
{
    return device >= memory->first_device && device < memory->device_end;
}

static sp_status check_room(const struct exec_memory *memory, struct sp_error *err)
{
    int devices = memory->plan->plan->device_count;
    if (memory->backend->reserve == NULL)
        return SP_OK;
    size_t *bytes = sp_calloc((size_t)devices, sizeof *bytes);
    for (int d = memory->first_device; d < memory->device_end; d++)
        bytes[d] = sp_memory_device_bytes(memory->plan, d);
    sp_status status = memory->backend->reserve(memory->context, bytes, err);
    free(bytes);
    return status;
}

/* A block; NULL where it could not be had. */
static sp_status take(struct exec_memory *memory, int d, int k, struct sp_error *err)
{
    size_t bytes = memory->plan->bytes[d][k];
    if (is_here(memory, d)) {
        sp_status status = memory->backend->allocate(memory->context, d, bytes, &memory->blocks[d][k], err);
        if (status != SP_OK)
            memory->blocks[d][k] = NULL;
        else
            memory->counted[d][k] = bytes;
        return status;
    }
    void *addresses = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses == MAP_FAILED)
        return SP_FAIL(err, SP_E_MEMORY, "no addresses for %zu bytes of device %d", bytes, d);
    memory->blocks[d][k] = addresses;
    return SP_OK;
}

sp_status exec_memory_init(struct exec_memory *memory, const struct exec_backend *backend, void *context,
                           const struct sp_memory_plan *plan, int first_device, int device_end, struct sp_error *err)
{
    int devices = plan->plan->device_count;
    *memory = (struct exec_memory){
        .backend = backend, .context = context, .plan = plan, .first_device = first_device, .device_end = device_end};
    memory->blocks = sp_calloc((size_t)devices, sizeof *memory->blocks);
    memory->counted = sp_calloc((size_t)devices, sizeof *memory->counted);
    sp_status status = check_room(memory, err);
    for (int d = 0; d < devices && status == SP_OK; d++)
        for (int k = 0; k < SP_MEMORY_KIND_COUNT && status == SP_OK; k++)
            if (plan->bytes[d][k] > 0)
                status = take(memory, d, k, err);
    if (status != SP_OK)
        exec_memory_fini(memory);
    return status;
}

void exec_memory_fini(struct exec_memory *memory)
{
    for (int d = 0; memory->blocks != NULL && d < memory->plan->plan->device_count; d++)
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
            if (memory->blocks[d][k] == NULL)
                continue;
            if (is_here(memory, d))
                memory->backend->release(memory->context, memory->blocks[d][k], memory->counted[d][k]);
            else
                munmap(memory->blocks[d][k], memory->plan->bytes[d][k]);
        }
    free(memory->blocks);
    free(memory->counted);
    *memory = (struct exec_memory){0};
}
