#include "common/metrics.h"

const struct sp_metric_info sp_metrics[SP_METRIC_COUNT] = {
    [SP_METRIC_TIME] = {"time_s", "s"},           [SP_METRIC_SAMPLES_PER_S] = {"samples_per_s", "1/s"},
    [SP_METRIC_SPEEDUP] = {"speedup", ""},        [SP_METRIC_UTILIZATION] = {"utilization", "0..1"},
    [SP_METRIC_PEAK_BYTES] = {"peak_bytes", "B"}, [SP_METRIC_KEPT_BYTES] = {"kept_bytes", "B"},
    [SP_METRIC_ACCURACY] = {"accuracy", "0..1"},  [SP_METRIC_LOSS] = {"loss", ""},
    [SP_METRIC_TEST_LOSS] = {"test_loss", ""},
};

const char *const sp_published_endings[SP_PUBLISHED_COUNT] = {"", "_difference", "_ratio"};
