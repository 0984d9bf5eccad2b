/*
 * The layers: cuDNN's flat calls and cuBLAS, here and nowhere else; beside them the kernels of kernels.cu.
 *
 * Only what is deterministic: a run must give the same bits whatever the timing. Dropout is a kernel of ours, for
 * cuDNN's masks depend on what was drawn before.
 */
#include "common/layer.h"
#include "common/random.h"
#include "exec/cuda/cuda.h"
#include "exec/cuda/kernels.h"

/*
 * Room for cuBLAS, in scratch; without it cuBLAS would take memory of its own. It wants it for parts of a sum that are
 * added up afterwards: 16 times the largest result, and no more than what is recommended before and from compute
 * capability 9 on.
 */
enum { BLAS_PARTS = 16, BLAS_LEAST = 64 << 10, BLAS_MOST = 4 << 20, BLAS_MOST_9 = 32 << 20, BLAS_ALIGN = 256 };

static const float one = 1, zero = 0;

int exec_cuda_keeps(const struct sp_layer *layer)
{
    bool again = layer->type == SP_LAYER_MAX_POOL || layer->type == SP_LAYER_AVERAGE_POOL ||
                 layer->type == SP_LAYER_GLOBAL_AVERAGE_POOL || layer->type == SP_LAYER_LRN;
    return sp_layer_kinds[layer->type]->flags | (again ? SP_KEEPS_INPUT | SP_KEEPS_OUTPUT : 0);
}

size_t exec_cuda_saved_bytes(const struct sp_layer *layer, int batch)
{
    bool again = layer->type == SP_LAYER_MAX_POOL || layer->type == SP_LAYER_LRN;
    return again ? 0 : sp_layer_kinds[layer->type]->saved_bytes(layer, batch);
}

/* Creating: descriptors. */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static sp_status describe_channels(cudnnTensorDescriptor_t *out, int channels, struct sp_error *err)
{
    CUDNN_TRY(cudnnCreateTensorDescriptor(out));
    CUDNN_TRY(cudnnSetTensor4dDescriptor(*out, EXEC_CUDA_LAYOUT, CUDNN_DATA_FLOAT, 1, channels, 1, 1));
    return SP_OK;
}

static cudnnMathType_t math_type(const struct exec_cuda_model *model)
{
    return model->context->tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
}

