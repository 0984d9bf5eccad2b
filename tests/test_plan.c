/*
 * Plans and their instructions: thousands of random plans pass the checker, wrong ones do not, and staleness is that of
 * the closed forms.
 */
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/schedule.h"
#include "common/stage_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 9 };

/* A chain of fully connected layers, all of one neuron, with a skip from layer 2 to layer 5. */
static struct sp_layer layers[LAYERS];
static struct sp_shape shapes[LAYERS + 1];
static struct sp_network network = {.name = "chain",
                                    .layers = layers,
                                    .layer_count = LAYERS,
                                    .tensor_count = LAYERS + 1,
                                    .shapes = shapes,
                                    .weight_layer_count = LAYERS};

static void make_network(void)
{
    for (int l = 0; l <= LAYERS; l++)
        shapes[l] = (struct sp_shape){1, 1, 1};
    for (int l = 0; l < LAYERS; l++)
        layers[l] = (struct sp_layer){.type = SP_LAYER_FULLY_CONNECTED,
                                      .inputs = {l, 2},
                                      .input_count = l == 5 ? 2 : 1,
                                      .weight_number = l + 1,
                                      .group = l + 1,
                                      .parameters = {1, 0}};
}

static uint32_t random_state = 1;
static int below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

struct setting {
    int cuts[4], forward[5], backward[5];
    struct sp_phase phases[3];
    struct sp_plan_config config;
};

/* Contiguous stages on fewer devices, the paper's 2K+1 devices, or a device a stage. */
static void place(struct setting *s, int P)
{
    int how = below(3);
    if (how == 0)
        return;
    s->config.forward_devices = s->forward;
    int devices = 1 + below(P);
    for (int i = 0; i < P; i++) {
        s->forward[i] = how == 1 ? i * devices / P : i;
        s->backward[i] = how == 1 ? s->forward[i] : 2 * (P - 1) - i;
    }
    if (how == 2)
        s->config.backward_devices = s->backward;
}

static void random_setting(struct setting *s)
{
    memset(s, 0, sizeof *s);
    int K = below(5), schedule_count = 0;
    while (sp_schedules[schedule_count] != NULL)
        schedule_count++;
    for (int k = 0, at = 0; k < K; k++) {
        at += 1 + below((LAYERS - 1 - at) - (K - k - 1));
        s->cuts[k] = at;
    }
    int M = 1 << below(3), phase_count = 1 + below(3);
    for (int p = 0; p < phase_count; p++)
        s->phases[p] = (struct sp_phase){.schedule = sp_schedules[below(schedule_count)],
                                         .weights = (enum sp_weights_policy)below(2),
                                         .microbatches = below(2) ? M : 1,
                                         .minibatches = 1 + below(12)};
    s->config = (struct sp_plan_config){.cuts = s->cuts,
                                        .cut_count = K,
                                        .batch = 8,
                                        .phases = s->phases,
                                        .phase_count = phase_count,
                                        .evaluate_every = below(2) ? 1 + below(4) : 0,
                                        .evaluate_pass = below(2) ? 1 + below(40) : 0,
                                        .evaluate_samples = 1 + below(30)};
    place(s, K + 1);
}

static void random_plans_pass_the_checker(void **state)
{
    (void)state;
    for (int round = 0; round < 5000; round++) {
        struct setting s;
        random_setting(&s);
        struct sp_error err = {0};
        struct sp_plan *plan;
        assert_int_equal(sp_plan_create(&network, &s.config, &plan, &err), SP_OK);
        if (sp_plan_check(plan, &err) != SP_OK)
            fail_msg("round %d: %d stages, schedule %s: %s", round, plan->stage_count, plan->phases[0].schedule->name,
                     err.text);
        sp_plan_destroy(&plan);
    }
}

/* The instructions of all devices, one of them changed. */
struct recording {
    struct sp_instr *instrs[16];
    int count[16], at[16];
};

