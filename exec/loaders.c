/*
 * A run's loaders: one of the training set, and one of the test set for each phase that evaluates.
 */
#include "exec/data/data.h"
#include "exec/flow.h"
#include "exec/run.h"

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

/* From now on whoever stops the run (exec_run_stop) stops the loader. */
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
