/*
 * The loss: -log of the softmax probability of the label. Its output is the loss of a sample.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    if (layer->in.h != 1 || layer->in.w != 1)
        return sp_reject(err, layer->mark, "%s: expects a vector, found %dx%dx%d", layer->name, layer->in.c,
                         layer->in.h, layer->in.w);
    layer->out = (struct sp_shape){1, 1, 1};
    layer->forward_flops = 5.0 * layer->in.c;
    layer->backward_input_flops = 2.0 * layer->in.c;
    return SP_OK;
}

/* The probabilities. */
static size_t saved_bytes(const struct sp_layer *layer, int batch)
{
    return sizeof(float) * (size_t)layer->in.c * (size_t)batch;
}

const struct sp_layer_kind sp_layer_softmax_cross_entropy = {
    .name = "softmax-cross-entropy",
    .help = "no settings; the last layer",
    .infer = infer,
    .saved_bytes = saved_bytes,
};
