/*
 * The memory plan: offsets by hand, and a search for any value that is written over before its last reader.
 */
#include "common/layer.h"
#include "common/liveness.h"
#include "common/memory.h"
#include "common/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct sp_network *build(const char *name)
{
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.builtin = name};
    struct sp_shape input = strcmp(name, "lenet5") == 0 ? (struct sp_shape){1, 28, 28} : (struct sp_shape){3, 32, 32};
    assert_int_equal(sp_network_create(&spec, input, 10, &network, &err), SP_OK);
    return network;
}

static struct sp_plan *make_plan(const struct sp_network *network, const int *cuts, int cut_count, const char *schedule,
                                 int microbatches, bool shared)
{
    static struct sp_phase phase;
    phase = (struct sp_phase){.schedule = sp_schedule_find(schedule), .microbatches = microbatches, .minibatches = 20};
    struct sp_plan_config config = {.cuts = cuts,
                                    .cut_count = cut_count,
                                    .batch = 4,
                                    .shared_memory = shared,
                                    .phases = &phase,
                                    .phase_count = 1,
                                    .evaluate_every = 4,
                                    .evaluate_samples = 10};
    struct sp_error err = {0};
    struct sp_plan *plan;
    assert_int_equal(sp_plan_create(network, &config, &plan, &err), SP_OK);
    return plan;
}

/*
 * Two of 100 bytes that meet, one of 50 that meets neither of the first two's overlap: 100 bytes round up to 128, so
 * the second lies at 128, and the third, alive with the second only, at 0.
 */
static void liveness_reuses_what_is_dead(void **state)
{
    (void)state;
    struct sp_interval intervals[] = {{0, 2, 100, 0}, {2, 4, 100, 0}, {3, 4, 50, 0}};
    assert_int_equal(sp_liveness_assign(intervals, 3), 256);
    assert_int_equal(intervals[0].offset, 0);
    assert_int_equal(intervals[1].offset, 128);
    assert_int_equal(intervals[2].offset, 0);
}

/* A record of who wrote which bytes last. */
struct write {
    struct sp_place place;
    size_t bytes;
    int id;
};
struct memory_log {
    struct write writes[4096];
    int count;
};

static void log_write(struct memory_log *log, struct sp_place place, size_t bytes, int id)
{
    for (int w = 0; w < log->count; w++) {
        struct write *old = &log->writes[w];
        bool same = old->place.region == place.region && old->place.owner == place.owner;
        if (same && old->place.offset < place.offset + bytes && place.offset < old->place.offset + old->bytes)
            log->writes[w--] = log->writes[--log->count];
    }
    log->writes[log->count++] = (struct write){place, bytes, id};
}

static void expect_last(const struct memory_log *log, struct sp_place place, int id, const char *what)
{
    for (int w = 0; w < log->count; w++) {
        const struct write *at = &log->writes[w];
        if (at->place.region == place.region && at->place.owner == place.owner && at->place.offset == place.offset &&
            at->id == id)
            return;
    }
    fail_msg("%s of tensor %d was written over (region %d, owner %d, offset %zu)", what, id % 1000, (int)place.region,
             place.owner, place.offset);
}

/* Peers' memory is the owner's boundary. */
static struct sp_place resolve(struct sp_place place, enum sp_region peer)
{
    if (place.region == SP_REGION_PEER)
        place.region = peer;
    return place;
}

/* A view is the tensor it views. */
static int seen_as(const struct sp_network *network, int t)
{
    while (t > 0 && (sp_layer_kinds[network->layers[t - 1].type]->flags & SP_VIEW))
        t = network->layers[t - 1].inputs[0];
    return t;
}

struct check {
    const struct sp_plan *plan;
    const struct sp_memory_plan *memory;
    const struct sp_network *network;
    struct sp_footprint footprint;
    struct memory_log log;
};

static size_t bytes_of(const struct check *check, int t)
{
    return check->footprint.tensor(check->footprint.self, t, 4);
}

static void forward(struct check *check, int stage, bool evaluate)
{
    const struct sp_stage_memory *m = &check->memory->stages[stage];
    const struct sp_place *places = evaluate ? m->evaluate : m->value;
    enum sp_region peer = evaluate ? SP_REGION_EVALUATE : SP_REGION_BOUNDARY;
    if (stage == 0)
        log_write(&check->log, places[0], bytes_of(check, 0), 0);
    for (int l = check->plan->stages[stage].first_layer; l < check->plan->stages[stage].layer_end; l++) {
        const struct sp_layer *layer = &check->network->layers[l];
        for (int i = 0; i < layer->input_count; i++)
            expect_last(&check->log, resolve(places[layer->inputs[i]], peer), seen_as(check->network, layer->inputs[i]),
                        "value");
        if (l + 1 < check->network->layer_count && seen_as(check->network, l + 1) == l + 1)
            log_write(&check->log, places[l + 1], bytes_of(check, l + 1), l + 1);
    }
}

/* Gradients have ids from 1000. A contribution that is not the first needs the sum so far. */
static void backward(struct check *check, int stage)
{
    const struct sp_stage_memory *m = &check->memory->stages[stage];
    for (int l = check->plan->stages[stage].layer_end - 1; l >= check->plan->stages[stage].first_layer; l--) {
        const struct sp_layer *layer = &check->network->layers[l];
        int flags = sp_layer_kinds[layer->type]->flags;
        if (l + 1 < check->network->layer_count)
            expect_last(&check->log, resolve(m->gradient[l + 1], SP_REGION_BOUNDARY), 1000 + l + 1, "gradient");
        if (flags & SP_KEEPS_INPUT)
            expect_last(&check->log, resolve(m->value[layer->inputs[0]], SP_REGION_BOUNDARY),
                        seen_as(check->network, layer->inputs[0]), "kept value");
        if (flags & SP_KEEPS_OUTPUT)
            expect_last(&check->log, resolve(m->value[l + 1], SP_REGION_BOUNDARY), seen_as(check->network, l + 1),
                        "kept value");
        for (int i = 0; i < layer->input_count; i++) {
            int x = layer->inputs[i];
            if (x == 0)
                continue;
            struct sp_place place = resolve(m->gradient[x], SP_REGION_BOUNDARY);
            if (sp_network_last_consumer(check->network, x) != l)
                expect_last(&check->log, place, 1000 + x, "sum of gradients");
            log_write(&check->log, place, bytes_of(check, x), 1000 + x);
        }
    }
}

