/*
 * kernels.h - the few operations that cuDNN and cuBLAS do not have. All float32 in C order; nothing is added up in an
 * order that depends on timing.
 */
#ifndef EXEC_CUDA_KERNELS_H
#define EXEC_CUDA_KERNELS_H

#include "exec/math/shortcut.h"

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One pass over a block of parameters: after, v <- step(before, v, g). */
struct exec_cuda_step {
    float lr, momentum, weight_decay;
    int nesterov;
};
cudaError_t exec_cuda_sgd(const float *before, float *after, float *velocity, const float *gradient, size_t count,
                          struct exec_cuda_step sgd, cudaStream_t stream);

/* sum += addend */
cudaError_t exec_cuda_accumulate(float *sum, const float *addend, size_t count, cudaStream_t stream);

/* y = x + shortcut(z); y may be x. And dz from dy. `count`: elements of what is written. */
cudaError_t exec_cuda_add(const float *x, const float *z, float *y, struct exec_shortcut shortcut, size_t count,
                          cudaStream_t stream);
cudaError_t exec_cuda_add_backward(const float *dy, float *dz, struct exec_shortcut shortcut, size_t count,
                                   cudaStream_t stream);

/* y = kept ? x / (1 - rate) : 0, kept written; and dx from dy. In place is allowed. */
struct exec_cuda_mask {
    float rate;
    uint64_t seed, sequence;
    uint32_t purpose;
};
cudaError_t exec_cuda_dropout(const float *x, float *y, unsigned char *kept, size_t count,
                              struct exec_cuda_mask dropout, cudaStream_t stream);
cudaError_t exec_cuda_dropout_backward(const float *dy, float *dx, const unsigned char *kept, size_t count, float rate,
                                       cudaStream_t stream);

/* From log-probabilities (N, C) and scores (N, C): the sum of losses, and the hits: samples whose first largest score
 * is the label's. Labels below 0 do not count. */
cudaError_t exec_cuda_loss(const float *log_p, const float *x, const int32_t *labels, int N, int C, float s,
                           double *loss_sum, int64_t *correct, cudaStream_t stream);
/* dx (N, C), by `samples` of the minibatch. */
cudaError_t exec_cuda_loss_backward(const float *log_p, const int32_t *labels, float *dx, int N, int C, float s,
                                    int samples, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
