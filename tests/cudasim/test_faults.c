/*
 * test_faults.c - mistakes with memory, streams, events, kernels and graphs are reported, each with the call's name.
 */
#include "tests/cudasim/cudasim.h"
#include "tests/cudasim/gate.h"
#include "tests/cudasim/kernels.h"
#include "tests/cudasim/planted.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N     1000
#define BYTES (N * sizeof(float))

/* Two streams on two devices, 0 current. */
static cudaStream_t stream[2];
static float *memory[2], *more[2], *pinned;
static cudaEvent_t event[2];

static void must(cudaError_t code)
{
    if (code != cudaSuccess) {
        fprintf(stderr, "unexpected: %s\n", cudaGetErrorString(code));
        _exit(99);
    }
}

static void set_up(void)
{
    for (int device = 1; device >= 0; device--) {
        must(cudaSetDevice(device));
        must(cudaStreamCreateWithFlags(&stream[device], cudaStreamNonBlocking));
        must(cudaMalloc((void **)&memory[device], BYTES));
        must(cudaMalloc((void **)&more[device], BYTES));
        must(cudaEventCreateWithFlags(&event[device], cudaEventDisableTiming));
        must(cudaMemsetAsync(memory[device], 0, BYTES, stream[device]));
        must(cudaMemsetAsync(more[device], 0, BYTES, stream[device]));
        must(cudaStreamSynchronize(stream[device]));
    }
    must(cudaHostAlloc((void **)&pinned, BYTES, cudaHostAllocPortable));
    memset(pinned, 0, BYTES);
}

static void tear_down(void)
{
    for (int device = 1; device >= 0; device--) {
        must(cudaSetDevice(device));
        must(cudaDeviceSynchronize());
        must(cudaStreamDestroy(stream[device]));
        must(cudaFree(memory[device]));
        must(cudaFree(more[device]));
        must(cudaEventDestroy(event[device]));
    }
    must(cudaFreeHost(pinned));
}

static void rest(void *unused)
{
    (void)unused;
    struct timespec pause = {0, 50000000};
    nanosleep(&pause, NULL);
}

/* ---- what is wrong at once ---- */

static void host_reads_device_memory(void)
{
    printf("%f\n", (double)*(volatile float *)&memory[0][3]);
}

static void host_writes_device_memory(void)
{
    memset(memory[0], 1, 4);
}

static void memory_of_another_device(void)
{
    must(cudaMemsetAsync(memory[1], 0, BYTES, stream[0]));
}

static void copy_across_devices_without_peer(void)
{
    must(cudaMemcpyAsync(memory[0], memory[1], BYTES, cudaMemcpyDeviceToDevice, stream[0]));
}

static void kernel_on_memory_of_another_device(void)
{
    must(launch_add(memory[0], more[0], more[1], N, stream[0]));
}

static void stream_of_another_device(void)
{
    must(cudaMemsetAsync(memory[1], 0, BYTES, stream[1]));
}

static void event_of_another_device(void)
{
    must(cudaEventRecord(event[1], stream[0]));
}

static void null_stream(void)
{
    must(cudaMemsetAsync(memory[0], 0, BYTES, NULL));
}

static void blocking_copy(void)
{
    must(cudaMemcpy(pinned, memory[0], BYTES, cudaMemcpyDeviceToHost));
}

static void copy_beyond_the_end(void)
{
    must(cudaMemcpyAsync(memory[0] + 1, pinned, BYTES, cudaMemcpyHostToDevice, stream[0]));
}

static void copy_beyond_pinned_memory(void)
{
    must(cudaMemcpyAsync(memory[0], pinned + N / 2, BYTES, cudaMemcpyHostToDevice, stream[0]));
}

static void device_memory_as_host_memory(void)
{
    must(cudaMemcpyAsync(memory[0], more[0], BYTES, cudaMemcpyHostToDevice, stream[0]));
}

static void host_memory_as_device_memory(void)
{
    must(cudaMemsetAsync(pinned, 0, BYTES, stream[0]));
}

static void kernel_on_host_variable(void)
{
    static float plain[N];
    must(launch_add(memory[0], more[0], plain, N, stream[0]));
}

static void use_after_free(void)
{
    float *freed = memory[0];
    must(cudaFree(memory[0]));
    must(cudaMemsetAsync(freed, 0, BYTES, stream[0]));
}

static void freed_twice(void)
{
    must(cudaFree(memory[0]));
    must(cudaFree(memory[0]));
}

static void freed_while_pending(void)
{
    must(cudaLaunchHostFunc(stream[0], gate_wait, NULL));
    must(cudaMemsetAsync(memory[0], 0, BYTES, stream[0]));
    must(cudaFree(memory[0]));
}

