#include "exec/flow.h"
#include "common/alloc.h"
#include "exec/body.h"

#include <math.h>
#include <stdlib.h>

/* A wait shorter than this is what recording it costs. */
static const double least_wait_s = 5e-6;

/* A float of so many milliseconds still tells a quarter of a microsecond. */
static const double longest_count_s = 4;

/* Readings of a device's clock before a run. */
static const int first_readings = 8;

static sp_status create_queues(struct exec_run *run, struct sp_error *err)
{
    struct exec_flow *flow = run->flow;
    flow->queues = sp_calloc(2 * (size_t)run->plan->stage_count, sizeof *flow->queues);
    for (int i = 0; i < run->plan->stage_count; i++) {
        const struct sp_stage *stage = &run->plan->stages[i];
        if (!exec_run_has_stage(run, i))
            continue;
        SP_TRY(flow->async->queue_create(run->context, stage->forward_device, true, &flow->queues[2 * i], err));
        if (stage->backward_device == stage->forward_device)
            flow->queues[2 * i + 1] = flow->queues[2 * i];
        else
            SP_TRY(
                flow->async->queue_create(run->context, stage->backward_device, true, &flow->queues[2 * i + 1], err));
    }
    return SP_OK;
}

static sp_status create_lane(struct exec_run *run, int device, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    for (int e = 0; e < EXEC_FLOW_WINDOW; e++) {
        SP_TRY(async->event_create(run->context, device, true, &lane->entries[e].start, err));
        SP_TRY(async->event_create(run->context, device, true, &lane->entries[e].end, err));
    }
    SP_TRY(async->event_create(run->context, device, true, &lane->anchor, err));
    SP_TRY(async->event_create(run->context, device, true, &lane->next_anchor, err));
    lane->mark_room = run->layers != NULL ? 2 * run->plan->network->layer_count + 2 : 0;
    lane->marks = sp_calloc((size_t)lane->mark_room + 1, sizeof *lane->marks);
    for (int m = 0; m < lane->mark_room; m++)
        SP_TRY(async->event_create(run->context, device, true, &lane->marks[m].event, err));
    void *memory;
    SP_TRY(async->take_host(run->context, EXEC_FLOW_WINDOW * sizeof *lane->scores, &memory, err));
    lane->scores = memory;
    return SP_OK;
}

sp_status exec_flow_open(struct exec_run *run, struct sp_error *err)
{
    if (run->backend->async == NULL)
        return SP_OK;
    run->flow = sp_calloc(1, sizeof *run->flow);
    atomic_init(&run->flow->broken.device, -1);
    pthread_mutex_init(&run->flow->abandoning, NULL);
    run->flow->async = run->backend->async;
    run->flow->lanes = sp_calloc((size_t)run->plan->device_count, sizeof *run->flow->lanes);
    return create_queues(run, err);
}

sp_status exec_flow_create(struct exec_run *run, struct sp_error *err)
{
    if (run->flow == NULL)
        return SP_OK;
    for (int d = run->first_device; d < run->device_end; d++)
        SP_TRY(create_lane(run, d, err));
    SP_TRY(exec_flow_links_create(run, err));
    SP_TRY(exec_bodies_create(run, err));
    SP_TRY(exec_flow_feeds_create(run, err));
    return exec_flow_peers_open(run, err);
}

static void destroy_lane(struct exec_run *run, struct exec_flow_lane *lane)
{
    const struct exec_async *async = run->flow->async;
    for (int e = 0; e < EXEC_FLOW_WINDOW; e++) {
        async->event_destroy(&lane->entries[e].start);
        async->event_destroy(&lane->entries[e].end);
    }
    async->event_destroy(&lane->anchor);
    async->event_destroy(&lane->next_anchor);
    for (int m = 0; lane->marks != NULL && m < lane->mark_room; m++)
        async->event_destroy(&lane->marks[m].event);
    free(lane->marks);
    if (lane->scores != NULL)
        async->release_host(run->context, lane->scores);
}

