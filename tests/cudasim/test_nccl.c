/*
 * test_nccl.c - NCCL of the stand-in: messages, reductions and groups between threads that are ranks, and what is wrong
 * with them.
 */
#include "tests/cudasim/cudasim.h"
#include "tests/cudasim/kernels.h"
#include "tests/cudasim/planted.h"

#include <nccl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS 3
#define N     500
#define BYTES (N * sizeof(float))

static ncclUniqueId id, second_id;

static void must(int code)
{
    if (code != 0) {
        fprintf(stderr, "unexpected: %d\n", code);
        _exit(99);
    }
}

static void expect(const char *what, double got, double expected)
{
    if (got != expected) {
        fprintf(stderr, "%s: %g, not %g\n", what, got, expected);
        _exit(98);
    }
}

static void set_up(void)
{
    cudasim_set_devices(RANKS, (size_t)1 << 30);
    must(ncclGetUniqueId(&id));
    must(ncclGetUniqueId(&second_id));
}

/* What a rank has; x: N values, all rank + 1 at first. */
struct rank {
    int rank, count;
    ncclComm_t comm;
    cudaStream_t stream;
    float *x, *y, *host;
    void (*work)(struct rank *self);
};

static void fill(struct rank *self, float value)
{
    for (int i = 0; i < N; i++)
        self->host[i] = value;
    must(cudaMemcpyAsync(self->x, self->host, BYTES, cudaMemcpyHostToDevice, self->stream));
    must(cudaStreamSynchronize(self->stream));
}

static void *run_rank(void *argument)
{
    struct rank *self = argument;
    must(cudaSetDevice(self->rank));
    must(cudaStreamCreateWithFlags(&self->stream, cudaStreamNonBlocking));
    must(ncclCommInitRank(&self->comm, self->count, id, self->rank));
    must(cudaMalloc((void **)&self->x, BYTES));
    must(cudaMalloc((void **)&self->y, BYTES));
    must(cudaHostAlloc((void **)&self->host, BYTES, cudaHostAllocPortable));
    fill(self, (float)(self->rank + 1));
    self->work(self);
    must(cudaStreamSynchronize(self->stream));
    if (self->comm != NULL)
        must(ncclCommDestroy(self->comm));
    must(cudaFree(self->x));
    must(cudaFree(self->y));
    must(cudaFreeHost(self->host));
    must(cudaStreamDestroy(self->stream));
    return NULL;
}

static void run_ranks(int count, void (*work)(struct rank *self))
{
    pthread_t threads[RANKS];
    struct rank ranks[RANKS];
    for (int i = 0; i < count; i++) {
        ranks[i] = (struct rank){.rank = i, .count = count, .work = work};
        must(pthread_create(&threads[i], NULL, run_rank, &ranks[i]));
    }
    for (int i = 0; i < count; i++)
        must(pthread_join(threads[i], NULL));
}

static float fetch(struct rank *self, const float *from)
{
    must(cudaMemcpyAsync(self->host, from, BYTES, cudaMemcpyDeviceToHost, self->stream));
    must(cudaStreamSynchronize(self->stream));
    for (int i = 1; i < N; i++)
        expect("all values", self->host[i], self->host[0]);
    return self->host[0];
}

/* Rank r sends to r + 1; what arrives is added to what was there, and that goes on: a sum over all ranks. */
static void pass_along(struct rank *self)
{
    if (self->rank > 0) {
        must(ncclRecv(self->y, N, ncclFloat, self->rank - 1, self->comm, self->stream));
        must(launch_add(self->x, self->x, self->y, N, self->stream));
    }
    if (self->rank < self->count - 1)
        must(ncclSend(self->x, N, ncclFloat, self->rank + 1, self->comm, self->stream));
    expect("sum so far", fetch(self, self->x), (self->rank + 1) * (self->rank + 2) / 2); /* 1, 3, 6 */
}

static void sound_chain(void)
{
    for (int round = 0; round < 10; round++) {
        cudasim_set_delays((uint64_t)round, 300);
        must(ncclGetUniqueId(&id));
        run_ranks(RANKS, pass_along);
    }
}

/* All send to the next and receive from the last at once, twice; only a group can. */
static void turn(struct rank *self)
{
    int next = (self->rank + 1) % self->count, last = (self->rank + self->count - 1) % self->count;
    for (int i = 0; i < 2; i++) {
        must(ncclGroupStart());
        must(ncclSend(i == 0 ? self->x : self->y, N, ncclFloat, next, self->comm, self->stream));
        must(ncclRecv(i == 0 ? self->y : self->x, N, ncclFloat, last, self->comm, self->stream));
        must(ncclGroupEnd());
    }
    expect("from two before", fetch(self, self->x), (self->rank + self->count - 2) % self->count + 1);
}

static void sound_turn(void)
{
    run_ranks(RANKS, turn);
}

