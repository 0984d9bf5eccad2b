/*
 * memory.c - the memory of the devices.
 *
 * A block of device memory is mapped twice: the program gets a view that nobody can read or write, the library uses the
 * alias; both lie in guards. A block ends at the end of a page (less the alignment), so that an overrun hits the guard;
 * what alignment leaves over is filled with a pattern and checked. Views are never given out again: a pointer to freed
 * memory stays known as such. Pinned host memory has one mapping only.
 */
#include "tests/cudasim/inside.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT   256
#define GUARD       ((size_t)1 << 20)
#define PAGE        ((size_t)4096)
#define POISON      0xff /* NaN as a float, -1 as an integer */
#define UNTOUCHABLE 0xa5

static struct cudasim_memory **blocks; /* by view, rising */
static int block_count, block_capacity;
static uint64_t blocks_made;

static size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* A mapping of `span` bytes between two guards. */
static char *map_guarded(size_t span, int protection)
{
    char *all = mmap(NULL, span + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    if (protection != PROT_NONE && mprotect(all + GUARD, span, protection) != 0) {
        munmap(all, span + 2 * GUARD);
        return NULL;
    }
    return all + GUARD;
}

/* Index of the last block whose mapping with its guard begins at or before `address`; -1: none. */
static int block_before(const char *address)
{
    int low = 0, high = block_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (blocks[middle]->view - GUARD <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

struct cudasim_memory *cudasim_find(const void *pointer)
{
    const char *address = pointer;
    int at = block_before(address);
    if (at < 0 || address < blocks[at]->view || address >= blocks[at]->view + blocks[at]->span)
        return NULL;
    return blocks[at];
}

bool cudasim_in_guard(const void *pointer, const struct cudasim_memory **memory, bool *alias)
{
    const char *address = pointer;
    for (int i = 0; i < block_count; i++) {
        const struct cudasim_memory *block = blocks[i];
        *memory = block;
        *alias = false;
        if (address >= block->view - GUARD && address < block->view + block->span + GUARD)
            return true;
        *alias = true;
        if (block->alias != NULL && address >= block->alias - GUARD && address < block->alias + block->span + GUARD)
            return true;
    }
    return false;
}

static void keep(struct cudasim_memory *block)
{
    if (block_count == block_capacity) {
        block_capacity = 2 * block_capacity + 64;
        blocks = realloc(blocks, (size_t)block_capacity * sizeof(struct cudasim_memory *));
        if (blocks == NULL)
            abort();
    }
    int at = block_before(block->view) + 1;
    memmove(blocks + at + 1, blocks + at, (size_t)(block_count - at) * sizeof(struct cudasim_memory *));
    blocks[at] = block;
    block_count++;
}

static cudaError_t allocate(int device, size_t bytes, void **pointer)
{
    struct cudasim_device *owner = cudasim_device(device);
    if (bytes == 0) {
        *pointer = NULL;
        return cudaSuccess;
    }
    if (device >= 0 && bytes > owner->total - owner->handles - owner->bytes.live)
        return cudaErrorMemoryAllocation;
    struct cudasim_memory *block = calloc(1, sizeof *block);
    if (block == NULL)
        abort();
    block->number = ++blocks_made;
    block->device = device;
    block->bytes = bytes;
    block->span = round_up(bytes, PAGE);
    block->skip = block->span - round_up(bytes, ALIGNMENT);
    block->call = cudasim_current;
    block->alias = map_guarded(block->span, PROT_READ | PROT_WRITE);
    block->view = device < 0 ? block->alias : map_guarded(block->span, PROT_NONE);
    if (block->alias == NULL || block->view == NULL) {
        free(block);
        return cudaErrorMemoryAllocation;
    }
    memset(block->alias, UNTOUCHABLE, block->span);
    memset(block->alias + block->skip, POISON, bytes);
    keep(block);
    owner->bytes.live += bytes;
    owner->bytes.blocks++;
    owner->bytes.allocations++;
    if (owner->bytes.live > owner->bytes.peak)
        owner->bytes.peak = owner->bytes.live;
    *pointer = block->view + block->skip;
    return cudaSuccess;
}

void cudasim_check_guards(const struct cudasim_memory *block, const char *call, const char *kernel)
{
    const char *end = block->alias + block->skip + block->bytes;
    for (const char *at = block->alias; at < block->alias + block->span; at++) {
        if (at == block->alias + block->skip)
            at = end;
        if (at == block->alias + block->span)
            return;
        if ((unsigned char)*at != UNTOUCHABLE) {
            cudasim_fault_in(call, kernel,
                             "byte %td of block %lu was written, which has %zu bytes (device %d, from %s)",
                             at - block->alias - (ptrdiff_t)block->skip, (unsigned long)block->number, block->bytes,
                             block->device, block->call.name);
            return;
        }
    }
}

/* Unmaps the bytes but keeps the addresses. */
static cudaError_t give_back(void *pointer, bool host)
{
    if (pointer == NULL)
        return cudaSuccess;
    struct cudasim_memory *block = cudasim_find(pointer);
    if (block == NULL || (block->device < 0) != host || (char *)pointer != block->view + block->skip)
        return cudasim_fault(cudaErrorInvalidValue, "%p is not the start of %s memory", pointer,
                             host ? "pinned host" : "device");
    if (block->alias == NULL)
        return cudasim_fault(cudaErrorInvalidValue, "block %lu (%zu bytes) was freed before",
                             (unsigned long)block->number, block->bytes);
    if (!host && block->device != cudasim_current_device)
        return cudasim_fault(cudaErrorInvalidDevice, "block %lu is on device %d, but device %d is current",
                             (unsigned long)block->number, block->device, cudasim_current_device);
    while (block->pending > 0 && cudasim_device(cudasim_current_device)->broken != cudaSuccess)
        cudasim_wait_for_progress(); /* nobody could have waited for a broken device, whose work ends by itself */
    if (block->pending > 0)
        return cudasim_fault(cudaErrorInvalidValue, "block %lu (%zu bytes, from %s) has %ld operations pending on it",
                             (unsigned long)block->number, block->bytes, block->call.name, (long)block->pending);
    cudasim_check_guards(block, cudasim_current.name, NULL);
    struct cudasim_device *owner = cudasim_device(block->device);
    owner->bytes.live -= block->bytes;
    owner->bytes.blocks--;
    if (host)
        mmap(block->view, block->span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    else
        munmap(block->alias - GUARD, block->span + 2 * GUARD);
    block->alias = NULL;
    cudasim_order_forget(block);
    return cudaSuccess;
}

/* ---- translation ---- */

static void add_use(struct cudasim_op *op, struct cudasim_memory *memory, char *address, size_t bytes,
                    enum cudasim_access access)
{
    op->uses = realloc(op->uses, (size_t)(op->use_count + 1) * sizeof *op->uses);
    if (op->uses == NULL)
        abort();
    op->uses[op->use_count++] = (struct cudasim_use){memory, address, bytes, access};
}

/* What is wrong with `bytes` at `pointer` of `block`; reports it. */
static bool in_block(struct cudasim_op *op, const struct cudasim_memory *block, const void *pointer, size_t bytes,
                     const char *what)
{
    ptrdiff_t offset = (const char *)pointer - block->view - (ptrdiff_t)block->skip;
    if (block->alias == NULL)
        cudasim_op_fault(op, "%s: %p is in block %lu, which was freed", what, pointer, (unsigned long)block->number);
    else if (offset < 0 || (size_t)offset > block->bytes || bytes > block->bytes - (size_t)offset)
        cudasim_op_fault(op, "%s: bytes %td to %td of block %lu, which has %zu bytes (device %d, from %s)", what,
                         offset, offset + (ptrdiff_t)bytes, (unsigned long)block->number, block->bytes, block->device,
                         block->call.name);
    else
        return true;
    return false;
}

void *cudasim_pointer_on(struct cudasim_op *op, int device, const void *pointer, size_t bytes,
                         enum cudasim_access access, const char *what)
{
    if (op->status != 0)
        return NULL;
    if (pointer == NULL) {
        if (bytes > 0)
            cudasim_op_fault(op, "%s: NULL, but %zu bytes are needed", what, bytes);
        return NULL;
    }
    cudasim_lock();
    struct cudasim_memory *block = cudasim_find(pointer);
    char *address = NULL;
    if (block == NULL || block->device < 0)
        cudasim_op_fault(op, "%s: %p is not device memory", what, pointer);
    else if (block->device != device)
        cudasim_op_fault(op, "%s: block %lu is on device %d, but the call is for device %d", what,
                         (unsigned long)block->number, block->device, device);
    else if (in_block(op, block, pointer, bytes, what)) {
        address = block->alias + ((const char *)pointer - block->view);
        add_use(op, block, address, bytes, access);
    }
    cudasim_unlock();
    return address;
}

void *cudasim_device_pointer(struct cudasim_op *op, const void *pointer, size_t bytes, enum cudasim_access access,
                             const char *what)
{
    return op->status != 0 ? NULL : cudasim_pointer_on(op, op->stream->device, pointer, bytes, access, what);
}

void *cudasim_host_pointer(struct cudasim_op *op, const void *pointer, size_t bytes, enum cudasim_access access,
                           const char *what)
{
    if (op->status != 0)
        return NULL;
    if (pointer == NULL) {
        if (bytes > 0)
            cudasim_op_fault(op, "%s: NULL, but %zu bytes are needed", what, bytes);
        return NULL;
    }
    cudasim_lock();
    struct cudasim_memory *block = cudasim_find(pointer);
    char *address = NULL;
    if (block != NULL && block->device >= 0)
        cudasim_op_fault(op, "%s: %p is memory of device %d, but host memory is wanted", what, pointer, block->device);
    else if (block == NULL || in_block(op, block, pointer, bytes, what)) {
        address = (char *)pointer; /* the program's to write, as it says */
        add_use(op, block, address, bytes, access);
    }
    cudasim_unlock();
    return address;
}

void cudasim_kernel_pointer(struct cudasim_op *op, void **pointer, bool surely, enum cudasim_access access,
                            const char *what)
{
    if (op->status != 0 || *pointer == NULL)
        return;
    cudasim_lock();
    struct cudasim_memory *block = cudasim_find(*pointer);
    int device = op->stream->device;
    if (block == NULL) {
        if (surely)
            cudasim_op_fault(op, "%s: %p is neither device memory nor pinned", what, *pointer);
    } else if (block->alias == NULL && !surely) {
        ; /* may be no pointer at all: a kernel that reads through it is stopped then */
    } else if (block->device >= 0 && block->device != device && !cudasim_device(device)->peers[block->device]) {
        cudasim_op_fault(op, "%s: block %lu is on device %d, which device %d may not reach", what,
                         (unsigned long)block->number, block->device, device);
    } else if (in_block(op, block, *pointer, 0, what)) {
        char *address = block->alias + ((char *)*pointer - block->view);
        add_use(op, block, address, 0, access);
        *pointer = address;
    }
    cudasim_unlock();
}

void cudasim_no_overlap(struct cudasim_op *op)
{
    for (int i = 0; i < op->use_count && op->status == 0; i++)
        for (int k = 0; k < op->use_count && op->status == 0; k++) {
            const struct cudasim_use *a = &op->uses[i], *b = &op->uses[k];
            if (i != k && (a->access & CUDASIM_WRITE) != 0 && a->address < b->address + b->bytes &&
                b->address < a->address + a->bytes)
                cudasim_op_fault(op, "an output of %zu bytes overlaps another argument of %zu bytes", a->bytes,
                                 b->bytes);
        }
}

/* ---- the calls ---- */

static bool may_allocate(void)
{
    if (!cudasim_capture_forbids())
        return true;
    cudasim_fault(0, "not while a stream is captured");
    return false;
}

static cudaError_t allocate_for_call(int device, size_t bytes, void **pointer)
{
    cudasim_lock();
    cudaError_t code = cudaErrorStreamCaptureUnsupported;
    if (may_allocate())
        code = allocate(device, bytes, pointer);
    cudasim_unlock();
    return cudasim_end(code);
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    CUDASIM_BEGIN();
    return allocate_for_call(cudasim_current_device, bytes, pointer);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    CUDASIM_BEGIN();
    (void)flags; /* all pinned memory is portable and mapped */
    return allocate_for_call(-1, bytes, pointer);
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    CUDASIM_BEGIN();
    return allocate_for_call(-1, bytes, pointer);
}

static cudaError_t give_back_for_call(void *pointer, bool host, int code)
{
    cudasim_lock();
    cudaError_t status = cudaErrorStreamCaptureUnsupported;
    if (may_allocate())
        status = give_back(pointer, host);
    if (status == cudaSuccess)
        status = cudasim_device(cudasim_current_device)->broken;
    cudasim_unlock();
    return cudasim_end(code != 0 ? (cudaError_t)code : status);
}

cudaError_t cudaFree(void *pointer)
{
    return give_back_for_call(pointer, false, CUDASIM_ENTER(CUDASIM_RELEASING));
}

cudaError_t cudaFreeHost(void *pointer)
{
    return give_back_for_call(pointer, true, CUDASIM_ENTER(CUDASIM_RELEASING));
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    CUDASIM_BEGIN();
    const struct cudasim_device *device = cudasim_device(cudasim_current_device);
    cudasim_lock();
    *total = device->total;
    *available = device->total - device->handles - device->bytes.live;
    cudasim_unlock();
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    const struct cudasim_memory *block = cudasim_find(pointer);
    memset(attributes, 0, sizeof *attributes);
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = -1;
    if (block != NULL && block->alias != NULL) {
        attributes->type = block->device < 0 ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
        attributes->device = block->device < 0 ? 0 : block->device;
        attributes->devicePointer = (void *)pointer;
        attributes->hostPointer = block->device < 0 ? (void *)pointer : NULL;
    }
    cudasim_unlock();
    return cudaSuccess;
}

void *cudasim_peek(const void *device_pointer, size_t bytes)
{
    cudasim_lock();
    cudasim_current.name = __func__;
    struct cudasim_memory *block = cudasim_find(device_pointer);
    char *address = NULL;
    if (block == NULL || block->alias == NULL)
        cudasim_fault(0, "%p is no live memory", device_pointer);
    else if (block->pending > 0)
        cudasim_fault(0, "work is pending on block %lu", (unsigned long)block->number);
    else {
        address = block->alias + ((const char *)device_pointer - block->view);
        if (address + bytes > block->alias + block->skip + block->bytes)
            address = NULL;
    }
    cudasim_unlock();
    return address;
}

int64_t cudasim_memory_leaks(void)
{
    int64_t leaks = 0;
    for (int i = 0; i < block_count; i++)
        if (blocks[i]->alias != NULL) {
            fprintf(stderr, "cudasim: leak: %zu bytes on %s %d from %s\n", blocks[i]->bytes,
                    blocks[i]->device < 0 ? "the host" : "device", blocks[i]->device, blocks[i]->call.name);
            leaks++;
        }
    return leaks;
}
