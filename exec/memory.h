/* memory.h - the blocks of a memory plan, taken from a backend: one per device and kind. */
#ifndef EXEC_MEMORY_H
#define EXEC_MEMORY_H

#include "exec/backend.h"

struct exec_memory {
    const struct exec_backend *backend; /* borrowed, as all here */
    void *context;
    int device_count;
    void *(*blocks)[SP_MEMORY_KIND_COUNT];   /* [device]; NULL where the plan has no bytes */
    size_t (*counted)[SP_MEMORY_KIND_COUNT]; /* [device]: bytes really taken */
};

/* On failure nothing stays taken. */
sp_status exec_memory_init(struct exec_memory *memory, const struct exec_backend *backend, void *context,
                           const struct sp_memory_plan *plan, struct sp_error *err);
void exec_memory_fini(struct exec_memory *memory);

#endif
