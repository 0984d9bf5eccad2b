/*
 * memory.h - the blocks of a memory plan, taken from a backend: one per device and kind.
 *
 * Blocks of devices that another process owns are addresses without memory: where things lie there can be said, and
 * nothing be touched.
 */
#ifndef EXEC_MEMORY_H
#define EXEC_MEMORY_H

#include "exec/backend.h"

struct exec_memory {
    const struct exec_backend *backend; /* borrowed, as all here */
    void *context;
    const struct sp_memory_plan *plan;
    int first_device, device_end;            /* that are here */
    void *(*blocks)[SP_MEMORY_KIND_COUNT];   /* [device]; NULL where the plan has no bytes */
    size_t (*counted)[SP_MEMORY_KIND_COUNT]; /* [device]: bytes really taken */
};

/* On failure nothing stays taken. */
sp_status exec_memory_init(struct exec_memory *memory, const struct exec_backend *backend, void *context,
                           const struct sp_memory_plan *plan, int first_device, int device_end, struct sp_error *err);
void exec_memory_fini(struct exec_memory *memory);

#endif
