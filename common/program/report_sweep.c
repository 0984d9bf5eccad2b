#include "common/program/report_sweep.h"
#include "common/alloc.h"
#include "common/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const engine_names[SWEEP_ENGINES] = {"sim", "real"};

static int engine_of(const char *name)
{
    return strcmp(name, engine_names[SWEEP_SIM]) == 0    ? SWEEP_SIM
           : strcmp(name, engine_names[SWEEP_REAL]) == 0 ? SWEEP_REAL
                                                         : -1;
}

static int metric_of(const char *name)
{
    for (int m = 0; m < SP_METRIC_COUNT; m++)
        if (strcmp(sp_metrics[m].name, name) == 0)
            return m;
    return -1;
}

/* Tables of figures have no commas and nothing that a shell reads. */
static void clean(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        bool plain = strchr(",\"'`$\\ ", *from) == NULL && (unsigned char)*from > 0x20;
        if (plain || (to > text && to[-1] != ' '))
            *to++ = *from;
        if (!plain && to > text)
            to[-1] = ' ';
    }
    *to = '\0';
}

static char *join(char *text, const char *more)
{
    char *longer = sp_format("%s%s%s", text, text[0] != '\0' && more[0] != '\0' ? " " : "", more);
    free(text);
    return longer;
}

const char *sweep_text(const struct sweep *sweep, const struct sweep_point *point, const char *column)
{
    int row = point->row[SWEEP_REAL] >= 0 ? point->row[SWEEP_REAL] : point->row[SWEEP_SIM];
    return row < 0 ? "" : sp_table_text(&sweep->results, row, sp_table_column(&sweep->results, column));
}

double sweep_number(const struct sweep *sweep, const struct sweep_point *point, const char *column)
{
    return sp_csv_number(sweep_text(sweep, point, column));
}

/* Whether a column has more than one value among the points. */
static bool varies(const struct sweep *sweep, const char *column)
{
    for (int p = 1; p < sweep->count; p++)
        if (strcmp(sweep_text(sweep, &sweep->points[p], column), sweep_text(sweep, &sweep->points[0], column)) != 0)
            return true;
    return false;
}

static struct sweep_point *find_point(struct sweep *sweep, double number)
{
    for (int p = 0; p < sweep->count; p++)
        if (sweep->points[p].number == number)
            return &sweep->points[p];
    return NULL;
}

static void clear_estimate(struct sweep_estimate *estimate)
{
    *estimate = (struct sweep_estimate){NAN, NAN, NAN, NAN, 0};
}

/* Phases as they are written make no label: "stale+sequential 50 %", the share of the first, says as much. */
static void shorten(const struct sweep *sweep, int row, struct sweep_point *point)
{
    const struct sp_table *results = &sweep->results;
    const char *schedule = sp_table_text(results, row, sp_table_column(results, "schedule"));
    double share = sp_table_number(results, row, sp_table_column(results, "first_phase_fraction"));
    char *from = strstr(point->label, "[{"), *end = from != NULL ? strstr(from, "}]") : NULL;
    if (end == NULL)
        return;
    char *phases = strchr(schedule, '+') != NULL && isfinite(share) ? sp_format("%s %.0f %%", schedule, 100 * share)
                                                                    : sp_strdup(schedule);
    char *label = sp_format("%.*s%s%s", (int)(from - point->label), point->label, phases, end + 2);
    free(phases);
    free(point->label);
    point->label = label;
}

static void read_points(struct sweep *sweep)
{
    const struct sp_table *results = &sweep->results;
    int point_column = sp_table_column(results, "point"), engine_column = sp_table_column(results, "engine");
    int status = sp_table_column(results, "status"), label = sp_table_column(results, "label");
    for (int r = 0; r < results->rows; r++) {
        double number = sp_table_number(results, r, point_column);
        int engine = engine_of(sp_table_text(results, r, engine_column));
        bool failed = strcmp(sp_table_text(results, r, status), "failed") == 0;
        sweep->failed += failed;
        if (engine < 0 || !(number >= 0 && number < 1e9))
            continue;
        sweep->asked = number >= sweep->asked ? (int)number + 1 : sweep->asked;
        if (failed)
            continue;
        struct sweep_point *point = find_point(sweep, number);
        if (point == NULL) {
            point = sp_grow((void **)&sweep->points, sweep->count++, sizeof *point);
            *point = (struct sweep_point){.number = (int)number, .row = {-1, -1}};
            point->label = sp_strdup(sp_table_text(results, r, label));
            clean(point->label);
            shorten(sweep, r, point);
        }
        if (point->row[engine] < 0)
            point->row[engine] = r;
        bool diverged = strcmp(sp_table_text(results, r, status), "diverged") == 0;
        point->diverged = point->diverged || diverged;
        sweep->diverged += diverged;
    }
}

