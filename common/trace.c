/*
 * trace.c - lanes of spans, counted as they come, and their two file forms.
 */
#include "common/trace.h"

#include "common/alloc.h"
#include "common/file.h"

#include <inttypes.h>
#include <stdlib.h>

const char *const sp_span_kind_names[SP_SPAN_KIND_COUNT] = {
    [SP_SPAN_FORWARD] = "forward",   [SP_SPAN_BACKWARD] = "backward", [SP_SPAN_UPDATE] = "update",
    [SP_SPAN_EVALUATE] = "evaluate", [SP_SPAN_TRANSFER] = "transfer", [SP_SPAN_WAIT] = "wait",
};

sp_status sp_trace_create(int device_count, int link_count, int64_t spans_per_lane, struct sp_trace **out,
                          struct sp_error *err)
{
    struct sp_trace *trace = sp_calloc(1, sizeof *trace);
    *out = NULL;
    trace->device_count = device_count;
    trace->lane_count = device_count + link_count;
    trace->lanes = sp_calloc((size_t)trace->lane_count, sizeof *trace->lanes);
    for (int i = 0; i < trace->lane_count; i++) {
        struct sp_lane *lane = &trace->lanes[i];
        bool device = i < device_count;
        snprintf(lane->name, sizeof lane->name, device ? "device %d" : "link %d", device ? i : i - device_count);
        if (spans_per_lane <= 0)
            continue;
        lane->spans = calloc((size_t)spans_per_lane, sizeof *lane->spans);
        if (!lane->spans) {
            sp_trace_destroy(&trace);
            return SP_FAIL(err, SP_E_MEMORY, "no memory for %" PRId64 " trace spans in each of %d lanes",
                           spans_per_lane, device_count + link_count);
        }
        lane->capacity = spans_per_lane;
    }
    *out = trace;
    return SP_OK;
}

void sp_trace_destroy(struct sp_trace **trace)
{
    if (!*trace)
        return;
    for (int i = 0; i < (*trace)->lane_count; i++)
        free((*trace)->lanes[i].spans);
    free((*trace)->lanes);
    free(*trace);
    *trace = NULL;
}

void sp_trace_add(struct sp_trace *trace, int lane_index, const struct sp_span *span)
{
    struct sp_lane *lane = &trace->lanes[lane_index];
    double seconds = span->end_s - span->start_s;
    lane->total.seconds[span->kind] += seconds;
    lane->total.count[span->kind]++;
    if (span->kind == SP_SPAN_WAIT)
        lane->total.wait_s[span->payload] += seconds;
    if (lane->count < lane->capacity)
        lane->spans[lane->count++] = *span;
}

double sp_trace_evaluation_s(const struct sp_trace *trace)
{
    double most = 0;
    for (int d = 0; d < trace->device_count; d++)
        if (trace->lanes[d].total.seconds[SP_SPAN_EVALUATE] > most)
            most = trace->lanes[d].total.seconds[SP_SPAN_EVALUATE];
    return most;
}

double sp_trace_busy_s(const struct sp_trace *trace, int device)
{
    const double *seconds = trace->lanes[device].total.seconds;
    return seconds[SP_SPAN_FORWARD] + seconds[SP_SPAN_BACKWARD] + seconds[SP_SPAN_UPDATE] + seconds[SP_SPAN_EVALUATE];
}

static bool has_payload(const struct sp_span *span)
{
    return span->kind == SP_SPAN_TRANSFER || span->kind == SP_SPAN_WAIT;
}

/* A JSON string with its quotes; control characters become spaces. */
static void write_quoted(FILE *stream, const char *text)
{
    putc('"', stream);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putc('\\', stream);
        putc((unsigned char)*text < 0x20 ? ' ' : *text, stream);
    }
    putc('"', stream);
}

static void write_chrome_span(FILE *stream, int process, int thread, const struct sp_span *span)
{
    const char *payload = has_payload(span) ? sp_payload_names[span->payload] : "";
    fprintf(stream,
            ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"name\":\"%d %s%s%s %" PRId64 "\",\"cat\":\"%s\","
            "\"ts\":%.6f,\"dur\":%.6f,\"args\":{\"stage\":%d,\"minibatch\":%" PRId64
            ",\"microbatch\":%d,\"version\":%" PRId64 "}}",
            process, thread, span->stage, sp_span_kind_names[span->kind], *payload ? " " : "", payload, span->minibatch,
            sp_span_kind_names[span->kind], span->start_s * 1e6, (span->end_s - span->start_s) * 1e6, span->stage,
            span->minibatch, span->microbatch, span->version);
}

/* A name and a place in the viewer's order, of a process (thread 0) or of a thread. */
static void write_chrome_names(FILE *stream, int process, int thread, const char *name)
{
    const char *what = thread == 0 ? "process" : "thread";
    bool is_first = process == 1 && thread == 0;
    int id = thread == 0 ? 1 : thread;
    fprintf(stream,
            "%s{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s_name\",\"args\":{\"name\":", is_first ? "" : ",\n",
            process, id, what);
    write_quoted(stream, name);
    fprintf(stream, "}},\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s_sort_index\",\"args\":{\"sort_index\":%d}}",
            process, id, what, thread == 0 ? process : thread);
}

sp_status sp_trace_write_chrome(const struct sp_trace_process *processes, int count, const char *path,
                                struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", file.stream);
    for (int p = 0; p < count; p++) { /* numbers from 1: Perfetto keeps process 0 and thread 0 for the kernel's */
        const struct sp_trace *trace = processes[p].trace;
        write_chrome_names(file.stream, p + 1, 0, processes[p].name);
        for (int i = 0; i < trace->lane_count; i++) {
            write_chrome_names(file.stream, p + 1, i + 1, trace->lanes[i].name);
            for (int64_t k = 0; k < trace->lanes[i].count; k++)
                write_chrome_span(file.stream, p + 1, i + 1, &trace->lanes[i].spans[k]);
        }
    }
    fputs("\n]}\n", file.stream);
    return sp_file_commit(&file, err);
}

sp_status sp_trace_write_csv(const struct sp_trace *trace, const char *path, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("lane,name,kind,stage,minibatch,microbatch,version,payload,start_s,end_s\n", file.stream);
    for (int i = 0; i < trace->lane_count; i++)
        for (int64_t k = 0; k < trace->lanes[i].count; k++) {
            const struct sp_span *span = &trace->lanes[i].spans[k];
            fprintf(file.stream, "%d,%s,%s,%d,%" PRId64 ",%d,%" PRId64 ",%s,%.9g,%.9g\n", i, trace->lanes[i].name,
                    sp_span_kind_names[span->kind], span->stage, span->minibatch, span->microbatch, span->version,
                    has_payload(span) ? sp_payload_names[span->payload] : "", span->start_s, span->end_s);
        }
    return sp_file_commit(&file, err);
}
