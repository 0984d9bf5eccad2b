/*
 * The GPUs that a run uses, what is found out about them first, and their memory.
 */
#include "common/alloc.h"
#include "exec/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Also where a library wanted it for itself. */
static bool is_memory(enum exec_cuda_library library, int code)
{
    switch (library) {
    case EXEC_CUDNN:
        return code == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
               code == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    case EXEC_CUBLAS:
        return code == CUBLAS_STATUS_ALLOC_FAILED;
    default:
        return code == cudaErrorMemoryAllocation;
    }
}

static const char *words_of(enum exec_cuda_library library, int code)
{
    if (library == EXEC_CUDNN)
        return cudnnGetErrorString((cudnnStatus_t)code);
    return library == EXEC_CUBLAS ? cublasGetStatusString((cublasStatus_t)code) : cudaGetErrorString((cudaError_t)code);
}

sp_status exec_cuda_failed(struct sp_error *err, enum exec_cuda_library library, int code, const char *call,
                           const char *source, int line)
{
    bool memory = is_memory(library, code);
    char more[256] = "";
    if (library == EXEC_CUDART)
        (void)cudaGetLastError(); /* else the next call would report it again */
    if (library == EXEC_CUDNN)
        cudnnGetLastErrorString(more, sizeof more);
    more[strcspn(more, "\n")] = '\0';
    return sp_fail(err, memory ? SP_E_MEMORY : SP_E_BACKEND, source, line, "cuda: %.*s: %s%s%s%s",
                   (int)strcspn(call, "("), call, memory && library != EXEC_CUDART ? "out of memory: " : "",
                   words_of(library, code), more[0] != '\0' ? ": " : "", more);
}

/* Whether GPUs can be used at all, and how many there are. */
static sp_status find_gpus(int *count, struct sp_error *err)
{
    int driver = 0, runtime = 0;
    cudaError_t code = cudaGetDeviceCount(count);
    if (code == cudaSuccess && *count > 0)
        return SP_OK;
    (void)cudaGetLastError();
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (code == cudaErrorInsufficientDriver && driver == 0)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: no NVIDIA driver is loaded on this machine");
    if (code == cudaErrorInsufficientDriver)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: the NVIDIA driver knows CUDA %d.%d, this program needs %d.%d",
                       driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (code == cudaSuccess || code == cudaErrorNoDevice)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: there is a driver, but no NVIDIA GPU");
    return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaGetDeviceCount", __FILE__, __LINE__);
}

static sp_status check_cudnn(struct sp_error *err)
{
    size_t version = cudnnGetVersion();
    size_t major = version >= 90000 ? version / 10000 : version / 1000;
    if (major == CUDNN_MAJOR)
        return SP_OK;
    return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: cuDNN %zu.%zu is installed, this program was built for cuDNN %d",
                   major, version % (version >= 90000 ? 10000 : 1000) / 100, CUDNN_MAJOR);
}

/* Chips before 7.5 are known neither to CUDA 13 nor to cuDNN 9. */
static sp_status check_chip(struct exec_cuda_device *device, struct sp_error *err)
{
    struct cudaDeviceProp is;
    CUDA_TRY(cudaGetDeviceProperties(&is, device->gpu));
    snprintf(device->name, sizeof device->name, "%.63s", is.name);
    memcpy(device->identity, &is.uuid, sizeof device->identity);
    device->capability = is.major * 10 + is.minor;
    device->processors = is.multiProcessorCount;
    if (device->capability >= 75)
        return SP_OK;
    return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: GPU %d, %s, has compute capability %d.%d; 7.5 or newer is needed",
                   device->gpu, device->name, is.major, is.minor);
}

static sp_status open_device(struct exec_cuda_device *device, struct sp_error *err)
{
    pthread_mutex_init(&device->mutex, NULL);
    SP_TRY(check_chip(device, err));
    CUDA_TRY(cudaSetDevice(device->gpu));
    CUDA_TRY(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking));
    CUDNN_TRY(cudnnCreate(&device->cudnn));
    CUDNN_TRY(cudnnSetStream(device->cudnn, device->stream));
    return SP_OK;
}

/* Of two devices that are here. */
static bool *apart(const struct exec_cuda_context *context, int a, int b)
{
    int here = context->device_count - context->first_device;
    return &context->apart[(a - context->first_device) * here + b - context->first_device];
}

/* Algorithms are chosen on the first and used on all. */
static sp_status check_alike(const struct exec_cuda_context *context, struct sp_error *err)
{
    const struct exec_cuda_device *first = &context->devices[context->first_device];
    for (int d = context->first_device + 1; d < context->device_count; d++)
        if (context->devices[d].capability != first->capability || context->devices[d].processors != first->processors)
            return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: GPU %d is a %s and GPU %d a %s; a run needs GPUs of one kind",
                           first->gpu, first->name, context->devices[d].gpu, context->devices[d].name);
    return SP_OK;
}

/* One GPU may write to another's memory where the cards can, and where they have not too many such paths already: then
 * messages go through the host's memory, both ways. */
