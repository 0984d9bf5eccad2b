/*
 * fault.c - what is reported, what is made to fail, and what ThreadSanitizer is told.
 */
#include "tests/cudasim/inside.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define NAMES_MAX 256

_Thread_local struct cudasim_call cudasim_current;
_Thread_local struct cudasim_op *cudasim_running;
static _Thread_local cudaError_t last_error;

static void (*fault_handler)(const char *message);
static int64_t fault_count;
static bool leaks_at_exit = true;

static struct {
    const char *names[NAMES_MAX]; /* of functions, as their __func__ */
    int64_t calls[NAMES_MAX];
    int count;
    int64_t all;
    char function[64]; /* that is to fail; "": none */
    int64_t at;        /* its count of calls at which it does */
    int code;
    enum failure { NOW, LATER, CONNECTION } how;
    bool happened;
    void (*on_told)(void *self); /* NULL: nobody is called */
    void *on_told_self;
} ledger;

/* ---- ThreadSanitizer ---- */

#ifdef CUDASIM_TSAN
void AnnotateIgnoreSyncBegin(const char *file, int line);
void AnnotateIgnoreSyncEnd(const char *file, int line);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void __tsan_acquire(void *token);
void __tsan_release(void *token);

void cudasim_hide(void)
{
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

void cudasim_show(void)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
}

/* The edges that CUDA promises count inside of hide and show, too. */
void cudasim_release(void *token)
{
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
    __tsan_release(token);
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
}

void cudasim_acquire(void *token)
{
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
    __tsan_acquire(token);
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
}
#else
void cudasim_hide(void)
{
}

void cudasim_show(void)
{
}

void cudasim_release(void *token)
{
    (void)token;
}

void cudasim_acquire(void *token)
{
    (void)token;
}
#endif

static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;

/* For waiting on conditions. */
pthread_mutex_t *cudasim_mutex(void)
{
    return &the_lock;
}

void cudasim_lock(void)
{
    cudasim_hide();
    pthread_mutex_lock(&the_lock);
}

void cudasim_unlock(void)
{
    pthread_mutex_unlock(&the_lock);
    cudasim_show();
}

/* ---- faults ---- */

static void report(const char *call, const char *kernel, const char *format, va_list arguments)
{
    char text[1024];
    int length = snprintf(text, sizeof text, "cudasim: %s%s%s%s: ", call != NULL ? call : "?",
                          kernel != NULL ? " (" : "", kernel != NULL ? kernel : "", kernel != NULL ? ")" : "");
    vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    __atomic_add_fetch(&fault_count, 1, __ATOMIC_RELAXED);
    if (fault_handler != NULL) {
        fault_handler(text);
        return;
    }
    fprintf(stderr, "%s\n", text);
    void *frames[16];
    backtrace_symbols_fd(frames, backtrace(frames, 16), STDERR_FILENO);
    abort();
}

int cudasim_fault(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(cudasim_current.name, NULL, format, arguments);
    va_end(arguments);
    return code;
}

void cudasim_fault_in(const char *call, const char *kernel, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(call, kernel, format, arguments);
    va_end(arguments);
}

void cudasim_on_fault(void (*handler)(const char *message))
{
    fault_handler = handler;
}

int64_t cudasim_faults(void)
{
    return __atomic_load_n(&fault_count, __ATOMIC_RELAXED);
}

/* ---- reads and writes of what is not there ---- */

static void say_where(const struct cudasim_memory *memory, const void *address, bool alias)
{
    const char *start = alias ? memory->alias + memory->skip : memory->view + memory->skip;
    fprintf(stderr, "cudasim: %p is byte %td of block %lu (%zu bytes, device %d, %s, from %s)\n", address,
            (const char *)address - start, (unsigned long)memory->number, memory->bytes, memory->device,
            memory->alias != NULL ? "live" : "freed", memory->call.name);
}