static void pinned_freed_while_pending(void)
{
    must(cudaLaunchHostFunc(stream[0], gate_wait, NULL));
    must(cudaMemcpyAsync(memory[0], pinned, BYTES, cudaMemcpyHostToDevice, stream[0]));
    must(cudaFreeHost(pinned));
}

static void stream_destroyed_while_pending(void)
{
    must(cudaLaunchHostFunc(stream[0], gate_wait, NULL));
    must(cudaStreamDestroy(stream[0]));
}

static void stream_used_after_its_end(void)
{
    must(cudaStreamDestroy(stream[0]));
    must(cudaMemsetAsync(memory[0], 0, BYTES, stream[0]));
}

static void event_used_after_its_end(void)
{
    must(cudaEventDestroy(event[0]));
    must(cudaEventRecord(event[0], stream[0]));
}

static void launch_without_threads(void)
{
    must(launch_add(memory[0], memory[0], more[0], 0, stream[0]));
}

static void allocation_in_a_capture(void)
{
    void *unused;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeGlobal));
    must(cudaMalloc(&unused, 16));
}

static void wait_in_a_capture(void)
{
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeGlobal));
    must(cudaStreamSynchronize(stream[0]));
}

static void asked_in_a_capture(void)
{
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeThreadLocal));
    must(cudaEventQuery(event[0]));
}

static void event_of_a_capture_asked(void)
{
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeRelaxed));
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaEventSynchronize(event[0]));
}

static void device_with_a_capture_waited_for(void)
{
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeRelaxed));
    must(cudaDeviceSynchronize());
}

/* Another thread works with the other device, which no capture forbids that is not global. */
static void *work_beside(void *unused)
{
    void *taken;
    (void)unused;
    must(cudaSetDevice(1));
    must(cudaMalloc(&taken, 16));
    must(cudaMemsetAsync(taken, 0, 16, stream[1]));
    must(cudaEventRecord(event[1], stream[1]));
    must(cudaEventSynchronize(event[1]));
    must(cudaStreamSynchronize(stream[1]));
    must(cudaFree(taken));
    return NULL;
}

static void capture_beside_a_thread(enum cudaStreamCaptureMode mode)
{
    cudaGraph_t graph;
    pthread_t thread;
    must(cudaStreamBeginCapture(stream[0], mode));
    must((cudaError_t)pthread_create(&thread, NULL, work_beside, NULL));
    pthread_join(thread, NULL);
    must(cudaStreamEndCapture(stream[0], &graph));
    must(cudaGraphDestroy(graph));
    tear_down();
}

static void allocation_beside_a_global_capture(void)
{
    capture_beside_a_thread(cudaStreamCaptureModeGlobal);
}

static void sound_work_beside_a_capture(void)
{
    capture_beside_a_thread(cudaStreamCaptureModeThreadLocal);
}

static void *begin_capture(void *unused)
{
    (void)unused;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeThreadLocal));
    return NULL;
}

static void capture_of_another_thread(void)
{
    cudaGraph_t graph;
    pthread_t thread;
    must((cudaError_t)pthread_create(&thread, NULL, begin_capture, NULL));
    pthread_join(thread, NULL);
    must(cudaStreamEndCapture(stream[0], &graph));
}

static void graph_of_another_device(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeThreadLocal));
    must(cudaStreamEndCapture(stream[0], &graph));
    must(cudaGraphInstantiate(&replay, graph, 0));
    must(cudaSetDevice(1));
    must(cudaGraphLaunch(replay, stream[1]));
}

static void graph_destroyed_while_pending(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeThreadLocal));
    must(cudaLaunchHostFunc(stream[0], gate_wait, NULL));
    must(cudaStreamEndCapture(stream[0], &graph));
    must(cudaGraphInstantiate(&replay, graph, 0));
    must(cudaGraphLaunch(replay, stream[0]));
    must(cudaGraphExecDestroy(replay));
}

static void a_graph_leaks(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeThreadLocal));
    must(cudaStreamEndCapture(stream[0], &graph));
    must(cudaGraphInstantiate(&replay, graph, 0));
    must(cudaGraphDestroy(graph));
    tear_down();
}

static void capture_left_open(void)
{
    cudaGraph_t graph;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeGlobal));
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaSetDevice(1));
    must(cudaStreamWaitEvent(stream[1], event[0], 0));
    must(cudaMemsetAsync(memory[1], 0, BYTES, stream[1]));
    must(cudaSetDevice(0));
    must(cudaStreamEndCapture(stream[0], &graph));
}

