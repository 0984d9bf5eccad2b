/*
 * Loss and accuracy as the last stage sees them, the epochs they add up to, and the progress callback. All on the
 * thread of the last stage's forward device.
 */
#include "common/alloc.h"
#include "exec/run.h"

#include <math.h>

enum { CALLS_PER_S = 20, RECENT = 50 };

static double mean_loss(const float *losses, int64_t from, int64_t end)
{
    double sum = 0;
    for (int64_t m = from; m < end; m++)
        sum += (double)losses[m];
    return end > from ? sum / (double)(end - from) : NAN;
}

static void call_back(struct exec_run *run, double now_s)
{
    struct exec_progress_state *state = &run->progress;
    const struct sp_plan *plan = run->plan;
    bool due = state->done == plan->minibatches || state->epoch_count > state->told;
    if (run->config.progress == NULL || (!due && now_s - state->last_call_s < 1.0 / CALLS_PER_S))
        return;
    state->last_call_s = now_s;
    state->told = state->epoch_count;
    int64_t recent = state->done > RECENT ? state->done - RECENT : 0;
    double rate = now_s > 0 ? (double)state->done * plan->batch / now_s : 0;
    double since = (double)(state->done - state->loss_from) * plan->batch;
    struct exec_progress progress = {
        .minibatches = state->done,
        .minibatches_total = plan->minibatches,
        .epoch = (int)((state->done - 1) * plan->batch / run->data->samples[EXEC_TRAIN]) + 1,
        .loss = mean_loss(state->losses, recent, state->done),
        .accuracy = since > 0 ? (double)state->correct_since / since : NAN,
        .test_accuracy = state->epoch_count > 0 ? state->epochs[state->epoch_count - 1].accuracy : NAN,
        .evaluations = state->epoch_count,
        .last = state->done == plan->minibatches && state->epoch_count == exec_progress_room(run),
        .elapsed_s = now_s,
        .samples_per_s = rate,
        .remaining_s = rate > 0 ? (double)(plan->minibatches - state->done) * plan->batch / rate : NAN,
    };
    run->told = progress;
    run->config.progress(run->config.progress_self, &progress);
}

static void train(struct exec_run *run, const struct sp_instr *instr, struct exec_score score, double at_s)
{
    struct exec_progress_state *state = &run->progress;
    state->losses[instr->minibatch] += (float)(score.loss_sum / run->plan->batch);
    state->correct_since += score.correct;
    if (instr->microbatch != run->plan->phases[instr->phase].microbatches - 1)
        return;
    state->done = instr->minibatch + 1;
    call_back(run, at_s);
}

static void evaluate(struct exec_run *run, const struct sp_instr *instr, struct exec_score score, double at_s)
{
    struct exec_progress_state *state = &run->progress;
    int64_t count = run->plan->phases[instr->phase].evaluate_minibatches;
    int64_t nth = instr->minibatch - run->first_evaluation[instr->phase];
    state->evaluation_loss += score.loss_sum;
    state->evaluation_correct += score.correct;
    if (nth % count != count - 1)
        return;
    double samples = (double)run->data->samples[EXEC_TEST];
    double trained = (double)(state->done - state->loss_from) * run->plan->batch;
    struct sp_epoch_summary *epoch = &state->epochs[state->epoch_count++];
    *epoch = (struct sp_epoch_summary){
        .epoch = state->epoch_count,
        .minibatch = state->done,
        .loss = mean_loss(state->losses, state->loss_from, state->done),
        .accuracy = (double)state->evaluation_correct / samples,
        .test_loss = state->evaluation_loss / samples,
        .time_s = at_s,
        .train_accuracy = trained > 0 ? (double)state->correct_since / trained : NAN,
    };
    state->loss_from = state->done;
    state->correct_since = state->evaluation_correct = 0;
    state->evaluation_loss = 0;
    call_back(run, at_s);
}

void exec_progress_score(struct exec_run *run, const struct sp_instr *instr, struct exec_score score, double at_s)
{
    (instr->evaluate ? evaluate : train)(run, instr, score, at_s);
}

