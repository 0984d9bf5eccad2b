/*
 * test_devices.c - the stand-in computes what a device would: memory, copies, streams, events, kernels, graphs.
 */
#include "tests/cudasim/cudasim.h"
#include "tests/cudasim/gate.h"
#include "tests/cudasim/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define N 1000

#define OK(call) assert_int_equal((call), cudaSuccess)

struct lane {
    cudaStream_t stream;
    float *a, *b, *sum; /* device, N each */
    float *host;        /* pinned, N */
    float plain[2][N];  /* pageable */
};

static void lane_open(struct lane *lane, int device)
{
    OK(cudaSetDevice(device));
    OK(cudaStreamCreateWithFlags(&lane->stream, cudaStreamNonBlocking));
    float **device_memory[] = {&lane->a, &lane->b, &lane->sum};
    for (int i = 0; i < 3; i++)
        OK(cudaMalloc((void **)device_memory[i], N * sizeof(float)));
    OK(cudaHostAlloc((void **)&lane->host, N * sizeof(float), cudaHostAllocPortable));
    for (int i = 0; i < N; i++) {
        lane->plain[0][i] = (float)i;
        lane->plain[1][i] = (float)(3 * i + device);
    }
}

static void lane_close(struct lane *lane, int device)
{
    OK(cudaSetDevice(device));
    OK(cudaStreamSynchronize(lane->stream));
    OK(cudaFree(lane->a));
    OK(cudaFree(lane->b));
    OK(cudaFree(lane->sum));
    OK(cudaFreeHost(lane->host));
    OK(cudaStreamDestroy(lane->stream));
    OK(cudaSetDevice(0));
}

static void send(struct lane *lane)
{
    OK(cudaMemcpyAsync(lane->a, lane->plain[0], N * sizeof(float), cudaMemcpyHostToDevice, lane->stream));
    OK(cudaMemcpyAsync(lane->b, lane->plain[1], N * sizeof(float), cudaMemcpyHostToDevice, lane->stream));
}

static void fetch(struct lane *lane, const float *from)
{
    OK(cudaMemcpyAsync(lane->host, from, N * sizeof(float), cudaMemcpyDeviceToHost, lane->stream));
    OK(cudaStreamSynchronize(lane->stream));
}

static void a_kernel_adds_what_was_copied(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 1);
    send(&lane);
    OK(launch_add(lane.sum, lane.a, lane.b, N, lane.stream));
    fetch(&lane, lane.sum);
    for (int i = 0; i < N; i++)
        assert_float_equal(lane.host[i], 4 * i + 1, 0);
    lane_close(&lane, 1);
}

static void new_memory_is_not_a_number(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    fetch(&lane, lane.sum);
    for (int i = 0; i < N; i++)
        assert_true(isnan(lane.host[i]));
    lane_close(&lane, 0);
}

/* 0 + 1 + … + 255 = 32640; each later block of 256 has 65536 more; the last has 232 elements, 768 to 999: 204972. */
static void threads_of_a_block_meet_at_barriers(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    send(&lane);
    OK(launch_sum(lane.sum, lane.a, N, lane.stream));
    fetch(&lane, lane.sum);
    assert_float_equal(lane.host[0], 32640, 0);
    assert_float_equal(lane.host[1], 32640 + 65536, 0);
    assert_float_equal(lane.host[2], 32640 + 2 * 65536, 0);
    assert_float_equal(lane.host[3], 204972, 0);
    lane_close(&lane, 0);
}

/* 0 + … + 31 = 496, and each later warp 32 * 32 more. */
static void lanes_of_a_warp_exchange_values(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    send(&lane);
    OK(launch_warp_sum(lane.sum, lane.a, 128, lane.stream));
    fetch(&lane, lane.sum);
    for (int warp = 0; warp < 4; warp++)
        assert_float_equal(lane.host[warp], 496 + 1024 * warp, 0);
    lane_close(&lane, 0);
}

