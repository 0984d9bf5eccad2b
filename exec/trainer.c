#include "exec/trainer.h"
#include "common/alloc.h"
#include "exec/body.h"
#include "exec/flow.h"

#include <stdlib.h>
#include <string.h>

struct exec_trainer {
    struct exec_run run;
};

struct exec_trainer_config exec_trainer_config_default(void)
{
    return (struct exec_trainer_config){
        .backend = &exec_ref_backend,
        .workers = EXEC_WORKERS_THREADS,
        .compute = {.threads = 1},
        .pin = true,
        .sgd = {.lr = 0.01f, .momentum = 0.9f},
        .seed = 1,
        .spans_per_lane = 20000,
    };
}

static sp_status check_plan(const struct exec_run *run, struct sp_error *err)
{
    const struct sp_network *network = run->plan->network;
    struct sp_shape in = network->shapes[0], data = run->data->shape;
    if (run->plan->shared_memory && !run->backend->shared_memory)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "devices of backend %s have memories of their own; the plan shares them",
                       run->backend->name);
    if (in.c != data.c || in.h != data.h || in.w != data.w)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "%s takes %dx%dx%d, the data are %dx%dx%d", network->name, in.c, in.h,
                       in.w, data.c, data.h, data.w);
    return SP_OK;
}

static void make_state(struct exec_run *run)
{
    const struct sp_plan *plan = run->plan;
    size_t devices = (size_t)plan->device_count, phases = (size_t)plan->phase_count;
    run->stages = sp_calloc((size_t)plan->stage_count, sizeof *run->stages);
    for (int i = 0; i < plan->stage_count; i++) {
        run->stages[i].oldest_forward = run->stages[i].oldest_backward = INT64_MAX;
        run->stages[i].read = sp_calloc((size_t)plan->in_flight[i], sizeof(int64_t));
        run->stages[i].busy = sp_calloc((size_t)plan->in_flight[i], sizeof(bool));
    }
    run->live = sp_calloc(devices, sizeof *run->live);
    for (int d = 0; d < plan->device_count; d++)
        sp_live_init(&run->live[d], run->memory, d);
    run->resting = sp_calloc(devices, sizeof *run->resting);
    run->resting_since_s = sp_calloc(devices, sizeof *run->resting_since_s);
    run->rests = sp_calloc(devices, sizeof *run->rests);
    exec_progress_make_room(run, 0);
    run->first_evaluation = sp_calloc(phases, sizeof *run->first_evaluation);
    run->test_loaders = sp_calloc(phases, sizeof *run->test_loaders);
    run->test_fed = sp_calloc(phases, sizeof *run->test_fed);
    for (int p = 0; p + 1 < plan->phase_count; p++) {
        const struct sp_phase *phase = &plan->phases[p];
        run->first_evaluation[p + 1] =
            run->first_evaluation[p] + sp_plan_phase_evaluations(plan, p) * phase->evaluate_minibatches;
    }
}

static sp_status set_up(struct exec_run *run, struct sp_error *err)
{
    const struct sp_plan *plan = run->plan;
    SP_TRY(check_plan(run, err));
    if (run->config.checkpoint.resume != NULL && exec_team_rank(run->team) == 0)
        SP_TRY(exec_checkpoint_open(run, err));
    SP_TRY(exec_together_begin(run, err));
    SP_TRY(exec_models_create(run, err));
    SP_TRY(exec_together_places(run, err));
    SP_TRY(exec_flow_open(run, err)); /* its libraries take memory, too: before it is asked how much there is */
    SP_TRY(exec_memory_init(&run->blocks, run->backend, run->context, run->memory, run->first_device, run->device_end,
                            err));
    SP_TRY(run->transport->create(plan, &run->channels, err));
    make_state(run);
    run->progress.losses = calloc((size_t)plan->minibatches, sizeof *run->progress.losses);
    if (run->progress.losses == NULL)
        return SP_FAIL(err, SP_E_MEMORY, "no memory for the losses of %lld minibatches", (long long)plan->minibatches);
    SP_TRY(
        sp_trace_create(plan->device_count, exec_flow_trace_lanes(run), run->config.spans_per_lane, &run->trace, err));
    if (run->config.layer_spans > 0)
        SP_TRY(sp_trace_create(plan->device_count, 0, run->config.layer_spans, &run->layers, err));
    SP_TRY(exec_initialise(run, err));
    if (run->resume != NULL)
        SP_TRY(exec_checkpoint_check(run, err));
    SP_TRY(exec_together_agree(run, err));
    return exec_flow_create(run, err);
}

/* Another rank has failed, or is lost. */
static void stop_for_others(void *self)
{
    exec_run_stop(self);
}

