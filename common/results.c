#include "common/results.h"
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE_LIMIT ((size_t)1 << 32)

const struct sp_result_info sp_results_columns[SP_RESULT_COUNT] = {
    [SP_RESULT_ID] = {"id", "", "hash of experiment and engine; unique in the file"},
    [SP_RESULT_POINT] = {"point", "",
                         "number of the point in the sweep, from 0; the same for sim, real and all repeats"},
    [SP_RESULT_REPEAT] = {"repeat", "", "from 0; the seed is train.seed + repeat"},
    [SP_RESULT_ENGINE] = {"engine", "", "sim or real"},
    [SP_RESULT_STATUS] = {"status", "", "ok; diverged: the loss was not finite in the end; failed: see reason"},
    [SP_RESULT_LABEL] = {"label", "", "what tables and legends call the point"},
    [SP_RESULT_NETWORK] = {"network", "", ""},
    [SP_RESULT_DATA] = {"data", "", "data set"},
    [SP_RESULT_SCHEDULE] = {"schedule", "", "phases are joined by +"},
    [SP_RESULT_WEIGHTS] = {"weights", "", "latest or stash, of the first phase"},
    [SP_RESULT_CUTS] = {"cuts", "", "after which weight layers, separated by spaces"},
    [SP_RESULT_STAGES] = {"stages", "", ""},
    [SP_RESULT_DEVICES] = {"devices", "", ""},
    [SP_RESULT_BATCH] = {"batch", "", "samples of a minibatch"},
    [SP_RESULT_MICROBATCHES] = {"microbatches", "", "parts of a minibatch, of the first phase"},
    [SP_RESULT_SEED] = {"seed", "", ""},
    [SP_RESULT_MINIBATCHES] = {"minibatches", "", "in the run"},
    [SP_RESULT_FIRST_PHASE_FRACTION] = {"first_phase_fraction", "0..1",
                                        "share of the minibatches in the first phase; 1: there is only one"},
    [SP_RESULT_TIME] = {"time_s", "s", "of the training loop, with evaluations"},
    [SP_RESULT_EVALUATION] = {"evaluation_s", "s", "of it, evaluating"},
    [SP_RESULT_SAMPLES_PER_S] = {"samples_per_s", "1/s", ""},
    [SP_RESULT_SPEEDUP] = {"speedup", "", "over sequential on one device; real: with sweep.baseline only"},
    [SP_RESULT_UTILIZATION] = {"utilization", "0..1", "busy over elapsed, mean of devices"},
    [SP_RESULT_STALE_WEIGHT_FRACTION] = {"stale_weight_fraction", "0..1", "of the weights, in stages that are stale"},
    [SP_RESULT_STALENESS] = {"staleness", "updates", "of each stage's forward, separated by spaces"},
    [SP_RESULT_PEAK_BYTES] = {"peak_bytes", "B", "sum of devices"},
    [SP_RESULT_PEAK_DEVICE_BYTES] = {"peak_device_bytes", "B", "largest device"},
    [SP_RESULT_KEPT_BYTES] = {"kept_bytes", "B", "weights, versions, activations, boundary: what the paper counts"},
    [SP_RESULT_KIND_BYTES] = {"weights_bytes", "B", "sum of devices, as are the other kinds"},
    [SP_RESULT_KIND_BYTES + 1] = {"optimizer_bytes", "B", "velocity"},
    [SP_RESULT_KIND_BYTES + 2] = {"gradients_bytes", "B", "of weights"},
    [SP_RESULT_KIND_BYTES + 3] = {"versions_bytes", "B", "further versions of weights"},
    [SP_RESULT_KIND_BYTES + 4] = {"activations_bytes", "B", "kept for backward passes"},
    [SP_RESULT_KIND_BYTES + 5] = {"boundary_bytes", "B", "buffers between stages"},
    [SP_RESULT_KIND_BYTES + 6] = {"scratch_bytes", "B", "used within a pass"},
    [SP_RESULT_ACCURACY] = {"accuracy", "0..1", "on the test samples, in the end; real"},
    [SP_RESULT_LOSS] = {"loss", "", "training loss of the last epoch; real"},
    [SP_RESULT_TEST_LOSS] = {"test_loss", "", "in the end; real"},
    [SP_RESULT_WALL] = {"wall_s", "s", "that making this row took"},
    [SP_RESULT_START] = {"start", "", "which start of the sweep made the row; see environment.json"},
    [SP_RESULT_FOLDER] = {"folder", "", "of the run, below the sweep's"},
    [SP_RESULT_REASON] = {"reason", "", "why it failed"},
};

