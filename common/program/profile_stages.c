/*
 * What stages and devices add to the layers they are made of: minibatches in flight, the optimiser, and neighbours.
 *
 * A round is two trials and those of messages (profile_messages.c). Three stages on one device, pipelined: their layers
 * beside those of the uncut network of the same round say what several minibatches in flight cost (their tensors are no
 * longer in the caches). Two devices, in turn pipelined and one after the other: the same passes beside work of all
 * kinds and beside none.
 */
#include "common/alloc.h"
#include "common/program/profile.h"
#include "common/schedule.h"
#include "sim/overlap.h"

#include <math.h>
#include <stdlib.h>

/* Networks with longer steps take fewer turns. */
static const double LONG_STEP_S = 0.1;

struct profile_stages *profile_stages_create(void)
{
    struct profile_stages *stages = sp_calloc(1, sizeof *stages);
    stages->overlaps = sp_calloc(1, sizeof *stages->overlaps);
    stages->messages = profile_messages_create();
    return stages;
}

void profile_stages_destroy(struct profile_stages **stages)
{
    if (*stages == NULL)
        return;
    struct profile_stages *s = *stages;
    for (int c = 0; c < SIM_CLASS_COUNT; c++)
        samples_fini(&s->in_flight[c]);
    samples_fini(&s->forward);
    samples_fini(&s->backward);
    samples_fini(&s->update);
    free(s->parameters);
    free(s->updates_s);
    profile_messages_destroy(&s->messages);
    sim_overlaps_fini(s->overlaps);
    free(s->overlaps);
    free(s);
    *stages = NULL;
}

/* Forward and backward of a layer at the first size, in the rounds so far. */
static double layer_s(const struct profiling *p, int l)
{
    struct pass_samples *passes = p->sizes[0].passes + l * SP_PASS_COUNT;
    return samples_mean(&passes[SP_PASS_FORWARD].rounds) + samples_mean(&passes[SP_PASS_BACKWARD].rounds);
}

int profile_cut(const struct profiling *p, double share, int from)
{
    const struct sp_network *network = p->setup->network;
    double all = 0, sum = 0;
    int cut = from;
    for (int l = 0; l < p->layers; l++)
        all += layer_s(p, l);
    for (int l = 0; l < p->layers; l++) {
        sum += layer_s(p, l);
        if (network->layers[l].group >= from && sum <= share * all)
            cut = network->layers[l].group;
    }
    return cut < network->weight_layer_count ? cut : network->weight_layer_count - 1;
}

/* Relative deviations of the stages' instructions, and the seconds of their updates. */
static void take_stages(struct profile_stages *stages, const struct sp_plan *plan, const struct sp_trace *trace,
                        int warm)
{
    for (int i = 0; i < plan->stage_count; i++) {
        struct samples by_kind[SP_SPAN_KIND_COUNT] = {{0}};
        for (int d = 0; d < trace->device_count; d++)
            for (int64_t s = 0; s < trace->lanes[d].count; s++) {
                const struct sp_span *span = &trace->lanes[d].spans[s];
                if (span->stage == i && span->minibatch >= warm)
                    samples_add(&by_kind[span->kind], span->end_s - span->start_s);
            }
        samples_add(&stages->forward, samples_deviation(&by_kind[SP_SPAN_FORWARD]));
        samples_add(&stages->backward, samples_deviation(&by_kind[SP_SPAN_BACKWARD]));
        samples_add(&stages->update, samples_deviation(&by_kind[SP_SPAN_UPDATE]));
        *(double *)sp_grow((void **)&stages->parameters, stages->update_count, sizeof(double)) =
            (double)plan->stages[i].parameters;
        *(double *)sp_grow((void **)&stages->updates_s, stages->update_count, sizeof(double)) =
            samples_mean(&by_kind[SP_SPAN_UPDATE]);
        stages->update_count++;
        for (int k = 0; k < SP_SPAN_KIND_COUNT; k++)
            samples_fini(&by_kind[k]);
    }
}