static bool next_recorded(void *self, int device, struct sp_instr *instr)
{
    struct recording *r = self;
    if (r->at[device] == r->count[device])
        return false;
    *instr = r->instrs[device][r->at[device]++];
    return true;
}

static void record(const struct sp_plan *plan, struct recording *r)
{
    memset(r, 0, sizeof *r);
    for (int d = 0; d < plan->device_count; d++) {
        struct sp_cursor *cursor = sp_cursor_create(plan, d);
        struct sp_instr instr;
        while (sp_cursor_next(cursor, &instr))
            *(struct sp_instr *)sp_grow((void **)&r->instrs[d], r->count[d]++, sizeof instr) = instr;
        sp_cursor_destroy(&cursor);
    }
}

/* The newest evaluation of each phase reads, at every stage, the weights of the phase's last update where the phase
 * ends with one, and none reads weights of a later phase. */
static void evaluations_at_the_end_of_a_phase_see_all_updates(void **state)
{
    (void)state;
    int at_ends = 0;
    for (int round = 0; round < 1000; round++) {
        struct setting s;
        random_setting(&s);
        struct sp_error err = {0};
        struct sp_plan *plan;
        struct recording r;
        assert_int_equal(sp_plan_create(&network, &s.config, &plan, &err), SP_OK);
        record(plan, &r);
        for (int d = 0; d < plan->device_count; d++) {
            for (int n = 0; n < r.count[d]; n++) {
                const struct sp_instr *instr = &r.instrs[d][n];
                if (instr->kind != SP_INSTR_FORWARD || !instr->evaluate)
                    continue;
                const struct sp_phase *phase = &plan->phases[instr->phase];
                int64_t end = phase->first_minibatch + phase->minibatches, until = 0;
                for (int p = 0; p <= instr->phase; p++)
                    until += sp_plan_phase_evaluations(plan, p) * plan->phases[p].evaluate_minibatches;
                bool newest = instr->minibatch >= until - phase->evaluate_minibatches;
                assert_true(instr->version <= end);
                if (newest && sp_plan_is_evaluated(plan, end - 1)) {
                    assert_int_equal(instr->version, end);
                    at_ends++;
                }
            }
            free(r.instrs[d]);
        }
        sp_plan_destroy(&plan);
    }
    assert_true(at_ends > 1000);
}

/* Drops an instruction, doubles one, or names another version or minibatch. */
static void damage(struct recording *r, int device_count)
{
    int d;
    do
        d = below(device_count);
    while (r->count[d] == 0);
    int n = below(r->count[d]);
    struct sp_instr *instr = &r->instrs[d][n];
    switch (below(4)) {
    case 0:
        memmove(instr, instr + 1, (size_t)(--r->count[d] - n) * sizeof *instr);
        break;
    case 1:
        sp_grow((void **)&r->instrs[d], r->count[d]++, sizeof *instr);
        instr = &r->instrs[d][n];
        memmove(instr + 1, instr, (size_t)(r->count[d] - 1 - n) * sizeof *instr);
        break;
    case 2:
        if (instr->version >= 0)
            instr->version++;
        else
            instr->stage++;
        break;
    default:
        if (instr->kind == SP_INSTR_FORWARD || instr->kind == SP_INSTR_BACKWARD || instr->kind == SP_INSTR_UPDATE)
            instr->minibatch++;
        else
            instr->kind = instr->kind == SP_INSTR_SEND ? SP_INSTR_RECV : SP_INSTR_SEND;
    }
}

