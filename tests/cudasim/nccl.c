/*
 * nccl.c - NCCL between the devices of one process: each rank is a device, with a stream of its own.
 *
 * What a group of calls asks of one stream is one operation: it posts all its messages, then takes what others post,
 * then waits until its own were taken. So a send and a receive that are not in a group wait for each other in vain,
 * as with NCCL where it does not buffer; who waits too long is reported. A receiver comes after its sender's work; a
 * sender learns nothing of its receiver's.
 *
 * An abort ends what its communicator does, and frees memory, for which it waits until the device has done all that it
 * was given: what other communicators have there, too. In a group all are told to end before any is waited for.
 */
#include "tests/cudasim/handle.h"
#include "tests/cudasim/nccl_reduce.h"

#include <nccl.h>
#include <stdlib.h>
#include <string.h>

ncclResult_t ncclGroupStart(void); /* nccl.h declares them without prototypes */
ncclResult_t ncclGroupEnd(void);

#define RANKS_MAX  CUDASIM_DEVICES_MAX
#define PIECES_MAX 256

struct message {
    int from, to; /* to: -1 for a part in a collective */
    int64_t round;
    enum piece_kind { SEND, RECEIVE, ALL_REDUCE, BROADCAST } kind;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t reduction;
    int root;
    int takers; /* who have not taken it yet */
    int references;
    struct message *next;
    char data[];
};

/* The ranks that have the same id. */
struct world {
    ncclUniqueId id;
    int size, joined, live;
    bool present[RANKS_MAX];
    int devices[RANKS_MAX];
    struct message *first, **last; /* in the order of posting */
    struct world *next;
};

struct ncclComm {
    struct cudasim_handle base;
    struct world *world;
    int rank;
    int64_t round; /* collectives begun */
    int pending;   /* operations enqueued */
    bool aborted;  /* they wait for nobody any more */
    int lost;      /* its asynchronous error */
};

struct piece {
    enum piece_kind kind;
    const char *from;
    char *to;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t reduction;
    int peer; /* or root */
    struct message *posted;
};

/* The argument of an operation. */
struct exchange {
    struct ncclComm *comm;
    int lost; /* it never ends, and this is why */
    int count;
    struct piece pieces[PIECES_MAX];
};

static struct world *worlds;
static uint64_t ids_made;
static int patience_s = 60;

/* This thread's group: operations begun, communicators that wait for their others. */
static _Thread_local struct {
    int depth;
    struct cudasim_op *ops[RANKS_MAX * 4];
    int op_count;
    struct world *joining[RANKS_MAX];
    int joining_count;
    struct ncclComm *aborting[RANKS_MAX * 4];
    int aborting_count;
} group;

void cudasim_set_patience(int seconds)
{
    patience_s = seconds;
}

static size_t size_of(ncclDataType_t type)
{
    static const size_t sizes[ncclNumTypes] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return (unsigned)type < ncclNumTypes ? sizes[type] : 0;
}

/* ---- messages. All locked ---- */

static void drop(struct message *message)
{
    if (--message->references == 0)
        free(message);
}

/* Copies the bytes, so that the sender's memory is read by the sender's stream only. */
static struct message *post(struct ncclComm *comm, const struct piece *piece, int64_t round)
{
    struct world *world = comm->world;
    bool collective = piece->kind >= ALL_REDUCE;
    bool empty = piece->kind == BROADCAST && piece->peer != comm->rank;
    size_t bytes = empty ? 0 : piece->count * size_of(piece->type);
    struct message *message = calloc(1, sizeof *message + bytes);
    if (message == NULL)
        abort();
    message->from = comm->rank;
    message->to = collective ? -1 : piece->peer;
    message->round = round;
    message->kind = piece->kind;
    message->count = piece->count;
    message->type = piece->type;
    message->reduction = piece->reduction;
    message->root = piece->peer;
    message->takers = collective ? world->size : 1;
    message->references = 2; /* the list's and the sender's */
    if (bytes > 0)
        memcpy(message->data, piece->from, bytes);
    cudasim_release(message);
    *world->last = message;
    world->last = &message->next;
    cudasim_progress();
    return message;
}

/* Takes a message for the last time or not; then it leaves the list. */
static void take(struct world *world, struct message *message)
{
    if (--message->takers > 0)
        return;
    struct message **link = &world->first;
    while (*link != message)
        link = &(*link)->next;
    *link = message->next;
    if (message->next == NULL)
        world->last = link;
    drop(message);
    cudasim_progress();
}

