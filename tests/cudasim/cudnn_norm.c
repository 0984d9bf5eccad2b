/*
 * cudnn_norm.c - batch norm and local response normalization of cuDNN, sums in double.
 */
#include "tests/cudasim/cudnn.h"

#include <math.h>

/* ---- batch norm ---- */

struct batch_norm {
    struct cudasim_tensor x, y, dx, dy;
    float alpha, beta, alpha_parameter, beta_parameter;
    bool per_place; /* each (c, h, w) by itself, else each c */
    double factor, epsilon;
    const float *scale, *bias, *mean, *inverse; /* inverse: 1 / deviation; in inference: variance */
    float *running_mean, *running_variance, *saved_mean, *saved_inverse, *scale_gradient, *bias_gradient;
};

/* Those values that share a mean: all n, and all (h, w) unless each place is by itself. */
struct group {
    int c, h0, h1, w0, w1;
    int64_t index, count;
};

static struct group group_of(const struct batch_norm *b, int index)
{
    const int *size = b->x.size;
    if (!b->per_place)
        return (struct group){index, 0, size[2], 0, size[3], index, (int64_t)size[0] * size[2] * size[3]};
    int h = index / size[3] % size[2], w = index % size[3];
    return (struct group){index / (size[2] * size[3]), h, h + 1, w, w + 1, index, size[0]};
}

static int group_count(const struct batch_norm *b)
{
    return b->per_place ? b->x.size[1] * b->x.size[2] * b->x.size[3] : b->x.size[1];
}

#define FOR_GROUP(b, g, n, h, w)                                                                                       \
    for (int n = 0; n < (b)->x.size[0]; n++)                                                                           \
        for (int h = (g)->h0; h < (g)->h1; h++)                                                                        \
            for (int w = (g)->w0; w < (g)->w1; w++)

/* Mean, and variance divided by the count. */
static void moments(const struct batch_norm *b, const struct group *g, double *mean, double *variance)
{
    double sum = 0, squares = 0;
    FOR_GROUP(b, g, n, h, w)
    sum += *cudasim_at(&b->x, n, g->c, h, w);
    *mean = sum / (double)g->count;
    FOR_GROUP(b, g, n, h, w)
    {
        double from = *cudasim_at(&b->x, n, g->c, h, w) - *mean;
        squares += from * from;
    }
    *variance = squares / (double)g->count;
}

static void normalize(const struct batch_norm *b, const struct group *g, double mean, double inverse)
{
    double scale = b->scale[g->index], bias = b->bias[g->index];
    FOR_GROUP(b, g, n, h, w)
    {
        float *y = cudasim_at(&b->y, n, g->c, h, w);
        double value = scale * (*cudasim_at(&b->x, n, g->c, h, w) - mean) * inverse + bias;
        *y = cudasim_blend(b->alpha, value, b->beta, y);
    }
}

static void run_training(void *argument)
{
    const struct batch_norm *b = argument;
    for (int i = 0; i < group_count(b); i++) {
        struct group g = group_of(b, i);
        double mean, variance;
        moments(b, &g, &mean, &variance);
        double inverse = 1 / sqrt(variance + b->epsilon);
        normalize(b, &g, mean, inverse);
        if (b->saved_mean != NULL) {
            b->saved_mean[i] = (float)mean;
            b->saved_inverse[i] = (float)inverse;
        }
        if (b->running_mean != NULL) {
            double unbiased = variance * (double)g.count / (double)(g.count - 1); /* of one value: 0 / 0, as there */
            b->running_mean[i] = (float)(b->running_mean[i] * (1 - b->factor) + mean * b->factor);
            b->running_variance[i] = (float)(b->running_variance[i] * (1 - b->factor) + unbiased * b->factor);
        }
    }
}

static void run_inference(void *argument)
{
    const struct batch_norm *b = argument;
    for (int i = 0; i < group_count(b); i++) {
        struct group g = group_of(b, i);
        normalize(b, &g, b->mean[i], 1 / sqrt(b->inverse[i] + b->epsilon));
    }
}

