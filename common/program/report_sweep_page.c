/*
 * The page of a sweep.
 */
#include "common/alloc.h"
#include "common/program/program.h"
#include "common/program/report_sweep.h"

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 200 };

/* The point with the largest figure (sign 1) or the least (-1), of those that did not diverge; NULL: there is none. */
static const struct sweep_point *best(const struct sweep *sweep, enum sweep_engine engine, enum sp_metric metric,
                                      int sign)
{
    const struct sweep_point *found = NULL;
    for (int p = 0; p < sweep->count; p++) {
        double x = sweep->points[p].of[engine][metric].mean;
        if (isfinite(x) && !sweep->points[p].diverged &&
            (found == NULL || sign * x > sign * found->of[engine][metric].mean))
            found = &sweep->points[p];
    }
    return found;
}

char *sweep_with_interval(const struct sweep_estimate *e, double scale, const char *unit)
{
    char mean[32], low[32], high[32];
    double first = scale > 0 ? e->low : e->high, last = scale > 0 ? e->high : e->low;
    report_real(scale * e->mean, mean);
    if (!isfinite(e->mean))
        return sp_strdup("-");
    if (!isfinite(e->low))
        return sp_format("%s%s", mean, unit);
    return sp_format("%s%s (%s to %s)", mean, unit, report_real(scale * first, low), report_real(scale * last, high));
}

/* --- the words ------------------------------------------------------------------------------------------------- */

static void write_fastest(struct report *report, const struct sweep *sweep, enum sweep_engine engine,
                          enum sp_metric metric)
{
    const struct sweep_point *fastest = best(sweep, engine, metric, 1);
    const struct sweep_point *predicted = best(sweep, SWEEP_SIM, metric, 1);
    if (fastest == NULL) {
        sp_page_say(&report->page, "p",
                    "The training of every point diverged: a lower train.lr or a warm-up may help.");
        return;
    }
    const char *what = metric == SP_METRIC_SPEEDUP ? "times as fast as one device" : "samples a second";
    char *value = sweep_with_interval(&fastest->of[engine][metric], 1, ""), *also = sp_strdup("");
    if (engine == SWEEP_REAL && predicted != NULL) {
        free(also);
        also = predicted == fastest ? sp_strdup("; the simulation names the same one")
                                    : sp_format("; the simulation would have named %s", predicted->label);
    }
    const char *network = sweep_text(sweep, fastest, "network");
    bool named = strstr(fastest->label, network) != NULL;
    sp_page_say(&report->page, "p", "Of %d points the fastest %s is %s%s%s: %s %s%s.", sweep->count,
                engine == SWEEP_REAL ? "measured" : "predicted", named ? "" : network, named ? "" : ", ",
                fastest->label, value, what, also);
    free(value);
    free(also);
}

/* The sizes of the errors of predictions of a metric, in order; how many. The caller frees. */
static int errors_of(const struct sweep *sweep, enum sp_metric metric, double **out, const struct sweep_point **worst)
{
    int count = 0;
    double most = -1;
    *out = sp_alloc((size_t)(sweep->count + 1) * sizeof **out);
    *worst = NULL;
    for (int p = 0; p < sweep->count; p++) {
        double error = fabs(sweep_error(&sweep->points[p], metric));
        if (!isfinite(error))
            continue;
        (*out)[count++] = error;
        if (error > most) {
            most = error;
            *worst = &sweep->points[p];
        }
    }
    gsl_sort(*out, 1, (size_t)count);
    return count;
}

static void write_prediction(struct report *report, const struct sweep *sweep)
{
    const struct sweep_point *worst;
    double *errors;
    enum sp_metric metric = SP_METRIC_SPEEDUP;
    int count = errors_of(sweep, metric, &errors, &worst);
    if (count == 0) {
        free(errors);
        count = errors_of(sweep, metric = SP_METRIC_TIME, &errors, &worst);
    }
    if (count > 0)
        sp_page_say(&report->page, "p",
                    "Predictions of %s are off by %.1f %% in the median of %d points and by %.1f %% at worst, at %s.",
                    metric == SP_METRIC_SPEEDUP ? "the speedup" : "the time",
                    100 * gsl_stats_median_from_sorted_data(errors, 1, (size_t)count), count, 100 * errors[count - 1],
                    worst->label);
    else if (sweep_has(sweep, SWEEP_REAL, SP_METRIC_TIME) && sweep_has(sweep, SWEEP_SIM, SP_METRIC_TIME))
        sp_page_say(&report->page, "p",
                    "Predicted and measured are not held against each other: no point was simulated for as many "
                    "minibatches as it trained.");
    else
        sp_page_say(&report->page, "p",
                    "Predicted and measured are not held against each other: it has %s alone (sweep with --sim --real "
                    "for both).",
                    sweep_has(sweep, SWEEP_REAL, SP_METRIC_TIME) ? "real runs" : "simulated runs");
    free(errors);
}

