/*
 * The page of a run says what is behind its numbers: the planner's search, notes on the costs, and intervals. What it
 * shows is held against the run's summary.json, and the command that it gives is run.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/report/timeline.h"
#include "tests/folder.h"
#include "tests/program.h"

#include <jansson.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *path_of(const char *name)
{
    return sp_format("%s/%s", test_folder, name);
}

/* `command` on `input` with two more words (NULL: none), in a folder of the suite; the page of it. The caller frees. */
static char *page_of(const char *command, const char *input, const char *folder, const char *more, const char *value)
{
    char *in = path_of(input), *out = path_of(folder), *said = path_of("said"), *told = path_of("told");
    char *page = sp_format("%s/report.html", folder);
    const char *words[] = {command, in, "-q", "-o", out, more, value, NULL};
    const char *report[] = {"report", "-q", out, NULL};
    if (command != NULL && program_finish(program_start(told, words)) != 0)
        fail_msg("%s: %s", command, test_read("told"));
    if (program_finish(program_start(said, report)) != 0)
        fail_msg("report: %s", test_read("said"));
    char *html = test_read(page);
    free(in);
    free(out);
    free(said);
    free(told);
    free(page);
    return html;
}

static void expect(const char *html, const char *what)
{
    if (strstr(html, what) == NULL)
        fail_msg("not on the page: %s", what);
}

static void expect_not(const char *html, const char *what)
{
    if (strstr(html, what) != NULL)
        fail_msg("on the page: %s", what);
}

static json_t *read_summary(const char *name)
{
    char *path = path_of(name);
    json_t *summary = json_load_file(path, 0, NULL);
    assert_non_null(summary);
    free(path);
    return summary;
}

/* Replaces a summary.json; takes `summary`. */
static void write_summary(const char *name, json_t *summary)
{
    char *path = path_of(name);
    assert_int_equal(json_dump_file(summary, path, JSON_INDENT(2)), 0);
    json_decref(summary);
    free(path);
}

static double interval_end(const json_t *summary, const char *key, size_t end)
{
    return json_number_value(json_array_get(json_object_get(json_object_get(summary, "intervals"), key), end));
}

/* "<tr><td>utilization</td><td>97.3 %</td><td>96.7 % to 97.9 %</td>", as summary.json has it. */
static void expect_utilization(const char *html, const json_t *simulated, const char *end)
{
    char *row = sp_format(
        "<tr><td>utilization</td><td>%.1f %%</td><td>%.1f %% to %.1f %%</td>%s",
        100 * json_number_value(json_object_get(json_object_get(simulated, "medians"), "utilization")),
        100 * interval_end(simulated, "utilization", 0), 100 * interval_end(simulated, "utilization", 1), end);
    expect(html, row);
    free(row);
}

static void intervals_of_a_simulation_are_shown(void **state)
{
    (void)state;
    char *html = page_of("sim", "page.yaml", "sim", "--repeat", "20");
    json_t *summary = read_summary("sim/summary.json");
    expect_utilization(html, summary, "</tr>");
    expect(html, "With durations that vary: 20 simulated runs");
    expect(html, "build/stalepipe sim --repeat 20 ");
    json_decref(summary);
    free(html);
    html = page_of("sim", "page.yaml", "sim", NULL, NULL);
    expect_not(html, "--repeat");
    expect_not(html, "90 %");
    free(html);
}

/* What compare said of the backward passes of stage 0, which vary; the table has three digits behind the point. */
static void expect_median(const char *timeline)
{
    double predicted, measured;
    char *said = test_read("told"), *path = path_of(timeline), *row = strstr(said, "\n    backward, stage 0 ");
    struct sp_timeline of;
    struct sp_error err = {0};
    expect(said, "\n  an instruction, median\n    forward, stage 0 ");
    assert_non_null(row);
    assert_int_equal(sscanf(row, " backward, stage 0 %lf %lf", &predicted, &measured), 2);
    assert_int_equal(sp_timeline_read(path, "measured", &of, &err), SP_OK);
    double median = 1e3 * sp_timeline_median(&of, SP_SPAN_BACKWARD, 0).seconds;
    if (fabs(measured - median) > 0.002)
        fail_msg("%s: the median of a backward pass is %.4f ms, not %.4f", timeline, median, measured);
    sp_timeline_fini(&of);
    free(said);
    free(path);
}

