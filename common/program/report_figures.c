/*
 * The tables behind a sweep's figures, and the figures.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/program/report_sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A field with a comma before it; empty where it is not known. */
static void put(FILE *out, double x)
{
    if (isfinite(x))
        fprintf(out, ",%.9g", x);
    else
        fputc(',', out);
}

static void put_estimate(FILE *out, const struct sweep_estimate *estimate, double scale)
{
    put(out, scale * estimate->mean);
    put(out, scale * estimate->low);
    put(out, scale * estimate->high);
}

/* Each writes a table's header and rows, and returns how many rows. */
typedef int (*table_writer)(const struct sweep *sweep, FILE *out);

/* A sweep of the switch point alone has nothing to say about stages. */
static bool has_stages(const struct sweep *sweep)
{
    bool hybrid = false, several = false;
    for (int p = 0; p < sweep->count; p++) {
        hybrid = hybrid || sweep->points[p].is_hybrid;
        several = several || sweep->points[p].stages != sweep->points[0].stages;
    }
    return several || !hybrid;
}

static int write_stages(const struct sweep *sweep, enum sp_metric metric, FILE *out)
{
    int rows = 0;
    if (!has_stages(sweep))
        return 0;
    fputs("panel,series,stages,devices,predicted,predicted_low,predicted_high,measured,measured_low,measured_high\n",
          out);
    for (int p = 0; p < sweep->count; p++) {
        const struct sweep_point *point = &sweep->points[p];
        const struct sweep_estimate *predicted = &point->of[SWEEP_SIM][metric];
        const struct sweep_estimate *measured = &point->of[SWEEP_REAL][metric];
        if (point->is_hybrid || (!isfinite(predicted->mean) && !isfinite(measured->mean)) || !isfinite(point->stages) ||
            !isfinite(point->devices))
            continue;
        fprintf(out, "%s,%s,%.0f,%.0f", point->panel, point->series, point->stages, point->devices);
        put_estimate(out, predicted, 1);
        put_estimate(out, measured, 1);
        fputc('\n', out);
        rows++;
    }
    return rows;
}

static int write_speedup(const struct sweep *sweep, FILE *out)
{
    return write_stages(sweep, SP_METRIC_SPEEDUP, out);
}

static int write_utilization(const struct sweep *sweep, FILE *out)
{
    return write_stages(sweep, SP_METRIC_UTILIZATION, out);
}

static int write_memory(const struct sweep *sweep, FILE *out)
{
    int rows = 0;
    fputs("label", out);
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
        fprintf(out, ",%s", sp_memory_kind_names[k]);
    fputc('\n', out);
    for (int p = 0; p < sweep->count; p++) {
        const struct sweep_point *point = &sweep->points[p];
        double bytes[SP_MEMORY_KIND_COUNT];
        bool known = true;
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
            char *column = sp_format("%s_bytes", sp_memory_kind_names[k]);
            bytes[k] = sweep_number(sweep, point, column);
            known = known && isfinite(bytes[k]);
            free(column);
        }
        if (!known)
            continue;
        fputs(point->label, out);
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
            fprintf(out, ",%.0f", bytes[k]);
        fputc('\n', out);
        rows++;
    }
    return rows;
}

/* Whether an earlier point has the same series and as many stages: its staleness is the same. */
static bool is_repeated(const struct sweep *sweep, int which)
{
    for (int p = 0; p < which; p++)
        if (sweep->points[p].stages == sweep->points[which].stages &&
            strcmp(sweep->points[p].series, sweep->points[which].series) == 0)
            return true;
    return false;
}

/* One stage's staleness of the list in a row's cell, "4 2 0"; NAN: the row or the list has none. */
static double staleness_at(const struct sweep *sweep, int row, int stage)
{
    if (row < 0)
        return NAN;
    const char *at = sp_table_text(&sweep->results, row, sp_table_column(&sweep->results, "staleness"));
    for (int i = 0;; i++) {
        char *end;
        double x = strtod(at, &end);
        if (end == at)
            return NAN;
        if (i == stage)
            return x;
        at = end;
    }
}

/* Of each schedule, the pipeline with the most stages: shorter ones are the ends of it. */
static int write_staleness(const struct sweep *sweep, FILE *out)
{
    int rows = 0;
    fputs("series,stage,predicted,measured\n", out);
    for (int p = 0; p < sweep->count; p++) {
        const struct sweep_point *point = &sweep->points[p];
        bool longest = !is_repeated(sweep, p) && !point->is_hybrid && point->stages > 1;
        for (int q = 0; q < sweep->count && longest; q++)
            longest = strcmp(sweep->points[q].series, point->series) != 0 || sweep->points[q].is_hybrid ||
                      sweep->points[q].stages <= point->stages;
        for (int i = 0; i < point->stages && longest; i++) {
            fprintf(out, "%s,%d", point->series, i);
            put(out, staleness_at(sweep, point->row[SWEEP_SIM], i));
            put(out, staleness_at(sweep, point->row[SWEEP_REAL], i));
            fputc('\n', out);
            rows++;
        }
    }
    return rows;
}

