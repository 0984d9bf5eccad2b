/*
 * The planner at the command line: `plan`, and `cuts: auto` of the other commands.
 */
#include "common/alloc.h"
#include "common/analysis.h"
#include "common/file.h"
#include "common/program/program.h"
#include "common/schedule.h"
#include "sim/cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sp_status program_choose(struct sp_experiment *experiment, struct sp_network **network, struct sim_search *search,
                         struct sp_error *err)
{
    struct program_sizes *sizes = program_sizes_create(experiment, *network);
    struct sim_memory_model memory = {program_sizes_plan, sizes, (*network)->measured != NULL};
    sp_status status = sim_plan_search(experiment, *network, &memory, search, err);
    program_sizes_destroy(&sizes);
    if (status != SP_OK)
        return status;
    if (search->prefixes_only)
        fprintf(stderr, "plan: the graph of %s has too many boundaries; only cuts of its listed order were searched\n",
                (*network)->name);
    struct sim_candidate *best = &search->candidates[0];
    sim_candidate_apply(best, experiment);
    experiment->pipeline.auto_cuts = (*network)->measured != NULL;
    if (best->network != NULL) { /* the caller's network becomes the candidate's, and the other way round */
        struct sp_network *given = *network;
        *network = best->network;
        best->network = given;
    }
    return SP_OK;
}

/* The layers of every stage, by name, in the order that the candidate's cuts mean. */
static json_t *stages_json(const struct sp_network *network, const struct sim_candidate *c)
{
    json_t *stages = json_array();
    for (int i = 0; i <= c->cut_count; i++) {
        json_t *names = json_array();
        int from = i == 0 ? 0 : c->cuts[i - 1], to = i == c->cut_count ? network->layer_count : c->cuts[i];
        for (int l = from; l < to; l++)
            json_array_append_new(names, json_string(network->layers[l].name));
        json_array_append_new(stages, names);
    }
    return stages;
}

static bool time_is_wanted(const struct sp_experiment *experiment)
{
    return strcmp(experiment->plan.objective, "time") == 0;
}

/* Of the steady state; 0 where nothing takes time. */
static double samples_per_s(const struct sp_experiment *experiment, const struct sim_candidate *c)
{
    return c->minibatch_s > 0 ? experiment->train.batch / c->minibatch_s : 0;
}

static json_t *candidate_json(const struct sp_network *network, const struct sim_candidate *c,
                              const struct sp_experiment *experiment)
{
    json_t *cuts = json_array();
    for (int k = 0; k < c->cut_count; k++)
        json_array_append_new(cuts, json_integer(c->cuts[k]));
    json_t *object = json_pack(
        "{s:o, s:s, s:i, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f}", "cuts", cuts, "schedule",
        c->schedule->name, "microbatches", c->microbatches, "placement", c->split ? "split" : "colocated", "devices",
        c->device_count, "bottleneck_s", c->bottleneck_s, "minibatch_s", c->minibatch_s, "minibatch_error", c->error,
        "samples_per_s", samples_per_s(experiment, c), "time_s", c->time_s, "peak_bytes", (json_int_t)c->peak_bytes,
        "staleness", (json_int_t)c->staleness, "stale_weight_fraction", c->stale_weight_fraction);
    if (network->measured != NULL)
        json_object_set_new(object, "layers", stages_json(network, c));
    return object;
}

static json_t *search_json(const struct program_setup *setup, const struct program_result *result,
                           const struct sim_search *search)
{
    json_t *object = sp_summary_json(&result->summary), *candidates = json_array();
    for (int c = 0; c < search->count; c++) {
        const struct sim_candidate *candidate = &search->candidates[c];
        /* The best one's network was exchanged for the given one. */
        const struct sp_network *network = c == 0 || candidate->network == NULL ? setup->network : candidate->network;
        if (c > 0 && candidate->network == NULL && search->candidates[0].network != NULL)
            network = search->candidates[0].network;
        json_array_append_new(candidates, candidate_json(network, candidate, setup->experiment));
    }
    json_object_set_new(object, "bottleneck_s", json_real(search->candidates[0].bottleneck_s));
    json_object_set_new(object, "objective", json_string(setup->experiment->plan.objective));
    json_object_set_new(object, "searched", json_integer(search->cuttings));
    json_object_set_new(object, "simulated", json_integer(search->simulated));
    json_object_set_new(object, "proven", json_boolean(search->doubt == NULL));
    json_object_set_new(object, "doubt", search->doubt != NULL ? json_string(search->doubt) : json_null());
    json_object_set_new(object, "bound_s", search->bound_s < INFINITY ? json_real(search->bound_s) : json_null());
    json_object_set_new(object, "bound_time_s",
                        search->bound_time_s < INFINITY ? json_real(search->bound_time_s) : json_null());
    json_object_set_new(object, "candidates", candidates);
    return object;
}

