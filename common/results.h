/*
 * results.h - results.csv of a sweep: one row a run, appended so that it lasts.
 *
 * Rows are one line each. A row is on disk (written and fsynced) before the next is begun, so whatever stops the
 * program, only the last line can be torn; that one is recognised when the file is opened again and taken away.
 */
#ifndef SP_RESULTS_H
#define SP_RESULTS_H

#include "common/error.h"

#include <stddef.h>

/* The columns, in order; behind them stands one for each swept key. */
enum sp_result {
    SP_RESULT_ID,
    SP_RESULT_POINT,
    SP_RESULT_REPEAT,
    SP_RESULT_ENGINE,
    SP_RESULT_STATUS,
    SP_RESULT_LABEL,
    SP_RESULT_NETWORK,
    SP_RESULT_DATA,
    SP_RESULT_SCHEDULE,
    SP_RESULT_WEIGHTS,
    SP_RESULT_CUTS,
    SP_RESULT_STAGES,
    SP_RESULT_DEVICES,
    SP_RESULT_BATCH,
    SP_RESULT_MICROBATCHES,
    SP_RESULT_SEED,
    SP_RESULT_MINIBATCHES,
    SP_RESULT_FIRST_PHASE_FRACTION,
    SP_RESULT_TIME,
    SP_RESULT_EVALUATION,
    SP_RESULT_SAMPLES_PER_S,
    SP_RESULT_SPEEDUP,
    SP_RESULT_UTILIZATION,
    SP_RESULT_STALE_WEIGHT_FRACTION,
    SP_RESULT_STALENESS,
    SP_RESULT_PEAK_BYTES,
    SP_RESULT_PEAK_DEVICE_BYTES,
    SP_RESULT_KEPT_BYTES,
    SP_RESULT_KIND_BYTES, /* the first of a column for each kind of memory */
    SP_RESULT_KIND_BYTES_LAST = SP_RESULT_KIND_BYTES + 6,
    SP_RESULT_ACCURACY,
    SP_RESULT_LOSS,
    SP_RESULT_TEST_LOSS,
    SP_RESULT_WALL,
    SP_RESULT_START,
    SP_RESULT_FOLDER,
    SP_RESULT_REASON,
    SP_RESULT_COUNT
};
extern const struct sp_result_info {
    const char *name, *unit, *meaning;
} sp_results_columns[SP_RESULT_COUNT];

/* A row under construction; zero-initialise. Numbers that are not finite leave their field empty. */
struct sp_result_row {
    char *fields[SP_RESULT_COUNT]; /* owned; NULL: empty */
};
void sp_result_set(struct sp_result_row *row, enum sp_result column, const char *format, ...) SP_PRINTF(3, 4);
void sp_result_real(struct sp_result_row *row, enum sp_result column, double value);
/* The row as a line with its end, with the values of the swept keys; the caller frees. */
char *sp_result_line(const struct sp_result_row *row, char *const *values, int value_count);
void sp_result_row_fini(struct sp_result_row *row);

struct sp_results {
    char *path;
    int fd;
    int kept, dropped; /* rows found at opening; dropped: torn, or not wanted any more */
};

/*
 * Opens PATH for appending; makes it, with its header, where it is not there. `keep` sees each whole row that it holds
 * and says whether it stays; the others are taken out, into PATH.old unless torn. It may let fields point to other
 * text, which must last until its next call; the row is then written anew. Other columns than these keys make is
 * SP_E_INPUT: the file is of another sweep.
 */
struct sp_results_config {
    const char *const *keys;
    int key_count;
    bool (*keep)(void *self, char **fields);
    void *self;
};
sp_status sp_results_open(const char *path, const struct sp_results_config *config, struct sp_results *out,
                          struct sp_error *err);

/* Appends whole lines; they are on disk when it returns. */
sp_status sp_results_append(struct sp_results *results, const char *lines, size_t size, struct sp_error *err);
void sp_results_close(struct sp_results *results);

/* Calls `each` on the rows of a file that sp_results_open opened. */
sp_status sp_results_read(const char *path, void (*each)(void *self, char *const *fields), void *self,
                          struct sp_error *err);

/* Writes column, unit and meaning of each column as CSV. */
sp_status sp_results_write_columns(const char *path, const char *const *keys, int key_count, struct sp_error *err);

#endif