static void give_up(const char *what, const struct ncclComm *comm, int peer)
{
    cudasim_fault_in(cudasim_running->call.name, NULL, "rank %d has waited %d s for rank %d %s", comm->rank, patience_s,
                     peer, what);
    abort();
}

/* NULL: aborted. */
static struct message *await(struct ncclComm *comm, int from, int to, int64_t round)
{
    struct cudasim_patience patience = cudasim_patience(patience_s);
    while (!comm->aborted) {
        for (struct message *m = comm->world->first; m != NULL; m = m->next)
            if (m->from == from && m->to == to && (to >= 0 || m->round == round))
                return m;
        if (!cudasim_wait_patiently(&patience))
            give_up("to send", comm, from);
    }
    return NULL;
}

static bool agree(const struct message *message, const struct piece *piece)
{
    if (message->count == piece->count && message->type == piece->type &&
        (piece->kind == RECEIVE ||
         (message->kind == piece->kind && message->root == piece->peer && message->reduction == piece->reduction)))
        return true;
    cudasim_fault_in(cudasim_running->call.name, NULL,
                     "rank %d gives %zu elements of type %d, but %zu of type %d are taken", message->from,
                     message->count, (int)message->type, piece->count, (int)piece->type);
    return false;
}

static void reduce(const struct piece *piece, struct message *const *parts, int ranks)
{
    const char *data[RANKS_MAX];
    for (int rank = 0; rank < ranks; rank++)
        data[rank] = parts[rank]->data;
    cudasim_reduce(piece->to, piece->count, piece->type, piece->reduction, data, ranks);
}

static void finish_collective(struct ncclComm *comm, const struct piece *piece)
{
    struct world *world = comm->world;
    struct message *parts[RANKS_MAX];
    bool sound = true;
    for (int rank = 0; rank < world->size; rank++) {
        parts[rank] = await(comm, rank, -1, piece->posted->round);
        if (parts[rank] == NULL)
            return;
        sound = sound && agree(parts[rank], piece);
        if (piece->kind == ALL_REDUCE || rank == piece->peer)
            cudasim_acquire(parts[rank]);
    }
    if (sound && piece->kind == ALL_REDUCE)
        reduce(piece, parts, world->size);
    else if (sound)
        memcpy(piece->to, parts[piece->peer]->data, piece->count * size_of(piece->type));
    for (int rank = 0; rank < world->size; rank++)
        take(world, parts[rank]);
}

static void finish_receive(struct ncclComm *comm, const struct piece *piece)
{
    struct message *message = await(comm, piece->peer, comm->rank, 0);
    if (message == NULL)
        return;
    cudasim_acquire(message);
    if (agree(message, piece))
        memcpy(piece->to, message->data, piece->count * size_of(piece->type));
    take(comm->world, message);
}

static void exchange_all(struct exchange *exchange)
{
    struct ncclComm *comm = exchange->comm;
    for (int i = 0; i < exchange->count; i++) {
        struct piece *piece = &exchange->pieces[i];
        if (piece->kind != RECEIVE)
            piece->posted = post(comm, piece, piece->kind == SEND ? 0 : comm->round++);
    }
    for (int i = 0; i < exchange->count; i++) {
        struct piece *piece = &exchange->pieces[i];
        if (piece->kind == RECEIVE)
            finish_receive(comm, piece);
        else if (piece->kind != SEND)
            finish_collective(comm, piece);
    }
    if (!comm->aborted)
        cudasim_touch_received(cudasim_running);
    struct cudasim_patience patience = cudasim_patience(patience_s);
    for (int i = 0; i < exchange->count; i++) {
        struct message *posted = exchange->pieces[i].posted;
        while (posted != NULL && posted->takers > 0 && !comm->aborted)
            if (!cudasim_wait_patiently(&patience))
                give_up("to receive", comm, exchange->pieces[i].peer);
        if (posted != NULL)
            drop(posted);
    }
}

/* It has failed by itself, which only an abort ends. */
static void hang(struct exchange *exchange)
{
    struct cudasim_patience patience = cudasim_patience(patience_s);
    exchange->comm->lost = exchange->lost;
    while (!exchange->comm->aborted)
        if (!cudasim_wait_patiently(&patience)) {
            cudasim_fault_in(cudasim_running->call.name, NULL, "rank %d has an error that nobody has asked for in %d s",
                             exchange->comm->rank, patience_s);
            abort();
        }
}

