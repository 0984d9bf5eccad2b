/*
 * The page of a run, or of a comparison of its two sides.
 */
#include "common/program/report_run.h"
#include "common/alloc.h"
#include "common/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* What came last: the folder's own summary is that of a run, real or not, or of a comparison. */
static void look_at(const char *folder, bool *is_run, bool *is_real)
{
    char *path = report_path(folder, "summary.json");
    json_t *summary = json_load_file(path, 0, NULL);
    *is_run = json_object_get(summary, "devices") != NULL;
    *is_real = json_object_get(summary, "epochs") != NULL;
    json_decref(summary);
    free(path);
}

static sp_status read_run(struct run *run, const char *folder, struct sp_error *err)
{
    static const char *const labels[SIDES] = {"predicted", "measured"};
    sp_status status = SP_OK;
    bool is_run, is_real;
    look_at(folder, &is_run, &is_real);
    bool both = !is_run && report_has(folder, "predicted/summary.json") && report_has(folder, "measured/summary.json");
    for (int s = 0; s < SIDES && status == SP_OK && both; s++) {
        char *path = report_path(folder, labels[s]);
        status = read_side(&run->sides[s], path, labels[s], err);
        free(path);
    }
    if (!both) {
        int side = is_real ? MEASURED : PREDICTED;
        status = read_side(&run->sides[side], folder, labels[side], err);
    }
    run->main = run_has_side(run, MEASURED) ? &run->sides[MEASURED] : &run->sides[PREDICTED];
    if (status == SP_OK && !json_is_array(run_list(run->main, "devices")))
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
        for (size_t i = 0; i < json_array_size(run_list(run->main, "stages")); i++) {
            fprintf(file.stream, "%s,%zu", names[k], i);
            for (int s = 0; s < SIDES; s++)
                fprintf(file.stream, run_has_side(run, s) ? ",%.0f" : ",",
                        run_entry(&run->sides[s], "stages", i, keys[k]));
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
                           run_is_plan(run) && report_has(report->folder, "candidates.csv")};
    sp_page_say(&report->page, "h2", "Figures");
    sp_page_say(&report->page, "p class=\"note\"", "As SVG, PDF and PNG in %s.", report->figures);
    fputs("<div class=\"figures\">\n", report->page.out);
    status = write_staleness(run, staleness, err);
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++)
        if (wanted[f])
            report_draw(report, &figures[f]);
    fputs("</div>\n", report->page.out);
    free(staleness);
    free(devices);
    free(candidates);
    return status;
}

/* --- the page -------------------------------------------------------------------------------------------------- */

static void write_reproduce(struct report *report, const struct run *run)
{
    /* The experiment.yaml of a plan is that of the best; plan.yaml is the one that was searched. */
    bool search = run_is_plan(run) && report_has(report->folder, "plan.yaml");
    const char *command = run_is_comparison(run)        ? "compare"
                          : run_has_side(run, MEASURED) ? "train"
                          : search                      ? "plan"
                                                        : "sim";
    bool baseline = !run_is_comparison(run) && isfinite(run_number(run, MEASURED, "speedup"));
    char repeat[32] = "";
    if (run_repeats(run) > 0)
        snprintf(repeat, sizeof repeat, " --repeat %d", run_repeats(run));
    sp_page_say(&report->page, "h2", "To reproduce it");
    sp_page_say(&report->page, "pre", "build/stalepipe %s%s%s %s/%s.yaml -o again\nbuild/stalepipe report again",
                command, baseline ? " --baseline" : "", repeat, run->main->folder, search ? "plan" : "experiment");
    if (run_is_plan(run) && !search)
        sp_page_say(&report->page, "p class=\"note\"",
                    "It reproduces the plan that was found; what was searched is not kept here.");
    report_experiment(report, run->main->folder);
    sp_page_say(&report->page, "p class=\"note\"", "%s",
                run_is_comparison(run) ? "Both sides as one trace for Perfetto (ui.perfetto.dev): trace.json."
                                       : "As a trace for Perfetto (ui.perfetto.dev): trace.json.");
}

static void write_timeline(struct report *report, const struct run *run)
{
    struct sp_timeline sides[SIDES];
    int count = 0;
    for (int s = 0; s < SIDES; s++)
        if (run_has_side(run, s) && run->sides[s].timeline.count > 0)
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
        *title = sp_format("%s: %s", name, run_is_comparison(&run) ? "predicted and measured" : run.main->label);
        sp_page_say(&report->page, "h1", "%s", *title);
        run_write_question(report, &run);
        run_write_answer(report, &run);
        run_write_numbers(report, &run);
        write_timeline(report, &run);
        status = write_figures(report, &run, err);
        run_write_details(report, &run);
        write_reproduce(report, &run);
    }
    free_run(&run);
    return status;
}
