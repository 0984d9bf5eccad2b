#include "sim/boundaries.h"
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/loads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_LIMIT = 3000 }; /* boundaries of a graph */

void sim_boundaries_fini(struct sim_boundaries *b)
{
    free(b->forward_s);
    free(b->backward_s);
    free(b->update_s);
    free(b->link_s);
    free(b->bus_s);
    free(b->block_s);
    free(b->parameters);
    free(b->held);
    free(b->version);
    free(b->slot);
    free(b->sets);
    *b = (struct sim_boundaries){0};
}

static void make_sums(struct sim_boundaries *b)
{
    double **sums[] = {&b->forward_s,  &b->backward_s, &b->update_s, &b->link_s,
                       &b->parameters, &b->held,       &b->version,  &b->slot};
    for (size_t k = 0; k < sizeof sums / sizeof *sums; k++)
        *sums[k] = sp_calloc((size_t)b->state_count, sizeof(double));
}

/* The plan that cuts everywhere, or nowhere, with its costs, each microbatch alone, and plain memory, or NULL. */
struct sample {
    struct sp_plan *plan;
    struct sim_cost *cost;
    struct sp_memory_plan *memory;
};

static sp_status sample_init(const struct sim_trial *trial, int M, bool cut, bool memory, struct sample *sample)
{
    int cuts = cut ? trial->network->weight_layer_count - 1 : 0;
    struct sim_trial for_bounds = *trial;
    struct sim_candidate c = {.schedule = sp_schedule_find("sequential"), .microbatches = M, .cut_count = cuts};
    c.cuts = sp_calloc((size_t)cuts + 1, sizeof *c.cuts);
    for (int k = 0; k < cuts; k++)
        c.cuts[k] = k + 1;
    *sample = (struct sample){0};
    for_bounds.least = true;
    sp_status status = sim_trial_prepare(&for_bounds, &c, 1, &sample->plan, &sample->cost);
    if (status == SP_OK && memory) {
        struct sp_footprint plain = sp_footprint_plain(trial->network);
        status = sp_memory_plan_create(sample->plan, &plain, &sample->memory, trial->err);
    }
    free(c.cuts);
    return status;
}

static void sample_fini(struct sample *sample)
{
    sp_memory_plan_destroy(&sample->memory);
    sim_cost_destroy(&sample->cost);
    sp_plan_destroy(&sample->plan);
}

/* What copies across a boundary keep of the device on either side. */
static double block_of(const struct sample *all, int boundary)
{
    int down = sp_plan_channel(all->plan, SP_PAYLOAD_ACTIVATION, SP_PAYLOAD_CREDIT, false, boundary, boundary + 1);
    int up = sp_plan_channel(all->plan, SP_PAYLOAD_GRADIENT, SP_PAYLOAD_CREDIT, false, boundary + 1, boundary);
    return down < 0 || up < 0 ? 0 : all->cost->channels[down].device_s + all->cost->channels[up].device_s;
}

/* Busy times of each boundary's busiest link; and of the link that all of them share, with the number of that, else -1.
 * Two boundaries may meet on a device's own link as well, but not all of three. */
static int links_of(const struct sample *all, double *link_s, double *bus_s)
{
    int count = all->plan->stage_count - 1, resources = all->cost->bus_count + all->cost->link_count, shared = -1;
    double *loads = sp_calloc((size_t)count * (size_t)resources + 1, sizeof *loads), most = 0;
    for (int b = 0; b < count; b++) {
        sim_loads_of_boundary(all->plan, all->cost, b, loads + (int64_t)b * resources);
        for (int r = 0; r < resources; r++)
            link_s[b] = fmax(link_s[b], loads[(int64_t)b * resources + r]);
    }
    for (int r = 0; r < resources; r++) {
        double sum = 0;
        bool by_all = count > 1;
        for (int b = 0; b < count; b++) {
            sum += loads[(int64_t)b * resources + r];
            by_all &= loads[(int64_t)b * resources + r] > 0 || link_s[b] <= 0;
        }
        if (by_all && sum > most) {
            most = sum;
            shared = r;
        }
    }
    for (int b = 0; b < count && shared >= 0; b++)
        bus_s[b] = loads[(int64_t)b * resources + shared];
    free(loads);
    return shared;
}

