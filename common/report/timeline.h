/*
 * timeline.h - a run's timeline.csv, read: for the page's interactive timeline, and for what instructions take.
 */
#ifndef SP_TIMELINE_H
#define SP_TIMELINE_H

#include "common/report/page.h"
#include "common/trace.h"

struct sp_timeline_span {
    struct sp_span span;
    int lane;
    bool has_payload;
};

struct sp_timeline {
    const char *label; /* "predicted", "measured" */
    int lane_count, device_count;
    char **lanes; /* names */
    struct sp_timeline_span *spans;
    int64_t count;
    int microbatches;        /* the largest number of one, and one more */
    int64_t minibatches;     /* that have begun */
    double *begins_s, end_s; /* first forward pass of each minibatch; end of the last span but evaluations */
};

/* Reads a file that sp_trace_write_csv wrote; `label` is borrowed. A damaged one: SP_E_INPUT with the line. Free with
 * sp_timeline_fini, also after a failure. */
sp_status sp_timeline_read(const char *path, const char *label, struct sp_timeline *out, struct sp_error *err);
void sp_timeline_fini(struct sp_timeline *timeline);

/* Puts a timeline that can be zoomed and pointed at on the page, from one side or two. */
void sp_page_timeline(struct sp_page *page, const struct sp_timeline *sides, int count);

/* Median seconds and number of a stage's instructions of a kind; count 0: none, and NAN. */
struct sp_timeline_median {
    double seconds;
    int64_t count;
};
struct sp_timeline_median sp_timeline_median(const struct sp_timeline *timeline, enum sp_span_kind kind, int stage);

#endif
