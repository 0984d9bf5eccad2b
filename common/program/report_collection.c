/*
 * The page of several sweeps: a part for each, and what was published beside all of them.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/program/report_sweep.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* published.csv as a table, a quantity after the other. */
static void write_published_rows(struct report *report, const char *path)
{
    static const char *const head[] = {"", "published", "predicted", "measured", "measured less published"};
    struct sp_table table;
    struct sp_error err = {0};
    if (sp_table_read(path, &table, &err) == SP_OK) {
        sp_page_table_begin(&report->page);
        for (int r = 0; r < table.rows; r++) {
            char *measured, difference[32], published[32], predicted[32];
            struct sweep_estimate real = {.mean = sp_table_number(&table, r, 4),
                                          .low = sp_table_number(&table, r, 5),
                                          .high = sp_table_number(&table, r, 6)};
            if (r == 0 || strcmp(sp_table_text(&table, r, 0), sp_table_text(&table, r - 1, 0)) != 0) {
                const char *cells[5];
                memcpy(cells, head, sizeof cells);
                cells[0] = sp_table_text(&table, r, 0);
                sp_page_row(&report->page, "th", cells, 5);
            }
            measured = sweep_with_interval(&real, 1, "");
            const char *cells[] = {sp_table_text(&table, r, 1), report_real(sp_table_number(&table, r, 2), published),
                                   report_real(sp_table_number(&table, r, 3), predicted), measured,
                                   report_real(real.mean - sp_table_number(&table, r, 2), difference)};
            sp_page_row(&report->page, "td", cells, 5);
            free(measured);
        }
        sp_page_table_end(&report->page);
    }
    sp_table_fini(&table);
    sp_error_fini(&err);
}

/* The published figures of all sweeps, with what was predicted and measured of each. */
static sp_status write_published(struct report *report, const struct sweep *sweeps, int count, struct sp_error *err)
{
    struct sp_file file;
    char *path = report_path(report->figures, "published.csv");
    int rows = 0;
    sp_status status = sp_file_begin(&file, path, err);
    if (status == SP_OK) {
        fputs("quantity,label,published,predicted,measured,measured_low,measured_high\n", file.stream);
        for (int s = 0; s < count; s++)
            rows += sweep_write_published(&sweeps[s], file.stream);
        status = sp_file_commit(&file, err);
    }
    if (status == SP_OK && rows > 0) {
        sp_page_say(&report->page, "h2", "Published, predicted and measured");
        write_published_rows(report, path);
        fputs("<div class=\"figures\">\n", report->page.out);
        report_draw(report, &(struct report_figure){"published", "published", "csv", path, NULL,
                                                    "What was published, predicted and measured."});
        fputs("</div>\n", report->page.out);
    }
    free(path);
    return status;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int report_sweeps_below(const char *folder, char ***out)
{
    int count = 0;
    DIR *directory = opendir(folder);
    *out = NULL;
    for (struct dirent *entry = directory != NULL ? readdir(directory) : NULL; entry != NULL;
         entry = readdir(directory)) {
        char *path = report_path(folder, entry->d_name);
        if (entry->d_name[0] != '.' && report_has(path, "results.csv"))
            *(char **)sp_grow((void **)out, count++, sizeof path) = path;
        else
            free(path);
    }
    if (directory != NULL)
        closedir(directory);
    if (count > 0)
        qsort(*out, (size_t)count, sizeof **out, by_text);
    return count;
}

/* One sweep's part of a page of several, with figures in a folder of its own. */
static sp_status write_part(struct report *report, const struct sweep *sweep, struct sp_error *err)
{
    static const struct sweep_level level = {"h2", "h3"};
    char *name = sweep_name(sweep->folder), *whole = report->figures, *about = report_path(sweep->folder, "about.txt");
    char *text;
    size_t size;
    struct sp_error unread = {0};
    sp_page_say(&report->page, level.title, "%s", name);
    if (sp_file_read(about, 1 << 16, NULL, &text, &size, &unread) == SP_OK) {
        sp_page_say(&report->page, "p", "%s", text);
        free(text);
    }
    sp_error_fini(&unread);
    report->figures = report_path(sweep->folder, "figures");
    sp_status status = sp_folder_make(report->figures, err);
    if (status == SP_OK)
        status = sweep_write(report, sweep, &level, err);
    free(report->figures);
    report->figures = whole;
    free(name);
    free(about);
    return status;
}

/* Takes out the sweeps that have not been finished; gives their names, to be freed, NULL when there are none. */
static char *leave_out_unfinished(char **folders, int *count)
{
    char *names = NULL;
    int kept = 0;
    for (int s = 0; s < *count; s++) {
        if (sweep_is_finished(folders[s])) {
            folders[kept++] = folders[s];
            continue;
        }
        char *before = names, *name = sweep_name(folders[s]);
        names = before == NULL ? sp_strdup(name) : sp_format("%s, %s", before, name);
        free(before);
        free(name);
        free(folders[s]);
    }
    *count = kept;
    return names;
}

sp_status report_collection(struct report *report, char **title, struct sp_error *err)
{
    char **folders;
    int count = report_sweeps_below(report->folder, &folders);
    char *unfinished = leave_out_unfinished(folders, &count);
    struct sweep *sweeps = sp_calloc((size_t)count + 1, sizeof *sweeps);
    sp_status status = SP_OK;
    if (count == 0)
        status = sp_reject(err, (struct sp_mark){.file = report->folder},
                           "none of its sweeps has been finished; their commands go on with them");
    for (int s = 0; s < count; s++)
        if (sweep_read(&sweeps[s], folders[s], err) != SP_OK)
            status = SP_E_INPUT;
    if (status == SP_OK) {
        *title = sweep_name(report->folder);
        sp_page_say(&report->page, "h1", "%s", *title);
        sp_page_say(&report->page, "p class=\"asked\"", "%d sweep%s with what %s asked and answered.", count,
                    count == 1 ? "" : "s", count == 1 ? "it" : "each");
        if (unfinished != NULL)
            sp_page_say(&report->page, "p", "Left out, because not finished: %s.", unfinished);
        status = write_published(report, sweeps, count, err);
        for (int s = 0; s < count; s++) {
            sp_status one = write_part(report, &sweeps[s], err);
            if (one != SP_OK)
                status = one;
        }
    }
    for (int s = 0; s < count; s++) {
        sweep_fini(&sweeps[s]);
        free(folders[s]);
    }
    free(sweeps);
    free(folders);
    free(unfinished);
    return status;
}
