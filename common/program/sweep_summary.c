/*
 * What the runs of a sweep say together: means over repeats with confidence intervals, each point against the
 * reference in pairs of the same repeat, and predicted against measured.
 */
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"
#include "common/program/sweep.h"
#include "common/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double confidence = 0.95;

enum { ENGINES = 2, TABLE_ROWS = 100 };
static const char *const engine_names[ENGINES] = {"sim", "real"};

/* The column of each metric. */
static const enum sp_result columns[SP_METRIC_COUNT] = {
    [SP_METRIC_TIME] = SP_RESULT_TIME,
    [SP_METRIC_SAMPLES_PER_S] = SP_RESULT_SAMPLES_PER_S,
    [SP_METRIC_SPEEDUP] = SP_RESULT_SPEEDUP,
    [SP_METRIC_UTILIZATION] = SP_RESULT_UTILIZATION,
    [SP_METRIC_PEAK_BYTES] = SP_RESULT_PEAK_BYTES,
    [SP_METRIC_KEPT_BYTES] = SP_RESULT_KEPT_BYTES,
    [SP_METRIC_ACCURACY] = SP_RESULT_ACCURACY,
    [SP_METRIC_LOSS] = SP_RESULT_LOSS,
    [SP_METRIC_TEST_LOSS] = SP_RESULT_TEST_LOSS,
};

/* All figures: NAN where there is none. */
struct figures {
    const struct sweep *sweep;
    int repeats;
    double *values;       /* [((point * ENGINES + engine) * repeats + repeat) * SP_METRIC_COUNT + metric] */
    int64_t *minibatches; /* [(point * ENGINES + engine) * repeats + repeat]; 0: not known */
    int ok, diverged, failed;
    int gone;     /* runs whose folder is not there any more */
    char *reason; /* of the last that failed */
    FILE *epochs;
};

static size_t run_row(const struct figures *f, int point, int engine, int repeat)
{
    return ((size_t)point * ENGINES + (size_t)engine) * (size_t)f->repeats + (size_t)repeat;
}

static double *figure(const struct figures *f, int point, int engine, int repeat, int metric)
{
    return &f->values[run_row(f, point, engine, repeat) * SP_METRIC_COUNT + (size_t)metric];
}

/* The lines of the run's metrics.csv, behind what run they are of. */
static void copy_epochs(struct figures *f, char *const *fields)
{
    char *name = sp_format("%s/metrics.csv", fields[SP_RESULT_FOLDER]), *path = sweep_path(f->sweep, name), *text;
    size_t size;
    struct sp_error unread = {0};
    sp_status status = sp_file_read(path, (size_t)1 << 28, NULL, &text, &size, &unread);
    static const enum sp_result front[] = {SP_RESULT_POINT,
                                           SP_RESULT_LABEL,
                                           SP_RESULT_REPEAT,
                                           SP_RESULT_SEED,
                                           SP_RESULT_SCHEDULE,
                                           SP_RESULT_CUTS,
                                           SP_RESULT_STALE_WEIGHT_FRACTION};
    char *line = status == SP_OK ? strchr(text, '\n') : NULL;
    for (char *end; line != NULL && (end = strchr(++line, '\n')) != NULL; line = end) {
        for (size_t c = 0; c < sizeof front / sizeof *front; c++) {
            sp_csv_write(fields[front[c]], f->epochs);
            fputc(',', f->epochs);
        }
        fwrite(line, 1, (size_t)(end - line + 1), f->epochs);
    }
    if (status == SP_OK)
        free(text);
    f->gone += status != SP_OK;
    sp_error_fini(&unread);
    free(path);
    free(name);
}

static void take_row(void *self, char *const *fields)
{
    struct figures *f = self;
    const struct sweep_task *task = sweep_find(f->sweep, fields[SP_RESULT_ID]);
    const char *status = fields[SP_RESULT_STATUS];
    if (task == NULL)
        return;
    f->ok += strcmp(status, "ok") == 0;
    f->diverged += strcmp(status, "diverged") == 0;
    f->failed += strcmp(status, "failed") == 0;
    if (strcmp(status, "failed") == 0) {
        free(f->reason);
        f->reason = sp_strdup(fields[SP_RESULT_REASON]);
    }
    for (int m = 0; m < SP_METRIC_COUNT; m++)
        *figure(f, task->point, task->real, task->repeat, m) = sp_csv_number(fields[columns[m]]);
    f->minibatches[run_row(f, task->point, task->real, task->repeat)] = atoll(fields[SP_RESULT_MINIBATCHES]);
    if (task->real && strcmp(status, "failed") != 0)
        copy_epochs(f, fields);
}