static void pointers_within_arguments_are_translated(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    send(&lane);
    OK(launch_gather(lane.sum, (struct addresses){{lane.a, lane.b}}, N, lane.stream));
    fetch(&lane, lane.sum);
    for (int i = 0; i < N; i++)
        assert_float_equal(lane.host[i], (i % 2 == 0 ? i : 3 * i), 0);
    lane_close(&lane, 0);
}

/* Device 0 adds, device 1 takes the sum over and adds its own; 50 times with other delays. */
static void an_event_orders_two_devices(void **state)
{
    (void)state;
    struct lane lanes[2];
    lane_open(&lanes[0], 0);
    lane_open(&lanes[1], 1);
    cudaEvent_t added, taken;
    OK(cudaSetDevice(0));
    OK(cudaEventCreateWithFlags(&added, cudaEventDisableTiming));
    OK(cudaSetDevice(1));
    OK(cudaEventCreateWithFlags(&taken, cudaEventDisableTiming));
    for (int round = 0; round < 50; round++) {
        cudasim_set_delays((uint64_t)round, 200);
        OK(cudaSetDevice(0));
        OK(cudaStreamWaitEvent(lanes[0].stream, taken, 0));
        send(&lanes[0]);
        OK(launch_add(lanes[0].sum, lanes[0].a, lanes[0].b, N, lanes[0].stream));
        OK(cudaEventRecord(added, lanes[0].stream));
        OK(cudaSetDevice(1));
        send(&lanes[1]);
        OK(cudaStreamWaitEvent(lanes[1].stream, added, 0));
        OK(cudaMemcpyPeerAsync(lanes[1].a, 1, lanes[0].sum, 0, N * sizeof(float), lanes[1].stream));
        OK(cudaEventRecord(taken, lanes[1].stream));
        OK(launch_add(lanes[1].sum, lanes[1].a, lanes[1].b, N, lanes[1].stream));
        fetch(&lanes[1], lanes[1].sum);
        for (int i = 0; i < N; i++)
            assert_float_equal(lanes[1].host[i], 7 * i + 1, 0);
    }
    cudasim_set_delays(0, 0);
    OK(cudaEventDestroy(added));
    OK(cudaEventDestroy(taken));
    lane_close(&lanes[0], 0);
    lane_close(&lanes[1], 1);
}