void exec_flow_destroy(struct exec_run *run)
{
    struct exec_flow *flow = run->flow;
    if (flow == NULL)
        return;
    if (!flow->over) /* closing a connection waits for the other side, which may wait for something else */
        exec_flow_abandon(run);
    for (int i = 0; flow->queues != NULL && i < run->plan->stage_count; i++) {
        if (flow->queues[2 * i + 1] != flow->queues[2 * i])
            flow->async->queue_destroy(&flow->queues[2 * i + 1]);
        flow->async->queue_destroy(&flow->queues[2 * i]);
    }
    exec_bodies_destroy(run); /* their replays are done with the queues */
    exec_flow_links_destroy(run);
    exec_flow_feeds_destroy(run);
    for (int d = 0; d < run->plan->device_count; d++)
        destroy_lane(run, &flow->lanes[d]);
    free(flow->queues);
    free(flow->lanes);
    sp_error_fini(&flow->broken.err);
    pthread_mutex_destroy(&flow->abandoning);
    free(flow);
    run->flow = NULL;
}

/* Any compute queue of a device. */
static void *some_queue(const struct exec_run *run, int device)
{
    for (int i = 0; i < run->plan->stage_count; i++)
        for (int backward = 0; backward < 2; backward++)
            if ((backward ? run->plan->stages[i].backward_device : run->plan->stages[i].forward_device) == device)
                return run->flow->queues[2 * i + backward];
    return NULL;
}

/*
 * The device stands still and all was told: from now on its events count from here. The anchor has come between two
 * readings of the host's clock. Its time is what the device's own clock says, or the nearest between the readings, and
 * the first one's where nothing was before it: so it does not matter how late the host woke up, and no span begins
 * before the one told last has ended.
 */
static sp_status anchor(struct exec_run *run, int device, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    void *now = lane->next_anchor;
    double earliest_s = exec_run_now_s(run), at_s = earliest_s;
    SP_TRY(async->record(some_queue(run, device), now, err));
    SP_TRY(async->finish(now, err));
    double latest_s = exec_run_now_s(run), gone_s;
    if (lane->since != NULL) {
        SP_TRY(async->elapsed_s(lane->since, now, &gone_s, err));
        at_s = fmax(fmax(earliest_s, fmin(lane->since_s + gone_s, latest_s)), lane->since_s);
    }
    lane->since_s = lane->anchor_s = at_s;
    lane->next_anchor = lane->anchor;
    lane->since = lane->anchor = now;
    return SP_OK;
}

/* The best of some readings: each takes back some of what the ones before were early. */
sp_status exec_flow_start(struct exec_run *run, struct sp_error *err)
{
    for (int d = run->first_device; run->flow != NULL && d < run->device_end; d++) {
        run->flow->lanes[d].since = NULL;
        for (int reading = 0; reading < first_readings; reading++)
            SP_TRY(anchor(run, d, err));
    }
    return SP_OK;
}

void *exec_flow_queue(const struct exec_run *run, const struct sp_instr *instr, bool backward)
{
    return run->flow == NULL ? NULL : run->flow->queues[2 * instr->stage + backward];
}

static enum sp_span_kind span_kind(const struct sp_instr *instr)
{
    if (instr->kind == SP_INSTR_FORWARD)
        return instr->evaluate ? SP_SPAN_EVALUATE : SP_SPAN_FORWARD;
    return instr->kind == SP_INSTR_BACKWARD ? SP_SPAN_BACKWARD : SP_SPAN_UPDATE;
}

static void add_span(struct exec_run *run, int device, const struct exec_flow_entry *entry, double start_s,
                     double end_s)
{
    bool waited = entry->kind == EXEC_FLOW_WAITED;
    if (entry->kind == EXEC_FLOW_LOADED)
        run->trace->lanes[device].total.data_wait_s += end_s - start_s;
    if (entry->kind == EXEC_FLOW_LOADED || (waited && end_s - start_s < least_wait_s))
        return;
    struct sp_span span = {.start_s = start_s,
                           .end_s = end_s,
                           .minibatch = entry->instr.minibatch,
                           .version = entry->instr.version,
                           .stage = entry->instr.stage,
                           .microbatch = entry->instr.microbatch,
                           .kind = waited ? SP_SPAN_WAIT : span_kind(&entry->instr)};
    if (waited)
        span.payload = run->plan->channels[entry->instr.channel].payload;
    sp_trace_add(run->trace, device, &span);
}

