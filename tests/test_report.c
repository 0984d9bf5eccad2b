/*
 * Reports: tables by column name, pages that need nothing but themselves, and the page of a run held against the files
 * that it is made from.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/report/page.h"
#include "common/report/table.h"
#include "common/report/timeline.h"
#include "tests/folder.h"

#include <jansson.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *write_file(const char *name, const char *text)
{
    char *path = sp_format("%s/%s", test_folder, name);
    struct sp_error err = {0};
    assert_int_equal(sp_file_write(path, text, &err), SP_OK);
    return path;
}

/* Runs build/stalepipe with these words; its exit status. What it says lands in FOLDER/said. */
static int run_program(const char *words)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    char *command = sp_format("%s/../stalepipe %s >%s/said 2>&1", self, words, test_folder);
    int status = system(command);
    free(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int occurrences(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        count++;
    return count;
}

static void tables_are_read_by_column_name(void **state)
{
    (void)state;
    char *path =
        write_file("table.csv", "label,x,note\n\"stale [1,2]\",1.5,\nshort,2\ngpipe,,\"says \"\"no\"\"\"\ntorn,3,");
    struct sp_table table;
    struct sp_error err = {0};
    assert_int_equal(sp_table_read(path, &table, &err), SP_OK);
    assert_int_equal(table.rows, 2); /* one has two fields, one has no end */
    int label = sp_table_column(&table, "label"), x = sp_table_column(&table, "x"),
        note = sp_table_column(&table, "note");
    assert_string_equal(sp_table_text(&table, 0, label), "stale [1,2]");
    assert_true(sp_table_number(&table, 0, x) == 1.5);
    assert_true(isnan(sp_table_number(&table, 1, x)));
    assert_true(isnan(sp_table_number(&table, 0, label)));
    assert_string_equal(sp_table_text(&table, 1, note), "says \"no\"");
    assert_int_equal(sp_table_column(&table, "y"), -1);
    assert_string_equal(sp_table_text(&table, 0, -1), "");
    sp_table_fini(&table);
    free(path);
}

static void text_is_no_markup(void **state)
{
    (void)state;
    struct sp_page page;
    sp_page_begin(&page);
    sp_page_say(&page, "p class='note'", "%s", "<script>a & b</script>");
    const char *cells[] = {"\"x\"", "!12 %"};
    sp_page_row(&page, "td", cells, 2);
    fflush(page.out);
    assert_string_equal(page.body, "<p class='note'>&lt;script&gt;a &amp; b&lt;/script&gt;</p>\n"
                                   "<tr><td>&quot;x&quot;</td><td class=\"far\">12 %</td></tr>\n");
    sp_page_fini(&page);
}

/* Two figures with the ids that gnuplot gives all of its own: on the page they must differ, and be found. */
static void figures_do_not_share_ids(void **state)
{
    (void)state;
    char *path =
        write_file("x.svg", "<?xml version=\"1.0\"?>\n<svg \n width=\"420\" height=\"300\"\n viewBox=\"0 0 420 300\">\n"
                            "<rect x=\"0\" y=\"0\" width=\"420\" height=\"300\" fill=\"#ffffff\"/>\n"
                            "<circle id='gpPt5' r='1'/><use xlink:href='#gpPt5' color='rgb( 51,  51,  51)'/>"
                            "<g clip-path=\"url(#gpClip1)\"/></svg>\n");
    struct sp_page page;
    struct sp_error err = {0};
    sp_page_begin(&page);
    assert_int_equal(sp_page_figure(&page, path, "one", NULL, &err), SP_OK);
    assert_int_equal(sp_page_figure(&page, path, "two", NULL, &err), SP_OK);
    fflush(page.out);
    for (int f = 0; f < 2; f++) {
        char *expected = sp_format("<circle id='f%d-gpPt5' r='1'/><use xlink:href='#f%d-gpPt5' color='var(--ink)'/>"
                                   "<g clip-path=\"url(#f%d-gpClip1)\"/></svg>",
                                   f, f, f);
        assert_int_equal(occurrences(page.body, expected), 1);
        free(expected);
    }
    assert_int_equal(occurrences(page.body, "#ffffff"), 0); /* the background is the page's */
    sp_page_fini(&page);
    free(path);
}

#define HEADER "lane,name,kind,stage,minibatch,microbatch,version,payload,start_s,end_s\n"

/* Forward passes of 2, 5 and 3 ms: the median is 3. The second minibatch begins at 10 ms. */
static void timelines_are_read(void **state)
{
    (void)state;
    char *path = write_file("timeline.csv", HEADER "0,device 0,forward,0,0,0,0,,0,0.002\n"
                                                   "0,device 0,forward,0,1,0,1,,0.010,0.015\n"
                                                   "0,device 0,forward,0,2,0,2,,0.020,0.023\n"
                                                   "0,device 0,evaluate,0,0,0,3,,0.030,0.090\n"
                                                   "1,link 0 -> 0,transfer,0,0,0,0,activation,0.002,0.004\n");
    struct sp_timeline timeline;
    struct sp_error err = {0};
    assert_int_equal(sp_timeline_read(path, "measured", &timeline, &err), SP_OK);
    assert_int_equal(timeline.count, 5);
    assert_int_equal(timeline.device_count, 1);
    assert_int_equal(timeline.lane_count, 2);
    assert_int_equal(timeline.minibatches, 3);
    assert_true(timeline.begins_s[1] == 0.010 && timeline.end_s == 0.023);
    struct sp_timeline_median median = sp_timeline_median(&timeline, SP_SPAN_FORWARD, 0);
    assert_int_equal(median.count, 3);
    assert_true(fabs(median.seconds - 0.003) < 1e-12);
    assert_true(isnan(sp_timeline_median(&timeline, SP_SPAN_BACKWARD, 0).seconds));
    sp_timeline_fini(&timeline);
    free(path);
    path =
        write_file("timeline.csv", HEADER "0,device 0,forward,0,0,0,0,,0,0.002\n0,device 0,forward,0,1,0,1,,0.01,x\n");
    assert_int_equal(sp_timeline_read(path, "measured", &timeline, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "timeline.csv:3:1: "));
    sp_timeline_fini(&timeline);
    sp_error_fini(&err);
    free(path);
}

/* Every element that is begun is ended, in order; void ones, comments and what is in scripts apart. */
static void check_nesting(const char *html)
{
    static const char *const voids[] = {"meta", "input", "!doctype"};
    char names[64][24];
    int depth = 0;
    for (const char *at = strchr(html, '<'); at != NULL; at = strchr(at + 1, '<')) {
        bool end = at[1] == '/', is_void = false;
        const char *name = at + 1 + end, *close = strchr(at, '>');
        size_t length = strcspn(name, " \n\t/>");
        assert_non_null(close);
        assert_true(length > 0 && length < 24);
        for (size_t v = 0; v < sizeof voids / sizeof *voids; v++)
            is_void = is_void || (strlen(voids[v]) == length && strncmp(voids[v], name, length) == 0);
        if (is_void || close[-1] == '/')
            continue;
        if (!end) {
            assert_true(depth < 64);
            snprintf(names[depth++], sizeof names[0], "%.*s", (int)length, name);
        } else if (depth == 0 || strlen(names[depth - 1]) != length || strncmp(names[depth - 1], name, length) != 0) {
            fail_msg("</%.*s> ends <%s>", (int)length, name, depth > 0 ? names[depth - 1] : "nothing");
        } else {
            depth--;
        }
        if (!end && (strncmp(name, "script", 6) == 0 || strncmp(name, "style", 5) == 0))
            at = strstr(at, strncmp(name, "script", 6) == 0 ? "</script" : "</style") - 1;
    }
    assert_int_equal(depth, 0);
}

/* Nothing is fetched: no address but the names of XML namespaces, no source, no style sheet elsewhere. */
static void check_alone(const char *html)
{
    assert_int_equal(occurrences(html, "http"), occurrences(html, "http://www.w3.org/"));
    assert_int_equal(occurrences(html, " src="), 0);
    assert_int_equal(occurrences(html, "<link"), 0);
    assert_int_equal(occurrences(html, "@import"), 0);
    assert_int_equal(occurrences(html, "url("), occurrences(html, "url(#"));
}

/* What is waited for is called as in summary.json, where a credit is a buffer. */
static void check_waits(const json_t *data)
{
    static const char *const names[][2] = {{"activation", "input"},
                                           {"gradient", "gradient"},
                                           {"stash", "weights"},
                                           {"weights", "weights"},
                                           {"credit", "buffer"}};
    for (size_t p = 0; p < sizeof names / sizeof *names; p++)
        for (int w = 0; w < 2; w++)
            assert_string_equal(json_string_value(json_array_get(json_object_get(data, w ? "waits" : "payloads"), p)),
                                names[p][w]);
}

/* The page's timeline of a short run: every span of timeline.csv with its version and its duration. */
static void check_timeline(const char *html, const char *csv)
{
    const char *from = strstr(html, "<script type=\"application/json\">");
    assert_non_null(from);
    from = strchr(from, '>') + 1;
    json_t *data = json_loadb(from, (size_t)(strstr(from, "</script>") - from), 0, NULL);
    assert_non_null(data);
    json_t *side = json_array_get(json_object_get(json_array_get(json_object_get(data, "windows"), 0), "sides"), 0);
    json_t *spans = json_object_get(side, "spans");
    struct sp_table table;
    struct sp_error err = {0};
    assert_int_equal(sp_table_read(csv, &table, &err), SP_OK);
    assert_int_equal(json_array_size(spans), 9 * table.rows);
    int version = sp_table_column(&table, "version"), start = sp_table_column(&table, "start_s");
    for (int r = 0; r < table.rows; r++) {
        double length = 1e6 * (sp_table_number(&table, r, start + 1) - sp_table_number(&table, r, start));
        assert_true(json_number_value(json_array_get(spans, 9 * (size_t)r + 5)) == sp_table_number(&table, r, version));
        assert_true(fabs(json_number_value(json_array_get(spans, 9 * (size_t)r + 8)) - length) < 0.001);
    }
    check_waits(data);
    sp_table_fini(&table);
    json_decref(data);
}

static const char experiment[] = "name: page\nnetwork: lenet5\ndata: {set: mnist}\n"
                                 "pipeline: {cuts: [1, 2], schedule: stale}\n"
                                 "devices: {backend: ref, count: 3}\nsim: {minibatches: 24}\n";

/* Three devices: stage 0 is 2 * (3 - 1) = 4 updates stale. Weights of LeNet-5's first two convolutions by the paper's
 * share: (6 * 25 + 6 + 16 * 6 * 25 + 16) / 61706 = 4.17 %. */
static void the_page_of_a_run_needs_nothing_else(void **state)
{
    (void)state;
    free(write_file("page.yaml", experiment));
    char *words = sp_format("sim %s/page.yaml -o %s/run", test_folder, test_folder), *said = NULL;
    if (run_program(words) != 0)
        fail_msg("%s: %s", words, said = test_read("said"));
    free(words);
    words = sp_format("report %s/run", test_folder);
    if (run_program(words) != 0)
        fail_msg("%s: %s", words, said = test_read("said"));
    free(words);
    free(said);
    char *html = test_read("run/report.html"), *csv = sp_format("%s/run/timeline.csv", test_folder);
    check_alone(html);
    check_nesting(html);
    check_timeline(html, csv);
    assert_int_equal(occurrences(html, "<h1>page: predicted</h1>"), 1);
    assert_int_equal(occurrences(html, "the weights of stage 0, the stalest, are 4 updates old"), 1);
    assert_int_equal(occurrences(html, "4.17 % of all weights are stale"), 1);
    assert_int_equal(occurrences(html, "<figure"), 3); /* utilization, memory, staleness */
    free(html);
    free(csv);
    char *staleness = test_read("run/figures/staleness.csv");
    assert_non_null(strstr(staleness, "forward pass,0,4,\nforward pass,1,2,\nforward pass,2,0,\n"));
    free(staleness);
}

/* A measured network may take no time: its plans are listed all the same, without infinite rates. */
static void plans_that_take_no_time_are_listed(void **state)
{
    (void)state;
    char *csv = write_file("zero.csv", "name,forward_ms,backward_ms,activation_bytes,parameter_bytes\na,0,0,0,0\n");
    char *yaml = write_file("zero.yaml", "pipeline: {cuts: auto}\ndevices: {count: 1}\n");
    char *words = sp_format("plan %s --set 'network={profile: %s}' --json -o %s/zero", yaml, csv, test_folder);
    assert_int_equal(run_program(words), 0);
    char *said = test_read("said"), *listed = test_read("zero/candidates.csv");
    assert_true(occurrences(said, "\"samples_per_s\": 0.0") > 1); /* the summary's is one */
    assert_int_equal(occurrences(listed, "inf"), 0);
    free(said);
    free(listed);
    free(words);
    free(yaml);
    free(csv);
}

/* What a figure is made of may be damaged: the page says so in its place, and has the rest. */
static void a_figure_that_fails_leaves_the_page(void **state)
{
    (void)state;
    char *words = sp_format("report %s/run", test_folder);
    free(write_file("run/devices.csv", "nothing\n"));
    assert_int_equal(run_program(words), 1);
    char *html = test_read("run/report.html");
    check_nesting(html);
    assert_int_equal(occurrences(html, "No figure: "), 2); /* utilization, memory */
    assert_int_equal(occurrences(html, "<figure"), 1);
    assert_int_equal(occurrences(html, "To reproduce it"), 1);
    free(html);
    free(words);
}

/* A simulation where a training's files are sets these aside, and is what is reported then. */
static void what_came_last_is_reported(void **state)
{
    (void)state;
    char *words = sp_format("sim -q %s/page.yaml -o %s/both", test_folder, test_folder);
    char *folder = sp_format("%s/both", test_folder), *report = sp_format("report %s", folder), *text;
    assert_int_equal(mkdir(folder, 0777), 0);
    free(write_file("both/losses.csv", "minibatch,loss\n0,2.3\n"));
    free(write_file("both/summary.json", "{\"trained\": true}"));
    assert_int_equal(run_program(words), 0);
    assert_int_equal(run_program(report), 0);
    text = test_read("both/report.html");
    assert_int_equal(occurrences(text, "<h1>page: predicted</h1>"), 1);
    free(text);
    text = test_read("both/summary.json.old");
    assert_string_equal(text, "{\"trained\": true}");
    free(text);
    text = test_read("both/losses.csv.old");
    assert_string_equal(text, "minibatch,loss\n0,2.3\n");
    free(text);
    free(write_file("both/results.csv", "id\n"));
    assert_int_equal(run_program(words), 2); /* no run goes into a sweep's folder */
    text = test_read("said");
    assert_non_null(strstr(text, "a sweep's results are there"));
    free(text);
    free(report);
    free(folder);
    free(words);
}

/* A damaged file of the run: one line with its place, exit status 2, no page. */
static void a_damaged_run_is_told(void **state)
{
    (void)state;
    char *words = sp_format("report %s/run", test_folder);
    char *page = sp_format("%s/run/report.html", test_folder);
    unlink(page);
    free(write_file("run/timeline.csv", HEADER "0,device 0,forward,0,0,0,0,,0\n0,device 0,sideways,0,0,0,0,,0,1\n"));
    assert_int_equal(run_program(words), 2);
    char *said = test_read("said");
    assert_non_null(strstr(said, "run/timeline.csv:3:1: "));
    assert_int_equal(occurrences(said, "\n"), 1);
    assert_int_not_equal(access(page, F_OK), 0);
    free(said);
    free(write_file("run/summary.json", "{\"name\": \"page\",\n"));
    assert_int_equal(run_program(words), 2);
    said = test_read("said");
    assert_non_null(strstr(said, "run/summary.json:"));
    free(said);
    free(words);
    free(page);
}

#define RESULTS                                                                                                        \
    "id,point,repeat,engine,status,label,network,data,schedule,weights,cuts,stages,devices,batch,microbatches,seed,"   \
    "minibatches,first_phase_fraction,stale_weight_fraction,staleness,peak_device_bytes,weights_bytes,"                \
    "optimizer_bytes,gradients_bytes,versions_bytes,activations_bytes,boundary_bytes,scratch_bytes,folder,reason,"     \
    "pipeline.schedule,pipeline.cuts"
#define KINDS "900,100,100,100,0,400,200,100"

/* Three points: the reference, one of three stages simulated and run, and one that is only simulated. And a failure. */
static const char results[] = RESULTS
    "\n"
    "a,0,0,real,ok,\"sequential [1, 2]\",lenet5,mnist,sequential,latest,1 2,3,1,64,1,1,10,1,0,0 0 0," KINDS
    ",runs/a,,sequential,\"[1, 2]\"\n"
    "b,1,0,real,ok,\"stale [1, 2]\",lenet5,mnist,stale,latest,1 2,3,3,64,1,1,10,1,0.042,4 2 0," KINDS
    ",runs/b,,stale,\"[1, 2]\"\n"
    "c,1,0,sim,ok,\"stale [1, 2]\",lenet5,mnist,stale,latest,1 2,3,3,64,1,1,10,1,0.042,4 2 0," KINDS
    ",runs/c,,stale,\"[1, 2]\"\n"
    "d,2,0,sim,ok,gpipe [1],lenet5,mnist,gpipe,latest,1,2,2,64,1,1,10,1,0,0 0," KINDS ",runs/d,,gpipe,[1]\n"
    "e,3,0,real,failed,gpipe [9],lenet5,mnist,gpipe,latest,9,,,64,1,1,10,1,,,,,,,,,,,runs/e,\"no cut <9>\",gpipe,[9]\n";

static const char summary[] = "point,label,engine,metric,unit,n,mean,low,high,deviation,published\n"
                              "0,\"sequential [1, 2]\",real,accuracy,0..1,3,0.90,0.89,0.91,0.01,\n"
                              "1,\"stale [1, 2]\",real,accuracy,0..1,3,0.88,0.87,0.89,0.01,\n"
                              "1,\"stale [1, 2]\",real,speedup,,3,1.5,1.4,1.6,0.05,1.7\n"
                              "1,\"stale [1, 2]\",sim,speedup,,1,1.8,,,,1.7\n"
                              "2,gpipe [1],sim,speedup,,1,1.2,,,,\n";

static const char comparisons[] =
    "point,label,kind,reference,engine,metric,n,difference,difference_low,difference_high,ratio,ratio_low,ratio_high,p,"
    "published_difference,published_ratio\n"
    "1,\"stale [1, 2]\",reference,0,real,accuracy,3,-0.02,-0.03,-0.01,0.98,,,0.01,-0.014,\n"
    "1,\"stale [1, 2]\",prediction,1,sim,speedup,3,0.3,,,1.2,,,0.01,,\n";

static void write_sweep(void)
{
    char *made = sp_format("%s/all/sweep", test_folder);
    struct sp_error err = {0};
    assert_int_equal(sp_folder_make(made, &err), SP_OK);
    free(made);
    free(write_file("all/sweep/results.csv", results));
    free(write_file("all/sweep/summary.csv", summary));
    free(write_file("all/sweep/comparisons.csv", comparisons));
    free(write_file("all/sweep/about.txt", "Table 5 & more"));
}

static char *report_on(const char *below)
{
    char *words = sp_format("report %s/%s", test_folder, below), *page = sp_format("%s/report.html", below);
    if (run_program(words) != 0)
        fail_msg("%s: %s", words, test_read("said"));
    char *html = test_read(page);
    free(words);
    free(page);
    return html;
}

static void expect_table(const char *name, const char *rows)
{
    char *path = sp_format("all/sweep/figures/%s.csv", name), *text = test_read(path), *from = strchr(text, '\n') + 1;
    if (strcmp(from, rows) != 0)
        fail_msg("%s, expected:\n%sgot:\n%s", path, rows, from);
    free(path);
    free(text);
}

/* Rates go with networks, two momenta come for one of them: only that network's panels are told apart, by momentum. */
static void what_goes_with_the_network_is_not_in_a_panels_name(void **state)
{
    (void)state;
    static const char rows[] = RESULTS
        ",train.lr,train.momentum,label,published\n"
        "a,0,0,sim,ok,a,lenet5,mnist,stale,latest,1,2,2,64,1,1,10,1,0,2 0," KINDS ",runs/a,,stale,[1],0.1,0.5,a,1.1\n"
        "b,1,0,sim,ok,b,lenet5,mnist,stale,latest,1,2,2,64,1,1,10,1,0,2 0," KINDS ",runs/b,,stale,[1],0.1,0.9,b,1.2\n"
        "c,2,0,sim,ok,c,resnet20,mnist,stale,latest,1,2,2,64,1,1,10,1,0,2 0," KINDS
        ",runs/c,,stale,[1],0.2,0.5,c,1.3\n";
    static const char means[] = "point,label,engine,metric,unit,n,mean,low,high,deviation,published\n"
                                "0,a,sim,speedup,,1,1.1,,,,\n1,b,sim,speedup,,1,1.2,,,,\n2,c,sim,speedup,,1,1.3,,,,\n";
    char *made = sp_format("%s/zipped", test_folder);
    struct sp_error err = {0};
    assert_int_equal(sp_folder_make(made, &err), SP_OK);
    free(made);
    free(write_file("zipped/results.csv", rows));
    free(write_file("zipped/summary.csv", means));
    char *html = report_on("zipped"); /* names and published figures are no choice */
    assert_int_equal(occurrences(html, "what does the choice of pipeline.schedule, pipeline.cuts, train.lr, "
                                       "train.momentum do to speed"),
                     1);
    free(html);
    char *text = test_read("zipped/figures/speedup.csv");
    assert_string_equal(strchr(text, '\n') + 1, "lenet5 momentum 0.5,stale,2,2,1.1,,,,,\n"
                                                "lenet5 momentum 0.9,stale,2,2,1.2,,,,,\n"
                                                "resnet20,stale,2,2,1.3,,,,,\n");
    free(text);
}

/* What the figures are drawn from follows from the three files by hand: drops are minus the differences, in percentage
 * points, and so the ends of their intervals change places. */
static void the_page_of_a_sweep_says_what_its_files_say(void **state)
{
    (void)state;
    write_sweep();
    char *html = report_on("all/sweep");
    check_alone(html);
    check_nesting(html);
    expect_table("speedup", "lenet5,stale,3,3,1.8,,,1.5,1.4,1.6\nlenet5,gpipe,2,2,1.2,,,,,\n");
    expect_table("drop", "lenet5,4.2,2,1,3,1.4\n");
    expect_table("staleness",
                 "sequential,0,,0\nsequential,1,,0\nsequential,2,,0\nstale,0,4,4\nstale,1,2,2\nstale,2,0,0\n"
                 "gpipe,0,0,\ngpipe,1,0,\n");
    expect_table("prediction", "speedup,stale,1.8,1.5,1.4,1.6\n");
    expect_table("memory-points", "sequential [1 2],100,100,100,0,400,200,100\nstale [1 2],100,100,100,0,400,200,100\n"
                                  "gpipe [1],100,100,100,0,400,200,100\n");
    expect_table("published", "speedup,stale [1 2],1.7,1.8,1.5,1.4,1.6\n"
                              "change of accuracy (% points),stale [1 2],-1.4,,-2,-3,-1\n");
    assert_int_equal(occurrences(html,
                                 "Of 3 points the fastest measured is lenet5, stale [1 2]: 1.50 (1.40 to 1.60) times "
                                 "as fast as one device; the simulation names the same one."),
                     1);
    assert_int_equal(occurrences(html, "off by 20.0 % in the median of 1 points"), 1);
    assert_int_equal(occurrences(html, "by 2.00 (1.00 to 3.00) percentage points"), 1);
    assert_int_equal(occurrences(html, "no cut &lt;9&gt;"), 1);
    assert_int_equal(occurrences(html, "? 4 points, 5 runs, simulated, 1 of them failed."), 1);
    free(html);
}

/* A row that lacks fields, in the middle of each file in turn. */
static void a_damaged_sweep_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *words;
    } cases[] = {{"results", results, "results.csv:3:1: "},
                 {"summary", summary, "summary.csv:3:1: "},
                 {"comparisons", comparisons, "comparisons.csv:3:1: "}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        write_sweep();
        char *second = strchr(strchr(cases[c].text, '\n') + 1, '\n') + 1,
             *name = sp_format("all/sweep/%s.csv", cases[c].name);
        char *text = sp_format("%.*s1,cut\n%s", (int)(second - cases[c].text), cases[c].text, second);
        char *words = sp_format("report %s/all/sweep", test_folder);
        free(write_file(name, text));
        assert_int_equal(run_program(words), 2);
        char *said = test_read("said");
        assert_non_null(strstr(said, cases[c].words));
        assert_non_null(strstr(said, "the file is damaged"));
        free(said);
        free(words);
        free(text);
        free(name);
    }
    write_sweep();
    free(write_file("all/sweep/summary.csv", "point,label,engine,metric,unit,n,mean,low,high,deviation,published\n"
                                             "0,gpipe [1],sim,speedup,,1,1.2,,,,\n"));
    char *other = sp_format("report %s/all/sweep", test_folder);
    assert_int_equal(run_program(other), 2);
    char *told = test_read("said");
    assert_non_null(
        strstr(told, "summary.csv:2:1: point 0 is \"gpipe [1]\" here and \"sequential [1, 2]\" in results.csv"));
    free(told);
    free(other);
    write_sweep();
    char *cut = sp_format("%.*s", (int)strlen(summary) - 1, summary),
         *words = sp_format("report %s/all/sweep", test_folder);
    free(write_file("all/sweep/summary.csv", cut));
    assert_int_equal(run_program(words), 2);
    char *said = test_read("said");
    assert_non_null(strstr(said, "summary.csv:6:1: no end of the line"));
    free(said);
    free(words);
    free(cut);
    write_sweep();
}

