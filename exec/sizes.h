/*
 * sizes.h - memory plans of many plans of one network, by the backend's own sizes: models are compiled once.
 *
 * One thread at a time.
 */
#ifndef EXEC_SIZES_H
#define EXEC_SIZES_H

#include "common/memory.h"
#include "exec/backend.h"

struct exec_sizes;

/* For plans on devices of this process. `config` is taken over but for what it borrows, which must outlive *out. */
struct exec_sizes *exec_sizes_create(const struct exec_backend *backend, const struct exec_backend_config *config);
void exec_sizes_destroy(struct exec_sizes **sizes);

/* As exec_plan_memory (exec/trainer.h), of a plan of one phase. The network must outlive `sizes`, and be the same
 * each time. */
sp_status exec_sizes_plan(struct exec_sizes *sizes, const struct sp_plan *plan, struct sp_memory_plan **out,
                          struct sp_error *err);

#endif
