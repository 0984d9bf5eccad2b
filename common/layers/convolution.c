/*
 * Convolution: y[o] = b[o] + sum over i, kernel of w[o, i] * x[i], cross-correlation as everywhere in this field.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    const struct sp_layer_settings *s = &layer->settings;
    if (s->filters < 1)
        return sp_reject(err, layer->mark, "%s: filters must be 1 or more, not %d", layer->name, s->filters);
    layer->out.c = s->filters;
    SP_TRY(sp_layer_window(layer, err));
    int64_t window = (int64_t)layer->in.c * s->kernel * s->kernel;
    SP_TRY(sp_layer_weights(layer, window, err));
    double products = 2.0 * (double)window * (double)sp_shape_elements(layer->out);
    layer->forward_flops = layer->backward_input_flops = layer->backward_weight_flops = products;
    return SP_OK;
}

static int64_t fan_in(const struct sp_layer *layer)
{
    return (int64_t)layer->in.c * layer->settings.kernel * layer->settings.kernel;
}

const struct sp_layer_kind sp_layer_convolution = {
    .name = "convolution",
    .help = "filters, kernel, stride [1], pad [0], bias [true], shortcut [false]",
    .flags = SP_KEEPS_INPUT,
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
    .fan_in = fan_in,
};
