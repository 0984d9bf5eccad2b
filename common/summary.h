/*
 * summary.h - what a run came to: the stable JSON of `sim`, `train` and `compare`.
 *
 * Both engines fill the same struct, so that predicted and measured can be held against each other key by key.
 */
#ifndef SP_SUMMARY_H
#define SP_SUMMARY_H

#include "common/analysis.h"
#include "common/memory.h"
#include "common/plan.h"
#include "common/trace.h"

#include <jansson.h>

/* What a device waits for. */
enum sp_wait {
    SP_WAIT_INPUT,    /* activations from upstream: starved of input */
    SP_WAIT_GRADIENT, /* gradients from downstream */
    SP_WAIT_BUFFER,   /* a buffer that the receiver has not given back */
    SP_WAIT_WEIGHTS,  /* weights and stash from the stage's other device */
    SP_WAIT_DATA,     /* the loader (real runs) */
    SP_WAIT_COUNT
};
extern const char *const sp_wait_names[SP_WAIT_COUNT];      /* the JSON keys */
extern const enum sp_wait sp_wait_causes[SP_PAYLOAD_COUNT]; /* what a message is waited for as */

/* The waits of a lane, by cause. */
void sp_waits_of(const struct sp_lane_total *total, double wait_s[SP_WAIT_COUNT]);

struct sp_device_summary {
    double wait_s[SP_WAIT_COUNT];
    double utilization, busy_s;
    size_t bytes[SP_MEMORY_KIND_COUNT], peak_bytes;
};

struct sp_stage_summary {
    int first_layer, last_layer; /* weight layers, as in the PPV */
    int64_t parameters, forward_staleness, backward_staleness, in_flight;
};

struct sp_epoch_summary {
    int epoch;                            /* 1-based */
    int64_t minibatch;                    /* training minibatches done */
    double loss, accuracy;                /* training loss of the epoch (mean), test accuracy 0 .. 1 */
    double test_loss, time_s;             /* time since the start of the training loop */
    double train_accuracy, samples_per_s; /* of the epoch; samples a second without the time of evaluation */
    int64_t staleness;                    /* largest forward staleness of any stage so far, in updates */
};

/* A device in one epoch, from one evaluation's end to the next one's. */
struct sp_epoch_device {
    double utilization; /* F, B and U over the time without evaluation */
    double wait_s[SP_WAIT_COUNT];
};

/* Where nine in ten of many simulated runs lie, and the one in the middle. */
struct sp_interval {
    double low, median, high;
};

/* What the user should know of a prediction. */
struct sp_summary_note {
    char *kind, *text;
};

struct sp_summary {
    char *name, *network, *schedule;
    int *cuts, cut_count;
    int batch;
    int64_t minibatches;
    double time_s, samples_per_s;
    double speedup; /* NAN: not known (null) */
    double utilization, stale_weight_fraction;
    int device_count, stage_count;
    struct sp_device_summary *devices;
    struct sp_stage_summary *stages;
    bool real;             /* has the keys below */
    double accuracy, loss; /* NAN: not evaluated */
    int epoch_count;
    struct sp_epoch_summary *epochs;
    struct sp_epoch_device *epoch_devices; /* [epoch * device_count + device] */
    int repeats;                           /* simulated runs whose durations varied; 0: none */
    struct sp_interval time_interval, speedup_interval, utilization_interval;
    struct sp_summary_note *notes;
    int note_count;
};

/* Fills everything that follows from plan, memory, analysis (staleness as predicted) and a finished trace. */
void sp_summary_init(struct sp_summary *summary, const char *name, const struct sp_plan *plan, const int *cuts,
                     int cut_count, const struct sp_memory_plan *memory, const struct sp_analysis *analysis,
                     const struct sp_trace *trace, double time_s);
void sp_summary_fini(struct sp_summary *summary);

/* The JSON object of the design: a new reference. NAN becomes null. */
json_t *sp_summary_json(const struct sp_summary *summary);

/* Adds a note; copies the words. */
void sp_summary_add_note(struct sp_summary *summary, const char *kind, const char *text);

/* {predicted, measured, error: {time, speedup, utilization, peak_bytes}}; errors are (predicted - measured) / measured,
 * null where a side is not known. peak_bytes compares the sums over devices. With intervals also {within: {time_s,
 * speedup, utilization}}: whether what was measured lies in them. */
json_t *sp_summary_compare_json(const struct sp_summary *predicted, const struct sp_summary *measured);

#endif
