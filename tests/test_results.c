/* results.csv: rows last, torn ones are recognised wherever the file was cut, nothing else is ever lost. */
#include "common/results.h"
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"
#include "common/pool.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const keys[] = {"pipeline.cuts"};

/* Keeps rows of the ids "0", "1", ... "9", each once. */
struct seen {
    int times[10];
};

static bool keep(void *self, char **fields)
{
    struct seen *seen = self;
    const char *id = fields[SP_RESULT_ID];
    return id[0] >= '0' && id[0] <= '9' && id[1] == '\0' && seen->times[id[0] - '0']++ == 0;
}

static sp_status try_open(const char *path, struct seen *seen, struct sp_results *results, struct sp_error *err)
{
    *seen = (struct seen){0};
    struct sp_results_config config = {.keys = keys, .key_count = 1, .keep = keep, .self = seen};
    return sp_results_open(path, &config, results, err);
}

static void open_results(const char *path, struct seen *seen, struct sp_results *results)
{
    struct sp_error err = {0};
    if (try_open(path, seen, results, &err) != SP_OK)
        fail_msg("%s", err.text);
}

/* A row with everything that a field may hold. */
static void append(struct sp_results *results, const char *id)
{
    struct sp_error err = {0};
    struct sp_result_row row = {0};
    char *value = "[1, 2]";
    sp_result_set(&row, SP_RESULT_ID, "%s", id);
    sp_result_set(&row, SP_RESULT_LABEL, "a \"b\", c");
    sp_result_set(&row, SP_RESULT_REASON, "first line\nsecond");
    sp_result_real(&row, SP_RESULT_TIME, 1.5);
    char *line = sp_result_line(&row, &value, 1);
    assert_int_equal(sp_results_append(results, line, strlen(line), &err), SP_OK);
    free(line);
    sp_result_row_fini(&row);
}

static char *temporary(void)
{
    char folder[] = "/tmp/stalepipe-results-XXXXXX";
    assert_non_null(mkdtemp(folder));
    return sp_format("%s/results.csv", folder);
}

static void clean(char *path)
{
    char *old = sp_format("%s.old", path);
    unlink(path);
    unlink(old);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0); /* nothing else was left */
    free(old);
    free(path);
}

static void check_row(void *self, char *const *fields)
{
    assert_string_equal(fields[SP_RESULT_LABEL], "a \"b\", c");
    assert_string_equal(fields[SP_RESULT_REASON], "first line second");
    assert_string_equal(fields[SP_RESULT_TIME], "1.5");
    assert_string_equal(fields[SP_RESULT_SPEEDUP], "");
    assert_string_equal(fields[SP_RESULT_COUNT], "[1, 2]");
    ++*(int *)self;
}

static void rows_come_back_as_they_were(void **state)
{
    (void)state;
    struct sp_results results;
    struct seen seen;
    struct sp_error err = {0};
    char *path = temporary();
    int rows = 0;
    open_results(path, &seen, &results);
    append(&results, "0");
    append(&results, "1");
    sp_results_close(&results);
    assert_int_equal(sp_results_read(path, check_row, &rows, &err), SP_OK);
    assert_int_equal(rows, 2);
    clean(path);
}

/* Cut at every byte: whole rows stay, at most one is redone, and appending goes on in a whole file. */
static void a_file_cut_anywhere_loses_its_last_row_only(void **state)
{
    (void)state;
    struct sp_results results;
    struct seen seen;
    struct sp_error err = {0};
    char *path = temporary(), *text;
    size_t size;
    open_results(path, &seen, &results);
    append(&results, "0");
    append(&results, "1");
    sp_results_close(&results);
    assert_int_equal(sp_file_read(path, 1 << 20, NULL, &text, &size, &err), SP_OK);
    for (size_t cut = 0; cut <= size; cut++) {
        FILE *file = fopen(path, "w");
        fwrite(text, 1, cut, file);
        fclose(file);
        open_results(path, &seen, &results);
        int lines = 0;
        for (size_t b = 0; b < cut; b++)
            lines += text[b] == '\n';
        int whole = lines > 0 ? lines - 1 : 0; /* without the header */
        assert_int_equal(results.kept, whole);
        static const char *const ids[] = {"0", "1"};
        for (int r = whole; r < 2; r++)
            append(&results, ids[r]);
        sp_results_close(&results);
        char *again;
        size_t again_size;
        assert_int_equal(sp_file_read(path, 1 << 20, NULL, &again, &again_size, &err), SP_OK);
        assert_string_equal(again, text);
        free(again);
    }
    free(text);
    clean(path);
}

