/*
 * graph.c - graphs, made by capturing streams.
 *
 * A captured stream is a lane: its operations in order, with marks (events recorded) and waits for marks of other
 * lanes. A launch does the first lane in the launching stream; each other lane has a stream of its own, which comes
 * after the launching stream's present and before its future. So a replay has the order that the capture had, and no
 * more.
 *
 * While a thread captures it may not call what waits, asks or takes memory, unless it captures relaxed; nor may any
 * thread while one captures globally. Such a call is a fault and spoils the capture, whose end then gives no graph.
 */
#include "tests/cudasim/inside.h"

#include <stdlib.h>
#include <string.h>

#define LANES_MAX 16

enum step_kind { STEP_OP, STEP_MARK, STEP_WAIT, STEP_RECORD };

struct step {
    enum step_kind kind;
    int number; /* in the capture */
    struct cudasim_op *op;
    int mark;          /* MARK, WAIT */
    cudaEvent_t event; /* RECORD: a real event, external to the graph */
};

struct lane {
    int device;
    struct step *steps;
    int count, ops;
    int seen[LANES_MAX]; /* operations of the lanes that come before this lane's next one */
};

struct mark {
    int seen[LANES_MAX];
};

struct CUgraph_st {
    uint64_t number;
    struct lane lanes[LANES_MAX];
    int lane_count;
    struct mark *marks;
    int mark_count, step_count;
    cudaStream_t origin; /* NULL: the capture has ended */
    pthread_t thread;
    enum cudaStreamCaptureMode mode;
    bool broken;
    int references; /* the graph and its executables */
    struct CUgraph_st *next;
};

struct CUgraphExec_st {
    struct CUgraph_st *graph;
    cudaStream_t streams[LANES_MAX]; /* the first is NULL */
    struct cudasim_record **records; /* of the marks, of the launch being made */
    struct cudasim_record *last;     /* the end of the latest launch; NULL: never launched */
    struct CUgraphExec_st *next;
};

static struct CUgraph_st *graphs;
static struct CUgraphExec_st *executables;
static uint64_t graphs_made;

/* ---- capture ---- */

static void *grow(void *array, int count, size_t size)
{
    array = realloc(array, (size_t)(count + 1) * size);
    if (array == NULL)
        abort();
    return array;
}

static void add_step(struct CUgraph_st *graph, int lane, struct step step)
{
    struct lane *at = &graph->lanes[lane];
    at->steps = grow(at->steps, at->count, sizeof *at->steps);
    step.number = graph->step_count++;
    at->steps[at->count++] = step;
    if (step.kind == STEP_OP)
        at->seen[lane] = ++at->ops;
}

static void add_lane(struct CUgraph_st *graph, cudaStream_t stream)
{
    if (graph->lane_count == LANES_MAX)
        abort();
    graph->lanes[graph->lane_count].device = stream->device;
    stream->capture = graph;
    stream->lane = graph->lane_count++;
}

int cudasim_capture_op(struct cudasim_op *op)
{
    struct CUgraph_st *graph = op->stream->capture;
    int status = graph->broken ? op->invalid : 0;
    if (status != 0)
        cudasim_op_free(op);
    else
        add_step(graph, op->stream->lane, (struct step){.kind = STEP_OP, .op = op});
    return status;
}

bool cudasim_capture_forbids(void)
{
    bool forbidden = false;
    for (struct CUgraph_st *graph = graphs; graph != NULL; graph = graph->next) {
        bool own = graph->origin != NULL && pthread_equal(graph->thread, pthread_self());
        if (graph->origin == NULL || graph->mode == cudaStreamCaptureModeRelaxed ||
            (!own && graph->mode != cudaStreamCaptureModeGlobal))
            continue;
        graph->broken = true;
        forbidden = true;
    }
    return forbidden;
}

void cudasim_capture_break(struct CUgraph_st *graph)
{
    graph->broken = true;
}

void cudasim_capture_record(cudaStream_t stream, cudaEvent_t event, bool external)
{
    struct CUgraph_st *graph = stream->capture;
    if (external) {
        add_step(graph, stream->lane, (struct step){.kind = STEP_RECORD, .event = event});
        return;
    }
    graph->marks = grow(graph->marks, graph->mark_count, sizeof *graph->marks);
    memcpy(graph->marks[graph->mark_count].seen, graph->lanes[stream->lane].seen, sizeof graph->marks->seen);
    event->capture = graph->number;
    event->mark = graph->mark_count;
    add_step(graph, stream->lane, (struct step){.kind = STEP_MARK, .mark = graph->mark_count++});
}

static struct CUgraph_st *capture_of(uint64_t number)
{
    for (struct CUgraph_st *graph = graphs; graph != NULL; graph = graph->next)
        if (graph->number == number && graph->origin != NULL)
            return graph;
    return NULL;
}

