/* checkpoint_progress.c - how far a run has come, as JSON, and back. */
#include "exec/checkpoint_progress.h"

#include "common/alloc.h"
#include "exec/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Numbers as text: JSON has no infinity, and a run that diverges is a run too. */
static json_t *number(double value)
{
    return json_sprintf("%.17g", value);
}

static double number_of(const json_t *text)
{
    return json_is_string(text) ? strtod(json_string_value(text), NULL) : NAN;
}

static json_t *numbers(const double *values, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, number(values[i]));
    return array;
}

static void read_numbers(const json_t *array, double *values, int count)
{
    for (int i = 0; i < count; i++)
        values[i] = number_of(json_array_get(array, (size_t)i));
}

static json_t *epoch_json(const struct sp_epoch_summary *epoch)
{
    return json_pack("{s:i, s:I, s:o, s:o, s:o, s:o, s:o}", "epoch", epoch->epoch, "minibatch",
                     (json_int_t)epoch->minibatch, "loss", number(epoch->loss), "accuracy", number(epoch->accuracy),
                     "train_accuracy", number(epoch->train_accuracy), "test_loss", number(epoch->test_loss), "time_s",
                     number(epoch->time_s));
}

static struct sp_epoch_summary read_epoch(const json_t *json)
{
    return (struct sp_epoch_summary){.epoch = (int)json_integer_value(json_object_get(json, "epoch")),
                                     .minibatch = json_integer_value(json_object_get(json, "minibatch")),
                                     .loss = number_of(json_object_get(json, "loss")),
                                     .accuracy = number_of(json_object_get(json, "accuracy")),
                                     .train_accuracy = number_of(json_object_get(json, "train_accuracy")),
                                     .test_loss = number_of(json_object_get(json, "test_loss")),
                                     .time_s = number_of(json_object_get(json, "time_s"))};
}

static json_t *lane_json(const struct sp_lane_total *total)
{
    json_t *counts = json_array();
    for (int k = 0; k < SP_SPAN_KIND_COUNT; k++)
        json_array_append_new(counts, json_integer((json_int_t)total->count[k]));
    return json_pack("{s:o, s:o, s:o, s:o}", "data_wait_s", number(total->data_wait_s), "seconds",
                     numbers(total->seconds, SP_SPAN_KIND_COUNT), "count", counts, "wait_s",
                     numbers(total->wait_s, SP_PAYLOAD_COUNT));
}

static void read_lane(const json_t *json, struct sp_lane_total *total)
{
    read_numbers(json_object_get(json, "seconds"), total->seconds, SP_SPAN_KIND_COUNT);
    read_numbers(json_object_get(json, "wait_s"), total->wait_s, SP_PAYLOAD_COUNT);
    total->data_wait_s = number_of(json_object_get(json, "data_wait_s"));
    for (int k = 0; k < SP_SPAN_KIND_COUNT; k++)
        total->count[k] = json_integer_value(json_array_get(json_object_get(json, "count"), (size_t)k));
}

static json_t *snapshot_json(const struct exec_snapshot *snapshot)
{
    return json_pack("{s:o, s:I, s:o}", "at_s", number(snapshot->at_s), "staleness", (json_int_t)snapshot->staleness,
                     "total", lane_json(&snapshot->total));
}

static void read_snapshot(const json_t *json, struct exec_snapshot *snapshot)
{
    snapshot->at_s = number_of(json_object_get(json, "at_s"));
    snapshot->staleness = json_integer_value(json_object_get(json, "staleness"));
    read_lane(json_object_get(json, "total"), &snapshot->total);
}

/* What is counted while training and does not follow from the instructions. */
json_t *exec_checkpoint_progress(const struct exec_run *run)
{
    const struct exec_progress_state *p = &run->progress;
    json_t *epochs = json_array(), *lanes = json_array(), *snapshots = json_array();
    int devices = run->plan->device_count;
    for (int e = 0; e < p->epoch_count; e++)
        json_array_append_new(epochs, epoch_json(&p->epochs[e]));
    for (int d = 0; d < run->trace->device_count; d++)
        json_array_append_new(lanes, lane_json(&run->trace->lanes[d].total));
    for (int s = 0; s < p->epoch_count * devices; s++)
        json_array_append_new(snapshots, snapshot_json(&run->snapshots[s]));
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "snapshots", snapshots, "elapsed_s",
                     number(exec_run_now_s(run)), "done", (json_int_t)p->done, "correct_since",
                     (json_int_t)p->correct_since, "loss_from", (json_int_t)p->loss_from, "epochs", epochs, "devices",
                     lanes);
}

/* Whether they can be what a run came to that stands at the gate; then how many there are up to there, over those that
 * the plan has. The last stage may be ahead of the gate. */
static bool count_surplus(const struct exec_run *run, const struct sp_epoch_summary *epochs, int count, int *surplus)
{
    const struct sp_plan *plan = run->plan;
    int64_t before = 0, done = run->resume_gate + 1, ahead = done + plan->in_flight[0];
    int behind = 0;
    ahead = ahead < plan->minibatches ? ahead : plan->minibatches;
    for (int e = 0; e < count; e++) {
        if (epochs[e].minibatch <= before || epochs[e].minibatch > ahead)
            return false;
        before = epochs[e].minibatch;
        behind += before <= done;
    }
    *surplus = behind - (int)sp_plan_evaluations_until(plan, done);
    return count - behind <= sp_plan_evaluations_until(plan, ahead) - sp_plan_evaluations_until(plan, done);
}

/* Where they are not those of such a run, nothing is changed. */
static bool restore_epochs(struct exec_run *run, const json_t *array)
{
    int count = (int)json_array_size(array);
    struct sp_epoch_summary *epochs = sp_calloc((size_t)count + 1, sizeof *epochs);
    for (int e = 0; e < count; e++)
        epochs[e] = read_epoch(json_array_get(array, (size_t)e));
    int surplus;
    bool fits = count_surplus(run, epochs, count, &surplus);
    if (fits) {
        exec_progress_make_room(run, surplus);
        memcpy(run->progress.epochs, epochs, (size_t)count * sizeof *epochs);
        run->progress.epoch_count = count;
    }
    free(epochs);
    return fits;
}

bool exec_checkpoint_restore(struct exec_run *run, const json_t *json)
{
    struct exec_progress_state *p = &run->progress;
    const json_t *epochs = json_object_get(json, "epochs"), *lanes = json_object_get(json, "devices");
    int64_t done = json_integer_value(json_object_get(json, "done")),
            loss_from = json_integer_value(json_object_get(json, "loss_from"));
    double elapsed_s = number_of(json_object_get(json, "elapsed_s"));
    if (loss_from < 0 || done < loss_from || done > run->plan->minibatches || !(elapsed_s >= 0) ||
        json_array_size(lanes) != (size_t)run->trace->device_count || !restore_epochs(run, epochs))
        return false;
    p->done = done;
    p->correct_since = json_integer_value(json_object_get(json, "correct_since"));
    p->loss_from = loss_from;
    const json_t *snapshots = json_object_get(json, "snapshots");
    for (int s = 0; s < p->epoch_count * run->plan->device_count; s++)
        read_snapshot(json_array_get(snapshots, (size_t)s), &run->snapshots[s]);
    for (int d = 0; d < run->trace->device_count; d++)
        read_lane(json_array_get(lanes, (size_t)d), &run->trace->lanes[d].total);
    run->start_s += exec_run_now_s(run) - elapsed_s;
    run->gate.last_s = elapsed_s;
    return true;
}
