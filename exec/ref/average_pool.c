#include "exec/ref/ref.h"

#include <string.h>

struct window {
    int top, bottom, left, right; /* [top, bottom) x [left, right): what of the window is inside */
};

static struct window window_at(const struct sp_layer *layer, int p, int q)
{
    int K = layer->settings.kernel, h = p * layer->settings.stride - layer->settings.pad,
        w = q * layer->settings.stride - layer->settings.pad;
    return (struct window){h < 0 ? 0 : h, h + K > layer->in.h ? layer->in.h : h + K, w < 0 ? 0 : w,
                           w + K > layer->in.w ? layer->in.w : w + K};
}

static int area_of(struct window v)
{
    return (v.bottom - v.top) * (v.right - v.left);
}

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0];
    float *y = io->output;
    size_t area = (size_t)layer->in.h * layer->in.w;
    for (int nc = 0; nc < io->batch * layer->in.c; nc++)
        for (int p = 0; p < layer->out.h; p++)
            for (int q = 0; q < layer->out.w; q++) {
                struct window v = window_at(layer, p, q);
                double sum = 0;
                for (int h = v.top; h < v.bottom; h++)
                    for (int w = v.left; w < v.right; w++)
                        sum += (double)x[(size_t)nc * area + (size_t)(h * layer->in.w + w)];
                *y++ = (float)(sum / area_of(v));
            }
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *dy = io->output_gradient;
    float *dx = io->input_gradient[0];
    size_t area = (size_t)layer->in.h * layer->in.w;
    if (dx == NULL)
        return;
    memset(dx, 0, sizeof *dx * area * (size_t)layer->in.c * (size_t)io->batch);
    for (int nc = 0; nc < io->batch * layer->in.c; nc++)
        for (int p = 0; p < layer->out.h; p++)
            for (int q = 0; q < layer->out.w; q++) {
                struct window v = window_at(layer, p, q);
                float share = *dy++ / (float)area_of(v);
                for (int h = v.top; h < v.bottom; h++)
                    for (int w = v.left; w < v.right; w++)
                        dx[(size_t)nc * area + (size_t)(h * layer->in.w + w)] += share;
            }
}

const struct exec_ref_op exec_ref_average_pool = {forward, forward, backward};
