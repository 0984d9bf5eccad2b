/*
 * nccl_reduce.h - what NCCL's reductions come to.
 */
#ifndef CUDASIM_NCCL_REDUCE_H
#define CUDASIM_NCCL_REDUCE_H

#include <nccl.h>
#include <stddef.h>

/* Of `count` values of float32, float64, int32 or int64 of each rank, in the order of ranks, so that the result is the
 * same on all. */
void cudasim_reduce(void *to, size_t count, ncclDataType_t type, ncclRedOp_t reduction, const char *const *parts,
                    int ranks);

#endif
