/*
 * The page of a run, or of a comparison of its two sides.
 */
#include "common/program/report.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/program/program.h"
#include "common/summary.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PREDICTED, MEASURED, SIDES };

struct run {
    struct report_side sides[SIDES];
    const struct report_side *main; /* measured where it is there */
    struct sp_experiment *experiment;
    struct sp_error unread; /* why not, where `experiment` is NULL */
};

static bool has_side(const struct run *run, int s)
{
    return run->sides[s].label != NULL;
}

static bool is_comparison(const struct run *run)
{
    return has_side(run, PREDICTED) && has_side(run, MEASURED);
}

static double number(const struct run *run, int side, const char *key)
{
    return report_number(run->sides[side].summary, key);
}

static json_t *list(const struct report_side *side, const char *key)
{
    return json_object_get(side->summary, key);
}

/* Of one entry of "devices" or "stages". */
static double entry_number(const struct report_side *side, const char *array, size_t index, const char *key)
{
    return side->label == NULL ? NAN : report_number(json_array_get(list(side, array), index), key);
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static sp_status read_side(struct report_side *side, const char *folder, const char *label, struct sp_error *err)
{
    json_error_t wrong;
    char *path = report_path(folder, "summary.json"), *timeline = report_path(folder, "timeline.csv");
    sp_status status = SP_OK;
    side->folder = sp_strdup(folder);
    side->summary = json_load_file(path, 0, &wrong);
    if (side->summary == NULL)
        status = sp_reject(err, (struct sp_mark){.file = path, .line = wrong.line > 0 ? wrong.line : 0, .column = 1},
                           "%s", wrong.text);
    if (status == SP_OK && report_has(folder, "timeline.csv"))
        status = sp_timeline_read(timeline, label, &side->timeline, err);
    side->label = label;
    free(path);
    free(timeline);
    return status;
}

static sp_status read_run(struct run *run, const char *folder, struct sp_error *err)
{
    static const char *const labels[SIDES] = {"predicted", "measured"};
    sp_status status = SP_OK;
    bool both = report_has(folder, "predicted/summary.json") && report_has(folder, "measured/summary.json");
    for (int s = 0; s < SIDES && status == SP_OK && both; s++) {
        char *path = report_path(folder, labels[s]);
        status = read_side(&run->sides[s], path, labels[s], err);
        free(path);
    }
    if (!both) {
        int side = report_has(folder, "losses.csv") ? MEASURED : PREDICTED;
        status = read_side(&run->sides[side], folder, labels[side], err);
    }
    run->main = has_side(run, MEASURED) ? &run->sides[MEASURED] : &run->sides[PREDICTED];
    if (status == SP_OK && !json_is_array(list(run->main, "devices")))
        status = sp_reject(err, (struct sp_mark){.file = folder}, "its summary.json is not that of a run");
    if (status == SP_OK) {
        char *path = report_path(run->main->folder, "experiment.yaml");
        if (sp_experiment_read(path, NULL, 0, &run->experiment, &run->unread) != SP_OK)
            run->experiment = NULL;
        free(path);
    }
    return status;
}

static void free_run(struct run *run)
{
    for (int s = 0; s < SIDES; s++) {
        free(run->sides[s].folder);
        json_decref(run->sides[s].summary);
        sp_timeline_fini(&run->sides[s].timeline);
    }
    if (run->experiment != NULL)
        sp_experiment_destroy(&run->experiment);
    sp_error_fini(&run->unread);
}

/* --- the words ------------------------------------------------------------------------------------------------- */

/* "cut after weight layers 1 and 3"; the caller frees. */
static char *cuts_phrase(const json_t *summary)
{
    const json_t *cuts = json_object_get(summary, "cuts");
    size_t count = json_array_size(cuts);
    if (count == 0)
        return sp_strdup("uncut");
    char *text = sp_format("cut after weight layer%s ", count > 1 ? "s" : "");
    for (size_t k = 0; k < count; k++) {
        char *longer = sp_format("%s%s%lld", text,
                                 k == 0          ? ""
                                 : k + 1 < count ? ", "
                                                 : " and ",
                                 (long long)json_integer_value(json_array_get(cuts, k)));
        free(text);
        text = longer;
    }
    return text;
}

static const char *plural(double count)
{
    return count == 1 ? "" : "s";
}

static void write_question(struct report *report, const struct run *run)
{
    const json_t *summary = run->main->summary;
    char *cuts = cuts_phrase(summary);
    double devices = (double)json_array_size(list(run->main, "devices"));
    const struct sp_experiment *e = run->experiment;
    sp_page_say(
        &report->page, "p class=\"asked\"",
        "Asked: %s%s%s, %s and scheduled %s%s on %.0f%s%s device%s, in minibatches of %.0f: how fast is it, how "
        "much memory does it take, how stale do the weights get%s?",
        report_string(summary, "network"), e != NULL ? " on " : "", e != NULL ? e->data.set : "", cuts,
        report_string(summary, "schedule"), e != NULL && e->phase_count > 1 ? ", then otherwise," : "", devices,
        e != NULL ? " " : "", e != NULL ? e->devices.backend : "", plural(devices), report_number(summary, "batch"),
        has_side(run, MEASURED) ? ", and what does that do to accuracy" : "");
    free(cuts);
}

/* "(the simulation said 1.95, 76 % too much)"; "" without one. 96 bytes. */
static const char *said(double predicted, double measured, const char *shown, char buffer[96])
{
    double error = 100 * (predicted / measured - 1);
    buffer[0] = '\0';
    if (isfinite(error))
        snprintf(buffer, 96, " (the simulation said %s: %.1f %% too %s)", shown, fabs(error),
                 error > 0 ? "much" : "little");
    return buffer;
}

static void write_speed_sentence(struct report *report, const struct run *run)
{
    int side = has_side(run, MEASURED) ? MEASURED : PREDICTED;
    double speedup = number(run, side, "speedup"), rate = number(run, side, "samples_per_s");
    const char *network = report_string(run->main->summary, "network");
    const char *verb = side == MEASURED ? "trained" : "would train";
    char a[32], b[32], word[96] = "";
    double devices = (double)json_array_size(list(run->main, "devices"));
    if (isfinite(speedup)) {
        if (is_comparison(run))
            said(number(run, PREDICTED, "speedup"), speedup, report_real(number(run, PREDICTED, "speedup"), b), word);
        sp_page_say(
            &report->page, "p",
            "%s %s %s times as fast as on one device%s, at %s samples a second, with its %.0f device%s busy %.0f "
            "%% of the time.",
            network, verb, report_real(speedup, a), word, report_real(rate, b), devices, plural(devices),
            100 * number(run, side, "utilization"));
    } else {
        sp_page_say(&report->page, "p",
                    "%s %s at %s samples a second, with its %.0f device%s busy %.0f %% of the time; how much faster "
                    "than one device that is was not measured (--baseline).",
                    network, verb, report_real(rate, a), devices, plural(devices),
                    100 * number(run, side, "utilization"));
    }
}

static double largest(const struct report_side *side, const char *array, const char *key, size_t *which)
{
    double most = NAN;
    for (size_t i = 0; i < json_array_size(list(side, array)); i++) {
        double x = entry_number(side, array, i, key);
        if (!(x <= most)) {
            most = x;
            *which = i;
        }
    }
    return most;
}

static void write_cost_sentence(struct report *report, const struct run *run)
{
    size_t device = 0, stage = 0;
    char bytes[32], word[96] = "";
    double peak = largest(run->main, "devices", "peak_bytes", &device);
    double stale = largest(run->main, "stages", "forward_staleness", &stage);
    if (is_comparison(run)) {
        double predicted = entry_number(&run->sides[PREDICTED], "devices", device, "peak_bytes");
        if (predicted == peak)
            snprintf(word, sizeof word, ", as predicted to the byte,");
        else
            snprintf(word, sizeof word, ", %.1f %% %s than predicted,", fabs(100 * (peak / predicted - 1)),
                     peak > predicted ? "more" : "less");
    }
    double share = 100 * report_number(run->main->summary, "stale_weight_fraction");
    program_bytes(peak, bytes);
    if (stale > 0)
        sp_page_say(
            &report->page, "p",
            "The fullest device, %zu, takes %s%s and the weights of stage %zu, the stalest, are %.0f update%s old "
            "when a minibatch goes through them; %.3g %% of all weights are stale at all.",
            device, bytes, word, stage, stale, plural(stale), share);
    else
        sp_page_say(&report->page, "p", "The fullest device, %zu, takes %s%s and no weights are stale.", device, bytes,
                    word);
}

/* The device whose utilization is the least (sign -1) or the most (1). */
static size_t extreme_device(const struct report_side *side, int sign)
{
    size_t best = 0;
    for (size_t d = 1; d < json_array_size(list(side, "devices")); d++)
        if (sign * entry_number(side, "devices", d, "utilization") >
            sign * entry_number(side, "devices", best, "utilization"))
            best = d;
    return best;
}

/* Of a device: what it waits for longest; NULL: nothing. */
static const char *longest_wait(const struct report_side *side, size_t device)
{
    const json_t *waits = json_object_get(json_array_get(list(side, "devices"), device), "wait_s");
    const char *name = NULL;
    double most = 0;
    for (int w = 0; w < SP_WAIT_COUNT; w++)
        if (report_number(waits, sp_wait_names[w]) > most) {
            most = report_number(waits, sp_wait_names[w]);
            name = sp_wait_names[w];
        }
    return name;
}

/* "device 0 is the bottleneck, …" */
static void write_bottleneck(FILE *out, const struct report_side *side)
{
    size_t busiest = extreme_device(side, 1), idlest = extreme_device(side, -1);
    const char *wait = longest_wait(side, idlest);
    double top = 100 * entry_number(side, "devices", busiest, "utilization");
    double low = 100 * entry_number(side, "devices", idlest, "utilization");
    if (json_array_size(list(side, "devices")) < 2 || top - low < 1)
        fprintf(out, "all devices are as busy, %.0f %% of the time", top);
    else
        fprintf(out, "device %zu is the bottleneck, busy %.0f %% of the time, while device %zu is busy %.0f %%%s%s",
                busiest, top, idlest, low, wait != NULL ? " and waits mostly for " : "", wait != NULL ? wait : "");
}

/* "prediction and measurement part most at device 1, …" */
static void write_parting(FILE *out, const struct run *run)
{
    size_t worst = 0;
    double most = -1;
    for (size_t d = 0; d < json_array_size(list(run->main, "devices")); d++) {
        double apart = fabs(entry_number(&run->sides[PREDICTED], "devices", d, "utilization") -
                            entry_number(&run->sides[MEASURED], "devices", d, "utilization"));
        if (apart > most) {
            most = apart;
            worst = d;
        }
    }
    fprintf(out,
            "prediction and measurement part most at device %zu, which was to be busy %.0f %% of the time and was busy "
            "%.0f %%",
            worst, 100 * entry_number(&run->sides[PREDICTED], "devices", worst, "utilization"),
            100 * entry_number(&run->sides[MEASURED], "devices", worst, "utilization"));
}

static void write_last_sentence(struct report *report, const struct run *run)
{
    FILE *out = report->page.out;
    double accuracy = report_number(run->main->summary, "accuracy");
    fputs("<p>", out);
    if (isfinite(accuracy))
        fprintf(out, "After %.0f minibatches it classifies %.2f %% of the test set correctly; ",
                report_number(run->main->summary, "minibatches"), 100 * accuracy);
    else if (is_comparison(run))
        fputs("As for where the time goes, ", out);
    else
        fputs("In it, ", out);
    if (is_comparison(run))
        write_parting(out, run);
    else
        write_bottleneck(out, run->main);
    fputs(".</p>\n", out);
}

/* --- the tables ------------------------------------------------------------------------------------------------ */

/* A row of predicted, measured and error; `format` shows a value. */
static void write_row(struct report *report, const struct run *run, const char *name, const double x[SIDES],
                      const char *(*show)(double, char *))
{
    char texts[SIDES][32], error[32];
    const char *cells[4] = {name};
    int count = 1;
    for (int s = 0; s < SIDES; s++)
        if (has_side(run, s))
            cells[count++] = show(x[s], texts[s]);
    if (is_comparison(run))
        cells[count++] = report_error(x[PREDICTED], x[MEASURED], 0.1, error);
    sp_page_row(&report->page, "td", cells, count);
}

static const char *show_real(double x, char *buffer)
{
    return report_real(x, buffer);
}

static const char *show_percent(double x, char *buffer)
{
    if (isfinite(x))
        snprintf(buffer, 32, "%.1f %%", 100 * x);
    else
        strcpy(buffer, "-");
    return buffer;
}

static const char *show_bytes(double x, char *buffer)
{
    return isfinite(x) ? program_bytes(x, buffer) : strcpy(buffer, "-");
}

static const char *show_seconds(double x, char *buffer)
{
    return program_seconds(x, buffer);
}

static void begin_table(struct report *report, const struct run *run, const char *what)
{
    const char *cells[4] = {what};
    int count = 1;
    for (int s = 0; s < SIDES; s++)
        if (has_side(run, s))
            cells[count++] = run->sides[s].label;
    if (is_comparison(run))
        cells[count++] = "error";
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", cells, count);
}

static void write_numbers(struct report *report, const struct run *run)
{
    static const struct {
        const char *name, *key;
        const char *(*show)(double, char *);
    } rows[] = {{"time of the training loop", "time_s", show_seconds},
                {"samples a second", "samples_per_s", show_real},
                {"speedup over one device", "speedup", show_real},
                {"utilization, mean of the devices", "utilization", show_percent},
                {"weights that are stale", "stale_weight_fraction", show_percent},
                {"test accuracy", "accuracy", show_percent}};
    double x[SIDES];
    char name[64];
    sp_page_say(&report->page, "h2", is_comparison(run) ? "Predicted and measured" : "In numbers");
    begin_table(report, run, "");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int s = 0; s < SIDES; s++)
            x[s] = has_side(run, s) ? number(run, s, rows[r].key) : NAN;
        if (isfinite(x[PREDICTED]) || isfinite(x[MEASURED]))
            write_row(report, run, rows[r].name, x, rows[r].show);
    }
    for (size_t d = 0; d < json_array_size(list(run->main, "devices")); d++) {
        for (int s = 0; s < SIDES; s++)
            x[s] = entry_number(&run->sides[s], "devices", d, "peak_bytes");
        snprintf(name, sizeof name, "peak memory, device %zu", d);
        write_row(report, run, name, x, show_bytes);
    }
    sp_page_table_end(&report->page);
}