static void sleep_20_ms(void *unused)
{
    (void)unused;
    struct timespec rest = {0, 20000000};
    nanosleep(&rest, NULL);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* No less than what was slept between them, no more than what has passed around them. */
static void events_measure_time(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    cudaEvent_t start, end;
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    gate_close();
    double before_ms = now_ms();
    OK(cudaEventRecord(start, lane.stream));
    OK(cudaLaunchHostFunc(lane.stream, gate_wait, NULL));
    OK(cudaLaunchHostFunc(lane.stream, sleep_20_ms, NULL));
    OK(cudaEventRecord(end, lane.stream));
    cudaError_t pending = cudaEventQuery(end);
    gate_open();
    assert_int_equal(pending, cudaErrorNotReady);
    OK(cudaEventSynchronize(end));
    double passed_ms = now_ms() - before_ms;
    OK(cudaEventQuery(end));
    float ms = 0;
    OK(cudaEventElapsedTime(&ms, start, end));
    assert_true(ms >= 20 && ms <= passed_ms);
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
    lane_close(&lane, 0);
}

static void memory_is_counted_by_device(void **state)
{
    (void)state;
    size_t before = cudasim_memory(1).live, available, total;
    cudasim_reset_peak();
    void *a, *b;
    OK(cudaSetDevice(1));
    OK(cudaMalloc(&a, 1000));
    OK(cudaMalloc(&b, 24));
    assert_int_equal(cudasim_memory(1).live, before + 1024);
    OK(cudaFree(a));
    assert_int_equal(cudasim_memory(1).live, before + 24);
    assert_int_equal(cudasim_memory(1).peak, before + 1024);
    OK(cudaMemGetInfo(&available, &total));
    assert_int_equal(total - available, before + 24);
    assert_int_equal(cudaMalloc(&a, total), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    OK(cudaFree(b));
    OK(cudaSetDevice(0));
}

static void the_call_that_was_named_fails_once(void **state)
{
    (void)state;
    void *a, *b;
    cudasim_fail("cudaMalloc", 2, cudaErrorMemoryAllocation);
    OK(cudaMalloc(&a, 16));
    assert_false(cudasim_failed());
    assert_int_equal(cudaMalloc(&b, 16), cudaErrorMemoryAllocation);
    assert_true(cudasim_failed());
    OK(cudaMalloc(&b, 16));
    OK(cudaFree(a));
    OK(cudaFree(b));
    cudasim_clear_failures();
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

static void work_that_fails_breaks_the_device(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    send(&lane);
    cudasim_fail_later("cudaLaunchKernelEx", 1, cudaErrorIllegalAddress);
    OK(launch_add(lane.sum, lane.a, lane.b, N, lane.stream));
    assert_int_equal(cudaStreamSynchronize(lane.stream), cudaErrorIllegalAddress);
    assert_int_equal(launch_add(lane.sum, lane.a, lane.b, N, lane.stream), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    cudasim_clear_failures();
    fetch(&lane, lane.sum);
    assert_true(isnan(lane.host[0]));
    lane_close(&lane, 0);
}

/* The first of five kernels breaks the device, which can then not be waited for; the others do nothing any more. */
static void a_broken_device_can_be_cleaned_up(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    send(&lane);
    cudasim_set_delays(1, 20000);
    cudasim_fail_later("cudaLaunchKernelEx", 1, cudaErrorIllegalAddress);
    gate_close();
    OK(cudaLaunchHostFunc(lane.stream, gate_wait, NULL)); /* none is refused */
    for (int i = 0; i < 5; i++)
        OK(launch_add(lane.sum, lane.a, lane.b, N, lane.stream));
    gate_open();
    while (cudaStreamQuery(lane.stream) == cudaErrorNotReady)
        ;
    assert_int_equal(cudaStreamSynchronize(lane.stream), cudaErrorIllegalAddress);
    assert_int_equal(cudaFree(lane.a), cudaErrorIllegalAddress);
    assert_int_equal(cudaFree(lane.b), cudaErrorIllegalAddress);
    assert_int_equal(cudaFree(lane.sum), cudaErrorIllegalAddress);
    assert_int_equal(cudaFreeHost(lane.host), cudaErrorIllegalAddress);
    cudaStreamDestroy(lane.stream);
    cudasim_set_delays(0, 0);
    cudasim_clear_failures();
}

/* sum <- a + b; a <- sum on a second stream: a = 4i, then 7i, then 10i. */
static void a_graph_replays_what_was_captured(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    cudaStream_t second;
    cudaEvent_t forked, joined;
    OK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&forked, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
    send(&lane);
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    OK(cudaStreamBeginCapture(lane.stream, cudaStreamCaptureModeGlobal));
    OK(launch_add(lane.sum, lane.a, lane.b, N, lane.stream));
    OK(cudaEventRecord(forked, lane.stream));
    OK(cudaStreamWaitEvent(second, forked, 0));
    OK(cudaMemcpyAsync(lane.a, lane.sum, N * sizeof(float), cudaMemcpyDeviceToDevice, second));
    OK(cudaEventRecord(joined, second));
    OK(cudaStreamWaitEvent(lane.stream, joined, 0));
    OK(cudaStreamEndCapture(lane.stream, &graph));
    OK(cudaGraphInstantiate(&replay, graph, 0));
    OK(cudaGraphDestroy(graph));
    fetch(&lane, lane.a);
    assert_float_equal(lane.host[5], 5, 0); /* nothing ran yet */
    for (int round = 0; round < 20; round++) {
        cudasim_set_delays((uint64_t)round, 200);
        OK(cudaGraphLaunch(replay, lane.stream));
        fetch(&lane, lane.a);
        for (int i = 0; i < N; i++)
            assert_float_equal(lane.host[i], (4 + 3 * round) * i, 0);
    }
    cudasim_set_delays(0, 0);
    OK(cudaGraphExecDestroy(replay));
    OK(cudaEventDestroy(forked));
    OK(cudaEventDestroy(joined));
    OK(cudaStreamDestroy(second));
    lane_close(&lane, 0);
}

static int faults_told;

static void count_fault(const char *message)
{
    (void)message;
    faults_told++;
}

/* A call that may not be is refused, and no graph comes of the capture; the stream works again. */
static void a_spoiled_capture_gives_no_graph(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    cudaGraph_t graph;
    void *unused;
    enum cudaStreamCaptureStatus status;
    send(&lane);
    cudasim_on_fault(count_fault);
    OK(cudaStreamBeginCapture(lane.stream, cudaStreamCaptureModeThreadLocal));
    assert_int_equal(cudaMalloc(&unused, 16), cudaErrorStreamCaptureUnsupported);
    OK(cudaStreamIsCapturing(lane.stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusInvalidated);
    assert_int_not_equal(launch_add(lane.sum, lane.a, lane.b, N, lane.stream), cudaSuccess);
    assert_int_equal(cudaStreamEndCapture(lane.stream, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);
    cudasim_on_fault(NULL);
    assert_int_equal(faults_told, 1);
    OK(cudaStreamIsCapturing(lane.stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusNone);
    OK(launch_add(lane.sum, lane.a, lane.b, N, lane.stream));
    fetch(&lane, lane.sum);
    assert_float_equal(lane.host[5], 20, 0); /* 5 + 15 */
    lane_close(&lane, 0);
}

/* The end of a capture that fails has ended it all the same. */
static void a_capture_that_fails_at_its_end_has_ended(void **state)
{
    (void)state;
    struct lane lane;
    lane_open(&lane, 0);
    cudaGraph_t graph;
    enum cudaStreamCaptureStatus status;
    OK(cudaStreamBeginCapture(lane.stream, cudaStreamCaptureModeThreadLocal));
    cudasim_fail("cudaStreamEndCapture", 1, cudaErrorStreamCaptureInvalidated);
    assert_int_equal(cudaStreamEndCapture(lane.stream, &graph), cudaErrorStreamCaptureInvalidated);
    cudasim_clear_failures();
    assert_null(graph);
    OK(cudaStreamIsCapturing(lane.stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusNone);
    lane_close(&lane, 0);
}

static int nothing_is_left(void **state)
{
    (void)state;
    return cudasim_leaks() == 0 && cudasim_faults() == faults_told ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_adds_what_was_copied),
        cmocka_unit_test(new_memory_is_not_a_number),
        cmocka_unit_test(threads_of_a_block_meet_at_barriers),
        cmocka_unit_test(lanes_of_a_warp_exchange_values),
        cmocka_unit_test(pointers_within_arguments_are_translated),
        cmocka_unit_test(an_event_orders_two_devices),
        cmocka_unit_test(events_measure_time),
        cmocka_unit_test(memory_is_counted_by_device),
        cmocka_unit_test(the_call_that_was_named_fails_once),
        cmocka_unit_test(work_that_fails_breaks_the_device),
        cmocka_unit_test(a_broken_device_can_be_cleaned_up),
        cmocka_unit_test(a_graph_replays_what_was_captured),
        cmocka_unit_test(a_spoiled_capture_gives_no_graph),
        cmocka_unit_test(a_capture_that_fails_at_its_end_has_ended),
    };
    return cmocka_run_group_tests_name("cudasim/devices", tests, NULL, nothing_is_left);
}