static void wait_for_what_is_not_captured(void)
{
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeGlobal));
    must(cudaStreamWaitEvent(stream[0], event[0], 0));
}

/* ---- what is wrong when it runs ---- */

static void kernel_overruns_by_one(void)
{
    must(launch_overrun(memory[0], N, stream[0]));
    must(cudaStreamSynchronize(stream[0]));
}

/* 262144 bytes end at the end of a page, so the element after them is in the guard. */
static void kernel_overruns_a_page(void)
{
    float *x;
    must(cudaMalloc((void **)&x, 65536 * sizeof(float)));
    must(launch_overrun(x, 65536, stream[0]));
    must(cudaStreamSynchronize(stream[0]));
}

static void threads_that_never_meet(void)
{
    must(launch_parted(memory[0], stream[0]));
    must(cudaStreamSynchronize(stream[0]));
}

static void call_from_a_stream(void *unused)
{
    (void)unused;
    int count;
    cudaGetDeviceCount(&count);
}

static void host_function_calls_cuda(void)
{
    must(cudaLaunchHostFunc(stream[0], call_from_a_stream, NULL));
    must(cudaStreamSynchronize(stream[0]));
}

/* ---- what is left ---- */

static void memory_leaks(void)
{
    void *lost;
    must(cudaMalloc(&lost, 4711));
    tear_down();
}

static void pinned_memory_leaks(void)
{
    void *lost;
    must(cudaHostAlloc(&lost, 4711, 0));
    tear_down();
}

static void an_event_leaks(void)
{
    cudaEvent_t lost;
    must(cudaEventCreate(&lost));
    tear_down();
}

static void a_stream_leaks(void)
{
    cudaStream_t lost;
    must(cudaStreamCreate(&lost));
    tear_down();
}

/* ---- races ---- */

/* Device 0 makes, device 1 takes; `ordered`: by an event. `late`: the waits come too late to show in the values. */
static void pass_on(int ordered, int late)
{
    must(cudaMemsetAsync(memory[0], 1, BYTES, stream[0]));
    if (ordered)
        must(cudaEventRecord(event[0], stream[0]));
    must(cudaSetDevice(1));
    if (late)
        must(cudaLaunchHostFunc(stream[1], rest, NULL));
    if (ordered)
        must(cudaStreamWaitEvent(stream[1], event[0], 0));
    must(cudaMemcpyPeerAsync(memory[1], 1, memory[0], 0, BYTES, stream[1]));
    tear_down();
}

static void missing_wait(void)
{
    pass_on(0, 0);
}

static void missing_wait_hidden_by_timing(void)
{
    pass_on(0, 1);
}

static void sound_pass(void)
{
    pass_on(1, 0);
}

/* The wait is there, but before the record: it waits for nothing. */
static void wait_before_record(void)
{
    must(cudaSetDevice(1));
    must(cudaStreamWaitEvent(stream[1], event[0], 0));
    must(cudaSetDevice(0));
    must(cudaMemsetAsync(memory[0], 1, BYTES, stream[0]));
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaSetDevice(1));
    must(cudaMemcpyPeerAsync(memory[1], 1, memory[0], 0, BYTES, stream[1]));
    tear_down();
}

/* The taker has not been waited for when the maker writes the next value. */
static void overwritten_too_early(void)
{
    must(cudaMemsetAsync(memory[0], 1, BYTES, stream[0]));
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaSetDevice(1));
    must(cudaStreamWaitEvent(stream[1], event[0], 0));
    must(cudaMemcpyPeerAsync(memory[1], 1, memory[0], 0, BYTES, stream[1]));
    must(cudaSetDevice(0));
    must(cudaMemsetAsync(memory[0], 2, BYTES, stream[0]));
    tear_down();
}