/* The metric of a point over its repeats; returns how many there are. */
static int gather(const struct figures *f, int point, int engine, int metric, double *x)
{
    int n = 0;
    for (int r = 0; r < f->repeats; r++)
        if (!isnan(*figure(f, point, engine, r, metric)))
            x[n++] = *figure(f, point, engine, r, metric);
    return n;
}

static void put(double value, FILE *out)
{
    if (isfinite(value))
        fprintf(out, ",%.9g", value);
    else
        fputc(',', out);
}

/* Point, label, and what else begins a row. */
static void begin_row(const struct figures *f, int point, const char *kind, int engine, int metric, FILE *out)
{
    char *label = sp_sweep_label(f->sweep->points, point);
    fprintf(out, "%d,", point);
    sp_csv_write(label, out);
    fprintf(out, "%s,%s,%s", kind, engine_names[engine], sp_metrics[metric].name);
    free(label);
}

static sp_status write_summary(const struct figures *f, FILE *out, struct sp_error *err)
{
    double *x = sp_calloc((size_t)f->repeats, sizeof *x);
    sp_status status = SP_OK;
    fputs("point,label,engine,metric,unit,n,mean,low,high,deviation,published\n", out);
    for (int p = 0; p < f->sweep->points->point_count && status == SP_OK; p++) {
        struct sp_experiment *experiment;
        status = sp_sweep_experiment(f->sweep->points, p, 0, &experiment, err);
        for (int row = 0; status == SP_OK && row < ENGINES * SP_METRIC_COUNT; row++) {
            int engine = row / SP_METRIC_COUNT, m = row % SP_METRIC_COUNT;
            struct sp_mean mean = sp_mean_of(x, gather(f, p, engine, m, x), confidence);
            if (mean.n == 0)
                continue;
            begin_row(f, p, "", engine, m, out);
            fprintf(out, ",%s,%d", sp_metrics[m].unit, mean.n);
            put(mean.mean, out);
            put(mean.low, out);
            put(mean.high, out);
            put(mean.deviation, out);
            put(experiment->published[SP_PUBLISHED_VALUE][m], out);
            fputc('\n', out);
        }
        sp_experiment_destroy(&experiment);
    }
    free(x);
    return status;
}

/* Runs of other lengths take other times. */
static bool can_be_compared(const struct figures *f, size_t run, size_t other, int metric)
{
    return metric != SP_METRIC_TIME || f->minibatches[run] == f->minibatches[other];
}

/* A point on an engine, against another. A simulated figure is the same for every repeat. */
static struct sp_pairs compare(const struct figures *f, const int point[2], const int engine[2], int metric)
{
    double *x = sp_calloc(2 * (size_t)f->repeats, sizeof *x), *y = x + f->repeats;
    int n = 0;
    for (int r = 0; r < f->repeats; r++) {
        int repeat[2] = {engine[0] == 0 ? 0 : r, engine[1] == 0 ? 0 : r};
        double a = *figure(f, point[0], engine[0], repeat[0], metric);
        double b = *figure(f, point[1], engine[1], repeat[1], metric);
        bool again = engine[0] == 0 && engine[1] == 0 && r > 0;
        if (isnan(a) || isnan(b) || again ||
            !can_be_compared(f, run_row(f, point[0], engine[0], repeat[0]), run_row(f, point[1], engine[1], repeat[1]),
                             metric))
            continue;
        x[n] = a;
        y[n++] = b;
    }
    struct sp_pairs pairs = sp_pairs_of(x, y, n, confidence);
    free(x);
    return pairs;
}