/* On a broken device it does nothing, but is over. */
static void run_exchange(void *argument)
{
    struct exchange *exchange = argument;
    cudasim_lock();
    if (exchange->lost != 0)
        hang(exchange);
    else if (cudasim_running->fail == 0 && cudasim_device(cudasim_running->stream->device)->broken == cudaSuccess)
        exchange_all(exchange);
    exchange->comm->pending--;
    cudasim_progress();
    cudasim_unlock();
}

/* ---- the calls ---- */

/* Counts an operation before it is enqueued, or takes that back. */
static void count_pending(struct ncclComm *comm, int one)
{
    cudasim_lock();
    comm->pending += one;
    cudasim_unlock();
}

static ncclResult_t end_group(void)
{
    int status = 0;
    for (int i = 0; i < group.op_count; i++) {
        struct ncclComm *comm = ((struct exchange *)group.ops[i]->argument)->comm;
        bool sound = group.ops[i]->status == 0;
        if (sound)
            count_pending(comm, 1);
        int code = cudasim_op_end(group.ops[i]);
        if (sound && code != 0)
            count_pending(comm, -1);
        status = status != 0 ? status : code;
    }
    group.op_count = 0;
    return (ncclResult_t)status;
}

/* The operation of this group that a piece belongs to; a new one where there is none. */
static inline __attribute__((always_inline)) struct cudasim_op *operation(ncclComm_t comm, cudaStream_t stream,
                                                                          int code)
{
    int lost = cudasim_take_loss();
    for (int i = 0; i < group.op_count; i++) {
        struct exchange *exchange = group.ops[i]->argument;
        if (group.ops[i]->stream != stream || exchange->comm != comm)
            continue;
        exchange->lost = lost != 0 ? lost : exchange->lost;
        return group.ops[i];
    }
    if (code == 0)
        code = cudasim_handle_check((struct cudasim_handle *)comm, ncclInvalidArgument);
    struct cudasim_op *op = code != 0
                                ? cudasim_op_failed(sizeof(struct exchange), code)
                                : cudasim_op_begin(stream, sizeof(struct exchange), run_exchange, ncclInvalidArgument);
    if (group.op_count == (int)(sizeof group.ops / sizeof *group.ops))
        abort();
    *(struct exchange *)op->argument = (struct exchange){.comm = comm, .lost = lost};
    op->always = op->between_ranks = true;
    return group.ops[group.op_count++] = op;
}

static ncclResult_t add(struct cudasim_op *op, const struct piece *piece, const void *from, void *to)
{
    struct exchange *exchange = op->argument;
    size_t bytes = piece->count * size_of(piece->type);
    if (op->status == 0 && (piece->peer < 0 || piece->peer >= exchange->comm->world->size))
        cudasim_op_fault(op, "there is no rank %d, only %d ranks", piece->peer, exchange->comm->world->size);
    if (op->status == 0 && (size_of(piece->type) == 0 || exchange->count == PIECES_MAX))
        cudasim_op_fault(op, "data of type %d, %d calls in a group", (int)piece->type, exchange->count);
    if (op->status == 0) {
        struct piece *added = &exchange->pieces[exchange->count++];
        *added = *piece;
        if (from != NULL)
            added->from = cudasim_device_pointer(op, from, bytes, CUDASIM_READ, "sendbuff");
        if (to != NULL || from == NULL)
            added->to = cudasim_device_pointer(op, to, bytes, CUDASIM_WRITE, "recvbuff");
    }
    return group.depth > 0 ? (ncclResult_t)op->status : end_group();
}

ncclResult_t ncclSend(const void *sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    struct cudasim_op *op = operation(comm, stream, CUDASIM_ENTER(CUDASIM_NCCL));
    return add(op, &(struct piece){.kind = SEND, .count = count, .type = datatype, .peer = peer}, sendbuff, NULL);
}

ncclResult_t ncclRecv(void *recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    struct cudasim_op *op = operation(comm, stream, CUDASIM_ENTER(CUDASIM_NCCL));
    return add(op, &(struct piece){.kind = RECEIVE, .count = count, .type = datatype, .peer = peer}, NULL, recvbuff);
}

ncclResult_t ncclAllReduce(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype,
                           ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream)
{
    struct cudasim_op *op = operation(comm, stream, CUDASIM_ENTER(CUDASIM_NCCL));
    if (op->status == 0 &&
        ((datatype != ncclFloat32 && datatype != ncclFloat64 && datatype != ncclInt32 && datatype != ncclInt64) ||
         reduction >= ncclNumOps))
        cudasim_op_fault(op, "reduction %d of type %d is not known here", (int)reduction, (int)datatype);
    return add(op, &(struct piece){.kind = ALL_REDUCE, .count = count, .type = datatype, .reduction = reduction},
               sendbuff, recvbuff);
}

