/*
 * The gate: between two minibatches all devices may be stopped together, at one place of their instructions. There a
 * checkpoint is written, or the one to resume from is loaded; elsewhere a device passes with two loads.
 */
#include "exec/flow.h"

#include <math.h>

static bool is_stopping(const struct exec_run *run)
{
    return run->config.stop != NULL && *run->config.stop != 0;
}

void exec_gate_init(struct exec_run *run)
{
    struct exec_gate *gate = &run->gate;
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
    atomic_init(&gate->decided, run->resume_gate);
    atomic_init(&gate->pause, run->resume_gate);
    atomic_init(&gate->opened, -1);
    gate->stopped = -1;
}

void exec_gate_fini(struct exec_run *run)
{
    pthread_cond_destroy(&run->gate.changed);
    pthread_mutex_destroy(&run->gate.mutex);
}

void exec_gate_cancel(struct exec_run *run)
{
    pthread_mutex_lock(&run->gate.mutex);
    pthread_cond_broadcast(&run->gate.changed);
    pthread_mutex_unlock(&run->gate.mutex);
}

/* Whether minibatch m is the last or the one that completes an epoch (or so many). */
static bool is_milestone(const struct exec_run *run, int64_t m)
{
    double period = run->config.checkpoint.epoch_minibatches;
    bool epoch = period > 0 && floor((double)(m + 1) / period) > floor((double)m / period);
    return epoch || m + 1 == run->plan->minibatches;
}

static bool is_due(const struct exec_run *run, int64_t m)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    if (config->folder == NULL)
        return false;
    bool late = config->minutes > 0 && exec_run_now_s(run) - run->gate.last_s >= 60 * config->minutes;
    return late || is_milestone(run, m) || is_stopping(run);
}

/* True when the run pauses at gate m. */
static bool decide(struct exec_run *run, int64_t m)
{
    struct exec_gate *gate = &run->gate;
    if (atomic_load(&gate->decided) < m) {
        pthread_mutex_lock(&gate->mutex);
        if (atomic_load(&gate->decided) < m) {
            if (is_due(run, m))
                atomic_store(&gate->pause, m);
            atomic_store(&gate->decided, m);
        }
        pthread_mutex_unlock(&gate->mutex);
    }
    return atomic_load(&gate->pause) == m;
}

/* A run that cannot write a checkpoint now keeps the one before and goes on; at its end that is a failure. */
static sp_status save(struct exec_run *run, const struct sp_instr *instr, bool last, struct sp_error *err)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    struct sp_error why = {0};
    run->gate.last_s = exec_run_now_s(run);
    sp_status status = exec_checkpoint_save(run, instr, last ? err : &why);
    if (!last && status != SP_OK && config->warn != NULL)
        config->warn(config->warn_self, why.text);
    sp_error_fini(&why);
    return last ? status : SP_OK;
}

/* All devices are here. */
static sp_status act(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    if (instr->minibatch == run->resume_gate)
        return exec_checkpoint_load(run, instr, err);
    bool stopping = is_stopping(run) && instr->minibatch + 1 < run->plan->minibatches;
    SP_TRY(save(run, instr, stopping || instr->minibatch + 1 == run->plan->minibatches, err));
    if (!stopping)
        return SP_OK;
    run->gate.stopped = instr->minibatch;
    return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted after minibatch %lld", (long long)instr->minibatch + 1);
}

sp_status exec_gate_pass(struct exec_run *run, int device, const struct sp_instr *instr, bool wait, bool *opened,
                         struct sp_error *err)
{
    struct exec_gate *gate = &run->gate;
    sp_status status = SP_OK;
    *opened = true;
    bool pauses = decide(run, instr->minibatch);
    if (pauses || exec_progress_is_snapshot(run, instr))
        SP_TRY(exec_flow_drain(run, device, err));
    exec_progress_snapshot(run, device, instr);
    if (!pauses)
        return SP_OK;
    pthread_mutex_lock(&gate->mutex);
    if (++gate->arrived == run->plan->device_count) {
        gate->arrived = 0;
        status = act(run, instr, err);
        if (status == SP_OK)
            atomic_store(&gate->opened, instr->minibatch);
        else
            atomic_store(&run->failed, true);
        pthread_cond_broadcast(&gate->changed);
    }
    while (wait && atomic_load(&gate->opened) < instr->minibatch && !atomic_load(&run->failed))
        pthread_cond_wait(&gate->changed, &gate->mutex);
    *opened = atomic_load(&gate->opened) >= instr->minibatch;
    pthread_mutex_unlock(&gate->mutex);
    if (status == SP_OK && atomic_load(&run->failed))
        return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
    return status;
}
