#include "exec/probe.h"

#include "common/alloc.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>

enum { LOOPS = 15, STEPS = 100000, CHAINS = 10, LANES = 8, BLOCK = 4 << 20 };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* CHAINS independent chains hide the latency of each; the sum keeps them from being dropped. */
#define MULTIPLY_ADDS(name)                                                                                            \
    static float name(float by)                                                                                        \
    {                                                                                                                  \
        lanes sum[CHAINS] = {{0}};                                                                                     \
        for (int s = 0; s < STEPS; s++)                                                                                \
            for (int c = 0; c < CHAINS; c++)                                                                           \
                sum[c] = sum[c] * by + by;                                                                             \
        for (int c = 1; c < CHAINS; c++)                                                                               \
            sum[0] += sum[c];                                                                                          \
        return sum[0][0];                                                                                              \
    }

#ifdef __x86_64__
#pragma GCC push_options
#pragma GCC optimize("O3", "unroll-loops", "fp-contract=fast")
#pragma GCC target("avx2,fma")
MULTIPLY_ADDS(multiply_adds_avx2)
#pragma GCC pop_options
#endif
MULTIPLY_ADDS(multiply_adds)

static float multiply(float by)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return multiply_adds_avx2(by);
#endif
    return multiply_adds(by);
}

static double median(double *values)
{
    gsl_sort(values, 1, LOOPS);
    return gsl_stats_median_from_sorted_data(values, 1, LOOPS);
}

struct exec_speed exec_probe_speed(void)
{
    double arithmetic[LOOPS], copying[LOOPS];
    char *memory = sp_calloc(2, BLOCK);
    volatile float sink;
    memset(memory, 1, 2 * (size_t)BLOCK);
    for (int l = 0; l < LOOPS; l++) {
        double start_s = now_s();
        sink = multiply(0.5f);
        double middle_s = now_s();
        memcpy(memory + (l % 2 ? 0 : BLOCK), memory + (l % 2 ? BLOCK : 0), BLOCK);
        arithmetic[l] = 2.0 * STEPS * CHAINS * LANES / (middle_s - start_s);
        copying[l] = 2.0 * BLOCK / (now_s() - middle_s);
    }
    (void)sink;
    free(memory);
    return (struct exec_speed){median(arithmetic), median(copying)};
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

/* Busy time of all cores: user, nice, system, interrupts; not idle, not waiting for disks, not stolen. */
static double machine_s(void)
{
    unsigned long long user, nice, system, idle, wait, irq, softirq;
    double busy = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &softirq) ==
        7)
        busy = (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
    fclose(file);
    return busy;
}

struct exec_load_mark exec_load_mark(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct exec_load_mark){now_s(), machine_s(), seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime)};
}

double exec_load_since(const struct exec_load_mark *mark)
{
    struct exec_load_mark now = exec_load_mark();
    double others_s = (now.machine_s - mark->machine_s) - (now.own_s - mark->own_s);
    return others_s > 0 && now.at_s > mark->at_s ? others_s / (now.at_s - mark->at_s) : 0;
}

double exec_wait_quiet(double cores, double most_s)
{
    const struct timespec moment = {.tv_nsec = 60000000};
    double start_s = now_s();
    for (bool quiet = false; !quiet && now_s() - start_s < most_s;) {
        struct exec_load_mark mark = exec_load_mark();
        nanosleep(&moment, NULL);
        quiet = exec_load_since(&mark) < cores;
    }
    return now_s() - start_s;
}
