#include "exec/learning_rate.h"

#include <math.h>

const char *const exec_rate_kind_names[EXEC_RATE_KIND_COUNT] = {
    [EXEC_RATE_CONSTANT] = "constant",     [EXEC_RATE_STEP] = "step",
    [EXEC_RATE_COSINE] = "cosine",         [EXEC_RATE_ONE_CYCLE] = "one-cycle",
    [EXEC_RATE_POLYNOMIAL] = "polynomial", [EXEC_RATE_INV] = "inv",
};

static const double one_cycle_start = 1.0 / 25;

/* From `from` to `to` along half a cosine, x = 0 .. 1. */
static double half_cosine(double from, double to, double x)
{
    return to + 0.5 * (from - to) * (1 + cos(3.14159265358979323846 * x));
}

static double one_cycle(const struct exec_rate *rate, double t)
{
    double top = rate->peak * (double)rate->updates - 1, end = (double)rate->updates - 1;
    if (t <= top && top > 0)
        return half_cosine(one_cycle_start, 1, t / top);
    return end > top ? half_cosine(1, rate->final, (t - top) / (end - top)) : 1;
}

static int steps_passed(const struct exec_rate *rate, double t)
{
    int passed = 0;
    while (passed < rate->step_count && t >= rate->steps[passed])
        passed++;
    return passed;
}

static double scheduled(const struct exec_rate *rate, double t)
{
    double done = rate->updates > 0 ? t / (double)rate->updates : 0;
    switch (rate->kind) {
    case EXEC_RATE_STEP:
        return pow(rate->gamma, steps_passed(rate, t));
    case EXEC_RATE_COSINE:
        return half_cosine(1, rate->final, done);
    case EXEC_RATE_ONE_CYCLE:
        return one_cycle(rate, t);
    case EXEC_RATE_POLYNOMIAL:
        return rate->final + (1 - rate->final) * pow(1 - done, rate->power);
    case EXEC_RATE_INV:
        return pow(1 + rate->gamma * t, -rate->power);
    default:
        return 1;
    }
}

double exec_rate_factor(const struct exec_rate *rate, int64_t t)
{
    double ramp = (double)(t + 1) < rate->warmup ? (double)(t + 1) / rate->warmup : 1;
    return ramp * scheduled(rate, (double)t);
}