static void write_stages(struct report *report, const struct run *run)
{
    static const char *const head[] = {
        "stage", "weight layers", "parameters", "staleness, updates", "of the backward pass", "minibatches in flight"};
    enum { CELLS = sizeof head / sizeof *head };
    sp_page_say(&report->page, "h3", "Stages");
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", head, CELLS);
    for (size_t i = 0; i < json_array_size(list(run->main, "stages")); i++) {
        char texts[CELLS][48];
        const char *cells[CELLS];
        const char *const keys[] = {"parameters", "forward_staleness", "backward_staleness", "in_flight"};
        snprintf(texts[0], 48, "%zu", i);
        snprintf(texts[1], 48, "%.0f to %.0f", entry_number(run->main, "stages", i, "first_layer"),
                 entry_number(run->main, "stages", i, "last_layer"));
        for (int k = 0; k < 4; k++)
            snprintf(texts[2 + k], 48, "%.0f", entry_number(run->main, "stages", i, keys[k]));
        for (int c = 0; c < CELLS; c++)
            cells[c] = texts[c];
        sp_page_row(&report->page, "td", cells, CELLS);
    }
    sp_page_table_end(&report->page);
}

/* What each stage's instructions take, and what a minibatch's difference is. */
static void write_instructions(struct report *report, const struct run *run)
{
    static const enum sp_span_kind kinds[] = {SP_SPAN_FORWARD, SP_SPAN_BACKWARD, SP_SPAN_UPDATE};
    char name[64];
    if (run->main->timeline.count == 0)
        return;
    sp_page_say(&report->page, "h3", "An instruction, median");
    begin_table(report, run, "");
    for (size_t i = 0; i < json_array_size(list(run->main, "stages")); i++)
        for (int k = 0; k < 3; k++) {
            double x[SIDES] = {NAN, NAN};
            for (int s = 0; s < SIDES; s++)
                if (has_side(run, s))
                    x[s] = sp_timeline_median(&run->sides[s].timeline, kinds[k], (int)i).seconds;
            snprintf(name, sizeof name, "stage %zu, %s", i, sp_span_kind_names[kinds[k]]);
            if (isfinite(x[PREDICTED]) || isfinite(x[MEASURED]))
                write_row(report, run, name, x, show_seconds);
        }
    sp_page_table_end(&report->page);
}