/* 1 + 2 + 3 = 6; then the largest of 6, 6, 6 plus rank 1's y = 6 by broadcast. */
static void reduce(struct rank *self)
{
    must(ncclAllReduce(self->x, self->y, N, ncclFloat, ncclSum, self->comm, self->stream));
    expect("sum", fetch(self, self->y), 6);
    must(ncclAllReduce(self->x, self->x, N, ncclFloat, ncclMax, self->comm, self->stream)); /* in place */
    expect("largest", fetch(self, self->x), 3);
    fill(self, (float)(10 * self->rank));
    must(ncclBroadcast(self->x, self->x, N, ncclFloat, 1, self->comm, self->stream));
    expect("of rank 1", fetch(self, self->x), 10);
    must(ncclAllReduce(self->x, self->y, N, ncclFloat, ncclAvg, self->comm, self->stream));
    expect("mean", fetch(self, self->y), 10);
}

static void sound_reductions(void)
{
    run_ranks(RANKS, reduce);
}

/* One thread has both ranks, on devices 0 and 1. */
static void sound_single_thread(void)
{
    ncclComm_t comms[2];
    cudaStream_t streams[2];
    int32_t *memory[2], got;
    must(ncclCommInitAll(comms, 2, NULL));
    for (int device = 0; device < 2; device++) {
        must(cudaSetDevice(device));
        must(cudaStreamCreateWithFlags(&streams[device], cudaStreamNonBlocking));
        must(cudaMalloc((void **)&memory[device], sizeof(int32_t)));
        must(cudaMemsetAsync(memory[device], device + 1, sizeof(int32_t), streams[device]));
    }
    must(ncclGroupStart());
    for (int device = 0; device < 2; device++) {
        must(cudaSetDevice(device));
        must(ncclAllReduce(memory[device], memory[device], 1, ncclInt32, ncclSum, comms[device], streams[device]));
    }
    must(ncclGroupEnd());
    for (int device = 0; device < 2; device++) {
        must(cudaSetDevice(device));
        must(cudaMemcpyAsync(&got, memory[device], sizeof got, cudaMemcpyDeviceToHost, streams[device]));
        must(cudaStreamSynchronize(streams[device]));
        expect("sum", got, 0x03030303);
        must(ncclCommDestroy(comms[device]));
        must(cudaFree(memory[device]));
        must(cudaStreamDestroy(streams[device]));
    }
}

/* Two communicators, on which rank 0 waits for what never comes; then they are ended, in a group or not. */
static void wait_twice(struct rank *self, bool grouped)
{
    ncclComm_t second;
    cudaStream_t stream;
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    must(ncclCommInitRank(&second, self->count, second_id, self->rank));
    if (self->rank == 0) {
        must(ncclRecv(self->x, N, ncclFloat, 1, self->comm, self->stream));
        must(ncclRecv(self->y, N, ncclFloat, 1, second, stream));
    }
    if (grouped)
        must(ncclGroupStart());
    must(ncclCommAbort(self->comm));
    must(ncclCommAbort(second));
    if (grouped)
        must(ncclGroupEnd());
    self->comm = NULL;
    must(cudaStreamSynchronize(stream));
    must(cudaStreamDestroy(stream));
}

static void end_in_a_group(struct rank *self)
{
    wait_twice(self, true);
}

static void sound_aborts(void)
{
    run_ranks(2, end_in_a_group);
}

/* What rank 0 receives never comes, for its connection has failed, as is found by asking. */
static void ask_for_errors(struct rank *self)
{
    ncclResult_t code = ncclSuccess;
    must(ncclCommGetAsyncError(self->comm, &code));
    expect("the error at first", code, ncclSuccess);
    if (self->rank == 0)
        must(ncclRecv(self->x, N, ncclFloat, 1, self->comm, self->stream));
    else
        must(ncclSend(self->x, N, ncclFloat, 0, self->comm, self->stream));
    for (int tries = 0; self->rank == 0 && code == ncclSuccess && tries < 10000; tries++) {
        usleep(1000);
        must(ncclCommGetAsyncError(self->comm, &code));
    }
    expect("the error then", code, self->rank == 0 ? ncclRemoteError : ncclSuccess);
    must(ncclCommAbort(self->comm));
    self->comm = NULL;
}

static void sound_error(void)
{
    cudasim_fail_connection("ncclRecv", 1, ncclRemoteError);
    run_ranks(2, ask_for_errors);
}

/* Stops the process for longer than its patience, in which rank 0 has begun to wait. */
static void send_after_a_stop(struct rank *self)
{
    if (self->rank == 0) {
        must(ncclRecv(self->x, N, ncclFloat, 1, self->comm, self->stream));
    } else {
        must(system("sleep 0.2; kill -STOP $PPID; sleep 2.5; kill -CONT $PPID"));
        must(ncclSend(self->x, N, ncclFloat, 0, self->comm, self->stream));
    }
    expect("what rank 1 has sent", fetch(self, self->x), 2);
}

static void sound_patience(void)
{
    cudasim_set_patience(2);
    run_ranks(2, send_after_a_stop);
}

