/*
 * Batch norm over (N, H, W) of each channel: y = scale * (x - mean) / sqrt(variance + epsilon) + shift.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    if (!(layer->settings.epsilon > 0))
        return sp_reject(err, layer->mark, "%s: epsilon must be above 0", layer->name);
    sp_layer_same_shape(layer, 7, 8);
    layer->parameters[SP_PARAMETER_WEIGHT] = layer->parameters[SP_PARAMETER_BIAS] = layer->in.c;
    layer->state = 2 * (int64_t)layer->in.c;
    layer->backward_weight_flops = 3.0 * (double)sp_shape_elements(layer->out);
    return SP_OK;
}

/* Mean and 1 / deviation of the microbatch. */
static size_t saved_bytes(const struct sp_layer *layer, int batch)
{
    (void)batch;
    return 2 * sizeof(float) * (size_t)layer->in.c;
}

const struct sp_layer_kind sp_layer_batch_norm = {
    .name = "batch-norm",
    .help = "epsilon [1e-5], momentum [0.1]",
    .flags = SP_KEEPS_INPUT,
    .infer = infer,
    .saved_bytes = saved_bytes,
};