static void watch_connections(void *self)
{
    struct exec_run *run = self;
    if (!exec_flow_watch(run))
        return;
    exec_team_expect_end(run->team, run->flow->broken.err.text);
    exec_run_stop(run);
}

static void take_news(void *self, const struct exec_news *news)
{
    struct exec_run *run = self;
    if (news->kind != EXEC_NEWS_PROGRESS) {
        exec_gate_news(run, news);
        return;
    }
    memcpy(&run->told, news->bytes, sizeof run->told);
    if (run->config.progress != NULL)
        run->config.progress(run->config.progress_self, &run->told);
}

/* The progress of a rank that is not 0. */
static void tell_progress(void *self, const struct exec_progress *progress)
{
    struct exec_run *run = self;
    struct exec_news news = {.kind = EXEC_NEWS_PROGRESS};
    _Static_assert(sizeof *progress <= sizeof news.bytes, "progress is one piece of news");
    memcpy(news.bytes, progress, sizeof *progress);
    exec_team_tell(run->team, &news);
}

sp_status exec_trainer_create(const struct sp_plan *plan, struct exec_dataset *data,
                              const struct exec_trainer_config *config, struct exec_trainer **out, struct sp_error *err)
{
    struct exec_trainer *trainer = sp_calloc(1, sizeof *trainer);
    struct exec_run *run = &trainer->run;
    run->plan = plan;
    run->data = data;
    run->config = *config;
    run->backend = config->backend;
    run->transport = &exec_transport_threads;
    run->resume_gate = -1;
    run->team = config->compute.team;
    if (exec_team_rank(run->team) > 0) {
        run->config.progress = tell_progress;
        run->config.progress_self = run;
    }
    sp_status status = set_up(run, err);
    exec_gate_init(run);
    if (status != SP_OK) {
        exec_team_fail(run->team, status, err->text);
        if (status != SP_E_INPUT) /* else it is what the other one says, too */
            (void)exec_team_failed(run->team, &status, err);
        exec_trainer_destroy(&trainer);
    } else {
        exec_team_listen(run->team, &(struct exec_team_listener){take_news, stop_for_others, watch_connections, run});
    }
    *out = trainer;
    return status;
}

static void free_slots(struct exec_stage *stage)
{
    free(stage->read);
    free(stage->busy);
}

void exec_trainer_destroy(struct exec_trainer **trainer)
{
    if (*trainer == NULL)
        return;
    struct exec_run *run = &(*trainer)->run;
    exec_team_listen(run->team, NULL);
    exec_flow_destroy(run);
    exec_loader_destroy(&run->train_loader);
    for (int p = 0; run->test_loaders != NULL && p < run->plan->phase_count; p++)
        exec_loader_destroy(&run->test_loaders[p]);
    free(run->test_loaders);
    free(run->test_fed);
    free(run->first_evaluation);
    for (int i = 0; run->stages != NULL && i < run->plan->stage_count; i++)
        free_slots(&run->stages[i]);
    free(run->stages);
    for (int d = 0; run->live != NULL && d < run->plan->device_count; d++)
        sp_live_fini(&run->live[d]);
    free(run->live);
    free(run->resting);
    free(run->resting_since_s);
    free(run->rests);
    free(run->snapshots);
    free(run->epoch_devices);
    free(run->progress.epochs);
    free(run->progress.losses);
    sp_trace_destroy(&run->trace);
    sp_trace_destroy(&run->layers);
    if (run->channels != NULL)
        run->transport->destroy(&run->channels);
    if (run->blocks.blocks != NULL)
        exec_memory_fini(&run->blocks);
    sp_memory_plan_destroy(&run->memory);
    exec_models_destroy(run);
    run->backend->destroy(&run->context);
    exec_safetensors_close(&run->resume);
    free(run->choices);
    exec_gate_fini(run);
    sp_error_fini(&run->rest_err);
    free(*trainer);
    *trainer = NULL;
}

static sp_status run_plan(struct exec_run *run, struct sp_error *err)
{
    if (!run->replaying) /* else they begin where the checkpoint ends */
        SP_TRY(exec_run_make_loaders(run, err));
    SP_TRY(exec_together_start(run, err));
    run->start_s = 0;
    run->start_s = exec_run_now_s(run);
    SP_TRY(exec_flow_start(run, err));
    sp_status status = exec_workers_run(run, err);
    run->time_s = exec_run_now_s(run);
    return status == SP_OK ? exec_together_results(run, err) : status;
}

