/*
 * summary.c - a run in numbers, and as JSON.
 */
#include "common/summary.h"

#include "common/alloc.h"
#include "common/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const sp_wait_names[SP_WAIT_COUNT] = {
    [SP_WAIT_INPUT] = "input",     [SP_WAIT_GRADIENT] = "gradient", [SP_WAIT_BUFFER] = "buffer",
    [SP_WAIT_WEIGHTS] = "weights", [SP_WAIT_DATA] = "data",
};

const enum sp_wait sp_wait_causes[SP_PAYLOAD_COUNT] = {
    [SP_PAYLOAD_ACTIVATION] = SP_WAIT_INPUT, [SP_PAYLOAD_GRADIENT] = SP_WAIT_GRADIENT,
    [SP_PAYLOAD_STASH] = SP_WAIT_WEIGHTS,    [SP_PAYLOAD_WEIGHTS] = SP_WAIT_WEIGHTS,
    [SP_PAYLOAD_CREDIT] = SP_WAIT_BUFFER,
};

void sp_waits_of(const struct sp_lane_total *total, double wait_s[SP_WAIT_COUNT])
{
    for (int w = 0; w < SP_WAIT_COUNT; w++)
        wait_s[w] = 0;
    for (int p = 0; p < SP_PAYLOAD_COUNT; p++)
        wait_s[sp_wait_causes[p]] += total->wait_s[p];
    wait_s[SP_WAIT_DATA] += total->data_wait_s;
}

/* 0 where no time has passed, NAN where it was not measured. */
static double share_of(double x, double time_s)
{
    return time_s > 0.0 || isnan(time_s) ? x / time_s : 0.0;
}

static void fill_devices(struct sp_summary *summary, const struct sp_memory_plan *memory, const struct sp_trace *trace)
{
    for (int d = 0; d < summary->device_count; d++) {
        struct sp_device_summary *device = &summary->devices[d];
        device->busy_s = trace ? sp_trace_busy_s(trace, d) : NAN;
        for (int w = 0; w < SP_WAIT_COUNT; w++)
            device->wait_s[w] = NAN;
        if (trace)
            sp_waits_of(&trace->lanes[d].total, device->wait_s);
        device->utilization = share_of(device->busy_s, summary->time_s);
        summary->utilization += device->utilization / summary->device_count;
        if (!memory)
            continue;
        memcpy(device->bytes, memory->bytes[d], sizeof device->bytes);
        device->peak_bytes = sp_memory_device_bytes(memory, d);
    }
}

/* Staleness and stash of a stage: the largest of all phases. */
static void fill_stage(struct sp_stage_summary *stage, const struct sp_stage *planned, int index,
                       const struct sp_analysis *analysis)
{
    stage->first_layer = planned->first_weight_layer;
    stage->last_layer = planned->last_weight_layer;
    stage->parameters = planned->parameters;
    for (int p = 0; analysis && p < analysis->phase_count; p++) {
        const struct sp_stage_analysis *a = &analysis->stages[p * analysis->stage_count + index];
        if (a->forward_staleness > stage->forward_staleness)
            stage->forward_staleness = a->forward_staleness;
        if (a->backward_staleness > stage->backward_staleness)
            stage->backward_staleness = a->backward_staleness;
        if (a->in_flight > stage->in_flight)
            stage->in_flight = a->in_flight;
    }
}

void sp_summary_init(struct sp_summary *summary, const char *name, const struct sp_plan *plan, const int *cuts,
                     int cut_count, const struct sp_memory_plan *memory, const struct sp_analysis *analysis,
                     const struct sp_trace *trace, double time_s)
{
    memset(summary, 0, sizeof *summary);
    summary->name = sp_strdup(name);
    summary->network = sp_strdup(plan->network->name);
    summary->schedule = sp_strdup(plan->phases[0].schedule->name);
    summary->cut_count = cut_count;
    summary->cuts = sp_calloc((size_t)cut_count + 1, sizeof *summary->cuts);
    for (int i = 0; i < cut_count; i++)
        summary->cuts[i] = cuts[i];
    summary->batch = plan->batch;
    summary->minibatches = plan->minibatches;
    summary->time_s = time_s;
    summary->samples_per_s = share_of((double)plan->batch * (double)plan->minibatches, time_s);
    summary->speedup = summary->accuracy = summary->loss = NAN;
    summary->stale_weight_fraction = analysis ? analysis->stale_weight_fraction : 0.0;
    summary->device_count = plan->device_count;
    summary->stage_count = plan->stage_count;
    summary->devices = sp_calloc((size_t)plan->device_count, sizeof *summary->devices);
    summary->stages = sp_calloc((size_t)plan->stage_count, sizeof *summary->stages);
    fill_devices(summary, memory, trace);
    for (int i = 0; i < plan->stage_count; i++)
        fill_stage(&summary->stages[i], &plan->stages[i], i, analysis);
}

