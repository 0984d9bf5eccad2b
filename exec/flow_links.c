/*
 * Messages between devices with queues: copies out of the sender, and the event that the receiver's queue waits for.
 */
#include "common/alloc.h"
#include "exec/flow.h"

#include <stdio.h>
#include <stdlib.h>

static sp_status add_bytes(void *self, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    (void)to;
    (void)from;
    (void)err;
    *(size_t *)self += sp_memory_align(bytes);
    return SP_OK;
}

/* Bytes of the largest message of a channel, each part rounded up. */
static sp_status message_bytes(const struct exec_run *run, int channel, size_t *most, struct sp_error *err)
{
    const struct sp_channel *c = &run->plan->channels[channel];
    *most = 0;
    for (int p = 0; p < run->plan->phase_count; p++) {
        struct sp_instr instr = {.kind = SP_INSTR_SEND,
                                 .stage = c->from_stage,
                                 .evaluate = c->evaluate,
                                 .minibatch = run->plan->phases[p].first_minibatch,
                                 .channel = channel,
                                 .phase = p};
        size_t bytes = 0;
        SP_TRY(exec_send(run, &instr, add_bytes, &bytes, err));
        *most = bytes > *most ? bytes : *most;
    }
    return SP_OK;
}

static bool carries(const struct sp_channel *channel)
{
    return channel->payload != SP_PAYLOAD_CREDIT;
}

/* The one end of a link to another process. */
static sp_status create_end(struct exec_run *run, int channel, struct sp_error *err)
{
    const struct sp_channel *c = &run->plan->channels[channel];
    struct exec_flow_link *link = &run->flow->links[channel];
    bool sends = exec_run_has(run, c->from_device);
    link->part_room = run->plan->network->tensor_count + 1;
    link->pieces = sp_calloc((size_t)link->part_room, sizeof *link->pieces);
    link->instrs = sp_calloc((size_t)link->ring, sizeof *link->instrs);
    SP_TRY(run->flow->async->queue_create(run->context, sends ? c->from_device : c->to_device, false,
                                          sends ? &link->out : &link->in, err));
    return sends && carries(c) ? exec_flow_transfers_create(run, channel, err) : SP_OK;
}

/* Queues for the copies of a channel that carries something. */
static sp_status create_copies(struct exec_run *run, int channel, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    const struct sp_channel *c = &run->plan->channels[channel];
    struct exec_flow_link *link = &run->flow->links[channel];
    void *memory;
    if (exec_run_leaves(run, channel))
        return create_end(run, channel, err);
    SP_TRY(message_bytes(run, channel, &link->host_bytes, err));
    if (link->host_bytes == 0)
        return SP_OK;
    SP_TRY(async->queue_create(run->context, c->from_device, false, &link->out, err));
    if (async->reaches(run->context, c->from_device, c->to_device))
        return exec_flow_transfers_create(run, channel, err);
    SP_TRY(async->queue_create(run->context, c->to_device, false, &link->in, err));
    SP_TRY(async->event_create(run->context, c->from_device, false, &link->left, err));
    SP_TRY(async->take_host(run->context, (size_t)link->ring * link->host_bytes, &memory, err));
    link->host = memory;
    link->part_room = run->plan->network->tensor_count + 1;
    link->parts = sp_calloc((size_t)link->part_room, sizeof *link->parts);
    return exec_flow_transfers_create(run, channel, err);
}

/* A message's event is recorded again when its turn comes: by then it has been taken, for no more than `depth` are
 * under way at once. */
static sp_status create_link(struct exec_run *run, int channel, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    const struct sp_channel *c = &run->plan->channels[channel];
    struct exec_flow_link *link = &run->flow->links[channel];
    link->ring = c->depth + 1;
    link->events = sp_calloc((size_t)link->ring, sizeof *link->events);
    link->recorded = sp_calloc((size_t)link->ring, sizeof *link->recorded);
    SP_TRY(create_copies(run, channel, err));
    for (int n = 0; n < link->ring; n++) /* recorded by the queue that a message goes through last */
        SP_TRY(async->event_create(run->context, link->in != NULL ? c->to_device : c->from_device, false,
                                   &link->events[n], err));
    return SP_OK;
}

