#include "exec/ref/ref.h"

#include <math.h>

/* All elements of channel c: sample n, pixel a. */
#define EACH(n, a)                                                                                                     \
    for (int n = 0; n < io->batch; n++)                                                                                \
        for (size_t a = 0; a < area; a++)
#define AT(n, a) ((size_t)((n)*layer->in.c + c) * area + (a))

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0], *scale = io->parameter[0], *shift = io->parameter[1];
    float *y = io->output, *mean = io->saved, *inverse = mean + layer->in.c;
    float *running_mean = io->state, *running_variance = running_mean + layer->in.c;
    size_t area = (size_t)layer->in.h * layer->in.w;
    double count = (double)io->batch * (double)area, momentum = (double)layer->settings.momentum;
    for (int c = 0; c < layer->in.c; c++) {
        double sum = 0, squares = 0;
        EACH(n, a) sum += (double)x[AT(n, a)];
        double mu = sum / count;
        EACH(n, a) squares += ((double)x[AT(n, a)] - mu) * ((double)x[AT(n, a)] - mu);
        double variance = squares / count, unbiased = count > 1 ? squares / (count - 1) : variance;
        mean[c] = (float)mu;
        inverse[c] = (float)(1 / sqrt(variance + (double)layer->settings.epsilon));
        running_mean[c] = (float)((1 - momentum) * (double)running_mean[c] + momentum * mu);
        running_variance[c] = (float)((1 - momentum) * (double)running_variance[c] + momentum * unbiased);
        EACH(n, a) y[AT(n, a)] = scale[c] * (x[AT(n, a)] - mean[c]) * inverse[c] + shift[c];
    }
}

static void evaluate(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0], *scale = io->parameter[0], *shift = io->parameter[1];
    const float *mean = io->state, *variance = mean + layer->in.c;
    float *y = io->output;
    size_t area = (size_t)layer->in.h * layer->in.w;
    for (int c = 0; c < layer->in.c; c++) {
        float inverse = 1 / sqrtf(variance[c] + layer->settings.epsilon);
        EACH(n, a) y[AT(n, a)] = scale[c] * (x[AT(n, a)] - mean[c]) * inverse + shift[c];
    }
}

/* dx = scale * inverse * (dy - mean(dy) - xhat * mean(dy * xhat)) */
static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0], *dy = io->output_gradient, *scale = io->parameter[0];
    const float *mean = io->saved, *inverse = mean + layer->in.c;
    float *dx = io->input_gradient[0], *dscale = io->parameter_gradient[0], *dshift = io->parameter_gradient[1];
    size_t area = (size_t)layer->in.h * layer->in.w;
    double count = (double)io->batch * (double)area;
    for (int c = 0; c < layer->in.c; c++) {
        double sum = 0, product = 0, mu = (double)mean[c], inv = (double)inverse[c];
        EACH(n, a)
        {
            sum += (double)dy[AT(n, a)];
            product += (double)dy[AT(n, a)] * ((double)x[AT(n, a)] - mu) * inv;
        }
        dscale[c] = (float)product;
        dshift[c] = (float)sum;
        if (dx == NULL)
            continue;
        EACH(n, a)
        {
            double xhat = ((double)x[AT(n, a)] - mu) * inv;
            dx[AT(n, a)] =
                (float)((double)scale[c] * inv * ((double)dy[AT(n, a)] - sum / count - xhat * product / count));
        }
    }
}

const struct exec_ref_op exec_ref_batch_norm = {forward, evaluate, backward};
