#include "sim/cost.h"
#include "common/alloc.h"
#include "sim/clock.h"
#include "sim/contention.h"
#include "sim/costs/kinds.h"
#include "sim/flows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The constants of the experiment's device, for sources that go by them. */
static sp_status open_device(const struct sp_experiment *experiment, void **known, struct sp_error *err)
{
    struct sim_device *device = sp_calloc(1, sizeof *device);
    sp_status status = sim_device_read(experiment, device, err);
    if (status == SP_OK)
        *known = device;
    else
        free(device);
    return status;
}

const struct sim_cost_kind sim_cost_kinds[] = {
    {.name = "analytic",
     .help = "a roofline over operations and bytes, with constants of a device",
     .open = open_device,
     .close = free,
     .fill = sim_cost_analytic},
    {.name = "table", .help = "seconds given in the experiment", .fill = sim_cost_table},
    {.name = "profile",
     .help = "seconds measured on this machine by `stalepipe profile`",
     .open = sim_cost_profile_open,
     .close = sim_cost_profile_close,
     .fill = sim_cost_profile,
     .fill_least = sim_cost_profile_least},
    {.name = "import",
     .help = "seconds that came with a measured network",
     .open = open_device,
     .close = free,
     .fill = sim_cost_import},
    {.name = NULL},
};

const char *const sim_note_kind_names[SIM_NOTE_KIND_COUNT] = {
    [SIM_NOTE_UNCALIBRATED] = "uncalibrated",
    [SIM_NOTE_EXTRAPOLATED] = "extrapolated",
    [SIM_NOTE_LOADED] = "loaded",
    [SIM_NOTE_OTHER] = "other",
};

struct sim_cost *sim_cost_alloc(const struct sp_plan *plan)
{
    struct sim_cost *cost = sp_calloc(1, sizeof *cost);
    cost->stage_count = plan->stage_count;
    cost->phase_count = plan->phase_count;
    cost->channel_count = plan->channel_count;
    cost->stages = sp_calloc((size_t)plan->stage_count * (size_t)plan->phase_count, sizeof *cost->stages);
    cost->starts = sp_calloc((size_t)plan->stage_count, sizeof *cost->starts);
    cost->channels = sp_calloc((size_t)plan->channel_count + 1, sizeof *cost->channels);
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c].bus = -1;
    return cost;
}

void sim_cost_destroy(struct sim_cost **cost)
{
    if (*cost == NULL)
        return;
    for (int b = 0; (*cost)->bus_names != NULL && b < (*cost)->bus_count; b++)
        free((*cost)->bus_names[b]);
    free((*cost)->bus_names);
    for (int l = 0; l < (*cost)->link_count; l++)
        free((*cost)->links[l].name);
    free((*cost)->links);
    for (int n = 0; n < (*cost)->note_count; n++)
        free((*cost)->notes[n].text);
    free((*cost)->notes);
    free((*cost)->contention.slowdown);
    free((*cost)->contention.mix);
    free((*cost)->contention.machine);
    free((*cost)->noise.work);
    free((*cost)->stages);
    free((*cost)->starts);
    free((*cost)->channels);
    free(*cost);
    *cost = NULL;
}

int sim_cost_add_bus(struct sim_cost *cost, const char *name)
{
    *(char **)sp_grow((void **)&cost->bus_names, cost->bus_count, sizeof(char *)) = sp_strdup(name);
    return cost->bus_count++;
}

int sim_cost_add_link(struct sim_cost *cost, const char *name, double bytes_per_s)
{
    struct sim_link *link = sp_grow((void **)&cost->links, cost->link_count, sizeof *link);
    *link = (struct sim_link){sp_strdup(name), bytes_per_s};
    return cost->link_count++;
}

static size_t row_count(const struct sim_cost *cost)
{
    return (size_t)cost->phase_count * (size_t)cost->stage_count * SIM_WORK_COUNT;
}

void sim_cost_add_contention(struct sim_cost *cost, int class_count)
{
    size_t classes = (size_t)class_count;
    cost->contention.class_count = class_count;
    cost->contention.slowdown = sp_calloc(classes * classes, sizeof *cost->contention.slowdown);
    cost->contention.mix = sp_calloc(row_count(cost) * classes, sizeof *cost->contention.mix);
}

