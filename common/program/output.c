/*
 * What a run leaves: its folder, and numbers for people.
 */
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"
#include "common/program/program.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

char *program_folder(const struct program *program, const struct program_setup *setup)
{
    return program->out != NULL ? sp_strdup(program->out) : sp_format("runs/%s", setup->experiment->name);
}

const char *program_bytes(double bytes, char *buffer)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buffer, 32, unit == 0 ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
    return buffer;
}

const char *program_seconds(double seconds, char *buffer)
{
    if (!isfinite(seconds))
        snprintf(buffer, 32, "-");
    else if (seconds < 1e-3)
        snprintf(buffer, 32, "%.3g us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(buffer, 32, "%.3g ms", seconds * 1e3);
    else
        snprintf(buffer, 32, "%.2f s", seconds);
    return buffer;
}

const char *program_whole_time(double seconds, char buffer[32])
{
    long s = isfinite(seconds) ? (long)(seconds + 0.5) : -1;
    if (s < 0)
        snprintf(buffer, 32, "-");
    else if (s >= 3600)
        snprintf(buffer, 32, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(buffer, 32, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(buffer, 32, "%ld s", s);
    return buffer;
}

int program_terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

void program_print_json(json_t *object)
{
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(object);
}

sp_status program_write_json(const char *path, json_t *object, struct sp_error *err)
{
    struct sp_file file;
    sp_status status = sp_file_begin(&file, path, err);
    if (status == SP_OK) {
        json_dumpf(object, file.stream, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
        fputc('\n', file.stream);
        status = sp_file_commit(&file, err);
    }
    json_decref(object);
    return status;
}

static sp_status write_devices(const char *path, const struct sp_summary *summary, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("device,utilization,busy_s,peak_bytes", file.stream);
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
        fprintf(file.stream, ",%s", sp_memory_kind_names[k]);
    fputc('\n', file.stream);
    for (int d = 0; d < summary->device_count; d++) {
        const struct sp_device_summary *device = &summary->devices[d];
        fprintf(file.stream, "%d,%.9g,%.9g,%zu", d, device->utilization, device->busy_s, device->peak_bytes);
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
            fprintf(file.stream, ",%zu", device->bytes[k]);
        fputc('\n', file.stream);
    }
    return sp_file_commit(&file, err);
}

static void put_real(double x, int decimals, FILE *out)
{
    fputc(',', out);
    sp_csv_real(x, decimals, out);
}

static sp_status write_metrics(const char *path, const struct sp_summary *summary, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs(PROGRAM_METRICS_COLUMNS "\n", file.stream);
    for (int e = 0; e < summary->epoch_count; e++) {
        const struct sp_epoch_summary *epoch = &summary->epochs[e];
        const double reals[] = {epoch->time_s, epoch->loss, epoch->test_loss, epoch->accuracy, epoch->train_accuracy};
        fprintf(file.stream, "%d,%" PRId64, epoch->epoch, epoch->minibatch);
        for (size_t r = 0; r < sizeof reals / sizeof *reals; r++)
            put_real(reals[r], 6, file.stream);
        put_real(epoch->samples_per_s, 3, file.stream);
        fprintf(file.stream, ",%" PRId64 "\n", epoch->staleness);
    }
    return sp_file_commit(&file, err);
}

/* Each device in each epoch: how busy it was, and what it waited for. */
static sp_status write_waits(const char *path, const struct sp_summary *summary, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("epoch,device,utilization", file.stream);
    for (int w = 0; w < SP_WAIT_COUNT; w++)
        fprintf(file.stream, ",wait_%s_s", sp_wait_names[w]);
    fputc('\n', file.stream);
    for (int row = 0; row < summary->epoch_count * summary->device_count; row++) {
        const struct sp_epoch_device *one = &summary->epoch_devices[row];
        fprintf(file.stream, "%d,%d", summary->epochs[row / summary->device_count].epoch, row % summary->device_count);
        put_real(one->utilization, 6, file.stream);
        for (int w = 0; w < SP_WAIT_COUNT; w++)
            put_real(one->wait_s[w], 6, file.stream);
        fputc('\n', file.stream);
    }
    return sp_file_commit(&file, err);
}

static sp_status write_losses(const char *path, const struct program_result *result, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs("minibatch,loss\n", file.stream);
    for (int64_t m = 0; m < result->summary.minibatches; m++) {
        fprintf(file.stream, "%" PRId64, m);
        put_real((double)result->losses[m], 6, file.stream);
        fputc('\n', file.stream);
    }
    return sp_file_commit(&file, err);
}

/* One file of the folder. */
enum part {
    PART_YAML,
    PART_SUMMARY,
    PART_DEVICES,
    PART_TIMELINE,
    PART_TRACE,
    PART_METRICS,
    PART_WAITS,
    PART_LOSSES,
    PART_COUNT
};

/* A file of another run that lies where this one leaves what it did. */
static sp_status set_aside(const char *path, struct sp_error *err)
{
    char *to;
    if (access(path, F_OK) != 0)
        return SP_OK;
    sp_status status = sp_file_set_aside(path, "old", &to, err);
    free(to);
    return status;
}

static sp_status write_part(enum part part, const char *path, const struct program_setup *setup,
                            const struct program_result *result, struct sp_error *err)
{
    char *yaml;
    sp_status status;
    if (result->trace == NULL && (part == PART_DEVICES || part == PART_TIMELINE || part == PART_TRACE))
        return SP_OK;
    switch (part) {
    case PART_YAML:
        yaml = sp_experiment_yaml(setup->experiment);
        status = sp_file_write(path, yaml, err);
        free(yaml);
        return status;
    case PART_SUMMARY:
        return result->unfinished ? set_aside(path, err)
                                  : program_write_json(path, sp_summary_json(&result->summary), err);
    case PART_DEVICES:
        return write_devices(path, &result->summary, err);
    case PART_TIMELINE:
        return sp_trace_write_csv(result->trace, path, err);
    case PART_TRACE:
        return sp_trace_write_chrome(
            &(struct sp_trace_process){result->summary.real ? "measured" : "predicted", result->trace}, 1, path, err);
    case PART_METRICS:
        return result->summary.real ? write_metrics(path, &result->summary, err) : SP_OK;
    case PART_WAITS:
        return result->summary.real ? write_waits(path, &result->summary, err) : SP_OK;
    default:
        return result->summary.real ? write_losses(path, result, err) : SP_OK;
    }
}

static const char *const part_names[PART_COUNT] = {"experiment.yaml", "summary.json", "devices.csv", "timeline.csv",
                                                   "trace.json",      "metrics.csv",  "waits.csv",   "losses.csv"};

/* What a training left where a simulation is to be written. */
static sp_status set_training_aside(const char *folder, struct sp_error *err)
{
    char *losses = sp_format("%s/%s", folder, part_names[PART_LOSSES]);
    bool found = access(losses, F_OK) == 0;
    sp_status status = SP_OK;
    for (int part = 0; part < PART_COUNT && found && status == SP_OK; part++) {
        char *path = sp_format("%s/%s", folder, part_names[part]);
        status = set_aside(path, err);
        free(path);
    }
    free(losses);
    return status;
}

sp_status program_write_run(const char *folder, const struct program_setup *setup, const struct program_result *result,
                            struct sp_error *err)
{
    SP_TRY(sp_folder_make(folder, err));
    sp_status status = result->summary.real ? SP_OK : set_training_aside(folder, err);
    for (int part = 0; part < PART_COUNT && status == SP_OK; part++) {
        char *path = sp_format("%s/%s", folder, part_names[part]);
        status = write_part((enum part)part, path, setup, result, err);
        free(path);
    }
    return status;
}

sp_status program_move_run(const char *folder, const char *to, struct sp_error *err)
{
    sp_status status = SP_OK;
    for (int part = 0; part < PART_COUNT && status == SP_OK; part++) {
        char *from = sp_format("%s/%s", folder, part_names[part]), *there = sp_format("%s/%s", to, part_names[part]);
        if (rename(from, there) != 0 && errno != ENOENT)
            status = SP_FAIL(err, SP_E_IO, "%s: cannot move it to %s: %s", from, there, strerror(errno));
        free(from);
        free(there);
    }
    return status;
}

sp_status program_hold_folder(const char *folder, struct sp_hold *hold, struct sp_error *err)
{
    char *results = sp_format("%s/results.csv", folder);
    bool taken = access(results, F_OK) == 0;
    free(results);
    if (taken)
        return sp_reject(err, (struct sp_mark){.file = folder}, "a sweep's results are there; -o names another folder");
    return sp_folder_hold(folder, hold, err);
}

sp_status program_hold(const struct program *program, const struct program_setup *setup, struct sp_hold *hold,
                       struct sp_error *err)
{
    char *folder = program_folder(program, setup);
    sp_status status = program_hold_folder(folder, hold, err);
    free(folder);
    return status;
}

sp_status program_leave_run(const struct program *program, const struct program_setup *setup,
                            const struct program_result *result, struct sp_error *err)
{
    char *folder = program_folder(program, setup);
    sp_status status = program_write_run(folder, setup, result, err);
    if (status == SP_OK && !program->quiet)
        fprintf(stderr, "written to %s\n", folder);
    free(folder);
    return status;
}
