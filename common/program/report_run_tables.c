/*
 * The tables of a run's page: predicted, measured, and how far they part.
 */
#include "common/program/report_run.h"
#include "common/program/program.h"

#include <inttypes.h>
#include <string.h>

/* A row of predicted, measured and error; `format` shows a value. */
static void write_row(struct report *report, const struct run *run, const char *name, const double x[SIDES],
                      const char *(*show)(double, char *))
{
    char texts[SIDES][32], error[32];
    const char *cells[4] = {name};
    int count = 1;
    for (int s = 0; s < SIDES; s++)
        if (run_has_side(run, s))
            cells[count++] = show(x[s], texts[s]);
    if (run_is_comparison(run))
        cells[count++] = report_error(x[PREDICTED], x[MEASURED], 0.1, error);
    sp_page_row(&report->page, "td", cells, count);
}

const char *run_show_real(double x, char *buffer)
{
    return report_real(x, buffer);
}

const char *run_show_percent(double x, char *buffer)
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

const char *run_show_seconds(double x, char *buffer)
{
    char *micro = strstr(program_seconds(x, buffer), " us"); /* as the figures have it */
    if (micro != NULL)
        strcpy(micro, " \xC2\xB5s");
    return buffer;
}

static void begin_table(struct report *report, const struct run *run, const char *what)
{
    const char *cells[4] = {what};
    int count = 1;
    for (int s = 0; s < SIDES; s++)
        if (run_has_side(run, s))
            cells[count++] = run->sides[s].label;
    if (run_is_comparison(run))
        cells[count++] = "error";
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", cells, count);
}

void run_write_numbers(struct report *report, const struct run *run)
{
    static const struct {
        const char *name, *key;
        const char *(*show)(double, char *);
    } rows[] = {{"time of the training loop", "time_s", run_show_seconds},
                {"samples a second", "samples_per_s", run_show_real},
                {"speedup over one device", "speedup", run_show_real},
                {"utilization, mean of the devices", "utilization", run_show_percent},
                {"weights that are stale", "stale_weight_fraction", run_show_percent},
                {"test accuracy", "accuracy", run_show_percent}};
    double x[SIDES];
    char name[64];
    sp_page_say(&report->page, "h2", run_is_comparison(run) ? "Predicted and measured" : "In numbers");
    begin_table(report, run, "");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int s = 0; s < SIDES; s++)
            x[s] = run_has_side(run, s) ? run_number(run, s, rows[r].key) : NAN;
        if (isfinite(x[PREDICTED]) || isfinite(x[MEASURED]))
            write_row(report, run, rows[r].name, x, rows[r].show);
    }
    for (size_t d = 0; d < json_array_size(run_list(run->main, "devices")); d++) {
        for (int s = 0; s < SIDES; s++)
            x[s] = run_entry(&run->sides[s], "devices", d, "peak_bytes");
        snprintf(name, sizeof name, "peak memory, device %zu", d);
        write_row(report, run, name, x, show_bytes);
    }
    sp_page_table_end(&report->page);
    run_write_intervals(report, run);
}

static void write_stages(struct report *report, const struct run *run)
{
    static const char *const head[] = {
        "stage", "weight layers", "parameters", "staleness, updates", "of the backward pass", "minibatches in flight"};
    enum { CELLS = sizeof head / sizeof *head };
    sp_page_say(&report->page, "h3", "Stages");
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", head, CELLS);
    for (size_t i = 0; i < json_array_size(run_list(run->main, "stages")); i++) {
        char texts[CELLS][48];
        const char *cells[CELLS];
        const char *const keys[] = {"parameters", "forward_staleness", "backward_staleness", "in_flight"};
        snprintf(texts[0], 48, "%zu", i);
        snprintf(texts[1], 48, "%.0f to %.0f", run_entry(run->main, "stages", i, "first_layer"),
                 run_entry(run->main, "stages", i, "last_layer"));
        for (int k = 0; k < 4; k++)
            snprintf(texts[2 + k], 48, "%.0f", run_entry(run->main, "stages", i, keys[k]));
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
    for (size_t i = 0; i < json_array_size(run_list(run->main, "stages")); i++)
        for (int k = 0; k < 3; k++) {
            double x[SIDES] = {NAN, NAN};
            for (int s = 0; s < SIDES; s++)
                if (run_has_side(run, s))
                    x[s] = sp_timeline_median(&run->sides[s].timeline, kinds[k], (int)i).seconds;
            snprintf(name, sizeof name, "stage %zu, %s", i, sp_span_kind_names[kinds[k]]);
            if (isfinite(x[PREDICTED]) || isfinite(x[MEASURED]))
                write_row(report, run, name, x, run_show_seconds);
        }
    sp_page_table_end(&report->page);
}

static void write_waits(struct report *report, const struct run *run)
{
    char name[64];
    bool begun = false;
    for (size_t d = 0; d < json_array_size(run_list(run->main, "devices")); d++)
        for (int w = 0; w < SP_WAIT_COUNT; w++) {
            double x[SIDES] = {NAN, NAN};
            for (int s = 0; s < SIDES; s++)
                if (run_has_side(run, s))
                    x[s] =
                        report_number(json_object_get(json_array_get(run_list(&run->sides[s], "devices"), d), "wait_s"),
                                      sp_wait_names[w]);
            if (!(x[PREDICTED] > 0) && !(x[MEASURED] > 0))
                continue;
            if (!begun) {
                sp_page_say(&report->page, "h3", "Waiting, in all");
                begin_table(report, run, "");
            }
            begun = true;
            snprintf(name, sizeof name, "device %zu, for %s", d, sp_wait_names[w]);
            write_row(report, run, name, x, run_show_seconds);
        }
    if (begun)
        sp_page_table_end(&report->page);
}

static void write_epochs(struct report *report, const struct run *run)
{
    static const char *const head[] = {"epoch",     "time",          "training loss",
                                       "test loss", "test accuracy", "samples a second"};
    enum { CELLS = sizeof head / sizeof *head };
    const json_t *epochs = run_list(run->main, "epochs");
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
        run_show_seconds(report_number(epoch, "time_s"), texts[1]);
        snprintf(texts[2], 32, "%.4f", report_number(epoch, "loss"));
        snprintf(texts[3], 32, "%.4f", report_number(epoch, "test_loss"));
        run_show_percent(report_number(epoch, "accuracy"), texts[4]);
        report_real(report_number(epoch, "samples_per_s"), texts[5]);
        for (int c = 0; c < CELLS; c++)
            cells[c] = texts[c];
        sp_page_row(&report->page, "td", cells, CELLS);
    }
    sp_page_table_end(&report->page);
}

void run_write_details(struct report *report, const struct run *run)
{
    sp_page_say(&report->page, "h2", run_is_comparison(run) ? "Where the two part" : "Where the time goes");
    write_instructions(report, run);
    write_waits(report, run);
    write_stages(report, run);
    write_epochs(report, run);
}
