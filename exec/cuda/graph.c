/*
 * What was put into a stream once, kept as a graph.
 *
 * A capture is of its thread alone (cudaStreamCaptureModeThreadLocal): other workers wait for events and ask them all
 * the time, which a global one would forbid them. cuBLAS may be captured when its workspace is set, as it is before
 * each product, for else it would take memory inside the graph; factors are taken from the host's memory at the call.
 * cuDNN's manual says nothing of captures of the flat calls; PyTorch has long captured them. Where one cannot be, the
 * call or the end of the capture says so, and the caller does without.
 */
#include "common/alloc.h"
#include "exec/cuda/cuda.h"

#include <stdlib.h>

struct graph {
    cudaGraphExec_t graph;
    int gpu;
};

sp_status exec_cuda_capture_begin(void *self, struct sp_error *err)
{
    const struct exec_cuda_queue *queue = self;
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(cudaStreamBeginCapture(queue->stream, cudaStreamCaptureModeThreadLocal));
    return SP_OK;
}

sp_status exec_cuda_capture_end(void *self, void **out, struct sp_error *err)
{
    const struct exec_cuda_queue *queue = self;
    cudaGraph_t captured = NULL;
    cudaGraphExec_t made = NULL;
    *out = NULL;
    (void)cudaSetDevice(queue->gpu); /* whatever that says, the capture must end */
    CUDA_TRY(cudaStreamEndCapture(queue->stream, &captured));
    cudaError_t code = cudaGraphInstantiate(&made, captured, 0);
    (void)cudaGraphDestroy(captured);
    if (code != cudaSuccess)
        return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaGraphInstantiate", __FILE__, __LINE__);
    struct graph *graph = sp_calloc(1, sizeof *graph);
    *graph = (struct graph){made, queue->gpu};
    *out = graph;
    return SP_OK;
}

sp_status exec_cuda_replay(void *self, void *graph, struct sp_error *err)
{
    const struct exec_cuda_queue *queue = self;
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(cudaGraphLaunch(((struct graph *)graph)->graph, queue->stream));
    return SP_OK;
}

void exec_cuda_graph_destroy(void **out)
{
    struct graph *graph = *out;
    if (graph == NULL)
        return;
    (void)cudaSetDevice(graph->gpu);
    (void)cudaGraphExecDestroy(graph->graph);
    free(graph);
    *out = NULL;
}