static void write_comparison(const struct figures *f, const char *kind, const int point[2], const int engine[2], int m,
                             const struct sp_experiment *experiment, FILE *out)
{
    struct sp_pairs pairs = compare(f, point, engine, m);
    if (pairs.difference.n == 0)
        return;
    char *kind_and_reference = sp_format(",%s,%d", kind, point[1]);
    begin_row(f, point[0], kind_and_reference, engine[0], m, out);
    free(kind_and_reference);
    fprintf(out, ",%d", pairs.difference.n);
    const struct sp_mean *means[] = {&pairs.difference, &pairs.ratio};
    for (int i = 0; i < 2; i++) {
        put(means[i]->mean, out);
        put(means[i]->low, out);
        put(means[i]->high, out);
    }
    put(pairs.p, out);
    put(experiment != NULL ? experiment->published[SP_PUBLISHED_DIFFERENCE][m] : NAN, out);
    put(experiment != NULL ? experiment->published[SP_PUBLISHED_RATIO][m] : NAN, out);
    fputc('\n', out);
}

static sp_status write_comparisons(const struct figures *f, FILE *out, struct sp_error *err)
{
    sp_status status = SP_OK;
    fputs("point,label,kind,reference,engine,metric,n,difference,difference_low,difference_high,ratio,ratio_low,ratio_"
          "high,p,"
          "published_difference,published_ratio\n",
          out);
    for (int p = 0; p < f->sweep->points->point_count && status == SP_OK; p++) {
        struct sp_experiment *experiment;
        int other = sp_sweep_reference(f->sweep->points, p);
        status = sp_sweep_experiment(f->sweep->points, p, 0, &experiment, err);
        for (int row = 0; status == SP_OK && other >= 0 && row < ENGINES * SP_METRIC_COUNT; row++) {
            int engine = row / SP_METRIC_COUNT;
            write_comparison(f, "reference", (int[]){p, other}, (int[]){engine, engine}, row % SP_METRIC_COUNT,
                             experiment, out);
        }
        for (int m = 0; status == SP_OK && m < SP_METRIC_COUNT; m++)
            write_comparison(f, "prediction", (int[]){p, p}, (int[]){0, 1}, m, NULL, out);
        sp_experiment_destroy(&experiment);
    }
    return status;
}

static sp_status write_file(const struct figures *f, const char *name,
                            sp_status (*write)(const struct figures *, FILE *, struct sp_error *), struct sp_error *err)
{
    struct sp_file file;
    char *path = sweep_path(f->sweep, name);
    sp_status status = sp_file_begin(&file, path, err);
    free(path);
    if (status != SP_OK)
        return status;
    status = write(f, file.stream, err);
    if (status == SP_OK)
        return sp_file_commit(&file, err);
    sp_file_abort(&file);
    return status;
}

/* "1.65", "1.65 +-0.02", or nothing, in a cell. */
static void print_cell(const struct sp_mean *mean, double scale, int width)
{
    char text[64] = "";
    if (mean->n > 0 && isfinite(mean->mean) && isfinite(mean->low))
        snprintf(text, sizeof text, "%.4g (%.4g, %.4g)", scale * mean->mean, scale * mean->low, scale * mean->high);
    else if (mean->n > 0 && isfinite(mean->mean))
        snprintf(text, sizeof text, "%.4g", scale * mean->mean);
    printf("  %-*s", width, text[0] != '\0' ? text : "-");
}

/* A point on one engine: some means, and what the pairs with the reference say. False: it has no runs. */
static bool print_row(const struct figures *f, int point, int engine, double *x)
{
    static const struct {
        enum sp_metric metric;
        double scale;
    } cells[] = {{SP_METRIC_SAMPLES_PER_S, 1}, {SP_METRIC_SPEEDUP, 1}, {SP_METRIC_ACCURACY, 100}};
    char *label = sp_sweep_label(f->sweep->points, point);
    int other = sp_sweep_reference(f->sweep->points, point), n = gather(f, point, engine, SP_METRIC_TIME, x);
    if (n > 0)
        printf("%4d %-28.28s %-4s %3d", point, label, engine_names[engine], n);
    for (int c = 0; c < 3 && n > 0; c++) {
        struct sp_mean mean = sp_mean_of(x, gather(f, point, engine, cells[c].metric, x), confidence);
        print_cell(&mean, cells[c].scale, 22);
    }
    if (n > 0 && other >= 0) {
        struct sp_pairs time = compare(f, (int[]){point, other}, (int[]){engine, engine}, SP_METRIC_SAMPLES_PER_S);
        struct sp_pairs drop = compare(f, (int[]){point, other}, (int[]){engine, engine}, SP_METRIC_ACCURACY);
        print_cell(&time.ratio, 1, 22);
        print_cell(&drop.difference, 100, 22);
    }
    if (n > 0)
        puts("");
    free(label);
    return n > 0;
}

