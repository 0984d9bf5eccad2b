/*
 * What messages between devices cost.
 *
 * Posting and waking are read off the traces of two stages on two devices. What a stage loses after it slept (its
 * core's caches are cold) and for tensors that another core made is small beside what the machine's speed changes by
 * from one trial to the next. So it comes from trials that follow each other at once, of the same two stages on one
 * device and on two, one minibatch at a time, at small sizes, where it is most; and from the quicker of their repeats,
 * which met the machine in the same state.
 */
#include "common/alloc.h"
#include "common/program/profile.h"
#include "exec/transport.h"

#include <math.h>
#include <stdlib.h>

enum { CUTS = 2, SIZES = 2, PASSES = 4 }; /* passes: F and B of two stages */

/* Of the repeats of a pass: the quicker ones, but not the quickest. */
static const double QUICK = 0.25;

/* A core's own caches hold no more; what takes longer to fill them than that is the machine. */
static const double CACHE_BYTES = 1 << 20;

/* The same stages at one size. */
struct pair {
    int cut, batch;
    double bytes;                     /* of a message */
    struct samples passes[2][PASSES]; /* [devices - 1] */
};

struct profile_messages {
    struct samples asleep, awake, posts;
    struct pair pairs[CUTS * SIZES];
    int pair_count;
};

struct profile_messages *profile_messages_create(void)
{
    return sp_calloc(1, sizeof(struct profile_messages));
}

void profile_messages_destroy(struct profile_messages **messages)
{
    struct profile_messages *m = *messages;
    if (m == NULL)
        return;
    samples_fini(&m->asleep);
    samples_fini(&m->awake);
    samples_fini(&m->posts);
    for (int k = 0; k < m->pair_count; k++)
        for (int s = 0; s < 2 * PASSES; s++)
            samples_fini(&m->pairs[k].passes[s / PASSES][s % PASSES]);
    free(m);
    *messages = NULL;
}

static bool is_pass(const struct sp_span *span)
{
    return span->kind == SP_SPAN_FORWARD || span->kind == SP_SPAN_BACKWARD;
}

/* When the pass that a wait is for was over, F of the first stage or B of the second; -1: not kept. */
static double sent_s(const struct sp_lane *sender, const struct sp_span *wait)
{
    enum sp_span_kind kind = wait->payload == SP_PAYLOAD_ACTIVATION ? SP_SPAN_FORWARD : SP_SPAN_BACKWARD;
    for (int64_t s = 0; s < sender->count; s++)
        if (sender->spans[s].kind == kind && sender->spans[s].minibatch == wait->minibatch)
            return sender->spans[s].end_s;
    return -1;
}

void profile_messages_take(struct profile_messages *messages, const struct sp_trace *trace, int turn, int warm)
{
    for (int d = 0; d < 2; d++) {
        const struct sp_lane *lane = &trace->lanes[d];
        for (int64_t s = 0; s < lane->count; s++) {
            const struct sp_span *span = &lane->spans[s], *next = s + 1 < lane->count ? span + 1 : NULL;
            if (span->minibatch % turn < warm)
                continue;
            if (span->kind == SP_SPAN_WAIT && span->payload <= SP_PAYLOAD_GRADIENT) {
                double at_s = sent_s(&trace->lanes[1 - d], span);
                bool slept = at_s - span->start_s > exec_transport_threads.patience_s;
                if (at_s > span->start_s)
                    samples_add(slept ? &messages->asleep : &messages->awake, span->end_s - at_s);
            }
            bool posts = span->kind == (d == 0 ? SP_SPAN_FORWARD : SP_SPAN_BACKWARD);
            if (posts && next != NULL && !(next->kind == SP_SPAN_FORWARD && next->stage == 0)) /* waits for data */
                samples_add(&messages->posts, next->start_s - span->end_s);
        }
    }
}