static void write_price(struct report *report, const struct sweep *sweep)
{
    const struct sweep_point *worst = NULL;
    for (int p = 0; p < sweep->count; p++) {
        const struct sweep_point *point = &sweep->points[p];
        double change = point->change[SWEEP_REAL][SP_METRIC_ACCURACY].mean;
        if (isfinite(change) && (worst == NULL || change < worst->change[SWEEP_REAL][SP_METRIC_ACCURACY].mean))
            worst = point;
    }
    char small[32], large[32];
    enum sweep_engine engine = sweep_has(sweep, SWEEP_REAL, SP_METRIC_PEAK_BYTES) ? SWEEP_REAL : SWEEP_SIM;
    const struct sweep_point *least = best(sweep, engine, SP_METRIC_PEAK_BYTES, -1);
    const struct sweep_point *most = best(sweep, engine, SP_METRIC_PEAK_BYTES, 1);
    if (worst != NULL && !(worst->change[SWEEP_REAL][SP_METRIC_ACCURACY].mean < 0)) {
        sp_page_say(&report->page, "p", "No point is less accurate than its reference.");
    } else if (worst != NULL) {
        char *drop = sweep_with_interval(&worst->change[SWEEP_REAL][SP_METRIC_ACCURACY], -100, "");
        sp_page_say(&report->page, "p",
                    "Accuracy falls most at %s, where %.3g %% of the weights are stale: by %s percentage points of the "
                    "reference's.",
                    worst->label, 100 * worst->stale, drop);
        free(drop);
    } else if (least != NULL) {
        sp_page_say(&report->page, "p", "Memory of all devices goes from %s at %s to %s at %s.",
                    program_bytes(least->of[engine][SP_METRIC_PEAK_BYTES].mean, small), least->label,
                    program_bytes(most->of[engine][SP_METRIC_PEAK_BYTES].mean, large), most->label);
    }
}

/* What says which point is fastest: measured rather than predicted, the speedup rather than the rate. False: nothing.
 */
static bool choose_speed(const struct sweep *sweep, enum sweep_engine *engine, enum sp_metric *metric)
{
    static const enum sweep_engine engines[] = {SWEEP_REAL, SWEEP_SIM};
    static const enum sp_metric metrics[] = {SP_METRIC_SPEEDUP, SP_METRIC_SAMPLES_PER_S};
    for (int e = 0; e < SWEEP_ENGINES; e++)
        for (int m = 0; m < 2; m++)
            if (sweep_has(sweep, engines[e], metrics[m])) {
                *engine = engines[e];
                *metric = metrics[m];
                return true;
            }
    return false;
}

static void write_answer(struct report *report, const struct sweep *sweep)
{
    enum sweep_engine engine;
    enum sp_metric metric;
    fputs("<div class=\"answer\">\n", report->page.out);
    if (choose_speed(sweep, &engine, &metric))
        write_fastest(report, sweep, engine, metric);
    write_prediction(report, sweep);
    write_price(report, sweep);
    fputs("</div>\n", report->page.out);
}

/* Whether a column of the swept keys says what a point is called or what others report of it. */
static bool is_no_choice(const char *key)
{
    return strcmp(key, "label") == 0 || strcmp(key, "name") == 0 || strcmp(key, "published") == 0;
}

