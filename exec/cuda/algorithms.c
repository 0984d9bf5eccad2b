/*
 * Which of cuDNN's algorithms a convolution takes: once for each shape and pass, the same in all layers, and kept in
 * checkpoints, for the bits depend on it. It is the first that cuDNN proposes, best first, that is deterministic,
 * computes as wanted, does not need too much, and that cuDNN does when it is asked for its workspace. A run that is
 * continued takes what it had; where another cuDNN or chip refuses that, it takes another and says so.
 */
#include "common/alloc.h"
#include "exec/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

/* A convolution's scratch is at most this; faster algorithms that need more are passed over. */
static const size_t most_scratch = (size_t)512 << 20;

/* A layer's three choices. */
enum choice { FORWARD, DATA, FILTER, CHOICE_COUNT };
static const char *const names[] = {"forward", "data", "filter"};

/* What cuDNN always has, and which is taken for want of another, whatever it needs. */
static const int always[] = {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
                             CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1};

struct choosing {
    struct exec_cuda_model *model;
    struct exec_cuda_layer *it;
    cudnnHandle_t cudnn;
    enum choice which;
    char key[128];
};

struct offers {
    int algorithms[16]; /* best first */
    int count;
};

/* Those that cuDNN's manual calls nondeterministic, whatever they are said to be. */
static bool is_banned(enum choice which, int algorithm)
{
    return (which == DATA && algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_0) ||
           (which == FILTER &&
            (algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 || algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3));
}

static bool is_usable(const struct choosing *c, cudnnStatus_t status, cudnnDeterminism_t determinism,
                      cudnnMathType_t math, size_t bytes)
{
    bool precise = math == CUDNN_FMA_MATH || math == CUDNN_DEFAULT_MATH;
    return status == CUDNN_STATUS_SUCCESS && determinism == CUDNN_DETERMINISTIC && bytes <= most_scratch &&
           (precise || c->model->context->tf32);
}

/* From an array of any of the three types that cuDNN has for one thing. */
#define TAKE_USABLE(c, results, found, out)                                                                            \
    for (int n = 0; n < (found); n++)                                                                                  \
        if (is_usable(c, (results)[n].status, (results)[n].determinism, (results)[n].mathType, (results)[n].memory) && \
            !is_banned((c)->which, (int)(results)[n].algo))                                                            \
    (out)->algorithms[(out)->count++] = (int)(results)[n].algo

static sp_status ask(const struct choosing *c, struct offers *out, struct sp_error *err)
{
    const struct exec_cuda_layer *it = c->it;
    int found = 0;
    out->count = 0;
    if (c->which == FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t results[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
        CUDNN_TRY(cudnnGetConvolutionForwardAlgorithm_v7(c->cudnn, it->in, it->filter, it->convolution, it->out,
                                                         CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &found, results));
        TAKE_USABLE(c, results, found, out);
    } else if (c->which == DATA) {
        cudnnConvolutionBwdDataAlgoPerf_t results[CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT];
        CUDNN_TRY(cudnnGetConvolutionBackwardDataAlgorithm_v7(c->cudnn, it->filter, it->out, it->convolution, it->in,
                                                              CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, &found, results));
        TAKE_USABLE(c, results, found, out);
    } else {
        cudnnConvolutionBwdFilterAlgoPerf_t results[CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT];
        CUDNN_TRY(cudnnGetConvolutionBackwardFilterAlgorithm_v7(c->cudnn, it->in, it->out, it->convolution, it->filter,
                                                                CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, &found,
                                                                results));
        TAKE_USABLE(c, results, found, out);
    }
    out->algorithms[out->count++] = always[c->which];
    return SP_OK;
}

static cudnnStatus_t ask_workspace(const struct choosing *c, int algorithm, size_t *bytes)
{
    const struct exec_cuda_layer *it = c->it;
    switch (c->which) {
    case FORWARD:
        return cudnnGetConvolutionForwardWorkspaceSize(c->cudnn, it->in, it->filter, it->convolution, it->out,
                                                       (cudnnConvolutionFwdAlgo_t)algorithm, bytes);
    case DATA:
        return cudnnGetConvolutionBackwardDataWorkspaceSize(c->cudnn, it->filter, it->out, it->convolution, it->in,
                                                            (cudnnConvolutionBwdDataAlgo_t)algorithm, bytes);
    default:
        return cudnnGetConvolutionBackwardFilterWorkspaceSize(c->cudnn, it->in, it->out, it->convolution, it->filter,
                                                              (cudnnConvolutionBwdFilterAlgo_t)algorithm, bytes);
    }
}

/* Its workspace; *refused: cuDNN does not do it, or needs too much. */
static sp_status try_algorithm(const struct choosing *c, int algorithm, size_t *bytes, bool *refused,
                               struct sp_error *err)
{
    static const char *const calls[] = {"cudnnGetConvolutionForwardWorkspaceSize",
                                        "cudnnGetConvolutionBackwardDataWorkspaceSize",
                                        "cudnnGetConvolutionBackwardFilterWorkspaceSize"};
    *bytes = 0;
    cudnnStatus_t code = ask_workspace(c, algorithm, bytes);
    int category = CUDNN_STATUS_CATEGORY((int)code);
    *refused = category == CUDNN_STATUS_NOT_SUPPORTED || category == CUDNN_STATUS_BAD_PARAM ||
               (*bytes > most_scratch && algorithm != always[c->which]);
    return code == CUDNN_STATUS_SUCCESS || *refused
               ? SP_OK
               : exec_cuda_failed(err, EXEC_CUDNN, (int)code, calls[c->which], __FILE__, __LINE__);
}

static sp_status choose_anew(const struct choosing *c, int *algorithm, size_t *bytes, struct sp_error *err)
{
    struct offers offers;
    bool refused = true;
    SP_TRY(ask(c, &offers, err));
    for (int n = 0; n < offers.count && refused; n++) {
        *algorithm = offers.algorithms[n];
        SP_TRY(try_algorithm(c, *algorithm, bytes, &refused, err));
    }
    if (refused)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: cuDNN has no deterministic algorithm for layer %s (%s)",
                       c->it->layer->name, names[c->which]);
    return SP_OK;
}

