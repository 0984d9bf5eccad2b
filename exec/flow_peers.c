/*
 * Links to devices of other processes: a message is in the sender's copy queue behind what made it, and in the
 * receiver's, whose next event says that it has come.
 */
#include "common/alloc.h"
#include "exec/flow.h"

#include <stdlib.h>
#include <time.h>

/* A connection also breaks when the other process has died: the news of that say more, and get so long to come. Then
 * the worker has so long to tell, with what it was doing, until the others are told without. */
static const double news_s = 0.5, telling_s = 2;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool crosses(const struct exec_run *run, int channel, int *from, int *to)
{
    const struct sp_channel *c = &run->plan->channels[channel];
    *from = exec_team_owner(run->team, c->from_device, run->plan->device_count);
    *to = exec_team_owner(run->team, c->to_device, run->plan->device_count);
    return *from != *to;
}

static sp_status open_all(struct exec_run *run, char (*names)[EXEC_PEER_NAME], struct sp_error *err)
{
    const struct exec_peers *peers = run->flow->async->peers;
    int from, to, count = run->plan->channel_count;
    for (int c = 0; c < count && exec_team_rank(run->team) == 0; c++)
        if (crosses(run, c, &from, &to))
            SP_TRY(peers->name(names[c], err));
    SP_TRY(exec_team_share(run->team, names, (size_t)count * sizeof *names, err));
    for (int c = 0; c < count; c++) {
        const struct sp_channel *channel = &run->plan->channels[c];
        bool sends = exec_run_has(run, channel->from_device);
        if (exec_run_leaves(run, c))
            SP_TRY(peers->open(run->context, sends ? channel->from_device : channel->to_device, names[c], sends,
                               &run->flow->links[c].peer, err));
    }
    return SP_OK;
}

sp_status exec_flow_peers_open(struct exec_run *run, struct sp_error *err)
{
    if (run->team == NULL)
        return SP_OK;
    char(*names)[EXEC_PEER_NAME] = sp_calloc((size_t)run->plan->channel_count + 1, sizeof *names);
    sp_status status = open_all(run, names, err);
    free(names);
    return status;
}

static sp_status add_piece(void *self, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    struct exec_flow_link *link = self;
    (void)from;
    (void)err;
    SP_ASSERT(link->part_count < link->part_room, "a message of %d parts", link->part_count + 1);
    link->pieces[link->part_count++] = (struct exec_part){to, bytes};
    return SP_OK;
}

/* The next message of its channel, as its sender or as its receiver says it. One that came before the run was
 * interrupted lies there already. */
sp_status exec_flow_post(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    const struct exec_async *async = run->flow->async;
    struct exec_flow_link *link = &run->flow->links[instr->channel];
    struct sp_instr sent = *instr;
    int n = (int)(link->posted++ % link->ring);
    sent.kind = SP_INSTR_SEND;
    sent.stage = run->plan->channels[instr->channel].from_stage;
    link->part_count = 0;
    link->recorded[n] = !run->replaying;
    if (run->replaying)
        return SP_OK;
    SP_TRY(exec_send(run, &sent, add_piece, link, err));
    SP_TRY(async->peers->move(link->peer, link->in, link->pieces, link->part_count, err));
    return async->record(link->in, link->events[n], err);
}

/* Lets the receiver of a channel receive what has been sent so far. */
static sp_status settle_link(struct exec_run *run, int channel, int from, int to, struct sp_error *err)
{
    struct exec_flow_link *link = &run->flow->links[channel];
    long long sent = link->sent;
    size_t bytes = (size_t)(run->plan->channels[channel].depth + 1) * sizeof *link->instrs;
    SP_TRY(exec_team_pass(run->team, from, to, &sent, sizeof sent, err));
    SP_TRY(exec_team_pass(run->team, from, to, link->instrs, bytes, err));
    while (exec_team_rank(run->team) == to && link->posted < sent)
        SP_TRY(exec_flow_post(run, &link->instrs[link->posted % link->ring], err));
    return SP_OK;
}