void sim_cost_add_noise(struct sim_cost *cost)
{
    cost->noise.work = sp_calloc(row_count(cost), sizeof *cost->noise.work);
}

void sim_cost_note(struct sim_cost *cost, enum sim_note_kind kind, const char *format, ...)
{
    va_list args;
    char text[512];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (int n = 0; n < cost->note_count; n++)
        if (cost->notes[n].kind == kind && strcmp(cost->notes[n].text, text) == 0)
            return;
    struct sim_note *note = sp_grow((void **)&cost->notes, cost->note_count++, sizeof *note);
    *note = (struct sim_note){kind, sp_strdup(text)};
}

/* One class of work, all of it slowed alike by every other device. */
static void set_slowdown(struct sim_cost *cost, double slowdown)
{
    free(cost->contention.slowdown);
    free(cost->contention.mix);
    sim_cost_add_contention(cost, 1);
    cost->contention.slowdown[0] = slowdown;
    for (size_t r = 0; r < row_count(cost); r++)
        cost->contention.mix[r] = 1;
}

static void set_noise(struct sim_cost *cost, double deviation)
{
    free(cost->noise.work);
    sim_cost_add_noise(cost);
    for (size_t r = 0; r < row_count(cost); r++)
        cost->noise.work[r] = deviation;
    cost->noise.message = cost->noise.handoff = deviation;
}

/* What the experiment says of sharing and noise goes before what the source knows. */
static void set_by_experiment(const struct sp_experiment *experiment, struct sim_cost *cost)
{
    if (experiment->cost.slowdown > 0)
        set_slowdown(cost, experiment->cost.slowdown);
    if (experiment->cost.noise > 0)
        set_noise(cost, experiment->cost.noise);
    if (experiment->cost.drift > 0)
        cost->noise.run = experiment->cost.drift;
    if (!experiment->plan.ignore_transfers || cost->channel_count == 0)
        return;
    for (int c = 0; c < cost->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.bus = -1};
    sim_cost_note(cost, SIM_NOTE_OTHER, "messages take no time, as plan.ignore_transfers says");
}

/* Says which keys are there and not used. */
static void note_unused(const struct sp_experiment *experiment, struct sim_cost *cost)
{
    static const char *const goes_with[][2] = {
        {"cost.file", "profile"}, {"cost.stages", "table"}, {"cost.transfers", "table"}, {"cost.update", "table"}};
    for (size_t k = 0; k < sizeof goes_with / sizeof *goes_with; k++)
        if (sp_experiment_is_set(experiment, goes_with[k][0]) && strcmp(experiment->cost.model, goes_with[k][1]) != 0)
            sim_cost_note(cost, SIM_NOTE_OTHER, "%s is not used: it goes with cost.model: %s, and this is %s",
                          goes_with[k][0], goes_with[k][1], experiment->cost.model);
}

/* The seconds of a message in full, over fair links beside all others. */
static double message_s(const struct sim_cost *cost, const struct sim_channel_cost *channel)
{
    return channel->latency_s + channel->busy_s + 2 * channel->device_s + cost->wake_s +
           channel->bytes * sim_flows_byte_s(cost, channel);
}

static bool is_too_short(double seconds)
{
    return seconds > 0 && sim_ticks(seconds) == 0;
}

/* Says where something takes time and none of the clock's. */
static void note_too_short(struct sim_cost *cost)
{
    bool any = false;
    for (int k = 0; k < cost->phase_count * cost->stage_count; k++) {
        const struct sim_stage_cost *s = &cost->stages[k];
        any |= is_too_short(s->forward_s) || is_too_short(s->backward_s) || is_too_short(s->update_s) ||
               is_too_short(s->evaluate_s);
    }
    for (int c = 0; c < cost->channel_count; c++)
        any |= is_too_short(cost->channels[c].latency_s) || is_too_short(cost->channels[c].busy_s) ||
               is_too_short(cost->channels[c].device_s);
    if (any)
        sim_cost_note(cost, SIM_NOTE_OTHER,
                      "what takes less than 2^-41 s (about half a picosecond) takes none: some work or messages do");
}