static struct pair *pair_of(struct profile_messages *messages, int cut, int batch)
{
    for (int k = 0; k < messages->pair_count; k++)
        if (messages->pairs[k].cut == cut && messages->pairs[k].batch == batch)
            return &messages->pairs[k];
    if (messages->pair_count == CUTS * SIZES)
        return NULL;
    struct pair *pair = &messages->pairs[messages->pair_count++];
    pair->cut = cut;
    pair->batch = batch;
    return pair;
}

static sp_status measure(struct profiling *p, struct profile_messages *messages, int cut,
                         const struct size_samples *size, int devices, struct pair *pair, struct sp_error *err)
{
    struct profile_trial trial = {.what = devices == 1 ? "one device" : "messages",
                                  .batch = size->batch,
                                  .minibatches = profile_minibatches(samples_mean(&size->step.rounds)),
                                  .warm = PROFILE_WARM,
                                  .cuts = &cut,
                                  .cut_count = 1,
                                  .one_device = devices == 1};
    struct program_result result = {0};
    SP_TRY(profile_run(p, &trial, &result, err));
    for (int d = 0; d < devices; d++)
        for (int64_t s = 0; s < result.trace->lanes[d].count; s++) {
            const struct sp_span *span = &result.trace->lanes[d].spans[s];
            if (is_pass(span) && span->minibatch >= trial.warm)
                samples_add(&pair->passes[devices - 1][2 * span->stage + (span->kind == SP_SPAN_BACKWARD)],
                            span->end_s - span->start_s);
        }
    if (devices == 2)
        profile_messages_take(messages, result.trace, trial.minibatches + trial.warm, trial.warm);
    program_result_fini(&result);
    return SP_OK;
}

sp_status profile_messages_round(struct profiling *p, struct profile_messages *messages, int cut, double bytes,
                                 struct sp_error *err)
{
    const int which[SIZES] = {p->size_count / 2, p->size_count - 1};
    for (int s = 0; s < SIZES; s++) {
        const struct size_samples *size = &p->sizes[which[s]];
        struct pair *pair = pair_of(messages, cut, size->batch);
        for (int devices = 1; devices <= 2 && pair != NULL; devices++)
            SP_TRY(measure(p, messages, cut, size, devices, pair, err));
        if (pair != NULL)
            pair->bytes = bytes * size->batch;
    }
    return SP_OK;
}

/* Seconds that a minibatch takes longer on two devices, for each of its two messages. */
static double loss_s(const struct pair *pair)
{
    double sum = 0;
    for (int k = 0; k < PASSES; k++)
        sum += samples_quantile(&pair->passes[1][k], QUICK) - samples_quantile(&pair->passes[0][k], QUICK);
    return sum / 2;
}

void profile_messages_finish(struct profiling *p, const struct profile_messages *messages)
{
    struct sim_profile *profile = p->profile;
    double bytes[CUTS * SIZES], losses_s[CUTS * SIZES];
    profile->handover_s = samples_median(&messages->awake);
    if (exec_backend_find(profile->backend)->async != NULL) { /* queues do not sleep */
        profile->handover_s =
            fmax(0, samples_median(messages->asleep.count > 0 ? &messages->asleep : &messages->awake));
        return;
    }
    /* Posting is what wakes; the simulator has taking cost as much. */
    profile->handoff_s = samples_mean(&messages->posts) / 2;
    profile->handover_s = fmax(0, profile->handover_s - 2 * profile->handoff_s);
    profile->patience_s = exec_transport_threads.patience_s;
    profile->wake_s = fmax(0, samples_mean(&messages->asleep) - 2 * profile->handoff_s - profile->handover_s);
    profile->noise_message = samples_deviation(&messages->asleep);
    for (int k = 0; k < messages->pair_count; k++) {
        bytes[k] = messages->pairs[k].bytes;
        losses_s[k] = loss_s(&messages->pairs[k]);
    }
    /* To get a byte from another core's cache takes no longer than to copy it twice. */
    profile_line(bytes, losses_s, messages->pair_count, 4 / profile->bytes_per_s, &profile->restart_s,
                 &profile->received_byte_s);
    profile->restart_s = fmin(profile->restart_s, 2 * CACHE_BYTES / profile->bytes_per_s);
}
