/*
 * The readers of measured networks.
 */
#include "common/alloc.h"
#include "sim/cost.h"
#include "tests/searches.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    struct search s;
    place_init(&place, ".graph.txt");
    place_write(place.network, diamond);
    const char *sets[] = {place.network_set, "devices.count=2", "pipeline.schedule=stale",
                          "plan.ignore_transfers=true"};
    search_well(sets, 4, &s);
    assert_int_equal(s.network->layer_count, 4);
    assert_int_equal(s.network->measured_batch, 1);
    assert_int_equal(s.network->parameter_count, 100);
    assert_string_equal(s.network->layers[0].name, "node2");
    assert_string_equal(s.network->layers[3].name, "node5");
    assert_int_equal(s.network->layers[3].input_count, 2);
    assert_float_equal(s.network->measured[0].bytes, 602112, 0);
    assert_float_equal(s.network->measured[1].bytes, 8, 0);
    assert_float_equal(s.found.candidates[0].bottleneck_s, 0.010, 1e-12);
    assert_float_equal(s.found.candidates[0].minibatch_s, 0.010, 1e-12);
    assert_int_equal(s.found.candidates[0].staleness, 2);
    search_fini(&s);
    place_fini(&place);
}

/* The bus is busy with what crosses the second cut, which waits for itself alone; through the first one nothing goes.
 */
static void an_empty_message_waits_for_no_bus(void **state)
{
    (void)state;
    struct place place;
    struct search s;
    double time_s[2];
    place_init(&place, ".csv");
    place_write(place.network, "name,forward_ms,backward_ms,activation_bytes,parameter_bytes\n"
                               "a,10,20,0,1000\nb,10,20,40000,1000\nc,10,20,1000,1000\n");
    const char *sets[] = {place.network_set, place.device_set, "devices.count=3"};
    search_well(sets, 3, &s);
    for (int shared = 0; shared < 2; shared++) {
        const char *more[] = {place.network_set,         place.device_set,          "cost.model=import",
                              "pipeline.schedule=gpipe", "pipeline.microbatches=4", "train.batch=8"};
        place_write_device(&place, 1e6, shared);
        time_s[shared] = trial_of(more, 6, s.network, "pipeline.cuts=[1,2]", 50).time_s;
    }
    assert_float_equal(time_s[1], time_s[0], 1e-12);
    search_fini(&s);
    place_fini(&place);
}

static void wrong_profiles_are_told(void **state)
{
    (void)state;
#define FIGURES "forward_compute_time=1.0, backward_compute_time=2.0, activation_size=4.0, parameter_size=0.0\n"
#define NODE(n) "node" n " -- Conv2d -- " FIGURES
#define COLUMNS "name,forward_ms,backward_ms,activation_bytes,parameter_bytes"
#define HEADER  COLUMNS ",inputs\n"
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
        {".csv", "a,1,2,3,4\n", ":1:1: profile: expected the header"},
        {".csv", COLUMNS "_mb\na,1,2,3,4\n", ":1:1: profile: expected the header"},
        {".csv", COLUMNS ",device\na,1,2,3,4,0\n", ":1:1: profile: expected the header"},
        {".csv", COLUMNS "\na,1,2,3,4\nb,1,2,3,4,a\n",
         ":3:1: profile: a field more than the header has columns: \"a\""},
        {".csv", HEADER "a,1,2,3\n", ":2:1: profile: expected a number, 0 or more, found: \"\""},
        {".csv", HEADER "a,1,2,3,x\n", "expected a number, 0 or more, found: \"x\""},
        {".csv", HEADER "a,0x10,2,3,4\n", "expected a number, 0 or more, found: \"0x10\""},
        {".csv", HEADER "a,1,2,3,4,b\n", "an input that is no earlier layer: \"b\""},
        {".csv", HEADER "a,1,2,3,4\na,1,2,3,4\n", ":3:1: profile: a second node of that name: \"a\""},
        {".csv", HEADER "a,1,2,1e300,4\n", "sizes beyond all measure"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct place place;
        struct search s;
        place_init(&place, cases[c].suffix);
        place_write(place.network, cases[c].text);
        const char *sets[] = {place.network_set, "devices.count=2"};
        search_plain(sets, 2, &s);
        assert_int_equal(s.status, SP_E_INPUT);
        if (strstr(s.err.text, cases[c].message) == NULL)
            fail_msg("case %zu: \"%s\" is not in \"%s\"", c, cases[c].message, s.err.text);
        search_fini(&s);
        place_fini(&place);
    }
}

/* A byte order mark, which spreadsheets write, belongs to no name. */
static void a_byte_order_mark_is_left_out(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {".csv", "\xEF\xBB\xBF" COLUMNS "\r\na,1,2,3,4\r\n"},
        {".graph.txt", "\xEF\xBB\xBFnode1 -- Input -- " FIGURES NODE("2") "\tnode1 -- node2\n"}};
    for (int c = 0; c < 2; c++) {
        struct place place;
        struct search s;
        place_init(&place, cases[c][0]);
        place_write(place.network, cases[c][1]);
        const char *sets[] = {place.network_set, "devices.count=1"};
        search_well(sets, 2, &s);
        assert_int_equal(s.network->layer_count, 1);
        search_fini(&s);
        place_fini(&place);
    }
}

