/*
 * Pictures: every script of plots/ draws a small table in all three forms without a word, and says in one line what is
 * wrong with a missing, empty or damaged one, without a picture.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "tests/folder.h"

#include <dirent.h>
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

/* A script, the first line of its table, a row that it can draw alone, and which of that row's columns is a number. */
static const struct {
    const char *name, *header, *row;
    int number;
} scripts[] = {
    {"timelines", "lane,name,kind,stage,minibatch,microbatch,version,payload,start_s,end_s",
     "0,device 0,forward,0,0,0,0,,0.001,0.002", 9},
    {"utilization", "device,utilization,busy_s,peak_bytes,weights", "0,0.5,1.5,1000,1000", 1},
    {"memory", "device,utilization,busy_s,peak_bytes,weights,optimizer,gradients,versions,activations,boundary,scratch",
     "0,0.5,1.5,7000,1000,1000,1000,0,2000,1000,1000", 8},
    {"loss", "minibatch,loss", "0,2.3", 1},
    {"staleness", "series,stage,predicted,measured", "stale [1],0,2,2", 1},
    {"curves", "run,epoch,accuracy,loss,test_loss,time_s", "4-stage,1,0.9,0.3,0.3,12.5", 2},
    {"curves-time", "run,epoch,accuracy,loss,test_loss,time_s", "4-stage,1,0.9,0.3,0.3,12.5", 5},
    {"speedup",
     "panel,series,stages,devices,predicted,predicted_low,predicted_high,measured,measured_low,measured_high",
     "resnet20,stale,2,2,1.9,,,1.8,1.7,1.9", 7},
    {"utilization-stages",
     "panel,series,stages,devices,predicted,predicted_low,predicted_high,measured,measured_low,measured_high",
     "resnet20,stale,2,2,0.9,,,,,", 4},
    {"memory-points", "label,weights,optimizer,gradients,versions,activations,boundary,scratch",
     "stale [7],1000,1000,1000,0,2000,1000,1000", 5},
    {"drop", "series,stale_percent,drop,drop_low,drop_high,published", "lenet5,4.2,0.1,,,", 2},
    {"hybrid",
     "series,switch_percent,accuracy,accuracy_low,accuracy_high,predicted,measured,measured_low,measured_high",
     "lenet5,50,99.1,99,99.2,1.3,,,", 2},
    {"prediction", "quantity,series,predicted,measured,measured_low,measured_high", "time (s),lenet5,3.1,3.3,,", 2},
    {"published", "quantity,label,published,predicted,measured,measured_low,measured_high",
     "speedup,resnet56 [19],1.65,1.648,,,", 3},
    {"pareto", "cuts,schedule,microbatches,placement,devices,samples_per_s,peak_bytes,staleness,stale_percent,on_front",
     "3 7,stale,1,colocated,3,900.5,1000000,4,12.5,1", 5},
};
enum { SCRIPTS = sizeof scripts / sizeof *scripts };

/* Scripts that others load. */
static const char *const parts[] = {"style", "sides", "terminal", "devices", "kinds", "stages", "below"};

