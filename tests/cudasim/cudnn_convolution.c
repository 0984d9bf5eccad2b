/*
 * cudnn_convolution.c - the convolution trio of cuDNN, its algorithms and their workspaces.
 *
 * All algorithms compute the same; they differ as the real ones do in what they support, in the workspace (here of a
 * size that looks arbitrary), and in whether they are deterministic: those that are not change last bits at random.
 * Unless the descriptor asks for CUDNN_FMA_MATH the operands are rounded to TF32, as on a chip since sm_80.
 */
#include "tests/cudasim/cudnn.h"

#include <stdlib.h>
#include <time.h>

struct convolution {
    struct cudasim_tensor x, w, y; /* or their gradients */
    float alpha, beta;
    int pad[2], stride[2], dilation[2], groups;
    bool flipped, tf32, random;
    void *workspace;
    size_t workspace_bytes;
};

enum pass { FORWARD, BACKWARD_DATA, BACKWARD_FILTER };

/* ---- the maths ---- */

/* Values in C order of (N, C, H, W), rounded where TF32 is asked for; the caller frees. */
static float *packed(const struct cudasim_tensor *t, bool tf32)
{
    const int *size = t->size;
    float *values =
        malloc(((size_t)size[0] * (size_t)size[1] * (size_t)size[2] * (size_t)size[3] + 1) * sizeof *values);
    if (values == NULL)
        abort();
    float *next = values;
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++) {
                    float value = *cudasim_at(t, n, c, h, w);
                    *next++ = tf32 ? cudasim_tf32(value) : value;
                }
    return values;
}

/* Adds (C order) sums into a tensor. */
static void unpack(const struct convolution *v, const struct cudasim_tensor *t, const double *sums)
{
    const int *size = t->size;
    uint64_t random = 0;
    if (v->random) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        random = cudasim_mix((uint64_t)now.tv_nsec);
    }
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++) {
                    double sum = *sums++;
                    if (v->random && ((random = cudasim_mix(random)) & 1) != 0)
                        sum *= 1 + 0x1p-22;
                    float *old = cudasim_at(t, n, c, h, w);
                    *old = cudasim_blend(v->alpha, sum, v->beta, old);
                }
}

/* Output columns [*from, *to) for which q * stride - pad + offset lies in [0, width). */
static void columns(int offset, int stride, int width, int count, int *from, int *to)
{
    int low = -offset, high = width - offset; /* low <= q * stride < high */
    *from = low <= 0 ? 0 : (low + stride - 1) / stride;
    *to = high <= 0 ? 0 : (high + stride - 1) / stride;
    if (*to > count)
        *to = count;
}

/* y, x and w, in C order: values of those that are read, sums of the one that is made. */
struct operands {
    float *values[3];
    double *sums[3];
};

/* What one tap of the filter does to `count` outputs of a row from `y` on; their inputs are `step` apart from `x` on.
 */
typedef void row_function(const struct operands *o, int64_t y, int64_t x, int64_t w, int count, int step);

static void forward_row(const struct operands *o, int64_t y, int64_t x, int64_t w, int count, int step)
{
    double weight = o->values[2][w], *sum = o->sums[0] + y;
    const float *input = o->values[1] + x;
    for (int q = 0; q < count; q++)
        sum[q] += weight * input[q * step];
}

static void data_row(const struct operands *o, int64_t y, int64_t x, int64_t w, int count, int step)
{
    double weight = o->values[2][w], *sum = o->sums[1] + x;
    const float *gradient = o->values[0] + y;
    for (int q = 0; q < count; q++)
        sum[q * step] += weight * gradient[q];
}

static void filter_row(const struct operands *o, int64_t y, int64_t x, int64_t w, int count, int step)
{
    const float *gradient = o->values[0] + y, *input = o->values[1] + x;
    double sum = 0;
    for (int q = 0; q < count; q++)
        sum += (double)gradient[q] * input[q * step];
    o->sums[2][w] += sum;
}

