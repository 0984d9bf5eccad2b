/*
 * The planner against brute force, and the readers of measured networks.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/schedule.h"
#include "sim/loads.h"
#include "sim/partition.h"
#include "sim/planner.h"
#include "sim/simulate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t random_state = 1;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

static double random_s(void)
{
    return (1 + random_below(1000)) * 1e-3;
}

static sp_status plain_memory(const struct sp_experiment *experiment, const struct sp_plan *plan,
                              struct sp_memory_plan **out, struct sp_error *err)
{
    (void)experiment;
    struct sp_footprint plain = sp_footprint_plain(plan->network);
    return sp_memory_plan_create(plan, &plain, out, err);
}

static const struct sim_memory_model plain = {plain_memory, true};

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
        int layers = 1 + random_below(16), stages = layers < 4 ? layers : 4;
        double forward[17] = {0}, backward[17] = {0}, link[17] = {0}, bus[17] = {0}, block[17] = {0};
        for (int l = 1; l <= layers; l++) {
            forward[l] = forward[l - 1] + random_s();
            backward[l] = backward[l - 1] + random_s();
            link[l] = random_s() * random_below(3);
            bus[l] = random_s() * random_below(4);
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

/* A folder of its own for files, and an experiment that reads them. */
struct place {
    char folder[64];
    char *network, *device;
};

static void place_init(struct place *place, const char *suffix)
{
    strcpy(place->folder, "/tmp/stalepipe-planner-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->network = sp_format("%s/net%s", place->folder, suffix);
    place->device = sp_format("%s/device.yaml", place->folder);
    struct sp_error err = {0};
    assert_int_equal(sp_file_write(place->device,
                                   "peak_flops: 1e12\nbandwidth_bytes_per_s: 1e12\nlaunch_s: 0\nlatency_s: 0\n"
                                   "link_bytes_per_s: 1e6\n"
                                   "convolution: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                                   "fully_connected: {forward: 1, backward_input: 1, backward_weight: 1}\n",
                                   &err),
                     SP_OK);
}

static void place_fini(struct place *place)
{
    unlink(place->network);
    unlink(place->device);
    rmdir(place->folder);
    free(place->network);
    free(place->device);
}

/* Reads "name: p" with the --set words, searches, and gives the search; the caller frees. */
static sp_status search_by(const struct sim_memory_model *memory, const char *const *sets, int count,
                           struct sim_search *out, struct sp_network **network, struct sp_error *err)
{
    char path[] = "/tmp/stalepipe-experiment-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, "name: p\n", 8), 8);
    close(file);
    struct sp_experiment *experiment;
    *network = NULL;
    sp_status status = sp_experiment_read(path, sets, count, &experiment, err);
    if (status == SP_OK)
        status = sp_experiment_network(experiment, network, err);
    if (status == SP_OK)
        status = sim_plan_search(experiment, *network, memory, out, err);
    sp_experiment_destroy(&experiment);
    unlink(path);
    return status;
}

static sp_status search(const char *const *sets, int count, struct sim_search *out, struct sp_network **network,
                        struct sp_error *err)
{
    return search_by(&plain, sets, count, out, network, err);
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
        struct sim_search found = {0};
        struct sp_network *network;
        struct sp_error err = {0};
        assert_int_equal(search(sets, 6, &found, &network, &err), SP_OK);
        double best = INFINITY;
        int L = network->weight_layer_count;
        for (int mask = 0; mask < 1 << (L - 1); mask++) {
            if (__builtin_popcount((unsigned)mask) > 3)
                continue;
            char cuts[128] = "pipeline.cuts=[", path[] = "/tmp/stalepipe-experiment-XXXXXX";
            for (int c = 1; c < L; c++)
                if (mask >> (c - 1) & 1)
                    sprintf(cuts + strlen(cuts), "%s%d", cuts[strlen(cuts) - 1] == '[' ? "" : ",", c);
            strcat(cuts, "]");
            const char *all[] = {sets[0], sets[1], sets[3], sets[4], sets[5], cuts};
            struct sp_experiment *e;
            struct sp_plan *plan;
            struct sim_cost *cost;
            int file = mkstemp(path);
            close(file);
            assert_int_equal(sp_experiment_read(path, all, 6, &e, &err), SP_OK);
            assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
            assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
            best = fmin(best, sim_bottleneck_s(plan, cost));
            sim_cost_destroy(&cost);
            sp_plan_destroy(&plan);
            sp_experiment_destroy(&e);
            unlink(path);
        }
        assert_float_equal(least_bottleneck(&found) / best, 1, 1e-9);
        sim_search_fini(&found);
        sp_network_destroy(&network);
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
    struct graph g = {.nodes = 2 + random_below(NODES - 1)};
    for (int k = 0; k < g.nodes; k++) {
        g.ms[k] = 1 + random_below(50);
        g.bytes[k] = 4 * (1 + random_below(4000));
        for (int j = 0; j < k; j++)
            g.edge[j][k] = random_below(3) == 0;
    }
    return g;
}

static void write_csv(const struct graph *g, const char *path)
{
    char text[4096] = "name,forward_ms,backward_ms,activation_bytes,parameter_bytes,inputs\ninput,0,0,400,0,\n";
    struct sp_error err = {0};
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
    assert_int_equal(sp_file_write(path, text, &err), SP_OK);
}

/* The bottleneck of an assignment of nodes to stages, in seconds; infinite when it is none: an edge leads back, or a
 * stage is empty. 1e6 bytes a second, both ways. */
static double assignment_s(const struct graph *g, const int *stage, int stages)
{
    double worst = 0;
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
        worst = fmax(worst, fmax(ms * 1e-3, s < stages - 1 ? 2 * bytes / 1e6 : 0));
    }
    return worst;
}

