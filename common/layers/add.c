/*
 * Residual add: y = x + shortcut. A shortcut with fewer channels is filled up with zeros after its own, one with more
 * rows and columns is taken at every s-th (He et al.'s option A).
 */
#include "common/layers/kinds.h"

static sp_status infer(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err)
{
    struct sp_shape main_path = layer->in, shortcut = input_shapes[1];
    int s = main_path.h > 0 ? (shortcut.h + main_path.h - 1) / main_path.h : 0;
    bool fits = s > 0 && shortcut.c <= main_path.c && (shortcut.h + s - 1) / s == main_path.h &&
                (shortcut.w + s - 1) / s == main_path.w;
    if (!fits)
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