/* What some file systems leave of an append when the power fails: the length, but zeros. */
/* Zeros in a row, as a power failure leaves them, cost that row and none behind it. */
static void a_row_of_zeros_is_torn_too(void **state)
{
    (void)state;
    struct sp_results results;
    struct seen seen;
    char *path = temporary();
    open_results(path, &seen, &results);
    append(&results, "0");
    sp_results_close(&results);
    FILE *file = fopen(path, "a");
    fwrite("1,0,0,\0\0\0\0\0\n", 1, 12, file);
    fclose(file);
    open_results(path, &seen, &results);
    assert_int_equal(results.kept, 1);
    sp_results_close(&results);
    open_results(path, &seen, &results); /* and they are gone */
    assert_int_equal(results.kept + results.dropped, 1);
    sp_results_close(&results);
    file = fopen(path, "a");
    fwrite("\0\0\0\0\n", 1, 5, file);
    fclose(file);
    struct sp_results behind = {.fd = open(path, O_WRONLY | O_APPEND), .path = sp_strdup(path)};
    append(&behind, "1");
    sp_results_close(&behind);
    open_results(path, &seen, &results);
    assert_int_equal(results.kept, 2);
    sp_results_close(&results);
    clean(path);
}

static void rows_of_other_runs_and_second_ones_go_aside(void **state)
{
    (void)state;
    struct sp_results results;
    struct seen seen;
    struct sp_error err = {0};
    char *path = temporary(), *old = sp_format("%s.old", path), *text;
    size_t size;
    open_results(path, &seen, &results);
    append(&results, "0");
    append(&results, "other");
    append(&results, "0");
    append(&results, "1");
    sp_results_close(&results);
    open_results(path, &seen, &results);
    assert_int_equal(results.kept, 2);
    assert_int_equal(results.dropped, 2);
    sp_results_close(&results);
    assert_int_equal(sp_file_read(old, 1 << 20, NULL, &text, &size, &err), SP_OK);
    assert_true(strncmp(text, "other,", 6) == 0 && strstr(text, "\n0,") != NULL); /* kept, though not as results */
    free(text);
    free(old);
    clean(path);
}

static void a_file_of_other_columns_is_left_alone(void **state)
{
    (void)state;
    struct sp_results results;
    struct seen seen;
    struct sp_error err = {0};
    char *path = temporary(), *text;
    size_t size;
    assert_int_equal(sp_file_write(path, "id,point\n0,1\n", &err), SP_OK);
    assert_int_equal(try_open(path, &seen, &results, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "not those of this sweep"));
    sp_error_fini(&err);
    assert_int_equal(sp_file_read(path, 1 << 20, NULL, &text, &size, &err), SP_OK);
    assert_string_equal(text, "id,point\n0,1\n");
    free(text);
    clean(path);
}

static void quotes_and_empty_fields_split_right(void **state)
{
    (void)state;
    char text[] = "a,\"b,\"\"c\",,\"\"\r\n\"x\ny\",2\nlast,torn", *at = text;
    struct sp_csv_record record = {0};
    assert_true(sp_csv_next(&at, &record));
    assert_int_equal(record.count, 4);
    static const char *const expected[] = {"a", "b,\"c", "", ""};
    for (int f = 0; f < 4; f++)
        assert_string_equal(record.fields[f], expected[f]);
    assert_true(sp_csv_next(&at, &record));
    assert_int_equal(record.count, 2);
    assert_string_equal(record.fields[0], "x\ny");
    assert_false(sp_csv_next(&at, &record)); /* no line's end */
    assert_string_equal(at, "last,torn");
    sp_csv_fini(&record);
}

