#include "tests/searches.h"

#include "common/alloc.h"
#include "common/file.h"
#include "sim/cost.h"
#include "sim/loads.h"
#include "sim/simulate.h"
#include "tests/chain.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void place_write(const char *path, const char *text)
{
    struct sp_error err = {0};
    assert_int_equal(sp_file_write(path, text, &err), SP_OK);
}

void place_write_device(const struct place *place, double link_bytes_per_s, bool shared)
{
    char *text = sp_format("peak_flops: 1e12\nbandwidth_bytes_per_s: 1e12\nlaunch_s: 0\nlatency_s: 0\n"
                           "link_bytes_per_s: %g\nlink_shared: %s\n"
                           "convolution: {forward: 1, backward_input: 1, backward_weight: 1}\n"
                           "fully_connected: {forward: 1, backward_input: 1, backward_weight: 1}\n",
                           link_bytes_per_s, shared ? "true" : "false");
    place_write(place->device, text);
    free(text);
}

void place_write_chain(const struct place *place, int layers)
{
    char text[4096] = "name,forward_ms,backward_ms,activation_bytes,parameter_bytes\n";
    for (int l = 0; l < layers; l++)
        sprintf(text + strlen(text), "n%d,%d,%d,%d,%d\n", l, 1 + chain_below(30), 1 + chain_below(60),
                4 * (1 + chain_below(3000)), 4 * (1 + chain_below(5000)));
    place_write(place->network, text);
}

void place_init(struct place *place, const char *suffix)
{
    strcpy(place->folder, "/tmp/stalepipe-planner-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    place->network = sp_format("%s/net%s", place->folder, suffix);
    place->device = sp_format("%s/device.yaml", place->folder);
    place->network_set = sp_format("network={profile: %s}", place->network);
    place->device_set = sp_format("cost.device=%s", place->device);
    place_write_device(place, 1e6, false);
}

void place_fini(struct place *place)
{
    unlink(place->network);
    unlink(place->device);
    rmdir(place->folder);
    free(place->network);
    free(place->device);
    free(place->network_set);
    free(place->device_set);
}

static sp_status plain_memory(void *self, const struct sp_plan *plan, struct sp_memory_plan **out, struct sp_error *err)
{
    (void)self;
    struct sp_footprint footprint = sp_footprint_plain(plan->network);
    return sp_memory_plan_create(plan, &footprint, out, err);
}

const struct sim_memory_model plain = {plain_memory, NULL, true};

static sp_status read_sets(const char *const *sets, int count, struct sp_experiment **out, struct sp_error *err)
{
    char path[] = "/tmp/stalepipe-experiment-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, "name: p\n", 8), 8);
    close(file);
    sp_status status = sp_experiment_read(path, sets, count, out, err);
    unlink(path);
    return status;
}

void search_by(const struct sim_memory_model *memory, const char *const *sets, int count, struct search *out)
{
    struct sp_experiment *experiment;
    *out = (struct search){0};
    out->status = read_sets(sets, count, &experiment, &out->err);
    if (out->status == SP_OK)
        out->status = sp_experiment_network(experiment, &out->network, &out->err);
    if (out->status == SP_OK)
        out->status = sim_plan_search(experiment, out->network, memory, &out->found, &out->err);
    sp_experiment_destroy(&experiment);
}

void search_plain(const char *const *sets, int count, struct search *out)
{
    search_by(&plain, sets, count, out);
}

void search_well(const char *const *sets, int count, struct search *out)
{
    search_plain(sets, count, out);
    if (out->status != SP_OK)
        fail_msg("%s", out->err.text);
}

void search_fini(struct search *search)
{
    sim_search_fini(&search->found);
    sp_network_destroy(&search->network);
    sp_error_fini(&search->err);
}

double search_least_bytes(const struct search *search)
{
    static const char words[] = "the least of any: ";
    assert_int_equal(search->status, SP_E_INPUT);
    const char *least = strstr(search->err.text, words);
    assert_non_null(strstr(search->err.text, "no plan is within the limits"));
    assert_non_null(least);
    return strtod(least + strlen(words), NULL);
}

struct trial trial_of(const char *const *sets, int count, const struct sp_network *network, const char *cuts,
                      int64_t minibatches)
{
    const char *all[16] = {cuts};
    char *length = sp_format("sim.minibatches=%lld", (long long)minibatches);
    struct sp_experiment *e;
    struct sp_plan *plan;
    struct sim_cost *cost;
    struct sp_memory_plan *memory;
    struct sim_result result;
    struct sp_error err = {0};
    struct trial trial = {0};
    for (int s = 0; s < count; s++)
        all[1 + s] = sets[s];
    all[count + 1] = length;
    all[count + 2] = "devices.count=0";
    assert_int_equal(read_sets(all, count + 3, &e, &err), SP_OK);
    assert_int_equal(sp_experiment_plan(e, network, SP_PLAN_SIMULATE, &plan, &err), SP_OK);
    assert_int_equal(sim_cost_create(e, plan, NULL, &cost, &err), SP_OK);
    assert_int_equal(plain_memory(NULL, plan, &memory, &err), SP_OK);
    assert_int_equal(sim_run(plan, cost, &(struct sim_config){0}, &result, &err), SP_OK);
    for (int d = 0; d < plan->device_count; d++)
        trial.bytes = fmax(trial.bytes, (double)sp_memory_device_bytes(memory, d));
    trial.time_s = result.time_s;
    trial.bottleneck_s = sim_bottleneck_s(plan, cost);
    sim_result_fini(&result);
    sp_memory_plan_destroy(&memory);
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    sp_experiment_destroy(&e);
    free(length);
    return trial;
}

struct trial trial_steady(const char *const *sets, int count, const struct sp_network *network, const char *cuts)
{
    struct trial few = trial_of(sets, count, network, cuts, 100), many = trial_of(sets, count, network, cuts, 300);
    many.time_s = (many.time_s - few.time_s) / 200;
    return many;
}

char *cuts_of(const int *cuts, int count)
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

int cuts_of_mask(int mask, int layers, int *cuts)
{
    int count = 0;
    for (int c = 1; c < layers; c++)
        if (mask >> (c - 1) & 1)
            cuts[count++] = c;
    return count;
}