/* Layers of stages with several minibatches in flight, beside the same layers of the uncut network in this round. */
static void take_in_flight(const struct profiling *p, struct profile_stages *stages, const struct sp_plan *plan,
                           struct pass_samples *passes)
{
    double cut[SIM_CLASS_COUNT] = {0}, uncut[SIM_CLASS_COUNT] = {0};
    for (int i = 0; i < plan->stage_count; i++)
        for (int l = plan->stages[i].first_layer; l < plan->stages[i].layer_end && plan->in_flight[i] > 1; l++)
            for (int pass = 0; pass < SP_PASS_EVALUATE; pass++) {
                const struct samples *alone = &p->sizes[0].passes[l * SP_PASS_COUNT + pass].rounds;
                enum sim_class kind = sim_class_of(p->setup->network->layers[l].type);
                cut[kind] += samples_mean(&passes[l * SP_PASS_COUNT + pass].now);
                uncut[kind] += alone->values[alone->count - 1];
            }
    for (int c = 0; c < SIM_CLASS_COUNT; c++)
        if (uncut[c] > 0)
            samples_add(&stages->in_flight[c], cut[c] / uncut[c]);
}

/* The plan that a trial made is gone with it; its stages are the same again. */
static sp_status plan_of(const struct profiling *p, const struct profile_trial *trial, struct sp_plan **plan,
                         struct sp_error *err)
{
    int devices[3] = {0, trial->one_device ? 0 : 1, trial->one_device ? 0 : 2};
    struct sp_phase phase = {.schedule = sp_schedule_find("stale"), .microbatches = 1, .minibatches = 1};
    struct sp_plan_config config = {.cuts = trial->cuts,
                                    .cut_count = trial->cut_count,
                                    .batch = trial->batch,
                                    .forward_devices = devices,
                                    .shared_memory = true,
                                    .phases = &phase,
                                    .phase_count = 1};
    return sp_plan_create(p->setup->network, &config, plan, err);
}

static sp_status round_of_stages(struct profiling *p, struct profile_stages *stages, struct sp_error *err)
{
    int L = p->setup->network->weight_layer_count, cuts[2] = {profile_cut(p, 1.0 / 3, 1), 0};
    cuts[1] = profile_cut(p, 2.0 / 3, cuts[0] + 1);
    struct profile_trial trial = {.what = "stages on one device",
                                  .batch = p->sizes[0].batch,
                                  .minibatches = profile_minibatches(samples_mean(&p->sizes[0].step.rounds)),
                                  .cuts = cuts,
                                  .cut_count = L > 2 && cuts[1] > cuts[0] ? 2 : 1,
                                  .one_device = true,
                                  .pipelined = true};
    struct program_result result = {0};
    struct sp_plan *plan = NULL;
    struct pass_samples *passes = sp_calloc((size_t)(p->layers * SP_PASS_COUNT), sizeof *passes);
    sp_status status = plan_of(p, &trial, &plan, err);
    if (status == SP_OK) {
        trial.warm = plan->in_flight[0]; /* every slot has been touched */
        status = profile_run(p, &trial, &result, err);
    }
    if (status == SP_OK) {
        profile_take_layers(result.layers, trial.warm, passes);
        take_in_flight(p, stages, plan, passes);
        take_stages(stages, plan, result.trace, trial.warm);
    }
    for (int k = 0; k < p->layers * SP_PASS_COUNT; k++)
        samples_fini(&passes[k].now);
    free(passes);
    program_result_fini(&result);
    sp_plan_destroy(&plan);
    return status;
}

static int by_start(const void *a, const void *b)
{
    const struct sim_activity *p = a, *q = b;
    return (p->start_s > q->start_s) - (p->start_s < q->start_s);
}

/* One device's passes of layers and updates, without the warm ones. The caller frees. */
static struct sim_activity *activities_of(const struct profiling *p, const struct program_result *result, int device,
                                          int *count)
{
    const struct sp_lane *lanes[] = {&result->layers->lanes[device], &result->trace->lanes[device]};
    struct sim_activity *list = sp_calloc((size_t)(lanes[0]->count + lanes[1]->count) + 1, sizeof *list);
    *count = 0;
    for (int lane = 0; lane < 2; lane++)
        for (int64_t s = 0; s < lanes[lane]->count; s++) {
            const struct sp_span *span = &lanes[lane]->spans[s];
            bool update = lane == 1, wanted = update ? span->kind == SP_SPAN_UPDATE : true;
            if (!wanted || span->minibatch < PROFILE_WARM)
                continue;
            list[(*count)++] = (struct sim_activity){
                .start_s = span->start_s,
                .end_s = span->end_s,
                .item = update ? 2 * p->layers + span->stage : 2 * span->stage + (span->kind == SP_SPAN_BACKWARD),
                .kind = update ? SIM_CLASS_UPDATE : sim_class_of(p->setup->network->layers[span->stage].type)};
        }
    qsort(list, (size_t)*count, sizeof *list, by_start);
    return list;
}

