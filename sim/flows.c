#include "sim/flows.h"
#include "common/alloc.h"
#include "sim/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNITS_PER_BYTE 1048576.0

double sim_flows_byte_s(const struct sim_cost *cost, const struct sim_channel_cost *channel)
{
    double seconds = 0;
    int senders = 0;
    for (int c = 0; c < cost->channel_count; c++)
        senders += cost->channels[c].hops > 0;
    for (int h = 0; h < channel->hops; h++)
        seconds += senders / cost->links[channel->route[h]].bytes_per_s;
    return seconds;
}

struct sim_flows *sim_flows_create(const struct sp_plan *plan, const struct sim_cost *cost, int first_id)
{
    int routes = 0;
    for (int c = 0; c < plan->channel_count; c++)
        routes += cost->channels[c].hops > 0;
    if (routes == 0)
        return NULL;
    struct sim_flows *flows = sp_calloc(1, sizeof *flows);
    size_t links = (size_t)cost->link_count, channels = (size_t)plan->channel_count;
    flows->cost = cost;
    flows->first_id = first_id;
    flows->channel_count = plan->channel_count;
    flows->capacity = sp_calloc(links, sizeof *flows->capacity);
    flows->left = sp_calloc(links, sizeof *flows->left);
    flows->load = sp_calloc(links, sizeof *flows->load);
    for (int l = 0; l < cost->link_count; l++)
        flows->capacity[l] = cost->links[l].bytes_per_s * UNITS_PER_BYTE / SIM_TICKS_PER_S;
    flows->streams = sp_calloc(channels, sizeof *flows->streams);
    flows->active = sp_calloc(channels, sizeof *flows->active);
    flows->flows = sp_calloc(channels, sizeof *flows->flows);
    return flows;
}

void sim_flows_destroy(struct sim_flows **flows)
{
    if (*flows == NULL)
        return;
    for (int c = 0; c < (*flows)->channel_count; c++)
        free((*flows)->streams[c].parcels);
    free((*flows)->streams);
    free((*flows)->active);
    free((*flows)->flows);
    free((*flows)->capacity);
    free((*flows)->left);
    free((*flows)->load);
    free(*flows);
    *flows = NULL;
}

bool sim_flows_has(const struct sim_flows *flows, int channel)
{
    return flows->cost->channels[channel].hops > 0;
}

static struct sim_parcel *first_of(const struct sim_stream *stream)
{
    return &stream->parcels[stream->taken & (stream->capacity - 1)];
}

static void push_parcel(struct sim_stream *stream, const struct sim_parcel *parcel)
{
    if (stream->posted - stream->taken == stream->capacity) {
        int64_t capacity = stream->capacity > 0 ? 2 * stream->capacity : 4;
        struct sim_parcel *ring = sp_alloc((size_t)capacity * sizeof *ring);
        for (int64_t k = stream->taken; k < stream->posted; k++)
            ring[k & (capacity - 1)] = stream->parcels[k & (stream->capacity - 1)];
        free(stream->parcels);
        stream->parcels = ring;
        stream->capacity = capacity;
    }
    stream->parcels[stream->posted++ & (stream->capacity - 1)] = *parcel;
}

void sim_flows_post(struct sim_flows *flows, struct sim_queue *queue, int channel, double bytes,
                    const struct sim_parcel *parcel)
{
    struct sim_stream *stream = &flows->streams[channel];
    bool idle = stream->posted == stream->taken;
    push_parcel(stream, parcel);
    stream->parcels[(stream->posted - 1) & (stream->capacity - 1)].size = (int64_t)ceil(bytes * UNITS_PER_BYTE);
    if (idle)
        sim_queue_push(queue, parcel->ready, flows->first_id + channel);
}

/* The channel's first message sets off; its event is moved when the rates are known. */
static void start(struct sim_flows *flows, struct sim_queue *queue, int channel, int64_t now)
{
    struct sim_stream *stream = &flows->streams[channel];
    const struct sim_channel_cost *cost = &flows->cost->channels[channel];
    int at = flows->active_count++;
    for (; at > 0 && flows->active[at - 1] > channel; at--) {
        flows->active[at] = flows->active[at - 1];
        flows->flows[at] = flows->flows[at - 1];
    }
    flows->active[at] = channel;
    flows->flows[at] = (struct sim_maxmin_flow){.route = cost->route, .hops = cost->hops};
    stream->flows = true;
    stream->started = stream->since = now;
    stream->left = first_of(stream)->size;
    stream->rate = 0;
    sim_queue_push(queue, now, flows->first_id + channel);
    flows->changed = true;
}

