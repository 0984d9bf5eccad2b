/*
 * One run of a sweep: simulated or trained, its folder, its row.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/program/sweep.h"
#include "common/schedule.h"
#include "common/yaml.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SPANS = 2000 }; /* kept of each device's timeline, unless the experiment says how many */

/* FNV-1a, going on from `hash`. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    for (const unsigned char *at = bytes; size > 0; size--, at++)
        hash = (hash ^ *at) * 0x100000001b3u;
    return hash;
}

/* What the file holds counts, not what it is called. One that cannot be read is a mistake of the run, told there. */
static uint64_t mix_file(uint64_t hash, const char *path)
{
    char *text;
    size_t size;
    struct sp_error err = {0};
    if (path != NULL && sp_file_read(path, (size_t)1 << 28, NULL, &text, &size, &err) == SP_OK) {
        hash = mix(hash, text, size);
        free(text);
    }
    sp_error_fini(&err);
    return hash;
}

/* Names and published figures change no run. */
static bool is_beside_the_point(const char *line)
{
    return strncmp(line, "name: ", 6) == 0 || strncmp(line, "label: ", 7) == 0 || strncmp(line, "published: ", 11) == 0;
}

uint64_t sweep_point_id(const struct sweep *sweep, int point)
{
    struct sp_error err = {0};
    struct sp_experiment *experiment;
    uint64_t hash = 0xcbf29ce484222325u;
    if (sp_sweep_experiment(sweep->points, point, 0, &experiment, &err) != SP_OK) { /* the run will say why */
        sp_error_fini(&err);
        return mix(hash, &point, sizeof point);
    }
    char *settings = sp_experiment_settings(experiment); /* what a later version adds is at its default */
    for (char *line = settings, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        if (!is_beside_the_point(line))
            hash = mix(hash, line, (size_t)(end - line + 1));
    free(settings);
    hash = mix_file(hash, experiment->network.file);
    hash = mix_file(hash, experiment->network.profile);
    hash = mix_file(hash, experiment->cost.file);
    hash = mix_file(hash, experiment->cost.device); /* a name of experiments/devices is the program's, as its code is */
    sp_experiment_destroy(&experiment);
    return hash;
}

char *sweep_path(const struct sweep *sweep, const char *name)
{
    return sp_format("%s/%s", sweep->folder, name);
}

static char *task_folder(const struct sweep_task *task)
{
    return sp_format("runs/%s-%016" PRIx64, task->real ? "real" : "sim", task->id);
}

/* A sweep simulates what it would train, unless the experiment says how much to simulate, or cannot be trained. */
static enum sp_plan_use plan_use(const struct sp_experiment *experiment, bool real)
{
    bool short_run = sp_experiment_is_set(experiment, "sim.minibatches") || experiment->network.profile != NULL;
    return short_run && !real ? SP_PLAN_SIMULATE : SP_PLAN_TRAIN;
}

static sp_status set_up(const struct sweep *sweep, const struct sweep_task *task, struct program_setup *setup,
                        struct sp_error *err)
{
    *setup = (struct program_setup){0};
    SP_TRY(sp_sweep_experiment(sweep->points, task->point, task->repeat, &setup->experiment, err));
    if (!sp_experiment_is_set(setup->experiment, "sim.trace"))
        setup->experiment->sim.trace = SPANS;
    if (!task->real && !sweep->program->real)
        setup->experiment->sim.trace = 0; /* nothing is kept but the numbers */
    return program_setup_experiment(setup, plan_use(setup->experiment, task->real), err);
}

/* summary.json and experiment.yaml, of which there may be ten thousand: not forced to the disk one by one. */
static sp_status leave_numbers(const char *folder, const struct program_setup *setup,
                               const struct program_result *result, struct sp_error *err)
{
    static const char *const names[] = {"experiment.yaml", "summary.json"};
    SP_TRY(sp_folder_make(folder, err));
    for (int f = 0; f < 2; f++) {
        char *path = sp_format("%s/%s", folder, names[f]), *yaml = NULL;
        FILE *file = fopen(path, "w");
        json_t *object = sp_summary_json(&result->summary);
        if (file != NULL && f == 0)
            fputs(yaml = sp_experiment_yaml(setup->experiment), file);
        else if (file != NULL)
            json_dumpf(object, file, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
        bool written = file != NULL && fclose(file) == 0;
        free(yaml);
        json_decref(object);
        if (!written)
            SP_FAIL(err, SP_E_IO, "%s: cannot write", path);
        free(path);
        if (!written)
            return SP_E_IO;
    }
    return SP_OK;
}

static sp_status leave_folder(const struct sweep *sweep, const struct sweep_task *task,
                              const struct program_setup *setup, const struct program_result *result,
                              struct sp_error *err)
{
    char *name = task_folder(task), *folder = sweep_path(sweep, name);
    sp_status status = task->real || sweep->program->real ? program_write_run(folder, setup, result, err)
                                                          : leave_numbers(folder, setup, result, err);
    free(name);
    free(folder);
    return status;
}

static sp_status run(const struct sweep *sweep, const struct sweep_task *task, struct program_setup *setup,
                     struct program_result *result, struct sp_error *err)
{
    struct program quiet = {.quiet = true};
    SP_TRY(set_up(sweep, task, setup, err));
    if (task->real)
        SP_TRY(program_train(&quiet, setup, NULL, sweep->points->baseline, result, err));
    else
        SP_TRY(program_simulate(setup, result, err));
    return leave_folder(sweep, task, setup, result, err);
}

static void put_ints(struct sp_result_row *row, enum sp_result column, const int64_t *values, int count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%" PRId64, i > 0 ? " " : "", values[i]);
    fclose(out);
    sp_result_set(row, column, "%s", text);
    free(text);
}

/* What was asked for. */
static void put_plan(struct sp_result_row *row, const struct program_setup *setup)
{
    const struct sp_experiment *e = setup->experiment;
    const struct sp_plan *plan = setup->plan;
    char *schedule = sp_strdup(plan->phases[0].schedule->name);
    for (int p = 1; p < plan->phase_count; p++) {
        char *longer = sp_format("%s+%s", schedule, plan->phases[p].schedule->name);
        free(schedule);
        schedule = longer;
    }
    sp_result_set(row, SP_RESULT_NETWORK, "%s", setup->network->name);
    sp_result_set(row, SP_RESULT_DATA, "%s", setup->network->measured == NULL ? e->data.set : "");
    sp_result_set(row, SP_RESULT_SCHEDULE, "%s", schedule);
    sp_result_set(row, SP_RESULT_WEIGHTS, "%s", plan->phases[0].weights == SP_WEIGHTS_STASH ? "stash" : "latest");
    int64_t *cuts = sp_calloc((size_t)e->pipeline.cut_count + 1, sizeof *cuts);
    for (int c = 0; c < e->pipeline.cut_count; c++)
        cuts[c] = e->pipeline.cuts[c];
    put_ints(row, SP_RESULT_CUTS, cuts, e->pipeline.cut_count);
    sp_result_set(row, SP_RESULT_STAGES, "%d", plan->stage_count);
    sp_result_set(row, SP_RESULT_DEVICES, "%d", plan->device_count);
    sp_result_set(row, SP_RESULT_BATCH, "%d", plan->batch);
    sp_result_set(row, SP_RESULT_MICROBATCHES, "%d", plan->phases[0].microbatches);
    sp_result_set(row, SP_RESULT_SEED, "%" PRId64, e->train.seed);
    sp_result_set(row, SP_RESULT_MINIBATCHES, "%" PRId64, plan->minibatches);
    sp_result_real(row, SP_RESULT_FIRST_PHASE_FRACTION,
                   (double)plan->phases[0].minibatches / (double)plan->minibatches);
    free(cuts);
    free(schedule);
}

static void put_memory(struct sp_result_row *row, const struct sp_summary *summary)
{
    size_t kinds[SP_MEMORY_KIND_COUNT] = {0}, peak = 0, largest = 0;
    for (int d = 0; d < summary->device_count; d++) {
        const struct sp_device_summary *device = &summary->devices[d];
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
            kinds[k] += device->bytes[k];
        peak += device->peak_bytes;
        largest = device->peak_bytes > largest ? device->peak_bytes : largest;
    }
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
        sp_result_set(row, SP_RESULT_KIND_BYTES + (enum sp_result)k, "%zu", kinds[k]);
    sp_result_set(row, SP_RESULT_PEAK_BYTES, "%zu", peak);
    sp_result_set(row, SP_RESULT_PEAK_DEVICE_BYTES, "%zu", largest);
    sp_result_set(row, SP_RESULT_KEPT_BYTES, "%zu",
                  kinds[SP_MEMORY_WEIGHTS] + kinds[SP_MEMORY_VERSIONS] + kinds[SP_MEMORY_ACTIVATIONS] +
                      kinds[SP_MEMORY_BOUNDARY]);
}

/* What came of it. */
static void put_result(struct sp_result_row *row, const struct program_result *result)
{
    const struct sp_summary *summary = &result->summary;
    sp_result_real(row, SP_RESULT_TIME, summary->time_s);
    sp_result_real(row, SP_RESULT_EVALUATION, sp_trace_evaluation_s(result->trace));
    sp_result_real(row, SP_RESULT_SAMPLES_PER_S, summary->samples_per_s);
    sp_result_real(row, SP_RESULT_SPEEDUP, summary->speedup);
    sp_result_real(row, SP_RESULT_UTILIZATION, summary->utilization);
    sp_result_real(row, SP_RESULT_STALE_WEIGHT_FRACTION, summary->stale_weight_fraction);
    int64_t *staleness = sp_calloc((size_t)summary->stage_count + 1, sizeof *staleness);
    for (int i = 0; i < summary->stage_count; i++)
        staleness[i] = summary->stages[i].forward_staleness;
    put_ints(row, SP_RESULT_STALENESS, staleness, summary->stage_count);
    free(staleness);
    put_memory(row, summary);
    if (!summary->real)
        return;
    sp_result_real(row, SP_RESULT_ACCURACY, summary->accuracy);
    sp_result_real(row, SP_RESULT_LOSS, summary->loss);
    if (summary->epoch_count > 0)
        sp_result_real(row, SP_RESULT_TEST_LOSS, summary->epochs[summary->epoch_count - 1].test_loss);
    if (summary->minibatches > 0 && !isfinite(result->losses[summary->minibatches - 1]))
        sp_result_set(row, SP_RESULT_STATUS, "diverged");
}

static void put_task(struct sp_result_row *row, const struct sweep *sweep, const struct sweep_task *task)
{
    char *label = sp_sweep_label(sweep->points, task->point);
    sp_result_set(row, SP_RESULT_ID, "%016" PRIx64, task->id);
    sp_result_set(row, SP_RESULT_POINT, "%d", task->point);
    sp_result_set(row, SP_RESULT_REPEAT, "%d", task->repeat);
    sp_result_set(row, SP_RESULT_ENGINE, "%s", task->real ? "real" : "sim");
    sp_result_set(row, SP_RESULT_STATUS, "ok");
    sp_result_set(row, SP_RESULT_LABEL, "%s", label);
    sp_result_set(row, SP_RESULT_START, "%d", sweep->start);
    free(label);
}

static char *finish_row(struct sp_result_row *row, const struct sweep *sweep, const struct sweep_task *task)
{
    int count = sp_sweep_key_count(sweep->points);
    char **values = sp_calloc((size_t)count + 1, sizeof *values);
    for (int k = 0; k < count; k++) {
        size_t size = 0;
        FILE *out = open_memstream(&values[k], &size);
        const struct sp_yaml *value = sp_sweep_value(sweep->points, task->point, k);
        if (value != NULL && value->kind == SP_YAML_SCALAR)
            fputs(value->text, out);
        else if (value != NULL)
            sp_yaml_write(value, out);
        fclose(out);
    }
    char *line = sp_result_line(row, values, count);
    for (int k = 0; k < count; k++)
        free(values[k]);
    free(values);
    sp_result_row_fini(row);
    return line;
}

char *sweep_failed_row(const struct sweep *sweep, const struct sweep_task *task, const char *reason)
{
    struct sp_result_row row = {0};
    put_task(&row, sweep, task);
    sp_result_set(&row, SP_RESULT_STATUS, "failed");
    sp_result_set(&row, SP_RESULT_REASON, "%s", reason);
    return finish_row(&row, sweep, task);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

char *sweep_do(const struct sweep *sweep, const struct sweep_task *task)
{
    struct program_setup setup;
    struct program_result result = {0};
    struct sp_error err = {0};
    double began = now_s();
    sp_status status = run(sweep, task, &setup, &result, &err);
    char *line;
    if (status == SP_OK) {
        struct sp_result_row row = {0};
        char *folder = task_folder(task);
        put_task(&row, sweep, task);
        put_plan(&row, &setup);
        put_result(&row, &result);
        sp_result_real(&row, SP_RESULT_WALL, now_s() - began);
        sp_result_set(&row, SP_RESULT_FOLDER, "%s", folder);
        line = finish_row(&row, sweep, task);
        free(folder);
    } else {
        line = sweep_failed_row(sweep, task, err.text != NULL ? err.text : sp_status_text(status));
    }
    program_result_fini(&result);
    program_setup_fini(&setup);
    sp_error_fini(&err);
    return line;
}

char *sweep_predict(const struct sweep *sweep, int point)
{
    struct sp_error err = {0};
    struct program_setup setup = {0};
    struct program_result result = {0};
    sp_status status = sp_sweep_experiment(sweep->points, point, 0, &setup.experiment, &err);
    if (status == SP_OK) {
        setup.experiment->sim.trace = 0;
        status = program_setup_experiment(&setup, plan_use(setup.experiment, setup.experiment->network.profile == NULL),
                                          &err);
    }
    if (status == SP_OK)
        status = program_simulate(&setup, &result, &err);
    char *text;
    if (status == SP_OK) {
        double evaluation_s = sp_trace_evaluation_s(result.trace);
        text = sp_format("%.9g %.9g", result.summary.time_s,
                         result.summary.speedup * (result.summary.time_s - evaluation_s));
    } else {
        text = sp_format("! %s", err.text != NULL ? err.text : sp_status_text(status));
    }
    program_result_fini(&result);
    program_setup_fini(&setup);
    sp_error_fini(&err);
    return text;
}
