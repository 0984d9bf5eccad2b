#include "exec/ref/ref.h"

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0];
    float *y = io->output;
    size_t area = (size_t)layer->in.h * layer->in.w;
    for (int nc = 0; nc < io->batch * layer->in.c; nc++) {
        double sum = 0;
        for (size_t a = 0; a < area; a++)
            sum += (double)x[(size_t)nc * area + a];
        y[nc] = (float)(sum / (double)area);
    }
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *dy = io->output_gradient;
    float *dx = io->input_gradient[0];
    size_t area = (size_t)layer->in.h * layer->in.w;
    for (int nc = 0; dx != NULL && nc < io->batch * layer->in.c; nc++)
        for (size_t a = 0; a < area; a++)
            dx[(size_t)nc * area + a] = dy[nc] / (float)area;
}

const struct exec_ref_op exec_ref_global_average_pool = {forward, forward, backward};
