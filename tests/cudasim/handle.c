/*
 * handle.c - handles of cuBLAS and cuDNN: each belongs to the device that was current when it was made, and to a
 * stream of it.
 */
#include "tests/cudasim/handle.h"

static struct cudasim_handle *handles;
static size_t handle_bytes;

void cudasim_set_handle_bytes(size_t bytes)
{
    handle_bytes = bytes;
}

bool cudasim_handle_open(struct cudasim_handle *handle, const char *kind)
{
    struct cudasim_device *device = cudasim_device(cudasim_current_device);
    cudasim_lock();
    bool room = handle_bytes <= device->total - device->handles - device->bytes.live;
    if (cudasim_capture_forbids())
        cudasim_fault(0, "a %s handle takes memory: not while a stream is captured", kind);
    if (room) {
        *handle = (struct cudasim_handle){
            .kind = kind, .device = cudasim_current_device, .bytes = handle_bytes, .next = handles};
        handles = handle;
        device->handles += handle_bytes;
    }
    cudasim_unlock();
    return room;
}

/* Locked. */
static struct cudasim_handle **find(const struct cudasim_handle *wanted)
{
    struct cudasim_handle **link = &handles;
    while (*link != NULL && *link != wanted)
        link = &(*link)->next;
    return link;
}

static int check(const struct cudasim_handle *handle, int invalid)
{
    if (handle == NULL || *find(handle) == NULL)
        return cudasim_fault(invalid, "%p is not a handle, or no longer", (const void *)handle);
    if (handle->device != cudasim_current_device)
        return cudasim_fault(invalid, "a %s handle of device %d, but device %d is current", handle->kind,
                             handle->device, cudasim_current_device);
    return 0;
}

int cudasim_handle_check(const struct cudasim_handle *handle, int invalid)
{
    cudasim_lock();
    int status = check(handle, invalid);
    cudasim_unlock();
    return status;
}

int cudasim_handle_close(struct cudasim_handle *handle, int invalid)
{
    cudasim_lock();
    int status = check(handle, invalid);
    if (status == 0) {
        *find(handle) = handle->next;
        cudasim_device(handle->device)->handles -= handle->bytes;
    }
    cudasim_unlock();
    return status;
}

int cudasim_handle_set_stream(struct cudasim_handle *handle, cudaStream_t stream, int invalid)
{
    cudasim_lock();
    int status = check(handle, invalid);
    if (status == 0)
        status = cudasim_check_stream(stream, invalid);
    if (status == 0)
        handle->stream = stream;
    cudasim_unlock();
    return status;
}

__attribute__((noinline)) struct cudasim_op *cudasim_handle_begin(struct cudasim_handle *handle, int code, size_t bytes,
                                                                  void (*run)(void *), int invalid)
{
    if (code == 0)
        code = cudasim_handle_check(handle, invalid);
    if (code != 0)
        return cudasim_op_failed(bytes, code);
    struct cudasim_op *op = cudasim_op_begin(handle->stream, bytes, run, invalid);
    op->inside = __builtin_return_address(0);
    return op;
}

int64_t cudasim_handle_leaks(void)
{
    int64_t leaks = 0;
    for (struct cudasim_handle *handle = handles; handle != NULL; handle = handle->next, leaks++)
        fprintf(stderr, "cudasim: leak: %s handle of device %d\n", handle->kind, handle->device);
    return leaks;
}
