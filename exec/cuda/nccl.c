/*
 * Messages to devices of other processes: NCCL, a communicator of two ranks for each connection.
 *
 * What is sent on one communicator comes in order, and communicators do not order each other, so each channel of the
 * plan goes on by itself, as it does between devices of one process. Kernels of NCCL wait on the device for their other
 * side: few blocks for each, so that all connections of a device fit on it at once. A first message is moved when a
 * connection is opened, since NCCL takes memory, and its host threads wait for each other, when there was none yet.
 */
#include "common/alloc.h"
#include "exec/cuda/cuda.h"
#include "exec/team.h"

#include <nccl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS_MAX = 4, ABANDON_S = 1 };

_Static_assert(sizeof(ncclUniqueId) == EXEC_PEER_NAME, "a connection's name is NCCL's id");

struct peer {
    struct exec_cuda_context *context;
    int device, gpu;
    bool sends;
    void *word;            /* of the device, for messages that carry nothing */
    pthread_rwlock_t lock; /* of comm: read by those who use it */
    ncclComm_t comm;       /* NULL: abandoned */
};

static sp_status failed(struct sp_error *err, ncclResult_t code, const char *call, const char *source, int line)
{
    const char *more = code == ncclUnhandledCudaError || code == ncclSystemError || code == ncclRemoteError
                           ? ncclGetLastError(NULL)
                           : "";
    return sp_fail(err, SP_E_BACKEND, source, line, "cuda: %.*s: %s%s%s", (int)strcspn(call, "("), call,
                   ncclGetErrorString(code), more[0] != '\0' ? ": " : "", more);
}

