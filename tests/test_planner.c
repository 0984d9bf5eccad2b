/*
 * The planner against brute force.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "sim/partition.h"
#include "tests/chain.h"
#include "tests/searches.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double random_s(void)
{
    return (1 + chain_below(1000)) * 1e-3;
}

static double line_stage_s(const struct sim_partition_problem *p, int from, int to)
{
    double f = 0, b = 0;
    for (int s = from; s < to; s++) {
        f += p->forward_s[s + 1] - p->forward_s[s];
        b += p->backward_s[s + 1] - p->backward_s[s];
    }
    f += p->forward_stage_s;
    b += p->backward_stage_s;
    double blocked = 0;
    if (p->block_s != NULL)
        blocked = (from > 0 ? p->block_s[from] : 0) + (to < p->state_count - 1 ? p->block_s[to] : 0);
    return blocked + (p->split && to < p->state_count - 1 ? fmax(f, b) : f + b);
}

/* Bottlenecks of all ways to cut into that many stages, in any order. */
struct ways {
    double *list;
    int count;
};

static void add_ways(const struct sim_partition_problem *p, int from, int stages, double worst, double bus,
                     struct ways *ways)
{
    if (stages == 1) {
        worst = fmax(fmax(worst, line_stage_s(p, from, p->state_count - 1)), bus);
        *(double *)sp_grow((void **)&ways->list, ways->count++, sizeof worst) = worst;
        return;
    }
    for (int to = from + 1; to < p->state_count - 1; to++)
        add_ways(p, to, stages - 1, fmax(worst, fmax(line_stage_s(p, from, to), p->link_s[to])),
                 bus + (p->bus_s != NULL ? p->bus_s[to] : 0), ways);
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Every partition comes once, in the order of bottlenecks that sorting all of them gives. */
static void partitions_of_a_line_equal_brute_force(void **state)
{
    (void)state;
    for (int n = 0; n < 300; n++) {
        int layers = 1 + chain_below(16), stages = layers < 4 ? layers : 4;
        double forward[17] = {0}, backward[17] = {0}, link[17] = {0}, bus[17] = {0}, block[17] = {0};
        for (int l = 1; l <= layers; l++) {
            forward[l] = forward[l - 1] + random_s();
            backward[l] = backward[l - 1] + random_s();
            link[l] = random_s() * chain_below(3);
            bus[l] = random_s() * chain_below(4);
            block[l] = random_s();
        }
        struct sim_partition_problem problem = {.state_count = layers + 1,
                                                .forward_s = forward,
                                                .backward_s = backward,
                                                .forward_stage_s = 0.01,
                                                .backward_stage_s = 0.02,
                                                .link_s = link,
                                                .bus_s = n % 5 < 2 ? bus : NULL,
                                                .block_s = n % 3 == 0 ? block : NULL,
                                                .split = n % 2 == 1};
        struct sim_rest *rest = sim_rest_create(&problem, stages);
        for (int s = 1; s <= stages; s++) {
            struct ways ways = {0};
            struct sim_cuts *cuts = sim_cuts_create(rest, s);
            int states[4];
            double bottleneck;
            add_ways(&problem, 0, s, 0, 0, &ways);
            qsort(ways.list, (size_t)ways.count, sizeof *ways.list, by_value);
            for (int w = 0; w < ways.count; w++) {
                assert_true(sim_cuts_bound(cuts) <= ways.list[w] + 1e-9);
                assert_true(sim_cuts_next(cuts, states, &bottleneck));
                assert_float_equal(bottleneck, ways.list[w], 1e-9);
            }
            assert_true(sim_cuts_bound(cuts) == INFINITY && !sim_cuts_next(cuts, states, &bottleneck));
            sim_cuts_destroy(&cuts);
            free(ways.list);
        }
        sim_rest_destroy(&rest);
    }
}

/* Bytes of the fullest stage, the least over all ways to cut what lies behind `from` into stages `stage` .. stages - 1.
 */
static double leanest_rest(const struct sim_partition_problem *p, int from, int stage, int stages)
{
    const struct sim_partition_memory *m = p->memory;
    double best = INFINITY;
    for (int to = from + 1; to < p->state_count; to++) {
        if ((stage == stages - 1) != (to == p->state_count - 1))
            continue;
        double bytes = 0;
        for (int s = from; s < to; s++)
            bytes += m->held[s + 1] - m->held[s] + (m->versions[stage] - 1) * (m->version[s + 1] - m->version[s]) +
                     m->in_flight[stage] * (m->slot[s + 1] - m->slot[s]);
        double behind = stage == stages - 1 ? 0 : leanest_rest(p, to, stage + 1, stages);
        best = fmin(best, fmax(bytes, behind));
    }
    return best;
}

/* Stages that hold much more than their neighbours too; a limit of just that fits, and none below. */
static void the_leanest_partition_equals_brute_force(void **state)
{
    (void)state;
    for (int n = 0; n < 300; n++) {
        int layers = 1 + chain_below(9), stages = 1 + chain_below(layers < 5 ? layers : 5), versions[5], in_flight[5];
        double held[10] = {0}, version[10] = {0}, slot[10] = {0}, least, none;
        for (int l = 1; l <= layers; l++) {
            held[l] = held[l - 1] + 1 + chain_below(100);
            version[l] = version[l - 1] + 1 + chain_below(50);
            slot[l] = slot[l - 1] + 1 + chain_below(200);
        }
        for (int i = 0; i < stages; i++) {
            versions[i] = 1 + chain_below(4);
            in_flight[i] = 1 + chain_below(8);
        }
        struct sim_partition_memory memory = {held, version, slot, versions, in_flight};
        struct sim_partition_problem problem = {.state_count = layers + 1, .memory = &memory};
        double expected = leanest_rest(&problem, 0, 0, stages);
        int states[5];
        assert_true(sim_partition_leanest(&problem, stages, INFINITY, states, &least));
        assert_float_equal(least, expected, 0);
        assert_false(sim_partition_leanest(&problem, stages, expected - 1, states, &none));
        for (int off = -1; off <= 1; off++) {
            problem.memory_limit = expected + off;
            assert_int_equal(sim_partition_fits(&problem, stages), off >= 0);
        }
        double most = 0;
        for (int i = 0; i < stages; i++)
            most = fmax(
                most, sim_partition_bytes(&problem, i > 0 ? states[i - 1] : 0, i + 1 < stages ? states[i] : layers, i));
        assert_float_equal(most, expected, 0);
    }
}

static double least_bottleneck(const struct sim_search *found)
{
    double best = INFINITY;
    for (int c = 0; c < found->count; c++)
        best = fmin(best, found->candidates[c].bottleneck_s);
    return best;
}

/* Every cut of a built-in network on up to 4 devices, each planned and costed as a whole. */
static void plans_of_real_networks_equal_brute_force(void **state)
{
    (void)state;
    static const char *const networks[] = {"network=lenet5", "network=alexnet", "network=vgg16", "network=resnet14"};
    for (int n = 0; n < 4; n++) {
        const char *sets[] = {networks[n],        n == 0 ? "data.set=mnist" : "data.set=cifar10",
                              "devices.count=4",  "pipeline.schedule=stale",
                              "cost.device=v100", "devices.backend=cuda"};
        struct search s;
        search_well(sets, 6, &s);
        const char *priced[] = {sets[0], sets[1], sets[3], sets[4], sets[5]};
        double best = INFINITY;
        int L = s.network->weight_layer_count;
        for (int mask = 0; mask < 1 << (L - 1); mask++) {
            int cuts[32], k = cuts_of_mask(mask, L, cuts);
            if (k > 3)
                continue;
            char *text = cuts_of(cuts, k);
            best = fmin(best, trial_of(priced, 5, s.network, text, 1).bottleneck_s);
            free(text);
        }
        assert_float_equal(least_bottleneck(&s.found) / best, 1, 1e-9);
        search_fini(&s);
    }
}

enum { NODES = 8 };
struct graph {
    int nodes;
    bool edge[NODES][NODES];
    int ms[NODES], bytes[NODES];
};

/* Node k reads some earlier ones, the input when none. */
static struct graph random_graph(void)
{
    struct graph g = {.nodes = 2 + chain_below(NODES - 1)};
    for (int k = 0; k < g.nodes; k++) {
        g.ms[k] = 1 + chain_below(50);
        g.bytes[k] = 4 * (1 + chain_below(4000));
        for (int j = 0; j < k; j++)
            g.edge[j][k] = chain_below(3) == 0;
    }
    return g;
}

static void write_csv(const struct graph *g, const char *path)
{
    char text[4096] = "name,forward_ms,backward_ms,activation_bytes,parameter_bytes,inputs\ninput,0,0,400,0,\n";
    for (int k = 0; k < g->nodes; k++) {
        sprintf(text + strlen(text), "n%d,%d,0,%d,40,", k, g->ms[k], g->bytes[k]);
        bool any = false;
        for (int j = 0; j < k; j++)
            if (g->edge[j][k]) {
                sprintf(text + strlen(text), "%sn%d", any ? ";" : "", j);
                any = true;
            }
        strcat(text, any ? "\n" : "input\n");
    }
    place_write(path, text);
}

/* The bottleneck of an assignment of nodes to stages, in seconds; infinite when it is none: an edge leads back, or a
 * stage is empty. 1e6 bytes a second, both ways; where copies block, on the devices on both sides. */
static double assignment_s(const struct graph *g, const int *stage, int stages, bool blocks)
{
    double worst = 0, before = 0;
    for (int s = 0; s < stages; s++) {
        double ms = 0, bytes = 0;
        for (int k = 0; k < g->nodes; k++)
            ms += stage[k] == s ? g->ms[k] : 0;
        if (ms == 0)
            return INFINITY;
        bool input_crosses = false;
        for (int k = 0; k < g->nodes; k++) {
            bool crosses = false, reads_input = true;
            for (int j = 0; j < g->nodes; j++) {
                if (g->edge[k][j] && stage[j] < stage[k])
                    return INFINITY;
                crosses |= g->edge[k][j] && stage[k] <= s && stage[j] > s;
                reads_input &= !g->edge[j][k];
            }
            bytes += crosses ? g->bytes[k] : 0;
            input_crosses |= reads_input && stage[k] > s;
        }
        bytes += input_crosses ? 400 : 0;
        double copies = s < stages - 1 ? 2 * bytes / 1e6 : 0;
        worst = fmax(worst, blocks ? ms * 1e-3 + before + copies : fmax(ms * 1e-3, copies));
        before = copies;
    }
    return worst;
}

static double graph_brute_force(const struct graph *g, int most, bool blocks)
{
    double best = INFINITY;
    for (int stages = 1; stages <= most; stages++) {
        int stage[NODES] = {0}, k = 0;
        while (k < g->nodes) {
            best = fmin(best, assignment_s(g, stage, stages, blocks));
            for (k = 0; k < g->nodes && ++stage[k] == stages; k++)
                stage[k] = 0;
        }
    }
    return best;
}

/* A device file whose messages take long: computation by what the network says. */
static void write_slow_device(const struct place *place, double latency_s, double link_bytes_per_s, const char *more)
{
    char *text = sp_format("peak_flops: 1e12\nbandwidth_bytes_per_s: 1e12\nlaunch_s: 0\nlatency_s: %g\n"
                           "link_bytes_per_s: %g\n%s"
                           "convolution: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                           "fully_connected: {forward: 1, backward_input: 1, backward_weight: 1}\n",
                           latency_s, link_bytes_per_s, more);
    place_write(place->device, text);
    free(text);
}

static void plans_of_graphs_equal_brute_force(void **state)
{
    (void)state;
    struct place place;
    place_init(&place, ".csv");
    int across = 0;
    for (int n = 0; n < 60; n++) {
        struct graph g = random_graph();
        bool blocks = n % 3 == 2;
        write_csv(&g, place.network);
        write_slow_device(&place, 0, 1e6, blocks ? "link_blocks: true\n" : "");
        const char *sets[] = {place.network_set, place.device_set, "devices.count=3", "pipeline.schedule=stale",
                              "train.batch=1"};
        struct search s;
        search_well(sets, 5, &s);
        double best = graph_brute_force(&g, 3, blocks);
        assert_float_equal(least_bottleneck(&s.found) / best, 1, 1e-9);
        across += s.found.candidates[0].network != NULL;
        search_fini(&s);
    }
    assert_true(across > 5); /* boundaries that are no prefix of the listed order are found and win */
    place_fini(&place);
}

/* The fastest of all ways to cut for up to `devices` devices in at most `limit` bytes each; how many ways there are. */
static double fastest_of_all(const char *const *sets, int count, const struct sp_network *network, int devices,
                             double limit, int *ways)
{
    double best = INFINITY;
    int L = network->weight_layer_count;
    *ways = 0;
    for (int mask = 0; mask < 1 << (L - 1); mask++) {
        int cuts[32], k = cuts_of_mask(mask, L, cuts);
        if (k > devices - 1)
            continue;
        char *text = cuts_of(cuts, k);
        struct trial trial = trial_steady(sets, count, network, text);
        if (trial.bytes <= limit)
            best = fmin(best, trial.time_s);
        free(text);
        (*ways)++;
    }
    return best;
}

/* Searches, and compares the best with brute force; all bounds hold. */
static void compare_with_all(const char *const *sets, int count, int devices, double limit, int *ways)
{
    const char *all[16];
    char *devices_set = sp_format("devices.count=%d", devices), *limit_set = sp_format("plan.memory=%.17g", limit);
    struct search s;
    for (int k = 0; k < count; k++)
        all[k] = sets[k];
    all[count] = devices_set;
    all[count + 1] = limit_set;
    search_well(all, limit < INFINITY ? count + 2 : count + 1, &s);
    const struct sim_candidate *found = &s.found.candidates[0];
    double best = fastest_of_all(sets, count, s.network, devices, limit, ways);
    char *cuts = cuts_of(found->cuts, found->cut_count);
    struct trial trial = trial_steady(sets, count, s.network, cuts);
    assert_null(found->network);
    assert_float_equal(trial.time_s / best, 1, 1e-4);
    assert_true(trial.bytes <= limit);
    assert_null(s.found.doubt);
    assert_true(s.found.bound_s >= found->minibatch_s * (1 - 1e-9));
    for (int c = 0; c < s.found.count; c++)
        assert_true(found[c].estimate_s <= found[c].minibatch_s * (1 + 1e-6));
    free(cuts);
    free(devices_set);
    free(limit_set);
    search_fini(&s);
}

/* All messages over one bus, whose sum no bottleneck of a stage or a cut tells; once with thousands of ways to cut. */
static void plans_over_one_bus_equal_brute_force(void **state)
{
    (void)state;
    static const char *const schedules[] = {"pipeline.schedule=stale", "pipeline.schedule=gpipe",
                                            "pipeline.schedule=1f1b"};
    struct place place;
    int ways;
    place_init(&place, ".csv");
    place_write_device(&place, 5e5, true);
    for (int n = 0; n < 6; n++) {
        const char *sets[] = {place.network_set,         place.device_set, schedules[n % 3],
                              "pipeline.microbatches=4", "train.batch=8",  "cost.model=import"};
        place_write_chain(&place, n == 0 ? 17 : 4 + n);
        compare_with_all(sets, 6, n == 0 ? 5 : 4, INFINITY, &ways);
        assert_true(n > 0 || ways == 1 + 16 + 120 + 560 + 1820);
    }
    place_fini(&place);
}

/* Seconds of a minibatch between the last of `many` and twice as many. */
static double long_run_s(const char *const *sets, int count, const struct sp_network *network, const char *cuts,
                         int64_t many)
{
    return (trial_of(sets, count, network, cuts, 2 * many).time_s - trial_of(sets, count, network, cuts, many).time_s) /
           (double)many;
}

/*
 * Messages that take long, of 5 to 40 ms latency over links about as slow as the layers: a pipeline is then held up by
 * what comes back, for periods of several minibatches, after a beginning of hundreds. What is said of each candidate is
 * what a run of a hundred thousand minibatches finds, and the first is the best of all ways to cut.
 */
static void steady_states_are_those_of_long_runs(void **state)
{
    (void)state;
    static const double latencies[] = {5e-3, 0.01, 0.02, 0.04};
    static const char *const schedules[] = {"pipeline.schedule=stale", "pipeline.schedule=1f1b-async",
                                            "pipeline.schedule=gpipe"};
    struct place place;
    int held_up = 0, not_steady = 0;
    place_init(&place, ".csv");
    for (int n = 0; n < 36; n++) {
        const char *sets[] = {place.network_set, place.device_set,
                              schedules[n % 3],  n % 3 == 2 ? "pipeline.microbatches=4" : "pipeline.microbatches=1",
                              "train.batch=8",   "cost.model=import",
                              "devices.count=4", "plan.candidates=8"};
        struct search s;
        place_write_chain(&place, 5 + n % 4);
        write_slow_device(&place, latencies[n % 4], 2e5 * (1 + chain_below(20)), "");
        search_well(sets, 8, &s);
        const struct sim_candidate *found = s.found.candidates;
        assert_null(s.found.doubt);
        for (int c = 0; c < s.found.count; c++) {
            char *text = cuts_of(found[c].cuts, found[c].cut_count);
            double seconds = long_run_s(sets, 6, s.network, text, 100000);
            if (fabs(found[c].minibatch_s / seconds - 1) > 2e-5)
                fail_msg("network %d, %s: %.9g s, and %.9g in a long run", n, text, found[c].minibatch_s, seconds);
            not_steady += found[c].error > 0;
            held_up += found[c].minibatch_s > found[c].bottleneck_s * 1.001;
            free(text);
        }
        double best = INFINITY;
        int L = s.network->weight_layer_count;
        for (int mask = 0; mask < 1 << (L - 1); mask++) {
            int cuts[32], k = cuts_of_mask(mask, L, cuts);
            char *text = cuts_of(cuts, k);
            best = k < 4 ? fmin(best, long_run_s(sets, 6, s.network, text, 100000)) : best;
            free(text);
        }
        assert_float_equal(found[0].minibatch_s / best, 1, 2e-5);
        search_fini(&s);
    }
    assert_true(held_up > 50 && not_steady < 10);
    place_fini(&place);
}

/*
 * Over fair links, whose messages slow each other, some plans come to no steady state for very long: what a long run
 * finds is then as far off as is said at most, and else equal.
 */
static void what_is_not_steady_is_as_far_off_as_is_said(void **state)
{
    (void)state;
    struct place place;
    int not_steady = 0;
    place_init(&place, ".csv");
    for (int n = 0; n < 8; n++) {
        const char *sets[] = {place.network_set,
                              place.device_set,
                              n % 2 == 0 ? "pipeline.schedule=stale" : "pipeline.schedule=1f1b-async",
                              "train.batch=8",
                              "cost.model=import",
                              "devices.count=4",
                              "plan.candidates=30"};
        struct search s;
        place_write_chain(&place, 6);
        write_slow_device(&place, (1 + chain_below(40)) * 1e-3, 5e5 * (1 + chain_below(4)), "link_shared: fair\n");
        search_well(sets, 7, &s);
        for (int c = 0; c < s.found.count; c++) {
            const struct sim_candidate *one = &s.found.candidates[c];
            char *text = cuts_of(one->cuts, one->cut_count);
            double seconds = long_run_s(sets, 5, s.network, text, 20000);
            if (fabs(one->minibatch_s / seconds - 1) > one->error + 1e-4)
                fail_msg("network %d, %s: %.9g s (%.2g), and %.9g in a long run", n, text, one->minibatch_s, one->error,
                         seconds);
            not_steady += one->error > 0;
            free(text);
        }
        search_fini(&s);
    }
    assert_true(not_steady > 0);
    place_fini(&place);
}

/*
 * The shortest of all trainings of some minibatches, from one, where filling the pipeline is most of it, to many: of
 * partitions with the same bottleneck, which are many where times are whole milliseconds, the soonest filled one wins.
 */
static void whole_trainings_equal_brute_force(void **state)
{
    (void)state;
    static const char *const schedules[] = {"pipeline.schedule=stale", "pipeline.schedule=1f1b-async",
                                            "pipeline.schedule=gpipe", "pipeline.schedule=1f1b",
                                            "pipeline.schedule=sequential"};
    static const int lengths[] = {1, 2, 3, 5, 8, 20, 100};
    struct place place;
    place_init(&place, ".csv");
    for (int n = 0; n < 70; n++) {
        char *length = sp_format("train.iterations=%d", lengths[n % 7]);
        const char *sets[] = {place.network_set,         place.device_set,      schedules[n % 5],
                              "pipeline.microbatches=4", "train.batch=8",       "cost.model=import",
                              "devices.count=3",         "plan.objective=time", length};
        place_write_chain(&place, 3 + n % 6);
        if (n % 5 < 2 && n % 4 < 3)
            sets[3] = "pipeline.microbatches=1";
        if (n % 2 == 0)
            place_write_device(&place, 1e12, false);
        struct search s;
        search_well(sets, 9, &s);
        const struct sim_candidate *found = &s.found.candidates[0];
        int L = s.network->weight_layer_count;
        double best = INFINITY;
        for (int mask = 0; mask < 1 << (L - 1); mask++) {
            int cuts[32], k = cuts_of_mask(mask, L, cuts);
            if (k > 2)
                continue;
            char *text = cuts_of(cuts, k);
            best = fmin(best, trial_of(sets, 6, s.network, text, lengths[n % 7]).time_s);
            free(text);
        }
        assert_float_equal(found->time_s / best, 1, 1e-9);
        assert_null(s.found.doubt);
        assert_true(s.found.bound_time_s >= best * (1 - 1e-9));
        for (int c = 0; c < s.found.count; c++)
            if (found[c].estimate_s * lengths[n % 7] > found[c].time_s * (1 + 1e-9))
                fail_msg("%s, %s, %d cuts: %.9g s are bounded by %.9g s", sets[2], length, found[c].cut_count,
                         found[c].time_s, found[c].estimate_s * lengths[n % 7]);
        search_fini(&s);
        free(length);
    }
    place_fini(&place);
}

/* What is known before simulation is never more than what simulation finds: every schedule, placement and link. */
static void bounds_are_bounds(void **state)
{
    (void)state;
    static const char *const devices[] = {"cost.device=v100", "cost.device=gpu-2016", "cost.device=cpu"};
    for (int k = 0; sp_schedules[k] != NULL; k++)
        for (int d = 0; d < 3; d++) {
            char *schedule_set = sp_format("pipeline.schedule=%s", sp_schedules[k]->name);
            const char *sets[] = {
                "network=resnet8",    "data.set=cifar10",    "devices.count=5",
                "train.batch=16",     schedule_set,          devices[d],
                "plan.placement=any", "plan.candidates=300", d < 2 ? "devices.backend=cuda" : "devices.backend=cpu",
                "plan.memory=1e13"};
            struct search s;
            search_well(sets, 10, &s);
            assert_true(s.found.count > 60);
            for (int c = 0; c < s.found.count; c++)
                if (s.found.candidates[c].estimate_s > s.found.candidates[c].minibatch_s * (1 + 1e-6))
                    fail_msg("%s, %s, M %d, split %d, %d cuts: %.9g s are bounded by %.9g s", sp_schedules[k]->name,
                             devices[d], s.found.candidates[c].microbatches, s.found.candidates[c].split,
                             s.found.candidates[c].cut_count, s.found.candidates[c].minibatch_s,
                             s.found.candidates[c].estimate_s);
            search_fini(&s);
            free(schedule_set);
        }
}

/* Limits that forbid most ways to cut, the fastest as well. */
static void plans_within_memory_equal_brute_force(void **state)
{
    (void)state;
    static const char *const networks[] = {"network=lenet5", "network=alexnet", "network=resnet14"};
    static const char *const schedules[] = {"pipeline.schedule=1f1b-async", "pipeline.schedule=stale"};
    static const double limits[] = {1.05, 1.3, 2};
    for (int n = 0; n < 12; n++) {
        const char *parts = n < 6 ? "pipeline.microbatches=1" : "pipeline.microbatches=4";
        const char *sets[] = {networks[n % 3],        n % 3 == 0 ? "data.set=mnist" : "data.set=cifar10",
                              schedules[n / 3 % 2],   "cost.device=v100",
                              "devices.backend=cuda", parts};
        const char *tight[] = {sets[0], sets[1], sets[2], sets[3], sets[4], parts, "devices.count=3", "plan.memory=1"};
        struct search s;
        int ways;
        search_plain(tight, 8, &s);
        double limit = limits[n % 3] * search_least_bytes(&s);
        search_fini(&s);
        compare_with_all(sets, 6, 3, limit, &ways);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_of_a_line_equal_brute_force),
        cmocka_unit_test(the_leanest_partition_equals_brute_force),
        cmocka_unit_test(plans_of_real_networks_equal_brute_force),
        cmocka_unit_test(plans_of_graphs_equal_brute_force),
        cmocka_unit_test(plans_over_one_bus_equal_brute_force),
        cmocka_unit_test(steady_states_are_those_of_long_runs),
        cmocka_unit_test(what_is_not_steady_is_as_far_off_as_is_said),
        cmocka_unit_test(whole_trainings_equal_brute_force),
        cmocka_unit_test(bounds_are_bounds),
        cmocka_unit_test(plans_within_memory_equal_brute_force),
    };
    return cmocka_run_group_tests_name("planner", tests, NULL, NULL);
}