bool cudasim_capture_wait(cudaStream_t stream, cudaEvent_t event, int *status)
{
    struct CUgraph_st *graph = event->capture != 0 ? capture_of(event->capture) : NULL;
    if (event->capture == 0 && stream->capture == NULL)
        return false;
    if (graph == NULL || (stream->capture != NULL && stream->capture != graph)) {
        *status = cudasim_fault(cudaErrorStreamCaptureIsolation,
                                stream->capture != NULL ? "event %lu was not recorded in this capture"
                                                        : "event %lu was recorded in a capture that has ended",
                                (unsigned long)event->number);
        return true;
    }
    if (stream->capture == NULL)
        add_lane(graph, stream);
    struct lane *lane = &graph->lanes[stream->lane];
    for (int i = 0; i < LANES_MAX; i++)
        if (graph->marks[event->mark].seen[i] > lane->seen[i])
            lane->seen[i] = graph->marks[event->mark].seen[i];
    add_step(graph, stream->lane, (struct step){.kind = STEP_WAIT, .mark = event->mark});
    return true;
}

static void unlink_graph(struct CUgraph_st *graph)
{
    struct CUgraph_st **link = &graphs;
    while (*link != graph)
        link = &(*link)->next;
    *link = graph->next;
}

static void release_graph(struct CUgraph_st *graph)
{
    if (--graph->references > 0)
        return;
    for (int i = 0; i < graph->lane_count; i++) {
        for (int k = 0; k < graph->lanes[i].count; k++)
            if (graph->lanes[i].steps[k].kind == STEP_OP)
                cudasim_op_free(graph->lanes[i].steps[k].op);
        free(graph->lanes[i].steps);
    }
    free(graph->marks);
    free(graph);
}

static struct CUgraph_st *find_graph(cudaGraph_t wanted)
{
    for (struct CUgraph_st *graph = graphs; graph != NULL; graph = graph->next)
        if (graph == wanted)
            return graph;
    cudasim_fault(0, "%p is not a graph, or no longer", (void *)wanted);
    return NULL;
}

int64_t cudasim_graph_leaks(void)
{
    int64_t leaks = 0;
    for (struct CUgraph_st *graph = graphs; graph != NULL; graph = graph->next, leaks++)
        fprintf(stderr, "cudasim: leak: graph %lu\n", (unsigned long)graph->number);
    for (struct CUgraphExec_st *exec = executables; exec != NULL; exec = exec->next, leaks++)
        fprintf(stderr, "cudasim: leak: executable of graph %lu\n", (unsigned long)exec->graph->number);
    return leaks;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0 && stream->capture != NULL)
        status = cudasim_fault(cudaErrorIllegalState, "stream %lu is captured already", (unsigned long)stream->number);
    if (status == 0) {
        struct CUgraph_st *graph = calloc(1, sizeof *graph);
        if (graph == NULL)
            abort();
        graph->number = ++graphs_made;
        graph->references = 1;
        graph->origin = stream;
        graph->thread = pthread_self();
        graph->mode = mode;
        graph->next = graphs;
        graphs = graph;
        add_lane(graph, stream);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    int code = CUDASIM_ENTER(CUDASIM_CUDART); /* whatever it comes to, the capture has ended */
    *out = NULL;
    cudasim_lock();
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    struct CUgraph_st *graph = status == 0 ? stream->capture : NULL;
    if (status == 0 && (graph == NULL || graph->origin != stream))
        status = cudasim_fault(cudaErrorIllegalState, "the capture did not begin in stream %lu",
                               (unsigned long)stream->number);
    if (status == 0 && graph->mode != cudaStreamCaptureModeRelaxed && !pthread_equal(graph->thread, pthread_self()))
        status = cudasim_fault(cudaErrorStreamCaptureWrongThread, "another thread began the capture of stream %lu",
                               (unsigned long)stream->number);
    if (status == 0) {
        status = graph->broken ? cudaErrorStreamCaptureInvalidated : code;
        for (int i = 1; i < graph->lane_count && status == 0; i++)
            if (graph->lanes[0].seen[i] < graph->lanes[i].ops)
                status = cudasim_fault(cudaErrorStreamCaptureUnjoined, "work of device %d is not waited for",
                                       graph->lanes[i].device);
        cudasim_end_capture(graph);
        graph->origin = NULL;
        if (status == 0)
            *out = graph;
        else {
            unlink_graph(graph);
            release_graph(graph);
        }
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *capture)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0)
        *capture = stream->capture == NULL    ? cudaStreamCaptureStatusNone
                   : !stream->capture->broken ? cudaStreamCaptureStatusActive
                                              : cudaStreamCaptureStatusInvalidated;
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

