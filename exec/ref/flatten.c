#include "exec/ref/ref.h"

#include <string.h>

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    if (io->output != io->input[0])
        memcpy(io->output, io->input[0], sizeof(float) * (size_t)sp_shape_elements(layer->out) * (size_t)io->batch);
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    void *dx = io->input_gradient[0];
    if (dx != NULL && dx != io->output_gradient)
        memcpy(dx, io->output_gradient, sizeof(float) * (size_t)sp_shape_elements(layer->out) * (size_t)io->batch);
}

const struct exec_ref_op exec_ref_flatten = {forward, forward, backward};