int64_t exec_progress_room(const struct exec_run *run)
{
    return sp_plan_evaluations(run->plan) + run->progress.surplus;
}

void exec_progress_make_room(struct exec_run *run, int surplus)
{
    run->progress.surplus = surplus;
    size_t room = (size_t)exec_progress_room(run) + 1, devices = (size_t)run->plan->device_count;
    free(run->snapshots);
    free(run->epoch_devices);
    free(run->progress.epochs);
    run->snapshots = sp_calloc(room * devices, sizeof *run->snapshots);
    run->epoch_devices = sp_calloc(room * devices, sizeof *run->epoch_devices);
    run->progress.epochs = sp_calloc(room, sizeof *run->progress.epochs);
}

bool exec_progress_is_snapshot(const struct exec_run *run, const struct sp_instr *gate)
{
    return !run->replaying && sp_plan_is_evaluated(run->plan, gate->minibatch);
}

void exec_progress_snapshot(struct exec_run *run, int device, const struct sp_instr *gate)
{
    if (!exec_progress_is_snapshot(run, gate))
        return;
    int64_t e = sp_plan_evaluations_until(run->plan, gate->minibatch + 1) - 1 + run->progress.surplus;
    struct exec_snapshot *snapshot = &run->snapshots[e * run->plan->device_count + device];
    *snapshot = (struct exec_snapshot){.at_s = exec_run_now_s(run), .total = run->trace->lanes[device].total};
    for (int i = 0; i < run->plan->stage_count; i++)
        if (run->plan->stages[i].backward_device == device && run->stages[i].forward_staleness > snapshot->staleness)
            snapshot->staleness = run->stages[i].forward_staleness;
}

/* One device in the time between two snapshots; gives that time without evaluation. */
static double device_between(const struct exec_snapshot *from, const struct exec_snapshot *to,
                             struct sp_epoch_device *out)
{
    static const enum sp_span_kind busy[] = {SP_SPAN_FORWARD, SP_SPAN_BACKWARD, SP_SPAN_UPDATE};
    double before[SP_WAIT_COUNT], busy_s = 0;
    double time_s =
        to->at_s - from->at_s - (to->total.seconds[SP_SPAN_EVALUATE] - from->total.seconds[SP_SPAN_EVALUATE]);
    for (int k = 0; k < 3; k++)
        busy_s += to->total.seconds[busy[k]] - from->total.seconds[busy[k]];
    sp_waits_of(&from->total, before);
    sp_waits_of(&to->total, out->wait_s);
    for (int w = 0; w < SP_WAIT_COUNT; w++)
        out->wait_s[w] -= before[w];
    out->utilization = time_s > 0 ? busy_s / time_s : NAN;
    return time_s;
}

static bool has_snapshots(const struct exec_run *run, int e)
{
    for (int d = run->first_device; d < run->device_end; d++)
        if (run->snapshots[e * run->plan->device_count + d].at_s <= 0)
            return false;
    return true;
}

void exec_progress_finish(struct exec_run *run)
{
    const struct exec_snapshot start = {0};
    struct exec_progress_state *state = &run->progress;
    int devices = run->plan->device_count;
    while (state->epoch_count > 0 && !has_snapshots(run, state->epoch_count - 1))
        state->epoch_count--; /* it was stopped before all devices came to that evaluation's end */
    for (int e = 0; e < state->epoch_count; e++) {
        struct sp_epoch_summary *epoch = &state->epochs[e];
        double longest_s = 0;
        int64_t before = e > 0 ? epoch[-1].minibatch : 0;
        for (int d = 0; d < devices; d++) {
            const struct exec_snapshot *to = &run->snapshots[e * devices + d];
            double time_s = device_between(e > 0 ? to - devices : &start, to, &run->epoch_devices[e * devices + d]);
            longest_s = time_s > longest_s ? time_s : longest_s;
            epoch->staleness = to->staleness > epoch->staleness ? to->staleness : epoch->staleness;
        }
        epoch->samples_per_s = longest_s > 0 ? (double)(epoch->minibatch - before) * run->plan->batch / longest_s : NAN;
    }
}
