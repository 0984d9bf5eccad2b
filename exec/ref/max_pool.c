#include "exec/ref/ref.h"

#include <string.h>

/* The largest of the window; of equals the first. `indices` (may be NULL): where in its channel it stood. */
static void pool(const struct sp_layer *layer, const struct exec_io *io, int32_t *indices)
{
    const float *x = io->input[0];
    float *y = io->output;
    int H = layer->in.h, W = layer->in.w, P = layer->out.h, Q = layer->out.w;
    int K = layer->settings.kernel, stride = layer->settings.stride, pad = layer->settings.pad;
    for (int nc = 0; nc < io->batch * layer->in.c; nc++)
        for (int p = 0; p < P; p++)
            for (int q = 0; q < Q; q++) {
                int32_t best = -1;
                for (int r = 0; r < K; r++)
                    for (int s = 0; s < K; s++) {
                        int h = p * stride + r - pad, w = q * stride + s - pad;
                        if (h < 0 || h >= H || w < 0 || w >= W)
                            continue;
                        if (best < 0 || x[(size_t)nc * H * W + h * W + w] > x[(size_t)nc * H * W + best])
                            best = h * W + w;
                    }
                size_t at = ((size_t)nc * P + p) * Q + q;
                y[at] = x[(size_t)nc * H * W + best];
                if (indices != NULL)
                    indices[at] = best;
            }
}

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    pool(layer, io, io->saved);
}

static void evaluate(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    pool(layer, io, NULL);
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const int32_t *indices = io->saved;
    const float *dy = io->output_gradient;
    float *dx = io->input_gradient[0];
    size_t area = (size_t)layer->in.h * layer->in.w, outputs = (size_t)layer->out.h * layer->out.w;
    if (dx == NULL)
        return;
    memset(dx, 0, sizeof *dx * area * (size_t)layer->in.c * (size_t)io->batch);
    for (int nc = 0; nc < io->batch * layer->in.c; nc++)
        for (size_t o = 0; o < outputs; o++)
            dx[(size_t)nc * area + (size_t)indices[(size_t)nc * outputs + o]] += dy[(size_t)nc * outputs + o];
}

const struct exec_ref_op exec_ref_max_pool = {forward, evaluate, backward};