/* Over all n, k, c, r, s and rows p. */
static void walk(const struct convolution *v, row_function *row, const struct operands *o)
{
    int N = v->x.size[0], C = v->x.size[1], H = v->x.size[2], W = v->x.size[3];
    int K = v->w.size[0], G = v->w.size[1], R = v->w.size[2], S = v->w.size[3]; /* G: channels of a group */
    int P = v->y.size[2], Q = v->y.size[3];
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++)
            for (int64_t g = 0; g < G; g++)
                for (int r = 0; r < R; r++)
                    for (int s = 0; s < S; s++) {
                        int64_t c = k / (K / v->groups) * G + g;
                        int64_t tap =
                            ((k * G + g) * R + (v->flipped ? R - 1 - r : r)) * S + (v->flipped ? S - 1 - s : s);
                        int right = s * v->dilation[1] - v->pad[1], from, to;
                        columns(right, v->stride[1], W, Q, &from, &to);
                        for (int p = 0; p < P && to > from; p++) {
                            int h = p * v->stride[0] - v->pad[0] + r * v->dilation[0];
                            if (h >= 0 && h < H)
                                row(o, ((n * K + k) * P + p) * Q + from,
                                    ((n * C + c) * H + h) * W + from * v->stride[1] + right, tap, to - from,
                                    v->stride[1]);
                        }
                    }
}

static double *zeroes(const struct cudasim_tensor *t)
{
    double *sums =
        calloc((size_t)t->size[0] * (size_t)t->size[1] * (size_t)t->size[2] * (size_t)t->size[3] + 1, sizeof *sums);
    if (sums == NULL)
        abort();
    return sums;
}

static void run(const struct convolution *v, enum pass pass)
{
    static row_function *const rows[] = {forward_row, data_row, filter_row};
    const struct cudasim_tensor *tensors[] = {&v->y, &v->x, &v->w}; /* the result of each pass */
    cudasim_overwrite(v->workspace, v->workspace_bytes);
    struct operands o = {{NULL, NULL, NULL}, {NULL, NULL, NULL}};
    for (int i = 0; i < 3; i++)
        if (i != (int)pass)
            o.values[i] = packed(tensors[i], v->tf32);
    o.sums[pass] = zeroes(tensors[pass]);
    walk(v, rows[pass], &o);
    unpack(v, tensors[pass], o.sums[pass]);
    for (int i = 0; i < 3; i++)
        free(o.values[i]), free(o.sums[i]);
    cudasim_overwrite(v->workspace, v->workspace_bytes);
}

static void run_forward(void *argument)
{
    run(argument, FORWARD);
}

static void run_backward_data(void *argument)
{
    run(argument, BACKWARD_DATA);
}

static void run_backward_filter(void *argument)
{
    run(argument, BACKWARD_FILTER);
}

/* ---- what may be asked for ---- */

static void read_descriptor(struct cudasim_op *op, cudnnConvolutionDescriptor_t descriptor, struct convolution *v)
{
    cudnnConvolutionMode_t mode;
    cudnnDataType_t type;
    cudnnMathType_t math;
    if (op->status != 0)
        return;
    cudasim_hide();
    bool known =
        cudnnGetConvolution2dDescriptor(descriptor, &v->pad[0], &v->pad[1], &v->stride[0], &v->stride[1],
                                        &v->dilation[0], &v->dilation[1], &mode, &type) == CUDNN_STATUS_SUCCESS &&
        cudnnGetConvolutionGroupCount(descriptor, &v->groups) == CUDNN_STATUS_SUCCESS &&
        cudnnGetConvolutionMathType(descriptor, &math) == CUDNN_STATUS_SUCCESS;
    cudasim_show();
    if (!known || type != CUDNN_DATA_FLOAT) {
        cudasim_op_fault(op, "not a descriptor of a convolution in float");
        return;
    }
    v->flipped = mode == CUDNN_CONVOLUTION;
    v->tf32 = math != CUDNN_FMA_MATH;
}

static int output_size(const struct convolution *v, int i)
{
    return (v->x.size[2 + i] + 2 * v->pad[i] - (v->w.size[2 + i] - 1) * v->dilation[i] - 1) / v->stride[i] + 1;
}