static void kernel_reads_too_early(void)
{
    cudaStream_t second;
    must(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    must(cudaMemsetAsync(memory[0], 0, BYTES, second));
    must(launch_add(more[0], more[0], memory[0], N, stream[0]));
    must(cudaStreamSynchronize(second));
    must(cudaStreamDestroy(second));
    tear_down();
}

static void pinned_reused_too_early(void)
{
    pinned[0] = 1;
    must(cudaMemcpyAsync(memory[0], pinned, BYTES, cudaMemcpyHostToDevice, stream[0]));
    pinned[0] = 2;
    tear_down();
}

static void pageable_reused_too_early(void)
{
    float *plain = calloc(N, sizeof *plain);
    must(cudaMemcpyAsync(memory[0], plain, BYTES, cudaMemcpyHostToDevice, stream[0]));
    plain[7] = 2;
    tear_down();
    free(plain);
}

static void result_read_too_early(void)
{
    must(cudaMemcpyAsync(pinned, memory[0], BYTES, cudaMemcpyDeviceToHost, stream[0]));
    rest(NULL);
    printf("%f\n", (double)pinned[0]);
    tear_down();
}

static void query_is_no_wait(void)
{
    must(cudaMemcpyAsync(pinned, memory[0], BYTES, cudaMemcpyDeviceToHost, stream[0]));
    must(cudaLaunchHostFunc(stream[0], gate_wait, NULL));
    rest(NULL);
    if (cudaStreamQuery(stream[0]) == cudaErrorNotReady)
        printf("%f\n", (double)pinned[0]);
    gate_open();
    tear_down();
}

static void sound_reuse(void)
{
    for (int round = 0; round < 20; round++) {
        pinned[0] = (float)round;
        must(cudaMemcpyAsync(memory[0], pinned, BYTES, cudaMemcpyHostToDevice, stream[0]));
        must(cudaMemcpyAsync(pinned, memory[0], BYTES, cudaMemcpyDeviceToHost, stream[0]));
        must(cudaEventRecord(event[0], stream[0]));
        if (round % 2 == 0)
            must(cudaEventSynchronize(event[0]));
        else
            while (cudaEventQuery(event[0]) == cudaErrorNotReady)
                ;
        if (pinned[0] != (float)round)
            _exit(98);
    }
    tear_down();
}

/* Two lanes of a graph on one buffer; `joined`: one after the other. */
static void replay_lanes(int joined)
{
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    must(cudaStreamBeginCapture(stream[0], cudaStreamCaptureModeGlobal));
    must(cudaEventRecord(event[0], stream[0]));
    must(cudaSetDevice(1));
    must(cudaStreamWaitEvent(stream[1], event[0], 0));
    must(cudaMemsetAsync(memory[1], 1, BYTES, stream[1]));
    must(cudaEventRecord(event[1], stream[1]));
    must(cudaSetDevice(0));
    if (joined)
        must(cudaStreamWaitEvent(stream[0], event[1], 0));
    must(cudaMemcpyPeerAsync(memory[0], 0, memory[1], 1, BYTES, stream[0]));
    must(cudaStreamWaitEvent(stream[0], event[1], 0));
    must(cudaStreamEndCapture(stream[0], &graph));
    must(cudaGraphInstantiate(&replay, graph, 0));
    for (int round = 0; round < 3; round++)
        must(cudaGraphLaunch(replay, stream[0]));
    must(cudaStreamSynchronize(stream[0]));
    must(cudaGraphExecDestroy(replay));
    must(cudaGraphDestroy(graph));
    tear_down();
}

static void graph_without_a_wait(void)
{
    replay_lanes(0);
}

static void sound_graph(void)
{
    replay_lanes(1);
}

/* ---- the list ---- */

static const struct planted planted[] = {
    PLANT(host_reads_device_memory, SEGMENT, "host code reads device memory", "is byte 12 of block"),
    PLANT(host_writes_device_memory, SEGMENT, "host code writes device memory", "4000 bytes, device 0, live"),
    PLANT(memory_of_another_device, FAULT, "cudaMemsetAsync: destination: block", "is on device 1"),
    PLANT(copy_across_devices_without_peer, FAULT, "cudaMemcpyAsync: source: block", "is on device 1"),
    PLANT(kernel_on_memory_of_another_device, FAULT, "cudaLaunchKernelEx: add_kernel, argument 3", "is on device 1"),
    PLANT(stream_of_another_device, FAULT, "cudaMemsetAsync: stream", "belongs to device 1, but device 0 is current"),
    PLANT(event_of_another_device, FAULT, "cudaEventRecord: event", "belongs to device 1"),
    PLANT(null_stream, FAULT, "cudaMemsetAsync: the NULL stream"),
    PLANT(blocking_copy, FAULT, "cudaMemcpy: the NULL stream"),
    PLANT(copy_beyond_the_end, FAULT, "cudaMemcpyAsync: destination: bytes 4 to 4004", "which has 4000 bytes"),
    PLANT(copy_beyond_pinned_memory, FAULT, "cudaMemcpyAsync: source: bytes 2000 to 6000"),
    PLANT(device_memory_as_host_memory, FAULT, "cudaMemcpyAsync: source:", "is memory of device 0"),
    PLANT(host_memory_as_device_memory, FAULT, "cudaMemsetAsync: destination:", "is not device memory"),
    PLANT(kernel_on_host_variable, FAULT, "cudaLaunchKernelEx: add_kernel, argument 3", "neither device memory"),
    PLANT(use_after_free, FAULT, "cudaMemsetAsync: destination:", "which was freed"),
    PLANT(freed_twice, FAULT, "cudaFree: block", "was freed before"),
    PLANT(freed_while_pending, FAULT, "cudaFree: block", "has 1 operations pending"),
    PLANT(pinned_freed_while_pending, FAULT, "cudaFreeHost: block", "has 1 operations pending"),
    PLANT(stream_destroyed_while_pending, FAULT, "cudaStreamDestroy: stream", "has 1 operations pending"),
    PLANT(stream_used_after_its_end, FAULT, "cudaMemsetAsync:", "is not a stream, or no longer"),
    PLANT(event_used_after_its_end, FAULT, "cudaEventRecord:", "is not an event, or no longer"),
    PLANT(launch_without_threads, FAULT, "cudaLaunchKernelEx: add_kernel: grid 0x1x1"),
    PLANT(allocation_in_a_capture, FAULT, "cudaMalloc: not while a stream is captured"),
    PLANT(wait_in_a_capture, FAULT, "cudaStreamSynchronize: stream", "is captured"),
    PLANT(asked_in_a_capture, FAULT, "cudaEventQuery: not while a stream is captured"),
    PLANT(event_of_a_capture_asked, FAULT, "cudaEventSynchronize: event", "was recorded in a capture"),
    PLANT(device_with_a_capture_waited_for, FAULT, "cudaDeviceSynchronize: stream", "is captured"),
    PLANT(allocation_beside_a_global_capture, FAULT, "cudaMalloc: not while a stream is captured"),
    PLANT(capture_of_another_thread, FAULT, "cudaStreamEndCapture: another thread began the capture"),
    PLANT(graph_of_another_device, FAULT, "cudaGraphLaunch: captured on device 0, launched in a stream of device 1"),
    PLANT(graph_destroyed_while_pending, FAULT, "cudaGraphExecDestroy: the graph has work pending"),
    PLANT(a_graph_leaks, LEAK, "leak: executable of graph"),
    PLANT(capture_left_open, FAULT, "cudaStreamEndCapture: work of device 1 is not waited for"),
    PLANT(wait_for_what_is_not_captured, FAULT, "cudaStreamWaitEvent: event", "was not recorded in this capture"),
    PLANT(kernel_overruns_by_one, FAULT, "cudaLaunchKernelEx (overrun_kernel): byte 4000 of block", "has 4000 bytes"),
    PLANT(kernel_overruns_a_page, SEGMENT,
          "cudaLaunchKernelEx kernel overrun_kernel: writes memory that is not its own", "is byte 262144 of block"),
    PLANT(threads_that_never_meet, FAULT, "(parted_kernel): threads of a block wait at different barriers"),
    PLANT(host_function_calls_cuda, FAULT, "cudaGetDeviceCount: called from a function that a stream runs"),
    PLANT(memory_leaks, LEAK, "leak: 4711 bytes on device 0 from cudaMalloc"),
    PLANT(pinned_memory_leaks, LEAK, "leak: 4711 bytes on the host", "from cudaHostAlloc"),
    PLANT(an_event_leaks, LEAK, "leak: event"),
    PLANT(a_stream_leaks, LEAK, "leak: stream"),
    PLANT(missing_wait, RACE, "cudaMemcpyPeerAsync"),
    PLANT(missing_wait_hidden_by_timing, RACE, "cudaMemcpyPeerAsync"),
    PLANT(wait_before_record, RACE, "cudaMemcpyPeerAsync"),
    PLANT(overwritten_too_early, RACE, "cudaMemsetAsync"),
    PLANT(kernel_reads_too_early, RACE, "add_kernel"),
    PLANT(pinned_reused_too_early, HOST_RACE, "pinned_reused_too_early"),
    PLANT(pageable_reused_too_early, HOST_RACE, "pageable_reused_too_early"),
    PLANT(result_read_too_early, HOST_RACE, "result_read_too_early"),
    PLANT(query_is_no_wait, HOST_RACE, "query_is_no_wait"),
    PLANT(graph_without_a_wait, RACE, "cudaMemcpyPeerAsync"),
    PLANT(sound_pass, SOUND, NULL),
    PLANT(sound_reuse, SOUND, NULL),
    PLANT(sound_graph, SOUND, NULL),
    PLANT(sound_work_beside_a_capture, SOUND, NULL),
};

int main(int argc, char **argv)
{
    return planted_main(argc, argv, "cudasim/faults", planted, (int)(sizeof planted / sizeof *planted), set_up);
}