/* dx = scale / (m deviation) * (m dy - sum(dy) - x^ sum(dy x^)), with x^ the normalized values. */
static void run_backward(void *argument)
{
    const struct batch_norm *b = argument;
    for (int i = 0; i < group_count(b); i++) {
        struct group g = group_of(b, i);
        double mean, variance, inverse;
        moments(b, &g, &mean, &variance);
        inverse = 1 / sqrt(variance + b->epsilon);
        if (b->mean != NULL) {
            mean = b->mean[i];
            inverse = b->inverse[i];
        }
        double sum = 0, product = 0, m = (double)g.count;
        FOR_GROUP(b, &g, n, h, w)
        {
            double dy = *cudasim_at(&b->dy, n, g.c, h, w);
            sum += dy;
            product += dy * (*cudasim_at(&b->x, n, g.c, h, w) - mean) * inverse;
        }
        FOR_GROUP(b, &g, n, h, w)
        {
            double normal = (*cudasim_at(&b->x, n, g.c, h, w) - mean) * inverse;
            double dy = *cudasim_at(&b->dy, n, g.c, h, w);
            float *dx = cudasim_at(&b->dx, n, g.c, h, w);
            *dx = cudasim_blend(b->alpha, b->scale[i] * inverse / m * (m * dy - sum - normal * product), b->beta, dx);
        }
        float *ds = &b->scale_gradient[i], *db = &b->bias_gradient[i];
        *ds = cudasim_blend(b->alpha_parameter, product, b->beta_parameter, ds);
        *db = cudasim_blend(b->alpha_parameter, sum, b->beta_parameter, db);
    }
}

/* Checks the descriptor of the parameters; returns their bytes. */
static size_t parameters(struct cudasim_op *op, cudnnBatchNormMode_t mode, cudnnTensorDescriptor_t descriptor,
                         struct batch_norm *b)
{
    struct cudasim_tensor shape;
    const int *size = b->x.size;
    b->per_place = mode == CUDNN_BATCHNORM_PER_ACTIVATION;
    if (op->status == 0 && b->epsilon < CUDNN_BN_MIN_EPSILON)
        cudasim_op_fault(op, "epsilon %g", b->epsilon);
    if (!cudasim_tensor_read(op, descriptor, &shape, "the parameters' descriptor"))
        return 0;
    cudasim_sizes(op, &shape, "the parameters' descriptor", 1, size[1], b->per_place ? size[2] : 1,
                  b->per_place ? size[3] : 1);
    return (size_t)group_count(b) * sizeof(float);
}

static void both_or_none(struct cudasim_op *op, const void *a, const void *b, const char *what)
{
    if (op->status == 0 && (a == NULL) != (b == NULL))
        cudasim_op_fault(op, "one of the two %s is NULL", what);
}

static float *parameter(struct cudasim_op *op, const void *x, size_t bytes, enum cudasim_access access,
                        const char *what)
{
    return cudasim_device_pointer(op, x, bytes, access, what);
}

/* An argument that may be NULL. */
static float *optional(struct cudasim_op *op, const void *x, size_t bytes, enum cudasim_access access, const char *what)
{
    return x == NULL ? NULL : parameter(op, x, bytes, access, what);
}