void sp_summary_fini(struct sp_summary *summary)
{
    free(summary->name);
    free(summary->network);
    free(summary->schedule);
    free(summary->cuts);
    free(summary->devices);
    free(summary->stages);
    free(summary->epochs);
    free(summary->epoch_devices);
    for (int n = 0; n < summary->note_count; n++) {
        free(summary->notes[n].kind);
        free(summary->notes[n].text);
    }
    free(summary->notes);
    memset(summary, 0, sizeof *summary);
}

void sp_summary_add_note(struct sp_summary *summary, const char *kind, const char *text)
{
    struct sp_summary_note *note = sp_grow((void **)&summary->notes, summary->note_count++, sizeof *note);
    *note = (struct sp_summary_note){sp_strdup(kind), sp_strdup(text)};
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *integer(int64_t x)
{
    return json_integer((json_int_t)x);
}

static json_t *waits_json(const double wait_s[SP_WAIT_COUNT])
{
    json_t *object = json_object();
    for (int w = 0; w < SP_WAIT_COUNT; w++)
        json_object_set_new(object, sp_wait_names[w], number(wait_s[w]));
    return object;
}

static json_t *device_json(const struct sp_device_summary *device, int id)
{
    json_t *object = json_object(), *bytes = json_object();
    for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
        json_object_set_new(bytes, sp_memory_kind_names[k], integer((int64_t)device->bytes[k]));
    json_object_set_new(object, "id", integer(id));
    json_object_set_new(object, "utilization", number(device->utilization));
    json_object_set_new(object, "busy_s", number(device->busy_s));
    json_object_set_new(object, "peak_bytes", integer((int64_t)device->peak_bytes));
    json_object_set_new(object, "bytes", bytes);
    json_object_set_new(object, "wait_s", waits_json(device->wait_s));
    return object;
}

static json_t *stage_json(const struct sp_stage_summary *stage, int id)
{
    json_t *object = json_object();
    json_object_set_new(object, "id", integer(id));
    json_object_set_new(object, "first_layer", integer(stage->first_layer));
    json_object_set_new(object, "last_layer", integer(stage->last_layer));
    json_object_set_new(object, "parameters", integer(stage->parameters));
    json_object_set_new(object, "forward_staleness", integer(stage->forward_staleness));
    json_object_set_new(object, "backward_staleness", integer(stage->backward_staleness));
    json_object_set_new(object, "in_flight", integer(stage->in_flight));
    return object;
}

static json_t *epoch_json(const struct sp_epoch_summary *epoch, const struct sp_epoch_device *on, int device_count)
{
    json_t *object = json_object(), *devices = json_array();
    for (int d = 0; on != NULL && d < device_count; d++)
        json_array_append_new(devices, json_pack("{s:o, s:o}", "utilization", number(on[d].utilization), "wait_s",
                                                 waits_json(on[d].wait_s)));
    json_object_set_new(object, "epoch", integer(epoch->epoch));
    json_object_set_new(object, "minibatch", integer(epoch->minibatch));
    json_object_set_new(object, "loss", number(epoch->loss));
    json_object_set_new(object, "accuracy", number(epoch->accuracy));
    json_object_set_new(object, "test_loss", number(epoch->test_loss));
    json_object_set_new(object, "time_s", number(epoch->time_s));
    json_object_set_new(object, "train_accuracy", number(epoch->train_accuracy));
    json_object_set_new(object, "samples_per_s", number(epoch->samples_per_s));
    json_object_set_new(object, "staleness", integer(epoch->staleness));
    json_object_set_new(object, "devices", devices);
    return object;
}

static void add_real(json_t *object, const struct sp_summary *summary)
{
    json_t *epochs = json_array();
    for (int i = 0; i < summary->epoch_count; i++)
        json_array_append_new(
            epochs,
            epoch_json(&summary->epochs[i],
                       summary->epoch_devices == NULL ? NULL : &summary->epoch_devices[i * summary->device_count],
                       summary->device_count));
    json_object_set_new(object, "accuracy", number(summary->accuracy));
    json_object_set_new(object, "loss", number(summary->loss));
    json_object_set_new(object, "epochs", epochs);
}

static json_t *interval_json(const struct sp_interval *interval)
{
    return json_pack("[o, o]", number(interval->low), number(interval->high));
}

/* What only predictions have. */
static void add_simulated(json_t *object, const struct sp_summary *summary)
{
    json_t *notes = json_array();
    for (int n = 0; n < summary->note_count; n++)
        json_array_append_new(notes,
                              json_pack("{s:s, s:s}", "kind", summary->notes[n].kind, "text", summary->notes[n].text));
    json_object_set_new(object, "notes", notes);
    if (summary->repeats == 0)
        return;
    json_object_set_new(object, "repeats", integer(summary->repeats));
    json_object_set_new(object, "intervals",
                        json_pack("{s:o, s:o, s:o}", "time_s", interval_json(&summary->time_interval), "speedup",
                                  interval_json(&summary->speedup_interval), "utilization",
                                  interval_json(&summary->utilization_interval)));
    json_object_set_new(object, "medians",
                        json_pack("{s:o, s:o, s:o}", "time_s", number(summary->time_interval.median), "speedup",
                                  number(summary->speedup_interval.median), "utilization",
                                  number(summary->utilization_interval.median)));
}

json_t *sp_summary_json(const struct sp_summary *summary)
{
    json_t *object = json_object(), *cuts = json_array(), *devices = json_array(), *stages = json_array();
    for (int i = 0; i < summary->cut_count; i++)
        json_array_append_new(cuts, integer(summary->cuts[i]));
    for (int i = 0; i < summary->device_count; i++)
        json_array_append_new(devices, device_json(&summary->devices[i], i));
    for (int i = 0; i < summary->stage_count; i++)
        json_array_append_new(stages, stage_json(&summary->stages[i], i));
    json_object_set_new(object, "name", json_string(summary->name));
    json_object_set_new(object, "network", json_string(summary->network));
    json_object_set_new(object, "schedule", json_string(summary->schedule));
    json_object_set_new(object, "cuts", cuts);
    json_object_set_new(object, "batch", integer(summary->batch));
    json_object_set_new(object, "minibatches", integer(summary->minibatches));
    json_object_set_new(object, "time_s", number(summary->time_s));
    json_object_set_new(object, "samples_per_s", number(summary->samples_per_s));
    json_object_set_new(object, "speedup", number(summary->speedup));
    json_object_set_new(object, "utilization", number(summary->utilization));
    json_object_set_new(object, "stale_weight_fraction", number(summary->stale_weight_fraction));
    json_object_set_new(object, "devices", devices);
    json_object_set_new(object, "stages", stages);
    if (summary->real)
        add_real(object, summary);
    else
        add_simulated(object, summary);
    return object;
}

static double total_peak(const struct sp_summary *summary)
{
    double sum = 0.0;
    for (int i = 0; i < summary->device_count; i++)
        sum += (double)summary->devices[i].peak_bytes;
    return sum;
}

/* Relative to the measured side; null without one. */
static json_t *relative(double predicted, double measured)
{
    return measured != 0.0 ? number((predicted - measured) / measured) : json_null();
}

static json_t *within(const struct sp_interval *interval, double measured)
{
    return isfinite(measured) ? json_boolean(measured >= interval->low && measured <= interval->high) : json_null();
}

json_t *sp_summary_compare_json(const struct sp_summary *predicted, const struct sp_summary *measured)
{
    json_t *object = json_object(), *error = json_object();
    json_object_set_new(error, "time", relative(predicted->time_s, measured->time_s));
    json_object_set_new(error, "speedup", relative(predicted->speedup, measured->speedup));
    json_object_set_new(error, "utilization", relative(predicted->utilization, measured->utilization));
    json_object_set_new(error, "peak_bytes", relative(total_peak(predicted), total_peak(measured)));
    json_object_set_new(object, "predicted", sp_summary_json(predicted));
    json_object_set_new(object, "measured", sp_summary_json(measured));
    json_object_set_new(object, "error", error);
    if (predicted->repeats > 0)
        json_object_set_new(object, "within",
                            json_pack("{s:o, s:o, s:o}", "time_s", within(&predicted->time_interval, measured->time_s),
                                      "speedup", within(&predicted->speedup_interval, measured->speedup), "utilization",
                                      within(&predicted->utilization_interval, measured->utilization)));
    return object;
}
