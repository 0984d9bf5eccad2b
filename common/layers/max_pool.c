/*
 * Max pooling; backward sends each gradient to the first largest input of its window.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    layer->out.c = layer->in.c;
    SP_TRY(sp_layer_window(layer, err));
    double outputs = (double)sp_shape_elements(layer->out);
    layer->forward_flops = outputs * layer->settings.kernel * layer->settings.kernel;
    layer->backward_input_flops = outputs;
    return SP_OK;
}

/* The index of the largest input, one an output. */
static size_t saved_bytes(const struct sp_layer *layer, int batch)
{
    return sizeof(int32_t) * (size_t)sp_shape_elements(layer->out) * (size_t)batch;
}

const struct sp_layer_kind sp_layer_max_pool = {
    .name = "max-pool",
    .help = "kernel, stride [kernel], pad [0]",
    .infer = infer,
    .saved_bytes = saved_bytes,
};