/* The layers of an entry that is done and began at start_s after the lane's `since`. */
static sp_status tell_layers(struct exec_run *run, int device, const struct exec_flow_entry *entry, double start_s,
                             struct sp_error *err)
{
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    for (int n = 0; n < entry->marks; n++) {
        const struct exec_flow_mark *mark = &lane->marks[lane->marks_told++ % lane->mark_room];
        double end_s;
        SP_TRY(run->flow->async->elapsed_s(lane->since, mark->event, &end_s, err));
        sp_trace_add(run->layers, device,
                     &(struct sp_span){.start_s = lane->since_s + start_s,
                                       .end_s = lane->since_s + end_s,
                                       .minibatch = entry->instr.minibatch,
                                       .version = entry->instr.version,
                                       .stage = mark->layer,
                                       .microbatch = entry->instr.microbatch,
                                       .kind = span_kind(&entry->instr)});
        start_s = end_s;
    }
    return SP_OK;
}

/* The end of an entry that was told becomes the anchor after a while, if no transfer counts from the one before. Who
 * waits for the entry from now on waits for what is over. */
static void move_anchor(struct exec_run *run, int device, struct exec_flow_entry *entry)
{
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    void *spare = lane->next_anchor;
    if (lane->since_s - lane->anchor_s < longest_count_s || exec_flow_transfers_use(run, device, spare))
        return;
    lane->next_anchor = lane->anchor;
    lane->anchor = entry->end;
    lane->anchor_s = lane->since_s;
    entry->end = spare;
}

/* The oldest entry is done: its span, and its score where it has one. */
static sp_status tell_oldest(struct exec_run *run, int device, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    struct exec_flow_entry *entry = &lane->entries[lane->told % EXEC_FLOW_WINDOW];
    double start_s = 0, end_s;
    SP_TRY(exec_flow_sound(run, device, err));
    SP_TRY(async->elapsed_s(lane->since, entry->end, &end_s, err));
    if (entry->kind == EXEC_FLOW_STEP)
        SP_TRY(async->elapsed_s(lane->since, entry->start, &start_s, err));
    SP_TRY(tell_layers(run, device, entry, start_s, err));
    add_span(run, device, entry, lane->since_s + start_s, lane->since_s + end_s);
    if (entry->scores)
        exec_progress_score(run, &entry->instr, lane->scores[lane->told % EXEC_FLOW_WINDOW], lane->since_s + end_s);
    lane->since = entry->end;
    lane->since_s += end_s;
    lane->told++;
    move_anchor(run, device, entry);
    return SP_OK;
}

static sp_status tell_all(struct exec_run *run, int device, bool wait, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    while (lane->told < lane->given) {
        void *end = lane->entries[lane->told % EXEC_FLOW_WINDOW].end;
        bool done = true;
        SP_TRY(wait ? async->finish(end, err) : async->is_done(end, &done, err));
        if (!done)
            return SP_OK;
        SP_TRY(tell_oldest(run, device, err));
    }
    return SP_OK;
}

/* The next entry, when there is room for one. The last that was read keeps its event: time counts from it. */
static sp_status next_entry(struct exec_run *run, int device, struct exec_flow_entry **out, struct sp_error *err)
{
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    SP_TRY(tell_all(run, device, false, err));
    bool is_full = lane->mark_room > 0 && lane->marked - lane->marks_told > lane->mark_room / 2;
    while (lane->given - lane->told >= (is_full ? 1 : EXEC_FLOW_WINDOW - 1)) {
        SP_TRY(run->flow->async->finish(lane->entries[lane->told % EXEC_FLOW_WINDOW].end, err));
        SP_TRY(tell_oldest(run, device, err));
    }
    *out = &lane->entries[lane->given % EXEC_FLOW_WINDOW];
    return SP_OK;
}

static struct exec_flow_entry *last_entry(struct exec_flow_lane *lane)
{
    return &lane->entries[(lane->given + EXEC_FLOW_WINDOW - 1) % EXEC_FLOW_WINDOW];
}

