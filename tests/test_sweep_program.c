/* The program's sweep as a user has it: killed, stopped, started again, with points that cannot be. */
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"
#include "common/results.h"
#include "tests/program.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Two networks, four schedules, three cuts, two minibatches: 48 points, small enough for the plain C backend. */
static const char *const sweep48 = "name: sweep48\n"
                                   "data: {set: synthetic, shape: [3, 12, 12], samples: 24}\n"
                                   "devices: {backend: ref}\n"
                                   "train: {iterations: 2, lr: 0.01}\n"
                                   "sweep:\n"
                                   "  network: [lenet5, resnet8]\n"
                                   "  pipeline.schedule: [sequential, stale, gpipe, 1f1b-async]\n"
                                   "  pipeline.cuts: [[1], [2], [1, 3]]\n"
                                   "  train.batch: [2, 4]\n"
                                   "  reference: {pipeline.schedule: sequential}\n";

enum { POINTS = 48, RUNS = 2 * POINTS, MOST_TRIES = 10 };

struct place {
    char folder[64], *yaml, *out, *results, *said;
};

static void make_place(struct place *place, const char *yaml)
{
    struct sp_error err = {0};
    strcpy(place->folder, "/tmp/stalepipe-sweep-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->yaml = sp_format("%s/sweep.yaml", place->folder);
    place->out = sp_format("%s/out", place->folder);
    place->results = sp_format("%s/results.csv", place->out);
    place->said = sp_format("%s/said.txt", place->folder);
    assert_int_equal(sp_file_write(place->yaml, yaml, &err), SP_OK);
}

static void clean_place(struct place *place)
{
    char *command = sp_format("rm -rf %s", place->folder);
    assert_int_equal(system(command), 0);
    free(command);
    free(place->yaml);
    free(place->out);
    free(place->results);
    free(place->said);
}

/* Starts `stalepipe sweep` with two further words (or NULL); what it says goes to place->said. */
static pid_t start(const struct place *place, const char *first, const char *second)
{
    const char *const words[] = {"sweep", place->yaml, "-o", place->out, first, second, NULL};
    return program_start(place->said, words);
}

static bool it_said(const struct place *place, const char *text)
{
    char *said;
    size_t size;
    struct sp_error err = {0};
    assert_int_equal(sp_file_read(place->said, 1 << 24, NULL, &said, &size, &err), SP_OK);
    bool found = strstr(said, text) != NULL;
    if (!found)
        print_message("it said: %s\n", said);
    free(said);
    return found;
}

static int lines_of(const char *path)
{
    FILE *file = fopen(path, "r");
    int lines = 0;
    for (int c; file != NULL && (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    if (file != NULL)
        fclose(file);
    return lines;
}

/* Waits until results.csv has that many lines (or the program has ended), then sends the signal. The program may be at
 * its end before that comes, where the machine stands still: whoever needs it at work begins again in a fresh place. */
static void signal_at(const struct place *place, pid_t pid, int lines, int signal_number)
{
    const struct timespec moment = {.tv_nsec = 500000};
    siginfo_t about = {0};
    while (lines_of(place->results) < lines && waitid(P_PID, (id_t)pid, &about, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           about.si_pid == 0)
        nanosleep(&moment, NULL);
    kill(pid, signal_number);
}

/* Calls `begin` on a fresh place with that experiment until it is true, and leaves the place to be cleaned. */
static void begin_in_time(struct place *place, bool (*begin)(struct place *place))
{
    make_place(place, sweep48);
    for (int tries = 1; !begin(place); tries++) {
        clean_place(place);
        if (tries == MOST_TRIES)
            fail_msg("the sweep was at its end before the signal came, %d times", tries);
        make_place(place, sweep48);
    }
}

/* A line for each run: which it is, and what no interruption may change. */
struct table {
    char *runs[2][POINTS];
    int rows, failed;
};

static void take_row(void *self, char *const *fields)
{
    struct table *table = self;
    int point = atoi(fields[SP_RESULT_POINT]), real = strcmp(fields[SP_RESULT_ENGINE], "real") == 0;
    table->rows++;
    table->failed += strcmp(fields[SP_RESULT_STATUS], "failed") == 0;
    assert_true(point >= 0 && point < POINTS);
    assert_null(table->runs[real][point]); /* no run twice */
    table->runs[real][point] =
        sp_format("%s %s %s %s %s %s %s %s", fields[SP_RESULT_ID], fields[SP_RESULT_LABEL],
                  fields[SP_RESULT_PEAK_BYTES], fields[SP_RESULT_STALENESS], real ? "" : fields[SP_RESULT_TIME],
                  fields[SP_RESULT_LOSS], fields[SP_RESULT_TEST_LOSS], fields[SP_RESULT_ACCURACY]);
}

static void read_table(const struct place *place, struct table *table)
{
    struct sp_error err = {0};
    *table = (struct table){0};
    assert_int_equal(sp_results_read(place->results, take_row, table, &err), SP_OK);
}

static void free_table(struct table *table)
{
    for (int p = 0; p < POINTS; p++) {
        free(table->runs[0][p]);
        free(table->runs[1][p]);
    }
}

static bool kill_three_times(struct place *place)
{
    static const int at[] = {12, 1 + POINTS + 5, 1 + POINTS + 30};
    for (int k = 0; k < 3; k++) {
        pid_t pid = start(place, "--sim", "--real");
        signal_at(place, pid, at[k], SIGKILL);
        int status = program_finish(pid);
        if (status == 0)
            return false;
        assert_int_equal(status, -1);
        FILE *file = fopen(place->results, "a");
        fputs("0123456789abcdef,3,0,real,o", file);
        fclose(file);
    }
    return true;
}

/*
 * Killed three times, once while simulating and twice while training; after each a row is torn as well. In the end
 * every run is there once, with the same losses, to the last digit, as those of a sweep that nobody disturbed.
 */
static void a_sweep_killed_three_times_is_that_of_one_undisturbed(void **state)
{
    (void)state;
    struct place hard, easy;
    struct table killed, undisturbed;
    begin_in_time(&hard, kill_three_times);
    make_place(&easy, sweep48);
    assert_int_equal(program_finish(start(&hard, "--sim", "--real")), 0);
    assert_int_equal(program_finish(start(&easy, "--sim", "--real")), 0);
    read_table(&hard, &killed);
    read_table(&easy, &undisturbed);
    assert_int_equal(killed.rows, RUNS);
    assert_int_equal(undisturbed.rows, RUNS);
    assert_int_equal(killed.failed, 0);
    for (int run = 0; run < RUNS; run++)
        assert_string_equal(killed.runs[run / POINTS][run % POINTS], undisturbed.runs[run / POINTS][run % POINTS]);
    free_table(&killed);
    free_table(&undisturbed);
    clean_place(&hard);
    clean_place(&easy);
}

/* The same command on a finished sweep does nothing again. */
static void a_finished_sweep_stays_as_it_is(void **state)
{
    (void)state;
    struct place place;
    struct sp_error err = {0};
    char *before, *after;
    size_t size;
    make_place(&place, "network: lenet5\nsweep: {pipeline.cuts: [[1], [2]]}\n");
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_int_equal(sp_file_read(place.results, 1 << 24, NULL, &before, &size, &err), SP_OK);
    assert_int_equal(program_finish(start(&place, NULL, NULL)), 0); /* --sim is what is meant by nothing */
    assert_true(it_said(&place, "2 runs are finished, 0 to do"));
    assert_int_equal(sp_file_read(place.results, 1 << 24, NULL, &after, &size, &err), SP_OK);
    assert_string_equal(before, after);
    free(before);
    free(after);
    clean_place(&place);
}

static void keep_time(void *self, char *const *fields)
{
    char **time = self;
    free(*time);
    *time = sp_strdup(fields[SP_RESULT_TIME]);
    assert_true(isfinite(sp_csv_number(*time)));
}

/* What somebody has damaged, and a run that the sweep does not have any more, go aside, and it says so. */
static void a_row_without_its_time_is_done_again(void **state)
{
    (void)state;
    struct place place;
    struct sp_error err = {0};
    char *text, *time = NULL;
    size_t size;
    make_place(&place, "network: lenet5\nsweep: {pipeline.cuts: [[1], [2], [3]]}\n");
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_int_equal(sp_results_read(place.results, keep_time, &time, &err), SP_OK);
    assert_int_equal(sp_file_read(place.results, 1 << 24, NULL, &text, &size, &err), SP_OK);
    *strstr(text, time) = 'x';
    assert_int_equal(sp_file_write(place.results, text, &err), SP_OK);
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_true(it_said(&place, "2 runs are finished, 1 to do"));
    assert_true(it_said(&place, "1 rows that are not of this sweep any more, or damaged, are in results.csv.old"));
    assert_int_equal(sp_results_read(place.results, keep_time, &time, &err), SP_OK);
    assert_int_equal(lines_of(place.results), 1 + 3);
    free(text);
    free(time);
    clean_place(&place);
}

/* LeNet-5 has five weight layers, so cuts after 4 but none after 5. */
static void a_point_that_cannot_be_is_a_row_with_its_reason(void **state)
{
    (void)state;
    struct place place;
    struct table table;
    make_place(&place, "network: lenet5\nsweep:\n  pipeline.cuts: [[4], [5], [3]]\n");
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_true(it_said(&place, "2 runs ok, 1 failed"));
    read_table(&place, &table);
    assert_int_equal(table.rows, 3);
    assert_int_equal(table.failed, 1);
    free_table(&table);
    char *text;
    size_t size;
    struct sp_error err = {0};
    assert_int_equal(sp_file_read(place.results, 1 << 24, NULL, &text, &size, &err), SP_OK);
    assert_non_null(strstr(text, "sweep.yaml:3:25: pipeline.cuts: no cut after layer 5"));
    free(text);
    assert_int_equal(program_finish(start(&place, "--sim", "--retry")), 0);
    assert_true(it_said(&place, "2 runs are finished, 1 to do"));
    clean_place(&place);
}

static bool interrupt(struct place *place)
{
    pid_t pid = start(place, "--real", NULL);
    signal_at(place, pid, 4, SIGINT);
    int status = program_finish(pid), lines = lines_of(place->results);
    if (status == 0 || lines == 1 + POINTS)
        return false;
    assert_int_equal(status, 1);
    assert_true(lines >= 4 && lines < 1 + POINTS);
    return true;
}

static void an_interrupted_sweep_says_how_to_go_on(void **state)
{
    (void)state;
    struct place place;
    begin_in_time(&place, interrupt);
    assert_true(it_said(&place, "the same command goes on"));
    clean_place(&place);
}

static pid_t halted; /* a sweep that is stopped; 0: none */

static bool halt(struct place *place)
{
    siginfo_t about = {0};
    halted = start(place, "--real", NULL);
    signal_at(place, halted, 3, SIGSTOP);
    assert_int_equal(waitid(P_PID, (id_t)halted, &about, WSTOPPED | WEXITED | WNOWAIT), 0);
    if (about.si_code == CLD_STOPPED)
        return true;
    assert_int_equal(program_finish(halted), 0);
    halted = 0;
    return false;
}

static int end_halted(void **state)
{
    (void)state;
    if (halted > 0) {
        kill(halted, SIGKILL);
        program_finish(halted);
    }
    halted = 0;
    return 0;
}

static void two_sweeps_do_not_share_a_folder(void **state)
{
    struct place place;
    begin_in_time(&place, halt);
    assert_int_equal(program_finish(start(&place, "--real", NULL)), 1);
    assert_true(it_said(&place, "another sweep is at work there"));
    end_halted(state);
    clean_place(&place);
}

/* A value added later: what is finished is kept. */
static void expect_seven_minibatches(void *self, char *const *fields)
{
    int *rows = self;
    assert_int_equal(atoi(fields[SP_RESULT_MINIBATCHES]), 7);
    (*rows)++;
}

static void expect_number_and_label(void *self, char *const *fields)
{
    int *rows = self;
    int point = atoi(fields[SP_RESULT_CUTS]) - 1;
    assert_int_equal(atoi(fields[SP_RESULT_POINT]), point);
    assert_string_equal(fields[SP_RESULT_LABEL], ((const char *[]){"one", "[2]", "[3]"})[point]);
    (*rows)++;
}

/* Rows that are there have the numbers and labels of the new points. */
static void a_sweep_can_grow(void **state)
{
    (void)state;
    struct place place;
    struct sp_error err = {0};
    int rows = 0;
    make_place(&place, "network: lenet5\nsweep: {zip: {pipeline.cuts: [[2], [3]], label: [\"[2]\", old]}}\n");
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_int_equal(sp_file_write(place.yaml,
                                   "network: lenet5\n"
                                   "sweep: {zip: {pipeline.cuts: [[1], [2], [3]], label: [one, \"[2]\", \"[3]\"]}}\n",
                                   &err),
                     SP_OK);
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_true(it_said(&place, "2 runs are finished, 1 to do"));
    assert_int_equal(sp_results_read(place.results, expect_number_and_label, &rows, &err), SP_OK);
    assert_int_equal(rows, 3);
    clean_place(&place);
}

/* What a page says reproduces it does: the points are simulated as they were, for as long as they would train. */
static void its_experiment_repeats_it(void **state)
{
    (void)state;
    struct place place;
    make_place(&place, "network: lenet5\ntrain: {iterations: 7}\nsweep: {pipeline.cuts: [[1], [2]]}\n");
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    free(place.yaml);
    place.yaml = sp_format("%s/experiment.yaml", place.out);
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    assert_true(it_said(&place, "2 runs ok"));
    assert_int_equal(lines_of(place.results), 1 + 2);
    free(place.out);
    free(place.results);
    place.out = sp_format("%s/again", place.folder);
    place.results = sp_format("%s/results.csv", place.out);
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 0);
    int rows = 0;
    struct sp_error err = {0};
    assert_int_equal(sp_results_read(place.results, expect_seven_minibatches, &rows, &err), SP_OK);
    assert_int_equal(rows, 2);
    clean_place(&place);
}

static void a_dry_run_lists_points_and_runs_nothing(void **state)
{
    (void)state;
    struct place place;
    make_place(&place, "network: lenet5\nsweep: {pipeline.cuts: [[1], [9]], repeat: 4}\n");
    assert_int_equal(program_finish(start(&place, "--dry-run", NULL)), 0);
    assert_true(it_said(&place, "[9]: "));
    assert_true(it_said(&place, "no cut after layer 9"));
    assert_true(it_said(&place, "2 points, 4 repeats"));
    assert_int_equal(access(place.out, F_OK), -1);
    clean_place(&place);
}

static void a_dry_run_refuses_what_a_run_refuses(void **state)
{
    (void)state;
    struct place place;
    make_place(&place, "network: lenet5\nsweep: {pipeline.cuts: [[1], [1]]}\n");
    assert_int_equal(program_finish(start(&place, "--dry-run", NULL)), 2);
    assert_true(it_said(&place, "points 0 and 1 are the same experiment"));
    clean_place(&place);
}

static void a_wrong_value_is_the_files_mistake(void **state)
{
    (void)state;
    struct place place;
    make_place(&place, "network: lenet5\nsweep: {pipeline.cuts: [[1], [2, 1]]}\n");
    assert_int_equal(program_finish(start(&place, "--sim", NULL)), 2);
    assert_true(it_said(&place, "sweep.yaml:2:34: pipeline.cuts: cuts must ascend: 1 follows 2"));
    clean_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sweep_killed_three_times_is_that_of_one_undisturbed),
        cmocka_unit_test(a_finished_sweep_stays_as_it_is),
        cmocka_unit_test(a_row_without_its_time_is_done_again),
        cmocka_unit_test(a_point_that_cannot_be_is_a_row_with_its_reason),
        cmocka_unit_test(an_interrupted_sweep_says_how_to_go_on),
        cmocka_unit_test_teardown(two_sweeps_do_not_share_a_folder, end_halted),
        cmocka_unit_test(a_sweep_can_grow),
        cmocka_unit_test(its_experiment_repeats_it),
        cmocka_unit_test(a_dry_run_lists_points_and_runs_nothing),
        cmocka_unit_test(a_dry_run_refuses_what_a_run_refuses),
        cmocka_unit_test(a_wrong_value_is_the_files_mistake),
    };
    return cmocka_run_group_tests_name("sweep_program", tests, NULL, NULL);
}
