/*
 * inside.h - what the parts of the stand-in share.
 *
 * One lock guards everything but the running operations. A call checks its arguments, translates every pointer, and
 * appends an operation to a stream; the stream's thread runs it later. These files are compiled without
 * -fsanitize=thread; what a test is to see of them is told to ThreadSanitizer by hand (cudasim_release, _acquire and
 * the uses of an operation).
 */
#ifndef CUDASIM_INSIDE_H
#define CUDASIM_INSIDE_H

#include "tests/cudasim/cudasim.h"

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define CUDASIM_DEVICES_MAX 16
#define CUDASIM_STREAMS_MAX 256 /* at a time */

/* ---- ThreadSanitizer ---- */

void cudasim_hide(void); /* nothing the library does between hide and show orders or touches anything */
void cudasim_show(void);
void cudasim_release(void *token);
void cudasim_acquire(void *token);
void cudasim_lock(void);
void cudasim_unlock(void);
pthread_mutex_t *cudasim_mutex(void);

/* ---- faults and failures ---- */

/* Which library a call belongs to: what a broken device looks like through it. */
enum cudasim_library { CUDASIM_CUDART, CUDASIM_CUBLAS, CUDASIM_CUDNN, CUDASIM_NCCL, CUDASIM_RELEASING };

/* Begins a call: notes its name for reports, counts it, and returns 0 or the error it must return at once. */
int cudasim_enter(const char *call, void *site, enum cudasim_library library);
#define CUDASIM_ENTER(library) cudasim_enter(__func__, __builtin_return_address(0), library)
/* For functions of cudart. */
#define CUDASIM_BEGIN()                                                                                                \
    do {                                                                                                               \
        cudaError_t cudasim_code = (cudaError_t)CUDASIM_ENTER(CUDASIM_CUDART);                                         \
        if (cudasim_code != cudaSuccess)                                                                               \
            return cudasim_end(cudasim_code);                                                                          \
    } while (0)
int cudasim_take_failure(void);            /* that the current call's work is to have, or 0 */
int cudasim_take_loss(void);               /* the same of its connection */
void cudasim_tell(void);                   /* the program is about to be told of such a loss */
cudaError_t cudasim_end(cudaError_t code); /* remembers it for cudaGetLastError */