static void print_table(const struct figures *f)
{
    int rows = 0, p = 0;
    double *x = sp_calloc((size_t)f->repeats, sizeof *x);
    printf("%-33s %-4s %3s  %-22s  %-22s  %-22s", "point", "", "n", "samples/s (95 %)", "speedup", "test accuracy, %");
    puts(f->sweep->points->partner != NULL ? "  over the reference      accuracy against it, %" : "");
    for (; p < f->sweep->points->point_count && rows < TABLE_ROWS; p++)
        for (int engine = 0; engine < ENGINES; engine++)
            rows += print_row(f, p, engine, x);
    if (p < f->sweep->points->point_count)
        printf("... all of it in %s/summary.csv\n", f->sweep->folder);
    printf("%d runs ok", f->ok);
    if (f->diverged > 0)
        printf(", %d diverged", f->diverged);
    if (f->failed > 0)
        printf(", %d failed (see reason in results.csv)", f->failed);
    puts("");
    free(x);
}

static void print_json(const struct figures *f)
{
    program_print_json(json_pack("{s:s, s:s, s:i, s:{s:i, s:i, s:i}}", "name", f->sweep->base->name, "folder",
                                 f->sweep->folder, "points", f->sweep->points->point_count, "runs", "ok", f->ok,
                                 "diverged", f->diverged, "failed", f->failed));
}

/* Reads results.csv; epochs.csv is written on the way. */
static sp_status read_figures(struct figures *f, struct sp_error *err)
{
    struct sp_file epochs;
    char *path = sweep_path(f->sweep, "epochs.csv"), *results = sweep_path(f->sweep, "results.csv");
    sp_status status = sp_file_begin(&epochs, path, err);
    if (status == SP_OK) {
        f->epochs = epochs.stream;
        fputs("point,label,repeat,seed,schedule,cuts,stale_weight_fraction," PROGRAM_METRICS_COLUMNS "\n", f->epochs);
        status = sp_results_read(results, take_row, f, err);
        if (status == SP_OK)
            status = sp_file_commit(&epochs, err);
        else
            sp_file_abort(&epochs);
    }
    free(path);
    free(results);
    return status;
}

sp_status sweep_summarize(const struct sweep *sweep, bool print, struct sp_error *err)
{
    struct figures f = {.sweep = sweep, .repeats = sweep->points->repeat};
    size_t runs = (size_t)sweep->points->point_count * ENGINES * (size_t)f.repeats;
    f.minibatches = sp_calloc(runs, sizeof *f.minibatches);
    f.values = sp_calloc(runs * SP_METRIC_COUNT, sizeof *f.values);
    for (size_t i = 0; i < runs * SP_METRIC_COUNT; i++)
        f.values[i] = NAN;
    sp_status status = read_figures(&f, err);
    if (status == SP_OK)
        status = write_file(&f, "summary.csv", write_summary, err);
    if (status == SP_OK)
        status = write_file(&f, "comparisons.csv", write_comparisons, err);
    if (status == SP_OK && print && sweep->program->json)
        print_json(&f);
    else if (status == SP_OK && print)
        print_table(&f);
    if (status == SP_OK && print && f.gone > 0 && !sweep->program->quiet)
        fprintf(stderr,
                "%d of the runs have no metrics.csv in their folders any more: they are missing in epochs.csv\n",
                f.gone);
    if (status == SP_OK && print && f.failed > 0 && f.ok + f.diverged == 0)
        status = SP_FAIL(err, SP_E_UNSUPPORTED, "none of %d runs could be done; the last: %s", f.failed, f.reason);
    free(f.reason);
    free(f.minibatches);
    free(f.values);
    return status;
}
