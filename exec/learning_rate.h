/*
 * learning_rate.h - the learning rate of every update, as a factor of train.lr.
 *
 * t counts updates (minibatches) from 0 through all phases; the run has T of them.
 */
#ifndef EXEC_LEARNING_RATE_H
#define EXEC_LEARNING_RATE_H

#include <stdint.h>

enum exec_rate_kind {
    EXEC_RATE_CONSTANT,   /* 1 */
    EXEC_RATE_STEP,       /* gamma^(steps passed) */
    EXEC_RATE_COSINE,     /* half a cosine from 1 to `final` (Loshchilov and Hutter, arXiv 1608.03983, no restarts) */
    EXEC_RATE_ONE_CYCLE,  /* 1/25 up to 1 at the fraction `peak` of the run, down to `final`; half cosines (Smith and
                             Topin, arXiv 1708.07120; as PyTorch's OneCycleLR) */
    EXEC_RATE_POLYNOMIAL, /* (1 - t/T)^power from 1 to `final` */
    EXEC_RATE_INV,        /* (1 + gamma t)^-power, as in Caffe */
    EXEC_RATE_KIND_COUNT
};

extern const char *const exec_rate_kind_names[EXEC_RATE_KIND_COUNT];

struct exec_rate {
    enum exec_rate_kind kind;
    int64_t updates;     /* T */
    double gamma, power; /* STEP: gamma; INV: both; POLYNOMIAL: power */
    double final;        /* fraction at the end: COSINE, ONE_CYCLE, POLYNOMIAL */
    double peak;         /* ONE_CYCLE */
    const double *steps; /* STEP: updates before each, ascending; borrowed */
    int step_count;
    double warmup; /* updates: the factor is multiplied by (t + 1) / warmup until that is 1; 0: none */
};

/* The factor of update t. All zero: 1. */
double exec_rate_factor(const struct exec_rate *rate, int64_t t);

#endif
