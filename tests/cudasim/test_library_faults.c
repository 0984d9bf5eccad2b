/*
 * test_library_faults.c - mistakes with handles, shapes and workspaces of cuBLAS and cuDNN are reported.
 */
#include "tests/cudasim/cudasim.h"
#include "tests/cudasim/planted.h"

#include <cublas_v2.h>
#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ALGORITHM CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM

/* On device 0: x (2, 3, 8, 8), w (4, 3, 3, 3), y (2, 4, 8, 8) of a convolution with padding 1. */
static cudaStream_t stream, second;
static cudnnHandle_t cudnn, cudnn_of_second;
static cublasHandle_t cublas;
static cudnnTensorDescriptor_t x_shape, y_shape;
static cudnnFilterDescriptor_t w_shape;
static cudnnConvolutionDescriptor_t convolution;
static float *x, *w, *y, *y2;
static void *workspace;
static size_t workspace_bytes;
static const float one = 1, zero = 0;

static void must(int code)
{
    if (code != 0) {
        fprintf(stderr, "unexpected: %d\n", code);
        _exit(99);
    }
}

static float *filled(size_t count)
{
    float *memory;
    must(cudaMalloc((void **)&memory, count * sizeof(float)));
    must(cudaMemsetAsync(memory, 0, count * sizeof(float), stream));
    return memory;
}

