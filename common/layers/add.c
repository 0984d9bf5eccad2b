/*
 * Residual add: y = x + shortcut. A shortcut with fewer channels is filled up with zeros after its own, one with more
 * rows and columns is taken at every s-th, the first included (He et al.'s option A). s goes to settings.stride.
 */
#include "common/layers/kinds.h"

/* How many of `count` are left of every s-th: what a convolution of stride s and "same" padding leaves. */
static int every(int count, int s)
{
    return (count + s - 1) / s;
}

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    struct sp_shape main_path = layer->in, shortcut = input_shapes[1];
    if (layer->inputs[0] == layer->inputs[1])
        return sp_reject(err, layer->mark, "%s: main path and shortcut are the same tensor", layer->name);
    int s = every(shortcut.h, main_path.h), s_wide = every(shortcut.w, main_path.w);
    s = s_wide > s ? s_wide : s; /* of one row, every s-th is still one row: the other side knows s */
    if (shortcut.c > main_path.c || every(shortcut.h, s) != main_path.h || every(shortcut.w, s) != main_path.w)
        return sp_reject(err, layer->mark, "%s: a shortcut of %dx%dx%d cannot be added to %dx%dx%d", layer->name,
                         shortcut.c, shortcut.h, shortcut.w, main_path.c, main_path.h, main_path.w);
    layer->settings.stride = s;
    sp_layer_same_shape(layer, 1, 1);
    return SP_OK;
}

const struct sp_layer_kind sp_layer_add = {
    .name = "add",
    .help = "inputs: [main path, shortcut]",
    .flags = SP_IN_PLACE,
    .infer = infer,
    .saved_bytes = sp_layer_saves_nothing,
};
