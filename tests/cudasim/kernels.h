/*
 * kernels.h - launchers of the kernels for the tests of the stand-in.
 */
#ifndef CUDASIM_KERNELS_H
#define CUDASIM_KERNELS_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

struct addresses {
    const float *x[2];
};

cudaError_t launch_add(float *sum, const float *a, const float *b, int count, cudaStream_t stream);
cudaError_t launch_overrun(float *x, int count, cudaStream_t stream);                     /* writes x[count] */
cudaError_t launch_sum(float *sums, const float *x, int count, cudaStream_t stream);      /* of 256 each */
cudaError_t launch_warp_sum(float *sums, const float *x, int count, cudaStream_t stream); /* of 32; count % 64 = 0 */
cudaError_t launch_parted(float *x, cudaStream_t stream);                                 /* its threads never meet */
cudaError_t launch_gather(float *out, struct addresses from, int count, cudaStream_t stream); /* from.x[i % 2][i] */

#ifdef __cplusplus
}
#endif

#endif