static void a_comparison_says_what_lies_within(void **state)
{
    (void)state;
    char *html = page_of("compare", "page.yaml", "both", "--repeat", "20");
    json_t *summary = read_summary("both/summary.json"), *predicted = json_object_get(summary, "predicted");
    double measured = json_number_value(json_object_get(json_object_get(summary, "measured"), "utilization"));
    bool within = json_is_true(json_object_get(json_object_get(summary, "within"), "utilization"));
    expect_utilization(html, predicted,
                       within                                                 ? "<td>within</td></tr>"
                       : measured < interval_end(predicted, "utilization", 0) ? "<td class=\"far\">below</td></tr>"
                                                                              : "<td class=\"far\">above</td></tr>");
    expect(html, "build/stalepipe compare --repeat 20 ");
    expect_median("both/measured/timeline.csv");
    json_decref(summary);
    free(html);
    /* The other side of it: an interval around what was measured. */
    json_t *side = read_summary("both/predicted/summary.json");
    json_object_set_new(json_object_get(side, "intervals"), "utilization",
                        json_pack("[f, f]", measured - 0.01, measured + 0.01));
    write_summary("both/predicted/summary.json", side);
    html = page_of(NULL, "", "both", NULL, NULL);
    side = read_summary("both/predicted/summary.json");
    expect_utilization(html, side, "<td>within</td></tr>");
    json_decref(side);
    free(html);
}

static void notes_are_listed(void **state)
{
    (void)state;
    char *html = page_of("sim", "page.yaml", "notes", NULL, NULL);
    expect_not(html, "<li>");
    free(html);
    json_t *summary = read_summary("notes/summary.json");
    json_object_set_new(summary, "notes",
                        json_pack("[{s:s, s:s}, {s:s, s:s}]", "kind", "loaded", "text", "168 % of a core", "kind",
                                  "uncalibrated", "text", "a < b"));
    write_summary("notes/summary.json", summary);
    html = page_of(NULL, "", "notes", NULL, NULL);
    expect(html, "<li>loaded: 168 % of a core</li>\n<li>uncalibrated: a &lt; b</li>\n");
    free(html);
}

/* LeNet-5 has five weight layers: with at most two devices, five plans (uncut, or cut after one of four). */
static void a_plan_tells_of_its_search(void **state)
{
    (void)state;
    char *html = page_of("plan", "plan.yaml", "plan", NULL, NULL), *first = test_read("plan/candidates.csv");
    expect(html,
           "The planner chose it for throughput, the best of 5 plans, 5 of them simulated. It is proven to be the "
           "best: there are no others.");
    char *command = sp_format("build/stalepipe plan %s/plan/plan.yaml -o again", test_folder);
    expect(html, command);
    free(command);
    free(html);
    free(page_of("plan", "plan/plan.yaml", "again", NULL, NULL));
    char *second = test_read("again/candidates.csv");
    assert_string_equal(first, second);
    free(first);
    free(second);
    json_t *summary = read_summary("again/summary.json");
    json_object_set_new(summary, "proven", json_false());
    json_object_set_new(summary, "doubt", json_string("memory was not searched"));
    json_object_set_new(summary, "bound_s", json_real(0.002));
    write_summary("again/summary.json", summary);
    test_shell("rm %s/again/plan.yaml", test_folder);
    html = page_of(NULL, "", "again", NULL, NULL);
    expect(html,
           "It is not proven to be the best: memory was not searched; apart from that, what was not simulated takes "
           "at least 2 ms a minibatch.");
    expect(html, "It reproduces the plan that was found");
    free(html);
    html = page_of("sim", "page.yaml", "again", NULL, NULL); /* what came last is no plan */
    expect_not(html, "The planner");
    expect_not(html, "pareto");
    free(html);
}

static int write_experiments(void **state)
{
    static const char experiment[] = "name: page\nnetwork: lenet5\ndata: {set: synthetic, samples: 320}\n"
                                     "pipeline: {cuts: %s, schedule: stale}\ndevices: {backend: ref, count: 2}\n"
                                     "cost: {noise: 0.1}\ntrain: {batch: 16, epochs: 1}\n";
    if (test_folder_make(state) != 0)
        return -1;
    for (int plan = 0; plan < 2; plan++) {
        char *path = path_of(plan ? "plan.yaml" : "page.yaml"), *text = sp_format(experiment, plan ? "auto" : "[1]");
        struct sp_error err = {0};
        assert_int_equal(sp_file_write(path, text, &err), SP_OK);
        free(path);
        free(text);
    }
    return 0;
}

int main(void)
{
    setenv("LC_ALL", "C.UTF-8", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_of_a_simulation_are_shown),
        cmocka_unit_test(a_comparison_says_what_lies_within),
        cmocka_unit_test(notes_are_listed),
        cmocka_unit_test(a_plan_tells_of_its_search),
    };
    return cmocka_run_group_tests_name("report_run", tests, write_experiments, test_folder_remove);
}
