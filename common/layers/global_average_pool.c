/*
 * Global average pooling: the mean of each channel.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    (void)err;
    layer->out = (struct sp_shape){layer->in.c, 1, 1};
    layer->forward_flops = layer->backward_input_flops = (double)sp_shape_elements(layer->in);
    return SP_OK;
}

const struct sp_layer_kind sp_layer_global_average_pool = {
    .name = "global-average-pool",
    .help = "no settings",
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
};