static void check_shapes(struct cudasim_op *op, const struct convolution *v, const char *x, const char *w,
                         const char *y)
{
    if (op->status == 0 &&
        (v->w.size[1] * v->groups != v->x.size[1] || v->w.size[0] % (v->groups > 0 ? v->groups : 1) != 0))
        cudasim_op_fault(op, "%s has %d channels, %s is for %d in %d groups", x, v->x.size[1], w,
                         v->w.size[1] * v->groups, v->groups);
    if (op->status == 0)
        cudasim_sizes(op, &v->y, y, v->x.size[0], v->w.size[0], output_size(v, 0), output_size(v, 1));
}

#define ALGORITHMS_MAX 8

/* By pass and algorithm of cuDNN: whether the stand-in has it. */
enum traits { ABSENT = 0, PRESENT = 1, RANDOM = 2, WORKSPACE = 4, WINOGRAD = 8, NCHW_ONLY = 16 };
static const int traits[][ALGORITHMS_MAX] = {
    [FORWARD] = {[CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM] = PRESENT,
                 [CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM] = PRESENT | WORKSPACE,
                 [CUDNN_CONVOLUTION_FWD_ALGO_GEMM] = PRESENT | WORKSPACE | NCHW_ONLY,
                 [CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED] = PRESENT | WORKSPACE | WINOGRAD},
    [BACKWARD_DATA] = {[CUDNN_CONVOLUTION_BWD_DATA_ALGO_0] = PRESENT | RANDOM,
                       [CUDNN_CONVOLUTION_BWD_DATA_ALGO_1] = PRESENT | WORKSPACE,
                       [CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED] = PRESENT | WORKSPACE | WINOGRAD},
    [BACKWARD_FILTER] = {[CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0] = PRESENT | RANDOM,
                         [CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1] = PRESENT | WORKSPACE,
                         [CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3] = PRESENT | WORKSPACE | RANDOM | NCHW_ONLY,
                         [CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED] = PRESENT | WORKSPACE | WINOGRAD},
};

static bool supports(const struct convolution *v, enum pass pass, int algorithm)
{
    if (algorithm < 0 || algorithm >= ALGORITHMS_MAX || traits[pass][algorithm] == ABSENT)
        return false;
    int is = traits[pass][algorithm];
    bool plain = v->stride[0] == 1 && v->stride[1] == 1 && v->dilation[0] == 1 && v->dilation[1] == 1;
    if ((is & WINOGRAD) != 0 && !(plain && v->groups == 1 && v->w.size[2] == 3 && v->w.size[3] == 3))
        return false;
    return (is & NCHW_ONLY) == 0 || v->x.stride[3] == 1 || v->x.size[1] == 1;
}

static uint64_t hash(const struct convolution *v, enum pass pass, int algorithm)
{
    uint64_t h = cudasim_mix((uint64_t)pass * 16 + (uint64_t)algorithm);
    for (int i = 0; i < 4; i++) {
        h = cudasim_mix(h ^ (uint64_t)v->x.size[i]);
        h = cudasim_mix(h ^ (uint64_t)v->w.size[i]);
    }
    return cudasim_mix(h ^ (uint64_t)(v->stride[0] * 64 + v->pad[0]));
}

static size_t workspace_needed(const struct convolution *v, enum pass pass, int algorithm)
{
    if ((traits[pass][algorithm] & WORKSPACE) == 0)
        return 0;
    size_t taps = (size_t)v->w.size[1] * (size_t)v->w.size[2] * (size_t)v->w.size[3];
    return taps * (size_t)v->y.size[3] * sizeof(float) + hash(v, pass, algorithm) % 5000 + 1;
}