/* The clock counts 2^-40 s, 0.909 ps: 0.45 ps are nothing and said, 0.46 ps are one of them. */
static void what_is_too_short_to_be_counted_is_told(void **state)
{
    (void)state;
    static const char *const lines[] = {"a,1,0.45e-9,3,4,\n", "a,1,0.46e-9,3,4,\n", "a,1,0,3,4,\n"};
    for (int k = 0; k < 3; k++) {
        struct place place;
        place_init(&place, ".csv");
        char *text = sp_format("%s%s", HEADER, lines[k]);
        place_write(place.network, text);
        const char *sets[] = {place.network_set, "devices.count=1"};
        struct sp_experiment *e;
        struct sp_network *network;
        struct sp_plan *plan;
        struct sim_cost *cost;
        struct sp_error err = {0};
        place_write(place.device, "name: p\n");
        assert_int_equal(sp_experiment_read(place.device, sets, 2, &e, &err), SP_OK);
        assert_int_equal(sp_experiment_network(e, &network, &err), SP_OK);
        assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
        assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
        int said = 0;
        for (int n = 0; n < cost->note_count; n++)
            said += strncmp(cost->notes[n].text, "what takes less than 2^-41 s", 28) == 0;
        assert_int_equal(said, k == 0);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
        sp_network_destroy(&network);
        sp_experiment_destroy(&e);
        free(text);
        place_fini(&place);
    }
}

/* "cost.device" of devices that share their memory, and a file that the model does not read. */
static void keys_without_use_are_told(void **state)
{
    (void)state;
    static const char *const sets[] = {"network=lenet5", "pipeline.cuts=[1]", "cost.device=v100", "cost.file=x.yaml"};
    struct place place;
    place_init(&place, ".csv");
    place_write(place.device, "name: p\n");
    for (int cuda = 0; cuda < 2; cuda++) {
        const char *all[] = {sets[0], sets[1], sets[2], sets[3], cuda ? "devices.backend=cuda" : "devices.backend=cpu"};
        struct sp_experiment *e;
        struct sp_network *network;
        struct sp_plan *plan;
        struct sim_cost *cost;
        struct sp_error err = {0};
        assert_int_equal(sp_experiment_read(place.device, all, 5, &e, &err), SP_OK);
        assert_int_equal(sp_experiment_network(e, &network, &err), SP_OK);
        assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
        assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
        int links = 0, files = 0;
        for (int n = 0; n < cost->note_count; n++) {
            links += strstr(cost->notes[n].text, "the links of the device file are not used") != NULL;
            files += strncmp(cost->notes[n].text, "cost.file is not used", 21) == 0;
        }
        assert_int_equal(links, !cuda);
        assert_int_equal(files, 1);
        sim_cost_destroy(&cost);
        sp_plan_destroy(&plan);
        sp_network_destroy(&network);
        sp_experiment_destroy(&e);
    }
    place_fini(&place);
}

/* Other sources price layers, which a measured network has none of: not silently, and not as import. */
static void a_model_that_knows_no_measured_layers_is_refused(void **state)
{
    (void)state;
    static const char *const models[] = {"cost.model=analytic", "cost.model=profile", "cost.model=import"};
    for (int m = 0; m < 3; m++) {
        struct place place;
        struct search s;
        place_init(&place, ".csv");
        place_write(place.network, HEADER "a,1,2,3,4,\n");
        const char *sets[] = {place.network_set, "devices.count=1", models[m]};
        char *expected = sp_format("--set %s: cost.model: %s knows no layers", models[m], models[m] + 11);
        search_plain(sets, 3, &s);
        assert_int_equal(s.status, m < 2 ? SP_E_INPUT : SP_OK);
        if (m < 2)
            assert_ptr_equal(strstr(s.err.text, expected), s.err.text);
        free(expected);
        search_fini(&s);
        place_fini(&place);
    }
}

/* What is behind a byte 0 is not silently left out. */
static void a_byte_0_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *suffix, *text;
    } cases[] = {{".csv", HEADER "a,1,2,3,4,\n@b,1,2,3,4,\n"}, {".graph.txt", NODE("1") NODE("2") "@" NODE("3")}};
    for (int c = 0; c < 2; c++) {
        struct place place;
        struct search s;
        place_init(&place, cases[c].suffix);
        FILE *file = fopen(place.network, "w");
        for (const char *at = cases[c].text; *at != '\0'; at++)
            fputc(*at == '@' ? '\0' : *at, file);
        fclose(file);
        const char *sets[] = {place.network_set, "devices.count=1"};
        char *expected = sp_format("%s:3:1: a byte 0", place.network);
        search_plain(sets, 2, &s);
        assert_int_equal(s.status, SP_E_INPUT);
        assert_non_null(strstr(s.err.text, expected));
        free(expected);
        search_fini(&s);
        place_fini(&place);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipedream_profile_reads_as_by_hand),
        cmocka_unit_test(an_empty_message_waits_for_no_bus),
        cmocka_unit_test(wrong_profiles_are_told),
        cmocka_unit_test(keys_without_use_are_told),
        cmocka_unit_test(a_model_that_knows_no_measured_layers_is_refused),
        cmocka_unit_test(a_byte_0_is_told),
        cmocka_unit_test(a_byte_order_mark_is_left_out),
        cmocka_unit_test(what_is_too_short_to_be_counted_is_told),
    };
    return cmocka_run_group_tests_name("measured networks", tests, NULL, NULL);
}