int exec_flow_trace_lanes(const struct exec_run *run)
{
    int lanes = 0;
    for (int c = 0; c < run->plan->channel_count && run->backend->async != NULL; c++)
        lanes += carries(&run->plan->channels[c]);
    return lanes;
}

/* Each channel that carries something has a lane behind those of the devices. */
static void name_lanes(struct exec_run *run)
{
    int lane = run->plan->device_count;
    for (int c = 0; c < run->plan->channel_count; c++) {
        const struct sp_channel *channel = &run->plan->channels[c];
        if (!carries(channel))
            continue;
        snprintf(run->trace->lanes[lane].name, sizeof run->trace->lanes[lane].name, "copy %d -> %d",
                 channel->from_device, channel->to_device);
        run->flow->links[c].trace_lane = lane++;
    }
}

sp_status exec_flow_links_create(struct exec_run *run, struct sp_error *err)
{
    run->flow->links = sp_calloc((size_t)run->plan->channel_count + 1, sizeof *run->flow->links);
    name_lanes(run);
    for (int c = 0; c < run->plan->channel_count; c++)
        if (exec_run_has(run, run->plan->channels[c].from_device) || exec_run_leaves(run, c))
            SP_TRY(create_link(run, c, err));
    return SP_OK;
}

void exec_flow_links_destroy(struct exec_run *run)
{
    const struct exec_async *async = run->flow->async;
    for (int c = 0; run->flow->links != NULL && c < run->plan->channel_count; c++) {
        struct exec_flow_link *link = &run->flow->links[c];
        async->queue_destroy(&link->out);
        async->queue_destroy(&link->in);
        if (link->peer != NULL)
            async->peers->close(&link->peer);
        async->event_destroy(&link->left);
        exec_flow_transfers_destroy(run, link);
        for (int n = 0; link->events != NULL && n < link->ring; n++)
            async->event_destroy(&link->events[n]);
        if (link->host != NULL)
            async->release_host(run->context, link->host);
        free(link->events);
        free(link->recorded);
        free(link->parts);
        free(link->pieces);
        free(link->instrs);
    }
    free(run->flow->links);
}

struct sending {
    const struct exec_run *run;
    struct exec_flow_link *link;
    char *host;
    size_t used;
    struct exec_flow_transfer *transfer; /* NULL: not timed */
};

static sp_status mark(const struct sending *sending, void *queue, void *event, struct sp_error *err)
{
    return event == NULL ? SP_OK : sending->run->flow->async->record(queue, event, err);
}

static sp_status move_out(void *self, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    struct sending *sending = self;
    struct exec_flow_link *link = sending->link;
    const struct exec_async *async = sending->run->flow->async;
    if (link->peer != NULL)
        link->pieces[link->part_count++] = (struct exec_part){(void *)from, bytes};
    if (link->peer != NULL)
        return SP_OK;
    if (link->in == NULL)
        return async->copy(link->out, to, from, bytes, err);
    SP_ASSERT(link->part_count < link->part_room, "a message of %d parts", link->part_count + 1);
    link->parts[link->part_count++] = (struct exec_flow_part){to, sending->used, bytes};
    SP_TRY(async->copy(link->out, sending->host + sending->used, from, bytes, err));
    sending->used += sp_memory_align(bytes);
    return SP_OK;
}

/* From host memory to the receiver. */
static sp_status move_in(const struct sending *sending, struct sp_error *err)
{
    const struct exec_flow_link *link = sending->link;
    const struct exec_async *async = sending->run->flow->async;
    SP_TRY(async->record(link->out, link->left, err));
    SP_TRY(async->wait(link->in, link->left, err));
    SP_TRY(mark(sending, link->in, sending->transfer != NULL ? sending->transfer->entered : NULL, err));
    for (int p = 0; p < link->part_count; p++)
        SP_TRY(
            async->copy(link->in, link->parts[p].to, sending->host + link->parts[p].offset, link->parts[p].bytes, err));
    return mark(sending, link->in, sending->transfer != NULL ? sending->transfer->arrived : NULL, err);
}

