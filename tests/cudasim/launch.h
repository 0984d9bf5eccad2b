/*
 * launch.h - between kernel.h, which is C++, and kernel.c.
 */
#ifndef CUDASIM_LAUNCH_H
#define CUDASIM_LAUNCH_H

#include <cuda_runtime_api.h>

struct cudasim_op;

#ifdef __cplusplus
extern "C" {
#endif

/* Of the thread of a kernel that runs, under CUDA's names. */
extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;
void cudasim_barrier(int whole_block);                    /* else of the warp */
unsigned cudasim_exchange(unsigned value, int from_lane); /* of the warp; what that lane has given */
int cudasim_lane(void);

/* A launch: `bytes` at `argument` are copied to *copied, which `call` gets for each thread of the grid. */
struct cudasim_op *cudasim_launch_begin(const cudaLaunchConfig_t *config, const char *kernel, void (*call)(void *),
                                        const void *argument, size_t bytes, void **copied);
/* What an argument is: a pointer to what is only read, one to what may be written, or something that may hold some. */
enum cudasim_argument { CUDASIM_INPUT, CUDASIM_OUTPUT, CUDASIM_HOLDS_POINTERS };
/* Translates the pointers in an argument. */
void cudasim_launch_pointers(struct cudasim_op *op, void *argument, size_t bytes, enum cudasim_argument kind,
                             int number);
cudaError_t cudasim_launch_end(struct cudasim_op *op);

#ifdef __cplusplus
}
#endif

#endif
