/*
 * The threads that run a plan, one for each device that is here, or one for all.
 */
#include "common/alloc.h"
#include "exec/flow.h"
#include "exec/run.h"

#include <stdlib.h>
#include <unistd.h>

void exec_run_stop(struct exec_run *run)
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
    exec_run_stop(run);
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
        exec_run_stop(run);
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

sp_status exec_workers_run(struct exec_run *run, struct sp_error *err)
{
    return run->config.workers == EXEC_WORKERS_ONE ? run_single(run, err) : run_threads(run, err);
}