/* The copies of message n, behind what the device was given last. */
static sp_status send_copies(struct exec_run *run, int device, const struct sp_instr *instr, int n,
                             struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_link *link = &run->flow->links[instr->channel];
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    struct sending sending = {run, link, link->host == NULL ? NULL : link->host + (size_t)n * link->host_bytes, 0,
                              NULL};
    link->part_count = 0;
    SP_TRY(exec_flow_transfers_tell(run, instr->channel, err));
    sending.transfer = exec_flow_transfer_next(link, lane, instr);
    if (lane->given > 0)
        SP_TRY(async->wait(link->out, lane->entries[(lane->given - 1) % EXEC_FLOW_WINDOW].end, err));
    SP_TRY(mark(&sending, link->out, sending.transfer != NULL ? sending.transfer->begun : NULL, err));
    SP_TRY(exec_send(run, instr, move_out, &sending, err));
    if (link->peer != NULL)
        SP_TRY(async->peers->move(link->peer, link->out, link->pieces, link->part_count, err));
    SP_TRY(mark(&sending, link->out, sending.transfer != NULL ? sending.transfer->left : NULL, err));
    return link->in != NULL ? move_in(&sending, err) : SP_OK;
}

sp_status exec_flow_send(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    struct exec_flow_link *link = &run->flow->links[instr->channel];
    struct exec_flow_lane *lane = &run->flow->lanes[device];
    int n = (int)(link->sent % link->ring);
    SP_ASSERT(link->peer != NULL || link->sent - __atomic_load_n(&link->received, __ATOMIC_ACQUIRE) < link->ring,
              "channel %d has %lld messages under way", instr->channel, link->sent - link->received);
    if (link->peer != NULL)
        link->instrs[n] = *instr;
    if (!run->replaying && link->out != NULL)
        SP_TRY(send_copies(run, device, instr, n, err));
    link->recorded[n] = !run->replaying && (lane->given > 0 || link->out != NULL);
    link->sent++;
    if (!link->recorded[n])
        return SP_OK;
    void *last = link->in != NULL ? link->in : link->out != NULL ? link->out : lane->queue;
    return run->flow->async->record(last, link->events[n], err);
}

sp_status exec_flow_receive(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    if (run->flow == NULL)
        return SP_OK;
    struct exec_flow_link *link = &run->flow->links[instr->channel];
    const struct sp_stage *stage = &run->plan->stages[instr->stage];
    int n = (int)(link->received % link->ring);
    if (link->peer != NULL && link->posted == link->received)
        SP_TRY(exec_flow_post(run, instr, err));
    if (link->recorded[n]) {
        void *queue = run->flow->queues[2 * instr->stage + (stage->forward_device != device)];
        SP_TRY(exec_flow_turn_to(run, device, queue, err));
        SP_TRY(run->flow->async->wait(queue, link->events[n], err));
        SP_TRY(exec_flow_waited(run, device, EXEC_FLOW_WAITED, instr, err));
    }
    __atomic_store_n(&link->received, link->received + 1, __ATOMIC_RELEASE);
    return SP_OK;
}

/* An update writes over the weights that were sent before it, or over older ones. */
sp_status exec_flow_weights_left(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err)
{
    int i = instr->stage, channel = sp_plan_channel(run->plan, SP_PAYLOAD_WEIGHTS, SP_PAYLOAD_CREDIT, false, i, i);
    struct exec_flow_link *link = channel < 0 ? NULL : &run->flow->links[channel];
    if (link == NULL || link->sent == 0 || !link->recorded[(link->sent - 1) % link->ring])
        return SP_OK;
    return run->flow->async->wait(run->flow->lanes[device].queue, link->events[(link->sent - 1) % link->ring], err);
}

sp_status exec_flow_links_drain(struct exec_run *run, int device, struct sp_error *err)
{
    for (int c = 0; c < run->plan->channel_count; c++) {
        struct exec_flow_link *link = &run->flow->links[c];
        if (run->plan->channels[c].from_device == device && link->peer == NULL && link->sent > 0 &&
            link->recorded[(link->sent - 1) % link->ring])
            SP_TRY(run->flow->async->finish(link->events[(link->sent - 1) % link->ring], err));
        if (run->plan->channels[c].from_device == device)
            SP_TRY(exec_flow_transfers_tell(run, c, err));
    }
    return SP_OK;
}