static void write_waits(struct report *report, const struct run *run)
{
    char name[64];
    bool begun = false;
    for (size_t d = 0; d < json_array_size(list(run->main, "devices")); d++)
        for (int w = 0; w < SP_WAIT_COUNT; w++) {
            double x[SIDES] = {NAN, NAN};
            for (int s = 0; s < SIDES; s++)
                if (has_side(run, s))
                    x[s] = report_number(json_object_get(json_array_get(list(&run->sides[s], "devices"), d), "wait_s"),
                                         sp_wait_names[w]);
            if (!(x[PREDICTED] > 0) && !(x[MEASURED] > 0))
                continue;
            if (!begun) {
                sp_page_say(&report->page, "h3", "Waiting, in all");
                begin_table(report, run, "");
            }
            begun = true;
            snprintf(name, sizeof name, "device %zu, for %s", d, sp_wait_names[w]);
            write_row(report, run, name, x, show_seconds);
        }
    if (begun)
        sp_page_table_end(&report->page);
}

static void write_epochs(struct report *report, const struct run *run)
{
    static const char *const head[] = {"epoch",     "time",          "training loss",
                                       "test loss", "test accuracy", "samples a second"};
    enum { CELLS = sizeof head / sizeof *head };
    const json_t *epochs = list(run->main, "epochs");
    if (json_array_size(epochs) == 0)
        return;
    sp_page_say(&report->page, "h3", "Epochs");
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", head, CELLS);
    for (size_t e = 0; e < json_array_size(epochs); e++) {
        const json_t *epoch = json_array_get(epochs, e);
        char texts[CELLS][32];
        const char *cells[CELLS];
        snprintf(texts[0], 32, "%.0f", report_number(epoch, "epoch"));
        program_seconds(report_number(epoch, "time_s"), texts[1]);
        snprintf(texts[2], 32, "%.4f", report_number(epoch, "loss"));
        snprintf(texts[3], 32, "%.4f", report_number(epoch, "test_loss"));
        show_percent(report_number(epoch, "accuracy"), texts[4]);
        report_real(report_number(epoch, "samples_per_s"), texts[5]);
        for (int c = 0; c < CELLS; c++)
            cells[c] = texts[c];
        sp_page_row(&report->page, "td", cells, CELLS);
    }
    sp_page_table_end(&report->page);
}

