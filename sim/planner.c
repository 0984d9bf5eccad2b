#include "sim/planner.h"
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/schedule.h"
#include "sim/partition.h"
#include "sim/simulate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALL_BELOW = 2000,   /* ways to cut: as many are all looked at */
    SIMULATED = 64,     /* candidates, at least */
    STATE_LIMIT = 3000, /* boundaries of a graph */
    RANKS = 16          /* best cuts for each number of stages, where not all are looked at */
};

/* What the network's boundaries and their costs are, for minibatches in M parts. */
struct boundaries {
    int state_count;
    double *forward_s, *backward_s, *link_s, *block_s;
    double forward_stage_s, backward_stage_s, total_s;
    uint64_t *sets;
    int words;
};

struct search {
    const struct sp_experiment *experiment;
    const struct sp_network *network;
    sim_memory_function memory;
    struct sim_source source;
    struct sim_search *out;
    struct sp_error *err;
};

static void boundaries_fini(struct boundaries *b)
{
    free(b->forward_s);
    free(b->backward_s);
    free(b->link_s);
    free(b->block_s);
    free(b->sets);
}

/* Seconds that a channel's message takes of each fair link. */
static void add_fair(const struct sim_cost *cost, int channel, double *links)
{
    const struct sim_channel_cost *c = &cost->channels[channel];
    for (int h = 0; h < c->hops; h++)
        links[c->route[h]] += c->bytes / cost->links[c->route[h]].bytes_per_s;
}

double sim_bottleneck_s(const struct sp_plan *plan, const struct sim_cost *cost)
{
    int resources = plan->device_count + cost->bus_count + cost->link_count;
    double *busy = sp_calloc((size_t)resources, sizeof *busy), most = 0;
    double *links = busy + plan->device_count + cost->bus_count;
    int M = plan->phases[0].microbatches;
    for (int i = 0; i < plan->stage_count; i++) {
        busy[plan->stages[i].forward_device] += M * cost->stages[i].forward_s;
        busy[plan->stages[i].backward_device] += M * cost->stages[i].backward_s + cost->stages[i].update_s;
    }
    for (int c = 0; c < plan->channel_count; c++) {
        if (plan->channels[c].evaluate)
            continue;
        busy[plan->channels[c].from_device] += cost->channels[c].device_s;
        busy[plan->channels[c].to_device] += cost->channels[c].device_s;
        if (cost->channels[c].bus >= 0)
            busy[plan->device_count + cost->channels[c].bus] += cost->channels[c].busy_s;
        add_fair(cost, c, links);
    }
    for (int r = 0; r < resources; r++)
        most = fmax(most, busy[r]);
    free(busy);
    return most;
}

/* The experiment with other cuts and schedule: borrows everything. */
static struct sp_experiment trial_of(const struct sp_experiment *experiment, const struct sim_candidate *candidate,
                                     int64_t minibatches)
{
    struct sp_experiment trial = *experiment;
    trial.pipeline.cuts = candidate->cuts;
    trial.pipeline.cut_count = candidate->cut_count;
    trial.pipeline.placement = candidate->split ? "split" : "colocated";
    trial.pipeline.base.schedule = (char *)candidate->schedule->name;
    trial.pipeline.base.microbatches = candidate->microbatches;
    trial.devices.count = 0;
    trial.phase_count = 0;
    trial.train.stage_lr_count = 0;
    trial.train.iterations = minibatches;
    trial.sim.minibatches = minibatches;
    return trial;
}

/* Plan and costs of a candidate for so many minibatches. The caller frees both. */
static sp_status prepare(const struct search *search, const struct sim_candidate *candidate, int64_t minibatches,
                         struct sp_plan **plan, struct sim_cost **cost)
{
    const struct sp_network *network = candidate->network != NULL ? candidate->network : search->network;
    struct sp_experiment trial = trial_of(search->experiment, candidate, minibatches);
    struct sp_mark *marks = sp_calloc((size_t)candidate->cut_count + 1, sizeof *marks);
    trial.pipeline.cut_marks = marks;
    *cost = NULL;
    sp_status status = sp_experiment_plan(&trial, network, SP_PLAN_SIMULATE, plan, search->err);
    if (status == SP_OK)
        status = sim_source_cost(&search->source, &trial, *plan, NULL, cost, search->err);
    free(marks);
    return status;
}