/* What fails here beside the workers, before or behind them, the others must hear, too: they wait. */
sp_status exec_trainer_run(struct exec_trainer *trainer, struct sp_error *err)
{
    struct exec_run *run = &trainer->run;
    SP_ASSERT(run->train_loader == NULL, "a trainer runs once");
    sp_status status = run_plan(run, err);
    status = exec_flow_explain(run, -1, status, err);
    if (status != SP_OK && run->gate.stopped < 0)
        exec_team_fail(run->team, status, err->text);
    (void)exec_team_failed(run->team, &status, err); /* that of another rank, or this one's own */
    exec_progress_finish(run);
    return status;
}

const struct sp_memory_plan *exec_trainer_memory(const struct exec_trainer *trainer)
{
    return trainer->run.memory;
}

size_t exec_trainer_counted_bytes(const struct exec_trainer *trainer, int device, enum sp_memory_kind kind)
{
    return trainer->run.blocks.counted[device][kind];
}

size_t exec_trainer_live_peak(const struct exec_trainer *trainer, int device, enum sp_memory_kind kind)
{
    return trainer->run.live[device].peak[kind];
}

const struct sp_trace *exec_trainer_trace(const struct exec_trainer *trainer)
{
    return trainer->run.trace;
}

struct sp_trace *exec_trainer_take_trace(struct exec_trainer *trainer)
{
    struct sp_trace *trace = trainer->run.trace;
    trainer->run.trace = NULL;
    return trace;
}

struct sp_trace *exec_trainer_take_layers(struct exec_trainer *trainer)
{
    struct sp_trace *layers = trainer->run.layers;
    trainer->run.layers = NULL;
    return layers;
}

double exec_trainer_time_s(const struct exec_trainer *trainer)
{
    return trainer->run.time_s;
}

struct exec_graph_count exec_trainer_graphs(const struct exec_trainer *trainer)
{
    struct exec_graph_count count;
    exec_bodies_count(&trainer->run, &count);
    return count;
}

const struct sp_epoch_device *exec_trainer_epoch_devices(const struct exec_trainer *trainer)
{
    return trainer->run.epoch_devices;
}

const struct sp_epoch_summary *exec_trainer_epochs(const struct exec_trainer *trainer, int *count)
{
    *count = trainer->run.progress.epoch_count;
    return trainer->run.progress.epochs;
}

void exec_trainer_counted_staleness(const struct exec_trainer *trainer, int stage, int64_t *forward, int64_t *backward)
{
    *forward = trainer->run.stages[stage].forward_staleness;
    *backward = trainer->run.stages[stage].backward_staleness;
}

int64_t exec_trainer_resumed_after(const struct exec_trainer *trainer)
{
    return trainer->run.resume_gate + 1;
}

int64_t exec_trainer_stopped_after(const struct exec_trainer *trainer)
{
    int64_t gate = trainer->run.gate.stopped;
    return gate < 0 ? -1 : gate + 1;
}

int64_t exec_trainer_done(const struct exec_trainer *trainer)
{
    return trainer->run.progress.done;
}

const float *exec_trainer_losses(const struct exec_trainer *trainer)
{
    return trainer->run.progress.losses;
}

static int stage_of(const struct sp_plan *plan, int layer)
{
    int i = 0;
    while (layer >= plan->stages[i].layer_end)
        i++;
    return i;
}

/* Where the newest version of a layer's parameter is stored. */
static char *stored_at(struct exec_run *run, int layer, enum sp_parameter which)
{
    int i = stage_of(run->plan, layer), local = layer - run->plan->stages[i].first_layer;
    char *weights = exec_run_backward_weights(run, i, run->stages[i].version);
    return weights + run->memory->parameters[i].offset[local][which];
}

sp_status exec_trainer_get_parameter(struct exec_trainer *trainer, int layer, enum sp_parameter which, float *out,
                                     struct sp_error *err)
{
    struct exec_run *run = &trainer->run;
    SP_ASSERT(exec_run_has_stage(run, stage_of(run->plan, layer)), "layer %d is another process's", layer);
    return run->backend->export_parameter(run->models[0], layer, which, stored_at(run, layer, which), out, err);
}

sp_status exec_trainer_set_parameter(struct exec_trainer *trainer, int layer, enum sp_parameter which, const float *in,
                                     struct sp_error *err)
{
    struct exec_run *run = &trainer->run;
    int i = stage_of(run->plan, layer);
    SP_TRY(run->backend->import_parameter(run->models[0], layer, which, in, stored_at(run, layer, which), err));
    if (run->plan->stages[i].forward_device == run->plan->stages[i].backward_device)
        return SP_OK;
    return run->backend->copy(run->context, exec_run_forward_weights(run, i, run->stages[i].forward_version),
                              exec_run_backward_weights(run, i, run->stages[i].version),
                              run->memory->parameters[i].block_bytes, err);
}