/* Whether the clock bears all durations; those that are no number it does not. */
static sp_status check_durations(const struct sp_experiment *experiment, const struct sp_plan *plan,
                                 const struct sim_cost *cost, struct sp_error *err)
{
    struct sp_mark mark = sp_experiment_mark(experiment, "cost.model");
    double stretch = sim_contention_worst(&cost->contention, plan->device_count);
    for (int k = 0; k < cost->phase_count * cost->stage_count; k++) {
        const struct sim_stage_cost *stage = &cost->stages[k];
        const struct sim_start_cost *start = &cost->starts[k % cost->stage_count];
        double seconds =
            stage->forward_s + stage->backward_s + stage->update_s + stage->evaluate_s + start->first_s + start->slot_s;
        if (!(seconds * stretch <= SIM_MOST_S))
            return sp_reject(err, mark, "cost: a microbatch takes stage %d up to %.3g s; at most %g s are simulated",
                             k % cost->stage_count, seconds * stretch, SIM_MOST_S);
    }
    for (int c = 0; c < cost->channel_count; c++) {
        double seconds = message_s(cost, &cost->channels[c]);
        if (!(seconds <= SIM_MOST_S))
            return sp_reject(err, mark,
                             "cost: a message from stage %d to stage %d takes %.3g s; at most %g s are simulated",
                             plan->channels[c].from_stage, plan->channels[c].to_stage, seconds, SIM_MOST_S);
        if (!(cost->channels[c].bytes <= SIM_FLOWS_MOST_BYTES))
            return sp_reject(err, mark,
                             "cost: a message from stage %d to stage %d has %.3g bytes; over fair links at most %.3g "
                             "are simulated",
                             plan->channels[c].from_stage, plan->channels[c].to_stage, cost->channels[c].bytes,
                             SIM_FLOWS_MOST_BYTES);
    }
    return SP_OK;
}

sp_status sim_source_open(const struct sp_experiment *experiment, struct sim_source *out, struct sp_error *err)
{
    const struct sim_cost_kind *kind = sim_cost_kinds;
    *out = (struct sim_source){0};
    while (kind->name != NULL && strcmp(kind->name, experiment->cost.model) != 0)
        kind++;
    if (kind->name == NULL)
        return sp_reject(err, sp_experiment_mark(experiment, "cost.model"), "cost.model: no \"%s\"",
                         experiment->cost.model);
    if (kind->open != NULL)
        SP_TRY(kind->open(experiment, &out->known, err));
    out->kind = kind;
    return SP_OK;
}

void sim_source_close(struct sim_source *source)
{
    if (source->kind != NULL && source->kind->close != NULL)
        source->kind->close(source->known);
    *source = (struct sim_source){0};
}

static sp_status cost_by(const struct sim_source *source, bool least, const struct sp_experiment *experiment,
                         const struct sp_plan *plan, const struct sp_memory_plan *memory, struct sim_cost **out,
                         struct sp_error *err)
{
    const struct sim_cost_kind *kind = source->kind;
    struct sim_cost *cost = sim_cost_alloc(plan);
    sp_status status = (least && kind->fill_least != NULL ? kind->fill_least : kind->fill)(source->known, experiment,
                                                                                           plan, memory, cost, err);
    set_by_experiment(experiment, cost);
    note_unused(experiment, cost);
    if (status == SP_OK)
        status = check_durations(experiment, plan, cost, err);
    if (status == SP_OK)
        note_too_short(cost);
    if (status != SP_OK)
        sim_cost_destroy(&cost);
    *out = cost;
    return status;
}

sp_status sim_source_cost(const struct sim_source *source, const struct sp_experiment *experiment,
                          const struct sp_plan *plan, const struct sp_memory_plan *memory, struct sim_cost **out,
                          struct sp_error *err)
{
    return cost_by(source, false, experiment, plan, memory, out, err);
}

sp_status sim_source_least_cost(const struct sim_source *source, const struct sp_experiment *experiment,
                                const struct sp_plan *plan, struct sim_cost **out, struct sp_error *err)
{
    return cost_by(source, true, experiment, plan, NULL, out, err);
}

sp_status sim_cost_create(const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, struct sim_cost **out, struct sp_error *err)
{
    struct sim_source source;
    *out = NULL;
    SP_TRY(sim_source_open(experiment, &source, err));
    sp_status status = sim_source_cost(&source, experiment, plan, memory, out, err);
    sim_source_close(&source);
    return status;
}