cudnnStatus_t cudnnBatchNormalizationForwardTraining(cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha,
                                                     const void *beta, const cudnnTensorDescriptor_t xDesc,
                                                     const void *x, const cudnnTensorDescriptor_t yDesc, void *y,
                                                     const cudnnTensorDescriptor_t bnScaleBiasMeanVarDesc,
                                                     const void *bnScale, const void *bnBias,
                                                     double exponentialAverageFactor, void *resultRunningMean,
                                                     void *resultRunningVariance, double epsilon, void *resultSaveMean,
                                                     void *resultSaveInvVariance)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct batch_norm, run_training);
    struct batch_norm *b = op->argument;
    *b = (struct batch_norm){.alpha = *(const float *)alpha,
                             .beta = *(const float *)beta,
                             .factor = exponentialAverageFactor,
                             .epsilon = epsilon};
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &b->x, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &b->y, "y");
    cudasim_same_size(op, &b->x, "x", &b->y, "y");
    size_t bytes = parameters(op, mode, bnScaleBiasMeanVarDesc, b);
    both_or_none(op, resultRunningMean, resultRunningVariance, "running statistics");
    both_or_none(op, resultSaveMean, resultSaveInvVariance, "saved statistics");
    b->scale = parameter(op, bnScale, bytes, CUDASIM_READ, "bnScale");
    b->bias = parameter(op, bnBias, bytes, CUDASIM_READ, "bnBias");
    b->running_mean = optional(op, resultRunningMean, bytes, CUDASIM_UPDATE, "resultRunningMean");
    b->running_variance = optional(op, resultRunningVariance, bytes, CUDASIM_UPDATE, "resultRunningVariance");
    b->saved_mean = optional(op, resultSaveMean, bytes, CUDASIM_WRITE, "resultSaveMean");
    b->saved_inverse = optional(op, resultSaveInvVariance, bytes, CUDASIM_WRITE, "resultSaveInvVariance");
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnBatchNormalizationForwardInference(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta,
    const cudnnTensorDescriptor_t xDesc, const void *x, const cudnnTensorDescriptor_t yDesc, void *y,
    const cudnnTensorDescriptor_t bnScaleBiasMeanVarDesc, const void *bnScale, const void *bnBias,
    const void *estimatedMean, const void *estimatedVariance, double epsilon)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct batch_norm, run_inference);
    struct batch_norm *b = op->argument;
    *b = (struct batch_norm){.alpha = *(const float *)alpha, .beta = *(const float *)beta, .epsilon = epsilon};
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &b->x, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &b->y, "y");
    cudasim_same_size(op, &b->x, "x", &b->y, "y");
    size_t bytes = parameters(op, mode, bnScaleBiasMeanVarDesc, b);
    b->scale = parameter(op, bnScale, bytes, CUDASIM_READ, "bnScale");
    b->bias = parameter(op, bnBias, bytes, CUDASIM_READ, "bnBias");
    b->mean = parameter(op, estimatedMean, bytes, CUDASIM_READ, "estimatedMean");
    b->inverse = parameter(op, estimatedVariance, bytes, CUDASIM_READ, "estimatedVariance");
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alphaDataDiff, const void *betaDataDiff,
    const void *alphaParamDiff, const void *betaParamDiff, const cudnnTensorDescriptor_t xDesc, const void *x,
    const cudnnTensorDescriptor_t dyDesc, const void *dy, const cudnnTensorDescriptor_t dxDesc, void *dx,
    const cudnnTensorDescriptor_t dBnScaleBiasDesc, const void *bnScale, void *dBnScaleResult, void *dBnBiasResult,
    double epsilon, const void *savedMean, const void *savedInvVariance)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct batch_norm, run_backward);
    struct batch_norm *b = op->argument;
    *b = (struct batch_norm){.alpha = *(const float *)alphaDataDiff,
                             .beta = *(const float *)betaDataDiff,
                             .alpha_parameter = *(const float *)alphaParamDiff,
                             .beta_parameter = *(const float *)betaParamDiff,
                             .epsilon = epsilon};
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &b->x, "x");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &b->dy, "dy");
    cudasim_tensor(op, dxDesc, dx, cudasim_output(betaDataDiff), &b->dx, "dx");
    cudasim_same_size(op, &b->x, "x", &b->dy, "dy");
    cudasim_same_size(op, &b->x, "x", &b->dx, "dx");
    size_t bytes = parameters(op, mode, dBnScaleBiasDesc, b);
    both_or_none(op, savedMean, savedInvVariance, "saved statistics");
    enum cudasim_access output = cudasim_output(betaParamDiff);
    b->scale = parameter(op, bnScale, bytes, CUDASIM_READ, "bnScale");
    b->scale_gradient = parameter(op, dBnScaleResult, bytes, output, "dBnScaleResult");
    b->bias_gradient = parameter(op, dBnBiasResult, bytes, output, "dBnBiasResult");
    b->mean = optional(op, savedMean, bytes, CUDASIM_READ, "savedMean");
    b->inverse = optional(op, savedInvVariance, bytes, CUDASIM_READ, "savedInvVariance");
    return (cudnnStatus_t)cudasim_op_end(op);
}

/* ---- local response normalization, across channels ---- */

struct lrn {
    struct cudasim_tensor x, y, dx, dy;
    float alpha_blend, beta_blend;
    int n;
    double alpha, beta, k;
};

/* The window of channel c is [c - (n - 1) / 2, … ] with n channels. */
static double sum_of(const struct lrn *l, int n, int c, int h, int w)
{
    int first = c - (l->n - 1) / 2;
    double squares = 0;
    for (int i = first < 0 ? 0 : first; i < first + l->n && i < l->x.size[1]; i++)
        squares += (double)*cudasim_at(&l->x, n, i, h, w) * *cudasim_at(&l->x, n, i, h, w);
    return l->k + l->alpha / l->n * squares;
}