/* What is enqueued in `queue` from now on comes behind all that the device was given so far. */
sp_status exec_flow_turn_to(struct exec_run *run, int device, void *queue, struct sp_error *err)
{
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    if (lane->given > 0 && lane->queue != queue)
        SP_TRY(run->flow->async->wait(queue, last_entry(lane)->end, err));
    lane->queue = queue;
    return SP_OK;
}

sp_status exec_flow_waited(struct exec_run *run, int device, enum exec_flow_kind kind, const struct sp_instr *instr,
                           struct sp_error *err)
{
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    struct exec_flow_entry *entry;
    SP_TRY(next_entry(run, device, &entry, err));
    entry->kind = kind;
    entry->instr = *instr;
    entry->scores = false;
    entry->marks = 0;
    SP_TRY(run->flow->async->record(lane->queue, entry->end, err));
    lane->given++;
    return SP_OK;
}

sp_status exec_flow_begin(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    struct exec_flow_entry *entry;
    if (run->flow == NULL)
        return SP_OK;
    SP_TRY(next_entry(run, device, &entry, err));
    SP_TRY(exec_flow_turn_to(run, device, exec_flow_queue(run, instr, instr->kind != SP_INSTR_FORWARD), err));
    if (instr->kind == SP_INSTR_UPDATE)
        SP_TRY(exec_flow_weights_left(run, device, instr, err));
    entry->kind = EXEC_FLOW_STEP;
    entry->marks = 0;
    entry->instr = *instr;
    return run->flow->async->record(run->flow->lanes[device].queue, entry->start, err);
}

sp_status exec_flow_layer(struct exec_run *run, int device, int layer, struct sp_error *err)
{
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    struct exec_flow_mark *mark = &lane->marks[lane->marked++ % lane->mark_room];
    mark->layer = layer;
    lane->entries[lane->given % EXEC_FLOW_WINDOW].marks++;
    return run->flow->async->record(lane->queue, mark->event, err);
}

sp_status exec_flow_end(struct exec_run *run, int device, const struct exec_score *score, struct sp_error *err)
{
    if (run->flow == NULL)
        return SP_OK;
    const struct exec_async *async = run->flow->async;
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    struct exec_flow_entry *entry = &lane->entries[lane->given % EXEC_FLOW_WINDOW];
    entry->scores = score != NULL;
    if (entry->scores)
        SP_TRY(async->copy(lane->queue, &lane->scores[lane->given % EXEC_FLOW_WINDOW], score, sizeof *score, err));
    if (entry->instr.kind == SP_INSTR_FORWARD)
        SP_TRY(exec_flow_taken(run, &entry->instr, err));
    SP_TRY(async->record(lane->queue, entry->end, err));
    lane->given++;
    return SP_OK;
}

static sp_status drain(struct exec_run *run, int device, struct sp_error *err)
{
    SP_TRY(tell_all(run, device, true, err));
    SP_TRY(exec_flow_links_drain(run, device, err));
    SP_TRY(exec_flow_feeds_drain(run, device, err));
    return anchor(run, device, err);
}

sp_status exec_flow_drain(struct exec_run *run, int device, struct sp_error *err)
{
    if (run->flow == NULL || run->replaying)
        return SP_OK;
    sp_status status = drain(run, device, err);
    if (status == SP_E_BACKEND)
        exec_flow_blame(run, device, NULL, err);
    return status;
}

void exec_flow_blame(const struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    char first[SP_INSTR_TEXT], last[SP_INSTR_TEXT];
    if (run->flow == NULL)
        return;
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    const struct sp_instr *oldest = &lane->entries[lane->told % EXEC_FLOW_WINDOW].instr;
    if (instr == NULL)
        instr = &last_entry(lane)->instr;
    if (lane->told == lane->given)
        oldest = instr;
    sp_instr_format(run->plan, oldest, false, first);
    sp_instr_format(run->plan, instr, false, last);
    if (oldest == instr)
        sp_error_context(err, "while doing %s of stage %d", first, oldest->stage);
    else
        sp_error_context(err, "while doing %s of stage %d, or what was enqueued behind it, up to %s of stage %d", first,
                         oldest->stage, last, instr->stage);
}