/* Adds what stage `g` of the sample holds, and its parameters, to the sums before it. */
static void add_memory(const struct sample *all, int g, int after, struct sim_boundaries *b)
{
    b->parameters[after] += (double)all->plan->stages[g].parameters;
    if (all->memory == NULL)
        return;
    const size_t *bytes = all->memory->bytes[g];
    b->held[after] += (double)(bytes[SP_MEMORY_WEIGHTS] + bytes[SP_MEMORY_OPTIMIZER] + bytes[SP_MEMORY_GRADIENTS]);
    b->version[after] += (double)all->memory->parameters[g].block_bytes;
    b->slot[after] += (double)all->memory->stages[g].slot_bytes;
}

/*
 * The line of weight layers. Costs are those of the plan that cuts everywhere; what a stage costs beside the sum of its
 * layers (a launch of the optimiser, say) follows from comparing with the plan that does not cut at all.
 */
static void fill_line(const struct sample *all, const struct sample *whole, int M, struct sim_boundaries *b)
{
    const struct sim_stage_cost *stages = all->cost->stages, *one = whole->cost->stages;
    int L = all->plan->stage_count;
    double forward = 0, backward = 0, update = 0;
    for (int g = 0; g < L; g++) {
        forward += M * stages[g].forward_s;
        backward += M * stages[g].backward_s + stages[g].update_s;
        update += stages[g].update_s;
    }
    b->forward_stage_s = L > 1 ? (forward - M * one->forward_s) / (L - 1) : 0;
    b->backward_stage_s = L > 1 ? (backward - M * one->backward_s - one->update_s) / (L - 1) : 0;
    b->update_stage_s = L > 1 ? (update - one->update_s) / (L - 1) : 0;
    for (int g = 0; g < L; g++) {
        double *sums[] = {b->parameters, b->held, b->version, b->slot};
        for (int k = 0; k < 4; k++)
            sums[k][g + 1] = sums[k][g];
        add_memory(all, g, g + 1, b);
        b->forward_s[g + 1] = b->forward_s[g] + M * stages[g].forward_s - b->forward_stage_s;
        b->backward_s[g + 1] = b->backward_s[g] + M * stages[g].backward_s + stages[g].update_s - b->backward_stage_s;
        b->update_s[g + 1] = b->update_s[g] + stages[g].update_s - b->update_stage_s;
    }
    b->block_s = sp_calloc((size_t)b->state_count, sizeof(double));
    b->bus_s = sp_calloc((size_t)b->state_count, sizeof(double));
    double blocks = 0;
    for (int g = 0; g + 1 < L; g++)
        blocks += b->block_s[g + 1] = block_of(all, g);
    if (links_of(all, b->link_s + 1, b->bus_s + 1) < 0) {
        free(b->bus_s);
        b->bus_s = NULL;
    }
    if (blocks <= 0) {
        free(b->block_s);
        b->block_s = NULL;
    }
}

static bool has(const uint64_t *set, int node)
{
    return set[node / 64] >> (node % 64) & 1;
}

static bool may_join(const struct sp_network *network, const uint64_t *set, int node)
{
    bool ready = !has(set, node);
    for (int i = 0; ready && i < network->layers[node].input_count; i++) {
        int tensor = network->layers[node].inputs[i];
        ready = tensor == 0 || has(set, tensor - 1);
    }
    return ready;
}

/* All sets of nodes closed under predecessors, by size. False when there are too many. */
static bool list_states(const struct sp_network *network, struct sim_boundaries *b)
{
    int words = (network->layer_count + 63) / 64, done = 0;
    size_t bytes = (size_t)words * sizeof(uint64_t);
    b->words = words;
    b->sets = sp_calloc(STATE_LIMIT, bytes);
    b->state_count = 1;
    int first_of_size = 0; /* equal sets have equal sizes */
    for (int size = 1; size <= network->layer_count; size++) {
        int end = b->state_count;
        for (done = first_of_size; done < end; done++)
            for (int n = 0; n < network->layer_count; n++) {
                const uint64_t *set = b->sets + (size_t)done * (size_t)words;
                if (!may_join(network, set, n))
                    continue;
                if (b->state_count == STATE_LIMIT)
                    return false;
                uint64_t *made = b->sets + (size_t)b->state_count * (size_t)words;
                memcpy(made, set, bytes);
                made[n / 64] |= (uint64_t)1 << (n % 64);
                int same = end;
                while (same < b->state_count && memcmp(b->sets + (size_t)same * (size_t)words, made, bytes) != 0)
                    same++;
                b->state_count += same == b->state_count;
            }
        first_of_size = end;
    }
    return true;
}

