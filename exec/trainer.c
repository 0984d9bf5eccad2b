#include "exec/trainer.h"
#include "common/alloc.h"
#include "exec/body.h"
#include "exec/flow.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static sp_status check_layers(const struct exec_run *run, struct sp_error *err)
{
    const struct sp_network *network = run->plan->network;
    for (int l = 0; l < network->layer_count; l++) {
        const char *reason = run->backend->supports(&network->layers[l]);
        if (reason != NULL)
            return SP_FAIL(err, SP_E_UNSUPPORTED, "backend %s cannot do layer %s of %s: %s", run->backend->name,
                           network->layers[l].name, network->name, reason);
    }
    return SP_OK;
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

/* One model for each microbatch size; all share the first one's parameter layouts. */
static sp_status make_models(struct exec_run *run, struct sp_error *err)
{
    const struct sp_plan *plan = run->plan;
    run->models = sp_calloc((size_t)plan->phase_count, sizeof *run->models);
    for (int p = 0; p < plan->phase_count; p++) {
        int size = sp_plan_microbatch_size(plan, p);
        for (int other = 0; other < p && run->models[p] == NULL; other++)
            if (sp_plan_microbatch_size(plan, other) == size)
                run->models[p] = run->models[other];
        if (run->models[p] == NULL)
            SP_TRY(run->backend->model_create(run->context, plan->network, size, run->models[0], &run->models[p], err));
    }
    return SP_OK;
}

static void destroy_models(struct exec_run *run)
{
    for (int p = 0; run->models != NULL && p < run->plan->phase_count; p++) {
        void *model = run->models[p];
        for (int other = p; other < run->plan->phase_count; other++)
            if (run->models[other] == model)
                run->models[other] = NULL;
        if (model != NULL)
            run->backend->model_destroy(&model);
    }
    free(run->models);
}

/* The footprint of a run asks the model of the batch size; what has no batch size is the same in all. */
static struct sp_footprint footprint_for(const struct exec_run *run, int batch)
{
    int p = 0;
    while (batch > 0 && sp_plan_microbatch_size(run->plan, p) != batch)
        p++;
    return run->backend->footprint(run->models[p]);
}

static size_t tensor_bytes(const void *self, int tensor, int batch)
{
    struct sp_footprint footprint = footprint_for(self, batch);
    return footprint.tensor(footprint.self, tensor, batch);
}

static size_t saved_bytes(const void *self, int layer, int batch)
{
    struct sp_footprint footprint = footprint_for(self, batch);
    return footprint.saved(footprint.self, layer, batch);
}

static size_t parameter_bytes(const void *self, int layer, enum sp_parameter which)
{
    struct sp_footprint footprint = footprint_for(self, 0);
    return footprint.parameter(footprint.self, layer, which);
}

static size_t state_bytes(const void *self, int layer)
{
    struct sp_footprint footprint = footprint_for(self, 0);
    return footprint.state(footprint.self, layer);
}

static size_t scratch_bytes(const void *self, int layer, enum sp_pass pass, int batch)
{
    struct sp_footprint footprint = footprint_for(self, batch);
    return footprint.scratch(footprint.self, layer, pass, batch);
}

static int keeps(const void *self, int layer)
{
    struct sp_footprint footprint = footprint_for(self, 0);
    return footprint.keeps(footprint.self, layer);
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

static void *take_host(void *self, size_t bytes)
{
    struct exec_run *run = self;
    struct sp_error err = {0};
    void *memory = NULL;
    if (run->backend->async->take_host(run->context, bytes, &memory, &err) != SP_OK)
        sp_error_fini(&err);
    return memory;
}

static void give_host(void *self, void *memory)
{
    struct exec_run *run = self;
    run->backend->async->release_host(run->context, memory);
}

/* From now on whoever stops the run (stop_all) stops the loader. */
static void keep_loader(struct exec_run *run, struct exec_loader **at, struct exec_loader *loader)
{
    pthread_mutex_lock(&run->gate.mutex);
    *at = loader;
    if (atomic_load(&run->failed))
        exec_loader_cancel(loader);
    pthread_mutex_unlock(&run->gate.mutex);
}

/* A minibatch stays in the loader from the first stage's forward to the last one's: as many as may be between, and some
 * ahead. Where only one of the two is here, nobody else takes it. */
sp_status exec_run_make_loaders(struct exec_run *run, struct sp_error *err)
{
    const struct sp_plan *plan = run->plan;
    struct exec_loader *loader;
    bool first = exec_run_has_stage(run, 0), last = exec_run_has_stage(run, plan->stage_count - 1);
    if (!first && !last)
        return SP_OK;
    int held = run->flow != NULL ? 2 * SP_STAGING : 0; /* until they are copied, by the first and the last stage */
    struct exec_loader_config config = {
        .set = run->data,
        .split = EXEC_TRAIN,
        .batch = plan->batch,
        .first = last ? run->train_fed.last_stage : run->train_fed.first_stage,
        .takers = first + last,
        .taken = first && last ? run->train_fed.first_stage : 0,
        .end = plan->minibatches,
        .shuffle = true,
        .augment = run->config.augment,
        .seed = run->config.seed,
        .ahead = plan->in_flight[0] + 3 + held,
        .threads = run->config.loader_threads,
        .take = run->flow != NULL ? take_host : NULL,
        .give = give_host,
        .self = run,
    };
    SP_TRY(exec_loader_create(&config, &loader, err));
    keep_loader(run, &run->train_loader, loader);
    for (int p = 0; p < plan->phase_count; p++) {
        int64_t count = sp_plan_phase_evaluations(plan, p) * plan->phases[p].evaluate_minibatches;
        if (count == 0)
            continue;
        config.split = EXEC_TEST;
        config.batch = sp_plan_microbatch_size(plan, p);
        config.first = last ? run->test_fed[p].last_stage : run->test_fed[p].first_stage;
        config.taken = first && last ? run->test_fed[p].first_stage : 0;
        config.end = count;
        config.shuffle = config.augment = false;
        config.ahead = 2 * plan->stage_count + 2 + held;
        SP_TRY(exec_loader_create(&config, &loader, err));
        keep_loader(run, &run->test_loaders[p], loader);
    }
    return SP_OK;
}

/* Which devices are here, and which of this host's they are. */
static sp_status find_devices(struct exec_run *run, struct sp_error *err)
{
    struct exec_team *team = run->config.compute.team;
    int count = run->plan->device_count, rank = exec_team_rank(team), before = 0;
    run->team = team;
    run->first_device = exec_team_first_device(team, rank, count);
    run->device_end = exec_team_first_device(team, rank + 1, count);
    for (int other = 0; other < rank; other++)
        if (exec_team_same_host(team, rank, other))
            before += exec_team_first_device(team, other + 1, count) - exec_team_first_device(team, other, count);
    run->config.compute.devices = count;
    run->config.compute.first_device = run->first_device;
    run->config.compute.device_end = run->device_end;
    run->config.compute.host_devices_before = before;
    if (count < exec_team_size(team))
        return SP_FAIL(err, SP_E_INPUT, "%d device%s cannot be shared out to %d processes; each needs one at least",
                       count, count == 1 ? "" : "s", exec_team_size(team));
    return SP_OK;
}

static sp_status plan_memory(struct exec_run *run, struct sp_error *err)
{
    SP_TRY(check_layers(run, err));
    SP_TRY(find_devices(run, err));
    SP_TRY(run->backend->create(&run->config.compute, &run->context, err));
    SP_TRY(make_models(run, err));
    struct sp_footprint one = footprint_for(run, 0), footprint = {.self = run,
                                                                  .tensor = tensor_bytes,
                                                                  .saved = saved_bytes,
                                                                  .parameter = parameter_bytes,
                                                                  .state = state_bytes,
                                                                  .scratch = scratch_bytes,
                                                                  .keeps = one.keeps != NULL ? keeps : NULL};
    return sp_memory_plan_create(run->plan, &footprint, &run->memory, err);
}

sp_status exec_plan_memory(const struct sp_plan *plan, const struct exec_backend *backend,
                           const struct exec_backend_config *config, struct sp_memory_plan **out, struct sp_error *err)
{
    struct exec_run run = {.plan = plan, .backend = backend, .config = {.compute = *config}};
    sp_status status = plan_memory(&run, err);
    *out = run.memory;
    destroy_models(&run);
    backend->destroy(&run.context);
    return status;
}

static sp_status set_up(struct exec_run *run, struct sp_error *err)
{
    const struct sp_plan *plan = run->plan;
    SP_TRY(check_plan(run, err));
    if (run->config.checkpoint.resume != NULL && exec_team_rank(run->team) == 0)
        SP_TRY(exec_checkpoint_open(run, err));
    SP_TRY(exec_together_begin(run, err));
    SP_TRY(plan_memory(run, err));
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

static void stop_all(struct exec_run *run)
{
    atomic_store(&run->failed, true);
    run->transport->cancel(run->channels);
    exec_gate_cancel(run);
    pthread_mutex_lock(&run->gate.mutex);
    if (run->train_loader != NULL)
        exec_loader_cancel(run->train_loader);
    for (int p = 0; p < run->plan->phase_count; p++)
        if (run->test_loaders[p] != NULL)
            exec_loader_cancel(run->test_loaders[p]);
    pthread_mutex_unlock(&run->gate.mutex);
    exec_flow_abandon(run); /* last, for it may wait */
}

/* Another rank has failed, or is lost. */
static void stop_for_others(void *self)
{
    stop_all(self);
}

static void watch_connections(void *self)
{
    struct exec_run *run = self;
    if (!exec_flow_watch(run))
        return;
    exec_team_expect_end(run->team, run->flow->broken.err.text);
    stop_all(run);
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
    destroy_models(run);
    run->backend->destroy(&run->context);
    exec_safetensors_close(&run->resume);
    free(run->choices);
    exec_gate_fini(run);
    sp_error_fini(&run->rest_err);
    free(*trainer);
    *trainer = NULL;
}

/* A device's thread. */
struct worker {
    struct exec_run *run;
    int device;
    pthread_t thread;
    sp_status status;
    struct sp_error err;
};

static sp_status bind_device(struct exec_run *run, int device, int devices, struct sp_error *err)
{
    int threads = run->config.compute.threads;
    bool fits = (long)devices * threads <= sysconf(_SC_NPROCESSORS_ONLN);
    int cores = run->config.pin && fits ? threads : 0;
    return run->backend->bind(run->context, device * threads, cores, threads, err);
}

static void *work(void *self)
{
    struct worker *worker = self;
    struct exec_run *run = worker->run;
    worker->status = bind_device(run, worker->device, run->plan->device_count, &worker->err);
    if (worker->status == SP_OK)
        worker->status = sp_drive_device(run->plan, worker->device, &exec_engine_threads, run, &worker->err);
    if (worker->status == SP_OK)
        worker->status = exec_flow_drain(run, worker->device, &worker->err);
    worker->status = exec_flow_explain(run, worker->device, worker->status, &worker->err);
    if (worker->status == SP_OK)
        return NULL;
    bool by_another = worker->status == SP_E_INTERRUPTED && atomic_load(&run->failed); /* which tells why */
    if (run->gate.stopped < 0 && !by_another)                                          /* else all end there */
        exec_team_fail(run->team, worker->status, worker->err.text);
    stop_all(run);
    return NULL;
}

/* The failure that came first is told, not those of the threads it stopped. */
static sp_status gather(struct worker *workers, int count, struct sp_error *err)
{
    int told = -1;
    for (int d = 0; d < count; d++) {
        bool better = told < 0 || workers[told].status == SP_E_INTERRUPTED;
        if (workers[d].status != SP_OK && better)
            told = d;
    }
    sp_status status = told < 0 ? SP_OK : workers[told].status;
    if (status != SP_OK) {
        SP_FAIL(err, status, "%s", workers[told].err.text);
        if (status != SP_E_INTERRUPTED)
            sp_error_context(err, "on device %d", workers[told].device);
    }
    for (int d = 0; d < count; d++)
        sp_error_fini(&workers[d].err);
    return status;
}

static sp_status run_threads(struct exec_run *run, struct sp_error *err)
{
    int count = run->device_end - run->first_device, started = 0;
    struct worker *workers = sp_calloc((size_t)count, sizeof *workers);
    for (; started < count; started++) {
        workers[started].run = run;
        workers[started].device = run->first_device + started;
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0)
            break;
    }
    if (started < count)
        stop_all(run);
    for (int d = 0; d < started; d++)
        pthread_join(workers[d].thread, NULL);
    sp_status status = gather(workers, started, err);
    if (started < count && status == SP_E_INTERRUPTED) {
        sp_error_clear(err);
        status = SP_FAIL(err, SP_E_MEMORY, "cannot start a thread for device %d", run->first_device + started);
    }
    free(workers);
    return status;
}

static sp_status run_single(struct exec_run *run, struct sp_error *err)
{
    SP_TRY(bind_device(run, 0, 1, err));
    SP_TRY(sp_drive(run->plan, &exec_engine_single, run, NULL, err));
    for (int d = 0; d < run->plan->device_count; d++)
        SP_TRY(exec_flow_drain(run, d, err));
    return SP_OK;
}

static sp_status run_plan(struct exec_run *run, struct sp_error *err)
{
    if (!run->replaying) /* else they begin where the checkpoint ends */
        SP_TRY(exec_run_make_loaders(run, err));
    SP_TRY(exec_together_start(run, err));
    run->start_s = 0;
    run->start_s = exec_run_now_s(run);
    SP_TRY(exec_flow_start(run, err));
    sp_status status = run->config.workers == EXEC_WORKERS_ONE ? run_single(run, err) : run_threads(run, err);
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
