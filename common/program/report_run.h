/*
 * report_run.h - what a run left, or a comparison of its two sides, read; and the parts of its page.
 */
#ifndef PROGRAM_REPORT_RUN_H
#define PROGRAM_REPORT_RUN_H

#include "common/experiment.h"
#include "common/program/report.h"

#include <math.h>

enum { PREDICTED, MEASURED, SIDES };

struct run {
    struct report_side sides[SIDES];
    const struct report_side *main; /* measured where it is there */
    struct sp_experiment *experiment;
    struct sp_error unread; /* why not, where `experiment` is NULL */
};

static inline bool run_has_side(const struct run *run, int s)
{
    return run->sides[s].label != NULL;
}

static inline bool run_is_comparison(const struct run *run)
{
    return run_has_side(run, PREDICTED) && run_has_side(run, MEASURED);
}

static inline double run_number(const struct run *run, int side, const char *key)
{
    return report_number(run->sides[side].summary, key);
}

static inline json_t *run_list(const struct report_side *side, const char *key)
{
    return json_object_get(side->summary, key);
}

/* Of one entry of "devices" or "stages". */
static inline double run_entry(const struct report_side *side, const char *array, size_t index, const char *key)
{
    return side->label == NULL ? NAN : report_number(json_array_get(run_list(side, array), index), key);
}

/* What was asked, and the answer in three sentences (report_run_answer.c). */
void run_write_question(struct report *report, const struct run *run);
void run_write_answer(struct report *report, const struct run *run);

/* Tables (report_run_tables.c): the run as a whole; its instructions, waits, stages and epochs. */
void run_write_numbers(struct report *report, const struct run *run);
void run_write_details(struct report *report, const struct run *run);
/* How values are shown; 32 bytes. */
const char *run_show_seconds(double x, char *buffer);
const char *run_show_real(double x, char *buffer);
const char *run_show_percent(double x, char *buffer);

/* What is behind a prediction (report_run_search.c): a sentence on the search of a plan; a list of the costs' notes; a
 * table of runs whose durations vary, and how many there are. Nothing where there are none. */
bool run_is_plan(const struct run *run);
void run_write_search(struct report *report, const struct run *run);
void run_write_notes(struct report *report, const struct run *run);
int run_repeats(const struct run *run);
void run_write_intervals(struct report *report, const struct run *run);

#endif
