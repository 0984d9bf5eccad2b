/*
 * What is behind a prediction: the planner's search, the notes of the costs, and runs whose durations vary.
 */
#include "common/alloc.h"
#include "common/program/report_run.h"

#include <stdlib.h>
#include <string.h>

bool run_is_plan(const struct run *run)
{
    return json_is_string(json_object_get(run->main->summary, "objective"));
}

void run_write_search(struct report *report, const struct run *run)
{
    const json_t *summary = run->main->summary;
    if (!run_is_plan(run))
        return;
    const char *objective = report_string(summary, "objective"), *doubt = report_string(summary, "doubt");
    bool whole = strcmp(objective, "time") == 0;
    double bound = report_number(summary, whole ? "bound_time_s" : "bound_s");
    char least[32];
    char *others = isfinite(bound) ? sp_format("what was not simulated takes at least %s%s",
                                               run_show_seconds(bound, least), whole ? "" : " a minibatch")
                                   : sp_strdup("there are no others");
    sp_page_say(&report->page, "p",
                "The planner chose it for %s, the best of %.0f plans, %.0f of them simulated. %s%s%s%s.", objective,
                report_number(summary, "searched"), report_number(summary, "simulated"),
                json_is_true(json_object_get(summary, "proven")) ? "It is proven to be the best: "
                                                                 : "It is not proven to be the best: ",
                doubt, doubt[0] != '\0' ? "; apart from that, " : "", others);
    free(others);
}

void run_write_notes(struct report *report, const struct run *run)
{
    json_t *note;
    size_t n;
    const json_t *notes = run_has_side(run, PREDICTED) ? run_list(&run->sides[PREDICTED], "notes") : NULL;
    if (json_array_size(notes) == 0)
        return;
    sp_page_say(&report->page, "p class=\"note\"", "Of the costs that are predicted with:");
    fputs("<ul class=\"note\">\n", report->page.out);
    json_array_foreach(notes, n, note)
        sp_page_say(&report->page, "li", "%s: %s", report_string(note, "kind"), report_string(note, "text"));
    fputs("</ul>\n", report->page.out);
}

int run_repeats(const struct run *run)
{
    double repeats = run_has_side(run, PREDICTED) ? run_number(run, PREDICTED, "repeats") : NAN;
    return repeats > 0 ? (int)repeats : 0;
}

void run_write_intervals(struct report *report, const struct run *run)
{
    static const struct {
        const char *name, *key;
        const char *(*show)(double, char *);
    } rows[] = {{"time", "time_s", run_show_seconds},
                {"speedup", "speedup", run_show_real},
                {"utilization", "utilization", run_show_percent}};
    const char *head[] = {"", "median", "90 % of the runs", "measured"};
    int columns = run_is_comparison(run) ? 4 : 3;
    if (run_repeats(run) == 0)
        return;
    sp_page_say(&report->page, "h3", "With durations that vary: %d simulated runs", run_repeats(run));
    sp_page_table_begin(&report->page);
    sp_page_row(&report->page, "th", head, columns);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const json_t *of = run_list(&run->sides[PREDICTED], "intervals"), *ends = json_object_get(of, rows[r].key);
        double low = json_number_value(json_array_get(ends, 0)), high = json_number_value(json_array_get(ends, 1));
        double measured = run_is_comparison(run) ? run_number(run, MEASURED, rows[r].key) : NAN;
        char median[32], first[32], last[32];
        rows[r].show(report_number(run_list(&run->sides[PREDICTED], "medians"), rows[r].key), median);
        char *range = json_is_number(json_array_get(ends, 0))
                          ? sp_format("%s to %s", rows[r].show(low, first), rows[r].show(high, last))
                          : sp_strdup("-");
        const char *place = !isfinite(measured) ? "-"
                            : measured < low    ? "!below"
                            : measured > high   ? "!above"
                                                : "within";
        sp_page_row(&report->page, "td", (const char *[]){rows[r].name, median, range, place}, columns);
        free(range);
    }
    sp_page_table_end(&report->page);
}