/* --- the figures ----------------------------------------------------------------------------------------------- */

/* figures/staleness.csv: forward and backward staleness of each stage. */
static sp_status write_staleness(const struct run *run, const char *path, struct sp_error *err)
{
    static const char *const keys[] = {"forward_staleness", "backward_staleness"};
    static const char *const names[] = {"forward pass", "backward pass"};
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("series,stage,predicted,measured\n", file.stream);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < json_array_size(list(run->main, "stages")); i++) {
            fprintf(file.stream, "%s,%zu", names[k], i);
            for (int s = 0; s < SIDES; s++)
                fprintf(file.stream, has_side(run, s) ? ",%.0f" : ",",
                        entry_number(&run->sides[s], "stages", i, keys[k]));
            fputc('\n', file.stream);
        }
    return sp_file_commit(&file, err);
}

static sp_status write_figures(struct report *report, const struct run *run, struct sp_error *err)
{
    sp_status status = SP_OK;
    char *staleness = report_path(report->figures, "staleness.csv");
    char *devices = report_path(run->main->folder, "devices.csv");
    char *candidates = report_path(report->folder, "candidates.csv");
    const struct report_figure figures[] = {
        {"timelines", "timelines", "folder", report->folder, NULL, NULL},
        {"utilization", "utilization", "folder", report->folder, devices,
         "The share of the time that each device computes."},
        {"memory", "memory", "folder", report->folder, devices, "Peak memory of each device, by kind."},
        {"loss", "loss", "folder", report->folder, NULL, "Losses and test accuracy against minibatches."},
        {"staleness", "staleness", "csv", staleness, staleness,
         "How many updates old the weights are that a minibatch meets, by stage."},
        {"pareto", "pareto", "csv", candidates, candidates,
         "The plans that were simulated: throughput against memory. The line joins those that no other beats in both."},
    };
    const bool wanted[] = {report_has(run->main->folder, "timeline.csv"),
                           report_has(run->main->folder, "devices.csv"),
                           report_has(run->main->folder, "devices.csv"),
                           report_has(run->main->folder, "losses.csv"),
                           true,
                           report_has(report->folder, "candidates.csv")};
    sp_page_say(&report->page, "h2", "Figures");
    sp_page_say(&report->page, "p class=\"note\"", "As SVG, PDF and PNG in %s.", report->figures);
    fputs("<div class=\"figures\">\n", report->page.out);
    status = write_staleness(run, staleness, err);
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++)
        if (wanted[f])
            report_draw_or_tell(report, &figures[f], &status, err);
    fputs("</div>\n", report->page.out);
    free(staleness);
    free(devices);
    free(candidates);
    return status;
}

