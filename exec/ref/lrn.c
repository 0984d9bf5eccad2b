#include "exec/ref/ref.h"

#include <math.h>

/* b[c] = k + alpha/size * sum over the window of x^2; y = x * b^-beta. */
static double base_at(const struct sp_layer *layer, const float *x, size_t area, int c)
{
    const struct sp_layer_settings *s = &layer->settings;
    double sum = 0;
    for (int j = c - s->size / 2; j <= c + s->size / 2; j++)
        if (j >= 0 && j < layer->in.c)
            sum += (double)x[(size_t)j * area] * (double)x[(size_t)j * area];
    return (double)s->k + (double)s->alpha / s->size * sum;
}

static void normalise(const struct sp_layer *layer, const struct exec_io *io, float *saved)
{
    size_t area = (size_t)layer->in.h * layer->in.w;
    for (int n = 0; n < io->batch; n++)
        for (int c = 0; c < layer->in.c; c++)
            for (size_t a = 0; a < area; a++) {
                size_t pixel = (size_t)n * layer->in.c * area + a, at = pixel + (size_t)c * area;
                double base = base_at(layer, (const float *)io->input[0] + pixel, area, c);
                ((float *)io->output)[at] =
                    (float)((double)((const float *)io->input[0])[at] * pow(base, -(double)layer->settings.beta));
                if (saved != NULL)
                    saved[at] = (float)base;
            }
}

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    normalise(layer, io, io->saved);
}

static void evaluate(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    normalise(layer, io, NULL);
}

/* dx[c] = dy[c] b[c]^-beta - 2 alpha beta / size * x[c] * sum over the window of dy[j] x[j] b[j]^(-beta-1) */
static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const struct sp_layer_settings *s = &layer->settings;
    const float *x = io->input[0], *dy = io->output_gradient, *base = io->saved;
    float *dx = io->input_gradient[0];
    size_t area = (size_t)layer->in.h * layer->in.w;
    double beta = (double)s->beta, factor = 2 * (double)s->alpha * beta / s->size;
    for (int n = 0; dx != NULL && n < io->batch; n++)
        for (int c = 0; c < layer->in.c; c++)
            for (size_t a = 0; a < area; a++) {
                size_t pixel = (size_t)n * layer->in.c * area + a, at = pixel + (size_t)c * area;
                double sum = 0;
                for (int j = c - s->size / 2; j <= c + s->size / 2; j++) {
                    size_t other = pixel + (size_t)j * area;
                    if (j >= 0 && j < layer->in.c)
                        sum += (double)dy[other] * (double)x[other] * pow((double)base[other], -beta - 1);
                }
                dx[at] = (float)((double)dy[at] * pow((double)base[at], -beta) - factor * (double)x[at] * sum);
            }
}

const struct exec_ref_op exec_ref_lrn = {forward, evaluate, backward};
