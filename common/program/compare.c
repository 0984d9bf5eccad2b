/*
 * `compare`: the same plan simulated and really run, with what the prediction was worth.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/program/program.h"

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void print_row(const char *what, const char *unit, double scale, double predicted, double measured)
{
    printf("  %-22s %14.3f %14.3f  ", what, scale * predicted, scale * measured);
    if (isfinite(predicted) && isfinite(measured) && measured != 0)
        printf("%+8.1f %%   %s\n", 100 * (predicted - measured) / measured, unit);
    else
        printf("%10s   %s\n", measured == predicted ? "equal" : "-", unit);
}

/* The median of a stage's instructions of one kind in milliseconds, of those that the trace kept; NAN: none. */
static double median_ms(const struct sp_trace *trace, int stage, enum sp_span_kind kind)
{
    size_t count = 0, room = 1;
    for (int d = 0; d < trace->device_count; d++)
        room += (size_t)trace->lanes[d].count;
    double *seconds = sp_alloc(room * sizeof *seconds);
    for (int d = 0; d < trace->device_count; d++)
        for (int64_t s = 0; s < trace->lanes[d].count; s++) {
            const struct sp_span *span = &trace->lanes[d].spans[s];
            if (span->stage != stage || span->kind != kind)
                continue;
            seconds[count++] = span->end_s - span->start_s;
        }
    gsl_sort(seconds, 1, count);
    double median = count > 0 ? 1e3 * gsl_stats_median_from_sorted_data(seconds, 1, count) : NAN;
    free(seconds);
    return median;
}

/* Where a prediction of time is off: by stage and kind of instruction. */
static void print_stages(const struct program_result *predicted, const struct program_result *measured)
{
    static const enum sp_span_kind kinds[] = {SP_SPAN_FORWARD, SP_SPAN_BACKWARD, SP_SPAN_UPDATE};
    char row[64];
    puts("  an instruction, median");
    for (int i = 0; i < measured->summary.stage_count; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(row, sizeof row, "  %s, stage %d", sp_span_kind_names[kinds[k]], i);
            print_row(row, "ms", 1, median_ms(predicted->trace, i, kinds[k]), median_ms(measured->trace, i, kinds[k]));
        }
}

static double total_bytes(const struct sp_summary *summary, int kind)
{
    double sum = 0;
    for (int d = 0; d < summary->device_count; d++)
        sum += (double)(kind < 0 ? summary->devices[d].peak_bytes : summary->devices[d].bytes[kind]);
    return sum;
}

static void print_table(const struct program_result *simulated, const struct program_result *real)
{
    const struct sp_summary *predicted = &simulated->summary, *measured = &real->summary;
    const double MiB = 1.0 / (1 << 20);
    char row[64];
    printf("%s: %s, %lld minibatches of %d on %d devices\n\n", measured->name, measured->schedule,
           (long long)measured->minibatches, measured->batch, measured->device_count);
    printf("  %-22s %14s %14s  %10s\n", "", "predicted", "measured", "error");
    print_row("time", "s", 1, predicted->time_s, measured->time_s);
    print_row("throughput", "samples/s", 1, predicted->samples_per_s, measured->samples_per_s);
    print_row("speedup", "over one device", 1, predicted->speedup, measured->speedup);
    print_row("utilization", "%", 100, predicted->utilization, measured->utilization);
    for (int d = 0; d < measured->device_count; d++) {
        snprintf(row, sizeof row, "utilization, device %d", d);
        print_row(row, "%", 100, predicted->devices[d].utilization, measured->devices[d].utilization);
    }
    print_stages(simulated, real);
    print_row("memory", "MiB", MiB, total_bytes(predicted, -1), total_bytes(measured, -1));
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
        snprintf(row, sizeof row, "  %s", sp_memory_kind_names[k]);
        print_row(row, "MiB", MiB, total_bytes(predicted, k), total_bytes(measured, k));
    }
    for (int i = 0; i < measured->stage_count; i++) {
        snprintf(row, sizeof row, "staleness, stage %d", i);
        print_row(row, "updates", 1, (double)predicted->stages[i].forward_staleness,
                  (double)measured->stages[i].forward_staleness);
    }
    if (predicted->repeats > 0) {
        puts("");
        program_print_intervals(predicted);
    }
    printf("\n  stale weights %.1f %%", 100 * measured->stale_weight_fraction);
    if (isfinite(measured->accuracy))
        printf(", test accuracy %.2f %% after %lld minibatches", 100 * measured->accuracy,
               (long long)measured->epochs[measured->epoch_count - 1].minibatch);
    puts("");
}

static sp_status write_folder(const char *folder, const struct program_setup *setup,
                              const struct program_result *predicted, const struct program_result *measured,
                              struct sp_error *err)
{
    char *simulated = sp_format("%s/predicted", folder), *real = sp_format("%s/measured", folder);
    char *summary = sp_format("%s/summary.json", folder), *trace = sp_format("%s/trace.json", folder);
    const struct sp_trace_process both[] = {{"predicted", predicted->trace}, {"measured", measured->trace}};
    sp_status status = program_write_run(simulated, setup, predicted, err);
    if (status == SP_OK)
        status = program_write_run(real, setup, measured, err);
    if (status == SP_OK)
        status = program_write_json(summary, sp_summary_compare_json(&predicted->summary, &measured->summary), err);
    if (status == SP_OK)
        status = sp_trace_write_chrome(both, 2, trace, err);
    free(simulated);
    free(real);
    free(trace);
    free(summary);
    return status;
}

sp_status program_compare(const struct program *program, struct sp_error *err)
{
    struct program_setup setup;
    struct program_result predicted = {0}, measured = {0};
    struct sp_hold hold = {0};
    sp_status status = program_setup_init(&setup, program, SP_PLAN_TRAIN, err);
    if (status == SP_OK)
        status = program_hold(program, &setup, &hold, err);
    if (status == SP_OK)
        status = program_simulate(&setup, &predicted, err);
    if (status == SP_OK)
        status = program_train(program, &setup, NULL, true, &measured, err);
    if (status == SP_OK) {
        char *folder = program_folder(program, &setup);
        status = write_folder(folder, &setup, &predicted, &measured, err);
        if (status == SP_OK && !program->quiet)
            fprintf(stderr, "written to %s\n", folder);
        free(folder);
    }
    if (status == SP_OK && program->json)
        program_print_json(sp_summary_compare_json(&predicted.summary, &measured.summary));
    else if (status == SP_OK)
        print_table(&predicted, &measured);
    sp_folder_let_go(&hold);
    program_result_fini(&predicted);
    program_result_fini(&measured);
    program_setup_fini(&setup);
    return status;
}