_Static_assert(SP_RESULT_KIND_BYTES_LAST - SP_RESULT_KIND_BYTES + 1 == SP_MEMORY_KIND_COUNT, "a column for each kind");

void sp_result_set(struct sp_result_row *row, enum sp_result column, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    free(row->fields[column]);
    row->fields[column] = text;
}

void sp_result_real(struct sp_result_row *row, enum sp_result column, double value)
{
    if (isfinite(value))
        sp_result_set(row, column, "%.9g", value);
}

/* A field of a row, which is one line. */
static void put_field(int column, const char *field, FILE *out)
{
    char *line = sp_strdup(field);
    for (char *at = line; (at = strpbrk(at, "\n\r")) != NULL;)
        *at = ' ';
    if (column > 0)
        fputc(',', out);
    sp_csv_write(line, out);
    free(line);
}

char *sp_result_line(const struct sp_result_row *row, char *const *values, int value_count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int c = 0; c < SP_RESULT_COUNT + value_count; c++) {
        const char *field = c < SP_RESULT_COUNT ? row->fields[c] : values[c - SP_RESULT_COUNT];
        put_field(c, field != NULL ? field : "", out);
    }
    fputc('\n', out);
    fclose(out);
    return text;
}

void sp_result_row_fini(struct sp_result_row *row)
{
    for (int c = 0; c < SP_RESULT_COUNT; c++)
        free(row->fields[c]);
    *row = (struct sp_result_row){0};
}

static char *make_header(const char *const *keys, int key_count)
{
    struct sp_result_row row = {0};
    for (int c = 0; c < SP_RESULT_COUNT; c++)
        row.fields[c] = sp_strdup(sp_results_columns[c].name);
    char *line = sp_result_line(&row, (char *const *)keys, key_count);
    sp_result_row_fini(&row);
    return line;
}

/* Takes out lines that are not whole: the last without its end, and those with zeros that a power failure left. */
static bool cut_torn(char *text, size_t size)
{
    size_t kept = 0;
    const char *next;
    for (const char *line = text; (next = memchr(line, '\n', size - (size_t)(line - text))) != NULL; line = next) {
        size_t length = (size_t)(++next - line);
        if (memchr(line, '\0', length) != NULL)
            continue;
        memmove(text + kept, line, length);
        kept += length;
    }
    text[kept] = '\0';
    return kept < size;
}

struct sorting {
    FILE *kept, *dropped;
    int kept_count, dropped_count;
    bool changed; /* the file, even if nothing is dropped */
};

/* A row whose fields are not those that were read. */
static void write_anew(char *const *fields, int count, FILE *out)
{
    for (int c = 0; c < count; c++)
        put_field(c, fields[c], out);
    fputc('\n', out);
}

/* Sorts the lines behind the header. `keep` gets a copy, since splitting it destroys it. */
static void sort_lines(char *text, const struct sp_results_config *config, struct sorting *sorting)
{
    struct sp_csv_record record = {0};
    int count = SP_RESULT_COUNT + config->key_count;
    char **read = sp_calloc((size_t)count, sizeof *read);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char *copy = sp_format("%.*s", (int)(end - line + 1), line), *at = copy;
        bool whole = sp_csv_next(&at, &record) && record.count == count;
        if (whole)
            memcpy(read, record.fields, (size_t)count * sizeof *read);
        bool kept = whole && config->keep(config->self, record.fields);
        bool anew = kept && memcmp(read, record.fields, (size_t)count * sizeof *read) != 0;
        if (anew)
            write_anew(record.fields, count, sorting->kept);
        else if (whole)
            fwrite(line, 1, (size_t)(end - line + 1), kept ? sorting->kept : sorting->dropped);
        sorting->kept_count += kept;
        sorting->dropped_count += !kept;
        sorting->changed |= !whole || anew;
        free(copy);
    }
    free(read);
    sp_csv_fini(&record);
}