static uint32_t random_state = 3;
static int below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

static void nothing_is_written_over_before_its_last_reader(void **state)
{
    (void)state;
    static const char *const names[] = {"lenet5", "resnet8", "resnet20", "alexnet", "vgg16"};
    for (int round = 0; round < 100; round++) {
        struct sp_network *network = build(names[round % 5]);
        int cuts[3], count = below(4), L = network->weight_layer_count;
        for (int c = 0, at = 0; c < count; c++)
            cuts[c] = at += 1 + below(L - 1 - at - (count - c - 1));
        struct sp_plan *plan = make_plan(network, cuts, count, "sequential", 1, true);
        struct check check = {.plan = plan, .network = network, .footprint = sp_footprint_plain(network)};
        struct sp_memory_plan *memory;
        struct sp_error err = {0};
        assert_int_equal(sp_memory_plan_create(plan, &check.footprint, &memory, &err), SP_OK);
        check.memory = memory;
        for (int i = 0; i <= count; i++)
            forward(&check, i, false);
        for (int i = count; i >= 0; i--)
            backward(&check, i);
        check.log.count = 0;
        for (int i = 0; i <= count; i++)
            forward(&check, i, true);
        sp_memory_plan_destroy(&memory);
        sp_plan_destroy(&plan);
        sp_network_destroy(&network);
    }
}

/* LeNet-5, batch 4, uncut, sequential: parameters in blocks rounded up to 64 bytes each. */
static void bytes_add_up(void **state)
{
    (void)state;
    struct sp_network *network = build("lenet5");
    int cuts[] = {2};
    struct sp_plan *plan = make_plan(network, cuts, 1, "stale", 1, true);
    struct sp_footprint footprint = sp_footprint_plain(network);
    struct sp_memory_plan *memory;
    struct sp_error err = {0};
    assert_int_equal(sp_memory_plan_create(plan, &footprint, &memory, &err), SP_OK);
    /* conv1 600 + 24, conv2 9600 + 64 bytes: 640 + 64 + 9600 + 64 */
    assert_int_equal(memory->bytes[0][SP_MEMORY_WEIGHTS], 10368);
    assert_int_equal(memory->bytes[0][SP_MEMORY_OPTIMIZER], 10368);
    assert_int_equal(memory->bytes[0][SP_MEMORY_VERSIONS], 0);
    /* 4 samples of 5x5x16 floats cross, value and gradient, in 3 slots, and 2 for evaluation: 6400 * (2 * 3 + 2) */
    assert_int_equal(memory->bytes[0][SP_MEMORY_BOUNDARY], 51200);
    assert_int_equal(memory->bytes[1][SP_MEMORY_BOUNDARY], 0);
    /* In a slot: input 4*784*4 = 12544, relu1 4*4704*4 = 75264, pool1 18816, relu2 25600, indices 18816 and 6400 */
    assert_int_equal(memory->bytes[0][SP_MEMORY_ACTIVATIONS], 3 * (12544 + 75264 + 18816 + 25600 + 18816 + 6400));
    sp_memory_plan_destroy(&memory);
    sp_plan_destroy(&plan);
    sp_network_destroy(&network);
}

/* What is alive returns to what it was; its peak is what is planned, where a device has one stage. */
static void live_bytes_peak_at_the_plan(void **state)
{
    (void)state;
    static const char *const schedules[] = {"sequential", "stale", "gpipe", "1f1b", "1f1b-async"};
    struct sp_network *network = build("resnet8");
    for (int s = 0; s < 5; s++) {
        int cuts[] = {2, 5};
        struct sp_plan *plan = make_plan(network, cuts, 2, schedules[s], 2, true);
        struct sp_footprint footprint = sp_footprint_plain(network);
        struct sp_memory_plan *memory;
        struct sp_error err = {0};
        assert_int_equal(sp_memory_plan_create(plan, &footprint, &memory, &err), SP_OK);
        for (int d = 0; d < plan->device_count; d++) {
            struct sp_live live;
            sp_live_init(&live, memory, d);
            size_t before[SP_MEMORY_KIND_COUNT];
            memcpy(before, live.now, sizeof before);
            struct sp_cursor *cursor = sp_cursor_create(plan, d);
            struct sp_instr instr;
            while (sp_cursor_next(cursor, &instr)) {
                sp_live_begin(&live, &instr);
                sp_live_end(&live, &instr);
            }
            sp_cursor_destroy(&cursor);
            assert_memory_equal(live.now, before, sizeof before);
            for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++)
                assert_int_equal(live.peak[k], memory->bytes[d][k]);
            sp_live_fini(&live);
        }
        sp_memory_plan_destroy(&memory);
        sp_plan_destroy(&plan);
    }
    sp_network_destroy(&network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(liveness_reuses_what_is_dead),
        cmocka_unit_test(nothing_is_written_over_before_its_last_reader),
        cmocka_unit_test(bytes_add_up),
        cmocka_unit_test(live_bytes_peak_at_the_plan),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
