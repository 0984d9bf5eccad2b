/*
 * `report`: figures and a page from what a run left.
 */
#include "common/program/report.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/program/program.h"
#include "common/report/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *report_path(const char *folder, const char *name)
{
    return sp_format("%s/%s", folder, name);
}

bool report_has(const char *folder, const char *name)
{
    char *path = report_path(folder, name);
    bool found = access(path, R_OK) == 0;
    free(path);
    return found;
}

double report_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *report_string(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* Commas between thousands. */
static void group(char buffer[32])
{
    size_t length = strlen(buffer), first = buffer[0] == '-';
    for (size_t at = length; at > first + 3 && length < 30;) {
        at -= 3;
        memmove(buffer + at + 1, buffer + at, length - at + 1);
        buffer[at] = ',';
        length++;
    }
}

const char *report_real(double x, char buffer[32])
{
    if (!isfinite(x))
        return strcpy(buffer, "-");
    double size = fabs(x);
    if (size < 0.005) /* not "-0.00" */
        x = 0;
    if (size >= 1000 && size < 1e15) {
        snprintf(buffer, 32, "%.0f", x);
        group(buffer);
    } else {
        snprintf(buffer, 32, size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : "%.2f", x);
    }
    return buffer;
}

const char *report_error(double predicted, double measured, double far, char buffer[32])
{
    double error = (predicted - measured) / measured;
    if (!isfinite(error))
        return strcpy(buffer, predicted == measured ? "none" : "-");
    if (predicted == measured)
        return strcpy(buffer, "none");
    snprintf(buffer, 32, "%s%+.1f %%", fabs(error) > far ? "!" : "", 100 * error);
    return buffer;
}

static sp_status draw(struct report *report, const struct report_figure *figure, struct sp_error *err)
{
    char *out = report_path(report->figures, figure->name), *svg = sp_format("%s.svg", out);
    sp_status status = sp_draw(report->plots, figure->script, figure->data, figure->path, out, err);
    if (status == SP_OK && !report->quiet)
        fprintf(stderr, "%s.svg, .pdf, .png\n", out);
    if (status == SP_OK && figure->caption != NULL)
        status = sp_page_figure(&report->page, svg, figure->caption, figure->csv, err);
    free(out);
    free(svg);
    return status;
}

void report_draw(struct report *report, const struct report_figure *figure)
{
    struct sp_error wrong = {0};
    sp_status drawn = draw(report, figure, &wrong);
    if (drawn != SP_OK)
        sp_page_say(&report->page, "p class=\"note\"", "No figure: %s", wrong.text);
    if (drawn != SP_OK && report->undrawn == SP_OK)
        report->undrawn = SP_FAIL(&report->why, drawn, "%s", wrong.text);
    sp_error_fini(&wrong);
}

void report_experiment(struct report *report, const char *folder)
{
    char *path = report_path(folder, "experiment.yaml"), *yaml;
    size_t size;
    struct sp_error unread = {0};
    if (sp_file_read(path, 1 << 20, NULL, &yaml, &size, &unread) == SP_OK) {
        fputs("<details><summary>experiment.yaml</summary>\n", report->page.out);
        sp_page_say(&report->page, "pre", "%s", yaml);
        fputs("</details>\n", report->page.out);
        free(yaml);
    }
    sp_error_fini(&unread);
    free(path);
}

/* What a folder is: which page it gets. */
typedef sp_status (*page_writer)(struct report *report, char **title, struct sp_error *err);

static page_writer writer_of(const char *folder)
{
    char **below;
    if (report_has(folder, "results.csv"))
        return report_sweep;
    if (report_has(folder, "summary.json"))
        return report_run;
    int count = report_sweeps_below(folder, &below);
    for (int s = 0; s < count; s++)
        free(below[s]);
    free(below);
    return count > 0 ? report_collection : NULL;
}

static sp_status write_report(struct report *report, page_writer writer, struct sp_error *err)
{
    char *title = NULL, *path = report_path(report->folder, "report.html");
    sp_page_begin(&report->page);
    sp_status status = writer(report, &title, err);
    if (status == SP_OK)
        status = sp_page_write(&report->page, report->plots, title, path, err);
    if (status == SP_OK && !report->quiet)
        fprintf(stderr, "%s\n", path);
    if (status == SP_OK && report->undrawn != SP_OK)
        status = SP_FAIL(err, report->undrawn, "%s", report->why.text);
    sp_error_fini(&report->why);
    sp_page_fini(&report->page);
    free(title);
    free(path);
    return status;
}

sp_status program_report(const struct program *program, struct sp_error *err)
{
    struct report report = {.folder = program->argument, .quiet = program->quiet};
    struct sp_mark mark = {.file = report.folder};
    if (access(report.folder, R_OK | X_OK) != 0)
        return sp_reject(err, mark, "no such folder; name one that sim, plan, train, compare or sweep wrote");
    page_writer writer = writer_of(report.folder);
    if (writer == NULL && report_has(report.folder, "losses.csv"))
        return sp_reject(err, mark,
                         "the run there is not finished: `stalepipe train --resume` continues it; plots/loss.gp draws "
                         "its curves so far");
    if (writer == NULL)
        return sp_reject(err, mark,
                         "nothing to report: neither summary.json nor results.csv, here or one folder below");
    SP_TRY(sp_plots_find(&report.plots, err));
    report.figures = report_path(report.folder, "figures");
    sp_status status = sp_folder_make(report.figures, err);
    if (status == SP_OK)
        status = write_report(&report, writer, err);
    free(report.figures);
    free(report.plots);
    return status;
}