static sp_status append_all(int fd, const char *path, const char *text, size_t size, struct sp_error *err)
{
    for (size_t done = 0; done < size;) {
        ssize_t wrote = write(fd, text + done, size - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", path, strerror(errno));
        done += (size_t)wrote;
    }
    return fsync(fd) == 0 ? SP_OK : SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", path, strerror(errno));
}

static sp_status open_append(const char *path, int *fd, struct sp_error *err)
{
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    return *fd >= 0 ? SP_OK : SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", path, strerror(errno));
}

/* Rows that are not wanted any more go to PATH.old. */
static sp_status keep_aside(const char *path, const char *dropped, size_t size, struct sp_error *err)
{
    if (size == 0)
        return SP_OK;
    char *old = sp_format("%s.old", path);
    int fd = -1;
    sp_status status = open_append(old, &fd, err);
    if (status == SP_OK)
        status = append_all(fd, old, dropped, size, err);
    if (fd >= 0)
        close(fd);
    free(old);
    return status;
}

/* What the file holds, sorted; the file is rewritten where something has to go. */
static sp_status take_over(const char *path, char *text, size_t size, const char *header,
                           const struct sp_results_config *config, struct sp_results *out, struct sp_error *err)
{
    struct sorting sorting = {.changed = cut_torn(text, size)};
    size_t length = strlen(header), kept_size = 0, dropped_size = 0;
    if (text[0] != '\0' && strncmp(text, header, length) != 0)
        return sp_reject(err, (struct sp_mark){path, 0, 0},
                         "its columns are not those of this sweep; name another folder with -o, or move this one away");
    char *kept = NULL, *dropped = NULL;
    sorting.kept = open_memstream(&kept, &kept_size);
    sorting.dropped = open_memstream(&dropped, &dropped_size);
    fputs(header, sorting.kept);
    if (text[0] != '\0')
        sort_lines(text + length, config, &sorting);
    fclose(sorting.kept);
    fclose(sorting.dropped);
    out->kept = sorting.kept_count;
    out->dropped = sorting.dropped_count;
    sp_status status = keep_aside(path, dropped, dropped_size, err);
    if (status == SP_OK && (sorting.changed || sorting.dropped_count > 0 || text[0] == '\0'))
        status = sp_file_write(path, kept, err);
    free(kept);
    free(dropped);
    return status;
}

sp_status sp_results_open(const char *path, const struct sp_results_config *config, struct sp_results *out,
                          struct sp_error *err)
{
    *out = (struct sp_results){.fd = -1};
    char *text = NULL, *header = make_header(config->keys, config->key_count);
    size_t size = 0;
    sp_status status = access(path, F_OK) == 0 ? sp_file_read(path, SIZE_LIMIT, NULL, &text, &size, err) : SP_OK;
    if (status == SP_OK && text == NULL)
        text = sp_strdup("");
    if (status == SP_OK)
        status = take_over(path, text, size, header, config, out, err);
    if (status == SP_OK)
        status = open_append(path, &out->fd, err);
    if (status == SP_OK)
        out->path = sp_strdup(path);
    free(text);
    free(header);
    return status;
}

sp_status sp_results_append(struct sp_results *results, const char *lines, size_t size, struct sp_error *err)
{
    return append_all(results->fd, results->path, lines, size, err);
}

void sp_results_close(struct sp_results *results)
{
    if (results->path != NULL)
        close(results->fd);
    free(results->path);
    *results = (struct sp_results){.fd = -1};
}

sp_status sp_results_read(const char *path, void (*each)(void *self, char *const *fields), void *self,
                          struct sp_error *err)
{
    char *text;
    size_t size;
    SP_TRY(sp_file_read(path, SIZE_LIMIT, NULL, &text, &size, err));
    struct sp_csv_record record = {0};
    char *at = text;
    for (int row = 0; sp_csv_next(&at, &record); row++)
        if (row > 0 && record.count >= SP_RESULT_COUNT)
            each(self, record.fields);
    sp_csv_fini(&record);
    free(text);
    return SP_OK;
}

sp_status sp_results_write_columns(const char *path, const char *const *keys, int key_count, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("column,unit,meaning\n", file.stream);
    for (int c = 0; c < SP_RESULT_COUNT + key_count; c++) {
        const struct sp_result_info swept = {c < SP_RESULT_COUNT ? NULL : keys[c - SP_RESULT_COUNT], "",
                                             "of the experiment, as YAML"};
        const struct sp_result_info *column = c < SP_RESULT_COUNT ? &sp_results_columns[c] : &swept;
        fprintf(file.stream, "%s,%s,", column->name, column->unit);
        sp_csv_write(column->meaning, file.stream);
        fputc('\n', file.stream);
    }
    return sp_file_commit(&file, err);
}
