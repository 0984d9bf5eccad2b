/*
 * cudasim.h - a stand-in for CUDA devices: what tests set and ask.
 *
 * The library takes the place of cudart, cuBLAS, NCCL and the computing part of cuDNN when a test is linked (cuDNN's
 * descriptors stay the real ones). Host code is compiled against the real headers; `.cu` files go through g++ with
 * kernel.h. Every stream is a thread and every event a real event, so ThreadSanitizer sees a missing wait as a race:
 * the library adds only those edges that CUDA promises.
 *
 * A fault is a mistake of the program under test: host code that reads device memory, a call on the wrong device, a
 * range beyond an allocation, memory freed while work on it is pending, a leak. It is reported as
 * "cudasim: CALL: what is wrong", and the process aborts unless a handler was set. Stricter than CUDA on purpose:
 * no NULL stream, a stream and a handle are used on their device only, pageable copies stay asynchronous, a
 * workspace is overwritten as a whole, new memory holds NaN.
 *
 * From the environment, before the first call: CUDASIM_DEVICES=n (2), CUDASIM_MEMORY=bytes a device (4 GiB),
 * CUDASIM_DELAYS=seed:microseconds (none), CUDASIM_PEER=0 (no peer access; default 1),
 * CUDASIM_COPIES=microseconds:bytes_per_microsecond (as fast as they are).
 */
#ifndef CUDASIM_H
#define CUDASIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Number of devices (at most 16) and memory of each. Only while nothing lives on any device. */
void cudasim_set_devices(int count, size_t bytes_each);

/* What each handle of cuBLAS or cuDNN takes of its device's memory: nothing. Only while there are none. */
void cudasim_set_handle_bytes(size_t bytes);

/* A device's compute capability, 86 for 8.6, until devices are set again. */
void cudasim_set_capability(int device, int capability);

/* Whether the devices can reach each other's memory. */
void cudasim_set_peer(int possible);

/* Each operation of a stream starts late by a random time below `microseconds`; 0: at once. */
void cudasim_set_delays(uint64_t seed, int microseconds);

/* A copy between devices, or between one and the host, takes so long and one microsecond more for so many bytes, by
 * what events tell of it; 0, 0: as long as it takes. */
void cudasim_set_copies(int microseconds, int bytes_per_microsecond);

/* How long an operation of NCCL waits for its other rank before that is a fault: 60 s; an abort waits half as long. The
 * time in which the process was stopped does not count. */
void cudasim_set_patience(int seconds);

/*
 * Whether each operation is checked, when it is enqueued, to be ordered after all that use the same bytes: 1. For tests
 * of ThreadSanitizer, which finds the same and what the host does, but only when it happens and is compiled in.
 */
void cudasim_set_order_check(int enable);

/* Called with each fault's text; the faulty call then returns an error of its library. NULL: print and abort. */
void cudasim_on_fault(void (*handler)(const char *message));
int64_t cudasim_faults(void); /* since the start of the process */

/*
 * Lets the n-th call (1: the next one) of `function` fail with `code`, an error of its library; "*" counts every call
 * of every function but the releasing ones. cudasim_fail_later fails the work instead, when a stream comes to it: the
 * device is then broken, as a real one is, and every call on it returns `code` (a cudaError_t) until
 * cudasim_clear_failures. cudasim_fail_connection, of ncclSend and ncclRecv, lets the work never end until its
 * communicator is aborted, which has the asynchronous error `code` (an ncclResult_t) when the stream comes to it. One
 * failure is set at a time. cudasim_failed says whether it has happened.
 */
void cudasim_fail(const char *function, int64_t n, int code);
void cudasim_fail_later(const char *function, int64_t n, int code);
void cudasim_fail_connection(const char *function, int64_t n, int code);
/* Called once, without a lock, when the program asks and is first to be told of the failure of a connection, before it
 * is; cudasim_clear_failures takes it back. */
void cudasim_on_told(void (*hook)(void *self), void *self);
void cudasim_clear_failures(void);
int cudasim_failed(void);

/* Calls of `function` so far ("*": of all). */
int64_t cudasim_calls(const char *function);

/* Device memory as the program asked for it, without guards; device -1: pinned host memory. */
struct cudasim_bytes {
    size_t live, peak;
    int64_t blocks;      /* live allocations */
    int64_t allocations; /* ever made */
};
struct cudasim_bytes cudasim_memory(int device);
void cudasim_reset_peak(void);

/* Names every allocation, stream, event, graph and handle that lives, on stderr; returns how many. Runs at exit too,
 * unless cudasim_leaks_at_exit(0), and a leak makes exit status 23. */
int64_t cudasim_leaks(void);
void cudasim_leaks_at_exit(int report);

/* For tests that compare: where the bytes of device memory are, for the host. Only when no work is pending on it. */
void *cudasim_peek(const void *device_pointer, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
