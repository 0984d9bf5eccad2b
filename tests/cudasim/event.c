/*
 * event.c - events: what is recorded in one stream and waited for in another or by the host.
 *
 * A record is a moment of one stream; recording an event again makes a new one, and who waits keeps the one that was
 * the latest when it asked. So a wait before the record is no wait, as with CUDA.
 */
#include "tests/cudasim/inside.h"

#include <stdlib.h>
#include <time.h>

static struct CUevent_st *events;
static uint64_t events_made;

struct cudasim_record *cudasim_record_create(void)
{
    struct cudasim_record *record = calloc(1, sizeof *record);
    if (record == NULL)
        abort();
    record->references = 1;
    return record;
}

void cudasim_record_release(struct cudasim_record *record)
{
    if (record != NULL && --record->references == 0)
        free(record);
}

/* The streams have come to it: not before the operation counts as ended, so that who waited may destroy the stream. */
void cudasim_record_done(struct cudasim_record *record)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    record->done = true;
    record->at_ns = now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
    cudasim_release(record);
    cudasim_record_release(record);
}

static void run_nothing(void *argument)
{
    (void)argument;
}

static void run_wait(void *argument)
{
    struct cudasim_record *record = *(struct cudasim_record **)argument;
    cudasim_lock();
    while (!record->done)
        cudasim_wait_for_progress();
    cudasim_acquire(record);
    if (cudasim_running->stream->model_ns < record->model_ns)
        cudasim_running->stream->model_ns = record->model_ns;
    cudasim_record_release(record);
    cudasim_unlock();
}

/* Appends an operation that takes one reference along. */
static struct cudasim_op *append(struct cudasim_record *record, cudaStream_t stream, void (*run)(void *))
{
    struct cudasim_op *op = calloc(1, sizeof *op + sizeof record);
    if (op == NULL)
        abort();
    *op = (struct cudasim_op){
        .call = cudasim_current, .run = run, .always = true, .bytes = sizeof record, .fail = cudasim_take_failure()};
    op->argument = op + 1;
    *(struct cudasim_record **)op->argument = record;
    record->references++;
    cudasim_append(op, stream);
    return op;
}

void cudasim_append_record(struct cudasim_record *record, cudaStream_t stream)
{
    append(record, stream, run_nothing)->record = record;
    cudasim_order_record(record, stream);
}

void cudasim_append_wait(struct cudasim_record *record, cudaStream_t stream)
{
    append(record, stream, run_wait);
    cudasim_order_wait(record, stream);
}

int cudasim_check_event(cudaEvent_t wanted)
{
    for (struct CUevent_st *event = events; event != NULL; event = event->next)
        if (event == wanted)
            return 0;
    return cudasim_fault(cudaErrorInvalidResourceHandle, "%p is not an event, or no longer", (void *)wanted);
}

int64_t cudasim_event_leaks(void)
{
    int64_t leaks = 0;
    for (struct CUevent_st *event = events; event != NULL; event = event->next, leaks++)
        fprintf(stderr, "cudasim: leak: event %lu of device %d\n", (unsigned long)event->number, event->device);
    return leaks;
}

/* ---- the calls ---- */

static cudaError_t create(cudaEvent_t *out, unsigned flags)
{
    cudasim_lock();
    struct CUevent_st *event = calloc(1, sizeof *event);
    if (event == NULL)
        abort();
    event->number = ++events_made;
    event->device = cudasim_current_device;
    event->flags = flags;
    event->next = events;
    events = event;
    cudasim_unlock();
    *out = event;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    CUDASIM_BEGIN();
    return create(event, flags);
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    CUDASIM_BEGIN();
    return create(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    cudasim_lock();
    int status = cudasim_check_event(event);
    if (status == 0) {
        struct CUevent_st **link = &events;
        while (*link != event)
            link = &(*link)->next;
        *link = event->next;
        cudasim_record_release(event->record);
        free(event);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)(code != 0 ? code : status));
}

