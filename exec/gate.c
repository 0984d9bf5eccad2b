/*
 * The gate: between two minibatches all devices may be stopped together, at one place of their instructions. There a
 * checkpoint is written, or the one to resume from is loaded; elsewhere a device passes with two loads.
 *
 * Processes that run a plan together do not know how far the others are. At milestones all pause by themselves. When
 * rank 0 wants a pause elsewhere, it lets all hold: no rank decides on another gate, and each tells which was its last.
 * The pause is behind the latest of them.
 */
#include "exec/flow.h"

#include <math.h>

static bool is_stopping(const struct exec_run *run)
{
    return (run->config.stop != NULL && *run->config.stop != 0) ||
           (exec_team_rank(run->team) == 0 && atomic_load(&run->gate.asked));
}

void exec_gate_init(struct exec_run *run)
{
    struct exec_gate *gate = &run->gate;
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
    atomic_init(&gate->decided, run->resume_gate);
    atomic_init(&gate->pause, run->resume_gate);
    atomic_init(&gate->opened, -1);
    atomic_init(&gate->agreed, -1);
    atomic_init(&gate->asked, false);
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

/* Whether there is to be a checkpoint, wherever it may be. */
static bool is_wanted(const struct exec_run *run)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    bool late = config->minutes > 0 && exec_run_now_s(run) - run->gate.last_s >= 60 * config->minutes;
    return config->folder != NULL && (late || is_stopping(run));
}

static bool is_due(const struct exec_run *run, int64_t m)
{
    if (run->config.checkpoint.folder == NULL)
        return false;
    return is_milestone(run, m) || (run->team == NULL && is_wanted(run));
}

/* Of several processes, before gate m is decided: lets rank 0 find a gate for all where it wants one, and waits while
 * it does. Locked. */
static void ask_ranks(struct exec_run *run, int64_t m)
{
    struct exec_gate *gate = &run->gate;
    struct exec_news news = {.kind = exec_team_rank(run->team) == 0 ? EXEC_NEWS_HOLD : EXEC_NEWS_STOP};
    if (news.kind == EXEC_NEWS_HOLD && is_wanted(run) && !gate->held && atomic_load(&gate->agreed) < m) {
        gate->held = true;
        gate->answers = 1;
        gate->highest = atomic_load(&gate->decided);
        exec_team_tell(run->team, &news);
    } else if (news.kind == EXEC_NEWS_STOP && is_stopping(run) && !atomic_exchange(&gate->asked, true)) {
        exec_team_tell(run->team, &news);
    }
    while (gate->held && !atomic_load(&run->failed))
        pthread_cond_wait(&gate->changed, &gate->mutex);
}

/* All pause at that gate. Locked. */
static void agree(struct exec_gate *gate, int64_t m, bool stopping)
{
    atomic_store(&gate->agreed, m);
    gate->stopping = stopping;
    gate->held = false;
    pthread_cond_broadcast(&gate->changed);
}

/* A rank has told its last gate. Locked. */
static void take_answer(struct exec_run *run, int64_t m)
{
    struct exec_gate *gate = &run->gate;
    gate->highest = m > gate->highest ? m : gate->highest;
    if (++gate->answers < exec_team_size(run->team))
        return;
    agree(gate, gate->highest + 1, is_stopping(run));
    struct exec_news news = {.kind = EXEC_NEWS_PAUSE, .value = gate->highest + 1, .bytes = {gate->stopping ? 1 : 0}};
    exec_team_tell(run->team, &news);
}

void exec_gate_news(struct exec_run *run, const struct exec_news *news)
{
    struct exec_gate *gate = &run->gate;
    pthread_mutex_lock(&gate->mutex);
    if (news->kind == EXEC_NEWS_STOP) {
        atomic_store(&gate->asked, true);
    } else if (news->kind == EXEC_NEWS_HOLD) {
        struct exec_news answer = {.kind = EXEC_NEWS_HELD, .value = atomic_load(&gate->decided)};
        gate->held = true;
        exec_team_tell(run->team, &answer);
    } else if (news->kind == EXEC_NEWS_HELD) {
        take_answer(run, news->value);
    } else if (news->kind == EXEC_NEWS_PAUSE) {
        agree(gate, news->value, news->bytes[0] != 0);
    }
    pthread_mutex_unlock(&gate->mutex);
}

/* True when the run pauses at gate m. */
static bool decide(struct exec_run *run, int64_t m)
{
    struct exec_gate *gate = &run->gate;
    if (atomic_load(&gate->decided) < m) {
        pthread_mutex_lock(&gate->mutex);
        if (run->team != NULL)
            ask_ranks(run, m);
        if (atomic_load(&gate->decided) < m) {
            if (is_due(run, m))
                atomic_store(&gate->pause, m);
            atomic_store(&gate->decided, m);
        }
        pthread_mutex_unlock(&gate->mutex);
    }
    return atomic_load(&gate->pause) == m || atomic_load(&gate->agreed) == m;
}

/* A run that cannot write a checkpoint now keeps the one before and goes on; at its end that is a failure. */
static sp_status save(struct exec_run *run, const struct sp_instr *instr, bool last, struct sp_error *err)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    struct sp_error why = {0};
    run->gate.last_s = exec_run_now_s(run);
    sp_status status = exec_checkpoint_save(run, instr, last ? err : &why);
    if (!last && status != SP_OK && config->warn != NULL && !exec_team_failed(run->team, NULL, NULL))
        config->warn(config->warn_self, why.text);
    sp_error_fini(&why);
    return last ? status : SP_OK;
}

/* All devices are here, and what was sent has come. */
static sp_status act(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err)
{
    SP_TRY(exec_flow_settle(run, err));
    if (instr->minibatch == run->resume_gate)
        return exec_checkpoint_load(run, instr, err);
    bool asked =
        run->team == NULL ? is_stopping(run) : run->gate.stopping && atomic_load(&run->gate.agreed) == instr->minibatch;
    bool stopping = asked && instr->minibatch + 1 < run->plan->minibatches;
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
    if (++gate->arrived == run->device_end - run->first_device) {
        gate->arrived = 0;
        pthread_mutex_unlock(&gate->mutex);
        status = act(run, instr, err);
        pthread_mutex_lock(&gate->mutex);
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