ncclResult_t ncclBroadcast(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    struct cudasim_op *op = operation(comm, stream, CUDASIM_ENTER(CUDASIM_NCCL));
    bool sends = op->status == 0 && root == comm->rank; /* the others' sendbuff is ignored */
    return add(op, &(struct piece){.kind = BROADCAST, .count = count, .type = datatype, .peer = root},
               sends ? sendbuff : NULL, recvbuff);
}

static void end_aborts(void);

ncclResult_t ncclGroupStart(void)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING); /* a broken device is not asked */
    group.depth += code == 0;
    return (ncclResult_t)code;
}

/* Until all ranks of the world have come. Locked. */
static int await_ranks(struct world *world)
{
    struct cudasim_patience patience = cudasim_patience(patience_s);
    while (world->joined < world->size)
        if (!cudasim_wait_patiently(&patience))
            return cudasim_fault(ncclSystemError, "only %d of %d ranks have come within %d s", world->joined,
                                 world->size, patience_s);
    return 0;
}

ncclResult_t ncclGroupEnd(void)
{
    int status = CUDASIM_ENTER(CUDASIM_RELEASING);
    if (group.depth == 0)
        return (ncclResult_t)cudasim_fault(ncclInvalidUsage, "no group has begun");
    if (--group.depth > 0)
        return (ncclResult_t)status;
    cudasim_lock();
    for (int i = 0; i < group.joining_count; i++) {
        int code = await_ranks(group.joining[i]);
        status = status != 0 ? status : code;
    }
    group.joining_count = 0;
    cudasim_unlock();
    end_aborts();
    int code = (int)end_group();
    return (ncclResult_t)(status != 0 ? status : code);
}

/* ---- communicators ---- */

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    int code = CUDASIM_ENTER(CUDASIM_NCCL);
    cudasim_lock();
    memset(id, 0, sizeof *id);
    cudasim_aborted = false;
    snprintf(id->internal, sizeof id->internal, "cudasim %lu", (unsigned long)++ids_made);
    cudasim_unlock();
    return (ncclResult_t)code;
}

static struct world *world_of(const ncclUniqueId *id, int size)
{
    for (struct world *world = worlds; world != NULL; world = world->next)
        if (memcmp(&world->id, id, sizeof *id) == 0)
            return world;
    struct world *world = calloc(1, sizeof *world);
    if (world == NULL)
        abort();
    world->id = *id;
    world->size = size;
    world->last = &world->first;
    world->next = worlds;
    worlds = world;
    return world;
}

static int join(struct world *world, int size, int rank)
{
    if (size != world->size || size > RANKS_MAX || rank < 0 || rank >= size || world->present[rank])
        return cudasim_fault(ncclInvalidArgument, "rank %d of %d, but the first has said %d ranks, and %d have come",
                             rank, size, world->size, world->joined);
    for (int other = 0; other < size; other++)
        if (world->present[other] && world->devices[other] == cudasim_current_device)
            return cudasim_fault(ncclInvalidUsage, "ranks %d and %d are on the same device %d", other, rank,
                                 cudasim_current_device);
    world->present[rank] = true;
    world->devices[rank] = cudasim_current_device;
    world->joined++;
    world->live++;
    cudasim_progress();
    return 0;
}

static ncclResult_t init_rank(ncclComm_t *out, int size, const ncclUniqueId *id, int rank, int status)
{
    *out = NULL;
    if (status != 0)
        return (ncclResult_t)status;
    cudasim_lock();
    struct world *world = world_of(id, size);
    status = join(world, size, rank);
    if (status == 0 && group.depth > 0)
        group.joining[group.joining_count++] = world;
    else if (status == 0)
        status = await_ranks(world);
    cudasim_unlock();
    if (status != 0)
        return (ncclResult_t)status;
    struct ncclComm *comm = calloc(1, sizeof *comm);
    if (comm == NULL)
        abort();
    cudasim_handle_open(&comm->base, "NCCL");
    comm->world = world;
    comm->rank = rank;
    *out = comm;
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank)
{
    return init_rank(comm, nranks, &commId, rank, CUDASIM_ENTER(CUDASIM_NCCL));
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t *config)
{
    (void)config;
    return init_rank(comm, nranks, &commId, rank, CUDASIM_ENTER(CUDASIM_NCCL));
}

