/*
 * Measured: a node of somebody's profile. What it costs stands beside the network (sp_network.measured); its backward
 * is taken to need its input.
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    (void)input_shapes;
    return sp_reject(err, layer->mark, "%s: a measured layer comes with a profile, not from a network file",
                     layer->name);
}

const struct sp_layer_kind sp_layer_measured = {
    .name = "measured",
    .help = "of a profile",
    .flags = SP_KEEPS_INPUT,
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
};
