#include "exec/ref/ref.h"

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0];
    float *y = io->output;
    size_t count = (size_t)sp_shape_elements(layer->out) * (size_t)io->batch;
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] > 0 ? x[i] : 0;
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *y = io->output, *dy = io->output_gradient;
    float *dx = io->input_gradient[0];
    size_t count = (size_t)sp_shape_elements(layer->out) * (size_t)io->batch;
    for (size_t i = 0; dx != NULL && i < count; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

const struct exec_ref_op exec_ref_relu = {forward, forward, backward};
