/*
 * `sweep`: every point of a sweep, simulated on all cores at once, then really run one after another; repeats are
 * interleaved, so that whatever drifts on the machine hits all points alike, and every second round goes backwards.
 *
 * results.csv says what is finished. Whatever stops the program, the same command goes on where it stopped.
 */
#include "common/program/sweep.h"
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"
#include "common/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A sweep at work. */
struct work {
    struct sweep *sweep;
    struct sp_results results;
    bool real;  /* the engine at work */
    int cursor; /* the next task to look at */
    char *rows; /* that came since the last pause, in one text */
    size_t rows_size;
    FILE *rows_stream;
    int done, failed, to_do; /* in this start */
    bool terminal;
    double began_s, task_began_s; /* this engine; the real task at work */
    int measured;                 /* real runs done in this start, how long they took, and how long was predicted */
    double spent_s, predicted_s;
    double told_s;      /* when progress was shown last */
    char **predictions; /* --dry-run: what sweep_predict says of each point */
    char number[16];    /* what a kept row is told anew */
    char *label;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* FNV-1a of what makes a task out of its point. */
static uint64_t task_id(uint64_t point_id, const struct sweep_task *task)
{
    int32_t words[2] = {task->repeat, task->real};
    for (size_t b = 0; b < sizeof words; b++)
        point_id = (point_id ^ ((const unsigned char *)words)[b]) * 0x100000001b3u;
    return point_id;
}

static void make_tasks(struct sweep *sweep)
{
    int points = sweep->points->point_count, repeat = sweep->points->repeat;
    sweep->task_count = points * (1 + repeat);
    sweep->tasks = sp_calloc((size_t)sweep->task_count, sizeof *sweep->tasks);
    for (int p = 0; p < points; p++) {
        uint64_t id = sweep_point_id(sweep, p);
        sweep->tasks[p] = (struct sweep_task){.point = p};
        sweep->tasks[p].id = task_id(id, &sweep->tasks[p]);
        for (int r = 0; r < repeat; r++) {
            struct sweep_task *task = &sweep->tasks[points * (1 + r) + (r % 2 == 0 ? p : points - 1 - p)];
            *task = (struct sweep_task){.point = p, .repeat = r, .real = true};
            task->id = task_id(id, task);
        }
    }
}

static int compare_ids(const void *a, const void *b, void *tasks)
{
    const struct sweep_task *all = tasks, *x = &all[*(const int *)a], *y = &all[*(const int *)b];
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Sorts the tasks by id. Two points that are the same experiment are a mistake. */
static sp_status sort_tasks(struct sweep *sweep, struct sp_error *err)
{
    sweep->order = sp_calloc((size_t)sweep->task_count, sizeof *sweep->order);
    for (int t = 0; t < sweep->task_count; t++)
        sweep->order[t] = t;
    qsort_r(sweep->order, (size_t)sweep->task_count, sizeof *sweep->order, compare_ids, sweep->tasks);
    for (int t = 1; t < sweep->task_count; t++) {
        const struct sweep_task *a = &sweep->tasks[sweep->order[t - 1]], *b = &sweep->tasks[sweep->order[t]];
        if (a->id == b->id)
            return sp_reject(err, sp_experiment_mark(sweep->base, "sweep"),
                             "sweep: points %d and %d are the same experiment",
                             a->point < b->point ? a->point : b->point, a->point < b->point ? b->point : a->point);
    }
    return SP_OK;
}

struct sweep_task *sweep_find(const struct sweep *sweep, const char *text)
{
    uint64_t id = strtoull(text, NULL, 16);
    int low = 0, high = sweep->task_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (sweep->tasks[sweep->order[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    struct sweep_task *task = low < sweep->task_count ? &sweep->tasks[sweep->order[low]] : NULL;
    return task != NULL && task->id == id ? task : NULL;
}

/* Whether the command line asks for this run's engine. */
static bool is_asked(const struct sweep *sweep, const struct sweep_task *task)
{
    return task->real ? sweep->program->real : sweep->program->sim || !sweep->program->real;
}

/* A row that was made when the sweep had other points may have another number and label now. */
static void renew(struct work *work, const struct sweep_task *task, char **fields)
{
    snprintf(work->number, sizeof work->number, "%d", task->point);
    if (strcmp(work->number, fields[SP_RESULT_POINT]) != 0)
        fields[SP_RESULT_POINT] = work->number;
    free(work->label);
    work->label = sp_sweep_label(work->sweep->points, task->point);
    if (strcmp(work->label, fields[SP_RESULT_LABEL]) != 0)
        fields[SP_RESULT_LABEL] = work->label;
}

/* Rows of this sweep's runs stay, each once; with --retry those that failed go, and so do those without a time. */
static bool keep_row(void *self, char **fields)
{
    struct work *work = self;
    struct sweep_task *task = sweep_find(work->sweep, fields[SP_RESULT_ID]);
    bool failed = strcmp(fields[SP_RESULT_STATUS], "failed") == 0;
    double time_s = sp_csv_number(fields[SP_RESULT_TIME]);
    if (task == NULL || task->state != SWEEP_TO_DO || (!failed && !(time_s >= 0 && time_s < INFINITY)) ||
        (failed && work->sweep->program->retry && is_asked(work->sweep, task)))
        return false;
    task->state = failed ? SWEEP_FAILED : SWEEP_FINISHED;
    task->time_s = failed ? 0 : time_s;
    renew(work, task, fields);
    return true;
}

static sp_status open_results(struct work *work, struct sp_error *err)
{
    int count = sp_sweep_key_count(work->sweep->points);
    const char **keys = sp_calloc((size_t)count + 1, sizeof *keys);
    for (int k = 0; k < count; k++)
        keys[k] = sp_sweep_key(work->sweep->points, k);
    struct sp_results_config config = {.keys = keys, .key_count = count, .keep = keep_row, .self = work};
    char *path = sweep_path(work->sweep, "results.csv"), *columns = sweep_path(work->sweep, "columns.csv");
    sp_status status = sp_results_open(path, &config, &work->results, err);
    if (status == SP_OK)
        status = sp_results_write_columns(columns, keys, count, err);
    free(path);
    free(columns);
    free(keys);
    return status;
}

/* One sweep at a time in a folder, and none where a run is at work. The lock goes with the process; children do not
 * have it, as they would have a hold. */
static sp_status lock_folder(const struct sweep *sweep, struct sp_error *err)
{
    struct sp_hold hold = {0};
    SP_TRY(sp_folder_hold(sweep->folder, &hold, err));
    sp_folder_let_go(&hold);
    char *path = sweep_path(sweep, "lock");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    sp_status status = SP_OK;
    if (fd < 0)
        status = SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", path, strerror(errno));
    else if (fcntl(fd, F_SETLK, &lock) != 0)
        status = SP_FAIL(err, SP_E_IO, "%s: another sweep is at work there", sweep->folder);
    free(path);
    return status;
}

/* Notes when and where the sweep was started, and which start it is. */
static sp_status note_start(struct sweep *sweep, struct sp_error *err)
{
    char *path = sweep_path(sweep, "environment.json");
    json_t *root = json_load_file(path, 0, NULL), *starts = json_object_get(root, "starts");
    if (!json_is_array(starts)) {
        json_decref(root);
        root = json_object();
        starts = json_array();
        json_object_set_new(root, "starts", starts);
    }
    sweep->start = (int)json_array_size(starts);
    json_array_append_new(starts, program_environment());
    sp_status status = program_write_json(path, root, err);
    free(path);
    return status;
}

static sp_status write_experiment(const struct sweep *sweep, struct sp_error *err)
{
    char *path = sweep_path(sweep, "experiment.yaml"), *yaml = sp_experiment_yaml(sweep->base);
    sp_status status = sp_file_write(path, yaml, err);
    free(yaml);
    free(path);
    return status;
}

static int next_task(void *self)
{
    struct work *work = self;
    const struct sweep *sweep = work->sweep;
    while (work->cursor < sweep->task_count &&
           (sweep->tasks[work->cursor].state != SWEEP_TO_DO || sweep->tasks[work->cursor].real != work->real))
        work->cursor++;
    work->task_began_s = now_s();
    return work->cursor < sweep->task_count ? work->cursor++ : -1;
}

static char *do_task(void *self, int task)
{
    struct work *work = self;
    return sweep_do(work->sweep, &work->sweep->tasks[task]);
}

/* The time that was simulated for the task's point, else 0. */
static double predicted_s(const struct sweep *sweep, const struct sweep_task *task)
{
    return sweep->tasks[task->point].time_s;
}

/* What the row says of the task. */
static void learn(struct sweep_task *task, const char *row)
{
    struct sp_csv_record record = {0};
    char *copy = sp_strdup(row), *at = copy;
    bool whole = sp_csv_next(&at, &record) && record.count >= SP_RESULT_COUNT;
    SP_ASSERT(whole, "row %s", row);
    bool failed = strcmp(record.fields[SP_RESULT_STATUS], "failed") == 0;
    task->state = failed ? SWEEP_FAILED : SWEEP_FINISHED;
    task->time_s = strtod(record.fields[SP_RESULT_TIME], NULL);
    sp_csv_fini(&record);
    free(copy);
}

static void tell_run(const struct work *work, const struct sweep_task *task, double took_s)
{
    char time[32], *label = sp_sweep_label(work->sweep->points, task->point);
    fprintf(stderr, "%d of %d: %s, repeat %d: %s\n", work->done, work->to_do, label, task->repeat,
            task->state == SWEEP_FAILED ? "failed" : program_seconds(took_s, time));
    free(label);
}

static sp_status take_row(void *self, int index, const char *answer, const char *reason, struct sp_error *err)
{
    (void)err;
    struct work *work = self;
    struct sweep_task *task = &work->sweep->tasks[index];
    char *made = answer == NULL ? sweep_failed_row(work->sweep, task, reason) : NULL;
    const char *row = answer != NULL ? answer : made;
    double took_s = now_s() - work->task_began_s, predicted = predicted_s(work->sweep, task);
    fputs(row, work->rows_stream);
    learn(task, row);
    work->done++;
    work->failed += task->state == SWEEP_FAILED;
    if (task->real && task->state == SWEEP_FINISHED) {
        work->spent_s += took_s;
        work->measured++;
        work->predicted_s += predicted;
    }
    if (task->real && !work->sweep->program->quiet && !work->terminal)
        tell_run(work, task, took_s);
    free(made);
    return SP_OK;
}

/* Seconds that the engine at work still needs: real runs by their predictions, corrected by how those have been so far,
 * simulated ones by their number. */
static double left_s(const struct work *work)
{
    const struct sweep *sweep = work->sweep;
    double predicted = 0, elapsed_s = now_s() - work->began_s;
    int left = 0;
    bool all_known = true;
    for (int t = 0; t < sweep->task_count; t++) {
        const struct sweep_task *task = &sweep->tasks[t];
        if (task->state != SWEEP_TO_DO || task->real != work->real)
            continue;
        left++;
        predicted += predicted_s(sweep, task);
        all_known = all_known && predicted_s(sweep, task) > 0;
    }
    if (!work->real)
        return work->done > 0 ? elapsed_s * left / work->done : NAN;
    double at_work_s = now_s() - work->task_began_s;
    if (all_known && (work->measured == 0 || work->predicted_s > 0))
        return fmax(0, predicted * (work->measured > 0 ? work->spent_s / work->predicted_s : 1) - at_work_s);
    return work->measured > 0 ? fmax(0, work->spent_s / work->measured * left - at_work_s) : NAN;
}

static void draw(struct work *work)
{
    enum { WIDTH = 20 };
    char bar[WIDTH + 1], left[32], line[256], failed[32] = "";
    int filled = work->to_do > 0 ? (int)((int64_t)WIDTH * work->done / work->to_do) : WIDTH;
    int width = program_terminal_width();
    const struct sweep_task *task = work->cursor > 0 ? &work->sweep->tasks[work->cursor - 1] : NULL;
    char *label = task != NULL && work->real ? sp_sweep_label(work->sweep->points, task->point) : sp_strdup("");
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[WIDTH] = '\0';
    if (work->failed > 0)
        snprintf(failed, sizeof failed, ", %d failed", work->failed);
    snprintf(line, sizeof line, "%s [%s] %d/%d%s  %s left  %s", work->real ? "real" : "sim ", bar, work->done,
             work->to_do, failed, program_whole_time(left_s(work), left), label);
    fprintf(stderr, "\r%.*s\033[K", width > 1 ? width - 1 : 1, line);
    free(label);
}

/* Puts the rows that came on the disk, all at once; shows progress a few times a second. */
static sp_status flush_rows(void *self, struct sp_error *err)
{
    struct work *work = self;
    sp_status status = SP_OK;
    fflush(work->rows_stream);
    if (work->rows_size > 0) {
        status = sp_results_append(&work->results, work->rows, work->rows_size, err);
        rewind(work->rows_stream);
        fflush(work->rows_stream);
    }
    if (work->terminal && now_s() - work->told_s > 0.2) {
        work->told_s = now_s();
        draw(work);
    }
    return status;
}

/* Runs what is to be done with one engine. */
static sp_status run_engine(struct work *work, bool real, struct sp_error *err)
{
    const struct sweep *sweep = work->sweep;
    work->real = real;
    work->cursor = work->done = work->failed = work->to_do = 0;
    for (int t = 0; t < sweep->task_count; t++)
        work->to_do +=
            sweep->tasks[t].real == real && sweep->tasks[t].state == SWEEP_TO_DO && is_asked(sweep, &sweep->tasks[t]);
    if (work->to_do == 0)
        return SP_OK;
    work->began_s = work->task_began_s = now_s();
    struct sp_pool_config config = {.children = real ? 1 : sp_pool_processors(),
                                    .fresh = real,
                                    .self = work,
                                    .next = next_task,
                                    .work = do_task,
                                    .done = take_row,
                                    .pause = flush_rows,
                                    .stop = program_listen()};
    sp_status status = sp_pool_run(&config, err);
    if (work->terminal) {
        draw(work);
        fputc('\n', stderr);
    }
    if (status == SP_E_INTERRUPTED) {
        sp_error_clear(err);
        return SP_FAIL(err, status, "stopped after %d of %d runs, which are kept in %s; the same command goes on",
                       work->done, work->to_do, sweep->folder);
    }
    if (status == SP_OK && !sweep->program->quiet) {
        char time[32];
        fprintf(stderr, "%d runs %s in %s, %d of them failed\n", work->done, real ? "done" : "simulated",
                program_seconds(now_s() - work->began_s, time), work->failed);
    }
    return status;
}

/* Whoever looks at an edited sweep in the meantime finds its points by their present numbers. */
static sp_status renew_summary(const struct sweep *sweep, struct sp_error *err)
{
    char *path = sweep_path(sweep, "summary.csv");
    bool there = access(path, F_OK) == 0;
    free(path);
    return there ? sweep_summarize(sweep, false, err) : SP_OK;
}

static sp_status run_all(struct work *work, struct sp_error *err)
{
    const struct sweep *sweep = work->sweep;
    SP_TRY(sp_folder_make(sweep->folder, err));
    SP_TRY(lock_folder(sweep, err));
    SP_TRY(sort_tasks(work->sweep, err));
    SP_TRY(open_results(work, err));
    SP_TRY(write_experiment(sweep, err));
    int kept = work->results.kept, to_do = 0;
    for (int t = 0; t < sweep->task_count; t++)
        to_do += sweep->tasks[t].state == SWEEP_TO_DO && is_asked(sweep, &sweep->tasks[t]);
    if (to_do > 0)
        SP_TRY(note_start(work->sweep, err));
    if (kept > 0 && !sweep->program->quiet)
        fprintf(stderr, "%d runs are finished, %d to do\n", kept, to_do);
    if (work->results.dropped > 0 && !sweep->program->quiet)
        fprintf(stderr, "%d rows that are not of this sweep any more, or damaged, are in results.csv.old\n",
                work->results.dropped);
    SP_TRY(renew_summary(sweep, err));
    sp_status status = run_engine(work, false, err);
    if (status == SP_OK)
        status = run_engine(work, true, err);
    if (status == SP_E_INTERRUPTED) { /* what there is can be looked at */
        struct sp_error second = {0};
        sweep_summarize(sweep, false, &second);
        sp_error_fini(&second);
    }
    if (status != SP_OK)
        return status;
    SP_TRY(sweep_summarize(sweep, true, err));
    if (!sweep->program->quiet)
        fprintf(stderr, "written to %s\n", sweep->folder);
    return SP_OK;
}

/* --dry-run: what each point is predicted to take. */
static int next_point(void *self)
{
    struct work *work = self;
    return work->cursor < work->sweep->points->point_count ? work->cursor++ : -1;
}

static char *predict_point(void *self, int point)
{
    struct work *work = self;
    return sweep_predict(work->sweep, point);
}

static sp_status take_prediction(void *self, int point, const char *answer, const char *reason, struct sp_error *err)
{
    (void)err;
    struct work *work = self;
    free(work->predictions[point]);
    work->predictions[point] = answer != NULL ? sp_strdup(answer) : sp_format("! %s", reason);
    return SP_OK;
}

static sp_status no_pause(void *self, struct sp_error *err)
{
    (void)self;
    (void)err;
    return SP_OK;
}

/* Seconds of one real run of a point; NAN: it cannot be, and predictions[point] + 2 says why. */
static double prediction(const struct work *work, int point)
{
    double run_s, baseline_s;
    if (sscanf(work->predictions[point], "%lf %lf", &run_s, &baseline_s) != 2)
        return NAN;
    return run_s + (work->sweep->points->baseline ? baseline_s : 0);
}

static void print_predictions_json(const struct work *work)
{
    const struct sp_sweep *points = work->sweep->points;
    json_t *list = json_array();
    double total_s = 0;
    for (int p = 0; p < points->point_count; p++) {
        char *label = sp_sweep_label(points, p);
        double run_s = prediction(work, p);
        json_t *point = json_pack("{s:i, s:s, s:o}", "point", p, "label", label, "predicted_s",
                                  isnan(run_s) ? json_null() : json_real(run_s));
        if (isnan(run_s))
            json_object_set_new(point, "reason", json_string(work->predictions[p] + 2));
        json_array_append_new(list, point);
        total_s += isnan(run_s) ? 0 : run_s * points->repeat;
        free(label);
    }
    program_print_json(json_pack("{s:s, s:i, s:o, s:f}", "name", work->sweep->base->name, "repeat", points->repeat,
                                 "points", list, "predicted_s", total_s));
}

static void print_predictions(const struct work *work)
{
    const struct sp_sweep *points = work->sweep->points;
    double total_s = 0;
    char time[32];
    printf("%5s %14s  %s\n", "point", "predicted", "");
    for (int p = 0; p < points->point_count; p++) {
        char *label = sp_sweep_label(points, p);
        double run_s = prediction(work, p);
        if (isnan(run_s))
            printf("%5d %14s  %s: %s\n", p, "-", label, work->predictions[p] + 2);
        else
            printf("%5d %14s  %s\n", p, program_seconds(run_s, time), label);
        total_s += isnan(run_s) ? 0 : run_s * points->repeat;
        free(label);
    }
    printf("%d point%s, %d repeat%s%s: %s of real runs\n", points->point_count, points->point_count == 1 ? "" : "s",
           points->repeat, points->repeat == 1 ? "" : "s", points->baseline ? ", each with a baseline" : "",
           program_whole_time(total_s, time));
}

static sp_status dry_run(struct work *work, struct sp_error *err)
{
    SP_TRY(sort_tasks(work->sweep, err));
    int count = work->sweep->points->point_count;
    work->predictions = sp_calloc((size_t)count, sizeof *work->predictions);
    struct sp_pool_config config = {.children = sp_pool_processors(),
                                    .self = work,
                                    .next = next_point,
                                    .work = predict_point,
                                    .done = take_prediction,
                                    .pause = no_pause,
                                    .stop = program_listen()};
    sp_status status = sp_pool_run(&config, err);
    if (status == SP_OK && work->sweep->program->json)
        print_predictions_json(work);
    else if (status == SP_OK)
        print_predictions(work);
    for (int p = 0; p < count; p++)
        free(work->predictions[p]);
    free(work->predictions);
    return status;
}

sp_status program_sweep(const struct program *program, struct sp_error *err)
{
    struct sweep sweep = {.program = program};
    struct work work = {.sweep = &sweep, .results = {.fd = -1}, .terminal = isatty(STDERR_FILENO) && !program->quiet};
    work.rows_stream = open_memstream(&work.rows, &work.rows_size);
    sp_status status = sp_experiment_read(program->argument, program->sets, program->set_count, &sweep.base, err);
    if (status == SP_OK)
        status = sp_sweep_create(sweep.base, &sweep.points, err);
    if (status == SP_OK) {
        sweep.folder = program->out != NULL ? sp_strdup(program->out) : sp_format("runs/%s", sweep.base->name);
        make_tasks(&sweep);
        status = program->dry_run ? dry_run(&work, err) : run_all(&work, err);
    }
    fclose(work.rows_stream);
    free(work.rows);
    free(work.label);
    free(sweep.order);
    sp_results_close(&work.results);
    free(sweep.tasks);
    free(sweep.folder);
    sp_sweep_destroy(&sweep.points);
    sp_experiment_destroy(&sweep.base);
    return status;
}
