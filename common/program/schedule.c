/*
 * `schedule`: the instructions themselves, and what follows from them without any clock. The picture is a simulation in
 * which every forward and backward takes one unit of time and nothing else any.
 */
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/program/program.h"
#include "common/schedule.h"
#include "sim/simulate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_shown(const struct program *program, const struct sp_instr *instr)
{
    return instr->evaluate || instr->minibatch < program->minibatches;
}

static void print_text(const struct program *program, const struct sp_plan *plan)
{
    for (int d = 0; d < plan->device_count; d++) {
        struct sp_cursor *cursor = sp_cursor_create(plan, d);
        struct sp_instr instr;
        char text[SP_INSTR_TEXT];
        printf("device %d:", d);
        while (sp_cursor_next(cursor, &instr) && is_shown(program, &instr))
            printf(" %s", sp_instr_format(plan, &instr, program->verbose, text));
        puts("");
        sp_cursor_destroy(&cursor);
    }
}

static void print_csv(const struct program *program, const struct program_setup *setup)
{
    printf("device,index,text,kind,stage,minibatch,microbatch,version,channel,evaluate");
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
        printf(",live_%s", sp_memory_kind_names[k]);
    puts("");
    for (int d = 0; d < setup->plan->device_count; d++) {
        struct sp_cursor *cursor = sp_cursor_create(setup->plan, d);
        struct sp_instr instr;
        struct sp_live live;
        char text[SP_INSTR_TEXT];
        sp_live_init(&live, setup->memory, d);
        for (int64_t n = 0; sp_cursor_next(cursor, &instr) && is_shown(program, &instr); n++) {
            sp_live_begin(&live, &instr);
            printf("%d,%" PRId64 ",%s,%s,%d,%" PRId64 ",%d,%" PRId64 ",%d,%d", d, n,
                   sp_instr_format(setup->plan, &instr, false, text), sp_instr_kind_names[instr.kind], instr.stage,
                   instr.minibatch, instr.microbatch, instr.version, instr.channel, instr.evaluate);
            for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
                printf(",%zu", live.now[k]);
            puts("");
            sp_live_end(&live, &instr);
        }
        sp_live_fini(&live);
        sp_cursor_destroy(&cursor);
    }
}

/* Every forward and backward one unit. */
static struct sim_cost *unit_cost(const struct sp_plan *plan)
{
    struct sim_cost *cost = sim_cost_alloc(plan);
    for (int s = 0; s < plan->phase_count * plan->stage_count; s++)
        cost->stages[s] = (struct sim_stage_cost){.forward_s = 1, .backward_s = 1, .evaluate_s = 1};
    return cost;
}

static void print_lane(const struct sp_plan *plan, const struct sp_lane *lane, int columns, int width)
{
    char *row = sp_alloc((size_t)columns * (size_t)width + 1);
    memset(row, ' ', (size_t)columns * (size_t)width);
    row[columns * width] = '\0';
    for (int64_t s = 0; s < lane->count; s++) {
        const struct sp_span *span = &lane->spans[s];
        int column = (int)lround(span->start_s);
        if (span->kind > SP_SPAN_BACKWARD || column >= columns)
            continue;
        char cell[32];
        int M = plan->phases[0].microbatches;
        int length = snprintf(cell, sizeof cell, "%d%c%" PRId64, span->stage, span->kind == SP_SPAN_FORWARD ? 'F' : 'B',
                              span->minibatch * M + span->microbatch);
        memcpy(row + column * width, cell, (size_t)(length < width ? length : width - 1));
    }
    printf("%-10s|%s\n", lane->name, row);
    free(row);
}

