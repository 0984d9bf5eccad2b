/*
 * metrics.h - the figures of a run that are averaged over repeats and compared: one list, used by results, summaries
 * and the published figures beside them.
 */
#ifndef SP_METRICS_H
#define SP_METRICS_H

enum sp_metric {
    SP_METRIC_TIME,
    SP_METRIC_SAMPLES_PER_S,
    SP_METRIC_SPEEDUP,
    SP_METRIC_UTILIZATION,
    SP_METRIC_PEAK_BYTES,
    SP_METRIC_KEPT_BYTES,
    SP_METRIC_ACCURACY,
    SP_METRIC_LOSS,
    SP_METRIC_TEST_LOSS,
    SP_METRIC_COUNT
};

/* Names are those of columns in results.csv. */
extern const struct sp_metric_info {
    const char *name, *unit;
} sp_metrics[SP_METRIC_COUNT];

/* A published figure is the metric itself, its difference from the sweep's reference, or its ratio to that. */
enum sp_published { SP_PUBLISHED_VALUE, SP_PUBLISHED_DIFFERENCE, SP_PUBLISHED_RATIO, SP_PUBLISHED_COUNT };
extern const char *const sp_published_endings[SP_PUBLISHED_COUNT]; /* "", "_difference", "_ratio" */

#endif