/* What was varied: the swept keys. */
static void write_question(struct report *report, const struct sweep *sweep)
{
    const struct sp_table *results = &sweep->results;
    int first = sp_table_column(results, "reason") + 1;
    char *keys = sp_strdup("");
    for (int c = first; c > 0 && c < results->columns; c++) {
        if (is_no_choice(results->names[c]))
            continue;
        char *longer = sp_format("%s%s%s", keys, keys[0] != '\0' ? ", " : "", results->names[c]);
        free(keys);
        keys = longer;
    }
    char failed[96] = "";
    if (sweep->failed > 0)
        snprintf(failed, sizeof failed, ", %d of them failed", sweep->failed);
    if (sweep->diverged > 0)
        snprintf(failed + strlen(failed), sizeof failed - strlen(failed), ", %d of them diverged", sweep->diverged);
    sp_page_say(&report->page, "p class=\"asked\"",
                "Asked: what does the choice of %s do to speed, memory%s? %d points, %d runs%s%s.", keys,
                sweep_has(sweep, SWEEP_REAL, SP_METRIC_ACCURACY) ? ", staleness and accuracy" : " and staleness",
                sweep->asked, results->rows,
                sweep_has(sweep, SWEEP_REAL, SP_METRIC_TIME)
                    ? sweep_has(sweep, SWEEP_SIM, SP_METRIC_TIME) ? ", simulated and real" : ", real"
                    : ", simulated",
                failed);
    free(keys);
}

/* --- the tables ------------------------------------------------------------------------------------------------ */

/* A table under construction: cells that it owns. */
struct cells {
    char *text[16];
    int count;
};

static void add(struct cells *cells, char *text)
{
    SP_ASSERT(cells->count < 16, "too many cells: %d", cells->count);
    cells->text[cells->count++] = text;
}

static void end_row(struct report *report, const char *tag, struct cells *cells)
{
    sp_page_row(&report->page, tag, (const char *const *)cells->text, cells->count);
    for (int c = 0; c < cells->count; c++)
        free(cells->text[c]);
    cells->count = 0;
}

/* Predicted, measured and error of a metric that the sweep has. */
static void add_heads(struct cells *cells, const struct sweep *sweep, enum sp_metric metric, const char *name)
{
    bool predicted = sweep_has(sweep, SWEEP_SIM, metric), measured = sweep_has(sweep, SWEEP_REAL, metric);
    if (predicted)
        add(cells, sp_format("predicted %s", name));
    if (measured)
        add(cells, sp_format("measured %s", name));
    if (predicted && measured)
        add(cells, sp_strdup("error"));
}

static void add_values(struct cells *cells, const struct sweep *sweep, const struct sweep_point *point,
                       enum sp_metric metric, double scale)
{
    bool predicted = sweep_has(sweep, SWEEP_SIM, metric), measured = sweep_has(sweep, SWEEP_REAL, metric);
    bool comparable = metric != SP_METRIC_TIME || point->same_length;
    char error[32];
    if (predicted)
        add(cells, sweep_with_interval(&point->of[SWEEP_SIM][metric], scale, ""));
    if (measured)
        add(cells, sweep_with_interval(&point->of[SWEEP_REAL][metric], scale, ""));
    if (predicted && measured)
        add(cells, sp_strdup(report_error(comparable ? point->of[SWEEP_SIM][metric].mean : NAN,
                                          point->of[SWEEP_REAL][metric].mean, 0.1, error)));
}

static void write_left_out(struct report *report, const struct sweep *sweep)
{
    if (sweep->count > MOST_ROWS)
        sp_page_say(&report->page, "p class=\"note\"", "%d more points are in %s/summary.csv.",
                    sweep->count - MOST_ROWS, sweep->folder);
}

static void write_speeds(struct report *report, const struct sweep *sweep)
{
    struct cells cells = {.count = 0};
    bool speedup = sweep_has(sweep, SWEEP_SIM, SP_METRIC_SPEEDUP) || sweep_has(sweep, SWEEP_REAL, SP_METRIC_SPEEDUP);
    enum sp_metric metric = speedup ? SP_METRIC_SPEEDUP : SP_METRIC_SAMPLES_PER_S;
    sp_page_table_begin(&report->page);
    add(&cells, sp_strdup("point"));
    add(&cells, sp_strdup("stages"));
    add_heads(&cells, sweep, SP_METRIC_TIME, "time, s");
    add_heads(&cells, sweep, metric, speedup ? "speedup" : "samples/s");
    add_heads(&cells, sweep, SP_METRIC_UTILIZATION, "utilization, %");
    end_row(report, "th", &cells);
    for (int p = 0; p < sweep->count && p < MOST_ROWS; p++) {
        const struct sweep_point *point = &sweep->points[p];
        add(&cells, sp_strdup(point->label));
        add(&cells, sp_format("%.0f", point->stages));
        add_values(&cells, sweep, point, SP_METRIC_TIME, 1);
        add_values(&cells, sweep, point, metric, 1);
        add_values(&cells, sweep, point, SP_METRIC_UTILIZATION, 100);
        end_row(report, "td", &cells);
    }
    sp_page_table_end(&report->page);
    write_left_out(report, sweep);
}