static double graph_brute_force(const struct graph *g, int most)
{
    double best = INFINITY;
    for (int stages = 1; stages <= most; stages++) {
        int stage[NODES] = {0}, k = 0;
        while (k < g->nodes) {
            best = fmin(best, assignment_s(g, stage, stages));
            for (k = 0; k < g->nodes && ++stage[k] == stages; k++)
                stage[k] = 0;
        }
    }
    return best;
}

static void plans_of_graphs_equal_brute_force(void **state)
{
    (void)state;
    struct place place;
    place_init(&place, ".csv");
    char *network_set = sp_format("network={profile: %s}", place.network);
    char *device_set = sp_format("cost.device=%s", place.device);
    int across = 0;
    for (int n = 0; n < 60; n++) {
        struct graph g = random_graph();
        write_csv(&g, place.network);
        const char *sets[] = {network_set, device_set, "devices.count=3", "pipeline.schedule=stale", "train.batch=1"};
        struct sim_search found = {0};
        struct sp_network *network;
        struct sp_error err = {0};
        assert_int_equal(search(sets, 5, &found, &network, &err), SP_OK);
        double best = graph_brute_force(&g, 3);
        assert_float_equal(least_bottleneck(&found) / best, 1, 1e-9);
        across += found.candidates[0].network != NULL;
        sim_search_fini(&found);
        sp_network_destroy(&network);
    }
    assert_true(across > 5); /* boundaries that are no prefix of the listed order are found and win */
    free(network_set);
    free(device_set);
    place_fini(&place);
}

/*
 * By hand: node2 (10 ms) feeds node3 (4) and node4 (5), which node5 (1) adds up. Two stages: {2} and {3,4,5} take 10
 * and 10; {2,3} and {4,5}: 14 and 6. So 10 ms, and 20 with one stage.
 */
