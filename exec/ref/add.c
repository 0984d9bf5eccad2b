#include "exec/ref/ref.h"

#include <string.h>

/* Index of the shortcut's element that is added to (n, c, h, w), which must be of its channels. */
static size_t shortcut_at(const struct sp_layer *layer, struct sp_shape from, int n, int c, int h, int w)
{
    int s = layer->settings.stride;
    return (((size_t)n * from.c + c) * from.h + (size_t)h * s) * from.w + (size_t)w * s;
}

#define EACH                                                                                                           \
    for (int n = 0; n < io->batch; n++)                                                                                \
        for (int c = 0; c < layer->out.c; c++)                                                                         \
            for (int h = 0; h < layer->out.h; h++)                                                                     \
                for (int w = 0; w < layer->out.w; w++)
#define AT ((((size_t)n * layer->out.c + c) * layer->out.h + h) * layer->out.w + w)

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    const float *x = io->input[0], *z = io->input[1];
    float *y = io->output;
    EACH y[AT] = x[AT] + (c < shapes[1].c ? z[shortcut_at(layer, shapes[1], n, c, h, w)] : 0);
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    const float *dy = io->output_gradient;
    float *dx = io->input_gradient[0], *dz = io->input_gradient[1];
    if (dz != NULL) {
        memset(dz, 0, sizeof *dz * (size_t)sp_shape_elements(shapes[1]) * (size_t)io->batch);
        EACH
        {
            if (c < shapes[1].c)
                dz[shortcut_at(layer, shapes[1], n, c, h, w)] = dy[AT];
        }
    }
    if (dx != NULL && dx != dy)
        memcpy(dx, dy, sizeof *dx * (size_t)sp_shape_elements(layer->out) * (size_t)io->batch);
}

const struct exec_ref_op exec_ref_add = {forward, forward, backward};