/* Reports a mistake of the program in the call that the thread is in. Returns `code`, if it returns. */
int cudasim_fault(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same where the call is not the thread's, but an operation's. */
void cudasim_fault_in(const char *call, const char *kernel, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct cudasim_call {
    const char *name;
    void *site; /* return address in the program */
};
extern _Thread_local struct cudasim_call cudasim_current;
extern _Thread_local struct cudasim_op *cudasim_running; /* of a stream's thread; NULL: none */

/* ---- devices ---- */

struct cudasim_device {
    size_t total;
    size_t handles; /* bytes of it that handles have taken */
    struct cudasim_bytes bytes;
    cudaError_t broken; /* every call on it returns this */
    bool peers[CUDASIM_DEVICES_MAX];
    int capability; /* 86: compute capability 8.6 */
};
/* -1 is the host (pinned memory). */
struct cudasim_device *cudasim_device(int device);
int cudasim_device_count(void);
extern _Thread_local int cudasim_current_device;
bool cudasim_peer_possible(void);
void cudasim_setup(void); /* from the environment, once */

/* ---- memory ---- */

struct cudasim_memory {
    uint64_t number;
    int device;                      /* -1: pinned host memory */
    char *view;                      /* what the program has; PROT_NONE for device memory */
    char *alias;                     /* where the bytes are; NULL when freed */
    size_t bytes;                    /* as asked for */
    size_t span, skip;               /* mapped bytes; bytes of them before the first */
    int64_t pending;                 /* operations that will use it */
    struct cudasim_history *history; /* who has used it; NULL: nobody yet */
    struct cudasim_call call;
};

enum cudasim_access { CUDASIM_READ = 1, CUDASIM_WRITE = 2, CUDASIM_UPDATE = 3 };

struct cudasim_use {
    struct cudasim_memory *memory; /* NULL: pageable */
    char *address;
    size_t bytes;
    enum cudasim_access access;
};

/* ---- operations ---- */

struct cudasim_op {
    struct cudasim_op *next;
    struct cudasim_call call;
    void *inside;       /* an address in the called function */
    const char *kernel; /* NULL: not a kernel */
    struct CUstream_st *stream;
    void (*run)(void *argument);
    int status;                    /* of the checks: what the call returns */
    int invalid;                   /* what it is when a check fails */
    int fail;                      /* the device breaks with this when it runs */
    bool always;                   /* runs on a broken device, too */
    bool between_ranks;            /* of NCCL */
    struct cudasim_record *record; /* is done when the operation has ended; NULL: none */
    int64_t model_ns;              /* what it takes where copies are given a time; -1: what it takes really */
    int64_t after_ns;              /* by that clock it does not begin before */
    int use_count;
    struct cudasim_use *uses;
    size_t bytes;
    void *argument;
};

/*
 * Begins an operation of the current call on `stream`; `argument` is `bytes` of zeroes that `run` gets. Never NULL:
 * what is wrong is kept in status, and then cudasim_op_end throws the operation away and returns it. `invalid` is the
 * error of the library for wrong arguments.
 */
struct cudasim_op *cudasim_op_begin(cudaStream_t stream, size_t bytes, void (*run)(void *), int invalid);
/* The same for a call that has failed already, with `status`. */
struct cudasim_op *cudasim_op_failed(size_t bytes, int status);
int cudasim_op_end(struct cudasim_op *op);
/* The operation does nothing after all. */
int cudasim_op_cancel(struct cudasim_op *op);

/* Translates a pointer to `bytes` of memory of the stream's device; `what` names the argument. NULL when wrong. */
void *cudasim_device_pointer(struct cudasim_op *op, const void *pointer, size_t bytes, enum cudasim_access access,
                             const char *what);
/* The same for memory of another device. */
void *cudasim_pointer_on(struct cudasim_op *op, int device, const void *pointer, size_t bytes,
                         enum cudasim_access access, const char *what);
/* Host memory, pinned or not. */
void *cudasim_host_pointer(struct cudasim_op *op, const void *pointer, size_t bytes, enum cudasim_access access,
                           const char *what);
/* A kernel's argument: to anywhere the device may reach. *pointer is replaced. `surely`: it is a pointer. How far the
 * kernel reads or writes is not known. */
void cudasim_kernel_pointer(struct cudasim_op *op, void **pointer, bool surely, enum cudasim_access access,
                            const char *what);
/* A fault when something that is written is also another argument. */
void cudasim_no_overlap(struct cudasim_op *op);
void cudasim_op_fault(struct cudasim_op *op, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The block that holds `pointer`, live or freed; NULL: none. Locked. */
struct cudasim_memory *cudasim_find(const void *pointer);
/* Whether the bytes before and after the block are untouched; else reports. */
void cudasim_check_guards(const struct cudasim_memory *memory, const char *call, const char *kernel);
int64_t cudasim_memory_leaks(void);
int64_t cudasim_handle_leaks(void); /* of the libraries */
bool cudasim_in_guard(const void *address, const struct cudasim_memory **memory, bool *alias);

/* ---- streams and events ---- */

/* The latest moment of each stream that something comes after, by slot. */
struct cudasim_clock {
    int64_t at[CUDASIM_STREAMS_MAX];
    int64_t heard; /* the last receive of NCCL, by number */
};

struct cudasim_record {
    int references;
    bool done;
    int64_t at_ns, model_ns; /* by the real clock, and by the one where copies are given a time */
    struct cudasim_clock clock;
};

struct CUstream_st {
    uint64_t number;
    int device;
    unsigned flags;
    pthread_t thread;
    struct cudasim_op *first, **last;
    int64_t enqueued, completed;
    bool closing, inner; /* inner: of an executable graph, not the program's */
    pthread_cond_t more;
    uint64_t random;
    struct CUgraph_st *capture;
    int lane; /* of the capture */
    int slot;
    int64_t model_ns;
    struct cudasim_clock clock;
    struct CUstream_st *next;
};

struct CUevent_st {
    uint64_t number;
    int device;
    unsigned flags;
    struct cudasim_record *record; /* the latest; NULL: never recorded */
    uint64_t capture;              /* of the graph being captured that it was last recorded in; 0: none */
    int mark;
    struct CUevent_st *next;
};

cudaError_t cudasim_stream_open(int device, unsigned flags, cudaStream_t *stream); /* locked */
void cudasim_stream_close(cudaStream_t stream);                                    /* locked; idle */
int cudasim_append(struct cudasim_op *op, cudaStream_t stream); /* locked; its status, which is that of its order */
void cudasim_append_record(struct cudasim_record *record, cudaStream_t stream); /* locked */
void cudasim_append_wait(struct cudasim_record *record, cudaStream_t stream);   /* locked */
struct cudasim_record *cudasim_record_create(void);                             /* one reference */
void cudasim_record_done(struct cudasim_record *record);                        /* locked */
void cudasim_record_release(struct cudasim_record *record);                     /* locked */
/* 0, or the fault's code: a live stream of the current device. Locked. */
int cudasim_check_stream(cudaStream_t stream, int invalid);
int cudasim_check_event(cudaEvent_t event);
bool cudasim_stream_known(cudaStream_t stream);
int64_t cudasim_stream_leaks(void); /* and events */
int64_t cudasim_event_leaks(void);
void cudasim_progress(void);                     /* locked: wakes who waits for it */
void cudasim_wait_for_progress(void);            /* locked: until something has gone on */
void cudasim_finish_stream(cudaStream_t stream); /* locked: until all enqueued now has ended */

/* How long something is waited for yet: slices of a tenth of a second, each counted when it has passed, so that a
 * process which was stopped for long meanwhile has lost one of them. */
struct cudasim_patience {
    int slices;
    struct timespec end; /* of this slice, by CLOCK_MONOTONIC */
};
struct cudasim_patience cudasim_patience(int seconds);
/* Until something has gone on or a slice has passed; false, at once: none is left. So what is waited for is looked at
 * after the last one, too. Locked. */
bool cudasim_wait_patiently(struct cudasim_patience *patience);
/* Until all that is enqueued now in a device's streams has ended; false: no slice is left. Locked. */
bool cudasim_await_device(int device, struct cudasim_patience *patience);
struct cudasim_op *cudasim_op_copy(const struct cudasim_op *op); /* for a graph's launch */
void cudasim_op_free(struct cudasim_op *op);
extern atomic_bool cudasim_aborted; /* a communicator was, and none was made since: nothing orders what is left */
void cudasim_touch_received(const struct cudasim_op *op); /* locked, of NCCL: what it received is written now */

/* ---- whether operations are ordered; all locked ---- */

void cudasim_order_open(cudaStream_t stream);
void cudasim_order_close(cudaStream_t stream);
/* When an operation is enqueued: op->status is not 0 when it uses what another one uses, unordered. */
void cudasim_order_op(struct cudasim_op *op, cudaStream_t stream);
void cudasim_order_record(struct cudasim_record *record, cudaStream_t stream);
void cudasim_order_wait(const struct cudasim_record *record, cudaStream_t stream);
void cudasim_order_host_after(const struct cudasim_clock *clock); /* the host has waited for that */
void cudasim_order_forget(struct cudasim_memory *memory);

/* ---- graphs ---- */

int cudasim_capture_op(struct cudasim_op *op); /* takes it over */
/* Whether a capture forbids this thread what waits, asks or takes memory: the call that asks spoils it. Locked. */
bool cudasim_capture_forbids(void);
void cudasim_capture_break(struct CUgraph_st *graph);
void cudasim_capture_record(cudaStream_t stream, cudaEvent_t event, bool external);
/* Whether the wait belongs to a capture, and then *status is its result. */
bool cudasim_capture_wait(cudaStream_t stream, cudaEvent_t event, int *status);
void cudasim_end_capture(const struct CUgraph_st *graph); /* its streams work again */
int64_t cudasim_graph_leaks(void);
void cudasim_kernels_end(void); /* at the end of a stream's thread */

/*
 * Where copies over a bus are given a time (cudasim_set_copies), events tell a clock of their own: each stream counts
 * what its operations take, begins none before what it comes after, and copies take what they were given. So it does
 * not matter how busy the machine is.
 */
int64_t cudasim_copy_ns(size_t bytes); /* -1: really */
bool cudasim_copies_modelled(void);
void cudasim_model_host_after(int64_t ns); /* locked: the host has waited for that */
int64_t cudasim_model_host(void);          /* locked */

/* ---- random numbers, for all that varies on purpose ---- */
uint64_t cudasim_mix(uint64_t x);
uint64_t cudasim_seed(void);

#endif
