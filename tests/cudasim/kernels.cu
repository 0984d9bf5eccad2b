// kernels.cu - kernels for the tests of the stand-in.

#include "tests/cudasim/kernels.h"

__global__ static void add_kernel(float *sum, const float *a, const float *b, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count)
        sum[i] = a[i] + b[i];
}

// Writes one element too many.
__global__ static void overrun_kernel(float *x, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i <= count)
        x[i] = 1.0f;
}

// sums[block] = sum of its 256 elements, by a tree in shared memory.
__global__ static void sum_kernel(float *sums, const float *x, int count)
{
    __shared__ float part[256];
    int t = (int)threadIdx.x, i = (int)(blockIdx.x * 256) + t;
    part[t] = i < count ? x[i] : 0.0f;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (t < half)
            part[t] += part[t + half];
        __syncthreads();
    }
    if (t == 0)
        sums[blockIdx.x] = part[0];
}

// The same by shuffles: sums[warp] = sum of its 32 elements.
__global__ static void warp_sum_kernel(float *sums, const float *x)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float sum = x[i];
    for (int by = 16; by > 0; by /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, (unsigned)by);
    if (i % 32 == 0)
        sums[i / 32] = sum;
}

// Half of a block comes to a barrier that the other half does not see: they wait at another.
__global__ static void parted_kernel(float *x)
{
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncwarp();
    x[threadIdx.x] = 1.0f;
}

__global__ static void gather_kernel(float *out, struct addresses from, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count)
        out[i] = from.x[i % 2][i];
}

static cudaLaunchConfig_t cover(int count, int block, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)((count + block - 1) / block));
    config.blockDim = dim3((unsigned)block);
    config.stream = stream;
    return config;
}

extern "C" cudaError_t launch_add(float *sum, const float *a, const float *b, int count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, 128, stream);
    return cudaLaunchKernelEx(&config, add_kernel, sum, a, b, count);
}

extern "C" cudaError_t launch_overrun(float *x, int count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count + 1, 64, stream);
    return cudaLaunchKernelEx(&config, overrun_kernel, x, count);
}

extern "C" cudaError_t launch_sum(float *sums, const float *x, int count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, 256, stream);
    return cudaLaunchKernelEx(&config, sum_kernel, sums, x, count);
}

extern "C" cudaError_t launch_warp_sum(float *sums, const float *x, int count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, 64, stream);
    return cudaLaunchKernelEx(&config, warp_sum_kernel, sums, x);
}

extern "C" cudaError_t launch_parted(float *x, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(32, 32, stream);
    return cudaLaunchKernelEx(&config, parted_kernel, x);
}

extern "C" cudaError_t launch_gather(float *out, struct addresses from, int count, cudaStream_t stream)
{
    cudaLaunchConfig_t config = cover(count, 32, stream);
    return cudaLaunchKernelEx(&config, gather_kernel, out, from, count);
}
