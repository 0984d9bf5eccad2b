// kernels.cu - one thread an element, and one block where all must be added up. The formulas stand in exec/math.

#include "exec/cuda/kernels.h"

#include "common/philox.h"
#include "exec/math/dropout.h"
#include "exec/math/loss.h"
#include "exec/math/sgd.h"

enum { BLOCK = 256, LOSS_BLOCK = 64 };

__device__ static inline size_t element()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

__global__ static void sgd_kernel(const float *before, float *after, float *velocity, const float *gradient,
                                  size_t count, struct exec_cuda_step sgd)
{
    size_t i = element();
    if (i < count)
        after[i] = exec_sgd_one(before[i], &velocity[i], gradient[i], sgd.lr, sgd.momentum, sgd.weight_decay,
                                sgd.nesterov);
}

__global__ static void accumulate_kernel(float *sum, const float *addend, size_t count)
{
    size_t i = element();
    if (i < count)
        sum[i] += addend[i];
}

__global__ static void add_kernel(const float *x, const float *z, float *y, struct exec_shortcut shortcut, size_t count)
{
    size_t i = element();
    if (i >= count)
        return;
    long long from = exec_shortcut_from(shortcut, (long long)i);
    y[i] = x[i] + (from >= 0 ? z[from] : 0.0f);
}

__global__ static void add_backward_kernel(const float *dy, float *dz, struct exec_shortcut shortcut, size_t count)
{
    size_t i = element();
    if (i >= count)
        return;
    long long to = exec_shortcut_to(shortcut, (long long)i);
    dz[i] = to >= 0 ? dy[to] : 0.0f;
}

__global__ static void dropout_kernel(const float *x, float *y, unsigned char *kept, size_t count,
                                      struct exec_cuda_mask dropout)
{
    size_t i = element();
    if (i >= count)
        return;
    uint32_t words[4];
    sp_philox_block(dropout.seed, dropout.purpose, dropout.sequence, (uint32_t)(i / 4), words);
    int keeps = exec_dropout_keeps(words[i % 4], dropout.rate);
    kept[i] = (unsigned char)keeps;
    y[i] = keeps ? x[i] * (1 / (1 - dropout.rate)) : 0.0f;
}

__global__ static void dropout_backward_kernel(const float *dy, float *dx, const unsigned char *kept, size_t count,
                                               float rate)
{
    size_t i = element();
    if (i < count)
        dx[i] = kept[i] ? dy[i] * (1 / (1 - rate)) : 0.0f;
}

// The loss and whether the first largest score is the label's, of one sample.
__device__ static inline double sample_loss(const float *log_p, const float *x, int32_t label, int C, float s, int *hit)
{
    int best = 0;
    double all = 0;
    for (int c = 1; c < C; c++)
        best = x[c] > x[best] ? c : best;
    for (int c = 0; s > 0 && c < C; c++)
        all += (double)log_p[c];
    *hit = best == label;
    return exec_loss_one((double)log_p[label], all, (double)s, C);
}

// One block: thread t adds up samples t, t + LOSS_BLOCK, ..., then a tree.
__global__ static void loss_kernel(const float *log_p, const float *x, const int32_t *labels, int N, int C, float s,
                                   double *loss_sum, int64_t *correct)
{
    __shared__ double losses[LOSS_BLOCK];
    __shared__ int hits[LOSS_BLOCK];
    int t = (int)threadIdx.x, hit = 0;
    losses[t] = 0;
    hits[t] = 0;
    for (int n = t; n < N; n += LOSS_BLOCK) {
        if (labels[n] < 0)
            continue;
        losses[t] += sample_loss(log_p + (size_t)n * C, x + (size_t)n * C, labels[n], C, s, &hit);
        hits[t] += hit;
    }
    __syncthreads();
    for (int half = LOSS_BLOCK / 2; half > 0; half /= 2) {
        if (t < half) {
            losses[t] += losses[t + half];
            hits[t] += hits[t + half];
        }
        __syncthreads();
    }
    if (t == 0) {
        *loss_sum = losses[0];
        *correct = hits[0];
    }
}

__global__ static void loss_backward_kernel(const float *log_p, const int32_t *labels, float *dx, int N, int C, float s,
                                            int samples)
{
    size_t i = element();
    if (i >= (size_t)N * C)
        return;
    int32_t label = labels[i / C];
    int c = (int)(i % C);
    dx[i] = label < 0 ? 0.0f : exec_loss_gradient(expf(log_p[i]), label == c, s, C, samples);
}

static cudaLaunchConfig_t cover(size_t count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)((count + BLOCK - 1) / BLOCK));
    config.blockDim = dim3(BLOCK);
    config.stream = stream;
    return config;
}

extern "C" cudaError_t exec_cuda_sgd(const float *before, float *after, float *velocity, const float *gradient,
                                     size_t count, struct exec_cuda_step sgd, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, stream);
    return cudaLaunchKernelEx(&config, sgd_kernel, before, after, velocity, gradient, count, sgd);
}

extern "C" cudaError_t exec_cuda_accumulate(float *sum, const float *addend, size_t count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, stream);
    return cudaLaunchKernelEx(&config, accumulate_kernel, sum, addend, count);
}

extern "C" cudaError_t exec_cuda_add(const float *x, const float *z, float *y, struct exec_shortcut shortcut,
                                     size_t count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, stream);
    return cudaLaunchKernelEx(&config, add_kernel, x, z, y, shortcut, count);
}

extern "C" cudaError_t exec_cuda_add_backward(const float *dy, float *dz, struct exec_shortcut shortcut, size_t count,
                                              cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, stream);
    return cudaLaunchKernelEx(&config, add_backward_kernel, dy, dz, shortcut, count);
}

extern "C" cudaError_t exec_cuda_dropout(const float *x, float *y, unsigned char *kept, size_t count,
                                         struct exec_cuda_mask dropout, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, stream);
    return cudaLaunchKernelEx(&config, dropout_kernel, x, y, kept, count, dropout);
}

extern "C" cudaError_t exec_cuda_dropout_backward(const float *dy, float *dx, const unsigned char *kept, size_t count,
                                                  float rate, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, stream);
    return cudaLaunchKernelEx(&config, dropout_backward_kernel, dy, dx, kept, count, rate);
}

extern "C" cudaError_t exec_cuda_loss(const float *log_p, const float *x, const int32_t *labels, int N, int C, float s,
                                      double *loss_sum, int64_t *correct, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(1, stream);
    config.blockDim = dim3(LOSS_BLOCK);
    return cudaLaunchKernelEx(&config, loss_kernel, log_p, x, labels, N, C, s, loss_sum, correct);
}

extern "C" cudaError_t exec_cuda_loss_backward(const float *log_p, const int32_t *labels, float *dx, int N, int C,
                                               float s, int samples, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover((size_t)N * C, stream);
    return cudaLaunchKernelEx(&config, loss_backward_kernel, log_p, labels, dx, N, C, s, samples);
}
