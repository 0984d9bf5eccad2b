/*
 * kernel.c - runs kernels: a loop over the blocks of a grid, and over the threads of a block.
 *
 * A block starts on one fibre that calls the kernel for thread after thread. A thread that comes to a barrier parks
 * its fibre, and another one goes on with the next thread; when nobody can go on, a barrier that all have come to
 * opens. So kernels without barriers cost one fibre, and those with barriers a fibre a thread.
 */
#include "tests/cudasim/inside.h"
#include "tests/cudasim/launch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK       ((size_t)64 << 10)
#define THREADS_MAX 1024
#define WARP        32

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

enum parked { RUNNING, AT_WARP, AT_BLOCK, FREE };

struct fibre {
    ucontext_t context;
    enum parked parked;
    int thread; /* of the block */
};

struct launch {
    uint3 grid, block;
    void (*call)(void *);
    _Alignas(16) unsigned char arguments[];
};

/* The block that a stream's thread is in. */
struct block {
    ucontext_t scheduler;
    struct fibre *fibres[THREADS_MAX];
    int fibre_count; /* made so far; kept for the next block */
    struct fibre *current;
    struct launch *launch;
    int next, count; /* threads not begun yet begin at `next` */
    bool ended[THREADS_MAX];
    unsigned exchanged[THREADS_MAX];
};
static _Thread_local struct block *the_block;

static void set_thread(int thread)
{
    const uint3 *size = &blockDim;
    threadIdx.x = (unsigned)thread % size->x;
    threadIdx.y = (unsigned)thread / size->x % size->y;
    threadIdx.z = (unsigned)thread / (size->x * size->y);
}

static void run_threads(void)
{
    struct block *block = the_block;
    for (;;) {
        struct fibre *self = block->current;
        while (block->next < block->count) {
            self->thread = block->next++;
            set_thread(self->thread);
            block->launch->call(block->launch->arguments);
            block->ended[self->thread] = true;
        }
        self->parked = FREE;
        swapcontext(&self->context, &block->scheduler);
    }
}

static struct fibre *new_fibre(struct block *block)
{
    struct fibre *fibre = calloc(1, sizeof *fibre);
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (fibre == NULL || stack == MAP_FAILED)
        abort();
    getcontext(&fibre->context);
    fibre->context.uc_stack.ss_sp = stack;
    fibre->context.uc_stack.ss_size = STACK;
    makecontext(&fibre->context, run_threads, 0);
    fibre->parked = FREE;
    block->fibres[block->fibre_count++] = fibre;
    return fibre;
}

static void resume(struct block *block, struct fibre *fibre)
{
    if (fibre->parked != FREE)
        set_thread(fibre->thread);
    fibre->parked = RUNNING;
    block->current = fibre;
    swapcontext(&block->scheduler, &fibre->context);
}

static struct fibre *free_fibre(struct block *block)
{
    for (int i = 0; i < block->fibre_count; i++)
        if (block->fibres[i]->parked == FREE)
            return block->fibres[i];
    return new_fibre(block);
}

/* How many threads from `first` to `end` wait at such a barrier; -1: not all that have not ended do. */
static int waiting(const struct block *block, int first, int end, enum parked at)
{
    int here = 0, alive = 0;
    for (int thread = first; thread < end; thread++)
        alive += !block->ended[thread];
    for (int i = 0; i < block->fibre_count; i++) {
        const struct fibre *fibre = block->fibres[i];
        here += fibre->parked == at && fibre->thread >= first && fibre->thread < end;
    }
    return here == alive ? here : -1;
}

/* Lets those go on that waited at the barrier, the last ones first: nothing may depend on their order. */
static void open_barrier(struct block *block, int first, int end, enum parked at)
{
    for (int i = block->fibre_count - 1; i >= 0; i--)
        if (block->fibres[i]->parked == at && block->fibres[i]->thread >= first && block->fibres[i]->thread < end)
            block->fibres[i]->parked = RUNNING;
    for (int i = block->fibre_count - 1; i >= 0; i--)
        if (block->fibres[i]->parked == RUNNING)
            resume(block, block->fibres[i]);
}

static bool open_some_barrier(struct block *block)
{
    for (int first = 0; first < block->count; first += WARP) {
        int end = first + WARP < block->count ? first + WARP : block->count;
        if (waiting(block, first, end, AT_WARP) > 0) {
            open_barrier(block, first, end, AT_WARP);
            return true;
        }
    }
    if (waiting(block, 0, block->count, AT_BLOCK) <= 0)
        return false;
    open_barrier(block, 0, block->count, AT_BLOCK);
    return true;
}

static bool all_ended(const struct block *block)
{
    for (int thread = 0; thread < block->count; thread++)
        if (!block->ended[thread])
            return false;
    return true;
}