/* ---- faults ---- */

static void end_one_by_one(struct rank *self)
{
    wait_twice(self, false);
}

static void aborts_that_wait_for_each_other(void)
{
    cudasim_set_patience(6);
    run_ranks(2, end_one_by_one);
}

static void wait_for_ever(struct rank *self)
{
    if (self->rank == 0)
        must(ncclRecv(self->x, N, ncclFloat, 1, self->comm, self->stream));
}

static void an_error_that_nobody_asks_for(void)
{
    cudasim_set_patience(3);
    cudasim_fail_connection("ncclRecv", 1, ncclRemoteError);
    run_ranks(2, wait_for_ever);
}

static void both_send_first(struct rank *self)
{
    must(ncclSend(self->x, N, ncclFloat, 1 - self->rank, self->comm, self->stream));
    must(ncclRecv(self->y, N, ncclFloat, 1 - self->rank, self->comm, self->stream));
}

static void sends_without_a_group(void)
{
    cudasim_set_patience(1);
    run_ranks(2, both_send_first);
}

static void send_more(struct rank *self)
{
    if (self->rank == 0)
        must(ncclSend(self->x, N, ncclFloat, 1, self->comm, self->stream));
    else
        must(ncclRecv(self->x, N - 1, ncclFloat, 0, self->comm, self->stream));
}

static void receive_of_another_length(void)
{
    run_ranks(2, send_more);
}

static void send_beyond(struct rank *self)
{
    must(ncclSend(self->x, N + 1, ncclFloat, 1 - self->rank, self->comm, self->stream));
}

static void send_beyond_the_memory(void)
{
    run_ranks(2, send_beyond);
}

static void ranks_on_one_device(void)
{
    ncclComm_t comms[2];
    must(ncclCommInitAll(comms, 2, (const int[]){1, 1}));
}

static void a_communicator_leaks(void)
{
    ncclComm_t comm;
    must(ncclCommInitRank(&comm, 1, id, 0));
}

/* The receiver's second stream does not wait for the receive. */
static void read_before_the_receive(struct rank *self)
{
    if (self->rank == 0) {
        must(ncclSend(self->x, N, ncclFloat, 1, self->comm, self->stream));
        return;
    }
    cudaStream_t second;
    must(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    must(ncclRecv(self->x, N, ncclFloat, 0, self->comm, self->stream));
    must(cudaMemcpyAsync(self->y, self->x, BYTES, cudaMemcpyDeviceToDevice, second));
    must(cudaStreamSynchronize(second));
    must(cudaStreamDestroy(second));
}

static void received_and_read_at_once(void)
{
    run_ranks(2, read_before_the_receive);
}

static void write_before_the_send(struct rank *self)
{
    if (self->rank == 1) {
        must(ncclRecv(self->x, N, ncclFloat, 0, self->comm, self->stream));
        return;
    }
    cudaStream_t second;
    must(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    must(ncclSend(self->x, N, ncclFloat, 1, self->comm, self->stream));
    must(cudaMemsetAsync(self->x, 0, BYTES, second));
    must(cudaStreamSynchronize(second));
    must(cudaStreamDestroy(second));
}

static void sent_and_written_at_once(void)
{
    run_ranks(2, write_before_the_send);
}

static const struct planted planted[] = {
    PLANT(sound_chain, SOUND, NULL),
    PLANT(sound_turn, SOUND, NULL),
    PLANT(sound_reductions, SOUND, NULL),
    PLANT(sound_single_thread, SOUND, NULL),
    PLANT(sound_aborts, SOUND, NULL),
    PLANT(sound_error, SOUND, NULL),
    PLANT(sound_patience, SOUND, NULL),
    PLANT(aborts_that_wait_for_each_other, FAULT, "cudasim: ncclCommAbort: device 0 has waited 3 s",
          "aborted in one group"),
    PLANT(an_error_that_nobody_asks_for, FAULT, "cudasim: ncclRecv: rank 0 has an error that nobody has asked for"),
    PLANT(sends_without_a_group, FAULT, "cudasim: ncclSend: rank", "to receive"),
    PLANT(receive_of_another_length, FAULT, "cudasim: ncclRecv: rank 0 gives 500 elements", "but 499 of type"),
    PLANT(send_beyond_the_memory, FAULT, "cudasim: ncclSend: sendbuff: bytes 0 to 2004", "which has 2000 bytes"),
    PLANT(ranks_on_one_device, FAULT, "cudasim: ncclCommInitAll: ranks 0 and 1 are on the same device 1"),
    PLANT(a_communicator_leaks, LEAK, "leak: NCCL handle of device 0"),
    PLANT(received_and_read_at_once, RACE, "ncclRecv"),
    PLANT(sent_and_written_at_once, RACE, "ncclSend"),
};

int main(int argc, char **argv)
{
    return planted_main(argc, argv, "cudasim/nccl", planted, (int)(sizeof planted / sizeof *planted), set_up);
}
