/*
 * queue.c - streams: a thread each, that runs the operations of its queue in order.
 *
 * To ThreadSanitizer the thread of a stream is ordered after what the host did before it enqueued an operation, and
 * the host after a stream that it has waited for; the queue itself orders nothing, since it is hidden.
 */
#include "tests/cudasim/inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLICE_NS = 100000000 };

static struct CUstream_st *streams;
static uint64_t streams_made;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER; /* some operation has ended */
static uint64_t delay_seed;
static int delay_microseconds;

#ifdef CUDASIM_TSAN
void __tsan_func_entry(void *site);
void __tsan_func_exit(void);
void __tsan_read_range_pc(void *address, unsigned long bytes, void *pc);
void __tsan_write_range_pc(void *address, unsigned long bytes, void *pc);
#else
#define __tsan_func_entry(site)                   ((void)(site))
#define __tsan_func_exit()                        ((void)0)
#define __tsan_read_range_pc(address, bytes, pc)  ((void)(address), (void)(bytes), (void)(pc))
#define __tsan_write_range_pc(address, bytes, pc) ((void)(address), (void)(bytes), (void)(pc))
#endif

uint64_t cudasim_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t cudasim_seed(void)
{
    return delay_seed;
}

void cudasim_set_delays(uint64_t seed, int microseconds)
{
    cudasim_lock();
    delay_seed = seed;
    delay_microseconds = microseconds;
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next)
        stream->random = cudasim_mix(seed ^ (stream->number << 32));
    cudasim_unlock();
}

/* ---- operations ---- */

void cudasim_op_fault(struct cudasim_op *op, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    int invalid = op->status != 0 ? op->status : op->invalid;
    op->status = cudasim_fault(invalid, "%s", text);
}

static struct cudasim_op *new_op(size_t bytes)
{
    cudasim_hide();
    struct cudasim_op *op = calloc(1, sizeof *op + bytes);
    cudasim_show();
    if (op == NULL)
        abort();
    op->call = cudasim_current;
    op->bytes = bytes;
    op->argument = op + 1;
    op->model_ns = -1;
    return op;
}

/* Not inlined, so that the return address lies in the called function: reports then show its name and line. */
__attribute__((noinline)) struct cudasim_op *cudasim_op_begin(cudaStream_t stream, size_t bytes, void (*run)(void *),
                                                              int invalid)
{
    struct cudasim_op *op = new_op(bytes);
    op->inside = __builtin_return_address(0);
    op->stream = stream;
    op->run = run;
    op->invalid = invalid;
    op->fail = cudasim_take_failure();
    cudasim_lock();
    op->status = cudasim_check_stream(stream, invalid);
    cudasim_unlock();
    return op;
}

struct cudasim_op *cudasim_op_failed(size_t bytes, int status)
{
    struct cudasim_op *op = new_op(bytes);
    op->status = status;
    return op;
}

void cudasim_op_free(struct cudasim_op *op)
{
    free(op->uses);
    free(op);
}

struct cudasim_op *cudasim_op_copy(const struct cudasim_op *from)
{
    struct cudasim_op *op = malloc(sizeof *op + from->bytes);
    struct cudasim_use *uses = malloc((size_t)from->use_count * sizeof *uses + 1);
    if (op == NULL || uses == NULL)
        abort();
    memcpy(op, from, sizeof *op + from->bytes);
    memcpy(uses, from->uses, (size_t)from->use_count * sizeof *uses);
    op->uses = uses;
    op->argument = op + 1;
    return op;
}

int cudasim_op_cancel(struct cudasim_op *op)
{
    cudasim_hide();
    int status = op->status;
    cudasim_op_free(op);
    cudasim_show();
    return status;
}

int cudasim_op_end(struct cudasim_op *op)
{
    if (op->status != 0)
        return cudasim_op_cancel(op);
    cudasim_lock();
    int status = 0;
    if (op->stream->capture != NULL)
        status = cudasim_capture_op(op);
    else
        status = cudasim_append(op, op->stream);
    cudasim_unlock();
    return status;
}

