/*
 * Queues are streams, events are events.
 */
#include "common/alloc.h"
#include "exec/cuda/cuda.h"

#include <stdlib.h>

struct event {
    cudaEvent_t event;
    int gpu;
};

static sp_status open_handles(struct exec_cuda_queue *queue, struct sp_error *err)
{
    CUDNN_TRY(cudnnCreate(&queue->cudnn));
    CUDNN_TRY(cudnnSetStream(queue->cudnn, queue->stream));
    CUBLAS_TRY(cublasCreate(&queue->cublas));
    CUBLAS_TRY(cublasSetStream(queue->cublas, queue->stream));
    CUBLAS_TRY(
        cublasSetMathMode(queue->cublas, queue->context->tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH));
    return SP_OK;
}

static sp_status open_stream(struct exec_cuda_queue *queue, bool computes, struct sp_error *err)
{
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(cudaStreamCreateWithFlags(&queue->stream, cudaStreamNonBlocking));
    return computes ? open_handles(queue, err) : SP_OK;
}

static void queue_destroy(void **out)
{
    struct exec_cuda_queue *queue = *out;
    if (queue == NULL)
        return;
    (void)cudaSetDevice(queue->gpu);
    if (queue->stream != NULL)
        (void)cudaStreamSynchronize(queue->stream);
    if (queue->cublas != NULL)
        (void)cublasDestroy(queue->cublas);
    if (queue->cudnn != NULL)
        (void)cudnnDestroy(queue->cudnn);
    if (queue->stream != NULL)
        (void)cudaStreamDestroy(queue->stream);
    free(queue);
    *out = NULL;
}

static sp_status queue_create(void *self, int device, bool computes, void **out, struct sp_error *err)
{
    struct exec_cuda_context *context = self;
    struct exec_cuda_queue *queue = sp_calloc(1, sizeof *queue);
    queue->context = context;
    queue->device = device;
    queue->gpu = context->devices[device].gpu;
    *out = queue;
    sp_status status = open_stream(queue, computes, err);
    if (status != SP_OK)
        queue_destroy(out);
    return status;
}

static sp_status event_create(void *self, int device, bool timed, void **out, struct sp_error *err)
{
    const struct exec_cuda_context *context = self;
    int gpu = context->devices[device].gpu;
    cudaEvent_t made;
    *out = NULL;
    CUDA_TRY(cudaSetDevice(gpu));
    CUDA_TRY(cudaEventCreateWithFlags(&made, cudaEventBlockingSync | (timed ? 0 : cudaEventDisableTiming)));
    struct event *event = sp_calloc(1, sizeof *event);
    *event = (struct event){made, gpu};
    *out = event;
    return SP_OK;
}

static void event_destroy(void **out)
{
    struct event *event = *out;
    if (event == NULL)
        return;
    (void)cudaSetDevice(event->gpu);
    (void)cudaEventDestroy(event->event);
    free(event);
    *out = NULL;
}

static sp_status record(void *self, void *event, struct sp_error *err)
{
    const struct exec_cuda_queue *queue = self;
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(cudaEventRecord(((struct event *)event)->event, queue->stream));
    return SP_OK;
}

static sp_status wait(void *self, void *event, struct sp_error *err)
{
    const struct exec_cuda_queue *queue = self;
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(cudaStreamWaitEvent(queue->stream, ((struct event *)event)->event, 0));
    return SP_OK;
}

static sp_status is_done(void *self, bool *done, struct sp_error *err)
{
    const struct event *event = self;
    cudaError_t code = cudaEventQuery(event->event);
    *done = code == cudaSuccess;
    if (code != cudaSuccess && code != cudaErrorNotReady)
        return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaEventQuery", __FILE__, __LINE__);
    return SP_OK;
}

static sp_status finish(void *self, struct sp_error *err)
{
    CUDA_TRY(cudaEventSynchronize(((struct event *)self)->event));
    return SP_OK;
}

static sp_status elapsed_s(void *from, void *to, double *seconds, struct sp_error *err)
{
    float ms;
    CUDA_TRY(cudaEventElapsedTime(&ms, ((struct event *)from)->event, ((struct event *)to)->event));
    *seconds = 1e-3 * (double)ms;
    return SP_OK;
}

static sp_status copy(void *self, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    struct exec_cuda_queue *queue = self;
    CUDA_TRY(cudaSetDevice(queue->gpu));
    return exec_cuda_enqueue_copy(queue->context, to, from, bytes, queue->stream, err);
}

const struct exec_async exec_cuda_async = {
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .record = record,
    .wait = wait,
    .is_done = is_done,
    .finish = finish,
    .elapsed_s = elapsed_s,
    .copy = copy,
    .reaches = exec_cuda_reaches,
    .take_host = exec_cuda_take_host,
    .release_host = exec_cuda_release_host,
    .capture_begin = exec_cuda_capture_begin,
    .capture_end = exec_cuda_capture_end,
    .replay = exec_cuda_replay,
    .graph_destroy = exec_cuda_graph_destroy,
    .peers = &exec_cuda_peers,
};