static const char diamond[] =
    "node5 -- Add(inplace) -- forward_compute_time=1.000, backward_compute_time=0.000, activation_size=8.000, "
    "parameter_size=0.000\n"
    "node1 -- Input -- forward_compute_time=99.000, backward_compute_time=0.000, activation_size=602112.000, "
    "parameter_size=0.000\n"
    "node2 -- Conv2d(3, 8, kernel_size=(3, 3)) -- forward_compute_time=4.000, backward_compute_time=6.000, "
    "activation_size=[4.0; 4.0], parameter_size=400.000 -- stage_id=0\n"
    "node3 -- ReLU(inplace) -- forward_compute_time=1.000, backward_compute_time=3.000, activation_size=8.000, "
    "parameter_size=0.000\n"
    "node4 -- ReLU(inplace) -- forward_compute_time=2.000, backward_compute_time=3.000, activation_size=8.000, "
    "parameter_size=0.000\n"
    "\tnode1 -- node2\n\tnode2 -- node3\n\tnode2 -- node4\n\tnode3 -- node5\n\tnode4 -- node5\n";

static void pipedream_profile_reads_as_by_hand(void **state)
{
    (void)state;
    struct place place;
    struct sp_error err = {0};
    place_init(&place, ".graph.txt");
    assert_int_equal(sp_file_write(place.network, diamond, &err), SP_OK);
    char *network_set = sp_format("network={profile: %s}", place.network);
    const char *sets[] = {network_set, "devices.count=2", "pipeline.schedule=stale", "plan.ignore_transfers=true"};
    struct sim_search found = {0};
    struct sp_network *network;
    assert_int_equal(search(sets, 4, &found, &network, &err), SP_OK);
    assert_int_equal(network->layer_count, 4);
    assert_int_equal(network->measured_batch, 1);
    assert_int_equal(network->parameter_count, 100);
    assert_string_equal(network->layers[0].name, "node2");
    assert_string_equal(network->layers[3].name, "node5");
    assert_int_equal(network->layers[3].input_count, 2);
    assert_float_equal(network->measured[0].bytes, 602112, 0);
    assert_float_equal(network->measured[1].bytes, 8, 0);
    assert_float_equal(found.candidates[0].bottleneck_s, 0.010, 1e-12);
    assert_float_equal(found.candidates[0].minibatch_s, 0.010, 1e-12);
    assert_int_equal(found.candidates[0].staleness, 2);
    sim_search_fini(&found);
    sp_network_destroy(&network);
    free(network_set);
    place_fini(&place);
}