#define NCCL_TRY(call)                                                                                                 \
    do {                                                                                                               \
        ncclResult_t nccl_code = (call);                                                                               \
        if (nccl_code != ncclSuccess)                                                                                  \
            return failed(err, nccl_code, #call, __FILE__, __LINE__);                                                  \
    } while (0)

static sp_status name(char out[EXEC_PEER_NAME], struct sp_error *err)
{
    ncclUniqueId id;
    NCCL_TRY(ncclGetUniqueId(&id));
    memcpy(out, &id, sizeof id);
    return SP_OK;
}

static sp_status move_part(const struct peer *peer, void *at, size_t bytes, cudaStream_t stream, struct sp_error *err)
{
    int other = peer->sends ? 1 : 0;
    if (peer->sends)
        NCCL_TRY(ncclSend(at, bytes, ncclInt8, other, peer->comm, stream));
    else
        NCCL_TRY(ncclRecv(at, bytes, ncclInt8, other, peer->comm, stream));
    return SP_OK;
}

static sp_status move_parts(const struct peer *peer, const struct exec_part *parts, int count, cudaStream_t stream,
                            struct sp_error *err)
{
    if (peer->comm == NULL)
        return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
    CUDA_TRY(cudaSetDevice(peer->gpu));
    NCCL_TRY(ncclGroupStart());
    sp_status status = count == 0 ? move_part(peer, peer->word, sizeof(int32_t), stream, err) : SP_OK;
    for (int p = 0; p < count && status == SP_OK; p++)
        status = move_part(peer, parts[p].at, parts[p].bytes, stream, err);
    ncclResult_t code = ncclGroupEnd();
    if (status == SP_OK && code != ncclSuccess)
        return failed(err, code, "ncclGroupEnd", __FILE__, __LINE__);
    return status;
}

static sp_status move(void *self, void *to, const struct exec_part *parts, int count, struct sp_error *err)
{
    struct peer *peer = self;
    const struct exec_cuda_queue *queue = to;
    pthread_rwlock_rdlock(&peer->lock);
    sp_status status = move_parts(peer, parts, count, queue->stream, err);
    pthread_rwlock_unlock(&peer->lock);
    return status;
}

/* Beside a call of `move`, if need be: NCCL lets another thread ask. */
static sp_status check(void *self, struct sp_error *err)
{
    struct peer *peer = self;
    ncclResult_t code = ncclSuccess, found = ncclSuccess;
    if (pthread_rwlock_tryrdlock(&peer->lock) != 0)
        return SP_OK; /* it is being abandoned */
    (void)cudaSetDevice(peer->gpu);
    if (peer->comm != NULL)
        code = ncclCommGetAsyncError(peer->comm, &found);
    pthread_rwlock_unlock(&peer->lock);
    code = code != ncclSuccess ? code : found;
    if (code == ncclSuccess || code == ncclInProgress)
        return SP_OK;
    return failed(err, code, "ncclCommGetAsyncError", __FILE__, __LINE__);
}

static void close_peer(void **out)
{
    struct peer *peer = *out;
    if (peer == NULL)
        return;
    (void)cudaSetDevice(peer->gpu);
    if (peer->comm != NULL)
        (void)ncclCommDestroy(peer->comm);
    (void)cudaStreamSynchronize(peer->context->devices[peer->device].stream); /* a first message that was given up */
    exec_cuda_release(peer->context, peer->word, sizeof(int32_t));
    pthread_rwlock_destroy(&peer->lock);
    free(peer);
    *out = NULL;
}

/* Tells NCCL to end a connection, if that can be had by `end` (NULL: at once). */
static bool abort_one(struct peer *peer, const struct timespec *end)
{
    int busy = end == NULL ? pthread_rwlock_trywrlock(&peer->lock) : pthread_rwlock_timedwrlock(&peer->lock, end);
    if (busy != 0)
        return false;
    (void)cudaSetDevice(peer->gpu);
    if (peer->comm != NULL)
        (void)ncclCommAbort(peer->comm);
    return true;
}

/*
 * An abort frees memory, for which the device must have done all that it was given: receives of other connections, too,
 * that wait for ever. So all are aborted in one group: in there NCCL (since 2.22) tells each to end at once, and waits
 * behind the last. Those that a call of NCCL uses come later, for what ends before may be what that call waits for; a
 * call may also wait for the other process, and then this one will have to end without them.
 */
static void abandon(void *const *peers, int count)
{
    struct timespec end;
    bool *told = sp_calloc((size_t)count + 1, sizeof *told);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += ABANDON_S;
    bool grouped = ncclGroupStart() == ncclSuccess;
    for (int turn = 0; turn < 2; turn++)
        for (int p = 0; p < count; p++)
            told[p] = told[p] || abort_one(peers[p], turn == 0 ? NULL : &end);
    if (grouped)
        (void)ncclGroupEnd();
    for (int p = 0; p < count; p++) {
        struct peer *peer = peers[p];
        if (!told[p])
            continue;
        peer->comm = NULL;
        pthread_rwlock_unlock(&peer->lock);
    }
    free(told);
}

/* The other process may end instead, or the connection. */
static sp_status await_first(struct peer *peer, cudaStream_t stream, struct sp_error *err)
{
    cudaError_t code;
    while ((code = cudaStreamQuery(stream)) == cudaErrorNotReady) {
        if (exec_team_failed(peer->context->team, NULL, NULL))
            return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
        SP_TRY(check(peer, err));
        usleep(1000);
    }
    if (code != cudaSuccess)
        return exec_cuda_failed(err, EXEC_CUDART, (int)code, "cudaStreamQuery", __FILE__, __LINE__);
    return SP_OK;
}

static sp_status connect(struct peer *peer, const char id_text[EXEC_PEER_NAME], struct sp_error *err)
{
    struct exec_cuda_device *device = &peer->context->devices[peer->device];
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    memcpy(&id, id_text, sizeof id);
    config.blocking = 1;
    config.maxCTAs = BLOCKS_MAX;
    SP_TRY(exec_cuda_allocate(peer->context, peer->device, sizeof(int32_t), &peer->word, err));
    CUDA_TRY(cudaSetDevice(peer->gpu));
    ncclResult_t code = ncclCommInitRankConfig(&peer->comm, 2, id, peer->sends ? 0 : 1, &config);
    if (code != ncclSuccess)
        peer->comm = NULL;
    if (code == ncclInvalidUsage)
        return SP_FAIL(err, SP_E_UNSUPPORTED,
                       "cuda: NCCL does not connect GPU %d to the other process's; each process needs GPUs of its own",
                       peer->gpu);
    if (code != ncclSuccess)
        return failed(err, code, "ncclCommInitRankConfig", __FILE__, __LINE__);
    SP_TRY(move_parts(peer, NULL, 0, device->stream, err));
    return await_first(peer, device->stream, err);
}

static sp_status open_peer(void *context, int device, const char id[EXEC_PEER_NAME], bool sends, void **out,
                           struct sp_error *err)
{
    struct peer *peer = sp_calloc(1, sizeof *peer);
    *peer = (struct peer){.context = context, .device = device, .sends = sends};
    peer->gpu = peer->context->devices[device].gpu;
    pthread_rwlock_init(&peer->lock, NULL);
    *out = peer;
    sp_status status = connect(peer, id, err);
    if (status != SP_OK) {
        abandon(out, 1);
        close_peer(out);
    }
    return status;
}

const struct exec_peers exec_cuda_peers = {
    .name = name, .open = open_peer, .close = close_peer, .move = move, .check = check, .abandon = abandon};