static sp_status open_paths(const struct exec_cuda_context *context, struct sp_error *err)
{
    for (int a = context->first_device; a < context->device_count; a++)
        for (int b = context->first_device; b < context->device_count; b++) {
            int from = context->devices[a].gpu, to = context->devices[b].gpu;
            if (from == to || !exec_cuda_reaches(context, a, b))
                continue;
            CUDA_TRY(cudaSetDevice(from));
            cudaError_t code = cudaDeviceEnablePeerAccess(to, 0);
            if (code == cudaErrorTooManyPeers)
                *apart(context, a, b) = *apart(context, b, a) = true;
            if (code == cudaErrorPeerAccessAlreadyEnabled || code == cudaErrorTooManyPeers)
                (void)cudaGetLastError();
            else if (code != cudaSuccess)
                return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaDeviceEnablePeerAccess", __FILE__, __LINE__);
        }
    return SP_OK;
}

static sp_status open_context(struct exec_cuda_context *context, const struct exec_backend_config *config,
                              struct sp_error *err)
{
    int gpus;
    SP_TRY(find_gpus(&gpus, err));
    SP_TRY(check_cudnn(err));
    int count = config->devices > 0 ? config->devices : 1, end = config->device_end > 0 ? config->device_end : count;
    context->devices = sp_calloc((size_t)count, sizeof *context->devices);
    context->first_device = context->device_count = config->first_device;
    for (int d = context->first_device; d < end; d++) {
        context->devices[d].gpu = (config->host_devices_before + d - context->first_device) % gpus;
        context->device_count = d + 1;
        SP_TRY(open_device(&context->devices[d], err));
    }
    SP_TRY(check_alike(context, err));
    int here = context->device_count - context->first_device;
    context->apart = sp_calloc((size_t)here * (size_t)here, sizeof *context->apart);
    return open_paths(context, err);
}

sp_status exec_cuda_create(const struct exec_backend_config *config, void **out, struct sp_error *err)
{
    struct exec_cuda_context *context = sp_calloc(1, sizeof *context);
    context->team = config->team;
    context->tf32 = config->tf32;
    context->through_host = config->through_host;
    context->wanted = config->choices != NULL ? sp_strdup(config->choices) : NULL;
    context->choices = sp_strdup("");
    context->tell = config->tell;
    context->tell_self = config->tell_self;
    pthread_mutex_init(&context->mutex, NULL);
    *out = context;
    sp_status status = open_context(context, config, err);
    if (status != SP_OK)
        exec_cuda_destroy(out);
    return status;
}

void exec_cuda_destroy(void **out)
{
    struct exec_cuda_context *context = *out;
    if (context == NULL)
        return;
    for (int d = context->first_device; d < context->device_count; d++) {
        struct exec_cuda_device *device = &context->devices[d];
        if (device->stream != NULL || device->cudnn != NULL)
            (void)cudaSetDevice(device->gpu);
        if (device->cudnn != NULL)
            (void)cudnnDestroy(device->cudnn);
        if (device->stream != NULL)
            (void)cudaStreamDestroy(device->stream);
        pthread_mutex_destroy(&device->mutex);
    }
    pthread_mutex_destroy(&context->mutex);
    free(context->devices);
    free(context->apart);
    free(context->blocks);
    free(context->wanted);
    free(context->choices);
    free(context);
    *out = NULL;
}

sp_status exec_cuda_reserve(void *self, const size_t *bytes, struct sp_error *err)
{
    struct exec_cuda_context *context = self;
    for (int d = context->first_device; d < context->device_count; d++) {
        size_t needed = 0, there, in_all;
        for (int other = context->first_device; other < context->device_count; other++)
            if (context->devices[other].gpu == context->devices[d].gpu)
                needed += bytes[other];
        CUDA_TRY(cudaSetDevice(context->devices[d].gpu));
        CUDA_TRY(cudaMemGetInfo(&there, &in_all));
        if (needed > there)
            return SP_FAIL(err, SP_E_MEMORY,
                           "cuda: the plan needs %.1f MiB on GPU %d (%s), of whose %.1f MiB %.1f are free",
                           (double)needed / 1048576, context->devices[d].gpu, context->devices[d].name,
                           (double)in_all / 1048576, (double)there / 1048576);
    }
    return SP_OK;
}

static void remember(struct exec_cuda_context *context, void *memory, size_t bytes, int device)
{
    pthread_mutex_lock(&context->mutex);
    struct exec_cuda_block block = {memory, bytes, device};
    *(struct exec_cuda_block *)sp_grow((void **)&context->blocks, context->block_count, sizeof block) = block;
    context->block_count++;
    pthread_mutex_unlock(&context->mutex);
}

/* Forgets memory; gives its device, -1 for the host's and for what is not known. */
static int forget(struct exec_cuda_context *context, const void *memory)
{
    int device = -1;
    pthread_mutex_lock(&context->mutex);
    for (int b = 0; b < context->block_count; b++) {
        if (context->blocks[b].at != memory)
            continue;
        device = context->blocks[b].device;
        context->blocks[b] = context->blocks[--context->block_count];
        break;
    }
    pthread_mutex_unlock(&context->mutex);
    return device;
}

