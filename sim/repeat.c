#include "sim/repeat.h"
#include "common/alloc.h"

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* What the threads share. */
struct work {
    const struct sp_plan *plan;
    const struct sim_cost *cost;
    const struct sim_noise_key *key;
    struct sim_sample *samples;
    int count;
    atomic_int next;
};

struct worker {
    pthread_t thread;
    struct work *work;
    sp_status status;
    struct sp_error err;
};

static struct sim_sample sample_of(const struct sp_plan *plan, const struct sim_result *result)
{
    struct sim_sample sample = {.time_s = result->time_s, .evaluation_s = sp_trace_evaluation_s(result->trace)};
    for (int d = 0; d < plan->device_count && result->time_s > 0; d++)
        sample.utilization += sp_trace_busy_s(result->trace, d) / (result->time_s * plan->device_count);
    return sample;
}

static void *run(void *self)
{
    struct worker *worker = self;
    struct work *work = worker->work;
    for (int n; worker->status == SP_OK && (n = atomic_fetch_add(&work->next, 1)) < work->count;) {
        struct sim_config config = {.noisy = true, .noise = *work->key};
        struct sim_result result;
        config.noise.repeat += n;
        worker->status = sim_run(work->plan, work->cost, &config, &result, &worker->err);
        if (worker->status == SP_OK) {
            work->samples[n] = sample_of(work->plan, &result);
            sim_result_fini(&result);
        }
    }
    return NULL;
}

sp_status sim_repeat(const struct sp_plan *plan, const struct sim_cost *cost, const struct sim_noise_key *key,
                     int count, struct sim_sample *samples, struct sp_error *err)
{
    struct work work = {.plan = plan, .cost = cost, .key = key, .samples = samples, .count = count};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = cores < 1 ? 1 : cores < count ? (int)cores : count, started = 1;
    struct worker *workers = sp_calloc((size_t)threads, sizeof *workers);
    sp_status status = SP_OK;
    for (int t = 0; t < threads; t++)
        workers[t].work = &work;
    while (started < threads && pthread_create(&workers[started].thread, NULL, run, &workers[started]) == 0)
        started++;
    run(&workers[0]); /* this thread does its part, and all of it where no other could be had */
    for (int t = 1; t < started; t++)
        pthread_join(workers[t].thread, NULL);
    for (int t = 0; t < started; t++) {
        if (workers[t].status != SP_OK && status == SP_OK) {
            status = workers[t].status;
            sp_error_fini(err);
            *err = workers[t].err;
        } else {
            sp_error_fini(&workers[t].err);
        }
    }
    free(workers);
    return status;
}

/* With the k-th of n values at the share k / (n + 1): so many fresh ones lie below it, whatever their distribution. */
static double quantile(const double *sorted, int count, double share)
{
    double at = count > 1 ? (share * (count + 1) - 1) / (count - 1) : 0;
    return gsl_stats_quantile_from_sorted_data(sorted, 1, (size_t)count, fmin(fmax(at, 0), 1));
}

struct sim_interval sim_interval_of(double *values, int count, double share)
{
    gsl_sort(values, 1, (size_t)count);
    return (struct sim_interval){quantile(values, count, (1 - share) / 2), quantile(values, count, 0.5),
                                 quantile(values, count, (1 + share) / 2)};
}