/* Runs a script on FOLDER/table.csv; its exit status. What it said, and where the picture is: the caller frees. */
static int draw(const char *script, const char *ending, char **said, char **picture)
{
    char *csv = sp_format("%s/table.csv", test_folder), *log = sp_format("%s/said", test_folder);
    *picture = sp_format("%s/picture.%s", test_folder, ending);
    unlink(*picture);
    char *command = sp_format("gnuplot -e \"csv='%s'; out='%s'\" plots/%s.gp 2>%s >&2", csv, *picture, script, log);
    int status = system(command);
    struct sp_error err = {0};
    size_t size;
    assert_int_equal(sp_file_read(log, 1 << 20, NULL, said, &size, &err), SP_OK);
    free(csv);
    free(log);
    free(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The table's bytes; NULL: no table. */
static void write_table(const void *bytes, size_t size)
{
    char *path = sp_format("%s/table.csv", test_folder);
    unlink(path);
    if (bytes != NULL) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
    }
    free(path);
}

static void expect_one_line(const char *script, const char *what, const char *expected)
{
    char *said, *picture;
    int status = draw(script, "svg", &said, &picture);
    char *newline = strchr(said, '\n');
    if (status != 1 || newline == NULL || newline[1] != '\0')
        fail_msg("%s, %s: exit status %d, expected 1 and one line, got:\n%s", script, what, status, said);
    if (strstr(said, "table.csv") == NULL || strstr(said, expected) == NULL)
        fail_msg("%s, %s: expected the table's name and \"%s\", got:\n%s", script, what, expected, said);
    if (access(picture, F_OK) == 0)
        fail_msg("%s, %s: a picture all the same", script, what);
    free(said);
    free(picture);
}

static void every_script_is_tested(void **state)
{
    (void)state;
    DIR *plots = opendir("plots");
    assert_non_null(plots);
    for (struct dirent *entry = readdir(plots); entry != NULL; entry = readdir(plots)) {
        char *dot = strrchr(entry->d_name, '.');
        if (dot == NULL || strcmp(dot, ".gp") != 0)
            continue;
        *dot = '\0';
        bool known = false;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            known = known || strcmp(parts[p], entry->d_name) == 0;
        for (size_t s = 0; s < SCRIPTS; s++)
            known = known || strcmp(scripts[s].name, entry->d_name) == 0;
        if (!known)
            fail_msg("plots/%s.gp is not in the table of this suite", entry->d_name);
    }
    closedir(plots);
}

/* A picture is there, is of its form and not blank: nothing but axes and title is still some kilobytes. */
static void one_row_is_drawn_in_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *ending, *begins;
    } forms[] = {{"svg", "<?xml"}, {"pdf", "%PDF"}, {"png", "\x89PNG"}};
    for (size_t s = 0; s < SCRIPTS; s++) {
        char *table = sp_format("%s\n%s\n", scripts[s].header, scripts[s].row);
        write_table(table, strlen(table));
        for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
            char *said, *picture, *bytes;
            size_t size;
            struct sp_error err = {0};
            int status = draw(scripts[s].name, forms[f].ending, &said, &picture);
            if (status != 0 || said[0] != '\0')
                fail_msg("%s.%s: exit status %d:\n%s", scripts[s].name, forms[f].ending, status, said);
            assert_int_equal(sp_file_read(picture, 1 << 24, NULL, &bytes, &size, &err), SP_OK);
            if (size < 2000 || memcmp(bytes, forms[f].begins, strlen(forms[f].begins)) != 0)
                fail_msg("%s.%s: %zu bytes, not a picture", scripts[s].name, forms[f].ending, size);
            free(said);
            free(picture);
            free(bytes);
        }
        free(table);
    }
}

static void tables_without_rows_are_told(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCRIPTS; s++) {
        write_table(NULL, 0);
        expect_one_line(scripts[s].name, "no table", "no such file");
        write_table("", 0);
        expect_one_line(scripts[s].name, "empty table", "the file is empty");
        char *table = sp_format("%s\n", scripts[s].header);
        write_table(table, strlen(table));
        expect_one_line(scripts[s].name, "header only", "no rows below the header");
        free(table);
    }
}

/* The row with column `number` replaced. The caller frees. */
static char *with_column(const char *row, int number, const char *text)
{
    const char *from = row;
    for (int c = 0; c < number; c++)
        from = strchr(from, ',') + 1;
    size_t length = strcspn(from, ",");
    return sp_format("%.*s%s%s", (int)(from - row), row, text, from + length);
}

static void damaged_tables_are_told_by_line(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCRIPTS; s++) {
        const char *name = scripts[s].name, *header = scripts[s].header, *row = scripts[s].row;
        char *wrong = with_column(row, scripts[s].number, "much");
        char *table = sp_format("%s\n%s\n%s\n", header, row, wrong);
        write_table(table, strlen(table));
        expect_one_line(name, "text for a number", "line 3");
        free(table);
        free(wrong);
        table = sp_format("%s\n%.*s", header, (int)(strrchr(row, ',') - row), row);
        write_table(table, strlen(table));
        expect_one_line(name, "a row that is cut off", "line 2 has ");
        free(table);
        table = sp_format("x%s\n%s\n", header, row);
        write_table(table, strlen(table));
        expect_one_line(name, "another table", "the first line is not");
        free(table);
        table = sp_format("%s\n%s\n$(touch %s/broken)\n", header, row, test_folder); /* names go to a shell */
        write_table(table, strlen(table));
        expect_one_line(name, "a shell's word", "line 3 has a quote, a dollar");
        free(table);
        table = sp_format("%s\n%s\n", header, row);
        table[strlen(header) + 2] = '\0';
        write_table(table, strlen(header) + strlen(row) + 2);
        expect_one_line(name, "a zero byte", "line 2 is not text");
        free(table);
    }
}

/*
 * gnuplot leaves out a name that does not fit beside its axis' numbers, or cuts it: an axis is named upwards, its
 * letters 12 pixels high at the left of where it is placed. Columns are 420 pixels wide.
 */