static int device_of(struct exec_cuda_context *context, const void *memory)
{
    const char *at = memory;
    int device = -1;
    pthread_mutex_lock(&context->mutex);
    for (int b = 0; b < context->block_count && device < 0; b++)
        if (at >= context->blocks[b].at && at < context->blocks[b].at + context->blocks[b].bytes)
            device = context->blocks[b].device;
    pthread_mutex_unlock(&context->mutex);
    return device;
}

/* Waits for the device's own stream. Whatever that says, nothing is under way in it afterwards. */
static cudaError_t settle(const struct exec_cuda_device *device)
{
    cudaError_t code = cudaStreamSynchronize(device->stream);
    if (code != cudaSuccess)
        (void)cudaStreamSynchronize(device->stream);
    return code;
}

sp_status exec_cuda_allocate(void *self, int d, size_t bytes, void **memory, struct sp_error *err)
{
    struct exec_cuda_context *context = self;
    struct exec_cuda_device *device = &context->devices[d];
    *memory = NULL;
    if (bytes == 0)
        return SP_OK;
    CUDA_TRY(cudaSetDevice(device->gpu));
    cudaError_t code = cudaMalloc(memory, bytes);
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return SP_FAIL(err, SP_E_MEMORY, "cuda: cannot take %zu bytes on GPU %d (%s)", bytes, device->gpu,
                       device->name);
    }
    if (code != cudaSuccess)
        return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaMalloc", __FILE__, __LINE__);
    remember(context, *memory, bytes, d);
    code = cudaMemsetAsync(*memory, 0, bytes, device->stream);
    code = code == cudaSuccess ? settle(device) : code;
    if (code == cudaSuccess)
        return SP_OK;
    exec_cuda_release(context, *memory, bytes);
    *memory = NULL;
    return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaMemsetAsync", __FILE__, __LINE__);
}

void exec_cuda_release(void *self, void *memory, size_t bytes)
{
    struct exec_cuda_context *context = self;
    (void)bytes;
    if (memory == NULL)
        return;
    (void)cudaSetDevice(context->devices[forget(context, memory)].gpu);
    (void)cudaFree(memory);
}

sp_status exec_cuda_take_host(void *self, size_t bytes, void **memory, struct sp_error *err)
{
    struct exec_cuda_context *context = self;
    *memory = NULL;
    CUDA_TRY(cudaSetDevice(context->devices[context->first_device].gpu));
    CUDA_TRY(cudaHostAlloc(memory, bytes, cudaHostAllocPortable));
    memset(*memory, 0, bytes);
    return SP_OK;
}

void exec_cuda_release_host(void *self, void *memory)
{
    struct exec_cuda_context *context = self;
    (void)cudaSetDevice(context->devices[context->first_device].gpu);
    (void)cudaFreeHost(memory);
}

bool exec_cuda_reaches(const void *self, int from, int to)
{
    const struct exec_cuda_context *context = self;
    int a = context->devices[from].gpu, b = context->devices[to].gpu, there = 0, back = 0;
    if (from != to && (context->through_host || *apart(context, from, to)))
        return false;
    if (a == b)
        return true;
    if (cudaDeviceCanAccessPeer(&there, a, b) == cudaSuccess && cudaDeviceCanAccessPeer(&back, b, a) == cudaSuccess)
        return there != 0 && back != 0;
    (void)cudaGetLastError(); /* else the next call would report it */
    return false;
}

sp_status exec_cuda_enqueue_copy(struct exec_cuda_context *context, void *to, const void *from, size_t bytes,
                                 cudaStream_t stream, struct sp_error *err)
{
    int t = device_of(context, to), f = device_of(context, from);
    if (t >= 0 && f >= 0 && context->devices[t].gpu != context->devices[f].gpu) {
        CUDA_TRY(cudaMemcpyPeerAsync(to, context->devices[t].gpu, from, context->devices[f].gpu, bytes, stream));
        return SP_OK;
    }
    enum cudaMemcpyKind kind = t >= 0   ? f >= 0 ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                               : f >= 0 ? cudaMemcpyDeviceToHost
                                        : cudaMemcpyHostToHost;
    CUDA_TRY(cudaMemcpyAsync(to, from, bytes, kind, stream));
    return SP_OK;
}

/* In the stream of the device that has either side, and waited for. */
sp_status exec_cuda_copy(void *self, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    struct exec_cuda_context *context = self;
    int t = device_of(context, to), f = device_of(context, from);
    struct exec_cuda_device *device = &context->devices[t >= 0 ? t : f >= 0 ? f : context->first_device];
    CUDA_TRY(cudaSetDevice(device->gpu));
    pthread_mutex_lock(&device->mutex);
    sp_status status = exec_cuda_enqueue_copy(context, to, from, bytes, device->stream, err);
    cudaError_t code = status == SP_OK ? settle(device) : cudaSuccess;
    pthread_mutex_unlock(&device->mutex);
    if (code != cudaSuccess)
        return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaStreamSynchronize", __FILE__, __LINE__);
    return status;
}
