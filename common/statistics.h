/*
 * statistics.h - what repeated runs say: means with confidence intervals, and pairs of runs compared (Student's t,
 * GSL).
 */
#ifndef SP_STATISTICS_H
#define SP_STATISTICS_H

/* A mean and the interval that holds the true one with the confidence asked for, if the values are normal. */
struct sp_mean {
    int n;
    double mean, low, high; /* n = 0: all NAN; n = 1: no interval (NAN) */
    double deviation;       /* of the values, with n - 1 */
};
struct sp_mean sp_mean_of(const double *x, int n, double confidence);

/* x[i] against y[i]: what differs from pair to pair but is the same within a pair (drift, seed) drops out. */
struct sp_pairs {
    struct sp_mean difference; /* x - y */
    struct sp_mean ratio; /* x / y: geometric; NAN where a value is not positive. Its deviation is of the logarithms */
    double p;             /* of the differences, were the true one 0 (two-sided); n < 2: NAN */
};
struct sp_pairs sp_pairs_of(const double *x, const double *y, int n, double confidence);

#endif