static void axes_have_room_for_long_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *script, *rows;
        int names; /* of vertical axes */
    } cases[] = {
        {"pareto", "3,stale,1,colocated,3,931005,10000000,120,12.5,1\n3,stale,1,colocated,3,93100,10,1,1,0\n", 2},
        {"pareto", "3,stale,1,colocated,3,4000.25,10000000,9,12.5,1\n3,stale,1,colocated,3,4001,10,1,1,0\n", 2},
        {"curves", "4-stage,0,0.14,2,2,0\n4-stage,1,0.1455,2,2,3\n", 1},
        {"curves-time", "4-stage,0,0.99,2,2,0\n4-stage,1,0.99125,2,2,3\n", 1},
        {"drop", "lenet5,4.2,0.001,,,\nlenet5,5,-0.012,,,\n", 1},
        {"hybrid", "lenet5,50,98.715,,,112345,,,\nlenet5,60,98.72,,,1,,,\n", 2},
        {"hybrid", "lenet5,50,,,,112345,,,\nlenet5,60,,,,1,,,\n", 1},
        {"speedup", "all,stale,2,2,0.0019,,,,,\n", 1},
        {"utilization-stages", "all,stale,2,2,0.9,,,,,\n", 1},
        {"prediction", "memory (MiB),a,12345.5,12399,,\nmemory (MiB),a,12346,12388,,\n", 1},
        {"prediction", "time (s),a,0.00003,0.00004,,\ntime (s),a,31234,33333,,\n", 1},
        {"staleness", "a,0,123456,123456\na,1,0,0\n", 1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t s = 0, size;
        while (strcmp(scripts[s].name, cases[c].script) != 0)
            s++;
        char *table = sp_format("%s\n%s", scripts[s].header, cases[c].rows), *said, *picture, *svg;
        struct sp_error err = {0};
        int names = 0;
        write_table(table, strlen(table));
        assert_int_equal(draw(cases[c].script, "svg", &said, &picture), 0);
        assert_int_equal(sp_file_read(picture, 1 << 24, NULL, &svg, &size, &err), SP_OK);
        for (const char *at = strstr(svg, "translate("); at != NULL; at = strstr(at + 1, "translate(")) {
            double x, y;
            int angle;
            if (sscanf(at, "translate(%lf,%lf) rotate(%d)", &x, &y, &angle) != 3 || angle != 270)
                continue;
            names++;
            if (x < 12 || x > 416)
                fail_msg("%s: an axis' name is cut off at %.1f with\n%s", cases[c].script, x, cases[c].rows);
        }
        if (names != cases[c].names)
            fail_msg("%s: %d names of axes, not %d, with\n%s", cases[c].script, names, cases[c].names, cases[c].rows);
        free(table);
        free(said);
        free(picture);
        free(svg);
    }
}

/* 7 panels of 1 row, and 25 rows of one panel: what the picture has no room for is told in it. */
static void what_is_left_out_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *script, *row, *told; /* NULL: nothing */
        int panels, rows;
    } cases[] = {{"speedup", "stale,2,2,1.9,,,,,", "the first 6 of 7 panels", 7, 1},
                 {"speedup", "stale,2,2,1.9,,,,,", NULL, 6, 1},
                 {"published", "lenet5,1.65,1.648,,,", "time 1, the first 24 of 25 points", 1, 25},
                 {"published", "lenet5,1.65,1.648,,,", "the first 6 of 7 quantities", 7, 1},
                 {"published", "lenet5,1.65,1.648,,,", NULL, 6, 24}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t s = 0, size;
        while (strcmp(scripts[s].name, cases[c].script) != 0)
            s++;
        char *table = sp_format("%s\n", scripts[s].header), *said, *picture, *svg;
        struct sp_error err = {0};
        for (int r = 0; r < cases[c].panels * cases[c].rows; r++) {
            char *longer = sp_format("%stime %d,%s\n", table, 1 + r % cases[c].panels, cases[c].row);
            free(table);
            table = longer;
        }
        write_table(table, strlen(table));
        assert_int_equal(draw(cases[c].script, "svg", &said, &picture), 0);
        assert_int_equal(sp_file_read(picture, 1 << 24, NULL, &svg, &size, &err), SP_OK);
        bool told = strstr(svg, cases[c].told != NULL ? cases[c].told : "the first ") != NULL;
        if (told != (cases[c].told != NULL))
            fail_msg("%s of %d panels: %s", cases[c].script, cases[c].panels,
                     told ? "nothing is left out" : cases[c].told);
        free(table);
        free(said);
        free(picture);
        free(svg);
    }
}

int main(void)
{
    setenv("LC_ALL", "C.UTF-8", 1); /* as the program does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_script_is_tested),          cmocka_unit_test(one_row_is_drawn_in_every_form),
        cmocka_unit_test(tables_without_rows_are_told),    cmocka_unit_test(damaged_tables_are_told_by_line),
        cmocka_unit_test(axes_have_room_for_long_numbers), cmocka_unit_test(what_is_left_out_is_told),
    };
    return cmocka_run_group_tests_name("plots", tests, test_folder_make, test_folder_remove);
}