static sp_status print_picture(const struct program *program, const struct sp_plan *plan, struct sp_error *err)
{
    struct sim_cost *cost = unit_cost(plan);
    struct sim_result result;
    sp_status status = sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 100000}, &result, err);
    sim_cost_destroy(&cost);
    if (status != SP_OK)
        return status;
    int columns = (int)fmin(result.time_s, program->verbose ? 400 : 32);
    printf("one column a forward or backward; stage, F or B, microbatch\n");
    for (int d = 0; d < plan->device_count; d++)
        print_lane(plan, &result.trace->lanes[d], columns, 5);
    printf("busy: ");
    for (int d = 0; d < plan->device_count; d++)
        printf("device %d %.1f %%%s", d, 100 * sp_trace_busy_s(result.trace, d) / result.time_s,
               d + 1 < plan->device_count ? ", " : "\n");
    sim_result_fini(&result);
    return SP_OK;
}

static void print_analysis(const struct program_setup *setup)
{
    const struct sp_plan *plan = setup->plan;
    char a[32], b[32];
    for (int p = 0; p < plan->phase_count; p++) {
        const struct sp_phase *phase = &plan->phases[p];
        printf("\n%s, weights %s, %d microbatch%s, %" PRId64 " minibatches; in updates:\n", phase->schedule->name,
               sp_weights_policy_names[phase->weights], phase->microbatches, phase->microbatches == 1 ? "" : "es",
               phase->minibatches);
        printf("%5s %12s %12s %16s %17s %9s %9s\n", "stage", "layers", "parameters", "forward stale", "backward stale",
               "in flight", "versions");
        for (int i = 0; i < plan->stage_count; i++) {
            const struct sp_stage_analysis *s = &setup->analysis->stages[p * plan->stage_count + i];
            char layers[32];
            snprintf(layers, sizeof layers, "%d-%d", plan->stages[i].first_weight_layer,
                     plan->stages[i].last_weight_layer);
            printf("%5d %12s %12" PRId64 " %16" PRId64 " %17" PRId64 " %9" PRId64 " %9" PRId64 "\n", i, layers,
                   plan->stages[i].parameters, s->forward_staleness, s->backward_staleness, s->in_flight, s->versions);
        }
    }
    printf("\nstale weights: %.1f %%\n", 100 * setup->analysis->stale_weight_fraction);
    for (int d = 0; d < plan->device_count; d++) {
        printf("device %d: %s planned, at most %s alive at once:", d,
               program_bytes((double)sp_memory_device_bytes(setup->memory, d), a),
               program_bytes((double)setup->analysis->live_peak_total[d], b));
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
            printf(" %s %s", sp_memory_kind_names[k], program_bytes((double)setup->memory->bytes[d][k], a));
        puts("");
    }
}

static void print_json(const struct program_setup *setup)
{
    struct sp_summary summary;
    sp_summary_init(&summary, setup->experiment->name, setup->plan, setup->experiment->pipeline.cuts,
                    setup->experiment->pipeline.cut_count, setup->memory, setup->analysis, NULL, NAN);
    program_print_json(sp_summary_json(&summary));
    sp_summary_fini(&summary);
}

sp_status program_schedule(const struct program *given, struct sp_error *err)
{
    struct program_setup setup;
    struct program with_defaults = *given, *program = &with_defaults;
    if (program->format != NULL && program->json)
        return sp_reject(err, (struct sp_mark){.file = "command line"},
                         "--json is a format of its own: not with --format");
    if (program->format == NULL)
        program->format = "text";
    if (program->minibatches == 0)
        program->minibatches = 12;
    sp_status status = program_setup_init(&setup, program, SP_PLAN_SIMULATE, err);
    if (status == SP_OK)
        status = sp_plan_check(setup.plan, err);
    if (status == SP_OK && program->json) {
        print_json(&setup);
    } else if (status == SP_OK && strcmp(program->format, "csv") == 0) {
        print_csv(program, &setup);
    } else if (status == SP_OK) {
        if (strcmp(program->format, "picture") == 0)
            status = print_picture(program, setup.plan, err);
        else
            print_text(program, setup.plan);
        if (status == SP_OK)
            print_analysis(&setup);
    }
    program_setup_fini(&setup);
    return status;
}
