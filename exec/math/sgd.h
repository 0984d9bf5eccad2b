/*
 * sgd.h - one weight: v <- mu*v + g + wd*w; w <- w - lr*v, or with Nesterov's look ahead w <- w - lr*(g + wd*w + mu*v).
 */
#ifndef EXEC_MATH_SGD_H
#define EXEC_MATH_SGD_H

#include "exec/math/math.h"

/* `w` is the weight before, the result the weight after. */
SP_HD static inline float exec_sgd_one(float w, float *v, float g, float lr, float mu, float wd, int nesterov)
{
    float step = g + wd * w;
    *v = mu * *v + step;
    return w - lr * (nesterov ? step + mu * *v : *v);
}

#endif