/* What copies across a boundary keep of the device on either side. */
static double block_of(const struct sp_plan *plan, const struct sim_cost *cost, int boundary)
{
    int down = sp_plan_channel(plan, SP_PAYLOAD_ACTIVATION, SP_PAYLOAD_CREDIT, false, boundary, boundary + 1);
    int up = sp_plan_channel(plan, SP_PAYLOAD_GRADIENT, SP_PAYLOAD_CREDIT, false, boundary + 1, boundary);
    return down < 0 || up < 0 ? 0 : cost->channels[down].device_s + cost->channels[up].device_s;
}

static double link_of(const struct sp_plan *plan, const struct sim_cost *cost, int boundary)
{
    int down = sp_plan_channel(plan, SP_PAYLOAD_ACTIVATION, SP_PAYLOAD_CREDIT, false, boundary, boundary + 1);
    int up = sp_plan_channel(plan, SP_PAYLOAD_GRADIENT, SP_PAYLOAD_CREDIT, false, boundary + 1, boundary);
    if (down < 0 || up < 0)
        return 0;
    if (cost->channels[down].hops > 0) {
        double *links = sp_calloc((size_t)cost->link_count, sizeof *links), most = 0;
        add_fair(cost, down, links);
        add_fair(cost, up, links);
        for (int l = 0; l < cost->link_count; l++)
            most = fmax(most, links[l]);
        free(links);
        return most;
    }
    if (cost->channels[down].bus < 0)
        return 0;
    double there = cost->channels[down].busy_s, back = cost->channels[up].busy_s;
    return cost->channels[down].bus == cost->channels[up].bus ? there + back : fmax(there, back);
}

/*
 * The line of weight layers. Costs are those of the plan that cuts everywhere; what a stage costs beside the sum of its
 * layers (a launch of the optimiser, say) follows from comparing with the plan that does not cut at all.
 */