sp_status exec_flow_peers_finish(struct exec_run *run, struct sp_error *err)
{
    for (int c = 0; run->team != NULL && c < run->plan->channel_count; c++) {
        struct exec_flow_link *link = &run->flow->links[c];
        long long last = (link->out != NULL ? link->sent : link->posted) - 1;
        if (link->peer == NULL || last < 0 || !link->recorded[last % link->ring])
            continue;
        SP_TRY(run->flow->async->finish(link->events[last % link->ring], err));
        if (link->out != NULL)
            SP_TRY(exec_flow_transfers_tell(run, c, err));
    }
    return exec_flow_sound(run, -1, err);
}

sp_status exec_flow_settle(struct exec_run *run, struct sp_error *err)
{
    int from, to;
    if (run->team == NULL)
        return SP_OK;
    for (int c = 0; c < run->plan->channel_count; c++)
        if (crosses(run, c, &from, &to))
            SP_TRY(settle_link(run, c, from, to, err));
    return exec_flow_peers_finish(run, err);
}

/* Where another thread is about it there is nothing to do. */
void exec_flow_abandon(struct exec_run *run)
{
    struct exec_flow_link *links = run->flow != NULL ? run->flow->links : NULL;
    if (run->team == NULL || links == NULL || pthread_mutex_trylock(&run->flow->abandoning) != 0)
        return;
    void **peers = sp_calloc((size_t)run->plan->channel_count + 1, sizeof *peers);
    int count = 0;
    for (int c = 0; c < run->plan->channel_count; c++)
        if (links[c].peer != NULL)
            peers[count++] = links[c].peer;
    if (count > 0)
        run->flow->async->peers->abandon(peers, count);
    free(peers);
    pthread_mutex_unlock(&run->flow->abandoning);
}

/* ---- connections that fail by themselves ---- */

/* The first of them. */
static bool find_broken(struct exec_run *run, struct sp_error *err, int *device)
{
    for (int c = 0; c < run->plan->channel_count; c++) {
        const struct exec_flow_link *link = &run->flow->links[c];
        const struct sp_channel *channel = &run->plan->channels[c];
        if (link->peer == NULL || run->flow->async->peers->check(link->peer, err) == SP_OK)
            continue;
        sp_error_context(err, "on the connection from device %d to device %d for the %s of stage %d",
                         channel->from_device, channel->to_device, sp_payload_names[channel->payload],
                         channel->from_stage);
        *device = link->out != NULL ? channel->from_device : channel->to_device;
        return true;
    }
    return false;
}

bool exec_flow_watch(struct exec_run *run)
{
    struct exec_flow_break *broken = &run->flow->broken;
    int device;
    double at_s = now_s();
    if (atomic_load(&broken->device) >= 0) {
        if (at_s - broken->since_s > news_s + telling_s)
            exec_team_fail(run->team, broken->err.status, broken->err.text);
        return false;
    }
    sp_error_clear(&broken->err);
    if (!find_broken(run, &broken->err, &device))
        return false;
    if (broken->since_s <= 0)
        broken->since_s = at_s;
    if (at_s - broken->since_s < news_s)
        return false;
    atomic_store(&broken->device, device);
    return true;
}

sp_status exec_flow_sound(const struct exec_run *run, int device, struct sp_error *err)
{
    int broken = atomic_load(&run->flow->broken.device);
    if (broken >= 0 && (device < 0 || device == broken))
        return SP_FAIL(err, run->flow->broken.err.status, "%s", run->flow->broken.err.text);
    return atomic_load(&run->failed) ? SP_FAIL(err, SP_E_INTERRUPTED, "interrupted") : SP_OK;
}

sp_status exec_flow_explain(const struct exec_run *run, int device, sp_status status, struct sp_error *err)
{
    int broken = run->flow != NULL ? atomic_load(&run->flow->broken.device) : -1;
    if (broken < 0 || (device >= 0 && device != broken) || (status != SP_OK && status != SP_E_INTERRUPTED))
        return status;
    sp_error_clear(err);
    status = exec_flow_sound(run, device, err);
    if (device >= 0)
        exec_flow_blame(run, device, NULL, err);
    return status;
}
