/*
 * What comes from the loader: copied to the device ahead of time into one of two staging entries, and from there to
 * where the layers read it when their turn comes.
 */
#include "common/alloc.h"
#include "exec/flow.h"

#include <stdlib.h>

_Static_assert(sizeof(struct exec_score) == SP_RESULT_BYTES, "the plan has room for a score");

static sp_status create_feed(struct exec_run *run, int i, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_feed *feed = &run->flow->feeds[i];
    int device = run->plan->stages[i].forward_device;
    SP_TRY(async->queue_create(run->context, device, false, &feed->queue, err));
    for (int e = 0; e < SP_STAGING; e++) {
        SP_TRY(async->event_create(run->context, device, false, &feed->full[e], err));
        SP_TRY(async->event_create(run->context, device, false, &feed->empty[e], err));
    }
    return SP_OK;
}

sp_status exec_flow_feeds_create(struct exec_run *run, struct sp_error *err)
{
    run->flow->feeds = sp_calloc((size_t)run->plan->stage_count, sizeof *run->flow->feeds);
    for (int i = 0; i < run->plan->stage_count; i++)
        if (exec_run_has_stage(run, i) && run->memory->staging[i].bytes > 0)
            SP_TRY(create_feed(run, i, err));
    return SP_OK;
}

void exec_flow_feeds_destroy(struct exec_run *run)
{
    const struct exec_async *async = run->flow->async;
    for (int i = 0; run->flow->feeds != NULL && i < run->plan->stage_count; i++) {
        struct exec_flow_feed *feed = &run->flow->feeds[i];
        async->queue_destroy(&feed->queue);
        for (int e = 0; e < SP_STAGING; e++) {
            async->event_destroy(&feed->full[e]);
            async->event_destroy(&feed->empty[e]);
        }
    }
    free(run->flow->feeds);
}

/* Gives back the batch of an entry if it has been copied, or as soon as it has. */
static sp_status give_back(struct exec_run *run, struct exec_flow_feed *feed, int e, bool wait, struct sp_error *err)
{
    struct exec_flow_held *held = &feed->held[e];
    bool done = true;
    if (held->loader == NULL)
        return SP_OK;
    SP_TRY(wait ? run->flow->async->finish(feed->full[e], err) : run->flow->async->is_done(feed->full[e], &done, err));
    for (int t = 0; done && t < held->times; t++)
        exec_loader_release(held->loader, held->number);
    if (done)
        held->loader = NULL;
    return SP_OK;
}

sp_status exec_flow_make_room(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    if (run->flow == NULL)
        return SP_OK;
    struct exec_flow_feed *feed = &run->flow->feeds[instr->stage];
    int next = (int)(feed->turn % SP_STAGING);
    for (int e = 0; e < SP_STAGING; e++)
        SP_TRY(give_back(run, feed, e, e == next, err));
    return SP_OK;
}

/* The entry that was loaded last, and the one to be loaded next. */
static char *staging_at(const struct exec_run *run, int stage, int64_t turn)
{
    char *boundary = exec_run_part(run, stage, SP_MEMORY_BOUNDARY, false);
    return boundary + run->memory->staging_base[stage] +
           (size_t)(turn % SP_STAGING) * run->memory->staging[stage].bytes;
}

static size_t pixel_bytes(const struct exec_run *run, const struct sp_instr *instr)
{
    size_t batch = (size_t)sp_plan_microbatch_size(run->plan, instr->phase);
    return sizeof(float) * (size_t)sp_shape_elements(run->data->shape) * batch;
}

static size_t label_bytes(const struct exec_run *run, const struct sp_instr *instr)
{
    return sizeof(int32_t) * (size_t)sp_plan_microbatch_size(run->plan, instr->phase);
}

static bool takes_pixels(const struct exec_run *run, int stage)
{
    return run->plan->stages[stage].first_layer == 0;
}

static bool takes_labels(const struct exec_run *run, int stage)
{
    return run->plan->stages[stage].layer_end == run->plan->network->layer_count;
}

sp_status exec_flow_load(struct exec_run *run, int device, const struct sp_instr *instr, const struct exec_batch *batch,
                         struct sp_error *err)
{
    if (run->flow == NULL)
        return SP_OK;
    const struct exec_async *async = run->flow->async;
    struct exec_flow_feed *feed = &run->flow->feeds[instr->stage];
    const struct sp_staging *staging = &run->memory->staging[instr->stage];
    char *entry = staging_at(run, instr->stage, feed->turn);
    int e = (int)(feed->turn % SP_STAGING);
    if (feed->turn >= SP_STAGING)
        SP_TRY(async->wait(feed->queue, feed->empty[e], err));
    if (takes_pixels(run, instr->stage))
        SP_TRY(async->copy(feed->queue, entry + staging->pixels, batch->pixels, pixel_bytes(run, instr), err));
    if (takes_labels(run, instr->stage))
        SP_TRY(async->copy(feed->queue, entry + staging->labels, batch->labels, label_bytes(run, instr), err));
    SP_TRY(async->record(feed->queue, feed->full[e], err));
    void *queue = exec_flow_queue(run, instr, false);
    SP_TRY(exec_flow_turn_to(run, device, queue, err));
    SP_TRY(async->wait(queue, feed->full[e], err));
    SP_TRY(exec_flow_waited(run, device, EXEC_FLOW_LOADED, instr, err));
    feed->turn++;
    return SP_OK;
}

sp_status exec_flow_take(struct exec_run *run, const struct sp_instr *instr, void *pixels, int32_t *labels,
                         const int32_t **labels_at, struct exec_score **score_at, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    const struct exec_flow_feed *feed = &run->flow->feeds[instr->stage];
    const struct sp_staging *staging = &run->memory->staging[instr->stage];
    char *entry = staging_at(run, instr->stage, feed->turn - 1);
    void *queue = exec_flow_queue(run, instr, false);
    if (pixels != NULL)
        SP_TRY(async->copy(queue, pixels, entry + staging->pixels, pixel_bytes(run, instr), err));
    if (labels != NULL)
        SP_TRY(async->copy(queue, labels, entry + staging->labels, label_bytes(run, instr), err));
    *labels_at = labels != NULL ? labels : (const int32_t *)(void *)(entry + staging->labels);
    *score_at = (struct exec_score *)(void *)(entry + staging->result);
    return SP_OK;
}

/* Behind all that reads the entry, and the score. */
sp_status exec_flow_taken(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    const struct exec_flow_feed *feed = &run->flow->feeds[instr->stage];
    if (feed->queue == NULL)
        return SP_OK;
    return run->flow->async->record(exec_flow_queue(run, instr, false), feed->empty[(feed->turn - 1) % SP_STAGING],
                                    err);
}

void exec_flow_release(struct exec_run *run, const struct sp_instr *instr, struct exec_loader *loader, int64_t number,
                       int times)
{
    struct exec_flow_feed *feed = &run->flow->feeds[instr->stage];
    feed->held[(feed->turn - 1) % SP_STAGING] = (struct exec_flow_held){loader, number, times};
}

sp_status exec_flow_feeds_drain(struct exec_run *run, int device, struct sp_error *err)
{
    for (int i = 0; i < run->plan->stage_count; i++)
        for (int e = 0; run->plan->stages[i].forward_device == device && e < SP_STAGING; e++)
            SP_TRY(give_back(run, &run->flow->feeds[i], e, true, err));
    return SP_OK;
}