#define FOR_ALL(t, n, c, h, w)                                                                                         \
    for (int n = 0; n < (t).size[0]; n++)                                                                              \
        for (int c = 0; c < (t).size[1]; c++)                                                                          \
            for (int h = 0; h < (t).size[2]; h++)                                                                      \
                for (int w = 0; w < (t).size[3]; w++)

static void run_lrn(void *argument)
{
    const struct lrn *l = argument;
    FOR_ALL(l->x, n, c, h, w)
    {
        float *y = cudasim_at(&l->y, n, c, h, w);
        double value = *cudasim_at(&l->x, n, c, h, w) * pow(sum_of(l, n, c, h, w), -l->beta);
        *y = cudasim_blend(l->alpha_blend, value, l->beta_blend, y);
    }
}

/* dx[c] = dy[c] s[c]^-beta - 2 alpha beta / n x[c] sum over those j whose windows hold c of dy[j] y[j] / s[j]. */
static void run_lrn_backward(void *argument)
{
    const struct lrn *l = argument;
    FOR_ALL(l->x, n, c, h, w)
    {
        double others = 0;
        int before = (l->n - 1) / 2, after = l->n - 1 - before;
        for (int j = c - after < 0 ? 0 : c - after; j <= c + before && j < l->x.size[1]; j++)
            others += *cudasim_at(&l->dy, n, j, h, w) * (double)*cudasim_at(&l->y, n, j, h, w) / sum_of(l, n, j, h, w);
        double value = *cudasim_at(&l->dy, n, c, h, w) * pow(sum_of(l, n, c, h, w), -l->beta) -
                       2 * l->alpha * l->beta / l->n * *cudasim_at(&l->x, n, c, h, w) * others;
        float *dx = cudasim_at(&l->dx, n, c, h, w);
        *dx = cudasim_blend(l->alpha_blend, value, l->beta_blend, dx);
    }
}

static void read_lrn(struct cudasim_op *op, cudnnLRNDescriptor_t descriptor, cudnnLRNMode_t mode, struct lrn *l)
{
    unsigned n = 0;
    if (op->status == 0 && (mode != CUDNN_LRN_CROSS_CHANNEL_DIM1 ||
                            cudnnGetLRNDescriptor(descriptor, &n, &l->alpha, &l->beta, &l->k) != CUDNN_STATUS_SUCCESS))
        cudasim_op_fault(op, "not a descriptor of a normalization across channels");
    l->n = (int)n;
}

cudnnStatus_t cudnnLRNCrossChannelForward(cudnnHandle_t handle, cudnnLRNDescriptor_t normDesc, cudnnLRNMode_t lrnMode,
                                          const void *alpha, const cudnnTensorDescriptor_t xDesc, const void *x,
                                          const void *beta, const cudnnTensorDescriptor_t yDesc, void *y)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct lrn, run_lrn);
    struct lrn *l = op->argument;
    *l = (struct lrn){.alpha_blend = *(const float *)alpha, .beta_blend = *(const float *)beta};
    read_lrn(op, normDesc, lrnMode, l);
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &l->x, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &l->y, "y");
    cudasim_same_size(op, &l->x, "x", &l->y, "y");
    cudasim_no_overlap(op);
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnLRNCrossChannelBackward(cudnnHandle_t handle, cudnnLRNDescriptor_t normDesc, cudnnLRNMode_t lrnMode,
                                           const void *alpha, const cudnnTensorDescriptor_t yDesc, const void *y,
                                           const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                           const cudnnTensorDescriptor_t xDesc, const void *x, const void *beta,
                                           const cudnnTensorDescriptor_t dxDesc, void *dx)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct lrn, run_lrn_backward);
    struct lrn *l = op->argument;
    *l = (struct lrn){.alpha_blend = *(const float *)alpha, .beta_blend = *(const float *)beta};
    read_lrn(op, normDesc, lrnMode, l);
    cudasim_tensor(op, yDesc, y, CUDASIM_READ, &l->y, "y");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &l->dy, "dy");
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &l->x, "x");
    cudasim_tensor(op, dxDesc, dx, cudasim_output(beta), &l->dx, "dx");
    cudasim_same_size(op, &l->x, "x", &l->y, "y");
    cudasim_same_size(op, &l->x, "x", &l->dy, "dy");
    cudasim_same_size(op, &l->x, "x", &l->dx, "dx");
    cudasim_no_overlap(op);
    return (cudnnStatus_t)cudasim_op_end(op);
}