/* No other candidate has more throughput in less memory. */
static bool is_on_front(const struct sim_search *search, int which)
{
    const struct sim_candidate *c = &search->candidates[which];
    for (int o = 0; o < search->count; o++) {
        const struct sim_candidate *other = &search->candidates[o];
        bool no_worse = other->minibatch_s <= c->minibatch_s && other->peak_bytes <= c->peak_bytes;
        bool better = other->minibatch_s < c->minibatch_s || other->peak_bytes < c->peak_bytes;
        if (no_worse && better)
            return false;
    }
    return true;
}

/* FOLDER/candidates.csv, for plots/pareto.gp. */
static sp_status write_candidates(const char *folder, const struct sp_experiment *experiment,
                                  const struct sim_search *search, struct sp_error *err)
{
    struct sp_file file;
    char *path = sp_format("%s/candidates.csv", folder);
    sp_status status = sp_file_begin(&file, path, err);
    free(path);
    if (status != SP_OK)
        return status;
    fputs("cuts,schedule,microbatches,placement,devices,samples_per_s,peak_bytes,staleness,stale_percent,on_front,"
          "bottleneck_s,minibatch_s,time_s\n",
          file.stream);
    for (int i = 0; i < search->count; i++) {
        const struct sim_candidate *c = &search->candidates[i];
        for (int k = 0; k < c->cut_count; k++)
            fprintf(file.stream, "%s%d", k > 0 ? " " : "", c->cuts[k]);
        fprintf(file.stream, ",%s,%d,%s,%d,%.9g,%zu,%lld,%.6g,%d,%.9g,%.9g,%.9g\n", c->schedule->name, c->microbatches,
                c->split ? "split" : "colocated", c->device_count, samples_per_s(experiment, c), c->peak_bytes,
                (long long)c->staleness, 100 * c->stale_weight_fraction, is_on_front(search, i), c->bottleneck_s,
                c->minibatch_s, c->time_s);
    }
    return sp_file_commit(&file, err);
}

/* What a search leaves beside the run of the best: `given`, the experiment that was searched, all plans, and a
 * summary.json with what the search says of them. */
static sp_status write_search(const char *folder, const char *given, const struct program_setup *setup,
                              const struct program_result *result, const struct sim_search *search,
                              struct sp_error *err)
{
    char *yaml = sp_format("%s/plan.yaml", folder), *summary = sp_format("%s/summary.json", folder);
    sp_status status = sp_file_write(yaml, given, err);
    if (status == SP_OK)
        status = write_candidates(folder, setup->experiment, search, err);
    if (status == SP_OK)
        status = program_write_json(summary, search_json(setup, result, search), err);
    free(yaml);
    free(summary);
    return status;
}

static char *cuts_text(const struct sim_candidate *c)
{
    char *text = sp_strdup("[");
    for (int k = 0; k < c->cut_count; k++) {
        char *longer = sp_format("%s%s%d", text, k > 0 ? "," : "", c->cuts[k]);
        free(text);
        text = longer;
    }
    char *whole = strlen(text) > 28 ? sp_format("%.25s...]", text) : sp_format("%s]", text);
    free(text);
    return whole;
}

/* What `c` has less of than the best one, or more, in per cent; of the training's time in full, as fill and drain are a
 * small part of it. */
static void print_gives_up(const struct sim_candidate *c, const struct sim_candidate *best, bool whole)
{
    char text[32];
    double slower = whole ? 0 : 100 * (c->minibatch_s / best->minibatch_s - 1);
    double larger = best->peak_bytes > 0 ? 100 * ((double)c->peak_bytes / (double)best->peak_bytes - 1) : 0;
    double staler = 100 * (c->stale_weight_fraction - best->stale_weight_fraction);
    bool said = false;
    if (whole && c->time_s > best->time_s * (1 + 1e-9))
        said = printf("%s longer", program_seconds(c->time_s - best->time_s, text)) > 0;
    if (slower >= 0.05 || slower <= -0.05)
        said = printf("%.1f %% %s", fabs(slower), slower > 0 ? "slower" : "faster") > 0;
    if (larger >= 0.5 || larger <= -0.5)
        said = printf("%s%.0f %% %s memory", said ? ", " : "", fabs(larger), larger > 0 ? "more" : "less") > 0;
    if (c->staleness != best->staleness)
        said = printf("%s%lld updates %s", said ? ", " : "", llabs((long long)(c->staleness - best->staleness)),
                      c->staleness > best->staleness ? "staler" : "fresher") > 0;
    if (staler >= 0.05 || staler <= -0.05)
        said = printf("%s%.1f %% of the weights %s stale", said ? ", " : "", fabs(staler),
                      staler > 0 ? "more" : "fewer") > 0;
    if (c->device_count != best->device_count)
        said = printf("%s%d device%s %s", said ? ", " : "", abs(c->device_count - best->device_count),
                      abs(c->device_count - best->device_count) == 1 ? "" : "s",
                      c->device_count > best->device_count ? "more" : "fewer") > 0;
    puts(said ? "" : c == best ? "-" : "nothing");
}