static int write_curves(const struct sweep *sweep, FILE *out)
{
    static const char *const columns[] = {"epoch", "accuracy", "loss", "test_loss", "time_s"};
    const struct sp_table *epochs = &sweep->epochs;
    int point_column = epochs->columns > 0 ? sp_table_column(epochs, "point") : -1, rows = 0;
    fputs("run,epoch,accuracy,loss,test_loss,time_s\n", out);
    for (int r = 0; r < epochs->rows && point_column >= 0; r++) {
        const char *label = NULL;
        for (int p = 0; p < sweep->count; p++)
            if (sweep->points[p].number == sp_table_number(epochs, r, point_column))
                label = sweep->points[p].label;
        if (label == NULL || !isfinite(sp_table_number(epochs, r, sp_table_column(epochs, "accuracy"))))
            continue;
        fputs(label, out);
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
            put(out, sp_table_number(epochs, r, sp_table_column(epochs, columns[c])));
        fputc('\n', out);
        rows++;
    }
    return rows;
}

static int write_drop(const struct sweep *sweep, FILE *out)
{
    int rows = 0;
    fputs("series,stale_percent,drop,drop_low,drop_high,published\n", out);
    for (int p = 0; p < sweep->count; p++) {
        const struct sweep_point *point = &sweep->points[p];
        const struct sweep_estimate *change = &point->change[SWEEP_REAL][SP_METRIC_ACCURACY];
        if (!isfinite(change->mean) || !isfinite(point->stale))
            continue;
        fprintf(out, "%s%s,%.6g", point->panel, point->is_hybrid ? " hybrid" : "", 100 * point->stale);
        put(out, -100 * change->mean);
        put(out, -100 * change->high);
        put(out, -100 * change->low);
        put(out, -100 * change->published);
        fputc('\n', out);
        rows++;
    }
    return rows;
}

/* Hybrid points, with their two ends: the same cuts by either schedule alone. */
static int write_hybrid(const struct sweep *sweep, FILE *out)
{
    int rows = 0, hybrids = 0;
    fputs("series,switch_percent,accuracy,accuracy_low,accuracy_high,predicted,measured,measured_low,measured_high\n",
          out);
    for (int p = 0; p < sweep->count; p++)
        hybrids += sweep->points[p].is_hybrid;
    for (int p = 0; p < sweep->count && hybrids > 0; p++) {
        const struct sweep_point *point = &sweep->points[p];
        bool sequential = strcmp(sweep_text(sweep, point, "schedule"), "sequential") == 0;
        double at = point->is_hybrid ? 100 * point->first_phase : sequential ? 0 : 100;
        if (!isfinite(at))
            continue;
        fprintf(out, "%s,%.6g", point->panel, at);
        put_estimate(out, &point->of[SWEEP_REAL][SP_METRIC_ACCURACY], 100);
        put(out, point->of[SWEEP_SIM][SP_METRIC_SPEEDUP].mean);
        put_estimate(out, &point->of[SWEEP_REAL][SP_METRIC_SPEEDUP], 1);
        fputc('\n', out);
        rows++;
    }
    return rows;
}

static int write_prediction(const struct sweep *sweep, FILE *out)
{
    static const struct {
        const char *name;
        enum sp_metric metric;
        double scale;
    } quantities[] = {{"time (s)", SP_METRIC_TIME, 1},
                      {"speedup", SP_METRIC_SPEEDUP, 1},
                      {"utilization (%)", SP_METRIC_UTILIZATION, 100},
                      {"memory (MiB)", SP_METRIC_PEAK_BYTES, 1.0 / (1 << 20)}};
    int rows = 0;
    fputs("quantity,series,predicted,measured,measured_low,measured_high\n", out);
    for (size_t q = 0; q < sizeof quantities / sizeof *quantities; q++)
        for (int p = 0; p < sweep->count; p++) {
            const struct sweep_point *point = &sweep->points[p];
            const struct sweep_estimate *predicted = &point->of[SWEEP_SIM][quantities[q].metric];
            const struct sweep_estimate *measured = &point->of[SWEEP_REAL][quantities[q].metric];
            if (!isfinite(predicted->mean) || !isfinite(measured->mean) ||
                (quantities[q].metric == SP_METRIC_TIME && !point->same_length))
                continue;
            fprintf(out, "%s,%s", quantities[q].name, point->series);
            put(out, quantities[q].scale * predicted->mean);
            put_estimate(out, measured, quantities[q].scale);
            fputc('\n', out);
            rows++;
        }
    return rows;
}

/* One row of published.csv; false: nothing was published. */
static bool put_published(FILE *out, const struct sweep_point *point, const char *quantity, double scale, double shift,
                          const struct sweep_estimate of[SWEEP_ENGINES])
{
    double published = isfinite(of[SWEEP_REAL].published) ? of[SWEEP_REAL].published : of[SWEEP_SIM].published;
    if (!isfinite(published))
        return false;
    fprintf(out, "%s,%s", quantity, point->label);
    put(out, scale * published + shift);
    put(out, scale * of[SWEEP_SIM].mean + shift);
    put(out, scale * of[SWEEP_REAL].mean + shift);
    put(out, scale * of[SWEEP_REAL].low + shift);
    put(out, scale * of[SWEEP_REAL].high + shift);
    fputc('\n', out);
    return true;
}

