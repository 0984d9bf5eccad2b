/*
 * What the processes of a run exchange when it begins, at a gate, and when it is over. All ranks call the same
 * functions in the same order, and go through the same devices, stages and lanes.
 */
#include "common/alloc.h"
#include "exec/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sp_status exec_together_text(struct exec_run *run, char **text, struct sp_error *err)
{
    struct exec_team *team = run->team;
    int64_t length = *text != NULL ? (int64_t)strlen(*text) : 0;
    SP_TRY(exec_team_share(team, &length, sizeof length, err));
    if (exec_team_rank(team) > 0) {
        free(*text);
        *text = sp_calloc((size_t)length + 1, 1);
    }
    return exec_team_share(team, *text, (size_t)length, err);
}

/* A rank's text at rank 0; the caller frees. */
static sp_status pass_text(struct exec_team *team, int from, const char *mine, char **theirs, struct sp_error *err)
{
    int64_t length = (int64_t)strlen(mine);
    *theirs = NULL;
    SP_TRY(exec_team_pass(team, from, 0, &length, sizeof length, err));
    if (exec_team_rank(team) == 0)
        *theirs = sp_calloc((size_t)length + 1, 1);
    return exec_team_pass(team, from, 0, *theirs != NULL ? *theirs : (char *)mine, (size_t)length, err);
}

char *exec_trainer_parted(const struct sp_plan *plan, const struct exec_team *team)
{
    for (int i = 0; i < plan->stage_count; i++) {
        int devices[] = {plan->stages[i].forward_device, plan->stages[i].backward_device}, owner[2], first[2], last[2];
        for (int n = 0; n < 2; n++) {
            owner[n] = exec_team_owner(team, devices[n], plan->device_count);
            first[n] = exec_team_first_device(team, owner[n], plan->device_count);
            last[n] = exec_team_first_device(team, owner[n] + 1, plan->device_count) - 1;
        }
        if (owner[0] != owner[1])
            return sp_format("stage %d goes forward on device %d and backward on device %d, but process %d has devices "
                             "%d to %d and process %d has %d to %d; both must be of one process",
                             i, devices[0], devices[1], owner[0], first[0], last[0], owner[1], first[1], last[1]);
    }
    return NULL;
}

static sp_status check(const struct exec_run *run, struct sp_error *err)
{
    const struct sp_plan *plan = run->plan;
    int size = exec_team_size(run->team);
    if (run->backend->async == NULL && !run->backend->shared_memory)
        return SP_OK; /* it is not here, as will be said */
    if (run->backend->async == NULL)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "backend %s trains in one process only, not in %d", run->backend->name,
                       size);
    if (run->backend->async->peers == NULL)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "%s: this program was built without NCCL, by which %d processes send",
                       run->backend->name, size);
    char *parted = exec_trainer_parted(plan, run->team);
    sp_status status = parted != NULL ? SP_FAIL(err, SP_E_INPUT, "%s", parted) : SP_OK;
    free(parted);
    SP_TRY(status);
    SP_ASSERT(run->config.workers == EXEC_WORKERS_THREADS, "%d processes have a thread for each device", size);
    return SP_OK;
}

sp_status exec_together_begin(struct exec_run *run, struct sp_error *err)
{
    const char *wanted = run->config.compute.choices;
    if (run->team == NULL)
        return SP_OK;
    SP_TRY(check(run, err));
    run->choices = sp_strdup(wanted != NULL ? wanted : "");
    SP_TRY(exec_together_text(run, &run->choices, err));
    run->config.compute.choices = run->choices[0] != '\0' ? run->choices : NULL;
    return SP_OK;
}

/* A line of `b` that is one of `a`, too; its length in *length, 0: there is none. */
static const char *common_line(const char *a, const char *b, int *length)
{
    for (; *b != '\0'; b += *length + 1) {
        *length = (int)strcspn(b, "\n");
        for (const char *line = a; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1)
            if (strncmp(line, b, (size_t)*length + 1) == 0)
                return b;
    }
    *length = 0;
    return b;
}

/* Rank 0 has the places of all; the first that two have. */
static void find_shared_place(const struct exec_run *run, char *const *places, char *verdict, size_t size)
{
    for (int b = 1; b < exec_team_size(run->team); b++)
        for (int a = 0; a < b && verdict[0] == '\0'; a++) {
            int length;
            const char *shared = common_line(places[a], places[b], &length);
            if (length > 0)
                snprintf(
                    verdict, size,
                    "ranks %d and %d both use %.*s; each process needs GPUs of its own: take fewer devices than %d, as "
                    "many as there are GPUs, or let each process see its GPUs only (CUDA_VISIBLE_DEVICES)",
                    a, b, length, shared, run->plan->device_count);
        }
}