int cudasim_append(struct cudasim_op *op, cudaStream_t stream)
{
    op->next = NULL;
    op->stream = stream;
    cudasim_order_op(op, stream);
    int status = op->status;
    if (status != 0) {
        cudasim_op_free(op);
        return status;
    }
    for (int i = 0; i < op->use_count; i++)
        if (op->uses[i].memory != NULL)
            op->uses[i].memory->pending++;
    op->after_ns = cudasim_model_host();
    cudasim_release(op);
    *stream->last = op;
    stream->last = &op->next;
    stream->enqueued++;
    pthread_cond_signal(&stream->more);
    return 0;
}

/* ---- the thread of a stream ---- */

atomic_bool cudasim_aborted;

static void touch(const struct cudasim_op *op)
{
    for (int i = 0; i < op->use_count && !cudasim_aborted; i++) {
        const struct cudasim_use *use = &op->uses[i];
        if (use->bytes == 0 || (op->between_ranks && (use->access & CUDASIM_WRITE) != 0))
            continue;
        if ((use->access & CUDASIM_WRITE) != 0)
            __tsan_write_range_pc(use->address, use->bytes, op->inside);
        else if (use->access == CUDASIM_READ)
            __tsan_read_range_pc(use->address, use->bytes, op->inside);
    }
}

void cudasim_touch_received(const struct cudasim_op *op)
{
    cudasim_show();
    for (int i = 0; i < op->use_count && !cudasim_aborted; i++)
        if ((op->uses[i].access & CUDASIM_WRITE) != 0)
            __tsan_write_range_pc(op->uses[i].address, op->uses[i].bytes, op->inside);
    cudasim_hide();
}

/* What ThreadSanitizer sees is the call as if it had done its work at once; but for what NCCL receives, which is
 * written when it has come. */
static void run_op(struct cudasim_op *op)
{
    cudasim_running = op;
    cudasim_current_device = op->stream->device;
    __tsan_func_entry(op->call.site);
    touch(op);
    __tsan_func_entry(op->inside);
    op->run(op->argument);
    __tsan_func_exit();
    __tsan_func_exit();
    if (op->kernel != NULL)
        for (int i = 0; i < op->use_count; i++)
            if (op->uses[i].memory != NULL)
                cudasim_check_guards(op->uses[i].memory, op->call.name, op->kernel);
    cudasim_running = NULL;
}

static int next_delay(struct CUstream_st *stream)
{
    if (delay_microseconds <= 0)
        return 0;
    stream->random = cudasim_mix(stream->random);
    return (int)((stream->random >> 33) % (uint64_t)delay_microseconds);
}

static void sleep_microseconds(int microseconds)
{
    struct timespec rest = {microseconds / 1000000, microseconds % 1000000 * 1000L};
    nanosleep(&rest, NULL);
}