static void wrong_profiles_are_told(void **state)
{
    (void)state;
#define FIGURES "forward_compute_time=1.0, backward_compute_time=2.0, activation_size=4.0, parameter_size=0.0\n"
#define NODE(n) "node" n " -- Conv2d -- " FIGURES
#define HEADER  "name,forward_ms,backward_ms,activation_bytes,parameter_bytes,inputs\n"
    static const struct {
        const char *suffix, *text, *message;
    } cases[] = {
        {".graph.txt", "", "has no layers"},
        {".graph.txt", "nonsense\n", ":1:1: profile: expected \"nodeN"},
        {".graph.txt", "node1\n", ":1:1: profile: expected \"nodeN -- description"},
        {".graph.txt", "node1 -- Conv2d -- forward_compute_time=1.0\n", ":1:1: profile: expected forward_compute_time"},
        {".graph.txt",
         "node1 -- C -- forward_compute_time=x, backward_compute_time=2.0, activation_size=4.0, parameter_size=0.0\n",
         ":1:1: profile: expected a number"},
        {".graph.txt",
         "node1 -- C -- forward_compute_time=-1, backward_compute_time=2.0, activation_size=4.0, parameter_size=0.0\n",
         "expected a number, 0 or more"},
        {".graph.txt",
         "node1 -- C -- forward_compute_time=nan, backward_compute_time=2.0, activation_size=4.0, parameter_size=0.0\n",
         "expected a number, 0 or more"},
        {".graph.txt", NODE("1") NODE("1"), ":2:1: profile: a second node of that name: \"node1\""},
        {".graph.txt", NODE("1") "\tnode1 -- node7\n",
         ":2:1: profile: an edge of a node that is not listed before: "
         "\"node7\""},
        {".graph.txt", NODE("1") "\tnode1\n", ":2:1: profile: expected an edge"},
        {".graph.txt", NODE("1"), "nothing leads to a node"},
        {".graph.txt", "node1 -- Input -- " FIGURES NODE("2") "\tnode2 -- node1\n", "leads to"},
        {".graph.txt", "node1 -- Input -- " FIGURES NODE("2") NODE("3") "\tnode2 -- node3\n\tnode3 -- node2\n",
         "has a cycle"},
        {".csv", "name,forward\na,1\n", ":1:1: profile: expected the header"},
        {".csv", HEADER "a,1,2,3\n", ":2:1: profile: expected a number, 0 or more, found: \"\""},
        {".csv", HEADER "a,1,2,3,x\n", "expected a number, 0 or more, found: \"x\""},
        {".csv", HEADER "a,1,2,3,4,b\n", "an input that is no earlier layer: \"b\""},
        {".csv", HEADER "a,1,2,3,4\na,1,2,3,4\n", ":3:1: profile: a second node of that name: \"a\""},
        {".csv", HEADER "a,1,2,1e300,4\n", "sizes beyond all measure"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct place place;
        struct sp_error err = {0};
        place_init(&place, cases[c].suffix);
        assert_int_equal(sp_file_write(place.network, cases[c].text, &err), SP_OK);
        char *network_set = sp_format("network={profile: %s}", place.network);
        const char *sets[] = {network_set, "devices.count=2"};
        struct sim_search found = {0};
        struct sp_network *network = NULL;
        assert_int_equal(search(sets, 2, &found, &network, &err), SP_E_INPUT);
        if (strstr(err.text, cases[c].message) == NULL)
            fail_msg("case %zu: \"%s\" is not in \"%s\"", c, cases[c].message, err.text);
        sp_error_fini(&err);
        sim_search_fini(&found);
        sp_network_destroy(&network);
        free(network_set);
        place_fini(&place);
    }
}

/* Limits hold for everything that is listed, and what cannot be is told. */
static void limits_hold(void **state)
{
    (void)state;
    static const char *const limits[] = {"plan.staleness=1", "plan.stale_weights=5", "plan.memory=20e6"};
    for (int l = 0; l < 3; l++) {
        const char *sets[] = {"network=vgg16", "data.set=cifar10", "devices.count=4", limits[l], "cost.device=v100"};
        struct sim_search found = {0};
        struct sp_network *network;
        struct sp_error err = {0};
        sp_status status = search(sets, 5, &found, &network, &err);
        assert_int_equal(status, l == 2 ? SP_E_INPUT : SP_OK); /* VGG-16's weights alone take more than 20 MB */
        for (int c = 0; c < found.count && status == SP_OK; c++) {
            assert_true(l != 0 || found.candidates[c].staleness <= 1);
            assert_true(l != 1 || found.candidates[c].stale_weight_fraction <= 0.05);
        }
        if (l == 2) {
            /* What the least takes is a limit that can be met: 4 digits of it, rounded up. */
            const char *text = strstr(err.text, "the least of any: ");
            assert_non_null(strstr(err.text, "no plan is within the limits"));
            assert_non_null(text);
            char *enough = sp_format("plan.memory=%.4g", 1.001 * strtod(text + strlen("the least of any: "), NULL));
            sets[3] = enough;
            sp_error_fini(&err);
            sim_search_fini(&found);
            sp_network_destroy(&network);
            assert_int_equal(search(sets, 5, &found, &network, &err), SP_OK);
            free(enough);
        }
        sp_error_fini(&err);
        sim_search_fini(&found);
        sp_network_destroy(&network);
    }
}

/*
 * Two layers of 10 + 20 ms each, a single minibatch: 60 ms, also in a pipeline that does not flush. In two stages and M
 * parts F and B take M + 1 parts each: (10 + 20) (1 + 1 / 16) = 31.875 ms for 16, the most that are tried.
 */
static void the_time_of_a_short_training_has_fill_and_drain(void **state)
{
    (void)state;
    struct place place;
    struct sim_search found = {0};
    struct sp_network *network;
    struct sp_error err = {0};
    place_init(&place, ".csv");
    assert_int_equal(sp_file_write(place.network,
                                   "name,forward_ms,backward_ms,activation_bytes,parameter_bytes\n"
                                   "a,10,20,1000,1000\nb,10,20,1000,1000\n",
                                   &err),
                     SP_OK);
    char *network_set = sp_format("network={profile: %s}", place.network);
    const char *sets[] = {network_set, "devices.count=2", "plan.ignore_transfers=true", "plan.objective=time",
                          "train.iterations=1"};
    assert_int_equal(search(sets, 5, &found, &network, &err), SP_OK);
    assert_float_equal(found.candidates[0].time_s, 0.031875, 1e-9);
    assert_int_equal(found.candidates[0].microbatches, 16);
    sim_search_fini(&found);
    sp_network_destroy(&network);
    free(network_set);
    place_fini(&place);
}

/* A diamond of 5 nodes has 10 boundaries, and 64 devices are more than either. */
static void limits_of_a_small_graph_on_many_devices(void **state)
{
    (void)state;
    struct place place;
    struct sim_search found = {0};
    struct sp_network *network;
    struct sp_error err = {0};
    place_init(&place, ".csv");
    assert_int_equal(sp_file_write(place.network,
                                   "name,forward_ms,backward_ms,activation_bytes,parameter_bytes,inputs\n"
                                   "a,1,2,1000,1000,\nb,2,2,1000,1000,a\nc,1,3,1000,1000,a\nd,3,2,1000,1000,a\n"
                                   "e,1,1,1000,1000,b c d\n",
                                   &err),
                     SP_OK);
    char *network_set = sp_format("network={profile: %s}", place.network);
    const char *sets[] = {network_set, "devices.count=64", "plan.memory=1"};
    assert_int_equal(search(sets, 3, &found, &network, &err), SP_E_INPUT);
    assert_non_null(strstr(err.text, "the least of any: "));
    sp_error_fini(&err);
    sim_search_fini(&found);
    sp_network_destroy(&network);
    free(network_set);
    place_fini(&place);
}

/* A backend that wants 50 MB to work in. */
static size_t much_scratch(const void *self, int layer, enum sp_pass pass, int batch)
{
    (void)self, (void)layer, (void)pass, (void)batch;
    return 50000000;
}

static sp_status large_memory(const struct sp_experiment *experiment, const struct sp_plan *plan,
                              struct sp_memory_plan **out, struct sp_error *err)
{
    (void)experiment;
    struct sp_footprint large = sp_footprint_plain(plan->network);
    large.scratch = much_scratch;
    return sp_memory_plan_create(plan, &large, out, err);
}

/* What is said to be the least is found where it is the limit, though the fastest that fit without the 50 MB do not. */
static void the_leanest_is_found(void **state)
{
    (void)state;
    const struct sim_memory_model large = {large_memory, false};
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=4", "plan.memory=1"};
    struct sim_search found = {0};
    struct sp_network *network;
    struct sp_error err = {0};
    assert_int_equal(search_by(&large, sets, 4, &found, &network, &err), SP_E_INPUT);
    const char *text = strstr(err.text, "the least of any: ");
    assert_non_null(text);
    double least = strtod(text + strlen("the least of any: "), NULL);
    char *enough = sp_format("plan.memory=%.0f", least);
    sets[3] = enough;
    sp_error_fini(&err);
    sim_search_fini(&found);
    sp_network_destroy(&network);
    assert_int_equal(search_by(&large, sets, 4, &found, &network, &err), SP_OK);
    assert_true((double)found.candidates[0].peak_bytes <= least);
    assert_true(found.unproven);
    free(enough);
    sim_search_fini(&found);
    sp_network_destroy(&network);
}

/* Work takes 4 times as long beside another device, 10 times beside three: one device alone is the fastest, though each
 * bound of its plans is larger than those of hundreds of others. */
static void one_device_is_found_where_devices_slow_each_other(void **state)
{
    (void)state;
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=4", "cost.device=cpu",
                          "cost.slowdown=3"};
    struct sim_search found = {0};
    struct sp_network *network;
    struct sp_error err = {0};
    assert_int_equal(search(sets, 5, &found, &network, &err), SP_OK);
    assert_int_equal(found.candidates[0].device_count, 1);
    assert_true(found.unproven);
    sim_search_fini(&found);
    sp_network_destroy(&network);
}