sp_status exec_together_places(struct exec_run *run, struct sp_error *err)
{
    int size = exec_team_size(run->team);
    char verdict[512] = "";
    if (run->team == NULL || run->backend->places == NULL)
        return SP_OK;
    char **places = sp_calloc((size_t)size, sizeof *places);
    sp_status status = SP_OK;
    places[0] = run->backend->places(run->context);
    for (int rank = 1; rank < size && status == SP_OK; rank++)
        status = pass_text(run->team, rank, places[0], &places[rank], err);
    if (status == SP_OK && exec_team_rank(run->team) == 0)
        find_shared_place(run, places, verdict, sizeof verdict);
    for (int rank = 0; rank < size; rank++)
        free(places[rank]);
    free(places);
    SP_TRY(status);
    SP_TRY(exec_team_share(run->team, verdict, sizeof verdict, err));
    return verdict[0] == '\0' ? SP_OK : SP_FAIL(err, SP_E_INPUT, "%s", verdict);
}

uint64_t exec_trainer_layout(void)
{
    static const size_t sizes[] = {sizeof(struct exec_news),        sizeof(struct exec_progress),
                                   sizeof(struct sp_epoch_summary), sizeof(struct sp_lane_total),
                                   sizeof(struct exec_snapshot),    sizeof(struct sp_span),
                                   sizeof(struct sp_instr),         EXEC_BACKEND_LAYOUT};
    uint64_t hash = 14695981039346656037u; /* FNV-1a over words */
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        hash = (hash ^ sizes[s]) * 1099511628211u;
    return hash;
}

/* What must be alike, a line each. */
static char *own_terms(const struct exec_run *run)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    const struct exec_backend *backend = run->backend;
    char *kind = backend->kind != NULL ? backend->kind(run->context) : sp_strdup(""),
         *choices = backend->choices != NULL ? backend->choices(run->context) : sp_strdup(""), *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    SP_ASSERT(out != NULL, "no memory for the terms of a run");
    for (int s = 0; s < config->setting_count; s++)
        fprintf(out, "%s: %s\n", config->settings[s].key, config->settings[s].value);
    fprintf(out, "network: %s, minibatches: %lld\ndevices: %s\n%s", run->plan->network->name,
            (long long)run->plan->minibatches, kind, choices);
    fclose(out);
    free(kind);
    free(choices);
    return text;
}

/* The first lines that differ. */
static void first_difference(const char *a, const char *b, int rank, char *text, size_t size)
{
    while (*a != '\0' && strcspn(a, "\n") == strcspn(b, "\n") && strncmp(a, b, strcspn(a, "\n")) == 0) {
        a += strcspn(a, "\n") + (a[strcspn(a, "\n")] == '\n');
        b += strcspn(b, "\n") + (b[strcspn(b, "\n")] == '\n');
    }
    snprintf(text, size, "\"%.*s\" at rank 0 is \"%.*s\" at rank %d; all processes of a run must be given the same",
             (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b, rank);
}

/* Compares all with rank 0's; `verdict` is empty where they are alike. */
static sp_status compare_terms(struct exec_run *run, const char *own, char *verdict, size_t size, struct sp_error *err)
{
    for (int rank = 1; rank < exec_team_size(run->team); rank++) {
        char *theirs;
        sp_status status = pass_text(run->team, rank, own, &theirs, err);
        if (status == SP_OK && theirs != NULL && verdict[0] == '\0' && strcmp(own, theirs) != 0)
            first_difference(own, theirs, rank, verdict, size);
        free(theirs);
        SP_TRY(status);
    }
    return exec_team_share(run->team, verdict, size, err);
}

sp_status exec_together_agree(struct exec_run *run, struct sp_error *err)
{
    char verdict[512] = "";
    if (run->team == NULL)
        return SP_OK;
    char *own = own_terms(run);
    sp_status status = compare_terms(run, own, verdict, sizeof verdict, err);
    free(own);
    SP_TRY(status);
    if (verdict[0] != '\0')
        return SP_FAIL(err, SP_E_INPUT, "%s", verdict);
    SP_TRY(exec_team_share(run->team, &run->resume_gate, sizeof run->resume_gate, err));
    run->replaying = run->resume_gate >= 0;
    return SP_OK;
}

/* All are here when it returns. */
sp_status exec_together_start(struct exec_run *run, struct sp_error *err)
{
    char here = 1;
    for (int rank = 1; rank < exec_team_size(run->team); rank++)
        SP_TRY(exec_team_pass(run->team, rank, 0, &here, sizeof here, err));
    return exec_team_share(run->team, &here, sizeof here, err);
}

static int owner_of(const struct exec_run *run, int device)
{
    return exec_team_owner(run->team, device, run->plan->device_count);
}

static sp_status to_rank_0(struct exec_run *run, int device, void *bytes, size_t count, struct sp_error *err)
{
    return exec_team_pass(run->team, owner_of(run, device), 0, bytes, count, err);
}

sp_status exec_together_stages(struct exec_run *run, struct sp_error *err)
{
    for (int i = 0; run->team != NULL && i < run->plan->stage_count; i++) {
        struct exec_stage *stage = &run->stages[i];
        int device = run->plan->stages[i].forward_device;
        size_t slots = (size_t)run->plan->in_flight[i];
        SP_TRY(to_rank_0(run, device, stage->busy, slots * sizeof *stage->busy, err));
        SP_TRY(exec_team_share(run->team, stage->busy, slots * sizeof *stage->busy, err));
        SP_TRY(to_rank_0(run, device, &stage->forward_staleness, sizeof stage->forward_staleness, err));
        SP_TRY(to_rank_0(run, device, &stage->backward_staleness, sizeof stage->backward_staleness, err));
    }
    return SP_OK;
}

static sp_status pass_progress(struct exec_run *run, struct sp_error *err)
{
    struct exec_progress_state *p = &run->progress;
    int device = run->plan->stages[run->plan->stage_count - 1].forward_device;
    const struct {
        void *at;
        size_t bytes;
    } parts[] = {{&p->done, sizeof p->done},
                 {&p->correct_since, sizeof p->correct_since},
                 {&p->loss_from, sizeof p->loss_from},
                 {&p->epoch_count, sizeof p->epoch_count},
                 {p->epochs, (size_t)exec_progress_room(run) * sizeof *p->epochs},
                 {p->losses, (size_t)run->plan->minibatches * sizeof *p->losses}};
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++)
        SP_TRY(to_rank_0(run, device, parts[n].at, parts[n].bytes, err));
    return SP_OK;
}