static sp_status line_of_layers(const struct search *search, int M, struct boundaries *b)
{
    int L = search->network->weight_layer_count;
    struct sim_candidate all = {.schedule = sp_schedule_find("sequential"), .microbatches = M, .cut_count = L - 1},
                         none = {.schedule = all.schedule, .microbatches = M};
    struct sp_plan *plan = NULL, *whole = NULL;
    struct sim_cost *cost = NULL, *whole_cost = NULL;
    all.cuts = sp_calloc((size_t)L, sizeof *all.cuts);
    for (int c = 0; c + 1 < L; c++)
        all.cuts[c] = c + 1;
    sp_status status = prepare(search, &all, 1, &plan, &cost);
    if (status == SP_OK)
        status = prepare(search, &none, 1, &whole, &whole_cost);
    if (status == SP_OK) {
        double forward = 0, backward = 0;
        for (int g = 0; g < L; g++) {
            forward += M * cost->stages[g].forward_s;
            backward += M * cost->stages[g].backward_s + cost->stages[g].update_s;
        }
        double whole_forward = M * whole_cost->stages[0].forward_s;
        double whole_backward = M * whole_cost->stages[0].backward_s + whole_cost->stages[0].update_s;
        *b = (struct boundaries){.state_count = L + 1, .total_s = whole_forward + whole_backward};
        b->forward_s = sp_calloc((size_t)L + 1, sizeof(double));
        b->backward_s = sp_calloc((size_t)L + 1, sizeof(double));
        b->link_s = sp_calloc((size_t)L + 1, sizeof(double));
        b->block_s = sp_calloc((size_t)L + 1, sizeof(double));
        b->forward_stage_s = L > 1 ? (forward - whole_forward) / (L - 1) : 0;
        b->backward_stage_s = L > 1 ? (backward - whole_backward) / (L - 1) : 0;
        for (int g = 0; g < L; g++) {
            b->forward_s[g + 1] = b->forward_s[g] + M * cost->stages[g].forward_s - b->forward_stage_s;
            b->backward_s[g + 1] =
                b->backward_s[g] + M * cost->stages[g].backward_s + cost->stages[g].update_s - b->backward_stage_s;
            if (g + 1 < L) {
                b->link_s[g + 1] = link_of(plan, cost, g);
                b->block_s[g + 1] = block_of(plan, cost, g);
            }
        }
    }
    sim_cost_destroy(&cost);
    sim_cost_destroy(&whole_cost);
    sp_plan_destroy(&plan);
    sp_plan_destroy(&whole);
    free(all.cuts);
    return status;
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
static bool list_states(const struct sp_network *network, struct boundaries *b)
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

/* Seconds of a byte both ways over a cut, from the costs of some cut. */
static sp_status both_ways_s(const struct search *search, double *seconds_per_byte)
{
    struct sim_candidate one = {.schedule = sp_schedule_find("sequential"), .microbatches = 1, .cut_count = 1};
    struct sp_plan *plan;
    struct sim_cost *cost;
    int cut = 1;
    one.cuts = &cut;
    *seconds_per_byte = 0;
    if (search->network->layer_count < 2)
        return SP_OK;
    sp_status status = prepare(search, &one, 1, &plan, &cost);
    if (status == SP_OK) {
        double bytes = 0;
        for (int t = 0; t < plan->stages[0].output_count; t++)
            bytes += search->network->measured[plan->stages[0].outputs[t]].bytes;
        *seconds_per_byte = bytes > 0 ? link_of(plan, cost, 0) / bytes : 0;
    }
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return status;
}

static sp_status graph_of_nodes(const struct search *search, int M, struct boundaries *b)
{
    const struct sp_network *network = search->network;
    double per_byte;
    SP_TRY(both_ways_s(search, &per_byte));
    if (!list_states(network, b)) {
        boundaries_fini(b);
        memset(b, 0, sizeof *b);
        search->out->prefixes_only = true;
        return line_of_layers(search, M, b);
    }
    b->forward_s = sp_calloc((size_t)b->state_count, sizeof(double));
    b->backward_s = sp_calloc((size_t)b->state_count, sizeof(double));
    b->link_s = sp_calloc((size_t)b->state_count, sizeof(double));
    for (int s = 0; s < b->state_count; s++) {
        const uint64_t *set = b->sets + (size_t)s * (size_t)b->words;
        for (int l = 0; l < network->layer_count; l++)
            if (has(set, l)) {
                b->forward_s[s] += network->measured[l + 1].forward_s;
                b->backward_s[s] += network->measured[l + 1].backward_s;
            }
        b->link_s[s] = per_byte * crossing_bytes(network, set);
    }
    b->total_s = b->forward_s[b->state_count - 1] + b->backward_s[b->state_count - 1];
    return SP_OK;
}

/* Cuts of a partition; for a graph also the order of its nodes in which the stages are ranges. */
static void take_cuts(const struct search *search, const struct boundaries *b, const int *states, int stages,
                      struct sim_candidate *candidate)
{
    const struct sp_network *network = search->network;
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

/* Seconds of a minibatch by the bottleneck and the sum of all work, for the kinds of schedule there are. */
static double estimate(const struct sim_candidate *c, double bottleneck_s, double total_s)
{
    bool flushes = strcmp(c->schedule->name, "gpipe") == 0 || strcmp(c->schedule->name, "1f1b") == 0;
    if (strcmp(c->schedule->name, "sequential") == 0)
        return total_s;
    if (flushes)
        return (total_s + (c->microbatches - 1) * bottleneck_s) / c->microbatches;
    return bottleneck_s;
}

/* Ways to cut `states` boundaries into that many stages, at most `most`. */
static int64_t ways(int states, int stages, int64_t most)
{
    double count = 1;
    for (int s = 1; s < stages && count < (double)most; s++)
        count = count * (states - 1 - s) / s;
    return count < (double)most ? (int64_t)(count + 0.5) : most;
}

static sp_status add_candidates(struct search *search, const struct sp_schedule *schedule, int M, bool split)
{
    const struct sp_experiment *e = search->experiment;
    struct boundaries b = {0};
    SP_TRY(search->network->measured != NULL ? graph_of_nodes(search, M, &b) : line_of_layers(search, M, &b));
    int most = split ? (e->devices.count + 1) / 2 : e->devices.count;
    most = most > b.state_count - 1 ? b.state_count - 1 : most;
    int64_t all = 1;
    for (int s = 1; s <= most; s++) {
        int64_t these = ways(b.state_count, s, ALL_BELOW + 1);
        all = these > all ? these : all;
    }
    int limit = b.sets == NULL && all > RANKS && all <= ALL_BELOW ? (int)all : RANKS;
    struct sim_partition_problem problem = {
        b.state_count, b.forward_s, b.backward_s, b.forward_stage_s, b.backward_stage_s, b.link_s, b.block_s,
        split,         b.sets,      b.words};
    struct sim_partitions found;
    sim_partition_solve(&problem, most, limit, &found);
    for (int s = 1; s <= most; s++)
        for (int r = 0; r < found.count[s] && (e->plan.stages == 0 || e->plan.stages == s); r++) {
            struct sim_candidate c = {.schedule = schedule, .microbatches = M, .split = split && s > 1};
            c.device_count = c.split ? 2 * s - 1 : s;
            c.bottleneck_s = found.of[s][r].bottleneck_s;
            c.estimate_s = estimate(&c, c.bottleneck_s, b.total_s + (s - 1) * (b.forward_stage_s + b.backward_stage_s));
            take_cuts(search, &b, found.of[s][r].states, s, &c);
            *(struct sim_candidate *)sp_grow((void **)&search->out->candidates, search->out->count, sizeof c) = c;
            search->out->count++;
        }
    sim_partitions_fini(&found);
    boundaries_fini(&b);
    return SP_OK;
}

/* Everything the user leaves open: schedules, microbatches, placements. */
static sp_status list_candidates(struct search *search)
{
    const struct sp_experiment *e = search->experiment;
    bool fixed_schedule = sp_experiment_is_set(e, "pipeline.schedule");
    bool fixed_parts = sp_experiment_is_set(e, "pipeline.microbatches");
    for (int s = 0; sp_schedules[s] != NULL; s++) {
        const struct sp_schedule *schedule = sp_schedules[s];
        bool flushes = strcmp(schedule->name, "gpipe") == 0 || strcmp(schedule->name, "1f1b") == 0;
        if (fixed_schedule && strcmp(schedule->name, e->pipeline.base.schedule) != 0)
            continue;
        for (int M = 1; M <= 16; M *= 2) {
            if (fixed_parts ? M > 1 : (M > 1 && !flushes) || e->train.batch % M != 0)
                continue;
            int parts = fixed_parts ? e->pipeline.base.microbatches : M;
            if (strcmp(e->plan.placement, "split") != 0)
                SP_TRY(add_candidates(search, schedule, parts, false));
            if (strcmp(e->plan.placement, "colocated") != 0)
                SP_TRY(add_candidates(search, schedule, parts, true));
        }
    }
    return SP_OK;
}

static void candidate_fini(struct sim_candidate *candidate)
{
    sp_network_destroy(&candidate->network);
    free(candidate->cuts);
}

void sim_search_fini(struct sim_search *search)
{
    for (int c = 0; c < search->count; c++)
        candidate_fini(&search->candidates[c]);
    free(search->candidates);
    *search = (struct sim_search){0};
}

static int by_estimate(const void *a, const void *b)
{
    const struct sim_candidate *x = a, *y = b;
    if (x->estimate_s != y->estimate_s)
        return x->estimate_s < y->estimate_s ? -1 : 1;
    return x->device_count - y->device_count;
}

static sp_status simulated_s(const struct search *search, const struct sim_candidate *c, int64_t minibatches,
                             double *time_s)
{
    struct sp_plan *plan;
    struct sim_cost *cost;
    struct sim_result result = {0};
    sp_status status = prepare(search, c, minibatches, &plan, &cost);
    if (status == SP_OK)
        status = sim_run(plan, cost, &(struct sim_config){.spans_per_lane = 0}, &result, search->err);
    *time_s = result.time_s;
    sim_result_fini(&result);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return status;
}

static int64_t training_minibatches(const struct sp_experiment *e)
{
    struct sp_data_shape data = {.train_samples = 50000};
    if (e->train.iterations > 0)
        return e->train.iterations;
    struct sp_error ignored = {0};
    if (sp_experiment_data_shape(e, &data, &ignored) != SP_OK)
        sp_error_fini(&ignored);
    return (e->train.epochs * data.train_samples + e->train.batch - 1) / e->train.batch;
}

/* Simulates a candidate: the steady state is what a second stretch of minibatches takes beyond the first. */
static sp_status examine(const struct search *search, struct sim_candidate *c)
{
    int64_t stretch = 4 * (int64_t)(c->cut_count + 1) + 12, total = training_minibatches(search->experiment);
    double once_s, twice_s;
    struct sp_plan *plan;
    struct sim_cost *cost;
    struct sp_memory_plan *memory = NULL;
    struct sp_analysis *analysis = NULL;
    SP_TRY(simulated_s(search, c, stretch, &once_s));
    SP_TRY(simulated_s(search, c, 2 * stretch, &twice_s));
    c->minibatch_s = (twice_s - once_s) / (double)stretch;
    sp_status status = prepare(search, c, 2 * stretch, &plan, &cost);
    if (status == SP_OK)
        status = search->memory(search->experiment, plan, &memory, search->err);
    if (status == SP_OK)
        status = sp_analysis_create(plan, memory, &analysis, search->err);
    if (status == SP_OK) {
        c->bottleneck_s = sim_bottleneck_s(plan, cost);
        c->minibatch_s = fmax(c->minibatch_s, c->bottleneck_s); /* two stretches may be too short for it to tell */
        c->time_s = once_s + c->minibatch_s * (double)(total - stretch);
        c->stale_weight_fraction = analysis->stale_weight_fraction;
        for (int i = 0; i < plan->stage_count; i++)
            if (analysis->stages[i].forward_staleness > c->staleness)
                c->staleness = analysis->stages[i].forward_staleness;
        for (int d = 0; d < plan->device_count; d++)
            if (sp_memory_device_bytes(memory, d) > c->peak_bytes)
                c->peak_bytes = sp_memory_device_bytes(memory, d);
    }
    sp_analysis_destroy(&analysis);
    sp_memory_plan_destroy(&memory);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return status;
}

/* The least that any candidate needs of what may be limited, each by itself. */
struct least {
    double peak_bytes, staleness, stale_percent;
};

static void take_least(struct least *least, const struct sim_candidate *c)
{
    least->peak_bytes = fmin(least->peak_bytes, (double)c->peak_bytes);
    least->staleness = fmin(least->staleness, (double)c->staleness);
    least->stale_percent = fmin(least->stale_percent, 100 * c->stale_weight_fraction);
}

static sp_status reject_limits(const struct search *search, const struct least *least)
{
    const struct sim_candidate *c = &search->out->candidates[0];
    return sp_reject(search->err, sp_experiment_mark(search->experiment, "plan.objective"),
                     "plan: no plan is within the limits; the fastest needs %.4g bytes on a device (plan.memory; the "
                     "least of any: %.4g), is %lld updates stale (plan.staleness; %.0f) in %.4g %% of its weights "
                     "(plan.stale_weights; %.4g)",
                     (double)c->peak_bytes, least->peak_bytes, (long long)c->staleness, least->staleness,
                     100 * c->stale_weight_fraction, least->stale_percent);
}

static bool within_limits(const struct sp_experiment *e, const struct sim_candidate *c)
{
    return (e->plan.memory <= 0 || (double)c->peak_bytes <= e->plan.memory) &&
           (e->plan.staleness < 0 || c->staleness <= e->plan.staleness) &&
           100 * c->stale_weight_fraction <= e->plan.stale_weights;
}

/* Less is better, in this order. */
struct rank {
    double value[3];
};

static struct rank rank_of(const struct sp_experiment *e, const struct sim_candidate *c, double best_s)
{
    bool slow = c->minibatch_s * e->plan.keep > best_s * (1 + 1e-9);
    /* Times are compared to 9 digits, so that rounding does not hide a tie that fewer devices win. */
    double step = best_s * 1e-9, time = step > 0 ? floor(c->minibatch_s / step + 0.5) : c->minibatch_s;
    if (strcmp(e->plan.objective, "time") == 0)
        return (struct rank){{c->time_s, c->device_count, (double)c->staleness}};
    if (strcmp(e->plan.objective, "staleness") == 0)
        return (struct rank){{slow ? INFINITY : (double)c->staleness, slow ? time : c->stale_weight_fraction, time}};
    if (strcmp(e->plan.objective, "memory") == 0)
        return (struct rank){{slow ? INFINITY : (double)c->peak_bytes, time, (double)c->staleness}};
    return (struct rank){{time, c->device_count, (double)c->staleness}};
}

static void sort_by_rank(const struct sp_experiment *e, struct sim_candidate *candidates, int count)
{
    double best_s = INFINITY;
    for (int c = 0; c < count; c++)
        best_s = fmin(best_s, candidates[c].minibatch_s);
    for (int c = 1; c < count; c++) {
        struct sim_candidate moving = candidates[c];
        struct rank rank = rank_of(e, &moving, best_s);
        int at = c;
        for (; at > 0; at--) {
            struct rank other = rank_of(e, &candidates[at - 1], best_s);
            int v = 0;
            while (v < 2 && rank.value[v] == other.value[v])
                v++;
            if (rank.value[v] >= other.value[v])
                break;
            candidates[at] = candidates[at - 1];
        }
        candidates[at] = moving;
    }
}

/*
 * Examines candidates in the order of their estimates. Under the objective of throughput an estimate bounds what
 * simulation can find, so the search ends once it is behind all that is kept; else all that could still be fast enough
 * are examined.
 */
static sp_status examine_all(struct search *search)
{
    const struct sp_experiment *e = search->experiment;
    struct sim_search *out = search->out;
    bool fast = strcmp(e->plan.objective, "throughput") == 0 || strcmp(e->plan.objective, "time") == 0;
    int kept = 0, next = 0;
    double best_s = INFINITY;
    struct least least = {INFINITY, INFINITY, INFINITY};
    qsort(out->candidates, (size_t)out->count, sizeof *out->candidates, by_estimate);
    for (; next < out->count; next++) {
        struct sim_candidate *c = &out->candidates[next];
        bool behind = c->estimate_s > best_s * (1 + 1e-9) / (fast ? 1 : e->plan.keep);
        if (kept >= e->plan.candidates && behind && (fast || next >= SIMULATED))
            break;
        if (out->simulated >= 8 * SIMULATED && kept > 0)
            break;
        sp_status status = examine(search, c);
        if (status != SP_OK)
            return status;
        out->simulated++;
        take_least(&least, c);
        if (!within_limits(e, c))
            continue;
        best_s = fmin(best_s, c->minibatch_s);
        struct sim_candidate found = *c;
        *c = out->candidates[kept];
        out->candidates[kept++] = found;
    }
    if (kept == 0)
        return reject_limits(search, &least);
    out->cuttings = out->count;
    for (int c = kept; c < out->count; c++)
        candidate_fini(&out->candidates[c]);
    sort_by_rank(e, out->candidates, kept);
    for (int c = e->plan.candidates; c < kept; c++)
        candidate_fini(&out->candidates[c]);
    out->count = kept < e->plan.candidates ? kept : e->plan.candidates;
    return SP_OK;
}

sp_status sim_plan_search(const struct sp_experiment *experiment, const struct sp_network *network,
                          sim_memory_function memory, struct sim_search *out, struct sp_error *err)
{
    *out = (struct sim_search){0};
    struct search search = {.experiment = experiment, .network = network, .memory = memory, .out = out, .err = err};
    if (experiment->devices.count < 1)
        return sp_reject(err, sp_experiment_mark(experiment, "devices.count"),
                         "devices.count: say how many devices the planner may use");
    int most = strcmp(experiment->plan.placement, "split") == 0 ? (experiment->devices.count + 1) / 2
                                                                : experiment->devices.count;
    if (experiment->plan.stages > most || experiment->plan.stages > network->weight_layer_count)
        return sp_reject(err, sp_experiment_mark(experiment, "plan.stages"),
                         "plan.stages: %d stages are more than %d devices or %d layers allow", experiment->plan.stages,
                         experiment->devices.count, network->weight_layer_count);
    if (strcmp(experiment->cost.model, "table") == 0)
        return sp_reject(err, sp_experiment_mark(experiment, "cost.model"),
                         "cost.model: a table has times of given stages, so other cuts cannot be planned by it");
    SP_TRY(sim_source_open(experiment, &search.source, err));
    sp_status status = list_candidates(&search);
    if (status == SP_OK)
        status = examine_all(&search);
    sim_source_close(&search.source);
    return status;
}

void sim_candidate_apply(const struct sim_candidate *candidate, struct sp_experiment *e)
{
    struct sp_mark mark = sp_experiment_mark(e, "pipeline.cuts");
    free(e->pipeline.cuts);
    free(e->pipeline.cut_marks);
    e->pipeline.cut_count = candidate->cut_count;
    e->pipeline.cuts = sp_calloc((size_t)candidate->cut_count + 1, sizeof *e->pipeline.cuts);
    e->pipeline.cut_marks = sp_calloc((size_t)candidate->cut_count + 1, sizeof *e->pipeline.cut_marks);
    for (int c = 0; c < candidate->cut_count; c++) {
        e->pipeline.cuts[c] = candidate->cuts[c];
        e->pipeline.cut_marks[c] = mark;
    }
    free(e->pipeline.base.schedule);
    e->pipeline.base.schedule = sp_strdup(candidate->schedule->name);
    e->pipeline.base.microbatches = candidate->microbatches;
    free(e->pipeline.placement);
    e->pipeline.placement = sp_strdup(candidate->split ? "split" : "colocated");
    e->devices.count = candidate->device_count;
}
