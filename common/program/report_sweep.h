/*
 * report_sweep.h - what a sweep left, read: its points, with what was predicted and measured of each.
 */
#ifndef PROGRAM_REPORT_SWEEP_H
#define PROGRAM_REPORT_SWEEP_H

#include "common/metrics.h"
#include "common/program/report.h"
#include "common/report/table.h"

enum sweep_engine { SWEEP_SIM, SWEEP_REAL, SWEEP_ENGINES };

/* A mean with its interval, and what others published of it; NAN: not known. */
struct sweep_estimate {
    double mean, low, high, published;
    int n;
};

/* A point: what is the same in all of its runs is read from its first good row. */
struct sweep_point {
    int number;                                 /* as in results.csv */
    int row[SWEEP_ENGINES];                     /* its first good row; -1: none */
    char *label;                                /* fit for a table of a figure */
    char *panel, *series;                       /* the network and what else varies; the schedule */
    double stages, devices, stale, first_phase; /* shares 0 .. 1 */
    bool is_hybrid;
    bool diverged;    /* a real run of it did */
    bool same_length; /* as many minibatches simulated as trained */
    struct sweep_estimate of[SWEEP_ENGINES][SP_METRIC_COUNT];
    struct sweep_estimate change[SWEEP_ENGINES][SP_METRIC_COUNT]; /* from the reference: difference; published of it */
    struct sweep_estimate factor[SWEEP_ENGINES][SP_METRIC_COUNT]; /* over the reference: ratio */
};

struct sweep {
    char *folder;
    struct sp_table results, summary, comparisons, epochs; /* no rows: not there */
    struct sweep_point *points;                            /* those of which a run came to its end */
    int count;
    int asked;            /* all points */
    int failed, diverged; /* rows */
};

/* Whether all runs of the sweep in FOLDER have been done and summed up. */
bool sweep_is_finished(const char *folder);

/* Reads FOLDER. SP_E_INPUT: it is no sweep, or its summary.csv is not written yet. Free with sweep_fini, also after a
 * failure. */
sp_status sweep_read(struct sweep *sweep, const char *folder, struct sp_error *err);
void sweep_fini(struct sweep *sweep);

/* A cell of results.csv by column, of the point's first good row: of the measured one where there is one. */
const char *sweep_text(const struct sweep *sweep, const struct sweep_point *point, const char *column);
double sweep_number(const struct sweep *sweep, const struct sweep_point *point, const char *column);

/* Predicted over measured, less 1, of the means; NAN: one is not known, or times are of runs of different lengths. */
double sweep_error(const struct sweep_point *point, enum sp_metric metric);

/* Whether any point has that estimate. */
bool sweep_has(const struct sweep *sweep, enum sweep_engine engine, enum sp_metric metric);
bool sweep_has_change(const struct sweep *sweep, enum sp_metric metric);

/* Writes the tables behind the figures into report->figures, draws them and puts them on the page. */
sp_status sweep_write_figures(struct report *report, const struct sweep *sweep, struct sp_error *err);

/* The rows of published.csv of a sweep: quantity,label,published,predicted,measured,measured_low,measured_high. Number
 * of rows written. */
int sweep_write_published(const struct sweep *sweep, FILE *out);

/* "1.46 (1.40 to 1.52)"; the caller frees. */
char *sweep_with_interval(const struct sweep_estimate *e, double scale, const char *unit);

/* The name that experiment.yaml gives, else the folder's; the caller frees. */
char *sweep_name(const char *folder);

/* The headings of one sweep's page, and of a part of a page. */
struct sweep_level {
    const char *title, *part;
};

/* All that a page has of a sweep but its title. */
sp_status sweep_write(struct report *report, const struct sweep *sweep, const struct sweep_level *level,
                      struct sp_error *err);

#endif