/* Bytes of a full minibatch that cross the cut of two stages. */
static double crossing_bytes(const struct profiling *p, const struct sp_plan *plan)
{
    double bytes = 0;
    for (int t = 0; t < plan->stages[0].output_count; t++)
        bytes += 4.0 * plan->batch * (double)sp_shape_elements(p->setup->network->shapes[plan->stages[0].outputs[t]]);
    return bytes;
}

static sp_status round_of_devices(struct profiling *p, struct profile_stages *stages, struct sp_error *err)
{
    int cut = profile_cut(p, p->round % 2 == 0 ? 0.5 : 0.3, 1), counts[2];
    double step_s = samples_mean(&p->sizes[0].step.rounds);
    struct program_result result = {0};
    struct profile_trial trial = {.what = "two devices",
                                  .batch = p->sizes[0].batch,
                                  .minibatches = profile_minibatches(step_s * 2),
                                  .warm = PROFILE_WARM,
                                  .cuts = &cut,
                                  .cut_count = 1,
                                  .turns = step_s > LONG_STEP_S ? 1 : PROFILE_TURNS};
    struct sp_plan *plan;
    SP_TRY(plan_of(p, &trial, &plan, err));
    double bytes = crossing_bytes(p, plan);
    sp_plan_destroy(&plan);
    SP_TRY(profile_run(p, &trial, &result, err));
    profile_messages_take(stages->messages, result.trace, trial.minibatches + trial.warm, trial.warm);
    struct sim_activity *activities[2];
    for (int d = 0; d < 2; d++)
        activities[d] = activities_of(p, &result, d, &counts[d]);
    for (int d = 0; d < 2; d++)
        sim_overlaps_add(stages->overlaps, activities[d], counts[d], activities[1 - d], counts[1 - d]);
    sim_overlaps_close_run(stages->overlaps, 2 * p->layers + 2);
    free(activities[0]);
    free(activities[1]);
    program_result_fini(&result);
    return profile_messages_round(p, stages->messages, cut, bytes / trial.batch, err);
}

sp_status profile_stages_round(struct profiling *p, struct profile_stages *stages, struct sp_error *err)
{
    if (p->setup->network->weight_layer_count < 2)
        return SP_OK;
    SP_TRY(round_of_stages(p, stages, err));
    return p->profile->cores >= 2 * p->profile->threads ? round_of_devices(p, stages, err) : SP_OK;
}

/* A factor from what rounds say of it, as far from 1 as they agree on. */
static double agreed(const struct samples *rounds)
{
    double excess = samples_mean(rounds) - 1, variance = 0;
    for (int r = 0; r < rounds->count; r++)
        variance += pow(rounds->values[r] - 1 - excess, 2);
    if (excess <= 0)
        return 1;
    variance /= fmax(1, rounds->count - 1) * rounds->count; /* of the mean */
    return 1 + excess * fmax(0, 1 - variance / (excess * excess));
}

void profile_stages_finish(struct profiling *p, struct profile_stages *stages)
{
    struct sim_profile *profile = p->profile;
    for (int c = 0; c < SIM_CLASS_COUNT; c++)
        profile->in_flight[c] = agreed(&stages->in_flight[c]);
    profile_line(stages->parameters, stages->updates_s, stages->update_count, INFINITY, &profile->update_s,
                 &profile->update_parameter_s);
    profile_messages_finish(p, stages->messages);
    profile->noise_forward = samples_median(&stages->forward);
    profile->noise_backward = samples_median(&stages->backward);
    profile->noise_update = samples_median(&stages->update);
    sim_overlaps_fit(stages->overlaps, profile->slowdown);
}
