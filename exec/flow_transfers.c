/*
 * Copies of messages as spans: when one began on its sender, and how long it moved. Read when they are over, mostly
 * some messages later; when too many are not, the next is not timed.
 */
#include "common/alloc.h"
#include "exec/flow.h"

#include <stdlib.h>

sp_status exec_flow_transfers_create(struct exec_run *run, int channel, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    const struct sp_channel *c = &run->plan->channels[channel];
    struct exec_flow_link *link = &run->flow->links[channel];
    link->transfers = sp_calloc(EXEC_FLOW_TRANSFERS, sizeof *link->transfers);
    for (int t = 0; t < EXEC_FLOW_TRANSFERS; t++) {
        struct exec_flow_transfer *it = &link->transfers[t];
        SP_TRY(async->event_create(run->context, c->from_device, true, &it->begun, err));
        SP_TRY(async->event_create(run->context, c->from_device, true, &it->left, err));
        if (link->in == NULL)
            continue;
        SP_TRY(async->event_create(run->context, c->to_device, true, &it->entered, err));
        SP_TRY(async->event_create(run->context, c->to_device, true, &it->arrived, err));
    }
    return SP_OK;
}

void exec_flow_transfers_destroy(struct exec_run *run, struct exec_flow_link *link)
{
    const struct exec_async *async = run->flow->async;
    for (int t = 0; link->transfers != NULL && t < EXEC_FLOW_TRANSFERS; t++) {
        async->event_destroy(&link->transfers[t].begun);
        async->event_destroy(&link->transfers[t].left);
        async->event_destroy(&link->transfers[t].entered);
        async->event_destroy(&link->transfers[t].arrived);
    }
    free(link->transfers);
}

static sp_status tell(struct exec_run *run, int channel, const struct exec_flow_transfer *it, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    const struct sp_channel *c = &run->plan->channels[channel];
    double start_s, out_s, in_s = 0;
    SP_TRY(async->elapsed_s(it->anchor, it->begun, &start_s, err));
    SP_TRY(async->elapsed_s(it->begun, it->left, &out_s, err));
    if (it->arrived != NULL)
        SP_TRY(async->elapsed_s(it->entered, it->arrived, &in_s, err));
    start_s += it->anchor_s;
    sp_trace_add(run->trace, run->flow->links[channel].trace_lane,
                 &(struct sp_span){.start_s = start_s,
                                   .end_s = start_s + out_s + in_s,
                                   .minibatch = it->instr.minibatch,
                                   .version = it->instr.version,
                                   .stage = it->instr.stage,
                                   .microbatch = it->instr.microbatch,
                                   .kind = SP_SPAN_TRANSFER,
                                   .payload = c->payload});
    return SP_OK;
}

sp_status exec_flow_transfers_tell(struct exec_run *run, int channel, struct sp_error *err)
{
    struct exec_flow_link *link = &run->flow->links[channel];
    while (link->told < link->timed) {
        const struct exec_flow_transfer *it = &link->transfers[link->told % EXEC_FLOW_TRANSFERS];
        bool done;
        SP_TRY(run->flow->async->is_done(it->arrived != NULL ? it->arrived : it->left, &done, err));
        if (!done)
            return SP_OK;
        SP_TRY(tell(run, channel, it, err));
        link->told++;
    }
    return SP_OK;
}

bool exec_flow_transfers_use(const struct exec_run *run, int device, const void *anchor)
{
    for (int c = 0; c < run->plan->channel_count; c++) {
        const struct exec_flow_link *link = &run->flow->links[c];
        if (run->plan->channels[c].from_device != device) /* another thread's */
            continue;
        for (int64_t t = link->told; t < link->timed; t++)
            if (link->transfers[t % EXEC_FLOW_TRANSFERS].anchor == anchor)
                return true;
    }
    return false;
}

struct exec_flow_transfer *exec_flow_transfer_next(struct exec_flow_link *link, const struct exec_flow_lane *lane,
                                                   const struct sp_instr *instr)
{
    if (link->transfers == NULL || link->timed - link->told >= EXEC_FLOW_TRANSFERS)
        return NULL;
    struct exec_flow_transfer *it = &link->transfers[link->timed++ % EXEC_FLOW_TRANSFERS];
    it->instr = *instr;
    it->anchor = lane->anchor;
    it->anchor_s = lane->anchor_s;
    return it;
}