/* Bytes that cross the boundary of a set: what is made inside, or is the input, and is read outside. */
static double crossing_bytes(const struct sp_network *network, const uint64_t *set)
{
    bool *crosses = sp_calloc((size_t)network->tensor_count, sizeof *crosses);
    double bytes = 0;
    for (int l = 0; l < network->layer_count; l++)
        for (int i = 0; !has(set, l) && i < network->layers[l].input_count; i++) {
            int tensor = network->layers[l].inputs[i];
            crosses[tensor] = tensor == 0 || has(set, tensor - 1);
        }
    for (int t = 0; t < network->tensor_count; t++)
        bytes += crosses[t] ? network->measured[t].bytes : 0;
    free(crosses);
    return bytes;
}

/* Seconds of a byte that crosses a cut, both ways: of the link, of what all cuts share, and of either device. */
static void rates_of(const struct sample *all, double *link, double *bus, double *block)
{
    int count = all->plan->stage_count - 1;
    double *link_s = sp_calloc((size_t)count + 1, sizeof *link_s), *bus_s = sp_calloc((size_t)count + 1, sizeof *bus_s);
    int shared = links_of(all, link_s, bus_s);
    *link = *bus = *block = 0;
    for (int b = 0; b < count && *link <= 0 && *block <= 0; b++) {
        double bytes = 0;
        for (int t = 0; t < all->plan->stages[b].output_count; t++)
            bytes += all->plan->network->measured[all->plan->stages[b].outputs[t]].bytes;
        if (bytes > 0) {
            *link = link_s[b] / bytes;
            *bus = shared >= 0 ? bus_s[b] / bytes : 0;
            *block = block_of(all, b) / bytes;
        }
    }
    free(link_s);
    free(bus_s);
}

/* Sets of nodes, listed in `b`; each node is a stage of the sample. */
static void fill_graph(const struct sample *all, const struct sp_network *network, struct sim_boundaries *b)
{
    double link, bus, block;
    rates_of(all, &link, &bus, &block);
    b->block_s = block > 0 ? sp_calloc((size_t)b->state_count, sizeof(double)) : NULL;
    b->bus_s = bus > 0 ? sp_calloc((size_t)b->state_count, sizeof(double)) : NULL;
    for (int s = 0; s < b->state_count; s++) {
        const uint64_t *set = b->sets + (size_t)s * (size_t)b->words;
        for (int l = 0; l < network->layer_count; l++)
            if (has(set, l)) {
                b->forward_s[s] += network->measured[l + 1].forward_s;
                b->backward_s[s] += network->measured[l + 1].backward_s;
                add_memory(all, l, s, b);
            }
        double bytes = crossing_bytes(network, set);
        b->link_s[s] = link * bytes;
        if (b->bus_s != NULL)
            b->bus_s[s] = bus * bytes;
        if (b->block_s != NULL)
            b->block_s[s] = block * bytes;
    }
}

/* Classes of work that the network has. False: some work slows nobody in part. */
static bool find_classes(const struct sim_cost *cost, bool *used)
{
    int classes = cost->contention.class_count;
    for (int i = 0; i < cost->stage_count; i++) {
        const struct sim_stage_cost *stage = &cost->stages[i];
        double seconds[] = {stage->forward_s, stage->backward_s, stage->update_s};
        for (int work = SIM_WORK_FORWARD; work <= SIM_WORK_UPDATE; work++) {
            const double *mix = cost->contention.mix + sim_cost_row(cost, 0, i, work) * classes;
            double sum = 0;
            for (int c = 0; c < classes; c++) {
                sum += mix[c];
                used[c] |= mix[c] > 0;
            }
            if (seconds[work] > 0 && sum < 1 - 1e-9)
                return false;
        }
    }
    return true;
}

static void find_sharing(const struct sim_cost *cost, struct sim_boundaries *b)
{
    const struct sim_contention *contention = &cost->contention;
    int classes = contention->class_count;
    bool *used = sp_calloc((size_t)classes + 1, sizeof *used);
    double least = INFINITY;
    b->shares_machine = classes > 0 || contention->capacity > 0;
    if (contention->machine == NULL) {
        b->room = contention->capacity;
        bool all = find_classes(cost, used);
        for (int k = 0; all && k < classes * classes; k++)
            if (used[k / classes] && used[k % classes])
                least = fmin(least, contention->slowdown[k]);
    }
    b->slowdown = least < INFINITY ? least : 0;
    free(used);
}