/* --- the page -------------------------------------------------------------------------------------------------- */

static void write_reproduce(struct report *report, const struct run *run)
{
    /* The experiment.yaml of a plan is that of the best. */
    const char *command = is_comparison(run) ? "compare" : has_side(run, MEASURED) ? "train" : "sim";
    sp_page_say(&report->page, "h2", "To reproduce it");
    sp_page_say(&report->page, "pre", "build/stalepipe %s %s/experiment.yaml -o again\nbuild/stalepipe report again",
                command, run->main->folder);
    report_experiment(report, run->main->folder);
    sp_page_say(&report->page, "p class=\"note\"", "%s",
                is_comparison(run) ? "Both sides as one trace for Perfetto (ui.perfetto.dev): trace.json."
                                   : "As a trace for Perfetto (ui.perfetto.dev): trace.json.");
}

static void write_timeline(struct report *report, const struct run *run)
{
    struct sp_timeline sides[SIDES];
    int count = 0;
    for (int s = 0; s < SIDES; s++)
        if (has_side(run, s) && run->sides[s].timeline.count > 0)
            sides[count++] = run->sides[s].timeline;
    if (count == 0)
        return;
    sp_page_say(&report->page, "h2", "Who did what when");
    sp_page_say(
        &report->page, "p class=\"note\"",
        "0F3 is the forward pass of minibatch 3 at stage 0; B is backward, U an update. Scroll or pinch to zoom, "
        "drag to move, point at an instruction to see it.");
    sp_page_timeline(&report->page, sides, count);
}

sp_status report_run(struct report *report, char **title, struct sp_error *err)
{
    struct run run = {0};
    sp_status status = read_run(&run, report->folder, err);
    if (status == SP_OK) {
        const char *name = report_string(run.main->summary, "name");
        *title = sp_format("%s: %s", name, is_comparison(&run) ? "predicted and measured" : run.main->label);
        sp_page_say(&report->page, "h1", "%s", *title);
        write_question(report, &run);
        fputs("<div class=\"answer\">\n", report->page.out);
        write_speed_sentence(report, &run);
        write_cost_sentence(report, &run);
        write_last_sentence(report, &run);
        fputs("</div>\n", report->page.out);
        write_numbers(report, &run);
        write_timeline(report, &run);
        status = write_figures(report, &run, err);
        sp_page_say(&report->page, "h2", is_comparison(&run) ? "Where the two part" : "Where the time goes");
        write_instructions(report, &run);
        write_waits(report, &run);
        write_stages(report, &run);
        write_epochs(report, &run);
        write_reproduce(report, &run);
    }
    free_run(&run);
    return status;
}