static void write_costs(struct report *report, const struct sweep *sweep)
{
    struct cells cells = {.count = 0};
    enum sweep_engine engine = sweep_has(sweep, SWEEP_REAL, SP_METRIC_PEAK_BYTES) ? SWEEP_REAL : SWEEP_SIM;
    bool accuracy = sweep_has(sweep, SWEEP_REAL, SP_METRIC_ACCURACY);
    bool change = sweep_has_change(sweep, SP_METRIC_ACCURACY);
    sp_page_table_begin(&report->page);
    add(&cells, sp_strdup("point"));
    add(&cells, sp_strdup("staleness, updates"));
    add(&cells, sp_strdup("stale weights, %"));
    add(&cells, sp_strdup("memory of all devices"));
    add(&cells, sp_strdup("of the fullest"));
    if (accuracy)
        add(&cells, sp_strdup("test accuracy, %"));
    if (change)
        add(&cells, sp_strdup("against the reference, % points"));
    end_row(report, "th", &cells);
    for (int p = 0; p < sweep->count && p < MOST_ROWS; p++) {
        const struct sweep_point *point = &sweep->points[p];
        char all[32], fullest[32], share[32];
        add(&cells, sp_strdup(point->label));
        add(&cells, sp_strdup(sweep_text(sweep, point, "staleness")));
        add(&cells, sp_strdup(report_real(100 * point->stale, share)));
        add(&cells, sp_strdup(program_bytes(point->of[engine][SP_METRIC_PEAK_BYTES].mean, all)));
        add(&cells, sp_strdup(program_bytes(sweep_number(sweep, point, "peak_device_bytes"), fullest)));
        if (accuracy)
            add(&cells, sweep_with_interval(&point->of[SWEEP_REAL][SP_METRIC_ACCURACY], 100, ""));
        if (change)
            add(&cells, sweep_with_interval(&point->change[SWEEP_REAL][SP_METRIC_ACCURACY], 100, ""));
        end_row(report, "td", &cells);
    }
    sp_page_table_end(&report->page);
    write_left_out(report, sweep);
}

static void write_failures(struct report *report, const struct sweep *sweep, const struct sweep_level *level)
{
    static const char *const columns[] = {"label", "engine", "repeat", "reason"};
    const struct sp_table *results = &sweep->results;
    if (sweep->failed == 0)
        return;
    sp_page_say(&report->page, level->part, "Runs that failed");
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", columns, 4);
    for (int r = 0; r < results->rows; r++) {
        const char *cells[4];
        if (strcmp(sp_table_text(results, r, sp_table_column(results, "status")), "failed") != 0)
            continue;
        for (int c = 0; c < 4; c++)
            cells[c] = sp_table_text(results, r, sp_table_column(results, columns[c]));
        sp_page_row(&report->page, "td", cells, 4);
    }
    sp_page_table_end(&report->page);
}

/* --- the timeline ---------------------------------------------------------------------------------------------- */

/* Reads a row's timeline; false: it has none. */
static bool read_timeline(const struct sweep *sweep, int row, const char *label, struct sp_timeline *out)
{
    if (row < 0)
        return false;
    const char *folder = sp_table_text(&sweep->results, row, sp_table_column(&sweep->results, "folder"));
    char *path = sp_format("%s/%s/timeline.csv", sweep->folder, folder);
    struct sp_error err = {0};
    bool found = folder[0] != '\0' && sp_timeline_read(path, label, out, &err) == SP_OK;
    if (!found)
        sp_timeline_fini(out);
    sp_error_fini(&err);
    free(path);
    return found;
}

static void write_timeline(struct report *report, const struct sweep *sweep, const struct sweep_level *level)
{
    enum sweep_engine engine;
    enum sp_metric metric;
    const struct sweep_point *point = choose_speed(sweep, &engine, &metric) ? best(sweep, engine, metric, 1) : NULL;
    struct sp_timeline sides[SWEEP_ENGINES] = {{0}};
    int count = 0;
    if (point == NULL)
        return;
    count += read_timeline(sweep, point->row[SWEEP_SIM], "predicted", &sides[count]);
    count += read_timeline(sweep, point->row[SWEEP_REAL], "measured", &sides[count]);
    if (count > 0) {
        sp_page_say(&report->page, level->part, "Who did what when, at the fastest point: %s", point->label);
        sp_page_timeline(&report->page, sides, count);
    }
    for (int s = 0; s < count; s++)
        sp_timeline_fini(&sides[s]);
}

