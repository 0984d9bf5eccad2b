/*
 * Dropout: zero with probability `rate`, else x / (1 - rate). In evaluation it does nothing.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    if (!(layer->settings.rate >= 0 && layer->settings.rate < 1))
        return sp_reject(err, layer->mark, "%s: rate must be at least 0 and below 1", layer->name);
    sp_layer_same_shape(layer, 1, 1);
    return SP_OK;
}

/* Kept or not, a byte an element. */
static size_t saved_bytes(const struct sp_layer *layer, int batch)
{
    return (size_t)sp_shape_elements(layer->out) * (size_t)batch;
}

const struct sp_layer_kind sp_layer_dropout = {
    .name = "dropout",
    .help = "rate [0.5]",
    .flags = SP_IN_PLACE,
    .infer = infer,
    .saved_bytes = saved_bytes,
};