/* While k devices are at work, they do no more than min(k, room) / (1 + (k - 1) slowdown) seconds' work a second. */
double sim_boundaries_least_s(const struct sim_boundaries *b, int stages, int devices)
{
    double rate = 1, work_s = b->forward_s[b->state_count - 1] + b->backward_s[b->state_count - 1] +
                              stages * (b->forward_stage_s + b->backward_stage_s);
    for (int k = 2; k <= devices; k++)
        rate = fmax(rate, (b->room > 0 ? fmin(k, b->room) : k) / (1 + (k - 1) * b->slowdown));
    return work_s / rate;
}

sp_status sim_boundaries_init(const struct sim_trial *trial, int M, bool memory, struct sim_boundaries *b)
{
    const struct sp_network *network = trial->network;
    struct sample all, whole = {0};
    *b = (struct sim_boundaries){0};
    sp_status status = sample_init(trial, M, true, memory, &all);
    if (status == SP_OK)
        status = sample_init(trial, M, false, false, &whole);
    if (status == SP_OK && network->measured != NULL && !list_states(network, b)) {
        sim_boundaries_fini(b);
        b->prefixes_only = true;
    }
    if (status == SP_OK && b->sets == NULL) {
        b->state_count = network->weight_layer_count + 1;
        make_sums(b);
        fill_line(&all, &whole, M, b);
    } else if (status == SP_OK) {
        make_sums(b);
        fill_graph(&all, network, b);
    }
    if (status == SP_OK)
        find_sharing(all.cost, b);
    sample_fini(&all);
    sample_fini(&whole);
    return status;
}

/* A share of M microbatches. */
static double share(int microbatches, int M)
{
    return microbatches == SP_WAITS_ALL ? 1 : (double)microbatches / M;
}

/* A schedule that drains the pipeline waits in each minibatch. Another one once: the first microbatch's forward and the
 * last one's backward go through the stages before this one while it has nothing to do, but its last update. */
struct sim_partition_problem sim_boundaries_problem(const struct sim_boundaries *b, const struct sp_schedule *schedule,
                                                    int M, bool split, double minibatches)
{
    bool drains = schedule->waits_before != 0;
    return (struct sim_partition_problem){.state_count = b->state_count,
                                          .forward_s = b->forward_s,
                                          .backward_s = b->backward_s,
                                          .forward_stage_s = b->forward_stage_s,
                                          .backward_stage_s = b->backward_stage_s,
                                          .update_s = b->update_s,
                                          .update_stage_s = b->update_stage_s,
                                          .waits_before =
                                              drains ? share(schedule->waits_before, M) : 1 / (minibatches * M),
                                          .waits_behind = share(schedule->waits_behind, M),
                                          .spared_updates = drains ? 1 : 1 / minibatches,
                                          .link_s = b->link_s,
                                          .bus_s = b->bus_s,
                                          .block_s = b->block_s,
                                          .split = split,
                                          .sets = b->sets,
                                          .words = b->words};
}

void sim_boundaries_cut(const struct sim_boundaries *b, const struct sp_network *network, const int *states, int stages,
                        struct sim_candidate *candidate)
{
    candidate->cut_count = stages - 1;
    candidate->cuts = sp_calloc((size_t)stages, sizeof *candidate->cuts);
    if (b->sets == NULL) {
        memcpy(candidate->cuts, states, (size_t)(stages - 1) * sizeof *states);
        return;
    }
    int *order = sp_calloc((size_t)network->layer_count, sizeof *order), count = 0;
    bool *placed = sp_calloc((size_t)network->layer_count, sizeof *placed), moved = false;
    for (int i = 0; i < stages; i++) {
        const uint64_t *set = b->sets + (size_t)(i < stages - 1 ? states[i] : b->state_count - 1) * (size_t)b->words;
        for (int l = 0; l < network->layer_count; l++)
            if (has(set, l) && !placed[l]) {
                moved |= l != count;
                placed[l] = true;
                order[count++] = l;
            }
        if (i < stages - 1)
            candidate->cuts[i] = count;
    }
    if (moved)
        sp_network_reorder(network, order, &candidate->network);
    free(order);
    free(placed);
}
