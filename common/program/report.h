/*
 * report.h - the pages of `report`: one of a run or a comparison, one of a sweep or several.
 */
#ifndef PROGRAM_REPORT_H
#define PROGRAM_REPORT_H

#include "common/report/page.h"
#include "common/report/timeline.h"

#include <jansson.h>

/* A report in the making. */
struct report {
    const char *folder; /* of the run or sweep */
    char *plots;        /* scripts, and parts of the page */
    char *figures;      /* FOLDER/figures */
    bool quiet;
    struct sp_page page;
    sp_status undrawn; /* what went wrong with the first figure that could not be drawn */
    struct sp_error why;
};

/* What a run left on one of its sides. */
struct report_side {
    const char *label; /* "predicted", "measured"; NULL: there is no such side */
    char *folder;
    json_t *summary;
    struct sp_timeline timeline; /* count 0: none */
};

/* FOLDER/NAME; the caller frees. */
char *report_path(const char *folder, const char *name);
bool report_has(const char *folder, const char *name);

/* A number of a JSON object; NAN where there is none. */
double report_number(const json_t *object, const char *key);
const char *report_string(const json_t *object, const char *key);

/* "1.95", "29,209", "-": a number with as many digits as are worth reading. 32 bytes. */
const char *report_real(double x, char buffer[32]);

/* "+3.2 %", "-" where one is not known; with a "!" before it, as for sp_page_row, beyond `far` (0.1: 10 %). 32 bytes.
 */
const char *report_error(double predicted, double measured, double far, char buffer[32]);

/* Draws figures/NAME.* with SCRIPT from `path` ("csv" or "folder") and puts it on the page, unless its caption is
 * NULL; `csv` is the table behind it, or NULL. What goes wrong is told on the page, which has the rest all the same,
 * and kept in `undrawn`. */
struct report_figure {
    const char *name, *script, *data, *path, *csv, *caption;
};
void report_draw(struct report *report, const struct report_figure *figure);

/* The title of the page; the caller frees. `report->page` is begun. */
sp_status report_run(struct report *report, char **title, struct sp_error *err);

/* experiment.yaml of a folder, folded away on the page; nothing where it has none. */
void report_experiment(struct report *report, const char *folder);

/* The folders below that are sweeps, in the order of their names; their number. The caller frees each and the list. */
int report_sweeps_below(const char *folder, char ***out);

/* The same of a sweep, and of a folder whose sub-folders are sweeps. */
sp_status report_sweep(struct report *report, char **title, struct sp_error *err);
sp_status report_collection(struct report *report, char **title, struct sp_error *err);

#endif
