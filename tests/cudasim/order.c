/*
 * order.c - whether operations on the same bytes are ordered, found when they are enqueued.
 *
 * What orders streams is known at the calls: a stream's own order, events recorded and waited for, and what the host
 * has waited for before it enqueues. So each stream has a vector clock, each record of an event keeps one, the host has
 * one (for all its threads: how they order themselves is not seen here), and each access to a block remembers its
 * moment. An access that touches an earlier one's bytes must have that moment in its clock. Timing plays no part, and
 * ThreadSanitizer is not needed; only ThreadSanitizer sees what the host itself does to pinned memory.
 *
 * A kernel's pointers say where it reads or writes, not how far: their first byte stands for all. What NCCL orders
 * between ranks is guessed: what comes after a receive may come after any send before that, for the other rank may have
 * waited for it; and a receive after all that a send came after, for the other rank may have sent in reply.
 */
#include "tests/cudasim/inside.h"

#include <stdlib.h>
#include <string.h>

struct access {
    size_t from, to; /* bytes of the block */
    bool write;
    int slot; /* of the stream */
    int64_t moment;
    int64_t receives; /* a send of NCCL: receives so far; else INT64_MAX */
    uint64_t stream;
    const char *call, *kernel;
};

struct cudasim_history {
    struct access *list;
    int count, capacity;
};

static struct cudasim_clock host;
static int64_t moments[CUDASIM_STREAMS_MAX]; /* of each slot; they go on when a slot is given to another stream */
static bool taken[CUDASIM_STREAMS_MAX];
static bool enabled = true;
static struct cudasim_clock sent[CUDASIM_DEVICES_MAX]; /* what each device's sends came after */
static int64_t receives;

void cudasim_set_order_check(int enable)
{
    enabled = enable != 0;
}

static void join(struct cudasim_clock *to, const struct cudasim_clock *from)
{
    for (int i = 0; i < CUDASIM_STREAMS_MAX; i++)
        if (from->at[i] > to->at[i])
            to->at[i] = from->at[i];
    if (from->heard > to->heard)
        to->heard = from->heard;
}

void cudasim_order_open(cudaStream_t stream)
{
    int slot = 0;
    while (taken[slot])
        if (++slot == CUDASIM_STREAMS_MAX)
            abort();
    taken[slot] = true;
    stream->slot = slot;
    stream->clock = host;
}

void cudasim_order_close(cudaStream_t stream)
{
    taken[stream->slot] = false;
}

void cudasim_order_record(struct cudasim_record *record, cudaStream_t stream)
{
    record->clock = stream->clock;
}

void cudasim_order_wait(const struct cudasim_record *record, cudaStream_t stream)
{
    join(&stream->clock, &record->clock);
}

void cudasim_order_host_after(const struct cudasim_clock *clock)
{
    join(&host, clock);
}

static const char *name_of(const char *call, const char *kernel)
{
    return kernel != NULL ? kernel : call;
}

/* Whether the new access makes the old one superfluous: whoever comes after the new one comes after the old one. */
static bool replaces(const struct access *later, const struct access *old)
{
    return later->from <= old->from && later->to >= old->to &&
           (later->write || (!old->write && later->slot == old->slot));
}

static bool is_after(const struct cudasim_op *op, const struct access *later, const struct access *old)
{
    const struct cudasim_clock *clock = &op->stream->clock;
    bool replies = op->between_ranks && later->write && sent[op->stream->device].at[old->slot] >= old->moment;
    return clock->at[old->slot] >= old->moment || clock->heard > old->receives || replies;
}

static void note(struct cudasim_op *op, struct cudasim_history *history, const struct cudasim_memory *memory,
                 const struct access *later)
{
    int kept = 0;
    for (int i = 0; i < history->count; i++) {
        const struct access *old = &history->list[i];
        bool meet = old->from < later->to && later->from < old->to && (old->write || later->write);
        if (meet && !is_after(op, later, old)) {
            cudasim_op_fault(
                op,
                "%s %s bytes %zu to %zu of block %lu (device %d) in stream %lu, which is not ordered after "
                "%s that %s bytes %zu to %zu in stream %lu",
                name_of(later->call, later->kernel), later->write ? "writes" : "reads", later->from, later->to,
                (unsigned long)memory->number, memory->device, (unsigned long)later->stream,
                name_of(old->call, old->kernel), old->write ? "writes" : "reads", old->from, old->to,
                (unsigned long)old->stream);
            return;
        }
        if (!replaces(later, old))
            history->list[kept++] = *old;
    }
    history->count = kept;
    if (kept == history->capacity) {
        history->capacity = 2 * kept + 16;
        history->list = realloc(history->list, (size_t)history->capacity * sizeof *history->list);
        if (history->list == NULL)
            abort();
    }
    history->list[history->count++] = *later;
}

void cudasim_order_op(struct cudasim_op *op, cudaStream_t stream)
{
    join(&stream->clock, &host);
    stream->clock.at[stream->slot] = ++moments[stream->slot];
    bool sends = false;
    for (int i = 0; i < op->use_count && enabled && op->status == 0; i++) {
        const struct cudasim_use *use = &op->uses[i];
        if (use->memory == NULL || use->memory->alias == NULL || (use->bytes == 0 && op->kernel == NULL))
            continue;
        if (use->memory->history == NULL && (use->memory->history = calloc(1, sizeof *use->memory->history)) == NULL)
            abort();
        size_t from = (size_t)(use->address - use->memory->alias) - use->memory->skip;
        struct access later = {.from = from,
                               .to = from + (use->bytes > 0 ? use->bytes : 1),
                               .write = (use->access & CUDASIM_WRITE) != 0,
                               .slot = stream->slot,
                               .moment = moments[stream->slot],
                               .receives =
                                   op->between_ranks && (use->access & CUDASIM_WRITE) == 0 ? receives : INT64_MAX,
                               .stream = stream->number,
                               .call = op->call.name,
                               .kernel = op->kernel};
        note(op, use->memory->history, use->memory, &later);
        sends = sends || !later.write;
        if (op->between_ranks && later.write)
            stream->clock.heard = ++receives;
    }
    if (op->between_ranks && sends)
        join(&sent[stream->device], &stream->clock);
}

void cudasim_order_forget(struct cudasim_memory *memory)
{
    if (memory->history != NULL)
        free(memory->history->list);
    free(memory->history);
    memory->history = NULL;
}
