/*
 * cudnn_pooling.c - pooling and softmax of cuDNN.
 *
 * Maximum pooling backwards gives the whole gradient to the first of equal values; CUDNN_POOLING_MAX, which is not
 * deterministic, to any of them.
 */
#include "tests/cudasim/cudnn.h"

#include <math.h>
#include <time.h>

struct pooling {
    struct cudasim_tensor x, y, dx, dy;
    float alpha, beta;
    cudnnPoolingMode_t mode;
    int window[2], pad[2], stride[2];
};

/* The part of the input that output (p, q) sees: rows [h0, h1), columns [w0, w1). */
struct field {
    int h0, h1, w0, w1;
};

static struct field field_of(const struct pooling *o, int p, int q)
{
    int h = p * o->stride[0] - o->pad[0], w = q * o->stride[1] - o->pad[1];
    struct field f = {h, h + o->window[0], w, w + o->window[1]};
    f.h0 = f.h0 < 0 ? 0 : f.h0;
    f.w0 = f.w0 < 0 ? 0 : f.w0;
    f.h1 = f.h1 > o->x.size[2] ? o->x.size[2] : f.h1;
    f.w1 = f.w1 > o->x.size[3] ? o->x.size[3] : f.w1;
    return f;
}

static bool takes_maximum(const struct pooling *o)
{
    return o->mode == CUDNN_POOLING_MAX || o->mode == CUDNN_POOLING_MAX_DETERMINISTIC;
}

static double shared_by(const struct pooling *o, struct field f)
{
    return o->mode == CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING ? (f.h1 - f.h0) * (f.w1 - f.w0)
                                                                  : o->window[0] * o->window[1];
}

static double pool(const struct pooling *o, int n, int c, struct field f)
{
    double maximum = -INFINITY, sum = 0;
    for (int h = f.h0; h < f.h1; h++)
        for (int w = f.w0; w < f.w1; w++) {
            double x = *cudasim_at(&o->x, n, c, h, w);
            sum += x;
            if (!(x <= maximum)) /* NaN stays */
                maximum = x;
        }
    if (takes_maximum(o))
        return isnan(sum) ? sum : maximum;
    return sum / shared_by(o, f);
}

static void run_forward(void *argument)
{
    const struct pooling *o = argument;
    const int *size = o->y.size;
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int p = 0; p < size[2]; p++)
                for (int q = 0; q < size[3]; q++) {
                    float *y = cudasim_at(&o->y, n, c, p, q);
                    *y = cudasim_blend(o->alpha, pool(o, n, c, field_of(o, p, q)), o->beta, y);
                }
}

static void spread_maximum(const struct pooling *o, int n, int c, struct field f, float y, float gradient, bool last)
{
    float *taker = NULL;
    for (int h = f.h0; h < f.h1; h++)
        for (int w = f.w0; w < f.w1; w++)
            if (*cudasim_at(&o->x, n, c, h, w) == y && (taker == NULL || last))
                taker = cudasim_at(&o->dx, n, c, h, w);
    if (taker != NULL)
        *taker += o->alpha * gradient;
}

static void run_backward(void *argument)
{
    const struct pooling *o = argument;
    const int *size = o->x.size, *out = o->y.size;
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++) {
                    float *dx = cudasim_at(&o->dx, n, c, h, w);
                    *dx = cudasim_blend(0, 0, o->beta, dx);
                }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool last = o->mode == CUDNN_POOLING_MAX && now.tv_nsec % 2 == 1;
    for (int n = 0; n < out[0]; n++)
        for (int c = 0; c < out[1]; c++)
            for (int p = 0; p < out[2]; p++)
                for (int q = 0; q < out[3]; q++) {
                    struct field f = field_of(o, p, q);
                    float gradient = *cudasim_at(&o->dy, n, c, p, q);
                    if (takes_maximum(o)) {
                        spread_maximum(o, n, c, f, *cudasim_at(&o->y, n, c, p, q), gradient, last);
                        continue;
                    }
                    for (int h = f.h0; h < f.h1; h++)
                        for (int w = f.w0; w < f.w1; w++)
                            *cudasim_at(&o->dx, n, c, h, w) += (float)(o->alpha * (gradient / shared_by(o, f)));
                }
}

static void read_pooling(struct cudasim_op *op, cudnnPoolingDescriptor_t descriptor, struct pooling *o)
{
    cudnnNanPropagation_t nan;
    if (op->status == 0 &&
        cudnnGetPooling2dDescriptor(descriptor, &o->mode, &nan, &o->window[0], &o->window[1], &o->pad[0], &o->pad[1],
                                    &o->stride[0], &o->stride[1]) != CUDNN_STATUS_SUCCESS)
        cudasim_op_fault(op, "not a descriptor of a pooling in two dimensions");
}

static void check_shapes(struct cudasim_op *op, const struct pooling *o)
{
    if (op->status == 0)
        cudasim_sizes(op, &o->y, "y", o->x.size[0], o->x.size[1],
                      (o->x.size[2] + 2 * o->pad[0] - o->window[0]) / o->stride[0] + 1,
                      (o->x.size[3] + 2 * o->pad[1] - o->window[1]) / o->stride[1] + 1);
}

cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t poolingDesc, const void *alpha,
                                  const cudnnTensorDescriptor_t xDesc, const void *x, const void *beta,
                                  const cudnnTensorDescriptor_t yDesc, void *y)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct pooling, run_forward);
    struct pooling *o = op->argument;
    *o = (struct pooling){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_pooling(op, poolingDesc, o);
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &o->x, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &o->y, "y");
    check_shapes(op, o);
    cudasim_no_overlap(op);
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t poolingDesc, const void *alpha,
                                   const cudnnTensorDescriptor_t yDesc, const void *y,
                                   const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                   const cudnnTensorDescriptor_t xDesc, const void *x, const void *beta,
                                   const cudnnTensorDescriptor_t dxDesc, void *dx)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct pooling, run_backward);
    struct pooling *o = op->argument;
    *o = (struct pooling){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_pooling(op, poolingDesc, o);
    cudasim_tensor(op, yDesc, y, CUDASIM_READ, &o->y, "y");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &o->dy, "dy");
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &o->x, "x");
    cudasim_tensor(op, dxDesc, dx, cudasim_output(beta), &o->dx, "dx");
    check_shapes(op, o);
    cudasim_same_size(op, &o->y, "y", &o->dy, "dy");
    cudasim_same_size(op, &o->x, "x", &o->dx, "dx");
    cudasim_no_overlap(op);
    return (cudnnStatus_t)cudasim_op_end(op);
}

/* ---- softmax ---- */

struct softmax {
    struct cudasim_tensor x, y, dx, dy;
    float alpha, beta;
    bool logarithm, whole; /* whole: over C, H and W of an instance; else over C */
};

/* Element i of the n-th sample, or of its place (h, w). */
static float *element(const struct softmax *s, const struct cudasim_tensor *t, int n, int place, int i)
{
    int H = t->size[2], W = t->size[3];
    if (s->whole)
        return cudasim_at(t, n, i / (H * W), i / W % H, i % W);
    return cudasim_at(t, n, i, place / W, place % W);
}

static void softmax_forward_one(const struct softmax *s, int n, int place, int count)
{
    double maximum = -INFINITY, sum = 0;
    for (int i = 0; i < count; i++)
        maximum = fmax(maximum, *element(s, &s->x, n, place, i));
    for (int i = 0; i < count; i++)
        sum += exp(*element(s, &s->x, n, place, i) - maximum);
    for (int i = 0; i < count; i++) {
        double x = *element(s, &s->x, n, place, i) - maximum;
        float *y = element(s, &s->y, n, place, i);
        *y = cudasim_blend(s->alpha, s->logarithm ? x - log(sum) : exp(x) / sum, s->beta, y);
    }
}

static void softmax_backward_one(const struct softmax *s, int n, int place, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++) {
        double dy = *element(s, &s->dy, n, place, i);
        sum += s->logarithm ? dy : dy * *element(s, &s->y, n, place, i);
    }
    for (int i = 0; i < count; i++) {
        double y = *element(s, &s->y, n, place, i), dy = *element(s, &s->dy, n, place, i);
        float *dx = element(s, &s->dx, n, place, i);
        *dx = cudasim_blend(s->alpha, s->logarithm ? dy - exp(y) * sum : y * (dy - sum), s->beta, dx);
    }
}

static void for_each(const struct softmax *s, void (*one)(const struct softmax *, int, int, int))
{
    const int *size = s->y.size;
    int places = s->whole ? 1 : size[2] * size[3], count = s->whole ? size[1] * size[2] * size[3] : size[1];
    for (int n = 0; n < size[0]; n++)
        for (int place = 0; place < places; place++)
            one(s, n, place, count);
}

static void run_softmax(void *argument)
{
    for_each(argument, softmax_forward_one);
}

static void run_softmax_backward(void *argument)
{
    for_each(argument, softmax_backward_one);
}

cudnnStatus_t cudnnSoftmaxForward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algo, cudnnSoftmaxMode_t mode,
                                  const void *alpha, const cudnnTensorDescriptor_t xDesc, const void *x,
                                  const void *beta, const cudnnTensorDescriptor_t yDesc, void *y)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct softmax, run_softmax);
    struct softmax *s = op->argument;
    *s = (struct softmax){.alpha = *(const float *)alpha,
                          .beta = *(const float *)beta,
                          .logarithm = algo == CUDNN_SOFTMAX_LOG,
                          .whole = mode == CUDNN_SOFTMAX_MODE_INSTANCE};
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &s->x, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &s->y, "y");
    cudasim_same_size(op, &s->x, "x", &s->y, "y");
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnSoftmaxBackward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algo, cudnnSoftmaxMode_t mode,
                                   const void *alpha, const cudnnTensorDescriptor_t yDesc, const void *y,
                                   const cudnnTensorDescriptor_t dyDesc, const void *dy, const void *beta,
                                   const cudnnTensorDescriptor_t dxDesc, void *dx)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct softmax, run_softmax_backward);
    struct softmax *s = op->argument;
    *s = (struct softmax){.alpha = *(const float *)alpha,
                          .beta = *(const float *)beta,
                          .logarithm = algo == CUDNN_SOFTMAX_LOG,
                          .whole = mode == CUDNN_SOFTMAX_MODE_INSTANCE};
    cudasim_tensor(op, yDesc, y, CUDASIM_READ, &s->y, "y");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &s->dy, "dy");
    cudasim_tensor(op, dxDesc, dx, cudasim_output(beta), &s->dx, "dx");
    cudasim_same_size(op, &s->y, "y", &s->dy, "dy");
    cudasim_same_size(op, &s->y, "y", &s->dx, "dx");
    return (cudnnStatus_t)cudasim_op_end(op);
}