/* --- where it comes from --------------------------------------------------------------------------------------- */

/* The values of a JSON object, as "name value, name value"; the caller frees. */
static char *flat(const json_t *object)
{
    char *text = sp_strdup("");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        char *shown = json_is_string(value) ? sp_strdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
        char bytes[32];
        if (strstr(key, "_bytes") != NULL && json_is_number(value)) {
            free(shown);
            shown = sp_strdup(program_bytes(json_number_value(value), bytes));
        }
        char *longer = sp_format("%s%s%s %s", text, text[0] != '\0' ? ", " : "", key, shown != NULL ? shown : "");
        free(text);
        free(shown);
        text = longer;
    }
    return text;
}

static void write_environment(struct report *report, const struct sweep *sweep)
{
    char *path = report_path(sweep->folder, "environment.json");
    json_t *environment = json_load_file(path, 0, NULL), *start;
    size_t s;
    json_array_foreach(json_object_get(environment, "starts"), s, start)
    {
        char *machine = flat(json_object_get(start, "machine")), *versions = flat(json_object_get(start, "versions"));
        sp_page_say(&report->page, "p class=\"note\"", "Started %s with revision %s; %s; %s.",
                    report_string(start, "started"), report_string(start, "revision"), machine, versions);
        free(machine);
        free(versions);
    }
    json_decref(environment);
    free(path);
}

static void write_reproduce(struct report *report, const struct sweep *sweep, const struct sweep_level *level)
{
    bool sim = sweep_has(sweep, SWEEP_SIM, SP_METRIC_TIME), real = sweep_has(sweep, SWEEP_REAL, SP_METRIC_TIME);
    sp_page_say(&report->page, level->part, "To reproduce it");
    sp_page_say(&report->page, "pre",
                "build/stalepipe sweep%s%s %s/experiment.yaml -o again\nbuild/stalepipe report again",
                sim ? " --sim" : "", real ? " --real" : "", sweep->folder);
    report_experiment(report, sweep->folder);
    write_environment(report, sweep);
}

/* --- the page -------------------------------------------------------------------------------------------------- */

char *sweep_name(const char *folder)
{
    char *path = report_path(folder, "experiment.yaml");
    struct sp_experiment *experiment = NULL;
    struct sp_error err = {0};
    bool known = sp_experiment_read(path, NULL, 0, &experiment, &err) == SP_OK;
    const char *slash = strrchr(folder, '/');
    char *name = sp_strdup(known ? experiment->name : slash != NULL && slash[1] != '\0' ? slash + 1 : folder);
    if (known)
        sp_experiment_destroy(&experiment);
    sp_error_fini(&err);
    free(path);
    return name;
}

sp_status sweep_write(struct report *report, const struct sweep *sweep, const struct sweep_level *level,
                      struct sp_error *err)
{
    write_question(report, sweep);
    write_answer(report, sweep);
    sp_page_say(&report->page, level->part, "Figures");
    sp_page_say(&report->page, "p class=\"note\"", "As SVG, PDF and PNG, each with its table, in %s.", report->figures);
    sp_status status = sweep_write_figures(report, sweep, err);
    sp_page_say(&report->page, level->part, "How fast");
    sp_page_say(&report->page, "p class=\"note\"",
                "Means of the repeats, with 95 %% intervals where there are several.");
    write_speeds(report, sweep);
    sp_page_say(&report->page, level->part, "At what price");
    write_costs(report, sweep);
    write_failures(report, sweep, level);
    write_timeline(report, sweep, level);
    write_reproduce(report, sweep, level);
    return status;
}

sp_status report_sweep(struct report *report, char **title, struct sp_error *err)
{
    static const struct sweep_level level = {"h1", "h2"};
    struct sweep sweep;
    sp_status status = sweep_read(&sweep, report->folder, err);
    if (status == SP_OK) {
        *title = sweep_name(report->folder);
        sp_page_say(&report->page, level.title, "%s", *title);
        status = sweep_write(report, &sweep, &level, err);
    }
    sweep_fini(&sweep);
    return status;
}