int sweep_write_published(const struct sweep *sweep, FILE *out)
{
    static const struct {
        const char *value, *change, *factor; /* what they are called, with their units */
        double scale;
    } quantities[SP_METRIC_COUNT] = {
        [SP_METRIC_TIME] = {"time (s)", "more time (s)", "time over the reference", 1},
        [SP_METRIC_SAMPLES_PER_S] = {"samples a second", "more samples a second", "throughput over the reference", 1},
        [SP_METRIC_SPEEDUP] = {"speedup", "more speedup", "speedup over the reference", 1},
        [SP_METRIC_UTILIZATION] = {"utilization (%)", "more utilization (% points)", "utilization over the reference",
                                   100},
        [SP_METRIC_PEAK_BYTES] = {"memory (MiB)", "more memory (MiB)", "more memory (%)", 1.0 / (1 << 20)},
        [SP_METRIC_KEPT_BYTES] = {"kept memory (MiB)", "more kept memory (MiB)", "more kept memory (%)",
                                  1.0 / (1 << 20)},
        [SP_METRIC_ACCURACY] = {"test accuracy (%)", "change of accuracy (% points)", "accuracy over the reference",
                                100},
        [SP_METRIC_LOSS] = {"training loss", "more training loss", "training loss over the reference", 1},
        [SP_METRIC_TEST_LOSS] = {"test loss", "more test loss", "test loss over the reference", 1},
    };
    int rows = 0;
    for (int m = 0; m < SP_METRIC_COUNT; m++)
        for (int form = 0; form < SP_PUBLISHED_COUNT; form++)
            for (int p = 0; p < sweep->count; p++) {
                const struct sweep_point *point = &sweep->points[p];
                struct sweep_estimate of[SWEEP_ENGINES];
                bool is_bytes = m == SP_METRIC_PEAK_BYTES || m == SP_METRIC_KEPT_BYTES;
                for (int e = 0; e < SWEEP_ENGINES; e++)
                    of[e] = form == SP_PUBLISHED_VALUE        ? point->of[e][m]
                            : form == SP_PUBLISHED_DIFFERENCE ? point->change[e][m]
                                                              : point->factor[e][m];
                if (form == SP_PUBLISHED_RATIO) /* bytes: as an increase in per cent */
                    rows +=
                        put_published(out, point, quantities[m].factor, is_bytes ? 100 : 1, is_bytes ? -100 : 0, of);
                else
                    rows += put_published(out, point,
                                          form == SP_PUBLISHED_VALUE ? quantities[m].value : quantities[m].change,
                                          quantities[m].scale, 0, of);
            }
    return rows;
}

static int write_published(const struct sweep *sweep, FILE *out)
{
    fputs("quantity,label,published,predicted,measured,measured_low,measured_high\n", out);
    return sweep_write_published(sweep, out);
}

/* --- the figures ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *name; /* of script, table and picture */
    table_writer write;
    const char *caption;
} figures[] = {
    {"published", write_published, "What was published, predicted and measured."},
    {"speedup", write_speedup,
     "Speedup over one device against the number of stages. The grey marks are the number of devices."},
    {"utilization-stages", write_utilization, "The share of the time in which the devices compute, mean of all."},
    {"prediction", write_prediction,
     "Predicted against measured: half of the points are in the dark band, nine in ten in the light one."},
    {"drop", write_drop,
     "Test accuracy lost against the reference of the same seed, over the share of the weights that are stale."},
    {"hybrid", write_hybrid, "Pipelined first, then sequentially: accuracy and speedup over the switch point."},
    {"curves", write_curves, "Test accuracy against epochs, mean of the seeds."},
    {"curves-time", write_curves, "Test accuracy against the time that it took."},
    {"memory-points", write_memory, "Memory of all devices by kind."},
    {"staleness", write_staleness,
     "How many updates old the weights are that a minibatch meets; the longest pipeline of each schedule."},
};

/* Writes a table; *rows as `write` says. */
static sp_status write_table(const struct sweep *sweep, table_writer write, const char *path, int *rows,
                             struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    *rows = write(sweep, file.stream);
    if (*rows > 0)
        return sp_file_commit(&file, err);
    sp_file_abort(&file);
    return SP_OK;
}

sp_status sweep_write_figures(struct report *report, const struct sweep *sweep, struct sp_error *err)
{
    sp_status status = SP_OK;
    fputs("<div class=\"figures\">\n", report->page.out);
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++) {
        char *name = sp_format("%s.csv", figures[f].name), *path = report_path(report->figures, name);
        int rows = 0;
        sp_status written = write_table(sweep, figures[f].write, path, &rows, err);
        if (written != SP_OK)
            status = written;
        if (written == SP_OK && rows > 0)
            report_draw(report, &(struct report_figure){figures[f].name, figures[f].name, "csv", path, path,
                                                        figures[f].caption});
        free(name);
        free(path);
    }
    fputs("</div>\n", report->page.out);
    return status;
}
