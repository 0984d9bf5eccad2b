/*
 * loss.h - softmax cross entropy of one sample, and its gradient for one class, from log-probabilities. The target is
 * t_c = (1 - s) [c = label] + s / C.
 */
#ifndef EXEC_MATH_LOSS_H
#define EXEC_MATH_LOSS_H

#include "exec/math/math.h"

#include <math.h>

/* -sum over c of t_c log p_c. `all` is the sum over c of log p_c; needed where s > 0. */
SP_HD static inline double exec_loss_one(double log_p_label, double all, double s, int classes)
{
    return -((1 - s) * log_p_label + (s > 0 ? s / classes * all : 0));
}

/* p - t, by the samples of the minibatch. */
SP_HD static inline float exec_loss_gradient(float p, int is_label, float s, int classes, int samples)
{
    float target = (is_label ? 1 - s : 0.0f) + s / (float)classes;
    return (p - target) / (float)samples;
}

#endif