/* One of the two has not come to its end. */
static void sweeps_below_a_folder_share_a_page(void **state)
{
    (void)state;
    char *later = sp_format("%s/all/later", test_folder);
    struct sp_error err = {0};
    assert_int_equal(sp_folder_make(later, &err), SP_OK);
    free(later);
    free(write_file("all/later/results.csv", results));
    char *html = report_on("all");
    assert_int_equal(occurrences(html, "<p class=\"asked\">1 sweep with what it asked"), 1);
    assert_int_equal(occurrences(html, "<p>Left out, because not finished: later.</p>"), 1);
    check_alone(html);
    check_nesting(html);
    assert_int_equal(occurrences(html, "<p>Table 5 &amp; more</p>"), 1);
    assert_int_equal(occurrences(html, "<h2>Published, predicted and measured</h2>"), 1);
    assert_int_equal(occurrences(html, "<tr><td>stale [1 2]</td><td>1.70</td><td>1.80</td><td>1.50 (1.40 to 1.60)</td>"
                                       "<td>-0.20</td></tr>"),
                     1);
    free(html);
}

/* An unfinished sweep, and a folder of nothing. */
static void what_is_no_report_is_told(void **state)
{
    (void)state;
    char *words = sp_format("report %s/all/sweep", test_folder),
         *path = sp_format("%s/all/sweep/summary.csv", test_folder);
    unlink(path);
    assert_int_equal(run_program(words), 2);
    char *said = test_read("said");
    assert_non_null(strstr(said, "the sweep has not been finished"));
    free(said);
    free(words);
    words = sp_format("report %s/all", test_folder);
    assert_int_equal(run_program(words), 2);
    said = test_read("said");
    assert_non_null(strstr(said, "none of its sweeps has been finished"));
    free(said);
    free(words);
    words = sp_format("report %s/all/sweep/figures", test_folder);
    assert_int_equal(run_program(words), 2);
    free(words);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_read_by_column_name),
        cmocka_unit_test(text_is_no_markup),
        cmocka_unit_test(figures_do_not_share_ids),
        cmocka_unit_test(timelines_are_read),
        cmocka_unit_test(the_page_of_a_run_needs_nothing_else),
        cmocka_unit_test(plans_that_take_no_time_are_listed),
        cmocka_unit_test(a_figure_that_fails_leaves_the_page),
        cmocka_unit_test(what_came_last_is_reported),
        cmocka_unit_test(a_damaged_run_is_told),
        cmocka_unit_test(the_page_of_a_sweep_says_what_its_files_say),
        cmocka_unit_test(what_goes_with_the_network_is_not_in_a_panels_name),
        cmocka_unit_test(a_damaged_sweep_is_told),
        cmocka_unit_test(sweeps_below_a_folder_share_a_page),
        cmocka_unit_test(what_is_no_report_is_told),
    };
    return cmocka_run_group_tests_name("report", tests, test_folder_make, test_folder_remove);
}