/* Least staleness at 95 % of the best throughput: what is chosen is fast enough, and no listed plan that is, is
 * fresher. */
static void least_staleness_keeps_its_throughput(void **state)
{
    (void)state;
    const char *sets[] = {"network=resnet20", "data.set=cifar10", "devices.count=3", "cost.device=v100",
                          "plan.objective=throughput"};
    struct sim_search fastest = {0}, freshest = {0};
    struct sp_network *network;
    struct sp_error err = {0};
    assert_int_equal(search(sets, 5, &fastest, &network, &err), SP_OK);
    sp_network_destroy(&network);
    sets[4] = "plan.objective=staleness";
    assert_int_equal(search(sets, 5, &freshest, &network, &err), SP_OK);
    double best_s = fastest.candidates[0].minibatch_s;
    assert_true(freshest.candidates[0].minibatch_s <= best_s / 0.95 * (1 + 1e-9));
    assert_true(freshest.candidates[0].staleness <= fastest.candidates[0].staleness);
    sp_network_destroy(&network);
    sim_search_fini(&fastest);
    sim_search_fini(&freshest);
}

/* A search prices many plans by files that it read once: the device's may be gone by then. */
static void a_source_reads_its_files_once(void **state)
{
    (void)state;
    struct place place;
    place_init(&place, "");
    char path[] = "/tmp/stalepipe-experiment-XXXXXX";
    close(mkstemp(path));
    char *device_set = sp_format("cost.device=%s", place.device);
    const char *sets[] = {"pipeline.cuts=[2]", device_set};
    struct sp_experiment *experiment;
    struct sp_network *network;
    struct sp_plan *plan;
    struct sim_source source;
    struct sim_cost *first, *second;
    struct sp_error err = {0};
    assert_int_equal(sp_experiment_read(path, sets, 2, &experiment, &err), SP_OK);
    assert_int_equal(sp_experiment_network(experiment, &network, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(experiment, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    assert_int_equal(sim_source_open(experiment, &source, &err), SP_OK);
    assert_int_equal(sim_cost_create(experiment, plan, NULL, &first, &err), SP_OK);
    unlink(place.device);
    assert_int_equal(sim_source_cost(&source, experiment, plan, NULL, &second, &err), SP_OK);
    assert_true(first->stages[1].backward_s > 0);
    assert_memory_equal(first->stages, second->stages, 2 * sizeof *first->stages);
    sim_cost_destroy(&first);
    assert_int_equal(sim_cost_create(experiment, plan, NULL, &first, &err), SP_E_INPUT);
    sp_error_fini(&err);
    sim_cost_destroy(&second);
    sim_source_close(&source);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
    sp_experiment_destroy(&experiment);
    unlink(path);
    free(device_set);
    place_fini(&place);
}

/* Seconds of a minibatch in the steady state, and the bytes of the fullest device, of given cuts. */
static double simulated(const char *const *sets, int count, const struct sp_network *network, const char *cuts,
                        double *bytes)
{
    const char *all[16] = {cuts};
    char path[] = "/tmp/stalepipe-experiment-XXXXXX";
    struct sp_error err = {0};
    double time_s[2];
    for (int s = 0; s < count; s++)
        all[1 + s] = sets[s];
    all[count + 2] = "devices.count=0";
    close(mkstemp(path));
    for (int r = 0; r < 2; r++) {
        struct sp_experiment *e;
        struct sp_plan *plan;
        struct sim_cost *cost;
        struct sp_memory_plan *memory;
        struct sim_result result;
        all[count + 1] = r == 0 ? "sim.minibatches=100" : "sim.minibatches=300";
        assert_int_equal(sp_experiment_read(path, all, count + 3, &e, &err), SP_OK);
        assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
        assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
        assert_int_equal(plain_memory(e, plan, &memory, &err), SP_OK);
        assert_int_equal(sim_run(plan, cost, &(struct sim_config){0}, &result, &err), SP_OK);
        *bytes = 0;
        for (int d = 0; d < plan->device_count; d++)
            *bytes = fmax(*bytes, (double)sp_memory_device_bytes(memory, d));
        time_s[r] = result.time_s;
        sim_result_fini(&result);
        sp_memory_plan_destroy(&memory);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
        sp_experiment_destroy(&e);
    }
    unlink(path);
    return (time_s[1] - time_s[0]) / 200;
}

static char *cuts_of(const int *cuts, int count)
{
    char *text = sp_strdup("pipeline.cuts=[");
    for (int c = 0; c < count; c++) {
        char *longer = sp_format("%s%s%d", text, c > 0 ? "," : "", cuts[c]);
        free(text);
        text = longer;
    }
    char *whole = sp_format("%s]", text);
    free(text);
    return whole;
}

/* The fastest of all ways to cut for up to `devices` devices in at most `limit` bytes each; how many ways there are. */
static double fastest_of_all(const char *const *sets, int count, const struct sp_network *network, int devices,
                             double limit, int *ways)
{
    double best = INFINITY, bytes;
    int L = network->weight_layer_count;
    *ways = 0;
    for (int mask = 0; mask < 1 << (L - 1); mask++) {
        int cuts[32], k = 0;
        if (__builtin_popcount((unsigned)mask) > devices - 1)
            continue;
        for (int c = 1; c < L; c++)
            if (mask >> (c - 1) & 1)
                cuts[k++] = c;
        char *text = cuts_of(cuts, k);
        double seconds = simulated(sets, count, network, text, &bytes);
        if (bytes <= limit)
            best = fmin(best, seconds);
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
    struct sim_search found = {0};
    struct sp_network *network;
    struct sp_error err = {0};
    double bytes;
    for (int s = 0; s < count; s++)
        all[s] = sets[s];
    all[count] = devices_set;
    all[count + 1] = limit_set;
    assert_int_equal(search(all, limit < INFINITY ? count + 2 : count + 1, &found, &network, &err), SP_OK);
    double best = fastest_of_all(sets, count, network, devices, limit, ways);
    char *cuts = cuts_of(found.candidates[0].cuts, found.candidates[0].cut_count);
    assert_null(found.candidates[0].network);
    assert_float_equal(simulated(sets, count, network, cuts, &bytes) / best, 1, 1e-4);
    assert_true(bytes <= limit);
    assert_false(found.unproven);
    assert_true(found.bound_s >= found.candidates[0].minibatch_s * (1 - 1e-9));
    for (int c = 0; c < found.count; c++)
        assert_true(found.candidates[c].estimate_s <= found.candidates[c].minibatch_s * (1 + 1e-6));
    free(cuts);
    free(devices_set);
    free(limit_set);
    sim_search_fini(&found);
    sp_network_destroy(&network);
}

static void write_chain(const char *path, int layers)
{
    char text[4096] = "name,forward_ms,backward_ms,activation_bytes,parameter_bytes\n";
    struct sp_error err = {0};
    for (int l = 0; l < layers; l++)
        sprintf(text + strlen(text), "n%d,%d,%d,%d,%d\n", l, 1 + random_below(30), 1 + random_below(60),
                4 * (1 + random_below(3000)), 4 * (1 + random_below(5000)));
    assert_int_equal(sp_file_write(path, text, &err), SP_OK);
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
    char *network_set = sp_format("network={profile: %s}", place.network);
    char *device_set = sp_format("cost.device=%s", place.device);
    struct sp_error err = {0};
    assert_int_equal(sp_file_write(place.device,
                                   "peak_flops: 1e12\nbandwidth_bytes_per_s: 1e12\nlaunch_s: 0\nlatency_s: 0\n"
                                   "link_bytes_per_s: 5e5\nlink_shared: true\n"
                                   "convolution: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                                   "fully_connected: {forward: 1, backward_input: 1, backward_weight: 1}\n",
                                   &err),
                     SP_OK);
    for (int n = 0; n < 6; n++) {
        const char *sets[] = {network_set,     device_set,         schedules[n % 3], "pipeline.microbatches=4",
                              "train.batch=8", "cost.model=import"};
        write_chain(place.network, n == 0 ? 17 : 4 + n);
        compare_with_all(sets, 6, n == 0 ? 5 : 4, INFINITY, &ways);
        assert_true(n > 0 || ways == 1 + 16 + 120 + 560 + 1820);
    }
    free(network_set);
    free(device_set);
    place_fini(&place);
}

/* What is known before simulation is never more than what simulation finds: every schedule, placement and link. */
static void bounds_are_bounds(void **state)
{
    (void)state;
    static const char *const devices[] = {"cost.device=v100", "cost.device=gpu-2016", "cost.device=cpu"};
    for (int s = 0; sp_schedules[s] != NULL; s++)
        for (int d = 0; d < 3; d++) {
            char *schedule_set = sp_format("pipeline.schedule=%s", sp_schedules[s]->name);
            const char *sets[] = {
                "network=resnet8",    "data.set=cifar10",    "devices.count=5",
                "train.batch=16",     schedule_set,          devices[d],
                "plan.placement=any", "plan.candidates=300", d < 2 ? "devices.backend=cuda" : "devices.backend=cpu"};
            struct sim_search found = {0};
            struct sp_network *network;
            struct sp_error err = {0};
            if (search(sets, 9, &found, &network, &err) != SP_OK)
                fail_msg("%s", err.text);
            assert_true(found.count > 60);
            for (int c = 0; c < found.count; c++)
                if (found.candidates[c].estimate_s > found.candidates[c].minibatch_s * (1 + 1e-6))
                    fail_msg("%s, %s, M %d, split %d, %d cuts: %.9g s are bounded by %.9g s", sp_schedules[s]->name,
                             devices[d], found.candidates[c].microbatches, found.candidates[c].split,
                             found.candidates[c].cut_count, found.candidates[c].minibatch_s,
                             found.candidates[c].estimate_s);
            sim_search_fini(&found);
            sp_network_destroy(&network);
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
    for (int n = 0; n < 6; n++) {
        const char *sets[] = {networks[n % 3], n % 3 == 0 ? "data.set=mnist" : "data.set=cifar10", schedules[n / 3],
                              "cost.device=v100", "devices.backend=cuda"};
        const char *tight[] = {sets[0], sets[1], sets[2], sets[3], sets[4], "devices.count=3", "plan.memory=1"};
        struct sim_search found = {0};
        struct sp_network *network;
        struct sp_error err = {0};
        int ways;
        assert_int_equal(search(tight, 7, &found, &network, &err), SP_E_INPUT);
        const char *least = strstr(err.text, "the least of any: ");
        assert_non_null(least);
        double limit = limits[n % 3] * strtod(least + strlen("the least of any: "), NULL);
        sp_error_fini(&err);
        sim_search_fini(&found);
        sp_network_destroy(&network);
        compare_with_all(sets, 5, 3, limit, &ways);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_of_a_line_equal_brute_force),
        cmocka_unit_test(plans_of_real_networks_equal_brute_force),
        cmocka_unit_test(plans_of_graphs_equal_brute_force),
        cmocka_unit_test(pipedream_profile_reads_as_by_hand),
        cmocka_unit_test(wrong_profiles_are_told),
        cmocka_unit_test(plans_over_one_bus_equal_brute_force),
        cmocka_unit_test(bounds_are_bounds),
        cmocka_unit_test(plans_within_memory_equal_brute_force),
        cmocka_unit_test(a_source_reads_its_files_once),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(the_time_of_a_short_training_has_fill_and_drain),
        cmocka_unit_test(limits_of_a_small_graph_on_many_devices),
        cmocka_unit_test(the_leanest_is_found),
        cmocka_unit_test(one_device_is_found_where_devices_slow_each_other),
        cmocka_unit_test(least_staleness_keeps_its_throughput),
    };
    return cmocka_run_group_tests_name("planner", tests, NULL, NULL);
}