/* What is known of all plans that were not simulated. */
static void print_proof(const struct sp_experiment *experiment, const struct sim_search *search)
{
    if (search->doubt != NULL)
        printf("  not proven to be the best: %s\n  apart from that, ", search->doubt);
    else
        printf("  proven to be the best: ");
    if (search->bound_s == INFINITY)
        puts("there are no others");
    else if (time_is_wanted(experiment))
        printf("what was not simulated takes at least %.6f s\n", search->bound_time_s);
    else
        printf("what was not simulated takes at least %.6f ms a minibatch\n", 1e3 * search->bound_s);
}

static void print_candidate(const struct sim_candidate *p, const struct sim_candidate *best, bool whole)
{
    char time[32], bytes[32], *cuts = cuts_text(p);
    printf("%-28s %-10s %2d %-9s %3d %12s ", cuts, p->schedule->name, p->microbatches, p->split ? "split" : "colocated",
           p->device_count, program_seconds(p->minibatch_s, time));
    if (whole)
        printf("%12s ", program_seconds(p->time_s, time));
    printf("%10s %5lld %5.1f%%  ", program_bytes((double)p->peak_bytes, bytes), (long long)p->staleness,
           100 * p->stale_weight_fraction);
    free(cuts);
    print_gives_up(p, best, whole);
}

static void print_search(const struct program_setup *setup, const struct sim_search *search)
{
    const struct sim_candidate *best = &search->candidates[0];
    bool whole = time_is_wanted(setup->experiment);
    printf("%s: the best of %lld plans for %s, %lld of them simulated\n", setup->network->name,
           (long long)search->cuttings, setup->experiment->plan.objective, (long long)search->simulated);
    print_proof(setup->experiment, search);
    printf("  bottleneck %.6f ms a minibatch, %.6f ms simulated in the steady state\n", 1e3 * best->bottleneck_s,
           1e3 * best->minibatch_s);
    if (whole)
        printf("  %.6f s for the whole training, filling and draining included\n", best->time_s);
    printf("%-28s %-10s %2s %-9s %3s %12s ", "cuts", "schedule", "M", "placement", "dev", "a minibatch");
    if (whole)
        printf("%12s ", "training");
    printf("%10s %5s %6s  %s\n", "memory", "stale", "of", "against the best");
    for (int c = 0; c < search->count; c++)
        print_candidate(&search->candidates[c], best, whole);
    if (setup->network->measured == NULL)
        return;
    for (int i = 0; i < setup->plan->stage_count; i++) {
        const struct sp_stage *stage = &setup->plan->stages[i];
        printf("stage %d:", i);
        for (int l = stage->first_layer; l < stage->layer_end; l++)
            printf(" %s", setup->network->layers[l].name);
        puts("");
    }
}

sp_status program_plan(const struct program *program, struct sp_error *err)
{
    struct program_setup setup = {0};
    struct program_result result = {0};
    struct sim_search search = {0};
    struct sp_hold hold = {0};
    char *given = NULL;
    sp_status status = program_read(program, &setup.experiment, err);
    if (status == SP_OK)
        given = sp_experiment_yaml(setup.experiment);
    if (status == SP_OK)
        status = sp_experiment_network(setup.experiment, &setup.network, err);
    if (status == SP_OK)
        status = program_choose(setup.experiment, &setup.network, &search, err);
    if (status == SP_OK)
        status = program_setup_plan(&setup, SP_PLAN_SIMULATE, err);
    if (status == SP_OK)
        status = program_hold(program, &setup, &hold, err);
    if (status == SP_OK)
        status = program_simulate(&setup, &result, err);
    if (status == SP_OK)
        status = program_leave_run(program, &setup, &result, err);
    if (status == SP_OK) {
        char *folder = program_folder(program, &setup);
        status = write_search(folder, given, &setup, &result, &search, err);
        free(folder);
    }
    if (status == SP_OK && program->json)
        program_print_json(search_json(&setup, &result, &search));
    else if (status == SP_OK)
        print_search(&setup, &search);
    free(given);
    sp_folder_let_go(&hold);
    sim_search_fini(&search);
    program_result_fini(&result);
    program_setup_fini(&setup);
    return status;
}