/* Checks the algorithm and the workspace of a computation, and takes them. Not a fault but a status: not supported. */
static void take_algorithm(struct cudasim_op *op, struct convolution *v, enum pass pass, int algorithm, void *workspace,
                           size_t bytes)
{
    if (op->status != 0)
        return;
    if (!supports(v, pass, algorithm)) {
        op->status = CUDNN_STATUS_NOT_SUPPORTED;
        return;
    }
    size_t needed = workspace_needed(v, pass, algorithm);
    if (bytes < needed) {
        cudasim_op_fault(op, "the workspace has %zu bytes, but %zu are needed", bytes, needed);
        return;
    }
    v->random = (traits[pass][algorithm] & RANDOM) != 0;
    v->workspace_bytes = workspace != NULL ? bytes : 0;
    v->workspace =
        cudasim_device_pointer(op, workspace, workspace != NULL ? bytes : needed, CUDASIM_WRITE, "workspace");
    cudasim_no_overlap(op);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t xDesc,
                                      const void *x, const cudnnFilterDescriptor_t wDesc, const void *w,
                                      const cudnnConvolutionDescriptor_t convDesc, cudnnConvolutionFwdAlgo_t algo,
                                      void *workSpace, size_t workSpaceSizeInBytes, const void *beta,
                                      const cudnnTensorDescriptor_t yDesc, void *y)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct convolution, run_forward);
    struct convolution *v = op->argument;
    *v = (struct convolution){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_descriptor(op, convDesc, v);
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &v->x, "x");
    cudasim_filter(op, wDesc, w, CUDASIM_READ, &v->w, "w");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &v->y, "y");
    check_shapes(op, v, "x", "w", "y");
    take_algorithm(op, v, FORWARD, (int)algo, workSpace, workSpaceSizeInBytes);
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, const cudnnFilterDescriptor_t wDesc,
                                           const void *w, const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                           const cudnnConvolutionDescriptor_t convDesc,
                                           cudnnConvolutionBwdDataAlgo_t algo, void *workSpace,
                                           size_t workSpaceSizeInBytes, const void *beta,
                                           const cudnnTensorDescriptor_t dxDesc, void *dx)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct convolution, run_backward_data);
    struct convolution *v = op->argument;
    *v = (struct convolution){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_descriptor(op, convDesc, v);
    cudasim_filter(op, wDesc, w, CUDASIM_READ, &v->w, "w");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &v->y, "dy");
    cudasim_tensor(op, dxDesc, dx, cudasim_output(beta), &v->x, "dx");
    check_shapes(op, v, "dx", "w", "dy");
    take_algorithm(op, v, BACKWARD_DATA, (int)algo, workSpace, workSpaceSizeInBytes);
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha,
                                             const cudnnTensorDescriptor_t xDesc, const void *x,
                                             const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                             const cudnnConvolutionDescriptor_t convDesc,
                                             cudnnConvolutionBwdFilterAlgo_t algo, void *workSpace,
                                             size_t workSpaceSizeInBytes, const void *beta,
                                             const cudnnFilterDescriptor_t dwDesc, void *dw)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct convolution, run_backward_filter);
    struct convolution *v = op->argument;
    *v = (struct convolution){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_descriptor(op, convDesc, v);
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &v->x, "x");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &v->y, "dy");
    cudasim_filter(op, dwDesc, dw, cudasim_output(beta), &v->w, "dw");
    check_shapes(op, v, "x", "dw", "dy");
    take_algorithm(op, v, BACKWARD_FILTER, (int)algo, workSpace, workSpaceSizeInBytes);
    return (cudnnStatus_t)cudasim_op_end(op);
}

/* ---- bias ---- */

static void run_bias(void *argument)
{
    const struct convolution *v = argument;
    const int *size = v->y.size;
    for (int c = 0; c < size[1]; c++) {
        double sum = 0;
        for (int n = 0; n < size[0]; n++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++)
                    sum += *cudasim_at(&v->y, n, c, h, w);
        float *db = cudasim_at(&v->w, 0, c, 0, 0);
        *db = cudasim_blend(v->alpha, sum, v->beta, db);
    }
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void *alpha,
                                           const cudnnTensorDescriptor_t dyDesc, const void *dy, const void *beta,
                                           const cudnnTensorDescriptor_t dbDesc, void *db)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct convolution, run_bias);
    struct convolution *v = op->argument;
    *v = (struct convolution){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &v->y, "dy");
    cudasim_tensor(op, dbDesc, db, cudasim_output(beta), &v->w, "db");
    if (op->status == 0)
        cudasim_sizes(op, &v->w, "db", 1, v->y.size[1], 1, 1);
    cudasim_no_overlap(op);
    return (cudnnStatus_t)cudasim_op_end(op);
}