static int check_record(cudaStream_t stream, cudaEvent_t event)
{
    int status = cudasim_check_event(event);
    if (status == 0)
        status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0 && event->device != stream->device)
        status =
            cudasim_fault(cudaErrorInvalidResourceHandle, "event %lu belongs to device %d, stream %lu to device %d",
                          (unsigned long)event->number, event->device, (unsigned long)stream->number, stream->device);
    return status;
}

static cudaError_t record_event(cudaEvent_t event, cudaStream_t stream, bool external)
{
    cudasim_lock();
    int status = check_record(stream, event);
    if (status == 0 && stream->capture != NULL)
        cudasim_capture_record(stream, event, external);
    else if (status == 0) {
        cudasim_record_release(event->record);
        event->record = cudasim_record_create();
        event->capture = 0;
        cudasim_append_record(event->record, stream);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    CUDASIM_BEGIN();
    return record_event(event, stream, false);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags)
{
    CUDASIM_BEGIN();
    return record_event(event, stream, (flags & cudaEventRecordExternal) != 0);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    CUDASIM_BEGIN();
    (void)flags;
    cudasim_lock();
    int status = cudasim_check_event(event);
    if (status == 0)
        status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0 && !cudasim_capture_wait(stream, event, &status) && event->record != NULL)
        cudasim_append_wait(event->record, stream);
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

/* An event that the host may ask about. Locked. */
static int check_asked(cudaEvent_t event)
{
    int status = cudasim_check_event(event);
    if (status == 0 && event->capture != 0)
        return cudasim_fault(cudaErrorCapturedEvent, "event %lu was recorded in a capture",
                             (unsigned long)event->number);
    if (status == 0 && cudasim_capture_forbids())
        return cudasim_fault(cudaErrorStreamCaptureUnsupported, "not while a stream is captured");
    return status;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = check_asked(event);
    if (status == 0 && event->record != NULL) {
        if (!event->record->done)
            status = cudaErrorNotReady;
        else {
            cudasim_acquire(event->record);
            cudasim_order_host_after(&event->record->clock);
            cudasim_model_host_after(event->record->model_ns);
            status = (int)cudasim_device(event->device)->broken;
        }
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = check_asked(event);
    if (status == 0 && event->record != NULL) {
        struct cudasim_record *record = event->record;
        record->references++;
        while (!record->done)
            cudasim_wait_for_progress();
        cudasim_acquire(record);
        cudasim_order_host_after(&record->clock);
        cudasim_model_host_after(record->model_ns);
        cudasim_record_release(record);
        status = (int)cudasim_device(event->device)->broken;
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

/* All devices share one clock, but as with CUDA both events must be of one device. */
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = check_asked(start);
    if (status == 0)
        status = check_asked(end);
    if (status == 0 && start->device != end->device)
        status =
            cudasim_fault(cudaErrorInvalidResourceHandle, "events of devices %d and %d", start->device, end->device);
    if (status == 0 && ((start->flags | end->flags) & cudaEventDisableTiming) != 0)
        status = cudasim_fault(cudaErrorInvalidResourceHandle, "an event without timing");
    if (status == 0 && (start->record == NULL || end->record == NULL))
        status = cudasim_fault(cudaErrorInvalidResourceHandle, "an event that was never recorded");
    if (status == 0 && (!start->record->done || !end->record->done))
        status = cudaErrorNotReady;
    if (status == 0) {
        cudasim_acquire(start->record);
        cudasim_acquire(end->record);
        cudasim_order_host_after(&start->record->clock);
        cudasim_order_host_after(&end->record->clock);
        bool modelled = cudasim_copies_modelled();
        *ms = (float)((double)(modelled ? end->record->model_ns - start->record->model_ns
                                        : end->record->at_ns - start->record->at_ns) /
                      1e6);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}