/* ---- replay ---- */

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t wanted, unsigned long long flags)
{
    CUDASIM_BEGIN();
    (void)flags;
    *out = NULL;
    cudasim_lock();
    cudaError_t status = cudaErrorInvalidValue;
    struct CUgraph_st *graph = find_graph(wanted);
    if (graph != NULL) {
        struct CUgraphExec_st *exec = calloc(1, sizeof *exec);
        if (exec == NULL)
            abort();
        exec->graph = graph;
        exec->records = calloc((size_t)graph->mark_count + 1, sizeof *exec->records);
        graph->references++;
        status = cudaSuccess;
        for (int i = 1; i < graph->lane_count && status == cudaSuccess; i++)
            status = cudasim_stream_open(graph->lanes[i].device, 0, &exec->streams[i]);
        for (int i = 1; i < graph->lane_count; i++)
            exec->streams[i]->inner = true;
        exec->next = executables;
        executables = exec;
        *out = exec;
    }
    cudasim_unlock();
    return cudasim_end(status);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    CUDASIM_BEGIN();
    (void)exec;
    cudasim_lock();
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

static bool still_there(const struct cudasim_op *op)
{
    for (int i = 0; i < op->use_count; i++)
        if (op->uses[i].memory != NULL && op->uses[i].memory->alias == NULL) {
            cudasim_fault(0, "the captured %s uses block %lu, which was freed", op->call.name,
                          (unsigned long)op->uses[i].memory->number);
            return false;
        }
    return true;
}

static int send_step(struct CUgraphExec_st *exec, const struct step *step, cudaStream_t stream)
{
    if (step->kind == STEP_MARK)
        cudasim_append_record(exec->records[step->mark], stream);
    else if (step->kind == STEP_WAIT)
        cudasim_append_wait(exec->records[step->mark], stream);
    else if (step->kind == STEP_RECORD) {
        cudasim_record_release(step->event->record);
        step->event->record = cudasim_record_create();
        step->event->capture = 0;
        cudasim_append_record(step->event->record, stream);
    } else if (!still_there(step->op))
        return cudaErrorInvalidValue;
    else
        return cudasim_append(cudasim_op_copy(step->op), stream);
    return 0;
}

/* In the order of the capture, so that each mark is sent before the waits for it. */
static int replay(struct CUgraphExec_st *exec, cudaStream_t stream)
{
    const struct CUgraph_st *graph = exec->graph;
    int next[LANES_MAX] = {0}, status = 0;
    for (int mark = 0; mark < graph->mark_count; mark++)
        exec->records[mark] = cudasim_record_create();
    for (int number = 0; number < graph->step_count; number++)
        for (int i = 0; i < graph->lane_count; i++) {
            const struct lane *lane = &graph->lanes[i];
            if (next[i] == lane->count || lane->steps[next[i]].number != number)
                continue;
            int code = send_step(exec, &lane->steps[next[i]++], i == 0 ? stream : exec->streams[i]);
            status = status != 0 ? status : code;
        }
    for (int mark = 0; mark < graph->mark_count; mark++)
        cudasim_record_release(exec->records[mark]);
    return status;
}

static struct CUgraphExec_st **find_executable(cudaGraphExec_t wanted)
{
    struct CUgraphExec_st **link = &executables;
    while (*link != NULL && *link != wanted)
        link = &(*link)->next;
    if (*link == NULL)
        cudasim_fault(0, "%p is not an executable graph, or no longer", (void *)wanted);
    return link;
}

/* One stream waits for the present of another. */
static void follow(cudaStream_t after, cudaStream_t before)
{
    struct cudasim_record *record = cudasim_record_create();
    cudasim_append_record(record, before);
    cudasim_append_wait(record, after);
    cudasim_record_release(record);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    CUDASIM_BEGIN();
    cudasim_lock();
    int status = cudasim_check_stream(stream, cudaErrorInvalidResourceHandle);
    if (status == 0 && *find_executable(exec) == NULL)
        status = cudaErrorInvalidValue;
    if (status == 0 && stream->capture != NULL)
        status = cudasim_fault(cudaErrorStreamCaptureUnsupported, "graphs within graphs");
    if (status == 0 && stream->device != exec->graph->lanes[0].device)
        status = cudasim_fault(cudaErrorInvalidValue, "captured on device %d, launched in a stream of device %d",
                               exec->graph->lanes[0].device, stream->device);
    if (status == 0) {
        for (int i = 1; i < exec->graph->lane_count; i++)
            follow(exec->streams[i], stream);
        status = replay(exec, stream);
        for (int i = 1; i < exec->graph->lane_count; i++)
            follow(stream, exec->streams[i]);
        cudasim_record_release(exec->last);
        exec->last = cudasim_record_create();
        cudasim_append_record(exec->last, stream);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)status);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    cudasim_lock();
    struct CUgraphExec_st **link = find_executable(exec);
    if (*link == NULL)
        code = cudaErrorInvalidValue;
    else {
        if (exec->last != NULL && !exec->last->done)
            code = cudasim_fault(cudaErrorInvalidValue, "the graph has work pending");
        else {
            *link = exec->next;
            for (int i = 1; i < exec->graph->lane_count; i++)
                cudasim_stream_close(exec->streams[i]);
            cudasim_record_release(exec->last);
            release_graph(exec->graph);
            free(exec->records);
            free(exec);
        }
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)code);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    cudasim_lock();
    if (find_graph(graph) == NULL)
        code = cudaErrorInvalidValue;
    else {
        unlink_graph(graph);
        release_graph(graph);
    }
    cudasim_unlock();
    return cudasim_end((cudaError_t)code);
}