/* ---- algorithms and workspaces ---- */

/* For calls that compute nothing: an operation that is thrown away, for its checks. */
static struct cudasim_op *ask(cudnnHandle_t handle, int code, struct convolution **v)
{
    struct cudasim_op *op =
        cudasim_handle_begin((struct cudasim_handle *)handle, code, sizeof **v, run_forward, CUDNN_STATUS_BAD_PARAM);
    *v = op->argument;
    return op;
}

static void read_all(struct cudasim_op *op, struct convolution *v, cudnnConvolutionDescriptor_t convolution,
                     cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w, cudnnTensorDescriptor_t y)
{
    read_descriptor(op, convolution, v);
    cudasim_tensor_read(op, x, &v->x, "x");
    cudasim_filter_read(op, w, &v->w, "w");
    cudasim_tensor_read(op, y, &v->y, "y");
    check_shapes(op, v, "x", "w", "y");
}

static cudnnStatus_t tell_workspace(struct cudasim_op *op, const struct convolution *v, enum pass pass, int algorithm,
                                    size_t *bytes)
{
    if (op->status == 0 && !supports(v, pass, algorithm))
        op->status = CUDNN_STATUS_NOT_SUPPORTED;
    if (op->status == 0)
        *bytes = workspace_needed(v, pass, algorithm);
    return (cudnnStatus_t)cudasim_op_cancel(op);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t xDesc,
                                                      const cudnnFilterDescriptor_t wDesc,
                                                      const cudnnConvolutionDescriptor_t convDesc,
                                                      const cudnnTensorDescriptor_t yDesc,
                                                      cudnnConvolutionFwdAlgo_t algo, size_t *sizeInBytes)
{
    struct convolution *v;
    struct cudasim_op *op = ask(handle, CUDASIM_ENTER(CUDASIM_CUDNN), &v);
    read_all(op, v, convDesc, xDesc, wDesc, yDesc);
    return tell_workspace(op, v, FORWARD, (int)algo, sizeInBytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t handle, const cudnnFilterDescriptor_t wDesc,
                                                           const cudnnTensorDescriptor_t dyDesc,
                                                           const cudnnConvolutionDescriptor_t convDesc,
                                                           const cudnnTensorDescriptor_t dxDesc,
                                                           cudnnConvolutionBwdDataAlgo_t algo, size_t *sizeInBytes)
{
    struct convolution *v;
    struct cudasim_op *op = ask(handle, CUDASIM_ENTER(CUDASIM_CUDNN), &v);
    read_all(op, v, convDesc, dxDesc, wDesc, dyDesc);
    return tell_workspace(op, v, BACKWARD_DATA, (int)algo, sizeInBytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t xDesc,
                                                             const cudnnTensorDescriptor_t dyDesc,
                                                             const cudnnConvolutionDescriptor_t convDesc,
                                                             const cudnnFilterDescriptor_t gradDesc,
                                                             cudnnConvolutionBwdFilterAlgo_t algo, size_t *sizeInBytes)
{
    struct convolution *v;
    struct cudasim_op *op = ask(handle, CUDASIM_ENTER(CUDASIM_CUDNN), &v);
    read_all(op, v, convDesc, xDesc, gradDesc, dyDesc);
    return tell_workspace(op, v, BACKWARD_FILTER, (int)algo, sizeInBytes);
}

/* What all three structs of results hold. */
struct offer {
    int algorithm;
    cudnnStatus_t status;
    size_t memory;
    cudnnDeterminism_t determinism;
    cudnnMathType_t math;
};

/*
 * Up to `wanted` algorithms, in an order that depends on the shapes only; the one that is not deterministic may well
 * be the first. Those that are not supported come last, with that status.
 */
static int offers(const struct convolution *v, enum pass pass, int wanted, struct offer *list)
{
    int count = 0;
    uint64_t order[ALGORITHMS_MAX];
    for (int algorithm = 0; algorithm < ALGORITHMS_MAX; algorithm++) {
        if (traits[pass][algorithm] == ABSENT)
            continue;
        bool able = supports(v, pass, algorithm);
        uint64_t key = (hash(v, pass, algorithm) >> 1) | (able ? 0 : (uint64_t)1 << 63);
        int at = count++;
        for (; at > 0 && order[at - 1] > key; at--) {
            order[at] = order[at - 1];
            list[at] = list[at - 1];
        }
        order[at] = key;
        list[at] =
            (struct offer){algorithm, able ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED,
                           able ? workspace_needed(v, pass, algorithm) : 0,
                           (traits[pass][algorithm] & RANDOM) != 0 ? CUDNN_NON_DETERMINISTIC : CUDNN_DETERMINISTIC,
                           v->tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH};
    }
    return wanted < count ? wanted : count;
}

/* Writes the offers as results of one of the three types. */
#define TELL_OFFERS(op, v, pass, requested, returned, results)                                                         \
    do {                                                                                                               \
        struct offer list[ALGORITHMS_MAX];                                                                             \
        *(returned) = (op)->status == 0 ? offers(v, pass, requested, list) : 0;                                        \
        for (int i = 0; i < *(returned); i++) {                                                                        \
            memset(&(results)[i], 0, sizeof(results)[i]);                                                              \
            (results)[i].algo = list[i].algorithm;                                                                     \
            (results)[i].status = list[i].status;                                                                      \
            (results)[i].time = -1;                                                                                    \
            (results)[i].memory = list[i].memory;                                                                      \
            (results)[i].determinism = list[i].determinism;                                                            \
            (results)[i].mathType = list[i].math;                                                                      \
        }                                                                                                              \
    } while (0)

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t srcDesc,
                                                     const cudnnFilterDescriptor_t filterDesc,
                                                     const cudnnConvolutionDescriptor_t convDesc,
                                                     const cudnnTensorDescriptor_t destDesc,
                                                     const int requestedAlgoCount, int *returnedAlgoCount,
                                                     cudnnConvolutionFwdAlgoPerf_t *perfResults)
{
    struct convolution *v;
    struct cudasim_op *op = ask(handle, CUDASIM_ENTER(CUDASIM_CUDNN), &v);
    read_all(op, v, convDesc, srcDesc, filterDesc, destDesc);
    TELL_OFFERS(op, v, FORWARD, requestedAlgoCount, returnedAlgoCount, perfResults);
    return (cudnnStatus_t)cudasim_op_cancel(op);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t filterDesc, const cudnnTensorDescriptor_t diffDesc,
    const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t gradDesc, const int requestedAlgoCount,
    int *returnedAlgoCount, cudnnConvolutionBwdDataAlgoPerf_t *perfResults)
{
    struct convolution *v;
    struct cudasim_op *op = ask(handle, CUDASIM_ENTER(CUDASIM_CUDNN), &v);
    read_all(op, v, convDesc, gradDesc, filterDesc, diffDesc);
    TELL_OFFERS(op, v, BACKWARD_DATA, requestedAlgoCount, returnedAlgoCount, perfResults);
    return (cudnnStatus_t)cudasim_op_cancel(op);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t srcDesc,
                                                            const cudnnTensorDescriptor_t diffDesc,
                                                            const cudnnConvolutionDescriptor_t convDesc,
                                                            const cudnnFilterDescriptor_t gradDesc,
                                                            const int requestedAlgoCount, int *returnedAlgoCount,
                                                            cudnnConvolutionBwdFilterAlgoPerf_t *perfResults)
{
    struct convolution *v;
    struct cudasim_op *op = ask(handle, CUDASIM_ENTER(CUDASIM_CUDNN), &v);
    read_all(op, v, convDesc, srcDesc, gradDesc, diffDesc);
    TELL_OFFERS(op, v, BACKWARD_FILTER, requestedAlgoCount, returnedAlgoCount, perfResults);
    return (cudnnStatus_t)cudasim_op_cancel(op);
}
