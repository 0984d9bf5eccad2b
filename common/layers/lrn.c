/*
 * Local response normalisation across channels: y = x / (k + alpha / size * sum of x^2 over the window)^beta.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    if (layer->settings.size < 1 || layer->settings.size % 2 == 0)
        return sp_reject(err, layer->mark, "%s: size must be odd, not %d", layer->name, layer->settings.size);
    sp_layer_same_shape(layer, 2.0 * layer->settings.size + 10, 4.0 * layer->settings.size + 10);
    return SP_OK;
}

/* The base of the power, one an element. */
static size_t saved_bytes(const struct sp_layer *layer, int batch)
{
    return sizeof(float) * (size_t)sp_shape_elements(layer->out) * (size_t)batch;
}

const struct sp_layer_kind sp_layer_lrn = {
    .name = "lrn",
    .help = "size [5], alpha [1e-4], beta [0.75], k [1]",
    .flags = SP_KEEPS_INPUT,
    .infer = infer,
    .saved_bytes = saved_bytes,
};