static void what_is_no_number_is_nan_whatever_its_sign(void **state)
{
    (void)state;
    static const double values[] = {NAN, -NAN, INFINITY, -INFINITY, -0.25, 1e9};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int v = 0; v < 6; v++) {
        sp_csv_real(values[v], 2, out);
        fputc(' ', out);
    }
    fclose(out);
    assert_string_equal(text, "nan nan inf -inf -0.25 1000000000.00 ");
    free(text);
}

/* Tasks 0 .. 19 answer their number; 7 crashes, 13 ends itself. */
struct tasks {
    int next, answered[20], died[20], pauses;
    char *reason;
};

static int next_task(void *self)
{
    struct tasks *tasks = self;
    return tasks->next < 20 ? tasks->next++ : -1;
}

static char *work(void *self, int task)
{
    (void)self;
    if (task == 7) {
        fputs("it was 7\n", stderr);
        abort();
    }
    if (task == 13)
        _exit(3);
    return sp_format("%d", task);
}

static sp_status done(void *self, int task, const char *answer, const char *reason, struct sp_error *err)
{
    (void)err;
    struct tasks *tasks = self;
    if (answer != NULL) {
        assert_int_equal(atoi(answer), task);
        tasks->answered[task]++;
    } else {
        tasks->died[task]++;
        if (task == 7)
            tasks->reason = sp_strdup(reason);
    }
    return SP_OK;
}

static sp_status count_pause(void *self, struct sp_error *err)
{
    (void)err;
    ((struct tasks *)self)->pauses++;
    return SP_OK;
}

static void a_task_that_crashes_takes_no_other_with_it(void **state)
{
    (void)state;
    for (int fresh = 0; fresh < 2; fresh++) {
        struct tasks tasks = {0};
        struct sp_error err = {0};
        struct sp_pool_config config = {.children = 3,
                                        .fresh = fresh,
                                        .self = &tasks,
                                        .next = next_task,
                                        .work = work,
                                        .done = done,
                                        .pause = count_pause};
        assert_int_equal(sp_pool_run(&config, &err), SP_OK);
        for (int t = 0; t < 20; t++) {
            assert_int_equal(tasks.answered[t], t != 7 && t != 13);
            assert_int_equal(tasks.died[t], t == 7 || t == 13);
        }
        assert_non_null(strstr(tasks.reason, "signal 6"));
        assert_non_null(strstr(tasks.reason, "it was 7")); /* its last words */
        free(tasks.reason);
    }
}

static volatile sig_atomic_t stop_now;

static sp_status stop_at_once(void *self, struct sp_error *err)
{
    stop_now = 1;
    return count_pause(self, err);
}

static void a_stopped_pool_leaves_no_child(void **state)
{
    (void)state;
    struct tasks tasks = {0};
    struct sp_error err = {0};
    struct sp_pool_config config = {.children = 2,
                                    .self = &tasks,
                                    .next = next_task,
                                    .work = work,
                                    .done = done,
                                    .pause = stop_at_once,
                                    .stop = &stop_now};
    assert_int_equal(sp_pool_run(&config, &err), SP_E_INTERRUPTED);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_true(tasks.next < 20);
    sp_error_fini(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_as_they_were),
        cmocka_unit_test(a_file_cut_anywhere_loses_its_last_row_only),
        cmocka_unit_test(a_row_of_zeros_is_torn_too),
        cmocka_unit_test(rows_of_other_runs_and_second_ones_go_aside),
        cmocka_unit_test(a_file_of_other_columns_is_left_alone),
        cmocka_unit_test(quotes_and_empty_fields_split_right),
        cmocka_unit_test(what_is_no_number_is_nan_whatever_its_sign),
        cmocka_unit_test(a_task_that_crashes_takes_no_other_with_it),
        cmocka_unit_test(a_stopped_pool_leaves_no_child),
    };
    return cmocka_run_group_tests_name("results", tests, NULL, NULL);
}
