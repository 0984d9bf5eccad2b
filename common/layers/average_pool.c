/*
 * Average pooling; padding is not counted, so a window at the edge averages what is there.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    layer->out.c = layer->in.c;
    SP_TRY(sp_layer_window(layer, err));
    double window = (double)layer->settings.kernel * layer->settings.kernel;
    layer->forward_flops = layer->backward_input_flops = window * (double)sp_shape_elements(layer->out);
    return SP_OK;
}

const struct sp_layer_kind sp_layer_average_pool = {
    .name = "average-pool",
    .help = "kernel, stride [kernel], pad [0]",
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
};
