/*
 * test_libraries.c - cuBLAS and cuDNN of the stand-in compute what the real ones are documented to: against the
 * formulas written out once more, with padding, strides, groups and both layouts; backward passes against differences
 * of the forward passes.
 */
#include "tests/cudasim/cudasim.h"

#include <cublas_v2.h>
#include <cudnn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define OK(call) assert_int_equal((call), 0)

static cudaStream_t stream;
static cudnnHandle_t cudnn;
static cublasHandle_t cublas;
static const float one = 1, zero = 0;

static uint32_t random_state = 12345;

/* From -1 to 1. */
static float random_value(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) / (float)(1 << 23) - 1;
}

static float *to_device(const float *host, int count)
{
    float *device;
    OK(cudaMalloc((void **)&device, (size_t)count * sizeof(float)));
    OK(cudaMemcpyAsync(device, host, (size_t)count * sizeof(float), cudaMemcpyHostToDevice, stream));
    OK(cudaStreamSynchronize(stream));
    return device;
}

static void to_host(float *host, const float *device, int count)
{
    OK(cudaMemcpyAsync(host, device, (size_t)count * sizeof(float), cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
}

static void random_values(float *x, int count)
{
    for (int i = 0; i < count; i++)
        x[i] = random_value();
}

/* ---- cuBLAS ---- */

/* Column-major, C (5, 4) = 2 op(A) op(B) - C / 2, with leading dimensions larger than needed. */
static void products_in_all_transpositions(void **state)
{
    (void)state;
    enum { M = 5, N = 4, K = 3, LDA = 7, LDB = 6, LDC = 8 };
    static const cublasOperation_t operations[] = {CUBLAS_OP_N, CUBLAS_OP_T};
    const float alpha = 2, beta = -0.5f;
    for (int ta = 0; ta < 2; ta++)
        for (int tb = 0; tb < 2; tb++) {
            float a[LDA * 7], b[LDB * 7], c[LDC * N], got[LDC * N];
            random_values(a, LDA * 7);
            random_values(b, LDB * 7);
            random_values(c, LDC * N);
            float *da = to_device(a, LDA * 7), *db = to_device(b, LDB * 7), *dc = to_device(c, LDC * N);
            OK(cublasSgemm(cublas, operations[ta], operations[tb], M, N, K, &alpha, da, LDA, db, LDB, &beta, dc, LDC));
            to_host(got, dc, LDC * N);
            for (int i = 0; i < M; i++)
                for (int j = 0; j < N; j++) {
                    double sum = 0;
                    for (int l = 0; l < K; l++)
                        sum += (double)a[ta ? l + i * LDA : i + l * LDA] * b[tb ? j + l * LDB : l + j * LDB];
                    assert_float_equal(got[i + j * LDC], 2 * sum - 0.5 * c[i + j * LDC], 1e-6);
                }
            assert_memory_equal(got + M, c + M, (LDC - M) * sizeof(float)); /* below the matrix */
            OK(cudaFree(da));
            OK(cudaFree(db));
            OK(cudaFree(dc));
        }
}

/* 1 + 2^-12 has more bits than TF32 keeps; beta 0 does not read what C held. */
static void tf32_only_where_asked_for(void **state)
{
    (void)state;
    const float a = 1 + 0x1p-12f, b = 1;
    float got, *da = to_device(&a, 1), *db = to_device(&b, 1), *dc;
    OK(cudaMalloc((void **)&dc, sizeof(float)));
    OK(cublasSgemm(cublas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, da, 1, db, 1, &zero, dc, 1));
    to_host(&got, dc, 1);
    assert_true(got == a);
    OK(cublasSetMathMode(cublas, CUBLAS_TF32_TENSOR_OP_MATH));
    OK(cublasSgemm(cublas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, da, 1, db, 1, &zero, dc, 1));
    to_host(&got, dc, 1);
    assert_true(got == 1);
    OK(cublasSetMathMode(cublas, CUBLAS_DEFAULT_MATH));
    OK(cudaFree(da));
    OK(cudaFree(db));
    OK(cudaFree(dc));
}

/* A = [1 3 5; 2 4 6]: A (1, 10, 100) = (531, 642), A' (1, 10) = (21, 43, 65); then y = 531, 642 + 2 (1, 10). */
static void vectors(void **state)
{
    (void)state;
    const float a[] = {1, 2, 3, 4, 5, 6}, x[] = {1, 10, 100}, two = 2, ten = 10;
    float got[3], *da = to_device(a, 6), *dx = to_device(x, 3), *dy;
    OK(cudaMalloc((void **)&dy, 3 * sizeof(float)));
    OK(cublasSgemv(cublas, CUBLAS_OP_T, 2, 3, &one, da, 2, dx, 1, &zero, dy, 1));
    to_host(got, dy, 3);
    assert_true(got[0] == 21 && got[1] == 43 && got[2] == 65);
    OK(cublasSgemv(cublas, CUBLAS_OP_N, 2, 3, &one, da, 2, dx, 1, &zero, dy, 1));
    OK(cublasSaxpy(cublas, 2, &two, dx, 1, dy, 1));
    OK(cublasSscal(cublas, 1, &ten, dy, 1));
    to_host(got, dy, 2);
    assert_true(got[0] == 5330 && got[1] == 662);
    OK(cudaFree(da));
    OK(cudaFree(dx));
    OK(cudaFree(dy));
}

/* ---- convolutions ---- */

struct shape {
    int n, c, h, w, k, r, s, pad, stride, dilation, groups;
    cudnnTensorFormat_t format;
};

static const struct shape shapes[] = {
    {2, 3, 7, 6, 4, 3, 3, 1, 1, 1, 1, CUDNN_TENSOR_NCHW}, {2, 3, 7, 6, 4, 3, 3, 1, 1, 1, 1, CUDNN_TENSOR_NHWC},
    {1, 4, 9, 9, 6, 3, 2, 1, 2, 1, 2, CUDNN_TENSOR_NCHW}, {3, 2, 8, 9, 3, 3, 3, 2, 1, 2, 1, CUDNN_TENSOR_NCHW},
    {2, 2, 5, 5, 2, 1, 1, 0, 2, 1, 1, CUDNN_TENSOR_NHWC}, {1, 1, 12, 12, 6, 5, 5, 2, 1, 1, 1, CUDNN_TENSOR_NCHW},
};

struct net {
    const struct shape *shape;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t convolution;
    int p, q, x_count, w_count, y_count;
};

static void net_open(const struct shape *s, struct net *net)
{
    int n, k;
    net->shape = s;
    OK(cudnnCreateTensorDescriptor(&net->x));
    OK(cudnnCreateTensorDescriptor(&net->y));
    OK(cudnnCreateFilterDescriptor(&net->w));
    OK(cudnnCreateConvolutionDescriptor(&net->convolution));
    OK(cudnnSetTensor4dDescriptor(net->x, s->format, CUDNN_DATA_FLOAT, s->n, s->c, s->h, s->w));
    OK(cudnnSetFilter4dDescriptor(net->w, CUDNN_DATA_FLOAT, s->format, s->k, s->c / s->groups, s->r, s->s));
    OK(cudnnSetConvolution2dDescriptor(net->convolution, s->pad, s->pad, s->stride, s->stride, s->dilation, s->dilation,
                                       CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    OK(cudnnSetConvolutionMathType(net->convolution, CUDNN_FMA_MATH));
    OK(cudnnSetConvolutionGroupCount(net->convolution, s->groups));
    OK(cudnnGetConvolution2dForwardOutputDim(net->convolution, net->x, net->w, &n, &k, &net->p, &net->q));
    OK(cudnnSetTensor4dDescriptor(net->y, s->format, CUDNN_DATA_FLOAT, n, k, net->p, net->q));
    net->x_count = s->n * s->c * s->h * s->w;
    net->w_count = s->k * s->c / s->groups * s->r * s->s;
    net->y_count = n * k * net->p * net->q;
}

static void net_close(struct net *net)
{
    OK(cudnnDestroyTensorDescriptor(net->x));
    OK(cudnnDestroyTensorDescriptor(net->y));
    OK(cudnnDestroyFilterDescriptor(net->w));
    OK(cudnnDestroyConvolutionDescriptor(net->convolution));
}

static int index_of(cudnnTensorFormat_t format, int C, int H, int W, int n, int c, int h, int w)
{
    return format == CUDNN_TENSOR_NCHW ? ((n * C + c) * H + h) * W + w : ((n * H + h) * W + w) * C + c;
}

/* Calls `pair` with the places in x, w and y of each product that the convolution sums. */
static void for_products(const struct net *net, void (*pair)(int x, int w, int y, void *data), void *data)
{
    const struct shape *s = net->shape;
    int C = s->c / s->groups;
    for (int n = 0; n < s->n; n++)
        for (int k = 0; k < s->k; k++)
            for (int p = 0; p < net->p; p++)
                for (int q = 0; q < net->q; q++)
                    for (int c = 0; c < C; c++)
                        for (int r = 0; r < s->r; r++)
                            for (int t = 0; t < s->s; t++) {
                                int h = p * s->stride - s->pad + r * s->dilation;
                                int w = q * s->stride - s->pad + t * s->dilation;
                                if (h < 0 || h >= s->h || w < 0 || w >= s->w)
                                    continue;
                                int group = k / (s->k / s->groups);
                                pair(index_of(s->format, s->c, s->h, s->w, n, group * C + c, h, w),
                                     index_of(s->format, C, s->r, s->s, k, c, r, t),
                                     index_of(s->format, s->k, net->p, net->q, n, k, p, q), data);
                            }
}

struct sums {
    const float *x, *w, *y;
    double x_sum[4096], w_sum[4096], y_sum[4096];
};

static void add_product(int x, int w, int y, void *data)
{
    struct sums *s = data;
    s->y_sum[y] += (double)s->x[x] * s->w[w];
    s->x_sum[x] += (double)s->y[y] * s->w[w];
    s->w_sum[w] += (double)s->y[y] * s->x[x];
}

static void near(const float *got, const double *expected, int count)
{
    for (int i = 0; i < count; i++)
        assert_float_equal(got[i], (float)expected[i], 1e-5);
}

/* Each of the three passes with the first deterministic algorithm that is offered. */
static void convolutions_are_their_sums(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct net net;
        net_open(&shapes[i], &net);
        static float x[4096], w[4096], dy[4096], got[4096];
        static struct sums sums;
        memset(&sums, 0, sizeof sums);
        random_values(x, net.x_count);
        random_values(w, net.w_count);
        random_values(dy, net.y_count);
        sums.x = x, sums.w = w, sums.y = dy;
        for_products(&net, add_product, &sums);

        cudnnConvolutionFwdAlgoPerf_t forward[8];
        cudnnConvolutionBwdDataAlgoPerf_t data[8];
        cudnnConvolutionBwdFilterAlgoPerf_t filter[8];
        int count, f = 0, d = 0, g = 0;
        OK(cudnnGetConvolutionForwardAlgorithm_v7(cudnn, net.x, net.w, net.convolution, net.y, 8, &count, forward));
        OK(cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnn, net.w, net.y, net.convolution, net.x, 8, &count, data));
        while (data[d].status != CUDNN_STATUS_SUCCESS || data[d].determinism != CUDNN_DETERMINISTIC)
            assert_true(++d < count);
        OK(cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnn, net.x, net.y, net.convolution, net.w, 8, &count,
                                                         filter));
        while (filter[g].status != CUDNN_STATUS_SUCCESS || filter[g].determinism != CUDNN_DETERMINISTIC)
            assert_true(++g < count);
        size_t bytes = forward[f].memory, asked;
        OK(cudnnGetConvolutionForwardWorkspaceSize(cudnn, net.x, net.w, net.convolution, net.y, forward[f].algo,
                                                   &asked));
        assert_int_equal(asked, bytes);
        bytes = data[d].memory > bytes ? data[d].memory : bytes;
        bytes = filter[g].memory > bytes ? filter[g].memory : bytes;

        void *workspace;
        OK(cudaMalloc(&workspace, bytes + 1));
        float *gx = to_device(x, net.x_count), *gw = to_device(w, net.w_count), *gy = to_device(dy, net.y_count), *out;
        OK(cudaMalloc((void **)&out, (size_t)net.y_count * sizeof(float)));
        OK(cudnnConvolutionForward(cudnn, &one, net.x, gx, net.w, gw, net.convolution, forward[f].algo, workspace,
                                   bytes, &zero, net.y, out));
        to_host(got, out, net.y_count);
        near(got, sums.y_sum, net.y_count);
        OK(cudaFree(out));
        OK(cudaMalloc((void **)&out, (size_t)net.x_count * sizeof(float)));
        OK(cudnnConvolutionBackwardData(cudnn, &one, net.w, gw, net.y, gy, net.convolution, data[d].algo, workspace,
                                        bytes, &zero, net.x, out));
        to_host(got, out, net.x_count);
        near(got, sums.x_sum, net.x_count);
        OK(cudaFree(out));
        /* On top of what is there: w + dw. */
        OK(cudnnConvolutionBackwardFilter(cudnn, &one, net.x, gx, net.y, gy, net.convolution, filter[g].algo, workspace,
                                          bytes, &one, net.w, gw));
        to_host(got, gw, net.w_count);
        for (int k = 0; k < net.w_count; k++)
            sums.w_sum[k] += w[k];
        near(got, sums.w_sum, net.w_count);
        OK(cudaFree(gx));
        OK(cudaFree(gw));
        OK(cudaFree(gy));
        OK(cudaFree(workspace));
        net_close(&net);
    }
}

/* Two runs of an algorithm that is not deterministic differ in last bits, at least once in ten. */
static void algorithm_0_is_not_deterministic(void **state)
{
    (void)state;
    struct net net;
    net_open(&shapes[0], &net);
    float x[1024], dy[1024], first[1024], got[1024];
    random_values(x, net.x_count);
    random_values(dy, net.y_count);
    float *gx = to_device(x, net.x_count), *gy = to_device(dy, net.y_count), *gw = to_device(x, net.w_count);
    int differ = 0;
    for (int i = 0; i < 10; i++) {
        OK(cudnnConvolutionBackwardFilter(cudnn, &one, net.x, gx, net.y, gy, net.convolution,
                                          CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, NULL, 0, &zero, net.w, gw));
        to_host(i == 0 ? first : got, gw, net.w_count);
        differ += i > 0 && memcmp(first, got, (size_t)net.w_count * sizeof(float)) != 0;
    }
    assert_true(differ > 0);
    OK(cudaFree(gx));
    OK(cudaFree(gy));
    OK(cudaFree(gw));
    net_close(&net);
}

/* ---- the others, forward by formula and backward by differences ---- */

enum { VN = 2, VC = 5, VH = 4, VW = 4, COUNT = VN * VC * VH * VW };

enum layer { RELU, SIGMOID, MAX_POOL, AVERAGE_POOL, LRN, SOFTMAX, LOG_SOFTMAX, BATCH_NORM, LAYERS };

/* What a layer needs: device memory and descriptors. Pools halve the planes. */
struct layer_test {
    enum layer layer;
    cudnnTensorDescriptor_t in, out, parameters;
    cudnnActivationDescriptor_t activation;
    cudnnPoolingDescriptor_t pooling;
    cudnnLRNDescriptor_t lrn;
    int out_count;
    float *x, *y, *dx, *dy, *scale, *bias, *mean, *inverse, *dscale, *dbias;
};

static bool is_pool(enum layer layer)
{
    return layer == MAX_POOL || layer == AVERAGE_POOL;
}

static void layer_open(struct layer_test *t, enum layer layer)
{
    int divide = is_pool(layer) ? 2 : 1;
    t->layer = layer;
    OK(cudnnCreateTensorDescriptor(&t->in));
    OK(cudnnCreateTensorDescriptor(&t->out));
    OK(cudnnCreateTensorDescriptor(&t->parameters));
    OK(cudnnCreateActivationDescriptor(&t->activation));
    OK(cudnnCreatePoolingDescriptor(&t->pooling));
    OK(cudnnCreateLRNDescriptor(&t->lrn));
    OK(cudnnSetTensor4dDescriptor(t->in, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, VN, VC, VH, VW));
    OK(cudnnSetTensor4dDescriptor(t->out, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, VN, VC, VH / divide, VW / divide));
    OK(cudnnDeriveBNTensorDescriptor(t->parameters, t->in, CUDNN_BATCHNORM_SPATIAL));
    OK(cudnnSetActivationDescriptor(t->activation, layer == SIGMOID ? CUDNN_ACTIVATION_SIGMOID : CUDNN_ACTIVATION_RELU,
                                    CUDNN_NOT_PROPAGATE_NAN, 0));
    OK(cudnnSetPooling2dDescriptor(
        t->pooling, layer == MAX_POOL ? CUDNN_POOLING_MAX_DETERMINISTIC : CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING,
        CUDNN_PROPAGATE_NAN, 2, 2, 0, 0, 2, 2));
    OK(cudnnSetLRNDescriptor(t->lrn, 3, 0.5, 0.75, 1));
    t->out_count = COUNT / (divide * divide);
    float random[COUNT];
    float **all[] = {&t->x, &t->y, &t->dx, &t->dy, &t->scale, &t->bias, &t->mean, &t->inverse, &t->dscale, &t->dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        random_values(random, COUNT);
        *all[i] = to_device(random, COUNT);
    }
}

static void layer_close(struct layer_test *t)
{
    float *all[] = {t->x, t->y, t->dx, t->dy, t->scale, t->bias, t->mean, t->inverse, t->dscale, t->dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        OK(cudaFree(all[i]));
    OK(cudnnDestroyTensorDescriptor(t->in));
    OK(cudnnDestroyTensorDescriptor(t->out));
    OK(cudnnDestroyTensorDescriptor(t->parameters));
    OK(cudnnDestroyActivationDescriptor(t->activation));
    OK(cudnnDestroyPoolingDescriptor(t->pooling));
    OK(cudnnDestroyLRNDescriptor(t->lrn));
}

static cudnnSoftmaxAlgorithm_t softmax_of(const struct layer_test *t)
{
    return t->layer == SOFTMAX ? CUDNN_SOFTMAX_ACCURATE : CUDNN_SOFTMAX_LOG;
}

static void forward(const struct layer_test *t, const float *x)
{
    OK(cudaMemcpyAsync(t->x, x, COUNT * sizeof(float), cudaMemcpyHostToDevice, stream));
    switch (t->layer) {
    case MAX_POOL:
    case AVERAGE_POOL:
        OK(cudnnPoolingForward(cudnn, t->pooling, &one, t->in, t->x, &zero, t->out, t->y));
        break;
    case LRN:
        OK(cudnnLRNCrossChannelForward(cudnn, t->lrn, CUDNN_LRN_CROSS_CHANNEL_DIM1, &one, t->in, t->x, &zero, t->out,
                                       t->y));
        break;
    case SOFTMAX:
    case LOG_SOFTMAX:
        OK(cudnnSoftmaxForward(cudnn, softmax_of(t), CUDNN_SOFTMAX_MODE_INSTANCE, &one, t->in, t->x, &zero, t->out,
                               t->y));
        break;
    case BATCH_NORM:
        OK(cudnnBatchNormalizationForwardTraining(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, t->in, t->x, t->out,
                                                  t->y, t->parameters, t->scale, t->bias, 0.1, NULL, NULL, 1e-5,
                                                  t->mean, t->inverse));
        break;
    default:
        OK(cudnnActivationForward(cudnn, t->activation, &one, t->in, t->x, &zero, t->out, t->y));
    }
}

static void backward(const struct layer_test *t)
{
    switch (t->layer) {
    case MAX_POOL:
    case AVERAGE_POOL:
        OK(cudnnPoolingBackward(cudnn, t->pooling, &one, t->out, t->y, t->out, t->dy, t->in, t->x, &zero, t->in,
                                t->dx));
        break;
    case LRN:
        OK(cudnnLRNCrossChannelBackward(cudnn, t->lrn, CUDNN_LRN_CROSS_CHANNEL_DIM1, &one, t->out, t->y, t->out, t->dy,
                                        t->in, t->x, &zero, t->in, t->dx));
        break;
    case SOFTMAX:
    case LOG_SOFTMAX:
        OK(cudnnSoftmaxBackward(cudnn, softmax_of(t), CUDNN_SOFTMAX_MODE_INSTANCE, &one, t->out, t->y, t->out, t->dy,
                                &zero, t->in, t->dx));
        break;
    case BATCH_NORM:
        OK(cudnnBatchNormalizationBackward(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, &one, &zero, t->in, t->x, t->in,
                                           t->dy, t->in, t->dx, t->parameters, t->scale, t->dscale, t->dbias, 1e-5,
                                           t->mean, t->inverse));
        break;
    default:
        OK(cudnnActivationBackward(cudnn, t->activation, &one, t->out, t->y, t->out, t->dy, t->in, t->x, &zero, t->in,
                                   t->dx));
    }
}

/* The value of the output at (n, c, h, w), written out. Parameters are by channel. */
static double formula(enum layer layer, const float *x, const float *scale, const float *bias, int n, int c, int h,
                      int w)
{
#define X(n, c, h, w) ((double)x[(((n)*VC + (c)) * VH + (h)) * VW + (w)])
    double at = is_pool(layer) ? 0 : X(n, c, h, w), sum = 0, mean = 0;
    switch (layer) {
    case RELU:
        return fmax(at, 0);
    case SIGMOID:
        return 1 / (1 + exp(-at));
    case MAX_POOL:
        return fmax(fmax(X(n, c, 2 * h, 2 * w), X(n, c, 2 * h, 2 * w + 1)),
                    fmax(X(n, c, 2 * h + 1, 2 * w), X(n, c, 2 * h + 1, 2 * w + 1)));
    case AVERAGE_POOL:
        return (X(n, c, 2 * h, 2 * w) + X(n, c, 2 * h, 2 * w + 1) + X(n, c, 2 * h + 1, 2 * w) +
                X(n, c, 2 * h + 1, 2 * w + 1)) /
               4;
    case LRN:
        for (int j = c - 1; j <= c + 1; j++)
            if (j >= 0 && j < VC)
                sum += X(n, j, h, w) * X(n, j, h, w);
        return at / pow(1 + 0.5 / 3 * sum, 0.75);
    case SOFTMAX:
    case LOG_SOFTMAX:
        for (int i = 0; i < VC * VH * VW; i++)
            sum += exp((double)x[n * VC * VH * VW + i]);
        return layer == SOFTMAX ? exp(at) / sum : at - log(sum);
    default:
        for (int i = 0; i < VN * VH * VW; i++)
            mean += X(i / (VH * VW), c, i / VW % VH, i % VW) / (VN * VH * VW);
        for (int i = 0; i < VN * VH * VW; i++)
            sum += pow(X(i / (VH * VW), c, i / VW % VH, i % VW) - mean, 2) / (VN * VH * VW);
        return scale[c] * (at - mean) / sqrt(sum + 1e-5) + bias[c];
    }
#undef X
}

/* sum over outputs of dy * y, by the formulas. */
static double objective(const struct layer_test *t, const float *x, const float *dy, const float *scale,
                        const float *bias)
{
    int divide = is_pool(t->layer) ? 2 : 1;
    double sum = 0;
    for (int n = 0; n < VN; n++)
        for (int c = 0; c < VC; c++)
            for (int h = 0; h < VH / divide; h++)
                for (int w = 0; w < VW / divide; w++)
                    sum += formula(t->layer, x, scale, bias, n, c, h, w) *
                           dy[((n * VC + c) * (VH / divide) + h) * (VW / divide) + w];
    return sum;
}

static void layers_forward_and_backward(void **state)
{
    (void)state;
    for (enum layer layer = 0; layer < LAYERS; layer++) {
        struct layer_test t;
        layer_open(&t, layer);
        float x[COUNT], y[COUNT], dx[COUNT], dy[COUNT], scale[VC], bias[VC];
        for (int i = 0; i < COUNT; i++) /* all differ by 1/80 at least, none is near 0: no kink within a difference */
            x[i] = ((float)(i * 67 % COUNT) + 0.5f - COUNT / 2) / (COUNT / 2);
        to_host(dy, t.dy, COUNT);
        to_host(scale, t.scale, VC);
        to_host(bias, t.bias, VC);
        forward(&t, x);
        to_host(y, t.y, t.out_count);
        int divide = is_pool(layer) ? 2 : 1, at = 0;
        for (int n = 0; n < VN; n++)
            for (int c = 0; c < VC; c++)
                for (int h = 0; h < VH / divide; h++)
                    for (int w = 0; w < VW / divide; w++)
                        assert_float_equal(y[at++], (float)formula(layer, x, scale, bias, n, c, h, w), 1e-5);
        backward(&t);
        to_host(dx, t.dx, COUNT);
        for (int i = 0; i < COUNT; i++) {
            float kept = x[i];
            x[i] = kept + 0x1p-10f;
            double above = objective(&t, x, dy, scale, bias);
            x[i] = kept - 0x1p-10f;
            double below = objective(&t, x, dy, scale, bias);
            x[i] = kept;
            assert_float_equal(dx[i], (float)((above - below) * 512), 1e-3);
        }
        layer_close(&t);
    }
}

/* Two values a channel, 1 and 3: mean 2, variance 1, unbiased 2. From 10 and 20 by 0.25: 8 and 15.5. */
static void batch_norm_keeps_running_statistics(void **state)
{
    (void)state;
    cudnnTensorDescriptor_t shape, parameters;
    OK(cudnnCreateTensorDescriptor(&shape));
    OK(cudnnCreateTensorDescriptor(&parameters));
    OK(cudnnSetTensor4dDescriptor(shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 2, 1, 1, 1));
    OK(cudnnSetTensor4dDescriptor(parameters, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, 1, 1, 1));
    const float x[] = {1, 3}, mean = 10, variance = 20;
    float got[2], *gx = to_device(x, 2), *gy = to_device(x, 2), *scale = to_device(&one, 1),
                  *bias = to_device(&zero, 1);
    float *gm = to_device(&mean, 1), *gv = to_device(&variance, 1);
    OK(cudnnBatchNormalizationForwardTraining(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, shape, gx, shape, gy,
                                              parameters, scale, bias, 0.25, gm, gv, 0, NULL, NULL));
    to_host(got, gm, 1);
    assert_float_equal(got[0], 8, 1e-6);
    to_host(got, gv, 1);
    assert_float_equal(got[0], 15.5, 1e-6);
    to_host(got, gy, 2);
    assert_true(got[0] == -1 && got[1] == 1);
    /* (1 - 8) / sqrt(15.5) and (3 - 8) / sqrt(15.5) */
    OK(cudnnBatchNormalizationForwardInference(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, shape, gx, shape, gy,
                                               parameters, scale, bias, gm, gv, 0));
    to_host(got, gy, 2);
    assert_float_equal(got[0], -1.7780018, 1e-6);
    assert_float_equal(got[1], -1.2700013, 1e-6);
    float *all[] = {gx, gy, scale, bias, gm, gv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        OK(cudaFree(all[i]));
    OK(cudnnDestroyTensorDescriptor(shape));
    OK(cudnnDestroyTensorDescriptor(parameters));
}

/* The one value of a channel, 3: its mean, from 10 by 0.25: 8.25; its unbiased variance is 0 / 0. */
static void batch_norm_of_one_value_has_no_running_variance(void **state)
{
    (void)state;
    cudnnTensorDescriptor_t shape;
    OK(cudnnCreateTensorDescriptor(&shape));
    OK(cudnnSetTensor4dDescriptor(shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, 1, 1, 1));
    const float x = 3, mean = 10, variance = 20;
    float got, *gx = to_device(&x, 1), *gy = to_device(&x, 1), *scale = to_device(&one, 1), *bias = to_device(&one, 1);
    float *gm = to_device(&mean, 1), *gv = to_device(&variance, 1);
    OK(cudnnBatchNormalizationForwardTraining(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, shape, gx, shape, gy, shape,
                                              scale, bias, 0.25, gm, gv, 1e-5, NULL, NULL));
    to_host(&got, gm, 1);
    assert_float_equal(got, 8.25, 1e-6);
    to_host(&got, gv, 1);
    assert_true(isnan(got));
    to_host(&got, gy, 1);
    assert_true(got == 1);
    float *all[] = {gx, gy, scale, bias, gm, gv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        OK(cudaFree(all[i]));
    OK(cudnnDestroyTensorDescriptor(shape));
}

/* y (2, 3, 1, 2) = 1 .. 12; a bias of 100, 200, 300 by channel; then its gradient, the sums by channel. */
static void a_bias_is_added_and_summed(void **state)
{
    (void)state;
    cudnnTensorDescriptor_t shape, by_channel;
    OK(cudnnCreateTensorDescriptor(&shape));
    OK(cudnnCreateTensorDescriptor(&by_channel));
    OK(cudnnSetTensor4dDescriptor(shape, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 2, 3, 1, 2));
    OK(cudnnSetTensor4dDescriptor(by_channel, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, 3, 1, 1));
    const float y[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, bias[] = {100, 200, 300};
    float got[12], *gy = to_device(y, 12), *gb = to_device(bias, 3);
    OK(cudnnConvolutionBackwardBias(cudnn, &one, shape, gy, &one, by_channel, gb)); /* 1+2+7+8, 3+4+9+10, 5+6+11+12 */
    to_host(got, gb, 3);
    assert_true(got[0] == 118 && got[1] == 226 && got[2] == 334);
    OK(cudnnAddTensor(cudnn, &one, by_channel, gb, &one, shape, gy));
    to_host(got, gy, 12);
    assert_true(got[0] == 119 && got[1] == 120 && got[2] == 229 && got[5] == 340 && got[11] == 346);
    OK(cudaFree(gy));
    OK(cudaFree(gb));
    OK(cudnnDestroyTensorDescriptor(shape));
    OK(cudnnDestroyTensorDescriptor(by_channel));
}

static void a_failure_has_the_librarys_code(void **state)
{
    (void)state;
    cudnnHandle_t handle = NULL;
    cudasim_fail("cudnnCreate", 1, CUDNN_STATUS_ALLOC_FAILED);
    assert_int_equal(cudnnCreate(&handle), CUDNN_STATUS_ALLOC_FAILED);
    float *x = to_device(&one, 1);
    cudasim_fail("cublasSscal", 1, CUBLAS_STATUS_EXECUTION_FAILED);
    assert_int_equal(cublasSscal(cublas, 1, &one, x, 1), CUBLAS_STATUS_EXECUTION_FAILED);
    cudasim_fail_later("cublasSscal", 1, cudaErrorIllegalAddress);
    OK(cublasSscal(cublas, 1, &one, x, 1));
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
    assert_int_equal(cublasSscal(cublas, 1, &one, x, 1), CUBLAS_STATUS_EXECUTION_FAILED);
    cudasim_clear_failures();
    OK(cudaFree(x));
}

static int open_handles(void **state)
{
    (void)state;
    OK(cudaSetDevice(1));
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudnnCreate(&cudnn));
    OK(cudnnSetStream(cudnn, stream));
    OK(cublasCreate(&cublas));
    OK(cublasSetStream(cublas, stream));
    return 0;
}

static int close_handles(void **state)
{
    (void)state;
    OK(cublasDestroy(cublas));
    OK(cudnnDestroy(cudnn));
    OK(cudaStreamDestroy(stream));
    return cudasim_leaks() == 0 && cudasim_faults() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_in_all_transpositions),
        cmocka_unit_test(tf32_only_where_asked_for),
        cmocka_unit_test(vectors),
        cmocka_unit_test(convolutions_are_their_sums),
        cmocka_unit_test(algorithm_0_is_not_deterministic),
        cmocka_unit_test(layers_forward_and_backward),
        cmocka_unit_test(batch_norm_keeps_running_statistics),
        cmocka_unit_test(batch_norm_of_one_value_has_no_running_variance),
        cmocka_unit_test(a_bias_is_added_and_summed),
        cmocka_unit_test(a_failure_has_the_librarys_code),
    };
    return cmocka_run_group_tests_name("cudasim/libraries", tests, open_handles, close_handles);
}