static void set_up(void)
{
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    must(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    must(cudnnCreate(&cudnn));
    must(cudnnSetStream(cudnn, stream));
    must(cudnnCreate(&cudnn_of_second));
    must(cudnnSetStream(cudnn_of_second, second));
    must(cublasCreate(&cublas));
    must(cublasSetStream(cublas, stream));
    must(cudnnCreateTensorDescriptor(&x_shape));
    must(cudnnCreateTensorDescriptor(&y_shape));
    must(cudnnCreateFilterDescriptor(&w_shape));
    must(cudnnCreateConvolutionDescriptor(&convolution));
    must(cudnnSetTensor4dDescriptor(x_shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 2, 3, 8, 8));
    must(cudnnSetTensor4dDescriptor(y_shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 2, 4, 8, 8));
    must(cudnnSetFilter4dDescriptor(w_shape, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, 4, 3, 3, 3));
    must(cudnnSetConvolution2dDescriptor(convolution, 1, 1, 1, 1, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    x = filled(2 * 3 * 64);
    w = filled(4 * 3 * 9);
    y = filled(2 * 4 * 64);
    y2 = filled(2 * 4 * 64);
    must(cudnnGetConvolutionForwardWorkspaceSize(cudnn, x_shape, w_shape, convolution, y_shape, ALGORITHM,
                                                 &workspace_bytes));
    must(cudaMalloc(&workspace, workspace_bytes));
    must(cudaStreamSynchronize(stream));
}

static void tear_down(void)
{
    must(cudaDeviceSynchronize());
    must(cublasDestroy(cublas));
    must(cudnnDestroy(cudnn_of_second));
    must(cudnnDestroy(cudnn));
    must(cudnnDestroyTensorDescriptor(x_shape));
    must(cudnnDestroyTensorDescriptor(y_shape));
    must(cudnnDestroyFilterDescriptor(w_shape));
    must(cudnnDestroyConvolutionDescriptor(convolution));
    must(cudaFree(x));
    must(cudaFree(w));
    must(cudaFree(y));
    must(cudaFree(y2));
    must(cudaFree(workspace));
    must(cudaStreamDestroy(stream));
    must(cudaStreamDestroy(second));
}

static void convolve(cudnnHandle_t handle, float *to, size_t bytes)
{
    must(cudnnConvolutionForward(handle, &one, x_shape, x, w_shape, w, convolution, ALGORITHM, workspace, bytes, &zero,
                                 y_shape, to));
}

static void output_of_the_wrong_shape(void)
{
    must(cudnnSetTensor4dDescriptor(y_shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 2, 4, 7, 8));
    convolve(cudnn, y, workspace_bytes);
}

static void filter_for_other_channels(void)
{
    must(cudnnSetFilter4dDescriptor(w_shape, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, 4, 2, 3, 3));
    convolve(cudnn, y, workspace_bytes);
}

static void memory_smaller_than_its_shape(void)
{
    must(cudnnConvolutionForward(cudnn, &one, x_shape, x, w_shape, w, convolution, ALGORITHM, workspace,
                                 workspace_bytes, &zero, y_shape, w));
}

static void workspace_too_small(void)
{
    convolve(cudnn, y, workspace_bytes - 1);
}

static void workspace_larger_than_its_memory(void)
{
    convolve(cudnn, y, workspace_bytes + 1);
}

static void no_workspace(void)
{
    must(cudnnConvolutionForward(cudnn, &one, x_shape, x, w_shape, w, convolution, ALGORITHM, NULL, workspace_bytes,
                                 &zero, y_shape, y));
}

static void output_on_its_input(void)
{
    must(cudnnSetFilter4dDescriptor(w_shape, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, 3, 3, 3, 3));
    must(cudnnConvolutionForward(cudnn, &one, x_shape, x, w_shape, w, convolution,
                                 CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, NULL, 0, &zero, x_shape, x));
}

static void descriptor_of_doubles(void)
{
    must(cudnnSetTensor4dDescriptor(x_shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_DOUBLE, 2, 3, 8, 8));
    convolve(cudnn, y, workspace_bytes);
}

static void handle_of_another_device(void)
{
    must(cudaSetDevice(1));
    convolve(cudnn, y, workspace_bytes);
}

static void stream_of_another_device(void)
{
    cudaStream_t other;
    must(cudaSetDevice(1));
    must(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    must(cudaSetDevice(0));
    must(cudnnSetStream(cudnn, other));
}

static void handle_without_a_stream(void)
{
    cublasHandle_t fresh;
    must(cublasCreate(&fresh));
    must(cublasSscal(fresh, 1, &one, x, 1));
}

static void handle_used_after_its_end(void)
{
    must(cudnnDestroy(cudnn));
    convolve(cudnn, y, workspace_bytes);
}

static void handle_leaks(void)
{
    cublasHandle_t lost;
    must(cublasCreate(&lost));
    tear_down();
}

static void leading_dimension_too_small(void)
{
    must(cublasSgemm(cublas, CUBLAS_OP_N, CUBLAS_OP_N, 8, 4, 4, &one, x, 7, w, 4, &zero, y, 8));
}

static void matrix_beyond_its_memory(void)
{
    must(cublasSgemm(cublas, CUBLAS_OP_N, CUBLAS_OP_N, 8, 64, 8, &one, w, 8, x, 8, &zero, w, 8));
}

static void batch_norm_of_other_channels(void)
{
    must(cudnnBatchNormalizationForwardTraining(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, x_shape, x, x_shape, y,
                                                y_shape, w, w, 0.1, NULL, NULL, 1e-5, NULL, NULL));
}

/* Both convolutions use the workspace at once; each is right by itself. */
static void workspace_shared_by_streams(void)
{
    convolve(cudnn, y, workspace_bytes);
    convolve(cudnn_of_second, y2, workspace_bytes);
    tear_down();
}

static void input_written_too_early(void)
{
    convolve(cudnn, y, workspace_bytes);
    must(cudaMemsetAsync(x, 0, 64, second));
    tear_down();
}

static void multiply(void)
{
    must(cublasSgemm(cublas, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 2, &one, x, 2, w, 2, &zero, y, 2));
}

static void product_captured_without_a_workspace(void)
{
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    multiply();
}

static void handle_made_in_a_capture(void)
{
    cublasHandle_t fresh;
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    must(cublasCreate(&fresh));
}

/* Each replay of both graphs uses the workspace. */
static void replay(int ordered)
{
    cudaEvent_t done;
    cudaGraph_t graph[2];
    cudaGraphExec_t both[2];
    cudaStream_t lane[2] = {stream, second};
    must(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    for (int i = 0; i < 2; i++) {
        must(cudaStreamBeginCapture(lane[i], cudaStreamCaptureModeThreadLocal));
        convolve(i == 0 ? cudnn : cudnn_of_second, i == 0 ? y : y2, workspace_bytes);
        must(cudaStreamEndCapture(lane[i], &graph[i]));
        must(cudaGraphInstantiate(&both[i], graph[i], 0));
        must(cudaGraphDestroy(graph[i]));
    }
    must(cudaGraphLaunch(both[0], stream));
    must(cudaEventRecord(done, stream));
    if (ordered)
        must(cudaStreamWaitEvent(second, done, 0));
    must(cudaGraphLaunch(both[1], second));
    must(cudaDeviceSynchronize());
    must(cudaEventDestroy(done));
    for (int i = 0; i < 2; i++)
        must(cudaGraphExecDestroy(both[i]));
    tear_down();
}

static void graphs_share_a_workspace(void)
{
    replay(0);
}

static void sound_graphs(void)
{
    must(cublasSetWorkspace(cublas, workspace, workspace_bytes));
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    multiply();
    cudaGraph_t product;
    must(cudaStreamEndCapture(stream, &product));
    must(cudaGraphDestroy(product));
    replay(1);
}

static void sound_convolutions(void)
{
    cudaEvent_t done;
    must(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    convolve(cudnn, y, workspace_bytes);
    must(cudaEventRecord(done, stream));
    must(cudaStreamWaitEvent(second, done, 0));
    convolve(cudnn_of_second, y2, workspace_bytes);
    must(cudaEventDestroy(done));
    tear_down();
}

static const struct planted planted[] = {
    PLANT(output_of_the_wrong_shape, FAULT, "cudnnConvolutionForward: y is 2x4x7x8, but must be 2x4x8x8"),
    PLANT(filter_for_other_channels, FAULT, "cudnnConvolutionForward: x has 3 channels, w is for 2"),
    PLANT(memory_smaller_than_its_shape, FAULT, "cudnnConvolutionForward: y: bytes 0 to 2048", "which has 432 bytes"),
    PLANT(workspace_too_small, FAULT, "cudnnConvolutionForward: the workspace has", "are needed"),
    PLANT(workspace_larger_than_its_memory, FAULT, "cudnnConvolutionForward: workspace: bytes 0 to"),
    PLANT(no_workspace, FAULT, "cudnnConvolutionForward: workspace: NULL"),
    PLANT(output_on_its_input, FAULT, "cudnnConvolutionForward: an output", "overlaps another argument"),
    PLANT(descriptor_of_doubles, FAULT, "cudnnConvolutionForward: x: not a descriptor of a float tensor"),
    PLANT(handle_of_another_device, FAULT, "cudnnConvolutionForward: a cuDNN handle of device 0, but device 1"),
    PLANT(stream_of_another_device, FAULT, "cudnnSetStream: stream", "belongs to device 1"),
    PLANT(handle_without_a_stream, FAULT, "cublasSscal: the NULL stream"),
    PLANT(handle_used_after_its_end, FAULT, "cudnnConvolutionForward:", "is not a handle, or no longer"),
    PLANT(handle_leaks, LEAK, "leak: cuBLAS handle of device 0"),
    PLANT(leading_dimension_too_small, FAULT, "cublasSgemm: A: 8 x 4 with leading dimension 7"),
    PLANT(matrix_beyond_its_memory, FAULT, "cublasSgemm: B: bytes 0 to 2048", "which has 1536 bytes"),
    PLANT(batch_norm_of_other_channels, FAULT, "cudnnBatchNormalizationForwardTraining: the parameters' descriptor is"),
    PLANT(workspace_shared_by_streams, RACE, "cudnnConvolutionForward"),
    PLANT(input_written_too_early, RACE, "cudaMemsetAsync"),
    PLANT(product_captured_without_a_workspace, FAULT, "cublasSgemm: captured without a workspace"),
    PLANT(handle_made_in_a_capture, FAULT,
          "cublasCreate: a cuBLAS handle takes memory: not while a stream is captured"),
    PLANT(graphs_share_a_workspace, RACE, "cudnnConvolutionForward"),
    PLANT(sound_graphs, SOUND, NULL),
    PLANT(sound_convolutions, SOUND, NULL),
};

int main(int argc, char **argv)
{
    return planted_main(argc, argv, "cudasim/library_faults", planted, (int)(sizeof planted / sizeof *planted), set_up);
}