static void end_op(struct CUstream_st *stream, struct cudasim_op *op)
{
    for (int i = 0; i < op->use_count; i++)
        if (op->uses[i].memory != NULL)
            op->uses[i].memory->pending--;
    if (op->fail != 0)
        cudasim_device(stream->device)->broken = (cudaError_t)op->fail;
    stream->completed++;
    cudasim_release(stream);
    if (op->record != NULL) {
        op->record->model_ns = stream->model_ns;
        cudasim_record_done(op->record);
    }
    cudasim_op_free(op);
    pthread_cond_broadcast(&progress);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

static void *serve(void *argument)
{
    struct CUstream_st *stream = argument;
    cudasim_lock();
    for (;;) {
        while (stream->first == NULL && !stream->closing)
            pthread_cond_wait(&stream->more, cudasim_mutex());
        struct cudasim_op *op = stream->first;
        if (op == NULL)
            break;
        stream->first = op->next;
        if (stream->first == NULL)
            stream->last = &stream->first;
        int delay = next_delay(stream);
        bool broken = cudasim_device(stream->device)->broken != cudaSuccess || op->fail != 0;
        cudasim_acquire(op);
        cudasim_unlock();
        if (delay > 0)
            sleep_microseconds(delay);
        int64_t begun_ns = now_ns();
        if (stream->model_ns < op->after_ns)
            stream->model_ns = op->after_ns;
        if (!broken || op->always)
            run_op(op);
        cudasim_lock();
        stream->model_ns += op->model_ns >= 0 ? op->model_ns : now_ns() - begun_ns;
        end_op(stream, op);
    }
    cudasim_kernels_end();
    cudasim_unlock();
    return NULL;
}

void cudasim_wait_for_progress(void)
{
    pthread_cond_wait(&progress, cudasim_mutex());
}

static struct timespec end_of_slice(void)
{
    int64_t end_ns = now_ns() + SLICE_NS;
    return (struct timespec){.tv_sec = end_ns / 1000000000, .tv_nsec = end_ns % 1000000000};
}

struct cudasim_patience cudasim_patience(int seconds)
{
    return (struct cudasim_patience){.slices = seconds * (1000000000 / SLICE_NS), .end = end_of_slice()};
}

bool cudasim_wait_patiently(struct cudasim_patience *patience)
{
    if (patience->slices == 0)
        return false;
    if (pthread_cond_clockwait(&progress, cudasim_mutex(), CLOCK_MONOTONIC, &patience->end) == ETIMEDOUT) {
        patience->slices--;
        patience->end = end_of_slice();
    }
    return true;
}

void cudasim_progress(void)
{
    pthread_cond_broadcast(&progress);
}

void cudasim_finish_stream(cudaStream_t stream)
{
    int64_t target = stream->enqueued;
    struct cudasim_clock clock = stream->clock;
    while (stream->completed < target)
        cudasim_wait_for_progress();
    cudasim_acquire(stream);
    cudasim_order_host_after(&clock);
    cudasim_model_host_after(stream->model_ns);
}

/* The streams of a device that have yet to come to what was enqueued when it was called; some may be closed since. */
bool cudasim_await_device(int device, struct cudasim_patience *patience)
{
    uint64_t numbers[CUDASIM_STREAMS_MAX];
    int64_t targets[CUDASIM_STREAMS_MAX];
    int count = 0;
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next)
        if (stream->device == device && count < CUDASIM_STREAMS_MAX) {
            numbers[count] = stream->number;
            targets[count++] = stream->enqueued;
        }
    for (int i = 0; i < count; i++)
        for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next)
            if (stream->number == numbers[i] && stream->completed < targets[i]) {
                if (!cudasim_wait_patiently(patience))
                    return false;
                i = -1; /* the list may have changed: from the start */
                break;
            }
    return true;
}

/* ---- streams ---- */

cudaError_t cudasim_stream_open(int device, unsigned flags, cudaStream_t *out)
{
    struct CUstream_st *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        abort();
    stream->number = ++streams_made;
    stream->device = device;
    stream->flags = flags;
    stream->last = &stream->first;
    stream->random = cudasim_mix(delay_seed ^ (stream->number << 32));
    pthread_cond_init(&stream->more, NULL);
    if (pthread_create(&stream->thread, NULL, serve, stream) != 0) {
        free(stream);
        return cudaErrorUnknown;
    }
    stream->next = streams;
    streams = stream;
    cudasim_order_open(stream);
    *out = stream;
    return cudaSuccess;
}

void cudasim_stream_close(cudaStream_t stream)
{
    struct CUstream_st **link = &streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    stream->closing = true;
    pthread_cond_signal(&stream->more);
    pthread_mutex_unlock(cudasim_mutex());
    pthread_join(stream->thread, NULL);
    pthread_mutex_lock(cudasim_mutex());
    pthread_cond_destroy(&stream->more);
    cudasim_order_close(stream);
    free(stream);
}

bool cudasim_stream_known(cudaStream_t wanted)
{
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next)
        if (stream == wanted)
            return true;
    return false;
}

int cudasim_check_stream(cudaStream_t stream, int invalid)
{
    if (stream == NULL || stream == cudaStreamLegacy || stream == cudaStreamPerThread)
        return cudasim_fault(invalid, "the NULL stream");
    if (!cudasim_stream_known(stream))
        return cudasim_fault(invalid, "%p is not a stream, or no longer", (void *)stream);
    if (stream->device != cudasim_current_device)
        return cudasim_fault(invalid, "stream %lu belongs to device %d, but device %d is current",
                             (unsigned long)stream->number, stream->device, cudasim_current_device);
    return 0;
}

void cudasim_end_capture(const struct CUgraph_st *graph)
{
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next)
        if (stream->capture == graph)
            stream->capture = NULL;
}

