/*
 * cuda.h - what the parts of the CUDA backend share.
 *
 * Tensors are float32 in NCHW, parameters in C order, so nothing is converted on its way in or out: without tensor
 * cores cuDNN is as fast so as any other way, and with them (TF32) it converts by itself. EXEC_CUDA_LAYOUT is the one
 * place that says so.
 */
#ifndef EXEC_CUDA_H
#define EXEC_CUDA_H

#include "exec/backend.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <pthread.h>

#if CUDNN_MAJOR >= 10
#error "cuDNN 10 is newer than what this was written for; 9 is needed"
#endif

#define EXEC_CUDA_LAYOUT CUDNN_TENSOR_NCHW

/* Memory taken by this backend. */
struct exec_cuda_block {
    char *at;
    size_t bytes;
    int device; /* of the plan; -1: the host's */
};

/* A device of the plan. When there are fewer GPUs, several of them are one GPU. */
struct exec_cuda_device {
    int gpu;
    int capability, processors; /* 10 * major + minor; multiprocessors */
    char name[64];
    unsigned char identity[16]; /* that nvidia-smi -L names, too */
    cudaStream_t stream;        /* for copies that are waited for, under `mutex` */
    cudnnHandle_t cudnn;        /* to ask cuDNN with, under `mutex` */
    pthread_mutex_t mutex;
};

struct exec_cuda_context {
    struct exec_cuda_device *devices;
    int first_device, device_count; /* of the plan; those before the first, and from device_count on, are not here */
    struct exec_team *team;         /* the other processes of the run; NULL: none */
    bool tf32, through_host;
    bool *apart;   /* [device * devices + device] of those here: no path was left between them */
    char *wanted;  /* choices to follow; NULL: none */
    char *choices; /* made so far, a line each */
    void (*tell)(void *self, const char *text); /* NULL: nobody is told */
    void *tell_self;
    struct exec_cuda_block *blocks;
    int block_count;
    pthread_mutex_t mutex; /* of blocks and choices */
};

/* A queue is a stream with, where it computes, its own library handles. */
struct exec_cuda_queue {
    struct exec_cuda_context *context;
    int device, gpu;
    cudaStream_t stream;
    cudnnHandle_t cudnn;
    cublasHandle_t cublas;
};

struct exec_cuda_model {
    struct exec_cuda_context *context;
    const struct sp_network *network;
    int batch;
    cudnnTensorDescriptor_t *tensors; /* [tensor] */
    struct exec_cuda_layer *layers;
};

/* A layer's descriptors; those that its kind does not have are NULL. */
struct exec_cuda_layer {
    const struct sp_layer *layer;
    cudnnTensorDescriptor_t in, out, parameter; /* in and out are the model's; parameter: (1, C, 1, 1) */
    cudnnFilterDescriptor_t filter;
    cudnnConvolutionDescriptor_t convolution;
    cudnnConvolutionFwdAlgo_t forward;
    cudnnConvolutionBwdDataAlgo_t backward_data;
    cudnnConvolutionBwdFilterAlgo_t backward_filter;
    cudnnPoolingDescriptor_t pooling;
    cudnnActivationDescriptor_t activation;
    cudnnLRNDescriptor_t lrn;
    size_t scratch[SP_PASS_COUNT];
};

/* The calls of a library, each checked where it is made: the function's name and the library's words become the error.
 * `err` must be in scope. */
#define EXEC_CUDA_TRY(library, call)                                                                                   \
    do {                                                                                                               \
        int exec_cuda_code = (int)(call);                                                                              \
        if (exec_cuda_code != 0)                                                                                       \
            return exec_cuda_failed(err, library, exec_cuda_code, #call, __FILE__, __LINE__);                          \
    } while (0)
enum exec_cuda_library { EXEC_CUDART, EXEC_CUDNN, EXEC_CUBLAS };
sp_status exec_cuda_failed(struct sp_error *err, enum exec_cuda_library library, int code, const char *call,
                           const char *source, int line);
#define CUDA_TRY(call)   EXEC_CUDA_TRY(EXEC_CUDART, call)
#define CUDNN_TRY(call)  EXEC_CUDA_TRY(EXEC_CUDNN, call)
#define CUBLAS_TRY(call) EXEC_CUDA_TRY(EXEC_CUBLAS, call)

/* The table, in a library of its own (exec/cuda/find.c). */
extern const struct exec_backend exec_cuda_backend;
extern const size_t exec_cuda_layout; /* EXEC_BACKEND_LAYOUT when it was compiled */

/* The context (exec/cuda/context.c). */
sp_status exec_cuda_create(const struct exec_backend_config *config, void **context, struct sp_error *err);
void exec_cuda_destroy(void **context);
sp_status exec_cuda_reserve(void *context, const size_t *bytes, struct sp_error *err);
sp_status exec_cuda_allocate(void *context, int device, size_t bytes, void **memory, struct sp_error *err);
void exec_cuda_release(void *context, void *memory, size_t bytes);
sp_status exec_cuda_copy(void *context, void *to, const void *from, size_t bytes, struct sp_error *err);
sp_status exec_cuda_take_host(void *context, size_t bytes, void **memory, struct sp_error *err);
void exec_cuda_release_host(void *context, void *memory);
bool exec_cuda_reaches(const void *context, int from, int to);
/* Enqueues a copy between any two memories. */
sp_status exec_cuda_enqueue_copy(struct exec_cuda_context *context, void *to, const void *from, size_t bytes,
                                 cudaStream_t stream, struct sp_error *err);

/* Queues and events (exec/cuda/queue.c), and what they keep (exec/cuda/graph.c). */
extern const struct exec_async exec_cuda_async;
sp_status exec_cuda_capture_begin(void *queue, struct sp_error *err);
sp_status exec_cuda_capture_end(void *queue, void **graph, struct sp_error *err);
sp_status exec_cuda_replay(void *queue, void *graph, struct sp_error *err);
void exec_cuda_graph_destroy(void **graph);

/* NCCL between processes (exec/cuda/nccl.c); not linked where there is no NCCL, and then its address is NULL. */
extern const struct exec_peers exec_cuda_peers __attribute__((weak));

/* What cuDNN and cuBLAS do (exec/cuda/layers.c): descriptors and algorithms of a layer, and its passes. */
sp_status exec_cuda_layer_create(struct exec_cuda_model *model, int l, struct sp_error *err);
void exec_cuda_layer_destroy(struct exec_cuda_layer *layer);
sp_status exec_cuda_layer_run(const struct exec_cuda_model *model, int l, enum sp_pass pass, const struct exec_io *io,
                              struct sp_error *err);

/* What a layer keeps for B (SP_KEEPS_…, exec/cuda/layers.c): pooling and LRN read input and output again. */
int exec_cuda_keeps(const struct sp_layer *layer);
size_t exec_cuda_saved_bytes(const struct sp_layer *layer, int batch);

/* A convolution's algorithms and what scratch they need (exec/cuda/algorithms.c); its descriptors are there. */
sp_status exec_cuda_choose_algorithms(struct exec_cuda_model *model, struct exec_cuda_layer *it, struct sp_error *err);

/* The algorithm chosen for a layer's pass before, by this run or the one it continues; -1: none. And a new choice. */
int exec_cuda_chosen(struct exec_cuda_context *context, const char *key);
void exec_cuda_choose(struct exec_cuda_context *context, const char *key, int algorithm);

#endif
