/*
 * Fully connected: y = W x + b over all elements of the input, in (C, H, W) order.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    int outputs = layer->settings.filters;
    int64_t inputs = sp_shape_elements(layer->in);
    if (outputs < 1)
        return sp_reject(err, layer->mark, "%s: outputs must be 1 or more, not %d", layer->name, outputs);
    layer->out = (struct sp_shape){outputs, 1, 1};
    SP_TRY(sp_layer_weights(layer, inputs, err));
    double products = 2.0 * (double)inputs * (double)outputs;
    layer->forward_flops = layer->backward_input_flops = layer->backward_weight_flops = products;
    return SP_OK;
}

static int64_t fan_in(const struct sp_layer *layer)
{
    return sp_shape_elements(layer->in);
}

const struct sp_layer_kind sp_layer_fully_connected = {
    .name = "fully-connected",
    .help = "outputs, bias [true]",
    .flags = SP_KEEPS_INPUT,
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
    .fan_in = fan_in,
};