static void stop(struct sim_flows *flows, int channel)
{
    int at = 0;
    while (flows->active[at] != channel)
        at++;
    flows->active_count--;
    size_t behind = (size_t)(flows->active_count - at);
    memmove(&flows->active[at], &flows->active[at + 1], behind * sizeof *flows->active);
    memmove(&flows->flows[at], &flows->flows[at + 1], behind * sizeof *flows->flows);
    flows->streams[channel].flows = false;
    flows->changed = true;
}

bool sim_flows_event(struct sim_flows *flows, struct sim_queue *queue, int channel, int64_t now,
                     struct sim_parcel *parcel, int64_t *started)
{
    struct sim_stream *stream = &flows->streams[channel];
    if (!stream->flows) {
        start(flows, queue, channel, now);
        return false;
    }
    *parcel = *first_of(stream);
    *started = stream->started;
    stream->taken++;
    stop(flows, channel);
    if (stream->taken < stream->posted) {
        int64_t ready = first_of(stream)->ready;
        sim_queue_push(queue, ready > now ? ready : now, flows->first_id + channel);
    }
    return true;
}

/* ceil() of what is not negative, without a call. */
static int64_t rounded_up(double value)
{
    int64_t whole = (int64_t)value;
    return whole + ((double)whole < value);
}

static void settle_stream(struct sim_stream *stream, double rate, struct sim_queue *queue, int id, int64_t now)
{
    stream->left -= (int64_t)((double)(now - stream->since) * stream->rate);
    stream->left = stream->left > 0 ? stream->left : 0;
    stream->rate = rate;
    stream->since = now;
    sim_queue_move(queue, now + rounded_up((double)stream->left / rate), id);
}

void sim_flows_settle(struct sim_flows *flows, struct sim_queue *queue, int64_t now)
{
    if (!flows->changed)
        return;
    flows->changed = false;
    sim_maxmin_solve(flows->capacity, flows->cost->link_count, flows->flows, flows->active_count, flows->left,
                     flows->load);
    for (int i = 0; i < flows->active_count; i++) {
        struct sim_stream *stream = &flows->streams[flows->active[i]];
        if (flows->flows[i].rate != stream->rate)
            settle_stream(stream, flows->flows[i].rate, queue, flows->first_id + flows->active[i], now);
    }
}

static void put_parcels(const struct sim_stream *stream, int64_t now, int64_t since, int64_t **state, int *count)
{
    for (int64_t k = stream->taken; k < stream->posted; k++) {
        const struct sim_parcel *parcel = &stream->parcels[k & (stream->capacity - 1)];
        sp_append(state, count, parcel->ready > now ? parcel->ready - now : 0);
        sp_append(state, count, parcel->size);
        sp_append(state, count, parcel->latency);
        sp_instr_state(&parcel->instr, since, state, count);
    }
}

void sim_flows_state(const struct sim_flows *flows, int64_t now, int64_t since, int64_t **state, int *count)
{
    for (int c = 0; c < flows->channel_count; c++) {
        const struct sim_stream *stream = &flows->streams[c];
        sp_append(state, count, stream->posted - stream->taken);
        put_parcels(stream, now, since, state, count);
        sp_append(state, count, stream->flows);
        if (!stream->flows)
            continue;
        sp_append(state, count, stream->left);
        sp_append(state, count, now - stream->since);
        sp_append(state, count, now - stream->started);
    }
}

void sim_flows_shift(struct sim_flows *flows, int64_t ticks, int64_t minibatches)
{
    for (int c = 0; c < flows->channel_count; c++) {
        struct sim_stream *stream = &flows->streams[c];
        if (stream->flows) {
            stream->since += ticks;
            stream->started += ticks;
        }
        for (int64_t k = stream->taken; k < stream->posted; k++) {
            struct sim_parcel *parcel = &stream->parcels[k & (stream->capacity - 1)];
            parcel->ready += ticks;
            sp_instr_shift(&parcel->instr, minibatches);
        }
    }
}
