/*
 * copy.c - copies and fills.
 */
#include "tests/cudasim/inside.h"

#include <string.h>

struct copy {
    void *to;
    const void *from;
    int value;
    size_t bytes;
};

static int copy_microseconds, copy_bytes_per_microsecond;
static int64_t model_host_ns;

void cudasim_set_copies(int microseconds, int bytes_per_microsecond)
{
    cudasim_lock();
    copy_microseconds = microseconds;
    copy_bytes_per_microsecond = bytes_per_microsecond;
    cudasim_unlock();
}

bool cudasim_copies_modelled(void)
{
    return copy_bytes_per_microsecond > 0;
}

int64_t cudasim_copy_ns(size_t bytes)
{
    if (!cudasim_copies_modelled())
        return -1;
    return copy_microseconds * INT64_C(1000) + (int64_t)bytes * 1000 / copy_bytes_per_microsecond;
}

void cudasim_model_host_after(int64_t ns)
{
    model_host_ns = ns > model_host_ns ? ns : model_host_ns;
}

int64_t cudasim_model_host(void)
{
    return model_host_ns;
}

static void run_copy(void *argument)
{
    const struct copy *copy = argument;
    memmove(copy->to, copy->from, copy->bytes);
}

static void run_fill(void *argument)
{
    const struct copy *copy = argument;
    memset(copy->to, copy->value, copy->bytes);
}

static bool on_device(const void *pointer)
{
    cudasim_lock();
    const struct cudasim_memory *block = cudasim_find(pointer);
    cudasim_unlock();
    return block != NULL && block->device >= 0;
}

static void *place(struct cudasim_op *op, bool device, const void *pointer, size_t bytes, enum cudasim_access access,
                   const char *what)
{
    return (device ? cudasim_device_pointer : cudasim_host_pointer)(op, pointer, bytes, access, what);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    CUDASIM_BEGIN();
    struct cudasim_op *op = cudasim_op_begin(stream, sizeof(struct copy), run_copy, cudaErrorInvalidValue);
    struct copy *copy = op->argument;
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice ||
                     (kind == cudaMemcpyDefault && on_device(to));
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice ||
                       (kind == cudaMemcpyDefault && on_device(from));
    copy->to = place(op, to_device, to, bytes, CUDASIM_WRITE, "destination");
    copy->from = place(op, from_device, from, bytes, CUDASIM_READ, "source");
    copy->bytes = bytes;
    op->model_ns = to_device != from_device ? cudasim_copy_ns(bytes) : -1;
    return cudasim_end((cudaError_t)cudasim_op_end(op));
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes,
                                cudaStream_t stream)
{
    CUDASIM_BEGIN();
    struct cudasim_op *op = cudasim_op_begin(stream, sizeof(struct copy), run_copy, cudaErrorInvalidValue);
    struct copy *copy = op->argument;
    if (op->status == 0 && to_device != stream->device && from_device != stream->device)
        cudasim_op_fault(op, "from device %d to %d in a stream of device %d", from_device, to_device, stream->device);
    copy->to = cudasim_pointer_on(op, to_device, to, bytes, CUDASIM_WRITE, "destination");
    copy->from = cudasim_pointer_on(op, from_device, from, bytes, CUDASIM_READ, "source");
    copy->bytes = bytes;
    op->model_ns = to_device != from_device ? cudasim_copy_ns(bytes) : -1;
    return cudasim_end((cudaError_t)cudasim_op_end(op));
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    CUDASIM_BEGIN();
    struct cudasim_op *op = cudasim_op_begin(stream, sizeof(struct copy), run_fill, cudaErrorInvalidValue);
    struct copy *copy = op->argument;
    copy->to = cudasim_device_pointer(op, to, bytes, CUDASIM_WRITE, "destination");
    copy->value = value;
    copy->bytes = bytes;
    return cudasim_end((cudaError_t)cudasim_op_end(op));
}

/* These use the NULL stream and wait: a program of streams has no use for them. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    CUDASIM_BEGIN();
    (void)to, (void)from, (void)bytes, (void)kind;
    return cudasim_end((cudaError_t)cudasim_fault(cudaErrorInvalidValue, "the NULL stream"));
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    CUDASIM_BEGIN();
    (void)to, (void)value, (void)bytes;
    return cudasim_end((cudaError_t)cudasim_fault(cudaErrorInvalidValue, "the NULL stream"));
}
