/*
 * ReLU: y = max(x, 0). Its backward needs only where y is above 0.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    (void)err;
    sp_layer_same_shape(layer, 1, 1);
    return SP_OK;
}

const struct sp_layer_kind sp_layer_relu = {
    .name = "relu",
    .help = "no settings",
    .flags = SP_KEEPS_OUTPUT | SP_IN_PLACE,
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
};