/* Not safe for signals in general, but the program is at its end and the fault is synchronous. */
static void on_segv(int number, siginfo_t *info, void *context)
{
    (void)number;
    const struct cudasim_memory *memory = NULL;
    bool alias = false;
    bool known = cudasim_in_guard(info->si_addr, &memory, &alias);
    const char *does = "reads or writes";
#if defined(__x86_64__)
    does = (((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? "writes" : "reads";
#else
    (void)context;
#endif
    if (known && cudasim_running != NULL)
        fprintf(stderr, "cudasim: %s%s%s: %s memory that is not its own\n", cudasim_running->call.name,
                cudasim_running->kernel != NULL ? " kernel " : "",
                cudasim_running->kernel != NULL ? cudasim_running->kernel : "", does);
    else if (known)
        fprintf(stderr, "cudasim: host code %s device memory (last call: %s)\n", does,
                cudasim_current.name != NULL ? cudasim_current.name : "none");
    if (known)
        say_where(memory, info->si_addr, alias);
    else
        fprintf(stderr, "cudasim: segmentation fault at %p in %s\n", info->si_addr,
                cudasim_running != NULL ? cudasim_running->call.name : "host code");
    void *frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    abort();
}

static void at_exit(void)
{
    if (leaks_at_exit && cudasim_leaks() > 0) {
        fflush(NULL);
        _exit(23);
    }
}

static void prepare(void)
{
    struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    atexit(at_exit);
}

int64_t cudasim_leaks(void)
{
    cudasim_lock();
    int64_t leaks = cudasim_memory_leaks() + cudasim_graph_leaks() + cudasim_stream_leaks() + cudasim_handle_leaks();
    cudasim_unlock();
    return leaks;
}

void cudasim_leaks_at_exit(int enabled)
{
    leaks_at_exit = enabled != 0;
}

/* ---- calls ---- */

static int64_t *calls_of(const char *function)
{
    for (int i = 0; i < ledger.count; i++)
        if (ledger.names[i] == function || strcmp(ledger.names[i], function) == 0)
            return &ledger.calls[i];
    if (ledger.count == NAMES_MAX)
        abort();
    ledger.names[ledger.count] = strdup(function);
    return &ledger.calls[ledger.count++];
}

/* Without the suffix of a version. */
static const char *plain_name(const char *call, char *buffer, size_t size)
{
    size_t length = strlen(call);
    if (length > 3 && strcmp(call + length - 3, "_v2") == 0 && length < size) {
        memcpy(buffer, call, length - 3);
        buffer[length - 3] = '\0';
        return buffer;
    }
    return call;
}

static int broken_as(enum cudasim_library library, cudaError_t code)
{
    switch (library) {
    case CUDASIM_CUBLAS:
        return 13; /* CUBLAS_STATUS_EXECUTION_FAILED */
    case CUDASIM_CUDNN:
        return 5000; /* CUDNN_STATUS_EXECUTION_FAILED */
    case CUDASIM_NCCL:
        return 1; /* ncclUnhandledCudaError */
    default:
        return (int)code;
    }
}

/* Counts the call; whether it is the one that is to fail. Locked. */
static bool is_to_fail(const char *name, enum cudasim_library library)
{
    int64_t *count = calls_of(name);
    ++*count;
    if (library != CUDASIM_RELEASING)
        ledger.all++;
    if (ledger.happened || ledger.function[0] == '\0')
        return false;
    bool any = strcmp(ledger.function, "*") == 0;
    if (any ? library == CUDASIM_RELEASING || ledger.all != ledger.at
            : strcmp(ledger.function, name) != 0 || *count != ledger.at)
        return false;
    ledger.happened = true;
    return true;
}

static _Thread_local int fail_later, lose; /* of the current call */

int cudasim_enter(const char *call, void *site, enum cudasim_library library)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    cudasim_hide();
    pthread_once(&once, prepare);
    cudasim_show();
    cudasim_setup();
    char buffer[64];
    cudasim_lock();
    const char *name = plain_name(call, buffer, sizeof buffer);
    bool fails = is_to_fail(name, library);
    int64_t *count = calls_of(name);
    cudasim_current = (struct cudasim_call){ledger.names[count - ledger.calls], site};
    fail_later = fails && ledger.how == LATER ? ledger.code : 0;
    lose = fails && ledger.how == CONNECTION ? ledger.code : 0;
    int code = fails && ledger.how == NOW ? ledger.code : 0;
    cudaError_t broken = cudasim_device(cudasim_current_device)->broken;
    if (code == 0 && library != CUDASIM_RELEASING && broken != cudaSuccess)
        code = broken_as(library, broken);
    cudasim_unlock();
    if (cudasim_running != NULL)
        cudasim_fault(0, "called from a function that a stream runs");
    return code;
}

/* The failure that the current call's work is to have; taken once. */
int cudasim_take_failure(void)
{
    int code = fail_later;
    fail_later = 0;
    return code;
}

int cudasim_take_loss(void)
{
    int code = lose;
    lose = 0;
    return code;
}

cudaError_t cudasim_end(cudaError_t code)
{
    if (code != cudaSuccess && code != cudaErrorNotReady)
        last_error = code;
    return code;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = (cudaError_t)CUDASIM_ENTER(CUDASIM_RELEASING);
    cudaError_t broken = cudasim_device(cudasim_current_device)->broken;
    code = broken != cudaSuccess ? broken : last_error;
    last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void)
{
    cudaError_t broken = cudasim_device(cudasim_current_device)->broken;
    return broken != cudaSuccess ? broken : last_error;
}

static void set_failure(const char *function, int64_t n, int code, enum failure how)
{
    cudasim_lock();
    snprintf(ledger.function, sizeof ledger.function, "%s", function);
    ledger.at = n + (strcmp(function, "*") == 0 ? ledger.all : *calls_of(function));
    ledger.code = code;
    ledger.how = how;
    ledger.happened = false;
    cudasim_unlock();
}

void cudasim_fail(const char *function, int64_t n, int code)
{
    set_failure(function, n, code, NOW);
}

void cudasim_fail_later(const char *function, int64_t n, int code)
{
    set_failure(function, n, code, LATER);
}

void cudasim_fail_connection(const char *function, int64_t n, int code)
{
    set_failure(function, n, code, CONNECTION);
}

void cudasim_on_told(void (*hook)(void *self), void *self)
{
    cudasim_lock();
    ledger.on_told = hook;
    ledger.on_told_self = self;
    cudasim_unlock();
}

void cudasim_tell(void)
{
    cudasim_lock();
    void (*hook)(void *self) = ledger.on_told;
    void *self = ledger.on_told_self;
    ledger.on_told = NULL;
    cudasim_unlock();
    if (hook != NULL)
        hook(self);
}

void cudasim_clear_failures(void)
{
    cudasim_lock();
    ledger.on_told = NULL;
    ledger.function[0] = '\0';
    ledger.happened = false;
    for (int device = 0; device < CUDASIM_DEVICES_MAX; device++)
        cudasim_device(device)->broken = cudaSuccess;
    last_error = cudaSuccess;
    cudasim_unlock();
}

int cudasim_failed(void)
{
    cudasim_lock();
    int failed = ledger.happened;
    cudasim_unlock();
    return failed;
}

int64_t cudasim_calls(const char *function)
{
    cudasim_lock();
    int64_t calls = strcmp(function, "*") == 0 ? ledger.all : *calls_of(function);
    cudasim_unlock();
    return calls;
}