ncclResult_t ncclCommInitAll(ncclComm_t *comms, int count, const int *devices)
{
    int status = CUDASIM_ENTER(CUDASIM_NCCL), before = cudasim_current_device;
    ncclUniqueId id = {{0}};
    cudasim_lock();
    snprintf(id.internal, sizeof id.internal, "cudasim %lu", (unsigned long)++ids_made);
    cudasim_unlock();
    group.depth++;
    for (int rank = 0; rank < count && status == 0; rank++) {
        cudasim_current_device = devices != NULL ? devices[rank] : rank;
        status = (int)init_rank(&comms[rank], count, &id, rank, 0);
    }
    group.depth--;
    group.joining_count = 0; /* all have come */
    cudasim_current_device = before;
    return (ncclResult_t)status;
}

static ncclResult_t destroy(ncclComm_t comm, int code)
{
    int status = cudasim_handle_close((struct cudasim_handle *)comm, ncclInvalidArgument);
    if (status != 0)
        return (ncclResult_t)status;
    cudasim_lock();
    struct world *world = comm->world;
    if (--world->live == 0) {
        struct world **link = &worlds;
        while (*link != world)
            link = &(*link)->next;
        *link = world->next;
        if (world->first != NULL && !comm->aborted)
            cudasim_fault(0, "a message of rank %d was never taken", world->first->from);
        while (world->first != NULL) {
            struct message *first = world->first;
            world->first = first->next;
            drop(first);
        }
        free(world);
    }
    free(comm);
    cudasim_unlock();
    return (ncclResult_t)code;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    return destroy(comm, CUDASIM_ENTER(CUDASIM_RELEASING));
}

/* Waits for what was aborted, and frees it. */
static void end_aborts(void)
{
    int before = cudasim_current_device;
    int seconds = patience_s > 1 ? patience_s / 2 : 1; /* before those give up that it waits for */
    struct cudasim_patience patience = cudasim_patience(seconds);
    for (int i = 0; i < group.aborting_count; i++) {
        struct ncclComm *comm = group.aborting[i];
        cudasim_current_device = comm->base.device;
        cudasim_lock();
        bool ended = cudasim_await_device(comm->base.device, &patience) && comm->pending == 0;
        cudasim_unlock();
        if (ended)
            (void)destroy(comm, 0);
        else
            cudasim_fault(0,
                          "device %d has waited %d s for what another communicator does; those of a device are aborted "
                          "in one group",
                          cudasim_current_device, seconds);
    }
    group.aborting_count = 0;
    cudasim_current_device = before;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    int status = cudasim_handle_check((struct cudasim_handle *)comm, ncclInvalidArgument);
    if (status != 0)
        return (ncclResult_t)status;
    cudasim_lock();
    comm->aborted = cudasim_aborted = true;
    cudasim_progress();
    cudasim_unlock();
    if (group.aborting_count == (int)(sizeof group.aborting / sizeof *group.aborting))
        abort();
    group.aborting[group.aborting_count++] = comm;
    if (group.depth == 0)
        end_aborts();
    return (ncclResult_t)code;
}

static ncclResult_t check(const struct ncclComm *comm, int code)
{
    return (ncclResult_t)(code != 0 ? code : cudasim_handle_check(&comm->base, ncclInvalidArgument));
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    return check(comm, CUDASIM_ENTER(CUDASIM_NCCL));
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *asyncError)
{
    ncclResult_t code = check(comm, CUDASIM_ENTER(CUDASIM_RELEASING));
    if (code != ncclSuccess)
        return code;
    cudasim_lock();
    bool lost = comm->lost != 0;
    *asyncError = comm->lost != 0                                                 ? (ncclResult_t)comm->lost
                  : cudasim_device(cudasim_current_device)->broken != cudaSuccess ? ncclUnhandledCudaError
                                                                                  : ncclSuccess;
    cudasim_unlock();
    if (lost)
        cudasim_tell();
    return code;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    ncclResult_t status = check(comm, CUDASIM_ENTER(CUDASIM_NCCL));
    if (status == ncclSuccess)
        *count = comm->world->size;
    return status;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    ncclResult_t status = check(comm, CUDASIM_ENTER(CUDASIM_NCCL));
    if (status == ncclSuccess)
        *device = comm->base.device;
    return status;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    ncclResult_t status = check(comm, CUDASIM_ENTER(CUDASIM_NCCL));
    if (status == ncclSuccess)
        *rank = comm->rank;
    return status;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[ncclNumResults] = {
        "no error",         "unhandled cuda error", "unhandled system error", "internal error",
        "invalid argument", "invalid usage",        "remote process exited",  "operation in progress"};
    return (unsigned)result < ncclNumResults ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "";
}