static void tell_refused(const struct choosing *c, int algorithm)
{
    const struct exec_cuda_context *context = c->model->context;
    if (context->tell == NULL)
        return;
    char *text =
        sp_format("cuDNN does not do here what layer %s was computed with so far (%s, algorithm %d); another is "
                  "taken, and the weights will not be the same bits as there",
                  c->it->layer->name, names[c->which], algorithm);
    context->tell(context->tell_self, text);
    free(text);
}

static sp_status choose(struct choosing *c, int *algorithm, size_t *bytes, struct sp_error *err)
{
    const struct sp_layer *l = c->it->layer;
    bool refused = true;
    snprintf(c->key, sizeof c->key, "%s %dx%dx%dx%d %d %d/%d/%d", names[c->which], c->model->batch, l->in.c, l->in.h,
             l->in.w, l->out.c, l->settings.kernel, l->settings.stride, l->settings.pad);
    *algorithm = exec_cuda_chosen(c->model->context, c->key);
    if (*algorithm >= 0) {
        SP_TRY(try_algorithm(c, *algorithm, bytes, &refused, err));
        if (refused)
            tell_refused(c, *algorithm);
    }
    if (refused)
        SP_TRY(choose_anew(c, algorithm, bytes, err));
    exec_cuda_choose(c->model->context, c->key, *algorithm);
    return SP_OK;
}

static sp_status choose_all(struct exec_cuda_model *model, struct exec_cuda_layer *it, cudnnHandle_t cudnn,
                            struct sp_error *err)
{
    int algorithms[CHOICE_COUNT];
    size_t bytes[CHOICE_COUNT];
    for (int which = 0; which < CHOICE_COUNT; which++) {
        struct choosing c = {.model = model, .it = it, .cudnn = cudnn, .which = (enum choice)which};
        SP_TRY(choose(&c, &algorithms[which], &bytes[which], err));
    }
    it->forward = (cudnnConvolutionFwdAlgo_t)algorithms[FORWARD];
    it->backward_data = (cudnnConvolutionBwdDataAlgo_t)algorithms[DATA];
    it->backward_filter = (cudnnConvolutionBwdFilterAlgo_t)algorithms[FILTER];
    it->scratch[SP_PASS_FORWARD] = it->scratch[SP_PASS_EVALUATE] = bytes[FORWARD];
    it->scratch[SP_PASS_BACKWARD] = bytes[DATA] > bytes[FILTER] ? bytes[DATA] : bytes[FILTER];
    return SP_OK;
}

sp_status exec_cuda_choose_algorithms(struct exec_cuda_model *model, struct exec_cuda_layer *it, struct sp_error *err)
{
    struct exec_cuda_device *device = &model->context->devices[model->context->first_device];
    CUDA_TRY(cudaSetDevice(device->gpu));
    pthread_mutex_lock(&device->mutex);
    sp_status status = choose_all(model, it, device->cudnn, err);
    pthread_mutex_unlock(&device->mutex);
    return status;
}