static sp_status create_convolution(struct exec_cuda_model *model, struct exec_cuda_layer *it, struct sp_error *err)
{
    const struct sp_layer *l = it->layer;
    CUDNN_TRY(cudnnCreateFilterDescriptor(&it->filter));
    CUDNN_TRY(cudnnSetFilter4dDescriptor(it->filter, CUDNN_DATA_FLOAT, EXEC_CUDA_LAYOUT, l->out.c, l->in.c,
                                         l->settings.kernel, l->settings.kernel));
    CUDNN_TRY(cudnnCreateConvolutionDescriptor(&it->convolution));
    CUDNN_TRY(cudnnSetConvolution2dDescriptor(it->convolution, l->settings.pad, l->settings.pad, l->settings.stride,
                                              l->settings.stride, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    CUDNN_TRY(cudnnSetConvolutionMathType(it->convolution, math_type(model)));
    SP_TRY(describe_channels(&it->parameter, l->out.c, err));
    return exec_cuda_choose_algorithms(model, it, err);
}

static sp_status create_fully_connected(struct exec_cuda_model *model, struct exec_cuda_layer *it, struct sp_error *err)
{
    size_t N = (size_t)model->batch, I = (size_t)sp_shape_elements(it->layer->in), O = (size_t)it->layer->out.c;
    size_t wanted = BLAS_PARTS * sizeof(float) * larger(larger(N * I, N * O), I * O);
    size_t most = model->context->devices[model->context->first_device].capability >= 90 ? BLAS_MOST_9 : BLAS_MOST;
    size_t bytes = wanted < BLAS_LEAST ? BLAS_LEAST : wanted > most ? most : wanted;
    for (int pass = 0; pass < SP_PASS_COUNT; pass++)
        it->scratch[pass] = (bytes + BLAS_ALIGN - 1) / BLAS_ALIGN * BLAS_ALIGN + BLAS_ALIGN;
    return describe_channels(&it->parameter, it->layer->out.c, err);
}

/* Where dx is not wanted cuDNN writes it all the same. */
static sp_status create_batch_norm(struct exec_cuda_model *model, struct exec_cuda_layer *it, struct sp_error *err)
{
    if (it->layer->inputs[0] == 0)
        it->scratch[SP_PASS_BACKWARD] = sizeof(float) * (size_t)sp_shape_elements(it->layer->in) * (size_t)model->batch;
    CUDNN_TRY(cudnnCreateTensorDescriptor(&it->parameter));
    CUDNN_TRY(cudnnDeriveBNTensorDescriptor(it->parameter, it->in, CUDNN_BATCHNORM_SPATIAL));
    return SP_OK;
}

static sp_status create_pooling(struct exec_cuda_layer *it, struct sp_error *err)
{
    const struct sp_layer *l = it->layer;
    bool all = l->type == SP_LAYER_GLOBAL_AVERAGE_POOL, most = l->type == SP_LAYER_MAX_POOL;
    int K = l->settings.kernel, pad = l->settings.pad, stride = l->settings.stride;
    CUDNN_TRY(cudnnCreatePoolingDescriptor(&it->pooling));
    CUDNN_TRY(cudnnSetPooling2dDescriptor(
        it->pooling, most ? CUDNN_POOLING_MAX_DETERMINISTIC : CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING,
        CUDNN_NOT_PROPAGATE_NAN, all ? l->in.h : K, all ? l->in.w : K, all ? 0 : pad, all ? 0 : pad, all ? 1 : stride,
        all ? 1 : stride));
    return SP_OK;
}

static sp_status create_relu(struct exec_cuda_layer *it, struct sp_error *err)
{
    CUDNN_TRY(cudnnCreateActivationDescriptor(&it->activation));
    CUDNN_TRY(cudnnSetActivationDescriptor(it->activation, CUDNN_ACTIVATION_RELU, CUDNN_NOT_PROPAGATE_NAN, 0));
    return SP_OK;
}

static sp_status create_lrn(struct exec_cuda_layer *it, struct sp_error *err)
{
    const struct sp_layer_settings *s = &it->layer->settings;
    CUDNN_TRY(cudnnCreateLRNDescriptor(&it->lrn));
    CUDNN_TRY(cudnnSetLRNDescriptor(it->lrn, (unsigned)s->size, (double)s->alpha, (double)s->beta, (double)s->k));
    return SP_OK;
}

sp_status exec_cuda_layer_create(struct exec_cuda_model *model, int l, struct sp_error *err)
{
    struct exec_cuda_layer *it = &model->layers[l];
    it->layer = &model->network->layers[l];
    it->in = model->tensors[it->layer->inputs[0]];
    it->out = model->tensors[l + 1];
    switch (it->layer->type) {
    case SP_LAYER_CONVOLUTION:
        return create_convolution(model, it, err);
    case SP_LAYER_FULLY_CONNECTED:
        return create_fully_connected(model, it, err);
    case SP_LAYER_BATCH_NORM:
        return create_batch_norm(model, it, err);
    case SP_LAYER_MAX_POOL:
    case SP_LAYER_AVERAGE_POOL:
    case SP_LAYER_GLOBAL_AVERAGE_POOL:
        return create_pooling(it, err);
    case SP_LAYER_RELU:
        return create_relu(it, err);
    case SP_LAYER_LRN:
        return create_lrn(it, err);
    case SP_LAYER_SOFTMAX_CROSS_ENTROPY:
        it->scratch[SP_PASS_EVALUATE] = sizeof(float) * (size_t)it->layer->in.c * (size_t)model->batch;
        return SP_OK;
    default:
        return SP_OK;
    }
}

void exec_cuda_layer_destroy(struct exec_cuda_layer *it)
{
    if (it->parameter != NULL)
        (void)cudnnDestroyTensorDescriptor(it->parameter);
    if (it->filter != NULL)
        (void)cudnnDestroyFilterDescriptor(it->filter);
    if (it->convolution != NULL)
        (void)cudnnDestroyConvolutionDescriptor(it->convolution);
    if (it->pooling != NULL)
        (void)cudnnDestroyPoolingDescriptor(it->pooling);
    if (it->activation != NULL)
        (void)cudnnDestroyActivationDescriptor(it->activation);
    if (it->lrn != NULL)
        (void)cudnnDestroyLRNDescriptor(it->lrn);
}

/* Running. Each function does one kind's passes. */

struct call {
    const struct exec_cuda_model *model;
    const struct exec_cuda_layer *it;
    const struct exec_cuda_queue *queue;
    enum sp_pass pass;
    const struct exec_io *io;
};

static size_t elements(const struct call *c, struct sp_shape shape)
{
    return (size_t)sp_shape_elements(shape) * (size_t)c->model->batch;
}

static sp_status add_bias(const struct call *c, struct sp_error *err)
{
    const void *bias = c->io->parameter[SP_PARAMETER_BIAS];
    if (bias != NULL)
        CUDNN_TRY(cudnnAddTensor(c->queue->cudnn, &one, c->it->parameter, bias, &one, c->it->out, c->io->output));
    return SP_OK;
}

static sp_status bias_gradient(const struct call *c, struct sp_error *err)
{
    void *gradient = c->io->parameter_gradient[SP_PARAMETER_BIAS];
    if (gradient != NULL)
        CUDNN_TRY(cudnnConvolutionBackwardBias(c->queue->cudnn, &one, c->it->out, c->io->output_gradient, &zero,
                                               c->it->parameter, gradient));
    return SP_OK;
}

static sp_status run_convolution(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    cudnnHandle_t cudnn = c->queue->cudnn;
    size_t bytes = it->scratch[c->pass];
    void *scratch = bytes > 0 ? io->scratch : NULL;
    if (c->pass != SP_PASS_BACKWARD) {
        CUDNN_TRY(cudnnConvolutionForward(cudnn, &one, it->in, io->input[0], it->filter, io->parameter[0],
                                          it->convolution, it->forward, scratch, bytes, &zero, it->out, io->output));
        return add_bias(c, err);
    }
    CUDNN_TRY(cudnnConvolutionBackwardFilter(cudnn, &one, it->in, io->input[0], it->out, io->output_gradient,
                                             it->convolution, it->backward_filter, scratch, bytes, &zero, it->filter,
                                             io->parameter_gradient[0]));
    if (io->input_gradient[0] != NULL)
        CUDNN_TRY(cudnnConvolutionBackwardData(cudnn, &one, it->filter, io->parameter[0], it->out, io->output_gradient,
                                               it->convolution, it->backward_data, scratch, bytes, &zero, it->in,
                                               io->input_gradient[0]));
    return bias_gradient(c, err);
}

/* y (N, O) = x (N, I) w (O, I)^T, in cuBLAS's order of columns: y is O x N, x is I x N, w is I x O. */
static sp_status run_fully_connected(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct sp_layer *l = c->it->layer;
    cublasHandle_t blas = c->queue->cublas;
    int N = c->model->batch, I = (int)sp_shape_elements(l->in), O = l->out.c;
    const float *x = io->input[0], *w = io->parameter[0], *dy = io->output_gradient;
    uintptr_t scratch = ((uintptr_t)io->scratch + BLAS_ALIGN - 1) / BLAS_ALIGN * BLAS_ALIGN;
    CUBLAS_TRY(cublasSetWorkspace(blas, (void *)scratch, c->it->scratch[c->pass] - BLAS_ALIGN));
    if (c->pass != SP_PASS_BACKWARD) {
        CUBLAS_TRY(cublasSgemm(blas, CUBLAS_OP_T, CUBLAS_OP_N, O, N, I, &one, w, I, x, I, &zero, io->output, O));
        return add_bias(c, err);
    }
    CUBLAS_TRY(
        cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_T, I, O, N, &one, x, I, dy, O, &zero, io->parameter_gradient[0], I));
    if (io->input_gradient[0] != NULL)
        CUBLAS_TRY(
            cublasSgemm(blas, CUBLAS_OP_N, CUBLAS_OP_N, I, N, O, &one, w, I, dy, O, &zero, io->input_gradient[0], I));
    return bias_gradient(c, err);
}

static sp_status normalize(const struct call *c, float *mean, float *variance, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    const struct sp_layer_settings *s = &it->layer->settings;
    float *saved = io->saved;
    CUDNN_TRY(cudnnBatchNormalizationForwardTraining(c->queue->cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, it->in,
                                                     io->input[0], it->out, io->output, it->parameter, io->parameter[0],
                                                     io->parameter[1], (double)s->momentum, mean, variance,
                                                     (double)s->epsilon, saved, saved + it->layer->in.c));
    return SP_OK;
}

/*
 * Running statistics: (1 - momentum) * running + momentum * batch's, the variance unbiased, as everywhere here. That of
 * a single value would be 0 / 0, and is what cuDNN takes; here it is 0.
 */
static sp_status normalize_and_follow(const struct call *c, struct sp_error *err)
{
    const struct exec_cuda_layer *it = c->it;
    const float momentum = it->layer->settings.momentum, rest = 1 - momentum;
    float *mean = c->io->state, *variance = mean + it->layer->in.c;
    if (elements(c, it->layer->in) > (size_t)it->layer->in.c)
        return normalize(c, mean, variance, err);
    SP_TRY(normalize(c, NULL, NULL, err));
    CUDNN_TRY(cudnnAddTensor(c->queue->cudnn, &momentum, it->parameter, c->io->saved, &rest, it->parameter, mean));
    CUDNN_TRY(cudnnScaleTensor(c->queue->cudnn, it->parameter, variance, &rest));
    return SP_OK;
}

static sp_status run_batch_norm(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    cudnnHandle_t cudnn = c->queue->cudnn;
    int C = it->layer->in.c;
    float *mean = io->state, *saved = io->saved;
    double epsilon = (double)it->layer->settings.epsilon;
    if (c->pass == SP_PASS_FORWARD)
        return normalize_and_follow(c, err);
    if (c->pass == SP_PASS_EVALUATE)
        CUDNN_TRY(cudnnBatchNormalizationForwardInference(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, it->in,
                                                          io->input[0], it->out, io->output, it->parameter,
                                                          io->parameter[0], io->parameter[1], mean, mean + C, epsilon));
    else
        CUDNN_TRY(cudnnBatchNormalizationBackward(cudnn, CUDNN_BATCHNORM_SPATIAL, &one, &zero, &one, &zero, it->in,
                                                  io->input[0], it->out, io->output_gradient, it->in,
                                                  io->input_gradient[0] != NULL ? io->input_gradient[0] : io->scratch,
                                                  it->parameter, io->parameter[0], io->parameter_gradient[0],
                                                  io->parameter_gradient[1], epsilon, saved, saved + C));
    return SP_OK;
}

static sp_status run_pooling(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    if (c->pass != SP_PASS_BACKWARD)
        CUDNN_TRY(
            cudnnPoolingForward(c->queue->cudnn, it->pooling, &one, it->in, io->input[0], &zero, it->out, io->output));
    else if (io->input_gradient[0] != NULL)
        CUDNN_TRY(cudnnPoolingBackward(c->queue->cudnn, it->pooling, &one, it->out, io->output, it->out,
                                       io->output_gradient, it->in, io->input[0], &zero, it->in,
                                       io->input_gradient[0]));
    return SP_OK;
}

/* The input may be gone: y has the same sign, which is all that counts. */
static sp_status run_relu(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    if (c->pass != SP_PASS_BACKWARD)
        CUDNN_TRY(cudnnActivationForward(c->queue->cudnn, it->activation, &one, it->in, io->input[0], &zero, it->out,
                                         io->output));
    else if (io->input_gradient[0] != NULL)
        CUDNN_TRY(cudnnActivationBackward(c->queue->cudnn, it->activation, &one, it->out, io->output, it->out,
                                          io->output_gradient, it->out, io->output, &zero, it->in,
                                          io->input_gradient[0]));
    return SP_OK;
}

static sp_status run_lrn(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    if (c->pass != SP_PASS_BACKWARD)
        CUDNN_TRY(cudnnLRNCrossChannelForward(c->queue->cudnn, it->lrn, CUDNN_LRN_CROSS_CHANNEL_DIM1, &one, it->in,
                                              io->input[0], &zero, it->out, io->output));
    else if (io->input_gradient[0] != NULL)
        CUDNN_TRY(cudnnLRNCrossChannelBackward(c->queue->cudnn, it->lrn, CUDNN_LRN_CROSS_CHANNEL_DIM1, &one, it->out,
                                               io->output, it->out, io->output_gradient, it->in, io->input[0], &zero,
                                               it->in, io->input_gradient[0]));
    return SP_OK;
}

/* Copies all of a tensor unless both are one. */
static sp_status pass_on(const struct call *c, struct sp_shape shape, void *to, const void *from, struct sp_error *err)
{
    if (to == NULL || to == from)
        return SP_OK;
    CUDA_TRY(cudaMemcpyAsync(to, from, sizeof(float) * elements(c, shape), cudaMemcpyDeviceToDevice, c->queue->stream));
    return SP_OK;
}

static sp_status run_dropout(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct sp_layer *l = c->it->layer;
    struct exec_cuda_mask dropout = {l->settings.rate, io->seed, io->sequence, SP_RANDOM_DROPOUT};
    if (c->pass == SP_PASS_EVALUATE)
        return pass_on(c, l->out, io->output, io->input[0], err);
    if (c->pass == SP_PASS_FORWARD)
        CUDA_TRY(
            exec_cuda_dropout(io->input[0], io->output, io->saved, elements(c, l->out), dropout, c->queue->stream));
    else if (io->input_gradient[0] != NULL)
        CUDA_TRY(exec_cuda_dropout_backward(io->output_gradient, io->input_gradient[0], io->saved, elements(c, l->out),
                                            l->settings.rate, c->queue->stream));
    return SP_OK;
}

static sp_status run_add(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct sp_layer *l = c->it->layer;
    struct sp_shape y = l->out, z = c->model->network->shapes[l->inputs[1]];
    struct exec_shortcut shortcut = {y.c, y.h, y.w, z.c, z.h, z.w, l->settings.stride};
    if (c->pass != SP_PASS_BACKWARD) {
        CUDA_TRY(exec_cuda_add(io->input[0], io->input[1], io->output, shortcut, elements(c, y), c->queue->stream));
        return SP_OK;
    }
    if (io->input_gradient[1] != NULL)
        CUDA_TRY(exec_cuda_add_backward(io->output_gradient, io->input_gradient[1], shortcut, elements(c, z),
                                        c->queue->stream));
    return pass_on(c, y, io->input_gradient[0], io->output_gradient, err);
}

static sp_status run_flatten(const struct call *c, struct sp_error *err)
{
    if (c->pass == SP_PASS_BACKWARD)
        return pass_on(c, c->it->layer->out, c->io->input_gradient[0], c->io->output_gradient, err);
    return pass_on(c, c->it->layer->out, c->io->output, c->io->input[0], err);
}

/* F leaves log-probabilities. */
static sp_status run_loss(const struct call *c, struct sp_error *err)
{
    const struct exec_io *io = c->io;
    const struct exec_cuda_layer *it = c->it;
    int N = c->model->batch, C = it->layer->in.c;
    float *log_p = c->pass == SP_PASS_EVALUATE ? io->scratch : io->saved;
    if (c->pass == SP_PASS_BACKWARD) {
        if (io->input_gradient[0] != NULL)
            CUDA_TRY(exec_cuda_loss_backward(log_p, io->labels, io->input_gradient[0], N, C, io->label_smoothing,
                                             io->minibatch_size, c->queue->stream));
        return SP_OK;
    }
    CUDNN_TRY(cudnnSoftmaxForward(c->queue->cudnn, CUDNN_SOFTMAX_LOG, CUDNN_SOFTMAX_MODE_INSTANCE, &one, it->in,
                                  io->input[0], &zero, it->in, log_p));
    CUDA_TRY(exec_cuda_loss(log_p, io->input[0], io->labels, N, C,
                            c->pass == SP_PASS_EVALUATE ? 0.0f : io->label_smoothing, io->loss_sum, io->correct,
                            c->queue->stream));
    return SP_OK;
}

typedef sp_status runner(const struct call *c, struct sp_error *err);
static runner *const runners[SP_LAYER_TYPE_COUNT] = {
    [SP_LAYER_CONVOLUTION] = run_convolution,
    [SP_LAYER_BATCH_NORM] = run_batch_norm,
    [SP_LAYER_RELU] = run_relu,
    [SP_LAYER_MAX_POOL] = run_pooling,
    [SP_LAYER_AVERAGE_POOL] = run_pooling,
    [SP_LAYER_GLOBAL_AVERAGE_POOL] = run_pooling,
    [SP_LAYER_LRN] = run_lrn,
    [SP_LAYER_DROPOUT] = run_dropout,
    [SP_LAYER_FULLY_CONNECTED] = run_fully_connected,
    [SP_LAYER_ADD] = run_add,
    [SP_LAYER_FLATTEN] = run_flatten,
    [SP_LAYER_SOFTMAX_CROSS_ENTROPY] = run_loss,
};

sp_status exec_cuda_layer_run(const struct exec_cuda_model *model, int l, enum sp_pass pass, const struct exec_io *io,
                              struct sp_error *err)
{
    const struct call call = {model, &model->layers[l], io->queue, pass, io};
    CUDA_TRY(cudaSetDevice(call.queue->gpu));
    return runners[model->network->layers[l].type](&call, err);
}