static int by_number(const void *a, const void *b)
{
    const struct sweep_point *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Swept keys that a figure shows otherwise: as its axis, as its series, or not at all. */
static bool is_shown_otherwise(const char *key)
{
    static const char *const keys[] = {
        "pipeline.schedule", "pipeline.cuts", "pipeline.weights",   "pipeline.microbatches", "phases",     "network",
        "data.set",          "label",         "pipeline.placement", "devices.count",         "train.seed", "name",
        "published"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (strcmp(keys[k], key) == 0)
            return true;
    return false;
}

/* Whether points that are equal in one column differ in another: most schedules come with one policy of weights, and
 * what is zipped with the network is told by its name. */
static bool varies_within(const struct sweep *sweep, const struct sweep_point *point, const char *equal,
                          const char *other)
{
    for (int p = 0; p < sweep->count; p++)
        if (strcmp(sweep_text(sweep, &sweep->points[p], equal), sweep_text(sweep, point, equal)) == 0 &&
            strcmp(sweep_text(sweep, &sweep->points[p], other), sweep_text(sweep, point, other)) != 0)
            return true;
    return false;
}

/* What a point's panel and its series in a figure are called. */
static void name_point(const struct sweep *sweep, struct sweep_point *point)
{
    const struct sp_table *results = &sweep->results;
    point->panel = sp_strdup(sweep_text(sweep, point, "network"));
    for (int c = sp_table_column(results, "reason") + 1; c > 0 && c < results->columns; c++) {
        if (is_shown_otherwise(results->names[c]) || !varies_within(sweep, point, "network", results->names[c]))
            continue;
        const char *dot = strrchr(results->names[c], '.');
        char *more =
            sp_format("%s %s", dot != NULL ? dot + 1 : results->names[c], sweep_text(sweep, point, results->names[c]));
        point->panel = join(point->panel, more);
        free(more);
    }
    point->series = sp_strdup(sweep_text(sweep, point, "schedule"));
    if (varies_within(sweep, point, "schedule", "weights"))
        point->series = join(point->series, sweep_text(sweep, point, "weights"));
    if (varies(sweep, "microbatches") && sweep_number(sweep, point, "microbatches") > 1) {
        char *more = sp_format("M=%s", sweep_text(sweep, point, "microbatches"));
        point->series = join(point->series, more);
        free(more);
    }
    clean(point->panel);
    clean(point->series);
    int minibatches = sp_table_column(results, "minibatches");
    point->same_length = point->row[SWEEP_SIM] >= 0 && point->row[SWEEP_REAL] >= 0 &&
                         strcmp(sp_table_text(results, point->row[SWEEP_SIM], minibatches),
                                sp_table_text(results, point->row[SWEEP_REAL], minibatches)) == 0;
    point->is_hybrid = strchr(sweep_text(sweep, point, "schedule"), '+') != NULL;
    point->stages = sweep_number(sweep, point, "stages");
    point->devices = sweep_number(sweep, point, "devices");
    point->stale = sweep_number(sweep, point, "stale_weight_fraction");
    point->first_phase = sweep_number(sweep, point, "first_phase_fraction");
    for (int m = 0; m < SP_METRIC_COUNT; m++) {
        for (int e = 0; e < SWEEP_ENGINES; e++) {
            clear_estimate(&point->of[e][m]);
            clear_estimate(&point->change[e][m]);
            clear_estimate(&point->factor[e][m]);
        }
    }
}

/* An estimate from the columns MEAN, LOW, HIGH and PUBLISHED of a row. */
static struct sweep_estimate estimate_at(const struct sp_table *table, int row, const char *mean, const char *low,
                                         const char *high, const char *published)
{
    double n = sp_table_number(table, row, sp_table_column(table, "n"));
    return (struct sweep_estimate){sp_table_number(table, row, sp_table_column(table, mean)),
                                   sp_table_number(table, row, sp_table_column(table, low)),
                                   sp_table_number(table, row, sp_table_column(table, high)),
                                   sp_table_number(table, row, sp_table_column(table, published)),
                                   n >= 0 && n < 1e9 ? (int)n : 0};
}

/* The point of a row, by its number; NULL: none of it came to its end. Numbers are renewed when a sweep's lists are
 * edited, in results.csv before the others: its labels must be those of the same points. */
static sp_status point_of(struct sweep *sweep, const char *name, const struct sp_table *table, int row,
                          struct sweep_point **out, struct sp_error *err)
{
    *out = find_point(sweep, sp_table_number(table, row, sp_table_column(table, "point")));
    const char *label = sp_table_text(table, row, sp_table_column(table, "label"));
    if (*out == NULL || strcmp(label, sweep_text(sweep, *out, "label")) == 0)
        return SP_OK;
    char *path = report_path(sweep->folder, name);
    sp_status status =
        sp_reject(err, (struct sp_mark){path, table->lines[row], 1},
                  "point %d is \"%s\" here and \"%s\" in results.csv: the sweep was edited and has not been finished; "
                  "its command goes on with it",
                  (*out)->number, label, sweep_text(sweep, *out, "label"));
    free(path);
    return status;
}

static sp_status read_summary(struct sweep *sweep, struct sp_error *err)
{
    const struct sp_table *table = &sweep->summary;
    for (int r = 0; r < table->rows; r++) {
        struct sweep_point *point;
        SP_TRY(point_of(sweep, "summary.csv", table, r, &point, err));
        int engine = engine_of(sp_table_text(table, r, sp_table_column(table, "engine")));
        int metric = metric_of(sp_table_text(table, r, sp_table_column(table, "metric")));
        if (point != NULL && engine >= 0 && metric >= 0)
            point->of[engine][metric] = estimate_at(table, r, "mean", "low", "high", "published");
    }
    return SP_OK;
}

static sp_status read_comparisons(struct sweep *sweep, struct sp_error *err)
{
    const struct sp_table *table = &sweep->comparisons;
    for (int r = 0; r < table->rows; r++) {
        struct sweep_point *point;
        SP_TRY(point_of(sweep, "comparisons.csv", table, r, &point, err));
        int engine = engine_of(sp_table_text(table, r, sp_table_column(table, "engine")));
        int metric = metric_of(sp_table_text(table, r, sp_table_column(table, "metric")));
        bool prediction = strcmp(sp_table_text(table, r, sp_table_column(table, "kind")), "prediction") == 0;
        if (point == NULL || engine < 0 || metric < 0 || prediction)
            continue;
        point->factor[engine][metric] = estimate_at(table, r, "ratio", "ratio_low", "ratio_high", "published_ratio");
        point->change[engine][metric] =
            estimate_at(table, r, "difference", "difference_low", "difference_high", "published_difference");
    }
    return SP_OK;
}

/* Its rows are whole; the last may be torn where the file is appended to. */
static sp_status read_table(const char *folder, const char *name, bool appended, struct sp_table *out,
                            struct sp_error *err)
{
    char *path = report_path(folder, name);
    struct sp_mark mark = {.file = path, .column = 1};
    sp_status status = sp_table_read(path, out, err);
    if (status == SP_OK && (out->damaged > 0 || (out->torn && !appended))) {
        mark.line = out->damaged > 0 ? out->damaged : out->rows + 2;
        status = sp_reject(err, mark, "%s: the file is damaged; the sweep's command mends it",
                           out->damaged > 0 ? "not as many fields as the header has" : "no end of the line");
    }
    free(path);
    return status;
}

static sp_status read_table_if_there(const char *folder, const char *name, struct sp_table *out, struct sp_error *err)
{
    return report_has(folder, name) ? read_table(folder, name, false, out, err) : SP_OK;
}

bool sweep_is_finished(const char *folder)
{
    return report_has(folder, "summary.csv");
}

sp_status sweep_read(struct sweep *sweep, const char *folder, struct sp_error *err)
{
    *sweep = (struct sweep){.folder = sp_strdup(folder)};
    SP_TRY(read_table(folder, "results.csv", true, &sweep->results, err));
    if (!sweep_is_finished(folder))
        return sp_reject(err, (struct sp_mark){.file = folder},
                         "no summary.csv: the sweep has not been finished; its command goes on with it");
    SP_TRY(read_table(folder, "summary.csv", false, &sweep->summary, err));
    SP_TRY(read_table_if_there(folder, "comparisons.csv", &sweep->comparisons, err));
    SP_TRY(read_table_if_there(folder, "epochs.csv", &sweep->epochs, err));
    read_points(sweep);
    if (sweep->count == 0)
        return sp_reject(err, (struct sp_mark){.file = folder}, "no run in results.csv came to its end");
    qsort(sweep->points, (size_t)sweep->count, sizeof *sweep->points, by_number);
    for (int p = 0; p < sweep->count; p++)
        name_point(sweep, &sweep->points[p]);
    SP_TRY(read_summary(sweep, err));
    return read_comparisons(sweep, err);
}

void sweep_fini(struct sweep *sweep)
{
    for (int p = 0; p < sweep->count; p++) {
        free(sweep->points[p].label);
        free(sweep->points[p].panel);
        free(sweep->points[p].series);
    }
    free(sweep->points);
    free(sweep->folder);
    sp_table_fini(&sweep->results);
    sp_table_fini(&sweep->summary);
    sp_table_fini(&sweep->comparisons);
    sp_table_fini(&sweep->epochs);
    *sweep = (struct sweep){0};
}

double sweep_error(const struct sweep_point *point, enum sp_metric metric)
{
    bool comparable = metric != SP_METRIC_TIME || point->same_length;
    return comparable ? point->of[SWEEP_SIM][metric].mean / point->of[SWEEP_REAL][metric].mean - 1 : NAN;
}

bool sweep_has(const struct sweep *sweep, enum sweep_engine engine, enum sp_metric metric)
{
    for (int p = 0; p < sweep->count; p++)
        if (isfinite(sweep->points[p].of[engine][metric].mean))
            return true;
    return false;
}

bool sweep_has_change(const struct sweep *sweep, enum sp_metric metric)
{
    for (int p = 0; p < sweep->count; p++)
        if (isfinite(sweep->points[p].change[SWEEP_REAL][metric].mean))
            return true;
    return false;
}
