/*
 * sweep.h - the parts of `stalepipe sweep`: which runs there are (sweep.c), what one of them does in its own process
 * (sweep_row.c), and what all of them say together (sweep_summary.c).
 */
#ifndef PROGRAM_SWEEP_H
#define PROGRAM_SWEEP_H

#include "common/program/program.h"
#include "common/results.h"
#include "common/sweep.h"

enum sweep_state { SWEEP_TO_DO, SWEEP_FINISHED, SWEEP_FAILED };

/* A run: a point, simulated or one of its real repeats. */
struct sweep_task {
    int point, repeat;
    bool real;
    uint64_t id;
    enum sweep_state state;
    double time_s; /* of the finished run; 0: not known */
};

struct sweep {
    const struct program *program;
    struct sp_experiment *base;
    struct sp_sweep *points;
    char *folder;
    struct sweep_task *tasks; /* the simulated ones come first */
    int task_count;
    int *order; /* tasks by id */
    int start;  /* this is the start-th start of the sweep, from 0 */
};

/* The id of a point's runs: the same for the same experiment, whatever else is in the sweep. */
uint64_t sweep_point_id(const struct sweep *sweep, int point);

/* The run of that id, which a row names; NULL: none of this sweep's. */
struct sweep_task *sweep_find(const struct sweep *sweep, const char *id);

/* Does the run and returns its row. It runs in a process of its own. */
char *sweep_do(const struct sweep *sweep, const struct sweep_task *task);
/* The row of a run that was not to be done. */
char *sweep_failed_row(const struct sweep *sweep, const struct sweep_task *task, const char *reason);
/* Seconds that the point's real run, and a baseline before it, are predicted to take; as text "run baseline", or
 * "! reason". It runs in a process of its own. */
char *sweep_predict(const struct sweep *sweep, int point);

/* Writes epochs.csv, summary.csv and comparisons.csv from results.csv, and prints a table (or JSON) if wanted. */
sp_status sweep_summarize(const struct sweep *sweep, bool print, struct sp_error *err);

/* The path of a file in the sweep's folder; the caller frees. */
char *sweep_path(const struct sweep *sweep, const char *name);

#endif