/* The device whose rank writes a lane of the trace: behind those of the devices come those of the channels. */
static int device_of_lane(const struct exec_run *run, int lane)
{
    if (lane < run->plan->device_count)
        return lane;
    int c = 0;
    while (run->flow->links[c].trace_lane != lane)
        c++;
    return run->plan->channels[c].from_device;
}

sp_status exec_together_counts(struct exec_run *run, struct sp_error *err)
{
    int devices = run->plan->device_count;
    if (run->team == NULL)
        return SP_OK;
    SP_TRY(pass_progress(run, err));
    for (int lane = 0; lane < run->trace->lane_count; lane++) {
        struct sp_lane_total *total = &run->trace->lanes[lane].total;
        SP_TRY(to_rank_0(run, device_of_lane(run, lane), total, sizeof *total, err));
    }
    for (int64_t s = 0; s < exec_progress_room(run) * devices; s++)
        SP_TRY(to_rank_0(run, (int)(s % devices), &run->snapshots[s], sizeof *run->snapshots, err));
    return SP_OK;
}

static sp_status pass_spans(struct exec_run *run, int lane, struct sp_error *err)
{
    struct sp_lane *it = &run->trace->lanes[lane];
    int device = device_of_lane(run, lane);
    SP_TRY(to_rank_0(run, device, &it->count, sizeof it->count, err));
    SP_ASSERT(it->count <= it->capacity, "%lld spans for %lld", (long long)it->count, (long long)it->capacity);
    return to_rank_0(run, device, it->spans, (size_t)it->count * sizeof *it->spans, err);
}

static sp_status pass_memory(struct exec_run *run, int d, struct sp_error *err)
{
    SP_TRY(to_rank_0(run, d, run->blocks.counted[d], sizeof run->blocks.counted[d], err));
    return to_rank_0(run, d, run->live[d].peak, sizeof run->live[d].peak, err);
}

/* The last news may not have come yet, or never will: here they are again. */
static sp_status pass_told(struct exec_run *run, struct sp_error *err)
{
    struct exec_progress last = run->told;
    int device = run->plan->stages[run->plan->stage_count - 1].forward_device;
    SP_TRY(to_rank_0(run, device, &last, sizeof last, err));
    bool is_new = last.minibatches != run->told.minibatches || last.evaluations != run->told.evaluations;
    if (exec_team_rank(run->team) == 0 && is_new && run->config.progress != NULL)
        run->config.progress(run->config.progress_self, &last);
    return SP_OK;
}

sp_status exec_together_results(struct exec_run *run, struct sp_error *err)
{
    if (run->team == NULL)
        return SP_OK;
    SP_TRY(exec_flow_peers_finish(run, err));
    exec_team_listen(run->team, NULL); /* nothing waits any more but this */
    SP_TRY(exec_together_stages(run, err));
    SP_TRY(exec_together_counts(run, err));
    for (int lane = 0; lane < run->trace->lane_count; lane++)
        SP_TRY(pass_spans(run, lane, err));
    for (int d = 0; d < run->plan->device_count; d++)
        SP_TRY(pass_memory(run, d, err));
    for (int rank = 1; rank < exec_team_size(run->team); rank++) {
        double time_s = run->time_s;
        SP_TRY(exec_team_pass(run->team, rank, 0, &time_s, sizeof time_s, err));
        run->time_s = time_s > run->time_s ? time_s : run->time_s;
    }
    SP_TRY(pass_told(run, err));
    run->flow->over = true;
    return SP_OK;
}