int64_t cudasim_stream_leaks(void)
{
    int64_t leaks = 0;
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next)
        if (!stream->inner) {
            fprintf(stderr, "cudasim: leak: stream %lu of device %d\n", (unsigned long)stream->number, stream->device);
            leaks++;
        }
    return leaks + cudasim_event_leaks();
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    CUDASIM_BEGIN();
    (void)priority;
    cudasim_lock();
    cudaError_t code = cudasim_stream_open(cudasim_current_device, flags, stream);
    cudasim_unlock();
    return cudasim_end(code);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    cudaError_t code = cudasim_stream_open(cudasim_current_device, flags, stream);
    cudasim_unlock();
    return cudasim_end(code);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    cudaError_t code = cudasim_stream_open(cudasim_current_device, cudaStreamDefault, stream);
    cudasim_unlock();
    return cudasim_end(code);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    cudasim_lock();
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0 && stream->capture != NULL)
        status =
            cudasim_fault(cudaErrorStreamCaptureUnsupported, "stream %lu is captured", (unsigned long)stream->number);
    if (status == 0 && cudasim_device(stream->device)->broken != cudaSuccess)
        cudasim_finish_stream(stream); /* nobody could have waited: its operations do nothing any more */
    if (status == 0 && stream->completed < stream->enqueued)
        status = cudasim_fault(cudaErrorInvalidResourceHandle, "stream %lu has %ld operations pending",
                               (unsigned long)stream->number, (long)(stream->enqueued - stream->completed));
    if (status == 0)
        cudasim_stream_close(stream);
    cudasim_unlock();
    return cudasim_end((cudaError_t)(code != 0 ? code : status));
}

/* 0, or the fault's code: the stream may be waited for or asked. Locked. */
static int check_waited(cudaStream_t stream)
{
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0 && stream->capture != NULL) {
        cudasim_capture_break(stream->capture);
        return cudasim_fault(cudaErrorStreamCaptureUnsupported, "stream %lu is captured",
                             (unsigned long)stream->number);
    }
    if (status == 0 && cudasim_capture_forbids())
        return cudasim_fault(cudaErrorStreamCaptureUnsupported, "not while a stream is captured");
    return status;
}

/* What a call that waits for a device returns. Locked. */
static cudaError_t after_waiting(int device)
{
    return cudasim_device(device)->broken;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = check_waited(stream);
    if (status == 0) {
        cudasim_finish_stream(stream);
        status = (int)after_waiting(stream->device);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = check_waited(stream);
    if (status == 0) {
        if (stream->completed < stream->enqueued)
            status = cudaErrorNotReady;
        else {
            cudasim_acquire(stream);
            cudasim_order_host_after(&stream->clock);
            cudasim_model_host_after(stream->model_ns);
            status = (int)after_waiting(stream->device);
        }
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaDeviceSynchronize(void)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = 0;
    for (struct CUstream_st *stream = streams; status == 0 && stream != NULL; stream = stream->next)
        if (stream->device == cudasim_current_device)
            status = check_waited(stream);
    for (struct CUstream_st *stream = streams; status == 0 && stream != NULL; stream = stream->next)
        if (stream->device == cudasim_current_device)
            cudasim_finish_stream(stream);
    if (status == 0)
        status = (int)after_waiting(cudasim_current_device);
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaStreamGetDevice(cudaStream_t stream, int *device)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    bool known = cudasim_stream_known(stream);
    if (known)
        *device = stream->device;
    cudasim_unlock();
    return cudasim_end(known ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

struct host_function {
    cudaHostFn_t function;
    void *data;
    struct cudasim_clock clock; /* of what comes before */
};

static void run_host_function(void *argument)
{
    struct host_function *call = argument;
    call->function(call->data);
    cudasim_lock();
    cudasim_order_host_after(&call->clock); /* it may have told the host */
    cudasim_unlock();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    CUDASIM_BEGIN();
    struct cudasim_op *op =
        cudasim_op_begin(stream, sizeof(struct host_function), run_host_function, cudaErrorInvalidValue);
    struct host_function *call = op->argument;
    call->function = function;
    call->data = data;
    if (op->status == 0) {
        cudasim_lock();
        call->clock = stream->clock;
        cudasim_unlock();
    }
    return cudasim_end((cudaError_t)cudasim_op_end(op));
}