static void run_block(struct block *block)
{
    block->next = 0;
    memset(block->ended, 0, sizeof block->ended);
    while (!all_ended(block)) {
        if (block->next < block->count)
            resume(block, free_fibre(block));
        else if (!open_some_barrier(block)) {
            cudasim_fault_in(cudasim_running->call.name, cudasim_running->kernel,
                             "threads of a block wait at different barriers");
            abort();
        }
    }
}

void cudasim_barrier(int whole_block)
{
    struct block *block = the_block;
    struct fibre *self = block->current;
    self->parked = whole_block ? AT_BLOCK : AT_WARP;
    swapcontext(&self->context, &block->scheduler);
}

int cudasim_lane(void)
{
    return the_block->current->thread % WARP;
}

unsigned cudasim_exchange(unsigned value, int lane)
{
    struct block *block = the_block;
    int thread = block->current->thread, from = thread / WARP * WARP + lane;
    block->exchanged[thread] = value;
    cudasim_barrier(0);
    unsigned given = from < block->count ? block->exchanged[from] : value;
    cudasim_barrier(0);
    return given;
}

static void run_grid(void *argument)
{
    struct launch *launch = argument;
    if (the_block == NULL && (the_block = calloc(1, sizeof *the_block)) == NULL)
        abort();
    the_block->launch = launch;
    the_block->count = (int)(launch->block.x * launch->block.y * launch->block.z);
    blockDim = launch->block;
    gridDim = launch->grid;
    for (unsigned z = 0; z < launch->grid.z; z++)
        for (unsigned y = 0; y < launch->grid.y; y++)
            for (unsigned x = 0; x < launch->grid.x; x++) {
                blockIdx = (uint3){x, y, z};
                run_block(the_block);
            }
}

void cudasim_kernels_end(void)
{
    if (the_block == NULL)
        return;
    for (int i = 0; i < the_block->fibre_count; i++) {
        munmap(the_block->fibres[i]->context.uc_stack.ss_sp, STACK);
        free(the_block->fibres[i]);
    }
    free(the_block);
    the_block = NULL;
}

/* ---- launches, from kernel.h ---- */

static uint3 extent(dim3 size)
{
    return (uint3){size.x, size.y, size.z};
}

__attribute__((noinline)) struct cudasim_op *cudasim_launch_begin(const cudaLaunchConfig_t *config, const char *kernel,
                                                                  void (*call)(void *), const void *argument,
                                                                  size_t bytes, void **copied)
{
    int code = cudasim_enter("cudaLaunchKernelEx", __builtin_return_address(0), CUDASIM_CUDART);
    struct cudasim_op *op =
        cudasim_op_begin(config->stream, sizeof(struct launch) + bytes, run_grid, cudaErrorInvalidConfiguration);
    struct launch *launch = op->argument;
    op->kernel = kernel;
    launch->grid = extent(config->gridDim);
    launch->block = extent(config->blockDim);
    launch->call = call;
    cudasim_hide();
    memcpy(launch->arguments, argument, bytes);
    cudasim_show();
    *copied = launch->arguments;
    const uint3 *grid = &launch->grid, *block = &launch->block;
    uint64_t threads = (uint64_t)block->x * block->y * block->z;
    if (code != 0)
        op->status = code;
    else if (op->status == 0 &&
             (threads == 0 || threads > THREADS_MAX || block->z > 64 || grid->x == 0 || grid->x > 0x7fffffff ||
              grid->y == 0 || grid->y > 65535 || grid->z == 0 || grid->z > 65535 || config->dynamicSmemBytes != 0))
        cudasim_op_fault(op, "%s: grid %ux%ux%u, block %ux%ux%u, %zu bytes of dynamic shared memory", kernel, grid->x,
                         grid->y, grid->z, block->x, block->y, block->z, config->dynamicSmemBytes);
    return op;
}

void cudasim_launch_pointers(struct cudasim_op *op, void *argument, size_t bytes, enum cudasim_argument kind,
                             int number)
{
    char what[128];
    cudasim_hide();
    snprintf(what, sizeof what, "%s, argument %d", op->kernel, number);
    for (size_t at = 0; at + sizeof(void *) <= bytes; at += sizeof(void *)) {
        void *pointer;
        memcpy(&pointer, (char *)argument + at, sizeof pointer);
        cudasim_kernel_pointer(op, &pointer, kind != CUDASIM_HOLDS_POINTERS,
                               kind == CUDASIM_OUTPUT ? CUDASIM_UPDATE : CUDASIM_READ, what);
        memcpy((char *)argument + at, &pointer, sizeof pointer);
    }
    cudasim_show();
}

cudaError_t cudasim_launch_end(struct cudasim_op *op)
{
    return cudasim_end((cudaError_t)cudasim_op_end(op));
}
