/*
 * Flatten: (C, H, W) seen as one vector.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    (void)err;
    layer->out = (struct sp_shape){(int)sp_shape_elements(layer->in), 1, 1};
    return SP_OK;
}

const struct sp_layer_kind sp_layer_flatten = {
    .name = "flatten",
    .help = "no settings",
    .flags = SP_VIEW | SP_IN_PLACE,
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
};
