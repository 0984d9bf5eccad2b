/*
 * trace.h - who did what when: the common form of simulated and measured runs.
 *
 * Times are seconds from the start of the training loop. A trace has one lane per device and, for simulated or
 * asynchronous copies, one per link. Each lane is written by one thread; reading waits until the run is over.
 */
#ifndef SP_TRACE_H
#define SP_TRACE_H

#include "common/plan.h"

enum sp_span_kind {
    SP_SPAN_FORWARD,
    SP_SPAN_BACKWARD,
    SP_SPAN_UPDATE,
    SP_SPAN_EVALUATE,
    SP_SPAN_TRANSFER, /* a copy; on the link's lane */
    SP_SPAN_WAIT,     /* for a message; `payload` says which */
    SP_SPAN_KIND_COUNT
};

extern const char *const sp_span_kind_names[SP_SPAN_KIND_COUNT];

struct sp_span {
    double start_s, end_s;
    int64_t minibatch, version;
    int stage, microbatch;
    enum sp_span_kind kind;
    enum sp_payload payload; /* TRANSFER, WAIT */
};

/* What a lane amounts to; counted for every span, kept or not. */
struct sp_lane_total {
    double seconds[SP_SPAN_KIND_COUNT];
    double wait_s[SP_PAYLOAD_COUNT]; /* WAIT by what was waited for */
    double data_wait_s;              /* real runs: for the loader; not in `seconds` */
    int64_t count[SP_SPAN_KIND_COUNT];
};

struct sp_lane {
    char name[32]; /* "device 0", "link 0 -> 1" */
    struct sp_span *spans;
    int64_t count, capacity;
    struct sp_lane_total total;
};

struct sp_trace {
    int device_count; /* lanes 0 .. device_count-1 are devices */
    int lane_count;
    struct sp_lane *lanes;
};

/* Room for `spans_per_lane` spans in each lane, taken now; later spans are counted but not kept. */
sp_status sp_trace_create(int device_count, int link_count, int64_t spans_per_lane, struct sp_trace **out,
                          struct sp_error *err);
void sp_trace_destroy(struct sp_trace **trace);
void sp_trace_add(struct sp_trace *trace, int lane, const struct sp_span *span);

/* Seconds of evaluation on the device that has most of it: what the time of a training loop has beside training. */
double sp_trace_evaluation_s(const struct sp_trace *trace);

/* Busy seconds of a device: F, B, U and evaluation. */
double sp_trace_busy_s(const struct sp_trace *trace, int device);

/* Writes the Chrome trace event format (opens in Perfetto), each trace as a process of that name; and a CSV for the
 * plots with the columns lane,name,kind,stage,minibatch,microbatch,version,payload,start_s,end_s. Whole or not at all.
 */
struct sp_trace_process {
    const char *name;
    const struct sp_trace *trace;
};
sp_status sp_trace_write_chrome(const struct sp_trace_process *processes, int count, const char *path,
                                struct sp_error *err);
sp_status sp_trace_write_csv(const struct sp_trace *trace, const char *path, struct sp_error *err);

#endif