static void damaged_plans_do_not_pass(void **state)
{
    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct setting s;
        random_setting(&s);
        struct sp_error err = {0};
        struct sp_plan *plan;
        struct recording r;
        assert_int_equal(sp_plan_create(&network, &s.config, &plan, &err), SP_OK);
        record(plan, &r);
        damage(&r, plan->device_count);
        struct sp_instr_source source = {&r, next_recorded};
        if (sp_check(plan, &source, &err) == SP_OK)
            fail_msg("round %d: a damaged stream of %s passed", round, plan->phases[0].schedule->name);
        assert_non_null(err.text);
        sp_error_fini(&err);
        for (int d = 0; d < plan->device_count; d++)
            free(r.instrs[d]);
        sp_plan_destroy(&plan);
    }
}

/* Staleness of the newest-weights run, counted here from the versions that the cursors name. */
static int64_t counted_staleness(const struct sp_plan *plan, int stage)
{
    struct sp_cursor *cursor = sp_cursor_create(plan, plan->stages[stage].backward_device);
    struct sp_instr instr;
    int64_t read[64], most = 0;
    while (sp_cursor_next(cursor, &instr)) {
        if (instr.stage != stage)
            continue;
        if (instr.kind == SP_INSTR_FORWARD)
            read[instr.minibatch % 64] = instr.version;
        if (instr.kind == SP_INSTR_UPDATE && instr.version - 1 - read[instr.minibatch % 64] > most)
            most = instr.version - 1 - read[instr.minibatch % 64];
    }
    sp_cursor_destroy(&cursor);
    return most;
}

/* With K cuts stage i (from 1) of the paper's pipeline is 2(K-i+1) updates behind; 1f1b-async P-1-i (from 0); the rest
 * 0. */
static void staleness_is_that_of_the_closed_forms(void **state)
{
    (void)state;
    for (int K = 1; K <= 4; K++) {
        for (int n = 0; sp_schedules[n] != NULL; n++) {
            int cuts[] = {1, 2, 3, 4};
            struct sp_phase phase = {.schedule = sp_schedules[n], .microbatches = 1, .minibatches = 40};
            struct sp_plan_config config = {
                .cuts = cuts, .cut_count = K, .batch = 8, .phases = &phase, .phase_count = 1};
            struct sp_error err = {0};
            struct sp_plan *plan;
            assert_int_equal(sp_plan_create(&network, &config, &plan, &err), SP_OK);
            for (int i = 0; i <= K; i++) {
                int64_t expected = 0;
                if (strcmp(phase.schedule->name, "stale") == 0)
                    expected = 2 * (K - (i + 1) + 1);
                if (strcmp(phase.schedule->name, "1f1b-async") == 0)
                    expected = K - i;
                assert_int_equal(counted_staleness(plan, i), expected);
            }
            sp_plan_destroy(&plan);
        }
    }
}

/* The skip of layer 5 (0-based) makes tensor 2 cross every cut between layer 2 and layer 5, beside the chain's own. */
static void what_crosses_a_cut_is_computed(void **state)
{
    (void)state;
    int cuts[] = {1, 3, 7};
    struct sp_phase phase = {.schedule = sp_schedules[0], .microbatches = 1, .minibatches = 1};
    struct sp_plan_config config = {.cuts = cuts, .cut_count = 3, .batch = 8, .phases = &phase, .phase_count = 1};
    struct sp_error err = {0};
    struct sp_plan *plan;
    assert_int_equal(sp_plan_create(&network, &config, &plan, &err), SP_OK);
    assert_int_equal(plan->stages[0].output_count, 1);
    assert_int_equal(plan->stages[1].output_count, 2);
    assert_int_equal(plan->stages[1].outputs[0], 2);
    assert_int_equal(plan->stages[1].outputs[1], 3);
    assert_int_equal(plan->stages[2].output_count, 1);
    sp_plan_destroy(&plan);
}

int main(void)
{
    make_network();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_pass_the_checker),
        cmocka_unit_test(evaluations_at_the_end_of_a_phase_see_all_updates),
        cmocka_unit_test(damaged_plans_do_not_pass),
        cmocka_unit_test(staleness_is_that_of_the_closed_forms),
        cmocka_unit_test(what_crosses_a_cut_is_computed),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
