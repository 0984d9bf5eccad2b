#include "common/statistics.h"
#include "common/alloc.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_statistics_double.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct sp_mean sp_mean_of(const double *x, int n, double confidence)
{
    struct sp_mean mean = {n, NAN, NAN, NAN, NAN};
    if (n < 1)
        return mean;
    mean.mean = gsl_stats_mean(x, 1, (size_t)n);
    if (n < 2)
        return mean;
    mean.deviation = gsl_stats_sd_m(x, 1, (size_t)n, mean.mean);
    double half = gsl_cdf_tdist_Pinv(0.5 + 0.5 * confidence, n - 1) * mean.deviation / sqrt(n);
    mean.low = mean.mean - half;
    mean.high = mean.mean + half;
    return mean;
}

struct sp_pairs sp_pairs_of(const double *x, const double *y, int n, double confidence)
{
    struct sp_pairs pairs = {.ratio = {n, NAN, NAN, NAN, NAN}, .p = NAN};
    double *difference = sp_calloc((size_t)n + 1, sizeof *difference);
    double *logarithm = sp_calloc((size_t)n + 1, sizeof *logarithm);
    bool positive = true;
    for (int i = 0; i < n; i++) {
        positive = positive && x[i] > 0 && y[i] > 0;
        difference[i] = x[i] - y[i];
        logarithm[i] = positive ? log(x[i] / y[i]) : NAN;
    }
    pairs.difference = sp_mean_of(difference, n, confidence);
    if (positive) {
        pairs.ratio = sp_mean_of(logarithm, n, confidence);
        pairs.ratio.mean = exp(pairs.ratio.mean);
        pairs.ratio.low = exp(pairs.ratio.low);
        pairs.ratio.high = exp(pairs.ratio.high);
    }
    if (n >= 2 && pairs.difference.deviation > 0) {
        double t = pairs.difference.mean / (pairs.difference.deviation / sqrt(n));
        pairs.p = 2 * gsl_cdf_tdist_Q(fabs(t), n - 1);
    } else if (n >= 2) {
        pairs.p = pairs.difference.mean == 0 ? 1 : 0;
    }
    free(difference);
    free(logarithm);
    return pairs;
}
